"""Compute the measures of a run, their medians, and whether the goals are reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..wan.costs import received_at
from .rows import Goal, Link, Rates, Variant

SETTLE = 10.0
"""Seconds after a change of the rate in which the client may adapt; and from the begin."""
END = 2.0
"""The last seconds of a run, in which fewer and fewer connections are left, do not count as adapted."""
LATER = 60.0
"""Seconds after which the thin link's number of parts in flight is looked at."""

MEASURES = (
    *("cost", "rate", "seconds", "in_vain", "in_flight_later", "right_rate", "beside", "retransmitted"),
    *("connections", "most_in_flight", "refusals", "cpu_seconds", "memory", "cpu_waited", "cpu_busy"),
)
"""The measures of a run:

* `cost`: what the link could carry in the time of the run, divided by the bytes that arrived: 1 is ideal. Of a run that
  was ended before its end, the bytes until then count.
* `rate`: bytes of the file per second.
* `in_vain`: the share of the bytes that arrived and were not the file: parts that were refused, raced or broken.
* `in_flight_later`: the most requests that the server had at once, after the first minute.
* `right_rate`: the least share of the link's rate that arrived in the intervals which begin 10 s after each change;
  only of a link that changes.
* `beside`: the share of the link that the foreign flow has.
* `retransmitted`: the share of the segments of the client that it sent again.
"""


@dataclass(frozen=True)
class Observed:
    """What one run left to be computed with. All instants are of the same clock."""

    began: float
    ended: float
    complete: bool
    size: int
    arrived: dict[str, Any]
    """The counts of the sink."""
    rates: Rates
    beside: dict[str, Any] | None = None
    """The counts of the sink of the foreign flow."""


def measures_of(run: Observed) -> dict[str, Any]:
    """Return the measures of a run that depend on what arrived."""
    seconds = run.ended - run.began
    samples = [(at, count) for at, count, _ in run.arrived["samples"]]
    active = [(at, number) for at, _, number in run.arrived["samples"] if run.began <= at <= run.ended]
    received = run.arrived["received"]
    useful = run.size if run.complete else min(run.size, received)
    capacity = run.rates.capacity(run.began, run.ended)
    found: dict[str, Any] = {
        "seconds": seconds,
        "complete": run.complete,
        "received": received,
        "cost": capacity / max(useful, 1) if capacity else None,
        "rate": useful / seconds,
        "in_vain": (received - useful) / max(received, 1),
        "connections": run.arrived["connections"],
        "refusals": run.arrived["refusals"],
        "most_in_flight": run.arrived["most_active"],
        "in_flight_later": max((number for at, number in active if at > run.began + LATER), default=None),
        "right_rate": right_rate(run, samples) if len(run.rates.steps) > 1 else None,
        "beside": None,
        "mb_by_second": by_second(samples, run.began, seconds),
        "in_flight_by_second": [
            round(statistics.fmean(number for at, number in active if second <= at - run.began < second + 1), 1)
            for second in range(int(seconds))
            if any(second <= at - run.began < second + 1 for at, _ in active)
        ],
    }
    if run.beside is not None:
        flow = [(at, count) for at, count, _ in run.beside["samples"]]
        carried = received_at(flow, run.ended) - received_at(flow, run.began)
        found |= {"beside": carried / capacity, "beside_mb_by_second": by_second(flow, run.began, seconds)}
    return found


def by_second(samples: Sequence[tuple[float, int]], began: float, seconds: float) -> list[float]:
    """Return the megabytes that arrived in each second."""
    marks = [received_at(samples, began + min(second, seconds)) for second in range(int(seconds) + 2)]
    return [round((after - before) / 1e6, 2) for before, after in pairwise(marks)]


def right_rate(run: Observed, samples: Sequence[tuple[float, int]]) -> float | None:
    """Return the least share of the link's rate in the intervals that begin SETTLE seconds after each change."""
    changed = [run.began, *(at for at, _ in run.rates.steps[1:])]
    until = [*changed[1:], run.ended - END]
    shares = []
    for at, next_at in zip(changed, until, strict=True):
        begin, end = at + SETTLE, min(next_at, run.ended - END)
        if end - begin >= 1 and (capacity := run.rates.capacity(begin, end)):
            shares.append((received_at(samples, end) - received_at(samples, begin)) / capacity)
    return min(shares, default=None)


