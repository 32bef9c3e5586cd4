"""Measure how fast the parts of a file are sent, compared with the official SDK, curl, libcurl and a minimal C client.

The client runs on one core and the sink on the other, on loopback. By default the sink states each part's CRC64NVME, as
S3 does; with `--stated md5` it states its MD5 alone, and both use both cores. Every row is the median of interleaved
runs. A ratio is ours ÷ theirs: of MiB/s (more is better) and of CPU seconds per GiB (less is better). The C floor and
libcurl read slices of the file; curl cannot, and gets each part as a file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

from .harness import cache, contenders
from .harness.measure import Contender, Run, Summary, interleave, summarize, warn_of_noise
from .harness.record import RESULTS, print_table, write_record
from .harness.stage import CORES, Sink, Source, make_source, sink
from .harness.words import many, parser, show_size, size

LUKEWARM = 0.01
"""The fraction of a file that may be left in the cache for it to count as cold."""


@dataclass(frozen=True)
class Cell:
    """One combination of settings, for which all clients are compared."""

    tls: bool
    cache: str
    part_size: int
    in_flight: int
    stated: str
    """What the sink states of each part: "crc64nvme" (and its MD5, as S3 does) or "md5"."""

    def __str__(self) -> str:
        wire = "TLS 1.3" if self.tls else "plain"
        parts = f"parts of {show_size(self.part_size)}, {self.in_flight} in flight"
        return f"{wire}, {self.cache} cache, {parts}, {self.stated}"


def compared(cell: Cell, target: Sink, source: Source) -> tuple[list[Contender], list[str]]:
    """Return the clients that are measured in a cell, and the reasons why others are left out."""
    is_slow = cell.stated == "md5"
    cores = contenders.EVERY_CORE if is_slow else contenders.ONE_CORE
    stated = source.statements("md5") if is_slow else source.statements("md5", "crc64nvme")
    ours = partial(contenders.ours, target, source, cell.in_flight, stated=stated, cores=cores)
    makers: list[Callable[[], Contender]] = [ours, partial(ours, name="ours, unchecked", checksum="off")]
    left_out = []
    if contenders.sdk_memory(source, cell.in_flight) < os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        makers.append(partial(contenders.sdk, target, source, cell.in_flight, cores=cores))
    else:
        left_out.append("frameio SDK: it holds every part in flight in memory, and this machine has too little")
    if is_slow:
        makers.append(partial(contenders.md5, target, source, cores=cores))
    else:
        makers.append(partial(contenders.curl, target, source, cell.in_flight))
        makers += [partial(contenders.native, name, target, source, cell.in_flight) for name in ("libcurl", "floor")]
    found, missing = contenders.present(makers)
    return found, [f"{cell}: {reason}" for reason in left_out + missing]


def uses_part_files(found: list[Contender]) -> bool:
    """Return whether curl is among the clients: it cannot send a slice of a file."""
    return any(one.name.startswith("curl") for one in found)


def prepare(cell: Cell, source: Source, contender: Contender) -> None:
    """Empty the cache for a cold run, and check the size of the source."""
    if source.path.stat().st_size != source.size:
        sys.exit(f"{source.path.name} does not have {source.size} bytes")
    if cell.cache == "cold":
        paths = source.part_files() if uses_part_files([contender]) else [source.path]
        cache.cool(paths)
        if (left := max(map(cache.resident, paths))) > LUKEWARM:
            print(f"  not quite cold: {left:.0%} of a file is still cached", file=sys.stderr)


def measure(cell: Cell, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure one cell, print its table, and return its rows and the reasons for what is left out."""
    # At least as many parts as can be in flight at the same time.
    source = make_source(max(options.size, cell.part_size * cell.in_flight), cell.part_size)
    with sink(tls=cell.tls, cores=set(CORES) if cell.stated == "md5" else None) as target:
        found, left_out = compared(cell, target, source)
        if cell.cache == "warm":
            cache.warm([source.path, *(source.part_files() if uses_part_files(found) else [])])
        runs = interleave(found, options.runs, warm_up=options.warm_up, before=partial(prepare, cell, source))
    summaries = {name: summarize(some, source.size) for name, some in runs.items()}
    print(f"\n{cell} ({show_size(source.size)}, {options.runs} runs)")
    show(summaries)
    for reason in left_out:
        print(f"left out: {reason}")
    warn_of_noise(one.noise for one in summaries.values())
    return [row(cell, source, name, runs[name], summaries) for name in runs], left_out


