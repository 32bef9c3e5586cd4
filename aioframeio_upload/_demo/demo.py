"""The demo: upload a file into a fake Frame.io in a process of its own, and compare what arrived."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

import aiohttp
from rich.console import Console
from rich.filesize import decimal

from .. import Uploader, UploadError
from .._cli.output import is_terminal, open_console, write_error
from .live import LiveDisplay, PlainDisplay, report
from .story import DemoState

T = TypeVar("T")

BLOCK = 1 << 20
CELLS = 40
"""As many parts as fill half a line: enough to see which of them fail."""

LARGEST_PART = 20_000_000
LARGE_FILE = 10_000_000_000
"""From here on the fake takes parts of 2 GB, as Frame.io is seen to."""

SECONDS_TO_END = 5.0
"""For the fake, which removes what it stored when its stdin closes."""


class DemoError(Exception):
    """The demo cannot be shown; the message is for its user."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What is to be shown."""

    path: Path | None
    size: int
    """Of the sample, where there is no path."""
    faults: str | None
    """What goes wrong, as JSON; None: the two faults."""


async def run_demo(demo: Demo) -> int:
    """Show it, and give the exit status: 0 only if the bytes that arrived are those that were sent."""
    console = open_console()
    try:
        async with _source(demo, console) as (source, name, size):
            return await _show(demo, source, name, size, console)
    except (UploadError, DemoError, OSError, aiohttp.ClientError) as error:
        kind = f"{type(error).__name__}: " if isinstance(error, UploadError) else ""
        reason = error.strerror if isinstance(error, OSError) and error.filename is None else None
        await asyncio.to_thread(write_error, f"error: {kind}{reason or error}")
        return 1


async def _show(demo: Demo, source: Path | BinaryIO, name: str, size: int, console: Console) -> int:
    part_size = _part_size(size)
    faults = demo.faults if demo.faults is not None else json.dumps(_two_faults(size, part_size))
    before = await asyncio.to_thread(_peak_memory)
    async with _fake(part_size, faults) as fake:
        story = DemoState(name, asyncio.get_running_loop().time())
        live = is_terminal() and not console.is_dumb_terminal
        display = LiveDisplay(story, console) if live else PlainDisplay(story, console)
        async with (
            Uploader(fake["token"], account_id=fake["account_id"], base_url=fake["url"]) as uploader,
            display,
            uploader.upload(source, folder_id=fake["folder_id"], name=name) as upload,
        ):
            async for event in upload:
                await display.show(story.tell(event, asyncio.get_running_loop().time()))
        # Beside the fake in one process it would be that of both.
        after = await asyncio.to_thread(_peak_memory) if _has_python() else None
        sent = await _in_thread(lambda given_up: _sha256(source, given_up))
        arrived = await _sha256_at(fake["url"], upload.result.id)
    for line in report(story, before, after, sent, arrived):
        await asyncio.to_thread(console.print, line, soft_wrap=True)
    return 0 if sent == arrived else 1


# -- the source ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _source(demo: Demo, console: Console) -> AsyncIterator[tuple[Path | BinaryIO, str, int]]:
    """Give the path, or a sample in a file that has no name: the system removes it, even if this process is killed."""
    if demo.path is not None:
        size = await asyncio.to_thread(_size_of, demo.path)
        await asyncio.to_thread(_check_room, size)
        # `.` and `/` have no name of their own, and are refused as folders rather than for that.
        yield demo.path, demo.path.name or "folder", size
        return
    await asyncio.to_thread(_check_room, 2 * demo.size)
    await asyncio.to_thread(console.print, f"Making a sample of {decimal(demo.size)} ...")
    file = await asyncio.to_thread(tempfile.TemporaryFile)
    try:
        await _in_thread(lambda given_up: _fill(file, demo.size, given_up))
        yield file, "sample.bin", demo.size
    finally:
        await asyncio.to_thread(file.close)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 1
    except OSError:
        return 1  # what is wrong with the path is the library's to say


