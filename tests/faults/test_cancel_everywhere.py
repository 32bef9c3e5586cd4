"""An upload that is cancelled at any of its suspension points stops within a second and leaves what the contract says.

The ordinary suite cancels at a sample of the points; `python3 run.py cancel` (CANCEL_EVERYWHERE=whole) at all of them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioframeio_upload import (
    Event,
    Limits,
    PartCompleted,
    Upload,
    UploadCancelled,
    UploadCompleted,
    Uploader,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import OwnError, on_both_loops, on_disk, open_files, reached, some_bytes, uploader_on
from tests.support.suspensions import Suspensions

PART = 300_000
"""Bytes: two blocks."""

SECOND = 5.0
"""The promised second, with a margin for a busy machine."""

at_all_points = pytest.mark.skipif(
    os.environ.get("CANCEL_EVERYWHERE") != "whole", reason="takes minutes: python3 run.py cancel"
)

Act = Callable[[], object]


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
        both: list[asyncio.Future[Any]] = [leave, ending]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
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
"""The exception that the caller sees then."""


# -- what is uploaded, and what befalls it -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Story:
    """An upload of `parts` parts, and the functions in which it waits when nobody cancels it."""

    name: str
    waits: tuple[str, ...]
    parts: int = 2
    content: Callable[[Path], Any] = lambda path: path
    fault: Fault | None = None
    pauses: bool = False


async def _stream() -> AsyncIterator[bytes]:
    for third in range(6):
        await asyncio.sleep(0)
        yield some_bytes(2 * PART)[third * PART // 3 : (third + 1) * PART // 3]


PLAIN = Story(
    name="a path",
    waits=(
        ">opened",
        "create_file",
        "FrameioApi.off_loop",  # where the plan is read
        ">PartUploader._tick",
        "PutAttempt.put",
        "read_status",
        ">confirm",
    ),
)
STORIES = [
    PLAIN,
    Story(name="a part tried again", waits=(">PartUploader._send",), fault=Fault(status=500)),
    Story(name="a pause", waits=(">PauseGate.passed",), pauses=True),
    Story(name="a stream", waits=(">PartUploader._work",), content=lambda path: _stream()),
    # Its part is stored wrongly, so the stitched file has other bytes than were sent.
    Story(
        name="begun anew",
        waits=("UploadJob._replan", "delete_placeholder"),
        parts=1,
        content=lambda path: some_bytes(PART),
        fault=Fault(do="corrupt"),
    ),
]


ENDED = 3
"""Successive uploads that end before the cancel, after which no point is left: not all wait equally often."""


class Stage:
    """A service on which an upload is repeated."""

    def __init__(self, fake: FakeFrameio, directory: Path) -> None:
        self.fake = fake
        self._directory = directory
        self._path = directory / "take.mov"
        self._played = 0
        self._troubles: list[dict[str, Any]] = []
        on_disk(self._path.write_bytes, some_bytes(2 * PART))
        asyncio.get_running_loop().set_exception_handler(lambda loop, told: self._troubles.append(told))

    async def play(
        self,
        story: Story,
        way: Way,
        first: int = 0,
        second: int = 0,
        again: Callable[[Suspensions, Act], None] | None = None,
    ) -> Suspensions:
        """Upload, cancel at the first of the points and again at the second; check what is left."""
        known = {file.id for file in (*self.fake.files, *self.fake.deleted)}
        self._played += 1
        name = f"take-{self._played}.mov"
        if story.fault is not None:  # only in this play: an upload that is cancelled early leaves its fault unused
            self.fake.add_fault(replace(story.fault, name=name))
        seen = Suspensions()
        loop = asyncio.get_running_loop()
        cancelled_at: list[float] = []
        error: BaseException | None = None

        def arm(act: Act) -> None:
            def begin() -> None:
                if not upload.done:
                    cancelled_at.append(loop.time())
                    act()

            seen.acts[first] = begin
            if again is not None:
                seen.acts[second] = partial(again, seen, act)

        uploader = uploader_on(self.fake, spool_dir=self._directory, limits=Limits(api_pacing=False, files=1))
        async with asyncio.timeout(20), uploader:
            upload = uploader.upload(
                story.content(self._path),
                folder_id=self.fake.folder_id,
                name=name,
                size=story.parts * PART,
            )
            with seen.counted():
                if story.pauses:
                    upload.pause()
                    seen.when[">PauseGate.passed"] = partial(loop.call_later, 0.05, upload.resume)
                try:
                    await way(upload, uploader, arm)
                except (OwnError, TimeoutError, UploadCancelled, asyncio.CancelledError) as told:
                    error = told
                if cancelled_at:
                    assert loop.time() - cancelled_at[0] < SECOND
                _, running = await asyncio.wait(seen.tasks, timeout=1) if seen.tasks else (None, set())
                assert not running
        await self._nothing_is_open()
        events = await _all_events(upload)
        assert isinstance(events[-1], UploadCompleted | UploadFailed)
        if not cancelled_at:
            assert isinstance(events[-1], UploadCompleted), events[-1]
        elif isinstance(events[-1], UploadCompleted):
            assert way is not by_cancel, "what is cancelled does not complete"
        else:
            assert isinstance(events[-1].error, UploadCancelled)
            assert type(error) is WAYS[way], error
        self._check_what_is_left(known, upload, events, story.parts)
        seen.was_cancelled = bool(cancelled_at)
        return seen

    def _check_what_is_left(self, known: set[str], upload: Upload, events: list[Event], parts: int) -> None:
        """The placeholder is deleted unless every part was acknowledged (DESIGN 1.4)."""
        kept = {file.id for file in self.fake.files} - known
        begun = [number for number, event in enumerate(events) if isinstance(event, UploadPlanned | UploadReplanned)]
        arrived = [event for event in events[begun[-1] :] if isinstance(event, PartCompleted)] if begun else []
        if len(arrived) == parts:
            assert kept == {upload.file_id}
        elif kept:  # cancelled between S3's last answer and its event
            assert kept == {upload.file_id}
            (file,) = (file for file in self.fake.files if file.id == upload.file_id)
            assert len(file.etags) == parts
        told = {event.file_id for event in events if isinstance(event, UploadPlanned | UploadReplanned)}
        assert told - kept <= {file.id for file in self.fake.deleted}

    async def _nothing_is_open(self) -> None:
        async with asyncio.timeout(SECOND):
            await self.fake.until(lambda fake: fake.connections == 0)
        on_disk(_join_threads)
        assert open_files(self._directory) == []
        assert self._troubles == []


def _join_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("aioframeio-upload"):
            thread.join(1)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Serve Frame.io with parts of two blocks; the first poll reports that the file is not complete."""
    async with FakeFrameio(rate_limits=False, part_size=PART, stitch_polls=1) as fake:
        yield (stage := Stage(fake, tmp_path))
        gc.collect()
        assert stage._troubles == []


