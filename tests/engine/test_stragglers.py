"""A part whose connection is far slower than the others is sent a second time; the first acknowledgement counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    Event,
    Limits,
    PartCompleted,
    PartRaced,
    PartRetrying,
    Progress,
    Upload,
    UploadCancelled,
    Uploader,
    UploadFailed,
    UploadReplanned,
)
from aioframeio_upload._core import stragglers
from aioframeio_upload._io import flow_control, part_slots
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, on_disk, reached, sha256, some_bytes, uploader_on
from tests.support.trees import plant

COUNT = 12
SIZE = COUNT * PART
CONTENT = some_bytes(SIZE)
STUCK = Fault(do="stall", number=3, after=1000)
"""Stops reading in the middle of a part."""
TWICE = Fault(do="stall", number=3, after=1000, times=2)
SILENT = Fault(do="hold", number=3)
"""Has the whole part and does not answer."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare rates over a moment instead of seconds."""
    monkeypatch.setattr(part_slots, "SPACING", 0.05)
    for name, value in {"LEAST_SPAN": 0.2, "CONNECT": 0.01, "LEAST_MOVED": 1000, "LATE_ANSWER": 0.2}.items():
        monkeypatch.setattr(stragglers, name, value)


async def stream(content: bytes) -> AsyncIterator[bytes]:
    for offset in range(0, len(content), 100_000):
        yield content[offset : offset + 100_000]


async def told(upload: Upload) -> list[Event]:
    async with asyncio.timeout(20):
        return [event async for event in upload]


def about(events: list[Event], number: int) -> list[tuple[str, int]]:
    kinds = (PartRaced, PartRetrying, PartCompleted)
    return [
        (type(event).__name__, event.attempt) for event in events if isinstance(event, kinds) and event.number == number
    ]


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("fault", [STUCK, SILENT], ids=["mid-body", "answer"])
@pytest.mark.parametrize("kind", ["path", "bytes"])
async def test_the_second_attempt_completes_the_part(
    fake: FakeFrameio, make_file: Callable[..., Path], fault: Fault, kind: str
) -> None:
    source: Any = make_file(SIZE) if kind == "path" else CONTENT
    fake.add_fault(fault)
    async with uploader_on(fake) as uploader:
        events = await told(uploader.upload(source, folder_id=fake.folder_id, name="take.mov"))
        assert uploader.statistics().retries == 0
    assert about(events, 3) == [("PartRaced", 2), ("PartCompleted", 2)]
    assert sorted(event.number for event in events if isinstance(event, PartCompleted)) == list(range(1, COUNT + 1))
    bars = [event.bytes_uploaded for event in events if isinstance(event, Progress)]
    assert bars == sorted(bars)
    assert bars[-1] == SIZE
    (file,) = fake.files
    assert file.sha256 == sha256(CONTENT)


async def test_a_connection_that_is_slow_is_not_used_again(fake: FakeFrameio) -> None:
    slow = Fault(do="trickle", rate=20_000, first=3, sticks=True)
    fake.add_fault(slow)
    async with uploader_on(fake, limits=Limits(parts=4, api_pacing=False)) as uploader:
        events = await told(uploader.upload(CONTENT, folder_id=fake.folder_id, name="take.mov"))
    assert sum(isinstance(event, PartRaced) for event in events) == 1
    assert fake.hits(slow) == 1


async def test_a_stream_is_not_raced_and_its_slow_connection_is_replaced(fake: FakeFrameio) -> None:
    fake.add_fault(STUCK)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(stream(CONTENT), folder_id=fake.folder_id, name="take.mov", size=SIZE)
        events = await told(upload)
    assert about(events, 3) == [("PartRetrying", 1), ("PartCompleted", 1)]
    (file,) = fake.files
    assert file.sha256 == sha256(CONTENT)


async def test_a_file_of_a_folder_is_compared_with_the_others(fake: FakeFrameio, tmp_path: Path) -> None:
    root = on_disk(plant, tmp_path / "shoot", {f"{number}.mov": PART for number in range(8)})
    fake.add_fault(stuck := Fault(do="stall", name="3.mov", after=1000))
    async with uploader_on(fake) as uploader, asyncio.timeout(20):
        result = await uploader.upload_folder(root, folder_id=fake.folder_id)
    assert len(result.files) == 8
    assert fake.hits(stuck) == 1


