"""A bounded producer: at most N files are made and not yet delivered. `python bounded_producer.py take-07.mov …`.

`Limits` bounds what is sent at once, not what waits on disk to be sent or confirmed. Here the producer waits, a failed
upload stops neither it nor the others, and a file is removed once Frame.io has confirmed it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from aioframeio_upload import UploadedFile, Uploader, UploadError

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")


@dataclass
class Delivery:
    """What became of each file."""

    files: dict[Path, UploadedFile] = field(default_factory=dict[Path, UploadedFile])
    failures: dict[Path, UploadError] = field(default_factory=dict[Path, UploadError])


async def render(*sources: str) -> AsyncGenerator[Path]:
    """Stand for a program that writes one file after the other."""
    for source in sources:
        made = Path(source).with_suffix(".rendered")
        await asyncio.to_thread(shutil.copyfile, source, made)
        yield made


async def deliver(made: AsyncGenerator[Path], at_once: int = 4) -> Delivery:
    """Upload files as they are made, of which at most `at_once` are on the way; an error of the maker ends all."""
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    delivery = Delivery()
    slots = asyncio.Semaphore(at_once)

    async def send(path: Path) -> None:
        try:
            delivery.files[path] = await uploader.upload(path, folder_id=os.environ["FRAMEIO_FOLDER"])
            await asyncio.to_thread(path.unlink)
        except UploadError as error:
            delivery.failures[path] = error  # the file stays on disk, and no longer counts
        finally:
            slots.release()

    async with (
        Uploader(token, account_id=account, base_url=URL) as uploader,
        aclosing(made),
        asyncio.TaskGroup() as group,
    ):
        await slots.acquire()  # for the first file; each later one gets its slot before it is made
        async for path in made:
            group.create_task(send(path))
            await slots.acquire()
    return delivery


if __name__ == "__main__":
    ended = asyncio.run(deliver(render(*sys.argv[1:])))
    for path, file in ended.files.items():
        print(f"{path}: {file.view_url}")
    for path, error in ended.failures.items():
        print(f"{path}: {error}", file=sys.stderr)
    sys.exit(1 if ended.failures else 0)
