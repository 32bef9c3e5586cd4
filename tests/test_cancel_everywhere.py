"""An upload that is cancelled at any of its suspension points stops within a second and leaves what it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from conftest import on_disk, some_bytes, uploader_on
from suspensions import Suspensions

from aioframeio_upload import (
    Event,
    Limits,
    Upload,
    UploadCancelled,
    Uploader,
)
from aioframeio_upload.testing import FakeFrameio, Fault

PART = 300_000
"""Bytes: two blocks."""

SECOND = 3.0
"""The promised one, with slack: the machine may be busy."""

Act = Callable[[], object]


class OwnError(Exception):
    """Raised by a caller's block."""


# -- ways to cancel: each says what cancels (`arm`), and raises what the caller sees -----------------------------------


async def by_cancel(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    arm(upload.cancel)
    await upload


async def by_its_task(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    task = asyncio.create_task(upload)
    arm(task.cancel)
    await task


async def by_an_exception_in_its_block(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    leave: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    arm(lambda: leave.set_result(None))
    async with upload:
        ending = asyncio.create_task(_all_events(upload))
        await asyncio.wait([leave, ending], return_when=asyncio.FIRST_COMPLETED)
        if leave.done():
            raise OwnError


async def _all_events(upload: Upload) -> list[Event]:
    return [event async for event in upload]


async def by_a_timeout(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    async with asyncio.timeout(None) as timeout:
        arm(lambda: timeout.reschedule(0))
        await upload


async def by_an_anyio_scope(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    with anyio.CancelScope() as scope:
        arm(scope.cancel)
        await upload
    if scope.cancelled_caught:
        raise OwnError


async def by_shutdown(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    stopping: list[asyncio.Task[None]] = []
    arm(lambda: stopping.append(asyncio.create_task(uploader.shutdown(0))))
    try:
        await upload
    finally:
        await asyncio.gather(*stopping)


Way = Callable[[Upload, Uploader, Callable[[Act], None]], Awaitable[None]]

WAYS: dict[Way, type[BaseException]] = {
    by_cancel: UploadCancelled,
    by_its_task: asyncio.CancelledError,
    by_an_exception_in_its_block: OwnError,
    by_a_timeout: TimeoutError,
    by_an_anyio_scope: OwnError,
    by_shutdown: asyncio.CancelledError,
}
"""And what the caller sees then."""


# -- what is uploaded, and what befalls it -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Story:
    """An upload, and where it is seen waiting when nobody cancels it."""

    name: str
    waits: frozenset[str]
    faults: tuple[Fault, ...] = ()
    source: Callable[[Path], Any] = lambda path: path
    options: tuple[tuple[str, Any], ...] = ()
    parts: int = 2
    paused: bool = False


async def _stream() -> AsyncIterator[bytes]:
    for _ in range(6):
        await asyncio.sleep(0)
        yield bytes(PART // 3)


PLAIN = Story(
    name="a path",
    waits=frozenset({">opened", ">create_file", "_read_plan", ">Transfer._tick", "Attempt.put", "read_status"}),
)
STORIES = [
    PLAIN,
    Story(name="a part tried again", waits=frozenset({">Transfer._send"}), faults=(Fault(status=500),)),
    Story(name="a pause", waits=frozenset({">Gate.passed"}), paused=True),
    Story(
        name="a stream",
        waits=frozenset({">Transfer._work"}),
        source=lambda path: _stream(),
        options=(("name", "take.mov"), ("size", 2 * PART)),
    ),
    Story(
        name="begun anew",
        waits=frozenset({"Delivery._replan", "delete_placeholder"}),
        source=lambda path: some_bytes(PART),
        options=(("name", "take.mov"),),
        faults=(Fault(do="corrupt"),),
        parts=1,
    ),
    Story(name="one place, taken", waits=frozenset({">Delivery.run"}), options=(("waits", True),)),
]


class Stage:
    """A service, on which uploads are run one after another."""

    def __init__(self, fake: FakeFrameio, directory: Path) -> None:
        self.fake = fake
        self.directory = directory
        self.path = directory / "take.mov"
        on_disk(self.path.write_bytes, some_bytes(2 * PART))
        self.troubles: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: self.troubles.append(repr(context)))

    async def play(self, story: Story, way: Way, *points: int) -> Suspensions:
        """Run the upload, cancel it at those points, and look at what is left."""
        known = {file.id for file in (*self.fake.files, *self.fake.deleted)}
        for fault in story.faults:
            self.fake.add_fault(fault)
        seen = Suspensions()
        seen_error: BaseException | None = None
        uploader = uploader_on(self.fake, spool_dir=self.directory, limits=Limits(api_pacing=False, files=1))
        with seen.counted():
            async with asyncio.timeout(20), uploader:
                upload = self._made(story, uploader)
                acted = asyncio.get_running_loop().create_future()

        return seen