def _check_room(size: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DemoError(f"{folder} has {decimal(free)} left, and the demo needs {decimal(size)} there")


def _fill(file: IO[bytes], size: int, given_up: threading.Event) -> None:
    for offset in range(0, size, BLOCK):
        if given_up.is_set():
            return
        # No two blocks are alike, so that parts which changed places would be noticed.
        file.write(hashlib.shake_128(offset.to_bytes(8)).digest(min(BLOCK, size - offset)))
    file.seek(0)


def _sha256(source: Path | BinaryIO, given_up: threading.Event) -> str:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _sha256(file, given_up)
    source.seek(0)
    whole = hashlib.sha256()
    while not given_up.is_set() and (block := source.read(BLOCK)):
        whole.update(block)
    return whole.hexdigest()


async def _in_thread(work: Callable[[threading.Event], T]) -> T:
    """Run what blocks in a thread; if the wait is cancelled the event is set, and the thread is waited for."""
    given_up = threading.Event()
    working = asyncio.ensure_future(asyncio.to_thread(work, given_up))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        given_up.set()
        await asyncio.wait([working])
        raise


# -- the fake --------------------------------------------------------------------------------------------------------


def _part_size(size: int) -> int | None:
    """Give the most bytes a part may have; None: as the service does it."""
    return min(LARGEST_PART, max(1, math.ceil(size / CELLS))) if size < LARGE_FILE else None


def _two_faults(size: int, part_size: int | None) -> list[dict[str, Any]]:
    """Let one part's connection break half-way, and S3 ask for a pause at another (or at the same, if it is alone)."""
    count = math.ceil(size / part_size) if part_size else 5
    half = (part_size or LARGEST_PART) // 2
    return [
        {"do": "reset", "number": max(1, count // 6), "after": half},
        # S3 need not say how long; with it the pause is long enough to be seen.
        {
            "do": "answer",
            "number": max(1, count // 3),
            "status": 503,
            "code": "SlowDown",
            "headers": {"Retry-After": "2"},
        },
    ]


def _has_python() -> bool:
    """Return whether there is an interpreter to run a second program with.

    In a frozen binary (PyInstaller, cx_Freeze, Nuitka) `sys.executable` is the binary itself, which would only run this
    command again; in an application that embeds Python it may be empty.
    """
    return bool(sys.executable) and not getattr(sys, "frozen", False) and "__compiled__" not in globals()


def _fake(part_size: int | None, faults: str) -> AbstractAsyncContextManager[dict[str, str]]:
    """Run the fake; where it can be, as a process, so that it takes no time and no memory of the upload's."""
    return _fake_process(part_size, faults) if _has_python() else _fake_in_thread(part_size, faults)


@asynccontextmanager
async def _fake_in_thread(part_size: int | None, faults: str) -> AsyncIterator[dict[str, str]]:
    from ..testing import FakeFrameio, Fault

    try:
        fake = FakeFrameio(faults=[Fault(**fields) for fields in json.loads(faults)], part_size=part_size)
    except (ValueError, TypeError) as error:
        raise DemoError(f"the fake Frame.io did not start: {type(error).__name__}: {error}") from None
    running = fake.in_thread()
    await asyncio.to_thread(running.__enter__)
    try:
        yield {"url": fake.url, "token": fake.token, "account_id": fake.account_id, "folder_id": fake.folder_id}
    finally:
        # Within the time that a process has, and then without it: whoever stops the demo does not wait for it.
        ending = asyncio.ensure_future(asyncio.to_thread(running.__exit__, None, None, None))
        await asyncio.wait([ending], timeout=SECONDS_TO_END)


@asynccontextmanager
async def _fake_process(part_size: int | None, faults: str) -> AsyncIterator[dict[str, str]]:
    """Run the fake, which ends when its stdin closes: with this block, or with this process however that ends."""
    # Not from the working folder, where anything may be; but from wherever this process has it, a zip file too.
    command = [sys.executable, "-P", "-m", "aioframeio_upload.testing", "--faults", faults]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if part_size is not None:
        command += ["--part-size", str(part_size)]
    stderr = await asyncio.to_thread(tempfile.TemporaryFile)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        **_out_of_reach_of_ctrl_c(),
    )
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise DemoError("the fake Frame.io did not start: " + await asyncio.to_thread(_last_line, stderr))
        yield json.loads(line)
    finally:
        await _end(process)
        await asyncio.to_thread(stderr.close)


def _out_of_reach_of_ctrl_c() -> dict[str, Any]:
    # A terminal sends SIGINT to all processes of its group: the fake is still needed to clean up.
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(SECONDS_TO_END):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


async def _sha256_at(url: str, file_id: str) -> str | None:
    """Ask the fake what it has; None where the file is not there as a whole."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_fake/files") as answer:
        files = (await answer.json())["files"]
    return next((file["sha256"] for file in files if file["id"] == file_id and file["complete"]), None)


def _peak_memory() -> int | None:
    """Give this process's VmHWM in bytes, which Linux knows; `ru_maxrss` would be the parent's, inherited."""
    if not os.path.exists("/proc/self/status"):
        return None
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