async def test_the_journal_gets_one_receipt_and_a_later_run_sends_the_rest(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    fake.add_fault(STUCK)
    fake.add_fault(last := Fault(do="hold", number=COUNT, times=None))
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        async with asyncio.timeout(20):
            async for event in upload:
                if isinstance(event, Progress) and event.parts_completed == COUNT - 1:
                    break
        await uploader.shutdown(grace=0)
    fake.release(last)
    async with uploader_on(fake, journal=journal) as uploader:
        (pending,) = await uploader.pending()
        assert pending.bytes_confirmed == SIZE - PART
        events = await told(uploader.upload(path, folder_id=fake.folder_id))
    assert {event.number for event in events if isinstance(event, PartCompleted)} == {COUNT}
    (file,) = fake.files
    assert file.sha256 == sha256(CONTENT)


async def in_race(fake: FakeFrameio, uploader: Uploader) -> Upload:
    """Begin an upload, and return it when both attempts at a part are stuck."""
    fake.add_fault(TWICE)
    upload = uploader.upload(CONTENT, folder_id=fake.folder_id, name="take.mov").start()
    async with asyncio.timeout(20):
        await reached(fake, TWICE, 2)
    return upload


async def test_a_cancellation_ends_both_attempts(fake: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        upload = await in_race(fake, uploader)
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload
        assert uploader.statistics().in_flight == 0
    assert not fake.files


async def test_a_pause_in_a_race_loses_nothing(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_control, "PAUSE", 0.05)
    async with uploader_on(fake) as uploader:
        upload = await in_race(fake, uploader)
        upload.pause()
        fake.release(TWICE)
        upload.resume()
        events = await told(upload)
        assert [name for name, _ in about(events, 3)].count("PartCompleted") == 1
    (file,) = fake.files
    assert file.sha256 == sha256(CONTENT)


async def test_whichever_attempt_is_first_the_part_is_completed_once(fake: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        upload = await in_race(fake, uploader)
        fake.release(TWICE)
        events = await told(upload)
    assert [name for name, _ in about(events, 3)].count("PartCompleted") == 1
    (file,) = fake.files
    assert file.sha256 == sha256(CONTENT)


async def test_under_a_bandwidth_limit_a_stuck_part_is_raced_too(fake: FakeFrameio) -> None:
    fake.add_fault(STUCK)
    async with uploader_on(fake, limits=Limits(bandwidth=30_000_000, api_pacing=False)) as uploader:
        events = await told(uploader.upload(CONTENT, folder_id=fake.folder_id, name="take.mov"))
    assert ("PartRaced", 2) in about(events, 3)
    assert [name for name, _ in about(events, 3)].count("PartCompleted") == 1


async def test_a_race_whose_second_attempt_fails_leaves_the_first_one_to_go_on(fake: FakeFrameio) -> None:
    fake.add_fault(STUCK)
    fake.add_fault(broken := Fault(do="reset", number=3, after=1000, first=2))
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, folder_id=fake.folder_id, name="take.mov").start()
        async with asyncio.timeout(20):
            await reached(fake, broken)
        fake.release(STUCK)
        events = await told(upload)
        assert uploader.statistics().retries == 0
    assert [name for name, _ in about(events, 3)].count("PartCompleted") == 1
    assert not any(isinstance(event, PartRetrying) for event in events)


async def test_a_second_attempt_that_was_stored_wrongly_spoils_the_file_that_it_completes(fake: FakeFrameio) -> None:
    """The service puts a file together as soon as every part is there, and a later PUT does not change it."""
    fake.add_fault(stuck := Fault(name="one.mov", do="stall", after=1000))
    fake.add_fault(Fault(name="one.mov", do="corrupt", first=2))
    async with uploader_on(fake) as uploader:
        one = uploader.upload(CONTENT[:PART], folder_id=fake.folder_id, name="one.mov").start()
        async with asyncio.timeout(20):
            await reached(fake, stuck)
        await uploader.upload(CONTENT, folder_id=fake.folder_id, name="beside.mov")
        events = await told(one)
    assert [type(event) for event in events if isinstance(event, (UploadReplanned, UploadFailed))] == [UploadReplanned]
    assert {file.name: file.sha256 for file in fake.files} == {
        "beside.mov": sha256(CONTENT),
        "one.mov": sha256(CONTENT[:PART]),
    }


async def test_a_second_attempt_that_was_stored_wrongly_is_replaced_before_the_file_is_whole(
    fake: FakeFrameio,
) -> None:
    fake.add_fault(STUCK)
    corrupt = Fault(do="corrupt", number=3, first=2)
    fake.add_fault(corrupt)
    fake.add_fault(held := Fault(do="stall", number=5, after=1000))
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, folder_id=fake.folder_id, name="take.mov").start()
        async with asyncio.timeout(20):
            await reached(fake, corrupt)
        fake.release(held)
        await told(upload)
    assert [file.sha256 for file in fake.files] == [sha256(CONTENT)]
