"""What every test gets: both loops, debug mode, an error for whatever blocks the loop, and nothing left behind."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import signal
import sys
import threading
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
"""The part size of the fixture `fake`."""

QUICK = RetryPolicy(base=0.01, cap=0.05)
"""Waits that a test can afford, in the order and number of the defaults."""

T = TypeVar("T")

# No time limit for one example: a test machine has other things to do too.
settings.register_profile("suite", max_examples=100, deadline=None)
settings.load_profile("suite")


def pytest_configure() -> None:
    """Let programs that tests start hear a Ctrl-C, also where this suite runs in the background of a shell.

    Such a shell has its jobs ignore SIGINT, and what ignores a signal passes that on to the programs that it starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return DEBUG_ASYNCIO


def on_both_loops() -> list[Any]:
    """Parameters for `anyio_backend`: asyncio's own loop, and uvloop where there is one."""
    loops = [pytest.param(DEBUG_ASYNCIO, id="asyncio")]
    if sys.platform != "win32":
        loops.append(pytest.param(UVLOOP, id="uvloop"))
    return loops


# -- what blocks the loop ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raise a BlockingError where code called from a coroutine blocks the event loop."""
    with blockbuster_ctx() as detector:
        for function in detector.functions.values():
            function.can_block_in("tests/conftest.py", {"on_disk"})
        yield detector


def on_disk(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call what touches the disk, from a coroutine of a test: `on_disk(path.write_bytes, b"...")`. It may block."""
    return function(*arguments, **options)


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    """Make a file of so many bytes, the same for the same size: `make_file(size, name="take.mov")`."""

    def make(size: int, name: str = "take.mov") -> Path:
        path = tmp_path / name
        on_disk(path.write_bytes, some_bytes(size))
        return path

    return make


def some_bytes(size: int) -> bytes:
    """Bytes of no pattern, the same for the same size."""
    return random.Random(size).randbytes(size)


def sha256(source: Path | bytes) -> str:
    """The digest of a file or of bytes, as `FakeFile.sha256` has it."""
    return hashlib.sha256(source if isinstance(source, bytes) else on_disk(source.read_bytes)).hexdigest()


# -- nothing is left behind --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def uvloop_was_used() -> None:
    """libuv opens a pipe for signals with a process's first loop, and keeps it."""
    if sys.platform != "win32":
        import uvloop

        uvloop.new_event_loop().close()


@pytest.fixture
def no_descriptor_left_behind(uvloop_was_used: None, blockbuster: BlockBuster) -> Iterator[None]:
    """Set up first, and so left when the loop is closed: no thread of ours, no open descriptor."""
    before = open_descriptors()
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("aioframeio-upload"):
            thread.join(1)
            assert not thread.is_alive(), f"{thread.name} still runs"
    left = {number: target for number, target in open_descriptors().items() if before.get(number) != target}
    # Matplotlib keeps its fonts open, for each thread that draws and at most 64.
    left = {number: target for number, target in left.items() if not target.endswith(".ttf")}
    assert not left, "descriptors left open"


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest, no_descriptor_left_behind: None) -> None:
    """After each test: no task, no thread of ours, no open descriptor."""
    if iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_left_behind")


@pytest.fixture
async def no_task_left_behind() -> AsyncIterator[None]:
    """Set up before all other async fixtures, and so left after them."""
    yield
    left = other_tasks()
    if left:
        await asyncio.wait(left, timeout=1)
    running = [task for task in left if not task.done()]
    assert not running, "tasks left running"


def other_tasks() -> set[asyncio.Task[Any]]:
    """All tasks but those that run the test."""
    runners = "TestRunner."
    return {
        task for task in asyncio.all_tasks() if not getattr(task.get_coro(), "__qualname__", "").startswith(runners)
    }


def our_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What this library logged; asyncio's debug mode tells of a slow machine, too."""
    return [record for record in caplog.records if record.name == "aioframeio_upload"]


def open_descriptors() -> dict[int, str]:
    """Every open descriptor and what it is; empty where the system does not tell."""
    found = {}
    numbers = on_disk(os.listdir, "/proc/self/fd") if sys.platform == "linux" else []
    for number in numbers:
        try:
            found[int(number)] = on_disk(os.readlink, f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


def open_files(directory: Path) -> list[str]:
    """The files below a directory that this process has open; those without a name too."""
    place = on_disk(directory.resolve)
    return [target for target in open_descriptors().values() if target.startswith(f"{place}/")]


# -- a service and a client --------------------------------------------------------------------------------------------


@pytest.fixture
async def fake() -> AsyncIterator[FakeFrameio]:
    """Frame.io without rate limits, with parts of 1 MiB; at the end no connection to it may be open."""
    async with FakeFrameio(rate_limits=False, part_size=PART) as fake:
        yield fake
        fake.release()  # where it stalls it does not read, and would not see that the other end is gone
        async with asyncio.timeout(20):
            await fake.until(lambda fake: fake.connections == 0)


@pytest.fixture
async def uploader(fake: FakeFrameio) -> AsyncIterator[Uploader]:
    """An entered Uploader on `fake`, without pacing and with quick retries."""
    async with uploader_on(fake) as uploader:
        yield uploader


def uploader_on(fake: FakeFrameio, **settings: Any) -> Uploader:
    """An Uploader for a fake, not entered yet, without pacing and with quick retries unless told otherwise."""
    usual: dict[str, Any] = {"limits": Limits(api_pacing=False), "retry": QUICK, "account_id": fake.account_id}
    return Uploader(fake.token, base_url=fake.url, **usual | settings)


async def reached(fake: FakeFrameio, fault: Fault, times: int = 1) -> None:
    """Wait until a fault was met: the request that met it is held, stalled or answered."""
    async with asyncio.timeout(10):
        await fake.until(lambda fake: fake.hits(fault) >= times)
