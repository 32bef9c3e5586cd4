"""The journal's benchmark runs, at toy size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

pytestmark = [pytest.mark.needs_tree, pytest.mark.needs_program, pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_journal_is_measured_with_large_parts_and_with_tiny_ones(tmp_path: Path) -> None:
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("the sink is a C program")
    kept = tmp_path / "journal.json"
    toy = ["--part-size", str(1 << 20), "--large", "4", "--tiny", "20", "--runs", "2", "--warm-up", "0"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "journal.py"), *toy, "--output", str(kept)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ | {"BENCH_DIR": str(tmp_path / "work")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    cells = {(row["cell"]["parts"], row["cell"]["part_size"], row["cell"]["check_etags"]) for row in rows}
    assert cells == {(4, 1 << 20, True), (4, 1 << 20, False), (20, 1024, False)}
    assert all(len([row for row in rows if row["client"] == name]) == 3 for name in {row["client"] for row in rows})
    assert len(rows) == 12
    assert all(run["seconds"] > 0 and run["loop"] > 0 for row in rows for run in row["runs"])