def show(summaries: dict[str, Summary]) -> None:
    """Print one cell's table."""
    lines = []
    for name, one in summaries.items():
        ratios = ratio(summaries, name)
        spread = f"{one.slowest:.0f}–{one.fastest:.0f}"  # noqa: RUF001  # an en dash, as ranges have
        numbers = (round(one.mib_per_second), spread, one.cpu_per_gib, round(one.memory_mib))
        lines.append((name, *numbers, ratios["rate"], ratios["cpu"]))
    print_table(("", "MiB/s", "spread", "CPU s/GiB", "VmHWM MiB", "ours ÷ it", "CPU ÷ its"), lines)


def ratio(summaries: dict[str, Summary], name: str) -> dict[str, float]:
    """Return the ratios of ours to another client."""
    mine, other = summaries["ours"], summaries[name]
    return {"rate": mine.mib_per_second / other.mib_per_second, "cpu": mine.cpu_per_gib / other.cpu_per_gib}


def row(cell: Cell, source: Source, name: str, runs: list[Run], summaries: dict[str, Summary]) -> dict[str, Any]:
    """Return a row of the record."""
    return {
        "cell": asdict(cell),
        "size": source.size,
        "client": name,
        "summary": summaries[name],
        "ours_to_it": ratio(summaries, name),
        "runs": runs,
    }


def cells(options: argparse.Namespace) -> list[Cell]:
    """Return the cells that the options select."""
    if options.quick:
        return [Cell(True, "warm", 32 << 20, 5, "crc64nvme")]
    wires = [wire for wire, asked in ((True, options.tls), (False, options.plain)) if asked] or [True, False]
    ways = ["crc64nvme", "md5"] if options.stated == "both" else [options.stated]
    found = [
        Cell(tls, state, part_size, in_flight, stated)
        for tls, stated in product(wires, ways)
        for state in options.cache
        for part_size, in_flight in product(options.part_size, options.in_flight)
    ]
    # The cost of an MD5 is measured over TLS only, because Frame.io has nothing else, unless it is requested alone.
    return [cell for cell in found if cell.tls or cell.stated != "md5" or options.stated == "md5"]


def main() -> None:
    """Measure all cells and write the record."""
    options = parser(__doc__, runs=5)
    options.add_argument("--tls", action="store_true", help="only TLS (default: both)")
    options.add_argument("--plain", action="store_true", help="only plain HTTP")
    options.add_argument("--cache", type=many(str), default=["warm", "cold"], help="warm, cold (default: both)")
    options.add_argument("--part-size", type=many(size), default=[32 << 20, 512 << 20], help="e.g. 32MiB,512MiB")
    options.add_argument("--in-flight", type=many(int), default=[1, 5, 16], help="e.g. 1,5,16")
    options.add_argument("--stated", choices=["crc64nvme", "md5", "both"], default="both", help="by the sink")
    options.add_argument("--size", type=size, default=2 << 30, help="of the file (default 2GiB)")
    options.add_argument("--add", action="store_true", help="to the cells that the JSON file has already")
    given = options.parse_args()
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    commands = ""
    earlier = given.output or RESULTS / "throughput.json"
    if given.add and earlier.exists():
        before = json.loads(earlier.read_text(encoding="utf-8"))
        rows, left_out, commands = before["rows"], before["left_out"], before["command"] + "; "
        for row in rows:
            row.setdefault("commit", before["commit"])
    try:
        for cell in cells(given):
            more, missing = measure(cell, given)
            rows = [one for one in rows if one["cell"] != asdict(cell)] + more
            left_out = [one for one in left_out if not one.startswith(f"{cell}: ")] + missing
    finally:
        # Also after Ctrl-C or a failure: only the current cell is lost.
        if rows:
            write_record("throughput", rows, left_out=left_out, path=given.output, before=commands)


if __name__ == "__main__":
    main()
