"""Every benchmark at toy size: it measures every uploader that it names and writes records that the report can read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

journal = pytest.importorskip("benchmarks.journal", reason="the benchmarks are in the repository only")
costs = pytest.importorskip("benchmarks.wan.costs")

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.needs_tree, pytest.mark.needs_program, pytest.mark.slow, pytest.mark.timeout(300)]

Bench = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def compiled() -> str:
    """Compile the C programs once; without a compiler the table lacks their rows, and there is no sink."""
    done = run_module("build", folder=None)
    if "sink" not in done.stdout:
        pytest.skip(done.stderr)
    return done.stdout


def run_module(name: str, *arguments: str, folder: Path | None) -> subprocess.CompletedProcess[str]:
    """Run `python -m benchmarks.NAME`, with its files in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ | ({"BENCH_DIR": str(folder)} if folder else {}),
    )


@pytest.fixture
def run_alone(tmp_path: Path) -> Callable[..., str]:
    """Run a benchmark that needs no C program, and return its output."""

    def run(name: str, *arguments: str) -> str:
        done = run_module(name, *arguments, folder=tmp_path / "work")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def run(run_alone: Callable[..., str], compiled: str) -> Callable[..., str]:
    """Run a benchmark and return its output."""
    return run_alone


@pytest.fixture
def bench(run: Callable[..., str], tmp_path: Path) -> Bench:
    """Run a benchmark once and return its record, which the report must understand."""

    def bench(name: str, *arguments: str) -> dict[str, Any]:
        kept = tmp_path / "results" / f"{name}.json"
        run(name, "--runs", "1", "--warm-up", "0", "--output", str(kept), *arguments)
        assert run("report", "--results", str(kept.parent), "--print").count("\n| ") > 2
        record: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        assert record["command"].startswith(f"python -m benchmarks.{name} --runs 1 ")
        return record

    return bench


def clients(record: dict[str, Any]) -> set[str]:
    return {row["client"] for row in record["rows"]}


@pytest.mark.heavy
def test_throughput_measures_every_client_over_tls_and_plain_warm_and_cold(bench: Bench) -> None:
    record = bench("throughput", "--size", "6MiB", "--part-size", "2MiB", "--in-flight", "2")
    assert {"ours", "ours, unchecked", "frameio SDK", "MD5 alone"} <= clients(record)
    missing = {"curl --parallel", "libcurl", "C floor"} - clients(record)
    assert bool(missing) == bool(record["left_out"])
    cells = {(row["cell"]["tls"], row["cell"]["cache"], row["cell"]["stated"]) for row in record["rows"]}
    both = (True, False)
    assert cells == {
        (tls, cache, stated)
        for tls in both
        for cache in ("warm", "cold")
        for stated in ("crc64nvme", "md5")
        if tls or stated != "md5"
    }
    assert all(run["seconds"] > 0 and run["memory"] > 0 for row in record["rows"] for run in row["runs"])


def test_memory_measures_the_peak_of_the_whole_process(bench: Bench) -> None:
    record = bench("memory", "--part-size", "1MiB,4MiB", "--in-flight", "2", "--least", "8MiB")
    assert clients(record) == {"ours", "frameio SDK"}
    assert all(row["summary"]["memory_mib"] > 5 for row in record["rows"])


@pytest.mark.heavy
def test_loop_lag_measures_both_loops_and_the_idle_machine(bench: Bench) -> None:
    record = bench("loop_lag", "--quick", "--size", "64MiB", "--part-size", "8MiB", "--in-flight", "2")
    assert clients(record) == {"ours, asyncio", "ours, uvloop", "idle, asyncio", "idle, uvloop"}
    # uvloop may wake a little early: libuv counts in whole milliseconds.
    assert all(-1 <= row["summary"]["p50"] <= row["summary"]["max"] for row in record["rows"])


@pytest.mark.heavy
def test_many_small_measures_files_parts_and_events(bench: Bench) -> None:
    record = bench("many_small", "--files", "5", "--parts", "20", "--sdk-threads", "2", "--size", "1KiB")
    assert {row["cell"]["question"] for row in record["rows"]} == {"files", "a part", "an event, for each listener"}
    assert {"ours", "frameio SDK, 2 threads"} <= clients(record)


def test_import_time_compares_the_imports_with_that_of_aiohttp(bench: Bench) -> None:
    record = bench("import_time")
    assert {"import aiohttp", "from aioframeio_upload import Uploader", "aioframeio-upload --help"} <= clients(record)
    modules = {row["client"]: row["summary"]["modules"] for row in record["rows"]}
    # Modules are loaded on first use, and the Uploader needs aiohttp.
    assert modules["import aioframeio_upload"] < modules["import aiohttp"]
    assert modules["import aiohttp"] < modules["from aioframeio_upload import Uploader"]


def test_wan_measures_the_default_or_says_what_the_machine_lacks(run: Callable[..., str], tmp_path: Path) -> None:
    kept = tmp_path / "wan.json"
    said = run("wan", "--quick", "--size", "2000000", "--runs", "1", "--output", str(kept))
    if "left out:" in said:
        assert not kept.exists()
        return
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    assert [row["summary"]["capped"] for row in rows] == [0, 0]
    # No link carries more than its rate; if one seems to, the clock or the count is wrong.
    assert all(run["cost"] > 1 for row in rows for run in row["runs"])