# -- a sample, and all of them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_an_upload_without_a_cancel_waits_in_the_functions_of_its_story(stage: Stage, story: Story) -> None:
    seen = await stage.play(story, by_cancel)
    assert seen.places.issuperset(story.waits), sorted(seen.places)
    assert not seen.was_cancelled


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_at_a_sample_of_its_suspension_points_it_leaves_what_it_should(stage: Stage, way: Way) -> None:
    # Each way starts at another point, so that together they cover more.
    for point in range(1 + list(WAYS).index(way), 25, 6):
        assert (await stage.play(PLAIN, way, point)).was_cancelled


@at_all_points
@pytest.mark.timeout(900)
@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_cancelled_at_every_suspension_point_it_leaves_what_it_should(
    stage: Stage, story: Story, way: Way
) -> None:
    point, ended = 0, 0
    while ended < ENDED:
        point += 1
        ended = 0 if (await stage.play(story, way, point)).was_cancelled else ended + 1
    assert point > 20


def _the_awaiter(seen: Suspensions, act: Act) -> None:
    act()


def _its_own_task(seen: Suspensions, act: Act) -> None:
    seen.tasks[0].cancel()  # as asyncio.run() cancels all tasks that are left


@at_all_points
@pytest.mark.timeout(900)
@pytest.mark.parametrize("again", [_the_awaiter, _its_own_task])
async def test_cancelled_again_at_every_point_of_its_clean_up_it_leaves_what_it_should(
    stage: Stage, again: Callable[[Suspensions, Act], None]
) -> None:
    longest = 0
    for first in range(5, 30, 5):
        second = first + 1
        while not (seen := await stage.play(PLAIN, by_its_task, first, second, again=again)).acts:
            assert seen.was_cancelled
            second += 1
        longest = max(longest, second - first - 1)
    assert longest > 3, "no clean-up was seen"


async def test_cancelled_twice_while_the_service_hangs_it_ends_within_a_second(stage: Stage) -> None:
    held = Fault(on="delete", do="hold")
    stage.fake.add_fault(held)
    async with uploader_on(stage.fake) as uploader:
        stage.fake.add_fault(stall := Fault(do="stall", times=None))
        task = asyncio.create_task(uploader.upload(some_bytes(PART), name="a", folder_id=stage.fake.folder_id))
        await reached(stage.fake, stall)
        async with asyncio.timeout(SECOND):
            task.cancel()
            await reached(stage.fake, held)
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()
        assert uploader.uploads == ()


async def test_an_uploader_whose_exit_is_cancelled_twice_still_closes(stage: Stage) -> None:
    stage.fake.add_fault(held := Fault(on="delete", do="hold"))
    stage.fake.add_fault(stall := Fault(do="stall", times=None))

    async def work() -> None:
        async with uploader_on(stage.fake) as uploader:
            await uploader.upload(some_bytes(PART), name="a", folder_id=stage.fake.folder_id)

    task = asyncio.create_task(work())
    await reached(stage.fake, stall)
    async with asyncio.timeout(SECOND):
        task.cancel()
        await reached(stage.fake, held)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        stage.fake.release()  # a held request does not notice that its client has left
        await stage.fake.until(lambda fake: fake.connections == 0)
