"""The benchmark of a long plan runs, at toy size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "plan_parse.py"

pytestmark = [pytest.mark.needs_tree, pytest.mark.needs_program, pytest.mark.slow]


@pytest.mark.parametrize("asked", [["--parts", "50"], ["--hostile"]])
def test_it_tells_how_long_the_loop_stood_still(asked: list[str]) -> None:
    command = [sys.executable, str(BENCHMARK), "--runs", "1", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "longest stop in ms" in done.stdout
    assert ("too many values" in done.stderr) is (asked == ["--hostile"])
