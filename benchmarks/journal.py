"""What does the journal cost: of an upload's time, and of the loop's time a part?

One file in parts of 20 MB, sent with and without a journal; then one in very many tiny parts, where nothing else is
left to be paid for. The loop's time is the CPU time of its thread: SQLite and its waiting for the disk are in another.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from harness import contenders
from harness.measure import Contender, Run, interleave, warn_of_noise
from harness.record import print_table, write_record
from harness.stage import WORK, Sink, Source, make_source, sink
from harness.words import parser, show_size, size

IN_FLIGHT = 8
"""The default of `Limits.parts`."""

QUESTIONS = ("large parts", "tiny parts")
WITHOUT, WITH, UNSYNCED = "ours", "ours, journal", "ours, journal that does not wait for the disk"


def folder_with(source: Source) -> Path:
    """Give a folder that holds the file and nothing else."""
    folder = WORK / f"only-{source.path.name}"
    folder.mkdir(exist_ok=True)
    link = folder / source.path.name
    link.unlink(missing_ok=True)
    link.symlink_to(source.path)
    return folder


def clients(target: Sink, source: Source) -> list[Contender]:
    """Give ours without a journal, with one, and with one that a power cut may cost its last lines."""
    job = {"folder": str(folder_with(source)), "workers": IN_FLIGHT, "base": target.base, "confirm": False}
    job["ca"] = str(target.ca) if target.ca else None
    recorded = {"journal": str(WORK / "journal.sqlite3")}
    jobs = {WITHOUT: job, WITH: job | recorded, UNSYNCED: job | recorded | {"sync": False}}
    program = str(contenders.CLIENTS / "small_ours.py")
    return [
        Contender(name, [sys.executable, program, json.dumps(one)], source.size, peer=target.pid)
        for name, one in jobs.items()
    ]


def measure(question: str, length: int, part_size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Send one file with each."""
    source = make_source(length, part_size)
    with sink(tls=True, api_part_size=part_size) as target:
        runs = interleave(clients(target, source), options.runs, warm_up=options.warm_up)
    parts = len(source.lengths)
    cell = {"question": question, "size": length, "part_size": part_size, "parts": parts, "in_flight": IN_FLIGHT}
    plain = runs[WITHOUT]
    return [
        {"cell": cell, "client": name, "summary": summary(some, plain, parts), "runs": some}
        for name, some in runs.items()
    ]


def summary(some: Sequence[Run], plain: Sequence[Run], parts: int) -> dict[str, float]:
    """Compare each run with the one without a journal beside it."""
    pairs = list(zip(some, plain, strict=True))
    return {
        "seconds": median(run.seconds for run in some),
        "more_time": median(run.seconds / other.seconds - 1 for run, other in pairs),
        "ms_a_part": median((run.seconds - other.seconds) * 1000 / parts for run, other in pairs),
        "loop_ms_a_part": median((run.told["loop"] - other.told["loop"]) * 1000 / parts for run, other in pairs),
        "noise": median(run.noise for run in some),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    lines = []
    for row in rows:
        cell, one = row["cell"], row["summary"]
        name = f"{cell['parts']} parts of {show_size(cell['part_size'])}: {row['client']}"
        more = [f"{one['more_time']:+.1%}", f"{one['ms_a_part']:+.3f}", f"{one['loop_ms_a_part']:+.3f}"]
        lines.append((name, one["seconds"], *more))
    print_table(("", "seconds", "more time", "more ms a part", "more loop ms a part"), lines)
    large, tiny = ({row["client"]: row for row in rows if row["cell"]["question"] == one} for one in QUESTIONS)
    share = tiny[WITH]["summary"]["ms_a_part"] * large[WITHOUT]["cell"]["parts"]
    share /= large[WITHOUT]["summary"]["seconds"] * 1000
    # What the runs of large parts spread by is often more than what is looked for.
    print(f"what the journal takes for a tiny part is {share:.1%} of what a large one takes")
    warn_of_noise(row["summary"]["noise"] for row in rows)


def main() -> None:
    """Measure large parts, then tiny ones."""
    options = parser(__doc__, runs=7)
    options.add_argument("--size", type=size, default=2_000_000_000, help="of the file (default 2 GB)")
    options.add_argument("--part-size", type=size, default=20_000_000, help="what the service asks for (default 20 MB)")
    options.add_argument("--parts", type=int, default=1000, help="of 1 KiB, for the loop's time (default 1000)")
    given = options.parse_args()
    if given.quick:
        given.size, given.parts = min(given.size, 400_000_000), min(given.parts, 300)
    rows = measure(QUESTIONS[0], given.size, given.part_size, given)
    rows += measure(QUESTIONS[1], given.parts * 1024, 1024, given)
    show(rows)
    write_record("journal", rows, path=given.output)


if __name__ == "__main__":
    main()
