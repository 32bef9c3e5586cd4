"""Measure how late other tasks of the event loop wake while an upload runs at full speed.

A ticker in the uploading process sleeps 5 ms repeatedly; its lateness is reported in milliseconds. `idle` is the same
ticker in a process that sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

from .harness import cache, contenders
from .harness.measure import Run, interleave, warn_of_noise
from .harness.record import print_table, write_record
from .harness.stage import MIB, Sink, make_source, sink
from .harness.words import many, parser, size

PERIOD = 0.005
"""Seconds that the ticker sleeps."""

LOOPS = ("asyncio", "uvloop")


def main() -> None:
    """Measure TLS and plain HTTP, on asyncio's loop and on uvloop."""
    options = parser(__doc__, runs=5)
    options.add_argument("--size", type=size, default=2 << 30, help="of the file (default 2GiB)")
    options.add_argument("--part-size", type=size, default=32 << 20)
    options.add_argument("--in-flight", type=many(int), default=[5, 16], help="e.g. 5,16")
    given = options.parse_args()
    source = make_source(given.size, given.part_size)
    cache.warm([source.path])
    rows: list[dict[str, Any]] = []
    for tls in (True,) if given.quick else (True, False):
        for in_flight in given.in_flight[:1] if given.quick else given.in_flight:
            with sink(tls=tls) as target:
                stated = source.statements("crc64nvme")
                ours = partial(contenders.ours, source=source, in_flight=in_flight, tick=PERIOD, stated=stated)
                compared = [ours(target, name=f"ours, {loop}", loop=loop) for loop in LOOPS]
                no_sink = Sink(0, None, target.pid)
                compared += [
                    contenders.ours(no_sink, source, in_flight, name=f"idle, {loop}", loop=loop, tick=PERIOD)
                    for loop in LOOPS
                ]
                runs = interleave(compared, given.runs, warm_up=given.warm_up)
            cell = {"tls": tls, "part_size": given.part_size, "in_flight": in_flight}
            for name, some in runs.items():
                medians = summary(name, some, given.size)
                rows.append({"cell": cell, "size": given.size, "client": name, "summary": medians, "runs": some})
    show(rows)
    write_record("loop_lag", rows, path=given.output)


def summary(name: str, runs: Sequence[Run], size: int) -> dict[str, float]:
    """Return the medians of the runs; the longest delay is that of all runs."""
    found = {key: round(median(run.told[key] for run in runs), 3) for key in ("p50", "p99")}
    found["max"] = max(run.told["max"] for run in runs)
    found["noise"] = median(run.noise for run in runs)
    if name.startswith("ours"):
        found["mib_per_second"] = round(median(size / MIB / run.seconds for run in runs), 1)
    return found


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    lines = []
    for row in rows:
        one, wire = row["summary"], "TLS 1.3" if row["cell"]["tls"] else "plain"
        rate = str(round(one["mib_per_second"])) if "mib_per_second" in one else "-"
        lines.append((row["client"], wire, row["cell"]["in_flight"], rate, one["p50"], one["p99"], one["max"]))
    print_table(("", "wire", "in flight", "MiB/s", "p50 ms", "p99 ms", "max ms"), lines)
    warn_of_noise(row["summary"]["noise"] for row in rows)


if __name__ == "__main__":
    main()
