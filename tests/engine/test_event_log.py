"""Listening: every fact to everybody, the latest progress in between, and nobody can hold the upload up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from aioframeio_upload import (
    Event,
    Limits,
    PartCompleted,
    PartRetrying,
    PartStarted,
    Progress,
    Upload,
    UploadCompleted,
    Uploader,
    UploadPlanned,
)
from aioframeio_upload._engine.event_log import EventLog
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, reached, some_bytes, uploader_on

SIZE = 3 * PART


def progress(uploaded: int, total: int = 100) -> Progress:
    return Progress(uploaded, uploaded, total, 0, 1, 0.0, None)


def facts(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Progress)]


async def told(upload: Upload) -> list[Event]:
    return [event async for event in upload]


async def test_the_facts_of_a_file_of_one_part_in_their_order(fake: FakeFrameio, uploader: Uploader) -> None:
    upload = uploader.upload(b"x" * 10, name="take.mov", folder_id=fake.folder_id)
    planned, started, completed, end = facts(await told(upload))
    assert isinstance(planned, UploadPlanned)
    assert (planned.file_id, planned.total_bytes, planned.total_parts) == (fake.files[0].id, 10, 1)
    assert started == PartStarted(number=1, attempt=1, offset=0, size=10)
    assert isinstance(completed, PartCompleted)
    assert (completed.number, completed.size, completed.attempt) == (1, 10, 1)
    assert (completed.etag, end) == (upload.result.etags[0], UploadCompleted(upload.result))


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_two_listeners_and_a_late_one_are_told_every_fact(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    fake.add_fault(Fault(number=2))
    upload = uploader.upload(make_file(SIZE), folder_id=fake.folder_id)
    first, second = await asyncio.gather(told(upload), told(upload))
    late = await told(upload)
    assert facts(first) == facts(second) == facts(late)
    assert [type(event) for event in (first[0], first[-1])] == [UploadPlanned, UploadCompleted]
    assert sum(isinstance(event, PartCompleted) for event in first) == 3
    assert sum(isinstance(event, PartRetrying) for event in first) == 1
    assert late[-2] == first[-2] == upload.progress


async def test_a_listener_who_comes_half_way_is_told_the_facts_from_the_first(fake: FakeFrameio) -> None:
    fake.add_fault(hold := Fault(do="hold", number=2))
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader:
        upload = uploader.upload(some_bytes(SIZE), name="take.mov", folder_id=fake.folder_id).start()
        await reached(fake, hold)
        listening = asyncio.create_task(told(upload))
        fake.release()
        events = await listening
    assert isinstance(events[0], UploadPlanned)
    assert [event.number for event in events if isinstance(event, PartStarted)] == [1, 2, 3]


async def test_a_listener_who_waits_for_the_upload_between_events_holds_nothing_up(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    """The slowest listener there is: it takes the second event when the upload has ended."""
    upload = uploader.upload(make_file(SIZE), folder_id=fake.folder_id)
    events = []
    async for event in upload:
        events.append(event)
        await upload
    assert facts(events) == facts(await told(upload))
    assert sum(isinstance(event, Progress) for event in events) == 1
    assert events[-2] == upload.progress


async def test_progress_is_conflated_for_who_is_slow() -> None:
    feed = EventLog()
    listener = feed.listen()
    for uploaded in range(1000):
        feed.publish(progress(uploaded))
    assert await anext(listener) == progress(999)
    feed.publish(fact := PartStarted(1, 1, 0, 100))
    assert await anext(listener) == fact


async def test_progress_stands_between_the_facts_where_it_was_told() -> None:
    feed, first, second = EventLog(), PartStarted(1, 1, 0, 50), PartStarted(2, 1, 50, 50)
    feed.publish(first)
    feed.publish(progress(50))
    feed.publish(second)
    feed.end(last := UploadPlanned("id", "name", None, 100, 2))
    assert [event async for event in feed.listen()] == [first, progress(50), second, last]


async def test_who_gives_up_waiting_for_an_event_leaves_nothing_behind() -> None:
    """As a web handler does that sends a comment when nothing was told for a while."""
    feed = EventLog()
    listener = feed.listen()
    for _ in range(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(listener), 0.001)
    assert not feed._waiting
    feed.publish(progress(1))
    assert await anext(listener) == progress(1)


async def test_progress_never_runs_backwards_not_across_retries_either(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    fake.add_fault(Fault(number=1, times=2))
    fake.add_fault(Fault(do="reset", number=2, after=PART // 2, times=3))
    fake.add_fault(Fault(do="trickle", number=3, rate=PART * 3))
    events = await told(uploader.upload(make_file(SIZE), folder_id=fake.folder_id))
    seen = [event for event in events if isinstance(event, Progress)]
    for before, after in pairwise(seen):
        assert before.bytes_uploaded <= after.bytes_uploaded <= after.total_bytes == SIZE
        assert before.bytes_confirmed <= after.bytes_confirmed <= after.bytes_uploaded
        assert before.parts_completed <= after.parts_completed
    assert sum(isinstance(event, PartRetrying) for event in events) == 5
    assert (seen[-1].bytes_uploaded, seen[-1].bytes_confirmed, seen[-1].parts_completed) == (SIZE, SIZE, 3)


async def test_while_bytes_move_there_are_at_least_ten_progress_a_second_and_at_most_some_tens(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    """Counted against a ticker of ten a second on the same loop: where the machine stands still, so does that."""
    fake.add_fault(Fault(do="trickle", rate=PART))
    now = asyncio.get_running_loop().time
    ticks, ticker = 0, None

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.1)
            ticks += 1

    told_so_far, began, told_at_last, ticks_at_last = 0, 0.0, 0.0, 0
    async for event in uploader.upload(make_file(PART), folder_id=fake.folder_id):
        if isinstance(event, PartStarted):
            began, ticker = now(), asyncio.create_task(tick())
        elif isinstance(event, Progress):
            told_so_far, told_at_last, ticks_at_last = told_so_far + 1, now(), ticks
    assert ticker is not None
    ticker.cancel()
    seconds = told_at_last - began
    assert seconds >= 0.9, "a part of 1 MiB at 1 MiB a second"
    assert ticks_at_last <= told_so_far <= 50 * seconds


async def test_progress_moves_within_a_part() -> None:
    """S3 has acknowledged nothing, and has not even read the half of it."""
    size = 32 * PART
    stuck = Fault(do="stall", after=PART)
    async with (
        FakeFrameio(rate_limits=False, part_size=size, store=False, faults=[stuck]) as wide,
        uploader_on(wide) as uploader,
    ):
        upload = uploader.upload(bytes(size), name="take.mov", folder_id=wide.folder_id)
        async for event in upload:
            if isinstance(event, Progress) and 0 < event.bytes_uploaded < size:
                assert event.bytes_confirmed == 0
                break
        await reached(wide, stuck)
        wide.release(stuck)
        await upload
        assert upload.progress is not None
        assert (upload.progress.bytes_uploaded, upload.progress.bytes_confirmed) == (size, size)
        assert uploader.statistics().retries == 0


async def test_events_are_told_in_json(fake: FakeFrameio, uploader: Uploader) -> None:
    import json

    fake.add_fault(Fault(times=1))
    events = await told(uploader.upload(b"x", name="take.mov", folder_id=fake.folder_id))
    told_as = [json.loads(json.dumps(event.to_dict(), allow_nan=False)) for event in events]
    assert [one["event"] for one in told_as] == [type(event).__name__ for event in events]