@pytest.mark.heavy
def test_fleet_sends_a_file_by_one_host_and_by_two_each_behind_its_link(
    run: Callable[..., str], tmp_path: Path
) -> None:
    kept, size, rate = tmp_path / "fleet.json", 5_000_000, 50e6
    asked = ("--hosts", "1,2", "--size", str(size), "--part-size", "500000", "--rate", str(rate), "--runs", "1")
    said = run("fleet", *asked, "--output", str(kept))
    if "left out:" in said:
        assert not kept.exists()
        pytest.skip(said)
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    assert [row["cell"]["hosts"] for row in rows] == [1, 2]
    assert rows[0]["summary"]["share"] == 1
    # No link carries more than its rate, except for the initial content of its bucket.
    for row in rows:
        hosts = row["cell"]["hosts"]
        least = (size - hosts * 131_072) * 8 / (rate * hosts)
        assert all(one["seconds"] > least for one in row["runs"])
    assert "a link alone needs 0.8 s" in said


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and pins to cores")
def test_the_memory_of_a_folder_is_measured_for_a_tree_and_one_of_a_tenth(
    run_alone: Callable[..., str], tmp_path: Path
) -> None:
    kept = tmp_path / "results" / "many_small_folder.json"
    small = ("--files", "300", "--size", "1KiB", "--runs", "1", "--warm-up", "0")
    said = run_alone("many_small", "--folder", *small, "--output", str(kept))
    assert "bytes to the peak" in said
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    assert [row["runs"][0]["told"]["files"] for row in rows] == [30, 300]
    assert all(row["summary"]["memory_mib"] > 1 for row in rows)
    assert run_alone("report", "--results", str(kept.parent), "--print").count("\n| ") > 2


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="the sink is a C program")
def test_the_journal_is_measured_with_large_parts_and_with_tiny_ones(
    run_alone: Callable[..., str], tmp_path: Path
) -> None:
    kept = tmp_path / "journal.json"
    toy = ["--part-size", "1MiB", "--large", "4", "--tiny", "20", "--runs", "2", "--warm-up", "0"]
    run_alone("journal", *toy, "--output", str(kept))
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    names = ("parts", "part_size", "checksum", "in_flight", "rounds")
    cells = {tuple(row["cell"][name] for name in names) for row in rows}
    large = {(4, 1 << 20, "auto", 8, 2), (4, 1 << 20, "off", 8, 2), (1, 1 << 20, "auto", 8, 1)}
    assert cells == large | {(20, 1024, "auto", 8, 1), (20, 1024, "auto", 1, 1)}
    assert len(rows) == 5 * 4
    assert all(run["seconds"] > 0 and run["loop"] > 0 for row in rows for run in row["runs"])
    assert all(
        one["more_time_low"] <= one["more_time"] <= one["more_time_high"] for one in (row["summary"] for row in rows)
    )


@pytest.mark.parametrize("asked", [["--parts", "50"], ["--hostile"]])
def test_the_benchmark_of_a_long_plan_reports_how_long_the_loop_was_blocked(asked: list[str]) -> None:
    done = run_module("plan_parse", "--runs", "1", *asked, folder=None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "longest stop in ms" in done.stdout
    assert ("too many values" in done.stderr) is (asked == ["--hostile"])


# -- what is computed from the measurements ----------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "lowest", "highest"), [(1, 0, 0), (5, 0, 4), (6, 0, 5), (10, 1, 8), (30, 9, 20)])
def test_the_interval_of_the_median_agrees_with_tables_of_the_sign_test(count: int, lowest: int, highest: int) -> None:
    assert journal.interval(range(count)) == (lowest, highest)


SAMPLES = st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 10**6)), min_size=1, max_size=20)


@given(steps=SAMPLES, at=st.floats(0, 30))
@example(steps=[(0.37213327322508405, 210709)], at=0.37213327322508405)
def test_the_interpolated_count_never_falls_and_never_exceeds_the_samples(
    steps: list[tuple[float, int]], at: float
) -> None:
    samples = [(0.0, 0)]
    for seconds, count in steps:
        samples.append((samples[-1][0] + seconds, samples[-1][1] + count))
    found = costs.received_at(samples, at)
    assert 0 <= found <= samples[-1][1]
    assert found <= costs.received_at(samples, at + 0.5)


def test_of_the_numbers_near_the_best_without_loss_the_best_with_loss_is_chosen() -> None:
    def row(rtt: float, loss: float, in_flight: int | None, cost: float) -> dict[str, Any]:
        way = {"rtt": rtt, "loss": loss, "rate": 1e6, "queue": 0.05, "congestion": "cubic"}
        return {"way": way, "variant": {"in_flight": in_flight, "lowat": None}, "summary": {"cost": cost}}

    clean = [row(0.04, 0, 4, 1.04), row(0.04, 0, 8, 1.0), row(0.04, 0, 16, 1.2)]
    assert costs.choose(clean) == 4
    assert costs.choose([*clean, row(0.04, 0.001, 4, 3.5), row(0.04, 0.001, 8, 2.0), row(0.04, 0.001, 16, 1.8)]) == 8
    assert costs.choose([*clean, row(0.15, 0, 4, 1.5), row(0.15, 0, 8, 1.2), row(0.15, 0, None, 1.0)]) == 8
    assert costs.choose([]) is None
