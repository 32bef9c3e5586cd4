"""Fixtures for every test: both loops, debug mode, an error for calls that block the loop, and checks for leaks."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, TypeVar

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

from aioframeio_upload import Limits, RetryPolicy, Uploader
from aioframeio_upload.testing import FakeFrameio, Fault

# Debug mode finds coroutines never awaited, calls from the wrong thread and slow callbacks.
DEBUG_ASYNCIO = ("asyncio", {"debug": True})
UVLOOP = ("asyncio", {"debug": True, "use_uvloop": True})

PART = 1 << 20
"""The maximum part size of the fixture `fake`."""

QUICK = RetryPolicy(base=0.01, cap=0.05)
"""Short delays for tests, with as many attempts as by default."""

T = TypeVar("T")


class OwnError(Exception):
    """An error that a caller's block raises."""


# No time limit for one example: a test machine has other things to do too.
settings.register_profile("suite", max_examples=100, deadline=None)
settings.load_profile("suite")


def pytest_configure() -> None:
    """Let programs that tests start receive SIGINT, even if this suite runs in the background of a shell.

    A non-interactive shell starts background jobs with SIGINT ignored, and child processes inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return DEBUG_ASYNCIO


def on_both_loops() -> list[Any]:
    """Return parameters for `anyio_backend`: asyncio's loop, and uvloop except on Windows."""
    loops = [pytest.param(DEBUG_ASYNCIO, id="asyncio")]
    if sys.platform != "win32":
        loops.append(pytest.param(UVLOOP, id="uvloop"))
    return loops


# -- blocking calls ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raise a BlockingError if code that a coroutine calls blocks the event loop."""
    with blockbuster_ctx() as detector:
        for function in detector.functions.values():
            function.can_block_in("tests/conftest.py", {"on_disk"})
        yield detector


def on_disk(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a function that uses the disk from a test's coroutine: `on_disk(path.write_bytes, b"...")`. It may block."""
    return function(*arguments, **options)


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a file, equal for equal sizes: `make_file(size, name="take.mov")`."""

    def make(size: int, name: str = "take.mov") -> Path:
        path = tmp_path / name
        on_disk(path.write_bytes, some_bytes(size))
        return path

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "uploads.sqlite3"


def some_bytes(size: int) -> bytes:
    """Return pseudo-random bytes, equal for equal sizes."""
    return random.Random(size).randbytes(size)


def sha256(source: Path | bytes) -> str:
    """Return the digest of a file or of bytes, to compare with `FakeFile.sha256`."""
    return hashlib.sha256(source if isinstance(source, bytes) else on_disk(source.read_bytes)).hexdigest()


# -- leaks -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def uvloop_was_used() -> None:
    """Create a loop of uvloop: libuv opens a pipe for signals with a process's first loop, and keeps it."""
    if sys.platform != "win32":
        import uvloop

        uvloop.new_event_loop().close()


@pytest.fixture
def no_descriptor_left_behind(uvloop_was_used: None, blockbuster: BlockBuster) -> Iterator[None]:
    """Check for threads and descriptors; set up first, and therefore torn down after the loop is closed."""
    before = open_descriptors()
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("aioframeio-upload"):
            thread.join(1)
            assert not thread.is_alive(), f"{thread.name} still runs"
    wait_for_watchfiles()
    left = {number: target for number, target in open_descriptors().items() if before.get(number) != target}
    # Matplotlib keeps its fonts open, at most 64 for each thread that draws.
    left = {number: target for number, target in left.items() if not target.endswith(".ttf")}
    assert not left, "descriptors left open"


def wait_for_watchfiles() -> None:
    """Wait until no thread of watchfiles runs: it closes its descriptors only after `RustNotify.close` has returned."""
    deadline = time.monotonic() + 10
    while sys.platform == "linux" and time.monotonic() < deadline:
        names = [read_or_empty(Path(f"/proc/self/task/{task}/comm")) for task in on_disk(os.listdir, "/proc/self/task")]
        if not any(name.startswith("notify-rs") for name in names):
            return
        time.sleep(0.01)  # its end is reported by nothing


def read_or_empty(path: Path) -> str:
    """Return the text of a file; empty if it is gone."""
    try:
        return str(on_disk(path.read_text))
    except OSError:
        return ""


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest, no_descriptor_left_behind: None) -> None:
    """Check after each test that it left no task, no thread of ours and no open descriptor."""
    if iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_left_behind")


@pytest.fixture
async def no_task_left_behind() -> AsyncIterator[None]:
    """Check for tasks; set up before all other async fixtures, and therefore torn down after them."""
    yield
    left = other_tasks()
    if left:
        await asyncio.wait(left, timeout=1)
    running = [task for task in left if not task.done()]
    assert not running, "tasks left running"


def other_tasks() -> set[asyncio.Task[Any]]:
    """Return all tasks except those that run the test."""
    runners = "TestRunner."
    return {
        task for task in asyncio.all_tasks() if not getattr(task.get_coro(), "__qualname__", "").startswith(runners)
    }


def our_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the library's log records; in debug mode asyncio's loggers report a slow machine, too."""
    return [record for record in caplog.records if record.name == "aioframeio_upload"]


def open_descriptors() -> dict[int, str]:
    """Return every open descriptor and its target; empty except on Linux."""
    found = {}
    numbers = on_disk(os.listdir, "/proc/self/fd") if sys.platform == "linux" else []
    for number in numbers:
        try:
            found[int(number)] = on_disk(os.readlink, f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
    return found


def open_files(directory: Path) -> list[str]:
    """Return the files below a directory that this process has open, including those that were unlinked."""
    place = on_disk(directory.resolve)
    return [target for target in open_descriptors().values() if target.startswith(f"{place}/")]


# -- a service and a client --------------------------------------------------------------------------------------------


@pytest.fixture
async def fake() -> AsyncIterator[FakeFrameio]:
    """Serve Frame.io without rate limits, with parts of 1 MiB; at the end no connection to it may be open."""
    async with FakeFrameio(rate_limits=False, part_size=PART) as fake:
        yield fake
        fake.release()  # a stalled connection is not read, and so its end would not be noticed
        async with asyncio.timeout(20):
            await fake.until(lambda fake: fake.connections == 0)


@pytest.fixture
async def md5_fake() -> AsyncIterator[FakeFrameio]:
    """Serve as `fake` does, with an S3 that states no CRC64NVME, as most servers like it: its ETags are MD5s."""
    async with FakeFrameio(rate_limits=False, part_size=PART, checksum=None) as fake:
        yield fake
        fake.release()
        async with asyncio.timeout(20):
            await fake.until(lambda fake: fake.connections == 0)


@pytest.fixture
async def uploader(fake: FakeFrameio) -> AsyncIterator[Uploader]:
    """Return an entered Uploader for `fake`, without pacing and with quick retries."""
    async with uploader_on(fake) as uploader:
        yield uploader


def uploader_on(fake: FakeFrameio, **settings: Any) -> Uploader:
    """Return an Uploader for a fake, not yet entered, by default without pacing and with quick retries."""
    usual: dict[str, Any] = {"limits": Limits(api_pacing=False), "retry": QUICK, "account_id": fake.account_id}
    return Uploader(fake.token, base_url=fake.url, **usual | settings)


async def reached(fake: FakeFrameio, fault: Fault, times: int = 1) -> None:
    """Wait until a fault was hit: its request is held, stalled or answered."""
    async with asyncio.timeout(10):
        await fake.until(lambda fake: fake.hits(fault) >= times)
