"""The journal's benchmark runs, at toy size."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = [pytest.mark.needs_tree, pytest.mark.needs_program, pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_journal_is_measured_with_large_parts_and_with_tiny_ones(tmp_path: Path) -> None:
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("the sink is a C program")
    kept = tmp_path / "journal.json"
    toy = ["--part-size", "1MiB", "--large", "4", "--tiny", "20", "--runs", "2", "--warm-up", "0"]
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
    names = ("parts", "part_size", "check_etags", "in_flight", "rounds")
    cells = {tuple(row["cell"][name] for name in names) for row in rows}
    large = {(4, 1 << 20, True, 8, 2), (4, 1 << 20, False, 8, 2), (1, 1 << 20, True, 8, 1)}
    assert cells == large | {(20, 1024, False, 8, 1), (20, 1024, False, 1, 1)}
    assert len(rows) == 5 * 4
    assert all(run["seconds"] > 0 and run["loop"] > 0 for row in rows for run in row["runs"])
    assert all(
        one["more_time_low"] <= one["more_time"] <= one["more_time_high"] for one in (row["summary"] for row in rows)
    )


@pytest.mark.parametrize(("count", "lowest", "highest"), [(1, 0, 0), (5, 0, 4), (6, 0, 5), (10, 1, 8), (30, 9, 20)])
def test_what_the_median_lies_between_is_what_tables_of_the_sign_test_say(
    monkeypatch: pytest.MonkeyPatch, count: int, lowest: int, highest: int
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    assert importlib.import_module("journal").interval(range(count)) == (lowest, highest)
