"""Run the demo: upload a file to a fake Frame.io, which runs in a second process, and compare what arrived."""

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
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

import aiohttp
from rich.console import Console

from .. import Uploader, UploadError
from .._cli.format import format_error, format_size
from .._cli.line_display import Display, PlainDisplay
from .._cli.live_display import LiveDisplay
from .._cli.output import is_terminal, open_console, write_error
from .drawing import DemoDrawing
from .report import digest_report, memory_report, time_report
from .state import DemoState

T = TypeVar("T")

BLOCK = 1 << 20
"""Bytes that are made, read and hashed at once."""

CELLS = 40
"""Parts of a small file. They fill half a line of 80 columns: enough to see which of them fail."""

LARGEST_PART = 20_000_000
"""Bytes."""

LARGE_FILE = 10_000_000_000
"""Bytes. From this size on the fake chooses the part size by Frame.io's rule, as observed for files of several GB."""

FAKE_EXIT_TIMEOUT = 5.0
"""Seconds for the fake to remove what it stored, after its stdin was closed."""


class DemoError(Exception):
    """The demo cannot be shown; the message is for its user."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The options of the command `demo`."""

    path: Path | None
    size: int
    """Bytes of the sample that is made if there is no path."""
    faults: str | None
    """The faults of the fake, as JSON; None for the two of `_two_faults`."""


async def run_demo(demo: Demo) -> int:
    """Run the demo and return its exit status: 0 only if the bytes that arrived are those that were sent."""
    console = open_console()
    try:
        async with _source(demo, console) as (source, name, size):
            return await _show(demo, source, name, size, console)
    except (UploadError, DemoError, OSError, aiohttp.ClientError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.filename is None else None
        text = format_error(error) if isinstance(error, UploadError) else str(reason or error)
        await asyncio.to_thread(write_error, f"error: {text}")
        return 1


async def _show(demo: Demo, source: Path | BinaryIO, name: str, size: int, console: Console) -> int:
    part_size = _part_size(size)
    faults = demo.faults if demo.faults is not None else json.dumps(_two_faults(size, part_size))
    before = await asyncio.to_thread(_peak_memory)
    async with _fake(part_size, faults) as fake:
        state = DemoState(name, time.monotonic)
        async with (
            Uploader(fake["token"], account_id=fake["account_id"], base_url=fake["url"]) as uploader,
            _display(state) as display,
            uploader.upload(source, folder_id=fake["folder_id"], name=name) as upload,
        ):
            async for event in upload:
                await display.show(state, event)
        # If the fake runs in this process, the figure would include its memory.
        after = await asyncio.to_thread(_peak_memory) if _has_python() else None
        sent = await _in_thread(lambda given_up: _sha256(source, given_up))
        arrived = await _sha256_at(fake["url"], upload.result.id)
    lines = [*time_report(state)]
    if before is not None and after is not None:
        lines.append(memory_report(before, after))
    for line in (*lines, *digest_report(sent, arrived)):
        await asyncio.to_thread(console.print, line, soft_wrap=True)
    return 0 if sent == arrived else 1


def _display(state: DemoState) -> Display:
    if is_terminal():
        # The last drawing stays, to be read above the report.
        return LiveDisplay(DemoDrawing(state), transient=False)
    return PlainDisplay()


# -- the source ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _source(demo: Demo, console: Console) -> AsyncIterator[tuple[Path | BinaryIO, str, int]]:
    """Yield the source, its name and its size: the path, or a sample in a temporary file.

    The temporary file has no name, so that the system removes it even if this process is killed.
    """
    if demo.path is not None:
        size = await asyncio.to_thread(_size_of, demo.path)
        await asyncio.to_thread(_check_room, size)
        # `.` and `/` have no last component. With any name at all the error is the one about a directory.
        yield demo.path, demo.path.name or "folder", size
        return
    await asyncio.to_thread(_check_room, 2 * demo.size)
    await asyncio.to_thread(console.print, f"Making a sample of {format_size(demo.size)} ...")
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
        return 1  # the upload raises the error about this path


def _check_room(size: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DemoError(f"{folder} has {format_size(free)} left, and the demo needs {format_size(size)} there")


def _fill(file: IO[bytes], size: int, given_up: threading.Event) -> None:
    for offset in range(0, size, BLOCK):
        if given_up.is_set():
            return
        # All blocks differ, so that parts in the wrong order would change the digest.
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
    """Run a blocking function in a thread; when cancelled, set its event and wait for the thread to end."""
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
    """Return the maximum number of bytes in a part; None for the rule of the service."""
    return min(LARGEST_PART, max(1, math.ceil(size / CELLS))) if size < LARGE_FILE else None


def _two_faults(size: int, part_size: int | None) -> list[dict[str, Any]]:
    """Return the default faults: a connection that breaks half-way through a part, and a 503 for a later part.

    A file of one part has both.
    """
    count = math.ceil(size / part_size) if part_size else 5
    half = (part_size or LARGEST_PART) // 2
    return [
        {"do": "reset", "number": max(1, count // 6), "after": half},
        # S3 may leave `Retry-After` out. With it the pause is long enough to be seen.
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
    """Run the fake: in a second process if possible, so that its CPU time and memory are not the upload's."""
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
        # After the timeout the thread is abandoned, so that Ctrl-C ends the demo.
        ending = asyncio.ensure_future(asyncio.to_thread(running.__exit__, None, None, None))
        await asyncio.wait([ending], timeout=FAKE_EXIT_TIMEOUT)


@asynccontextmanager
async def _fake_process(part_size: int | None, faults: str) -> AsyncIterator[dict[str, str]]:
    """Run the fake in a second process, which ends when its stdin closes: when this block or this process ends."""
    # `-P`: a package of this name in the working directory is not ours. Ours is where this process imported it from,
    # which may be a zip file.
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
        async with asyncio.timeout(FAKE_EXIT_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it printed no error"


async def _sha256_at(url: str, file_id: str) -> str | None:
    """Return the digest of what the fake stored, or None if the file did not arrive as a whole."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_fake/files") as answer:
        files = (await answer.json())["files"]
    return next((file["sha256"] for file in files if file["id"] == file_id and file["complete"]), None)


def _peak_memory() -> int | None:
    """Return the peak memory of this process in bytes (VmHWM), or None where it is unknown.

    It is known on Linux only. `ru_maxrss` is no alternative: a child process inherits its parent's (getrusage(2)).
    """
    if not os.path.exists("/proc/self/status"):
        return None
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
