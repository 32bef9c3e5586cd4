"""Measure the journal's cost: the time that it adds to an upload, and the time of the event loop for each part.

The files are: one in parts of 20 MiB, by default and without the check of ETags; one in a single part, for the cost at
the begin and the end of an upload; and one in very many tiny parts, where the journal is most of the cost: with several
in flight, which share a wait for the disk, and with one after the other, which do not. The client, including the
journal's thread, runs on one core. The loop's time is the CPU time of its thread: SQLite runs, and waits, in another.
The time to open the journal, which a process does once, is not included.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import comb
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from .harness import contenders
from .harness.measure import Contender, run_once, warn_of_noise
from .harness.record import print_table, write_record
from .harness.stage import MIB, WORK, make_source, sink
from .harness.words import parser, show_size, size

IN_FLIGHT = 8
"""The default of `Limits.parts`."""

PATIENCE = 60.0
"""Seconds for each round, after which the run counts as hanging."""

Took = dict[str, float]


@dataclass(frozen=True)
class Cell:
    """A file to upload, and the settings."""

    parts: int
    part_size: int
    checksum: str
    """Of the Uploader: "auto" is the default."""
    rounds: int
    in_flight: int = IN_FLIGHT


def measure(cell: Cell, warm_up: int) -> list[dict[str, Any]]:
    """Upload the file with each kind of journal, and return a row of the record for each."""
    source = make_source(cell.parts * cell.part_size, cell.part_size)
    # The source repeats every MiB, so all parts are equal. Of tiny parts nothing is stated.
    stated = source.statements("crc64nvme")[0] if cell.part_size % MIB == 0 else {}
    with (
        sink(tls=True, api_part_size=cell.part_size, crc=stated.get("crc64nvme")) as target,
        TemporaryDirectory(dir=WORK) as journals,  # on the same disk as the source
    ):
        job = {
            "base": target.base,
            "ca": str(target.ca),
            "path": str(source.path),
            "journals": journals,
            "in_flight": cell.in_flight,
            "checksum": cell.checksum,
            "rounds": cell.rounds,
            "warm_up": warm_up,
        }
        command = contenders.python_client("recorded", job)
        run = run_once(Contender("ours", command, source.size, peer=target.pid), PATIENCE * (cell.rounds + warm_up))
    took: dict[str, list[Took]] = run.told["took"]
    return [
        {
            "cell": asdict(cell),
            "client": name,
            "summary": summary(some, without(took), cell.parts) | {"noise": run.noise},
            "runs": some,
        }
        for name, some in took.items()
    ]


def without(took: dict[str, list[Took]]) -> list[Took]:
    """Return the mean of each round's two uploads without a journal; they differ only by noise of the machine."""
    pairs = zip(took["ours"], took["ours again"], strict=True)
    return [{key: (one[key] + other[key]) / 2 for key in one} for one, other in pairs]


def summary(some: Sequence[Took], plain: Sequence[Took], parts: int) -> dict[str, float]:
    """Return the medians of the comparisons with the uploads without a journal in the same round."""
    pairs = list(zip(some, plain, strict=True))
    more = sorted(one["seconds"] / other["seconds"] - 1 for one, other in pairs)
    low, high = interval(more)
    a_part = {
        key: median((one[key] - other[key]) * 1000 / parts for one, other in pairs)
        for key in ("seconds", "cpu", "loop")
    }
    return {
        "seconds": median(one["seconds"] for one in some),
        "more_time": median(more),
        "more_time_low": low,
        "more_time_high": high,
        "ms_a_part": a_part["seconds"],
        "cpu_ms_a_part": a_part["cpu"],
        "loop_ms_a_part": a_part["loop"],
    }


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median, for any distribution; for few values, the lowest and highest.

    Each value is below the true median with a probability of 1/2, so the number of those below is binomial.
    """
    count = len(ordered)
    tails = accumulate(comb(count, fallen) / 2**count for fallen in range(count))
    left_out = max(0, sum(tail <= 0.025 for tail in tails) - 1)
    return ordered[left_out], ordered[count - 1 - left_out]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    lines = []
    for row in rows:
        cell, one = row["cell"], row["summary"]
        sure = f"{one['more_time_low']:+.1%} to {one['more_time_high']:+.1%}"
        more = [f"{one[key]:+.3f}" for key in ("ms_a_part", "cpu_ms_a_part", "loop_ms_a_part")]
        parts, check = f"{cell['parts']} x {show_size(cell['part_size'])}", cell["checksum"]
        lines.append(
            (row["client"], parts, cell["in_flight"], check, one["seconds"], f"{one['more_time']:+.1%}", sure, *more)
        )
    heads = ("", "parts", "in flight", "check", "seconds", "more time", "with 95 %", "ms a part", "CPU ms", "loop ms")
    print_table(heads, lines)
    warn_of_noise(row["summary"]["noise"] for row in rows)


def cells(given: argparse.Namespace) -> list[Cell]:
    """Return the cells to measure. Fewer rounds are enough where the cost is far above the noise."""
    large, runs, fewer = given.part_size, given.runs, max(1, given.runs // 2)
    return [
        Cell(given.large, large, "auto", rounds=runs),
        Cell(given.large, large, "off", rounds=runs),
        Cell(1, large, "auto", rounds=fewer),
        Cell(given.tiny, 1024, "auto", rounds=fewer),
        Cell(given.tiny, 1024, "auto", rounds=fewer, in_flight=1),
    ]


def main() -> None:
    """Measure all cells, print the table and write the record."""
    options = parser(__doc__, runs=40)
    options.add_argument("--part-size", type=size, default=20 * MIB, help="a multiple of 1MiB (default 20MiB)")
    options.add_argument("--large", type=int, default=50, help="how many of those (default 50: 1000 MiB)")
    options.add_argument("--tiny", type=int, default=500, help="how many of 1 KiB (default 500)")
    given = options.parse_args()
    if given.part_size % MIB:
        options.error("--part-size is not a multiple of 1MiB")
    if given.quick:
        given.runs, given.large = min(given.runs, 10), min(given.large, 10)
    rows = [row for cell in cells(given) for row in measure(cell, given.warm_up)]
    show(rows)
    write_record("journal", rows, path=given.output)


if __name__ == "__main__":
    main()
