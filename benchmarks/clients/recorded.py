"""Upload one file repeatedly, with and without a journal in turn.

All uploads run in one process, close together in time: the speed of a machine changes from one second to the next by
more than the difference that is measured.
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
from typing import Literal

from aioframeio_upload import Journal, Limits, Uploader

from .meter import Meter, used_cpu


@dataclass(frozen=True)
class RecordedJob:
    """The argument, in JSON: a file, a server that plays Frame.io, and settings."""

    base: str
    ca: str
    path: str
    journals: str
    """The folder for the journals."""
    in_flight: int
    checksum: Literal["auto", "md5", "off"]
    rounds: int
    warm_up: int


@dataclass(frozen=True)
class Took:
    """The measurements of one upload."""

    seconds: float
    cpu: float
    """CPU seconds of all threads."""
    loop: float
    """CPU seconds of the loop's thread."""


def journals(folder: Path) -> dict[str, Journal | None]:
    """Return what is compared. The second is the same as the first, to show the noise of the machine."""
    return {
        "ours": None,
        "ours again": None,
        "ours, journal": Journal(folder / "synced.sqlite3"),
        "ours, journal without waiting for the disk": Journal(folder / "unsynced.sqlite3", sync=False),
    }


async def timed(uploader: Uploader, path: str) -> Took:
    """Upload the file once and measure it."""
    gc.collect()
    began, cpu, loop = time.monotonic(), used_cpu(), time.thread_time()
    await uploader.upload(path, folder_id="folder")
    return Took(time.monotonic() - began, used_cpu() - cpu, time.thread_time() - loop)


async def main(job: RecordedJob) -> None:
    """Upload the file in rounds, in each with every kind of journal."""
    context, limits = (
        ssl.create_default_context(cafile=job.ca),
        Limits(parts=job.in_flight or Limits().parts, api_pacing=False),
    )
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
                checksum=job.checksum,
                ssl=context,
            )
            uploaders[name], found[name] = await stack.enter_async_context(uploader), list[Took]()
        names, chance = list(uploaders), random.Random(1)
        for number in range(-job.warm_up, job.rounds):
            chance.shuffle(names)  # so that none always follows the same one
            for name in names:
                took = await timed(uploaders[name], job.path)
                if number >= 0:
                    found[name].append(took)
    meter.finish(took={name: [asdict(one) for one in some] for name, some in found.items()})


if __name__ == "__main__":
    asyncio.run(main(RecordedJob(**json.loads(sys.argv[1]))))
