"""Measure the peak memory of the uploading process, by the size of the parts and their number in flight.

It is the VmHWM of the whole process, including the interpreter and all imports. The source is sparse: none of it is on
the disk or in the page cache, so each block is read in a thread, which needs more memory than reading from the cache.
The SDK is left out where its parts would not fit into this machine's memory.
"""

from __future__ import annotations

import os
from typing import Any

from .harness import contenders
from .harness.measure import Contender, interleave, summarize
from .harness.record import print_table, write_record
from .harness.stage import MIB, make_source, sink
from .harness.words import many, parser, show_size, size

LEAST = 256 * MIB
"""Bytes to send at least, so that every buffer is in use for a while."""


def main() -> None:
    """Measure each part size with each number of parts in flight."""
    options = parser(__doc__, runs=1)
    options.set_defaults(warm_up=0)
    sizes = [8 << 20, 64 << 20, 512 << 20, 1 << 30]
    options.add_argument("--part-size", type=many(size), default=sizes, help="e.g. 8MiB,1GiB")
    options.add_argument("--in-flight", type=many(int), default=[1, 5, 16], help="e.g. 1,5,16")
    options.add_argument("--sdk-part-size", type=size, default=512 << 20, help="the largest for the SDK (512MiB)")
    options.add_argument("--sdk-in-flight", type=int, default=5, help="the most for the SDK (5)")
    options.add_argument("--plain", action="store_true", help="plain HTTP (default: TLS)")
    options.add_argument("--least", type=size, default=LEAST, help="bytes to send at least (256MiB)")
    given = options.parse_args()
    if given.quick:
        given.part_size, given.in_flight = [8 << 20, 64 << 20], [5]
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    with sink(tls=not given.plain) as target:
        for in_flight in given.in_flight:
            for part_size in given.part_size:
                source = make_source(max(part_size * in_flight, given.least), part_size, sparse=True)
                stated = source.statements("crc64nvme")
                compared: list[Contender] = [contenders.ours(target, source, in_flight, stated=stated)]
                free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
                small = part_size <= given.sdk_part_size and in_flight <= given.sdk_in_flight
                if small and contenders.sdk_memory(source, in_flight) < free:
                    compared.append(contenders.sdk(target, source, in_flight))
                else:
                    left_out.append(f"frameio SDK: {in_flight} parts of {show_size(part_size)}")
                runs = interleave(compared, given.runs, warm_up=given.warm_up)
                cell = {"tls": not given.plain, "part_size": part_size, "in_flight": in_flight}
                for name, some in runs.items():
                    summary = summarize(some, source.size)
                    rows.append({"cell": cell, "size": source.size, "client": name, "summary": summary, "runs": some})
                source.path.unlink()
    show(rows, given.part_size, given.in_flight)
    write_record("memory", rows, left_out=left_out, path=given.output)


def show(rows: list[dict[str, Any]], sizes: list[int], in_flight: list[int]) -> None:
    """Print a line for each client and number in flight, with a column for each part size."""
    peak = {(r["client"], r["cell"]["in_flight"], r["cell"]["part_size"]): r["summary"].memory_mib for r in rows}
    lines = []
    for client in dict.fromkeys(row["client"] for row in rows):
        for number in in_flight:
            found = [peak.get((client, number, part_size)) for part_size in sizes]
            cells = ["-" if one is None else f"{one:.1f}" for one in found]
            known = [one for one in found if one is not None]
            if known:
                lines.append((client, number, *cells, round(max(known) - min(known), 1)))
    print_table(("VmHWM MiB, parts of", "in flight", *map(show_size, sizes), "spread"), lines)


if __name__ == "__main__":
    main()
