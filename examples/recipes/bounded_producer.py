"""A worker: at most N files are made and not yet delivered. `python bounded_producer.py take-07.mov …`.

`Limits` bounds what is sent at once, not what waits on disk to be sent or confirmed. Here the producer waits. An item
that fails is reported and stops no other; a file is removed once Frame.io has confirmed it.

After a SIGTERM nothing new begins, what runs has `GRACE` seconds, and what was cut off is reported: the journal has it,
so the same command continues it. Exit status: 0, 1 if an item failed, 143 if a SIGTERM left something undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aioframeio_upload import UploadCancelled, UploadedFile, Uploader, UploadError

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
GRACE = float(os.environ.get("GRACE", "20"))


@dataclass
class Delivery:
    """What became of each item."""

    files: dict[str, UploadedFile] = field(default_factory=dict[str, UploadedFile])
    failures: dict[str, Exception] = field(default_factory=dict[str, Exception])
    cut_off: list[str] = field(default_factory=list[str])
    """Begun, and not delivered when the grace was over."""
    left: list[str] = field(default_factory=list[str])
    """Not begun."""


async def render(source: str) -> Path:
    """Stand for a program that writes a file."""
    return await asyncio.to_thread(write, Path(source))


def write(source: Path) -> Path:
    """Write the file, unless an earlier run has: a new one would be sent from its beginning."""
    made, half = source.with_suffix(".rendered"), source.with_suffix(".half")
    if not made.exists():
        shutil.copyfile(source, half)
        half.replace(made)  # under its own name once it is complete, so that no half of it is taken for the whole
    return made


async def deliver(
    sources: list[str], stop: asyncio.Event, make: Callable[[str], Awaitable[Path]] = render, at_once: int = 4
) -> Delivery:
    """Make and upload files, of which at most `at_once` are on the way, until the end or until `stop` is set."""
    delivery, slots = Delivery(), asyncio.Semaphore(at_once)
    folder, token, account = (os.environ[f"FRAMEIO_{name}"] for name in ("FOLDER", "TOKEN", "ACCOUNT_ID"))
    journal = os.environ.get("JOURNAL", "uploads.sqlite3")

    async def send(source: str) -> None:
        try:
            path = await make(source)
            if stop.is_set():  # the Uploader would refuse it
                delivery.cut_off.append(source)
                return
            upload = uploader.upload(path, folder_id=folder, conflict="skip")
            # Not `await upload`: a shutdown ends that with a CancelledError, which a TaskGroup takes for a normal end.
            async for _ in upload:
                pass
            delivery.files[source] = upload.result
            await asyncio.to_thread(path.unlink)
        except UploadCancelled:
            delivery.cut_off.append(source)
        except (UploadError, OSError) as error:  # and what `make` raises if an item cannot be made
            delivery.failures[source] = error
        finally:
            slots.release()

    async def end_when_stopped() -> None:
        await stop.wait()
        await uploader.shutdown(GRACE)

    async with Uploader(token, account_id=account, base_url=URL, journal=journal) as uploader:
        ending = asyncio.create_task(end_when_stopped())
        async with asyncio.TaskGroup() as group:
            for number, source in enumerate(sources):
                await slots.acquire()
                if stop.is_set():  # asked after the wait, in which a signal may arrive
                    delivery.left = sources[number:]
                    break
                group.create_task(send(source))
        ending.cancel()
    return delivery


async def deliver_until_stopped(sources: list[str]) -> Delivery:
    """Deliver everything, or stop at a SIGTERM."""
    stop = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows has no SIGTERM from another process
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return await deliver(sources, stop)


def main(sources: list[str]) -> int:
    """Deliver, report each item, and return the exit status."""
    delivery = asyncio.run(deliver_until_stopped(sources))
    for source, file in delivery.files.items():
        print(f"{source}: {file.view_url}")
    for source, error in delivery.failures.items():
        print(f"{source}: failed: {error}", file=sys.stderr)
    for source in delivery.cut_off:
        print(f"{source}: cut off; the same command continues it", file=sys.stderr)
    for source in delivery.left:
        print(f"{source}: not begun", file=sys.stderr)
    if delivery.failures:
        return 1
    return 128 + signal.SIGTERM if delivery.cut_off or delivery.left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
