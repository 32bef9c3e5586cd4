"""Compare the results with the goals: the short table, a line for each goal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import ge, le
from typing import Any, NamedTuple

from ..links.costs import compare
from ..links.rows import read_links

Record = dict[str, Any]


class Goal(NamedTuple):
    """A goal, and the result."""

    what: str
    measured: float
    holds: Callable[[float, float], bool]
    wanted: float
    form: str = "{:.2f}"
    wanted_form: str | None = None
    """The format of the goal, if it is another one."""

    def cells(self) -> list[str]:
        """Return the cells of its line."""
        sign = "≥" if self.holds is ge else "≤"
        shown, wanted = self.form.format(self.measured), (self.wanted_form or self.form).format(self.wanted)
        # Compared as shown, rounded: the spread of the runs is much wider than the other digits.
        met = self.holds(float(shown.split()[0]), float(wanted.split()[0]))
        return [self.what, f"**{shown}**" if met else shown, f"{sign} {wanted}"]


def goals(records: dict[str, Record]) -> Iterator[Goal]:
    """Yield the goals for which there is a record."""
    for name, find in FOUND.items():
        if name in records:
            yield from find(records[name]["rows"])


USUAL = (32 << 20, 5)
"""Part size and parts in flight for which there are goals."""


def _of_throughput(rows: list[Record]) -> Iterator[Goal]:
    found = {
        (cell["stated"], row["client"]): row["ours_to_it"]
        for row in rows
        # Frame.io has TLS only: plain HTTP is a row of the table without a goal.
        if (cell := row["cell"])["cache"] == "warm" and cell["tls"] and (cell["part_size"], cell["in_flight"]) == USUAL
    }
    wanted = [
        ("speed", "crc64nvme", "rate", ge, {"ours, unchecked": 0.93, "frameio SDK": 1.75, "libcurl": 0.95}),
        ("CPU", "crc64nvme", "cpu", le, {"ours, unchecked": 1.08}),
        ("speed, a host that states MD5s alone", "md5", "rate", ge, {"MD5 alone": 0.74}),
    ]
    for what, stated, key, holds, peers in wanted:
        for peer, number in peers.items():
            if (ratio := found.get((stated, peer))) is not None:
                yield Goal(f"{what}, ours ÷ {peer}", ratio[key], holds, number)


def _of_loop_lag(rows: list[Record]) -> Iterator[Goal]:
    for row in rows:
        if row["client"] == "ours, asyncio" and row["cell"]["tls"] and row["cell"]["in_flight"] == 5:
            for key, wanted in (("p50", 2.0), ("p99", 2.5)):
                yield Goal(f"the loop's lateness at full speed, {key}", row["summary"][key], le, wanted, "{:.1f} ms")


def _of_wan(rows: list[Record]) -> Iterator[Goal]:
    for row in rows:
        way, variant = row["way"], row["variant"]
        if variant["in_flight"] is None and not variant.get("lowat") and (way["rtt"], way["loss"]) == (0.04, 0.0):
            what = "40 ms, 200 Mbit/s, no loss: time ÷ (size ÷ rate)"
            yield Goal(what, row["summary"]["cost"], le, 1.08)


def _of_links(rows: list[Record]) -> Iterator[Goal]:
    for link in read_links():
        for goal in link.goals:
            if (measured := compare(link, goal, rows)) is not None:
                holds, bound = (ge, goal.least) if goal.least is not None else (le, goal.most)
                assert bound is not None
                against = f" ÷ that of {goal.to}" if goal.to else ""
                yield Goal(f"{link.name}: {goal.what} of {goal.of}{against}", measured, holds, bound)


def _of_many_small(rows: list[Record]) -> Iterator[Goal]:
    ratios = [
        row["summary"]["ours_to_it"]
        for row in rows
        if row["cell"]["question"] == "files" and row["client"].startswith("frameio SDK")
    ]
    if ratios:
        yield Goal("small files a second, ours ÷ frameio SDK at its best", min(ratios), ge, 8.0, "{:.1f}")


def _of_memory(rows: list[Record]) -> Iterator[Goal]:
    peaks: dict[int, list[float]] = {}
    for row in rows:
        if row["client"] == "ours":
            peaks.setdefault(row["cell"]["in_flight"], []).append(row["summary"]["memory_mib"])
    if peaks:
        flat = max(max(some) / min(some) for some in peaks.values())
        yield Goal("peak memory over part sizes of 8 MiB to 1 GiB, most ÷ least", flat, le, 1.1)
    for row in rows:
        cell = row["cell"]
        if row["client"] == "ours" and (cell["in_flight"], cell["part_size"]) == (16, 1 << 30):
            what = "peak memory, 16 parts of 1 GiB in flight"
            yield Goal(what, row["summary"]["memory_mib"], le, 64.0, "{:.0f} MiB")


def _of_journal(rows: list[Record]) -> Iterator[Goal]:
    for row in rows:
        cell, one = row["cell"], row["summary"]
        if row["client"] != "ours, journal":
            continue
        if cell["part_size"] > 1024 and cell["parts"] > 1:
            high, middle = one["more_time_high"] * 100, one["more_time"] * 100
            how = "by default" if cell["checksum"] == "auto" else "unchecked"
            # Compared by the upper limit of the confidence interval: the spread of the runs is wider than the cost.
            form = f"{{:.1f}} % at most (with 95 %), {middle:.1f} % in the middle"
            yield Goal(f"what the journal adds to the time, {how}", high, le, 2.0, form, "{:.1f} %")
        elif cell["in_flight"] == 1:
            yield Goal("what it takes of the loop, a part by itself", one["loop_ms_a_part"], le, 1.0, "{:.2f} ms")


def _of_fleet(rows: list[Record]) -> Iterator[Goal]:
    wanted = {2: 0.55, 4: 0.3}
    for row in rows:
        if (hosts := row["cell"]["hosts"]) in wanted:
            yield Goal(f"a file by {hosts} hosts, time ÷ that of one", row["summary"]["share"], le, wanted[hosts])


def _of_processes(rows: list[Record]) -> Iterator[Goal]:
    for row in rows:
        cell, one = row["cell"], row["summary"]
        what = f"{cell['processes']} x {cell['files']} uploads of one user"
        if cell["foreign"]:
            yield Goal(f"{what} beside another client, failed", one["failed"], le, 0, "{:.0f}")
        elif (cell["processes"], cell["files"]) == (1, 200):
            yield Goal(f"{what}, time ÷ ideal", one["to_ideal"], le, 1.03)
            yield Goal(f"{what}, refusals a creation", one["refused_creations"], le, 0.0)
        elif (cell["processes"], cell["files"]) == (12, 20):
            yield Goal(f"{what}, time ÷ ideal", one["to_ideal"], le, 1.15)
            yield Goal(f"{what}, failed", one["failed"], le, 0, "{:.0f}")
            yield Goal(f"{what}, refusals a creation", one["refused_creations"], le, 0.5)
            yield Goal(f"{what}, slowest ÷ fastest process", one["slowest_to_fastest"], le, 1.6)


def _of_import_time(rows: list[Record]) -> Iterator[Goal]:
    for row in rows:
        one = row["summary"]
        if row["client"] == "import aioframeio_upload":
            yield Goal("`import aioframeio_upload`, more than aiohttp's", one["more_ms"], le, 30.0, "{:.0f} ms")
        elif row["client"].endswith("--help"):
            yield Goal("`aioframeio-upload --help`", one["ms"], le, 500.0, "{:.0f} ms")


FOUND: dict[str, Callable[[list[Record]], Iterator[Goal]]] = {
    "throughput": _of_throughput,
    "loop_lag": _of_loop_lag,
    "memory": _of_memory,
    "many_small": _of_many_small,
    "journal": _of_journal,
    "wan": _of_wan,
    "links": _of_links,
    "fleet": _of_fleet,
    "processes": _of_processes,
    "import_time": _of_import_time,
}
