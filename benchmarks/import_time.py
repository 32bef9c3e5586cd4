"""Measure the time to import the library, compared with aiohttp alone, and to print the command line's help."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .harness.measure import Contender, Run, interleave, warn_of_noise
from .harness.record import print_table, write_record
from .harness.words import parser

AIOHTTP = "import aiohttp"
HELP = "aioframeio-upload --help"
STATEMENTS = {
    AIOHTTP: AIOHTTP,
    "import aiohttp, anyio, aiofiles, backoff": "import aiohttp, anyio, anyio.to_thread, aiofiles, backoff",
    "import aioframeio_upload": "import aioframeio_upload",
    "from aioframeio_upload import Uploader": "from aioframeio_upload import Uploader",
    HELP: "import sys; sys.argv[1:] = ['--help']; from aioframeio_upload.__main__ import main; main()",
}

COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Bytecode is written, as for an installed package: compiling takes longer than importing."""


def main() -> None:
    """Measure each statement in a new process, on one core, with warm caches."""
    options = parser(__doc__, runs=15)
    given = options.parse_args()
    # By its path, not with `-m`: `runpy` imports some modules itself, whose time would then be missing.
    program = str(Path(__file__).with_name("clients") / "importing.py")
    compared = [
        Contender(name, [sys.executable, program, code], 0, environment=COMPILED) for name, code in STATEMENTS.items()
    ]
    runs = interleave(compared, min(given.runs, 3) if given.quick else given.runs, warm_up=given.warm_up)
    rows = [
        {"cell": {"statement": STATEMENTS[name]}, "client": name, "summary": summary(some, runs[AIOHTTP]), "runs": some}
        for name, some in runs.items()
    ]
    show(rows)
    write_record("import_time", rows, path=given.output)


def summary(some: Sequence[Run], aiohttp: Sequence[Run]) -> dict[str, float]:
    """Return the medians, and the median of the comparisons with aiohttp's run in the same round."""
    pairs = list(zip(some, aiohttp, strict=True))
    return {
        "ms": round(median(run.seconds for run in some) * 1000, 1),
        "more_ms": round(median(run.seconds - other.seconds for run, other in pairs) * 1000, 1),
        "to_aiohttp": round(median(run.seconds / other.seconds for run, other in pairs), 2),
        # Including the start of the interpreter.
        "process_ms": round(median(run.process_cpu for run in some) * 1000, 1),
        "modules": median(run.told["modules"] for run in some),
        "noise": median(run.noise for run in some),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    lines = [
        (row["client"], one["ms"], f"{one['more_ms']:+.1f}", one["to_aiohttp"], one["process_ms"], int(one["modules"]))
        for row in rows
        for one in [row["summary"]]
    ]
    print_table(("", "ms", "more than aiohttp", "÷ aiohttp", "whole process, CPU ms", "modules"), lines)
    warn_of_noise(row["summary"]["noise"] for row in rows)


if __name__ == "__main__":
    main()
