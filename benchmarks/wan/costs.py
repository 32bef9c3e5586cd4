"""Compute the cost of a run over the WAN, the medians of many runs, and the best number of parts in flight."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from .network import Way

COLD, TAIL = 3, 3
"""Whole seconds at the begin and at the end of a run for which the unused time of the link is reported.

At 150 ms, slow start is over after the first three. In the last three, fewer and fewer connections are left, and their
windows are too small for the whole link.
"""

WITHIN = 1.05
"""A cost up to this factor of the best one counts as equal: runs with one setting differ by more."""

MEDIANS = (
    *("cost", "seconds", "cold_seconds", "tail_seconds", "ahead_median", "ahead_max"),
    *("retransmitted", "cpu_seconds", "cpu_waited", "cpu_busy"),
)

Cells = dict[tuple["Way", "Variant"], list[dict[str, Any]]]


@dataclass(frozen=True)
class Variant:
    """The settings of the client."""

    in_flight: int | None
    """`Limits.parts`; None for the library's default."""
    lowat: int | None = None
    """TCP_NOTSENT_LOWAT in bytes."""

    def __str__(self) -> str:
        name = "default" if self.in_flight is None else str(self.in_flight)
        return name if self.lowat is None else f"{name}, lowat"


def cost_of(sent: dict[str, Any], arrived: dict[str, Any], goodput: float) -> dict[str, Any]:
    """Return the cost of a run, from the reports of the client and of the sink."""
    began_at, ended_at = sent.pop("began_at"), sent.pop("ended_at")
    seconds = ended_at - began_at
    samples = [(0.0, 0), *((at - began_at, count) for at, count in arrived["samples"] if at > began_at)]
    if sent["complete"]:
        # The sink's last sample may be older than its last byte.
        samples.append((max(seconds, samples[-1][0]), arrived["received"]))
    received = received_at(samples, seconds)
    marks = [received_at(samples, min(second, seconds)) for second in range(int(seconds) + 2)]
    ahead = [count - received_at(samples, at - began_at) for at, count in sent.pop("progress")] or [0.0]
    cold, tail = min(COLD, seconds), max(int(seconds) - TAIL + 1, 0)
    return {
        **sent,
        "connections": arrived["connections"],
        "sink_cpu_waited": arrived["sink_cpu_waited"],
        "seconds": seconds,
        "received": round(received),
        "cost": seconds * goodput / max(received, 1),
        "cold_seconds": cold - received_at(samples, cold) / goodput,
        "tail_seconds": seconds - tail - (received - received_at(samples, tail)) / goodput,
        "ahead_median": statistics.median(ahead),
        "ahead_max": max(ahead),
        "mb_by_second": [round((after - before) / 1e6, 2) for before, after in pairwise(marks)],
    }


def received_at(samples: Sequence[tuple[float, int]], at: float) -> float:
    """Return how many bytes had arrived at an instant, by linear interpolation."""
    after = bisect_left(samples, (at, 0))
    if after == len(samples):
        return samples[-1][1]
    if after == 0:
        return samples[0][1]
    (t0, n0), (t1, n1) = samples[after - 1], samples[after]
    # The fraction is computed first: if it is 1, the result is exactly the second sample, without a rounding error.
    return n0 + (n1 - n0) * ((at - t0) / (t1 - t0))


def cells_of(runs: Iterable[dict[str, Any]]) -> Cells:
    """Return the runs grouped by way and variant."""
    cells: Cells = {}
    for one in runs:
        cells.setdefault((Way(**one["way"]), Variant(**one["variant"])), []).append(one)
    return cells


def rows_of(cells: Cells) -> list[dict[str, Any]]:
    """Return the rows of the record: medians, spread, and every run."""
    return [
        {
            "way": asdict(way),
            "variant": asdict(variant),
            "summary": {
                **{name: statistics.median(one[name] for one in runs) for name in MEDIANS},
                "cost_min": min(one["cost"] for one in runs),
                "cost_max": max(one["cost"] for one in runs),
                "capped": sum(not one["complete"] for one in runs),
            },
            "runs": runs,
        }
        for (way, variant), runs in sorted(cells.items(), key=order)
    ]


def order(cell: tuple[tuple[Way, Variant], list[dict[str, Any]]]) -> tuple[object, ...]:
    """Return the sort key of a cell for the tables: without loss first, few parts before many, the default last."""
    (way, variant), _ = cell
    return way.congestion, way.queue, way.loss, way.rtt, variant.in_flight or 1000, variant.lowat or 0


def choose(rows: Sequence[dict[str, Any]]) -> int | None:
    """Return the number of parts in flight that is near the best on each way without loss, and the best with loss."""
    costs: dict[Way, dict[int, float]] = {}
    for row in rows:
        if row["variant"]["in_flight"] is not None:
            costs.setdefault(Way(**row["way"]), {})[row["variant"]["in_flight"]] = row["summary"]["cost"]
    clean = [found for way, found in costs.items() if not way.loss]
    lossy = [found for way, found in costs.items() if way.loss]
    near = [{n for n, cost in found.items() if cost <= min(found.values()) * WITHIN} for found in clean]
    candidates = set.intersection(*near) if near else set()
    # Ratios to the best of each way, because in the sum of costs the longest way would count most.
    return min(candidates, key=lambda n: (sum(way.get(n, 0) / min(way.values()) for way in lossy), n), default=None)


def cost_table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return a table of costs, a line for each way and a column for each variant; `>` marks runs that were stopped."""
    cells = {(Way(**row["way"]), Variant(**row["variant"])): row["summary"] for row in rows}
    variants = sorted({variant for _, variant in cells}, key=lambda one: (one.in_flight or 1000, one.lowat or 0))
    lines = []
    for way in dict.fromkeys(way for way, _ in cells):
        line = [str(way)]
        for variant in variants:
            cell = cells.get((way, variant))
            line.append("" if cell is None else show_cost(cell))
        lines.append(line)
    return ["cost at parts in flight:", *map(str, variants)], lines


def show_cost(cell: dict[str, Any]) -> str:
    """Return a median and its spread as text."""
    return f"{'>' if cell['capped'] else ''}{cell['cost']:.2f} ({cell['cost_min']:.2f}-{cell['cost_max']:.2f})"


def detail_table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Return a table of the other measurements, a line for each row."""
    heads = [
        "way",
        "in flight",
        "seconds",
        "cold s",
        "tail s",
        "ahead MB",
        "at most",
        "resent",
        "client CPU s",
        "waited for CPU s",
    ]
    lines: list[list[object]] = []
    for row in rows:
        one = row["summary"]
        words: list[object] = [str(Way(**row["way"])), str(Variant(**row["variant"])), one["seconds"]]
        words += [one["cold_seconds"], one["tail_seconds"], one["ahead_median"] / 1e6, one["ahead_max"] / 1e6]
        lines.append([*words, round(one["retransmitted"]), one["cpu_seconds"], one["cpu_waited"]])
    return heads, lines
