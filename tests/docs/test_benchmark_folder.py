"""The benchmark of a folder's memory runs, at toy size, and the report reads what it kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = [pytest.mark.needs_tree, pytest.mark.needs_program, pytest.mark.slow]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and pins to cores")
def test_the_memory_of_a_folder_is_measured_for_a_tree_and_one_of_a_tenth(tmp_path: Path) -> None:
    kept = tmp_path / "results" / "many_small_folder.json"

    def run(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
            env=os.environ | {"BENCH_DIR": str(tmp_path / "work")},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    small = ("--files", "300", "--size", "1KiB", "--runs", "1", "--warm-up", "0")
    said = run("many_small", "--folder", *small, "--output", str(kept))
    assert "bytes to the peak" in said
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    assert [row["runs"][0]["told"]["files"] for row in rows] == [30, 300]
    assert all(row["summary"]["memory_mib"] > 1 for row in rows)
    assert run("report", "--results", str(kept.parent), "--print").count("\n| ") > 2
