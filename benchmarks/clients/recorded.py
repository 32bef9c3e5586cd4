"""What does the journal add to an upload? One file again and again, with a journal and without in turn.

In one process: what a machine's speed changes by from one second to the next is more than what is looked for, so the
uploads that are compared must be neighbours.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import ssl
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from aioframeio_upload import Journal, Limits, Uploader

from .meter import Meter, used_cpu


@dataclass(frozen=True)
class RecordedJob:
    """One file, to a server that plays Frame.io. One argument, in JSON."""

    base: str
    ca: str
    path: str
    journals: str
    """A folder for them."""
    in_flight: int
    check_etags: bool
    rounds: int
    warm_up: int


@dataclass(frozen=True)
class Took:
    """What one upload took."""

    seconds: float
    cpu: float
    """Seconds of all threads."""
    loop: float
    """CPU seconds of the loop's thread."""


def journals(folder: Path) -> dict[str, Journal | None]:
    """Name what is compared; the second is the first again, and tells how far the machine is to be believed."""
    return {
        "ours": None,
        "ours again": None,
        "ours, journal": Journal(folder / "synced.sqlite3"),
        "ours, journal without waiting for the disk": Journal(folder / "unsynced.sqlite3", sync=False),
    }


async def timed(uploader: Uploader, path: str) -> Took:
    """Upload it once."""
    gc.collect()
    began, cpu, loop = time.monotonic(), used_cpu(), time.thread_time()
    await uploader.upload(path, folder_id="folder")
    return Took(time.monotonic() - began, used_cpu() - cpu, time.thread_time() - loop)


async def main(job: RecordedJob) -> None:
    """Upload it in rounds."""
    context, limits = ssl.create_default_context(cafile=job.ca), Limits(parts=job.in_flight, api_pacing=False)
    meter, found = Meter(), {}
    async with AsyncExitStack() as stack:
        uploaders = {}
        for name, journal in journals(Path(job.journals)).items():
            uploader = Uploader(
                "no-token",
                account_id="account",
                base_url=job.base,
                limits=limits,
                journal=journal,
                check_etags=job.check_etags,
                ssl=context,
            )
            uploaders[name], found[name] = await stack.enter_async_context(uploader), list[Took]()
        names, chance = list(uploaders), random.Random(1)
        for number in range(-job.warm_up, job.rounds):
            chance.shuffle(names)  # nobody comes always after the same one
            for name in names:
                took = await timed(uploaders[name], job.path)
                if number >= 0:
                    found[name].append(took)
    meter.finish(took={name: [asdict(one) for one in some] for name, some in found.items()})


if __name__ == "__main__":
    asyncio.run(main(RecordedJob(**json.loads(sys.argv[1]))))