def rows_of(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the record: medians, spread, and every run, in the order of the first runs."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in runs:
        cells.setdefault((one["link"], one["variant"]), []).append(one)
    return [
        {
            "link": link,
            "variant": variant,
            "summary": {
                **{name: median(found, name) for name in MEASURES},
                "cost_min": min((one["cost"] for one in found if one["cost"] is not None), default=None),
                "cost_max": max((one["cost"] for one in found if one["cost"] is not None), default=None),
                "capped": sum(not one["complete"] for one in found),
            },
            "runs": found,
        }
        for (link, variant), found in cells.items()
    ]


def median(runs: Sequence[dict[str, Any]], name: str) -> float | None:
    """Return the median of a measure over the runs that have it."""
    found = [one[name] for one in runs if one.get(name) is not None]
    return statistics.median(found) if found else None


def compare(link: Link, goal: Goal, rows: Sequence[dict[str, Any]]) -> float | None:
    """Return what a goal is about; None if that was not measured."""
    found = {(row["link"], row["variant"]): row["summary"][goal.what] for row in rows}
    here = {variant: value for (name, variant), value in found.items() if name == link.name and value is not None}
    measured = here.get(goal.of)
    if goal.to is None or measured is None:
        return measured
    if goal.to == "best":
        fixed = [value for name, value in here.items() if is_like(Variant.read(name), Variant.read(goal.of))]
        reference = (max if goal.least is not None else min)(fixed, default=None)
    elif goal.to == "auto without it":
        reference = found.get((link.without or "", "auto"))
    else:
        reference = here.get(goal.to)
    return measured / reference if reference else None


def is_like(fixed: Variant, variant: Variant) -> bool:
    """Return whether a variant has a fixed number of parts in flight, and otherwise the settings of another one."""
    return fixed.is_fixed and fixed.congestion == variant.congestion


def cost_table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Return a table with a line for each link and variant; `>` marks runs that were stopped."""
    heads = [
        "link",
        "variant",
        "cost",
        "MB/s",
        "in vain",
        "resent",
        "beside",
        "right rate",
        "at most",
        "later",
        "CPU s",
    ]
    lines: list[list[object]] = []
    for row in rows:
        one = row["summary"]
        shown = [number(one[name], form) for name, form in FORMS.items()]
        spread = (
            "" if len(row["runs"]) == 1 or one["cost"] is None else f" ({one['cost_min']:.2f}-{one['cost_max']:.2f})"
        )
        cost = "" if one["cost"] is None else f"{one['cost']:.2f}{spread}"
        lines.append(
            [row["link"], row["variant"], ">" * bool(one["capped"]) + cost, f"{one['rate'] / 1e6:.1f}", *shown]
        )
    return heads, lines


FORMS = {
    "in_vain": "{:.1%}",
    "retransmitted": "{:.2%}",
    "beside": "{:.3f}",
    "right_rate": "{:.2f}",
    "most_in_flight": "{:.0f}",
    "in_flight_later": "{:.0f}",
    "cpu_seconds": "{:.1f}",
}


def number(value: float | None, form: str) -> str:
    """Return a number as text, or nothing."""
    return "" if value is None else form.format(value)


def goal_table(links: Sequence[Link], rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Return a table of the goals of the links that were measured; also of those whose variants were not."""
    measured_links = {row["link"] for row in rows}
    found = [
        (link, goal, compare(link, goal, rows)) for link in links if link.name in measured_links for goal in link.goals
    ]
    return ["link", "goal", "measured", "reached"], [
        [link.name, str(goal), "", "not measured"]
        if measured is None
        else [link.name, str(goal), f"{measured:.3f}", "yes" if goal.holds(measured) else "no"]
        for link, goal, measured in found
    ]
