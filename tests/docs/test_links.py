"""The benchmark of links: its descriptions, its measures, and its sink that is slow or refuses."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

rows = pytest.importorskip("benchmarks.links.rows", reason="the benchmarks are in the repository only")
costs = pytest.importorskip("benchmarks.links.costs")
native = pytest.importorskip("benchmarks.harness.native")

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.needs_tree, pytest.mark.needs_program, pytest.mark.slow, pytest.mark.timeout(120)]


@contextmanager
def c_sink(*options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run the C sink without TLS."""
    try:
        program = native.built("sink")
    except native.Missing as reason:
        pytest.skip(str(reason))
    command = [str(program), "--samples", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"], process
        assert process.stdin is not None
        process.stdin.close()


def counts(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"tell\n")
    process.stdin.flush()
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def put(port: int, size: int, body: bytes) -> socket.socket:
    """Begin a PUT of `size` bytes and send some of them."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(f"PUT /part HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode() + body)
    return connection


def answer(connection: socket.socket) -> bytes:
    return connection.recv(4096)


def test_the_sink_refuses_a_put_above_its_limit_as_s3_does() -> None:
    with c_sink("--limit", "2") as (port, process):
        busy = [put(port, 10, b"12345") for _ in range(2)]
        # A request is counted when its head was read; the sink has one thread, so it was read before the third one's.
        refused = put(port, 10, b"12345")
        said = answer(refused)
        assert said.startswith(b"HTTP/1.1 503 Slow Down\r\n")
        assert b"Connection: close" in said
        assert b"<Code>SlowDown</Code>" in said
        for one in busy:
            one.sendall(b"67890")
            assert answer(one).startswith(b"HTTP/1.1 200 OK\r\n")
        again = put(port, 10, b"1234567890")
        assert answer(again).startswith(b"HTTP/1.1 200 OK\r\n")
        found = counts(process)
        for one in (*busy, refused, again):
            one.close()
    assert (found["refusals"], found["most_active"], found["connections"]) == (1, 2, 4)
    # Three whole bodies, and what arrived of the refused one.
    assert found["received"] == 35


def test_the_sink_reads_one_connection_in_so_many_slowly_and_the_others_at_full_speed() -> None:
    # The slow one of eight is the fourth; with one in two, every other begins with the second.
    with c_sink("--slow-every", "2", "--slow-cap", "1000") as (port, process):
        fast, slow = put(port, 400_000, b""), put(port, 50_000, bytes(50_000))
        fast.sendall(bytes(400_000))
        assert answer(fast).startswith(b"HTTP/1.1 200 OK\r\n")
        found = counts(process)
        fast.close()
        slow.close()
    assert 400_000 <= found["received"] < 450_000


def test_the_sink_keeps_what_is_on_a_slow_connection_out_of_its_way() -> None:
    with c_sink("--cap", "1000") as (port, process):
        with put(port, 1_000_000, bytes(100_000)) as slow:
            found = counts(process)
            assert found["received"] < 100_000
            with suppress(OSError):
                slow.shutdown(socket.SHUT_RDWR)
        assert counts(process)["most_active"] <= 1


# -- what is computed from the measurements ----------------------------------------------------------------------------


def test_every_link_is_described_and_its_goals_are_about_variants_that_are_measured() -> None:
    links = rows.read_links()
    assert len([link for link in links if not link.study]) == 11
    assert all(link.goals for link in links if not link.study)
    for link in links:
        for goal in link.goals:
            assert goal.what in costs.MEASURES


def test_a_link_with_an_unknown_variant_in_its_goal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "links.toml"
    path.write_text(
        '[[link]]\nname = "one"\nrate = 1e6\nvariants = ["8"]\ngoals = [{ of = "auto", what = "cost", most = 1 }]\n'
    )
    with pytest.raises(ValueError, match="not measured"):
        rows.read_links(path)


def observed(**more: Any) -> Any:
    """Return a run of ten seconds at half the rate of 8 Mbit/s."""
    goodput = rows.goodput(8e6)
    samples = [[100 + n / 10, round(goodput * n / 20), 4] for n in range(101)]
    arrived = {"received": samples[-1][1], "connections": 4, "refusals": 0, "most_active": 4, "samples": samples}
    usual = {"began": 100.0, "ended": 110.0, "complete": True, "size": samples[-1][1], "arrived": arrived}
    return costs.Observed(**usual | {"rates": rows.Rates(((0.0, 8e6),))} | more)


def test_a_run_at_half_the_rate_costs_twice_the_ideal() -> None:
    found = costs.measures_of(observed())
    assert found["cost"] == pytest.approx(2.0, rel=1e-3)
    assert found["in_vain"] == 0
    assert found["in_flight_by_second"] == [4.0] * 10


def test_bytes_that_are_not_the_file_are_in_vain() -> None:
    whole = observed()
    found = costs.measures_of(observed(size=whole.size // 2))
    assert found["in_vain"] == pytest.approx(0.5, rel=1e-3)
    assert found["cost"] == pytest.approx(4.0, rel=1e-3)


def test_a_stopped_run_costs_what_its_bytes_cost_until_then() -> None:
    whole = observed()
    found = costs.measures_of(observed(size=whole.size * 100, complete=False))
    assert found["cost"] == pytest.approx(2.0, rel=1e-3)


def test_the_capacity_of_a_link_follows_its_rate() -> None:
    rates = rows.Rates(((0.0, 8e6), (105.0, 16e6)))
    assert rates.capacity(100, 110) == pytest.approx(rows.goodput(8e6) * 5 + rows.goodput(16e6) * 5)
    assert rates.capacity(106, 107) == pytest.approx(rows.goodput(16e6))


def test_the_right_rate_is_the_least_of_the_settled_intervals() -> None:
    """40 s at 8 Mbit/s, of which the second half only gets half of it: the settled part of that is what counts."""
    goodput = rows.goodput(8e6)
    samples = [[100 + n / 10, round(goodput * (n / 10 if n < 200 else 20 + (n - 200) / 20)), 4] for n in range(401)]
    arrived = {**observed().arrived, "samples": samples, "received": samples[-1][1]}
    rates = rows.Rates(((0.0, 8e6), (120.0, 8e6)))
    found = costs.measures_of(observed(ended=140.0, arrived=arrived, rates=rates))
    assert found["right_rate"] == pytest.approx(0.5, rel=0.01)


def test_the_best_of_the_fixed_numbers_is_what_a_goal_is_compared_with() -> None:
    link = rows.Link.read({"name": "one", "rate": 1e6, "variants": ["auto", "8", "32", "8:bbr"]})
    summary = dict.fromkeys(costs.MEASURES)
    found = [
        {"link": "one", "variant": variant, "summary": {**summary, "cost": cost, "rate": 1 / cost}}
        for variant, cost in (("auto", 1.5), ("8", 3.0), ("32", 2.0), ("8:bbr", 1.0))
    ]
    cost = rows.Goal(of="auto", what="cost", to="best", most=1.05)
    rate = rows.Goal(of="auto", what="rate", to="best", least=0.9)
    assert costs.compare(link, cost, found) == pytest.approx(0.75)
    assert costs.compare(link, rate, found) == pytest.approx(4 / 3)
    assert costs.compare(link, rows.Goal(of="auto", what="cost", to="sdk", most=1), found) is None
    # Compared with fixed numbers of the same congestion control.
    found += [
        {"link": "one", "variant": variant, "summary": {**summary, "cost": cost}}
        for variant, cost in (("auto:bbr", 1.2), ("auto:system", 1.0))
    ]
    assert costs.compare(link, rows.Goal(of="auto:bbr", what="cost", to="best", most=1), found) == pytest.approx(1.2)
    assert costs.compare(link, rows.Goal(of="auto:system", what="cost", to="best", most=1), found) is None
    assert cost.holds(1.05)
    assert not cost.holds(1.06)


def test_a_small_file_is_measured_on_a_link_or_the_machine_lacks_something(tmp_path: Path) -> None:
    kept = tmp_path / "results" / "links.json"
    command = [sys.executable, "-m", "benchmarks.links", "--quick", "--size", "2000000", "--output", str(kept)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    if "left out:" in done.stdout:
        assert not kept.exists()
        return
    record = json.loads(kept.read_text(encoding="utf-8"))
    assert [row["variant"] for row in record["rows"]] == ["auto", "8"]
    # No link carries more than its rate; if one seems to, the clock or the count is wrong.
    assert all(run["cost"] > 1 and run["complete"] for row in record["rows"] for run in row["runs"])
    command = [sys.executable, "-m", "benchmarks.report", "--results", str(kept.parent), "--print"]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    auto = record["rows"][0]["runs"][0]["cost"]
    assert f"| 40 ms, no loss | cost of auto ≤ 1.08 | {auto:.3f} |" in report.stdout, report.stderr
    assert f"| 40 ms, no loss | auto | {auto:.2f} |" in report.stdout
