"""Draw the results as SVG plots, a file for each benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

Record = dict[str, Any]
# The same input makes the same file: ids are not random, and (in `draw`) there is no date.
mpl.rcParams["svg.hashsalt"] = "aioframeio-upload"
COLORS = {"ours": "#1b6ca8", "frameio SDK": "#c8553d"}
OTHERS = ("#9aa5b1", "#7b8794", "#52606d", "#323f4b")


def color(client: str, position: int) -> str:
    """Return the colour of a client: fixed for ours and for the SDK."""
    return COLORS.get(client.partition(",")[0], OTHERS[position % len(OTHERS)])


def throughput(record: Record, axes: Axes) -> None:
    """Draw bars for a warm cache and the cell that is nearest to 5 in flight, with the smallest parts."""
    rows = [row for row in record["rows"] if row["cell"]["cache"] == "warm" and row["cell"]["stated"] != "md5"]
    rows = rows or record["rows"]
    wanted = min((abs(row["cell"]["in_flight"] - 5), row["cell"]["part_size"]) for row in rows)
    rows = [row for row in rows if (abs(row["cell"]["in_flight"] - 5), row["cell"]["part_size"]) == wanted]
    names = [f"{row['client']}\n{'TLS' if row['cell']['tls'] else 'plain'}" for row in rows]
    rates = [row["summary"]["mib_per_second"] for row in rows]
    below = [rate - row["summary"]["slowest"] for rate, row in zip(rates, rows, strict=True)]
    above = [row["summary"]["fastest"] - rate for rate, row in zip(rates, rows, strict=True)]
    axes.barh(names, rates, xerr=[below, above], color=[color(row["client"], 1) for row in rows], ecolor="#323f4b")
    axes.invert_yaxis()
    axes.set_xlabel("MiB/s on one core (median, fastest and slowest run)")


def memory(record: Record, axes: Axes) -> None:
    """Draw a line for each client and number in flight."""
    series: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for row in record["rows"]:
        key = (row["client"], row["cell"]["in_flight"])
        series.setdefault(key, []).append((row["cell"]["part_size"] >> 20, row["summary"]["memory_mib"]))
    for (client, number), points in series.items():
        ordered = sorted(points)
        label = f"{client}, {number} in flight"
        xs, ys = [x for x, _ in ordered], [y for _, y in ordered]
        axes.plot(xs, ys, marker="o", label=label, color=color(client, number), alpha=0.5 + 0.5 / number)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("size of a part, MiB")
    axes.set_ylabel("VmHWM, MiB")
    axes.legend()


def loop_lag(record: Record, axes: Axes) -> None:
    """Draw the 50th and 99th percentiles."""
    cells = [(row["client"], row["cell"]) for row in record["rows"]]
    names = [f"{client}, {'TLS' if cell['tls'] else 'plain'}, {cell['in_flight']}" for client, cell in cells]
    axes.barh(names, [row["summary"]["p99"] for row in record["rows"]], color="#9aa5b1", label="p99")
    axes.barh(names, [row["summary"]["p50"] for row in record["rows"]], color=COLORS["ours"], label="p50")
    axes.invert_yaxis()
    axes.set_xlabel("lateness of a 5 ms ticker, ms")
    axes.legend()


def many_small(record: Record, axes: Axes) -> None:
    """Draw files per second."""
    rows = [row for row in record["rows"] if row["cell"]["question"] == "files"]
    names, rates = [row["client"] for row in rows], [row["summary"]["files_per_second"] for row in rows]
    axes.barh(names, rates, color=[color(name, 1) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("files a second")


def way_words(way: dict[str, float]) -> str:
    """Return the name of a simulated link."""
    return f"{way['rtt'] * 1000:.0f} ms, {way['loss'] * 100:g} % loss, {way['rate'] / 1e6:.0f} Mbit/s"


def wan(record: Record, axes: Axes) -> None:
    """Draw the cost by the number of parts in flight, a line for each way."""
    series: dict[str, list[tuple[int, float]]] = {}
    for row in record["rows"]:
        number = row["variant"]["in_flight"]
        if number is not None and not row["variant"].get("lowat"):
            series.setdefault(way_words(row["way"]), []).append((number, row["summary"]["cost"]))
    for name, points in series.items():
        ordered = sorted(points)
        axes.plot([x for x, _ in ordered], [y for _, y in ordered], marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("parts in flight")
    axes.set_ylabel("wall time ÷ (size ÷ rate)")
    if series:
        axes.legend(fontsize="small")


def links(record: Record, axes: Axes) -> None:
    """Draw the cost of each variant on each link that has a cost."""
    rows = [row for row in record["rows"] if row["summary"]["cost"] is not None]
    names = list(dict.fromkeys(row["link"] for row in rows))
    for variant in dict.fromkeys(row["variant"] for row in rows):
        found = [row for row in rows if row["variant"] == variant]
        places = [names.index(row["link"]) for row in found]
        costs = [row["summary"]["cost"] for row in found]
        is_ours = variant.startswith("auto")
        shade = COLORS["ours"] if is_ours else COLORS["frameio SDK"] if variant == "sdk" else "#9aa5b1"
        axes.scatter(costs, places, color=shade, marker="D" if is_ours else "o", alpha=0.5 if ":" in variant else 1.0)
        if not is_ours:
            for cost, place in zip(costs, places, strict=True):
                axes.annotate(
                    variant, (cost, place), (0, 6), textcoords="offset points", fontsize="x-small", ha="center"
                )
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("wall time ÷ (size ÷ rate); diamonds: auto")


def links_over_time(record: Record, axes: Axes) -> None:
    """Draw the rate and the number of parts in flight on the link whose rate changes, of `auto` if it was measured."""
    found = {row["variant"]: row["runs"][-1] for row in record["rows"] if row["link"] == "200, 20, 200 Mbit/s"}
    for variant, one in sorted(found.items(), key=lambda item: item[0] != "auto")[:1]:
        axes.step(
            range(len(one["mb_by_second"])), one["mb_by_second"], where="post", color=COLORS["ours"], label="MB/s"
        )
        axes.plot(one["in_flight_by_second"], color=COLORS["frameio SDK"], label=f"in flight, {variant}")
        axes.legend()
    axes.set_xlabel("seconds; the link carries 200, 20 and again 200 Mbit/s")


PLOTS: dict[str, Callable[[Record, Axes], None]] = {
    "throughput": throughput,
    "memory": memory,
    "loop_lag": loop_lag,
    "many_small": many_small,
    "wan": wan,
    "links": links,
    "links_over_time": links_over_time,
}

RECORDS = {"links_over_time": "links"}
"""The record that a plot is drawn from, if it has another name."""


def draw(records: dict[str, Record], folder: Path) -> list[Path]:
    """Draw the plots for which there is a record, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, plot in PLOTS.items():
        record = records.get(RECORDS.get(name, name))
        if record is not None:
            figure = Figure(figsize=(8, 4.5), layout="constrained")
            plot(record, figure.add_subplot())
            path = folder / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            drawn.append(path)
    return drawn
