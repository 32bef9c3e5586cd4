"""Upload a folder of takes in stages: scan → checksum → transcode → upload → record.

All stages work at the same time, and no queue holds more than a few takes. The takes go to a fake Frame.io if
FRAMEIO_TOKEN is not set.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from aioframeio_upload import UploadedFile, Uploader, UploadError
from aioframeio_upload.testing import FakeFrameio

WAITING = 4
"""Takes that may wait between two stages; a stage that is faster than the next one waits."""


@dataclass(frozen=True)
class Take:
    """A take, as the stages pass it on."""

    path: Path
    sha256: str = ""
    proxy: Path | None = None
    """The file to upload instead of the take itself."""
    file: UploadedFile | None = None


# -- the stages: each returns the take for the next stage, or None to drop it ------------------------------------------


async def checksum(known: set[str], take: Take) -> Take | None:
    """Hash a take; drop one whose bytes were seen before, in this run or an earlier one."""

    def digest() -> str:
        with take.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    sha256 = await asyncio.to_thread(digest)
    if sha256 in known:
        return None
    known.add(sha256)
    return replace(take, sha256=sha256)


async def transcode(folder: Path, take: Take) -> Take:
    """Make a proxy if ffmpeg is installed; a take that it cannot read stays unchanged."""
    if shutil.which("ffmpeg") is None:
        return take
    proxy = folder / f"{take.sha256}.mp4"
    command = ("ffmpeg", "-v", "error", "-y", "-i", str(take.path), "-vf", "scale=-2:720", str(proxy))
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    try:
        return replace(take, proxy=proxy) if await process.wait() == 0 else take
    finally:
        if process.returncode is None:  # cancelled
            process.kill()
            await process.wait()


async def upload(uploader: Uploader, folder_id: str, failed: list[Take], take: Take) -> Take | None:
    """Upload the proxy, or the take, and remove the proxy; a failed take is reported and does not stop the others."""
    name = take.path.name if take.proxy is None else take.path.with_suffix(".mp4").name
    try:
        file = await uploader.upload(take.proxy or take.path, folder_id=folder_id, name=name)
    except UploadError as error:
        print(f"{take.path.name}: {error}", file=sys.stderr)
        failed.append(take)
        return None
    if take.proxy is not None:
        await asyncio.to_thread(take.proxy.unlink)
    return replace(take, file=file)


async def record(database: str, take: Take) -> None:
    """Record that a take has arrived; only now it counts as done."""

    def insert() -> None:
        assert take.file is not None
        with closing(sqlite3.connect(database)) as connection, connection:
            row = (take.sha256, str(take.path), take.file.id, take.file.view_url)
            connection.execute("INSERT OR REPLACE INTO takes VALUES (?, ?, ?, ?)", row)

    await asyncio.to_thread(insert)
    print(f"{take.path.name}: {take.file.view_url if take.file else ''}")


# -- the pipeline ------------------------------------------------------------------------------------------------------


async def scan(root: Path, found: MemoryObjectSendStream[Take]) -> None:
    """Find the takes, no faster than the next stage accepts them."""
    async with found:
        paths = await asyncio.to_thread(lambda: sorted(path for path in root.rglob("*") if path.is_file()))
        for path in paths:
            await found.send(Take(path))


async def stage(
    work: Callable[[Take], Awaitable[Take | None]],
    takes: MemoryObjectReceiveStream[Take],
    done: MemoryObjectSendStream[Take],
) -> None:
    """Run one stage on take after take; its last worker closes the next queue."""
    async with takes, done:
        async for take in takes:
            if (result := await work(take)) is not None:
                await done.send(result)


async def run(root: Path, database: str, uploader: Uploader, folder_id: str) -> list[Take]:
    """Run all stages at once and return the takes that failed; a cancellation stops every stage."""
    failed: list[Take] = []
    known = await asyncio.to_thread(open_database, database)
    with tempfile.TemporaryDirectory() as proxies:
        stages: list[tuple[int, Callable[[Take], Awaitable[Take | None]]]] = [
            (2, partial(checksum, known)),
            (1, partial(transcode, Path(proxies))),
            (4, partial(upload, uploader, folder_id, failed)),
            (1, partial(record, database)),
        ]
        async with anyio.create_task_group() as group:
            send, receive = anyio.create_memory_object_stream[Take](WAITING)
            group.start_soon(scan, root, send)
            for workers, work in stages:
                next_send, next_receive = anyio.create_memory_object_stream[Take](WAITING)
                with receive, next_send:
                    for _ in range(workers):
                        group.start_soon(stage, work, receive.clone(), next_send.clone())
                receive = next_receive
            receive.close()
    return failed


def open_database(path: str) -> set[str]:
    """Create the table if it is missing, and return the digests in it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS takes (sha256 TEXT PRIMARY KEY, path, file, link)")
        return {digest for (digest,) in connection.execute("SELECT sha256 FROM takes")}


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Uploader, str]]:
    """Yield an Uploader and a folder: those of the environment, or of a fake Frame.io."""
    if token := os.environ.get("FRAMEIO_TOKEN"):
        base_url = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
        async with Uploader(token, account_id=os.environ["FRAMEIO_ACCOUNT_ID"], base_url=base_url) as uploader:
            yield uploader, os.environ["FRAMEIO_FOLDER"]
        return
    print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io.")
    async with (
        FakeFrameio() as fake,
        Uploader(fake.token, account_id=fake.account_id, base_url=fake.url) as uploader,
    ):
        yield uploader, fake.folder_id


async def main(root: str, database: str) -> int:
    """Run the pipeline on a folder."""
    async with connected() as (uploader, folder_id):
        return 1 if await run(Path(root), database, uploader, folder_id) else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: pipeline.py FOLDER DATABASE")
    try:
        sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on with what is not recorded")
