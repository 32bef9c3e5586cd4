"""Test how many parts are in flight, which ones, what follows the first failure, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from aioframeio_upload import (
    IntegrityError,
    Limits,
    LinksExpired,
    PartExhausted,
    PartRejected,
    Plan,
    PlanError,
    Receipt,
    RetryPolicy,
    SourceChanged,
    SourceError,
    UploadCancelled,
    Uploader,
    UploadError,
)
from aioframeio_upload._engine import parts
from aioframeio_upload._engine.parts import PartUploader
from aioframeio_upload._engine.request import UploadRequest
from aioframeio_upload._engine.resume import JournalSession
from aioframeio_upload._uploader import submit
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, sha256, some_bytes, uploader_on
from tests.support.seen import puts, told

CONTENT = some_bytes(3 * PART - 4)
TWICE = RetryPolicy(attempts=2, base=0.01, cap=0.01)


def limited(**limits: Any) -> Limits:
    return Limits(api_pacing=False, **limits)


# -- how many at once --------------------------------------------------------------------------------------------------


async def test_never_more_parts_are_in_flight_than_the_limit_over_all_uploads(fake: FakeFrameio) -> None:
    held = Fault(do="hold", times=None)
    fake.add_fault(held)
    async with uploader_on(fake, limits=limited(parts=4)) as uploader:
        uploads = [uploader.upload(CONTENT, name=str(n), folder_id=fake.folder_id).start() for n in range(4)]
        await fake.until(lambda fake: fake.hits(held) == 4)
        now = uploader.statistics()
        assert (now.slots, now.in_flight, now.uploads) == (4, 4, 4)
        fake.release(held)
        await asyncio.gather(*uploads)
    assert sum(puts(fake).values()) == 12
    assert fake.max_parts_in_flight == 4
    assert {file.sha256 for file in fake.files} == {sha256(CONTENT)}


async def test_with_one_slot_the_parts_go_one_after_another_in_order(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=limited(parts=1)) as uploader:
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert [seen.number for seen in fake.requests if seen.operation == "part"] == [1, 2, 3]
    assert fake.max_parts_in_flight == 1


async def test_a_part_that_is_in_flight_is_not_sent_a_second_time(fake: FakeFrameio, uploader: Uploader) -> None:
    held = Fault(do="hold", number=2)
    fake.add_fault(held)
    upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id).start()
    await fake.until(lambda fake: [file.parts_received for file in fake.files] == [{1, 3}])
    await fake.until(lambda fake: fake.hits(held) == 1)
    assert puts(fake) == {1: 1, 2: 1, 3: 1}
    fake.release(held)
    await upload
    assert puts(fake) == {1: 1, 2: 1, 3: 1}


async def test_a_part_that_waits_to_be_tried_again_leaves_its_slot_to_others(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(name="slow", headers={"Retry-After": "200"}, times=None))
    async with uploader_on(fake, limits=limited(parts=1)) as uploader:
        slow = uploader.upload(b"x", name="slow", folder_id=fake.folder_id).start()
        await fake.until(lambda fake: puts(fake) == {1: 1} and fake.parts_in_flight == 0)
        async with asyncio.timeout(5):
            await uploader.upload(b"x", name="quick", folder_id=fake.folder_id)
        assert not slow.done
        slow.cancel()
    assert puts(fake) == {1: 2}, "the server's 200 s are obeyed"


async def test_a_part_that_is_given_up_ends_its_siblings_at_once(fake: FakeFrameio, uploader: Uploader) -> None:
    held, refused = Fault(do="hold", times=None), Fault(number=3, code="AccessDenied")
    fake.add_fault(refused)
    fake.add_fault(held)
    async with asyncio.timeout(5):  # they are never let go on
        with pytest.raises(PartRejected):
            await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        await fake.until(lambda fake: fake.parts_in_flight == 0)
    assert fake.files == ()


async def test_after_a_part_is_given_up_no_other_is_begun(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(number=2, code="AccessDenied"))
    async with uploader_on(fake, limits=limited(parts=1)) as uploader:
        with pytest.raises(PartRejected):
            await uploader.upload(some_bytes(9 * PART), name="a", folder_id=fake.folder_id)
    assert puts(fake) == {1: 1, 2: 1}


async def test_an_upload_that_fails_does_not_disturb_its_neighbours(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(name="bad", number=2, code="AccessDenied"))
    uploads = [uploader.upload(CONTENT, name=name, folder_id=fake.folder_id) for name in ("good", "bad", "fine")]
    ends = await asyncio.gather(*uploads, return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["UploadedFile", "PartRejected", "UploadedFile"]
    assert [(file.name, file.sha256) for file in fake.files] == [("good", sha256(CONTENT)), ("fine", sha256(CONTENT))]


async def test_nothing_counts_as_sending_while_a_receipt_waits_for_the_journal(
    fake: FakeFrameio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the mean rate sinks, by which new links are asked for or not, and `Progress` repeats itself."""
    senders: list[PartUploader] = []
    busy: list[float] = []

    async def slow(self: JournalSession, receipt: Receipt) -> None:
        (sender,) = senders
        for _ in range(2):
            await anyio.lowlevel.checkpoint()
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
            busy.append(sender._table.meter.busy)

    class Sender(PartUploader):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            senders.append(self)

    monkeypatch.setattr(JournalSession, "note", slow)
    monkeypatch.setattr(parts, "PROGRESS_PERIOD", 1e-9)  # a tick in each round of the loop
    path = tmp_path / "a.mov"
    on_disk(path.write_bytes, b"x")
    async with uploader_on(fake, journal=tmp_path / "journal") as uploader:
        request = UploadRequest(source=path, name="a", folder_id=fake.folder_id, account_id=fake.account_id)
        await submit(uploader, request, sender=Sender)
    assert len(busy) == 100
    assert len(set(busy)) == 1


class MoreSlots(PartUploader):
    """Its number of slots grows at each tick, and it notes the workers that begin after a part was given up."""

    late = 0

    def _employ(self, group: TaskGroup) -> None:
        self._workers = before = 0
        super()._employ(group)
        MoreSlots.late += self._failure is not None and self._workers > before


@pytest.mark.parametrize("slots", [1, 2])
async def test_no_worker_begins_after_a_part_was_given_up(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    """Its group may have ended: anyio lets a task that is cancelled go on once if its sleep is over."""
    monkeypatch.setattr(parts, "PROGRESS_PERIOD", 1e-9)  # a tick in each round of the loop
    monkeypatch.setattr(MoreSlots, "late", 0)
    fake.add_fault(Fault(number=1, code="AccessDenied", times=None))
    content = some_bytes(64 * PART)
    async with uploader_on(fake, limits=limited(parts=slots)) as uploader:
        request = UploadRequest(source=content, name="a", folder_id=fake.folder_id, account_id=fake.account_id)
        with pytest.raises(PartRejected):
            await submit(uploader, request, sender=MoreSlots)
    assert MoreSlots.late == 0


# -- some parts only ---------------------------------------------------------------------------------------------------


async def planned(uploader: Uploader, fake: FakeFrameio) -> Plan:
    return await uploader.plan(CONTENT, name="a.mov", folder_id=fake.folder_id)


async def test_send_parts_sends_those_and_no_others_and_asks_for_nothing_else(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    path = make_file(len(CONTENT))
    plan = await planned(uploader, fake)
    receipts = await uploader.send_parts(plan, path, (number for number in (3, 1)))
    sizes = {part.number: part.size for part in plan.parts}
    assert [(receipt.number, receipt.size) for receipt in receipts] == [(1, sizes[1]), (3, sizes[3])]
    assert [receipt.checked_by for receipt in receipts] == ["crc64nvme", "crc64nvme"]
    (file,) = fake.files
    assert (file.parts_received, file.etags[0], file.etags[2]) == ({1, 3}, receipts[0].etag, receipts[1].etag)
    assert [seen.operation for seen in fake.requests] == ["create", "part", "part"]


async def test_sending_parts_twice_is_safe(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await planned(uploader, fake)
    first = await uploader.send_parts(plan, CONTENT, [2, 2])
    assert await uploader.send_parts(plan, CONTENT, [2]) == first
    await asyncio.gather(uploader.send_parts(plan, CONTENT, [1, 2]), uploader.send_parts(plan, CONTENT, [3, 2]))
    await uploader.confirm(plan)
    assert fake.files[0].sha256 == sha256(CONTENT)


async def test_no_parts_are_no_requests(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await planned(uploader, fake)
    assert await uploader.send_parts(plan, CONTENT, []) == ()
    assert puts(fake) == {}


@pytest.mark.parametrize("numbers", [[0], [4], [-1], [1, 99], ["1"], [None]])
async def test_a_number_that_the_plan_does_not_have_is_a_value_error_and_nothing_is_sent(
    fake: FakeFrameio, uploader: Uploader, numbers: Any
) -> None:
    plan = await planned(uploader, fake)
    with pytest.raises(ValueError, match="the plan has 3 parts, numbered from 1"):
        await uploader.send_parts(plan, CONTENT, numbers)
    assert puts(fake) == {}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(number=2, do="expire"), LinksExpired),
        (Fault(number=2, code="AccessDenied"), PartRejected),
        (Fault(number=2, status=500, times=None), PartExhausted),
    ],
    ids=lambda value: getattr(value, "do", ""),
)
async def test_send_parts_that_fails_deletes_nothing_for_others_may_be_sending(
    fake: FakeFrameio, fault: Fault, kind: type[UploadError]
) -> None:
    fake.add_fault(fault)
    async with uploader_on(fake, retry=TWICE) as uploader:
        plan = await planned(uploader, fake)
        with pytest.raises(kind):
            await uploader.send_parts(plan, CONTENT, [2])
    assert (len(fake.files), fake.deleted) == (1, ())
    assert {seen.operation for seen in fake.requests} == {"create", "part"}


async def test_send_parts_that_is_cancelled_stops_and_deletes_nothing(fake: FakeFrameio, uploader: Uploader) -> None:
    held = Fault(do="hold", times=None)
    fake.add_fault(held)
    plan = await planned(uploader, fake)
    task = asyncio.create_task(uploader.send_parts(plan, CONTENT, [1, 2]))
    await fake.until(lambda fake: fake.hits(held) == 2)
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake.until(lambda fake: fake.parts_in_flight == 0)
    assert (len(fake.files), fake.deleted) == (1, ())


async def test_send_parts_takes_no_file_slot(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=limited(files=1)) as uploader:
        plan = await planned(uploader, fake)
        held = Fault(do="hold", name="other")
        fake.add_fault(held)
        other = uploader.upload(b"x", name="other", folder_id=fake.folder_id).start()
        await fake.until(lambda fake: fake.hits(held) == 1)
        async with asyncio.timeout(5):
            await uploader.send_parts(plan, CONTENT, [1])
        fake.release(held)
        await other


async def test_parts_of_a_source_of_another_size_are_not_sent(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await planned(uploader, fake)
    with pytest.raises(PlanError, match="the plan is for"):
        await uploader.send_parts(plan, CONTENT[1:], [1])
    assert puts(fake) == {}


async def test_a_stream_holds_the_bytes_of_the_parts_that_are_asked_for_and_no_others(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    plan = await planned(uploader, fake)
    first, middle, last = (CONTENT[part.offset : part.offset + part.size] for part in plan.parts)
    (receipt,) = await uploader.send_parts(plan, stream(middle), [2])
    assert receipt.etag == md5(middle, usedforsecurity=False).hexdigest()
    with pytest.raises(SourceError, match="longer than the"):
        await uploader.send_parts(plan, stream(CONTENT), [1])
    with pytest.raises(SourceError, match=f"ended {len(last)} bytes early"):
        await uploader.send_parts(plan, stream(first), [1, 3])
    await uploader.send_parts(plan, stream(first, last), [3, 1])
    await uploader.confirm(plan)
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert await uploader.send_parts(plan, stream(b"frames"), []) == ()


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


# -- what is left behind, without a journal ----------------------------------------------------------------------------

HELD = Fault(do="hold", number=2, times=None)


class SomethingElseError(Exception):
    pass


async def cancelled_by_its_method(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(HELD)
    upload = uploader.upload(path, folder_id=fake.folder_id).start()
    await fake.until(lambda fake: fake.hits(HELD) == 1)
    upload.cancel()
    with pytest.raises(UploadCancelled):
        await upload


async def cancelled_as_a_task(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(HELD)
    task = asyncio.create_task(uploader.upload(path, folder_id=fake.folder_id))
    await fake.until(lambda fake: fake.hits(HELD) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def left_by_an_exception(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(HELD)
    with pytest.raises(SomethingElseError):  # noqa: PT012
        async with uploader.upload(path, folder_id=fake.folder_id):
            await fake.until(lambda fake: fake.hits(HELD) == 1)
            raise SomethingElseError


async def shut_down(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(HELD)
    uploader.upload(path, folder_id=fake.folder_id).start()
    await fake.until(lambda fake: fake.hits(HELD) == 1)
    await uploader.shutdown(grace=0)


async def rejected(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(Fault(number=2, code="AccessDenied"))
    with pytest.raises(PartRejected):
        await uploader.upload(path, folder_id=fake.folder_id)


async def exhausted(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(Fault(number=2, status=500, times=None))
    with pytest.raises(PartExhausted):
        await uploader.upload(path, folder_id=fake.folder_id)


async def corrupted(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(Fault(number=3, do="corrupt", times=None, first=1))
    fake.add_fault(Fault(number=3, do="trickle", rate=4 * PART))
    with pytest.raises(IntegrityError):
        await uploader.upload(path, folder_id=fake.folder_id)


async def expired(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(Fault(number=2, do="expire"))
    with pytest.raises(LinksExpired):
        await uploader.upload(path, folder_id=fake.folder_id)


async def a_short_stream(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    with pytest.raises(SourceError, match="early"):
        await uploader.upload(stream(CONTENT[:-1]), name="a", size=len(CONTENT), folder_id=fake.folder_id)


async def a_changed_source(uploader: Uploader, fake: FakeFrameio, path: Path) -> None:
    fake.add_fault(HELD)
    upload = uploader.upload(path, folder_id=fake.folder_id).start()
    await fake.until(lambda fake: fake.hits(HELD) == 1)
    on_disk(path.write_bytes, CONTENT[::-1])
    fake.release(HELD)
    with pytest.raises(SourceChanged):
        await upload


@pytest.mark.parametrize(
    "end",
    [
        cancelled_by_its_method,
        cancelled_as_a_task,
        left_by_an_exception,
        shut_down,
        rejected,
        exhausted,
        corrupted,
        expired,
        a_short_stream,
        a_changed_source,
    ],
    ids=lambda end: end.__name__,
)
async def test_without_a_journal_no_placeholder_is_left(
    fake: FakeFrameio, make_file: Callable[..., Path], end: Callable[..., Any]
) -> None:
    async with uploader_on(fake, retry=TWICE) as uploader:
        async with asyncio.timeout(5):
            await end(uploader, fake, make_file(len(CONTENT)))
        assert uploader.uploads == ()
        assert fake.files == ()
        assert len(fake.deleted) == 1
        async with asyncio.timeout(10):
            await fake.until(lambda fake: fake.parts_in_flight == 0)


@pytest.mark.parametrize("do", ["hold", "reset"])
async def test_a_placeholder_that_cannot_be_deleted_delays_a_cancel_by_less_than_a_second_and_is_logged(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture, do: Any
) -> None:
    fake.add_fault(HELD)
    fake.add_fault(Fault(on="delete", do=do, times=None))
    upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id).start()
    await fake.until(lambda fake: fake.hits(HELD) == 1)
    upload.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(UploadCancelled):
            await upload
    assert upload.file_id is not None
    assert f"file {upload.file_id}, which is incomplete, could not be deleted" in caplog.text


async def test_an_error_is_not_replaced_by_that_of_the_clean_up(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(on="delete", status=403, message="not yours"))
    fake.add_fault(Fault(number=2, code="AccessDenied"))
    with pytest.raises(PartRejected):
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert "not yours" in caplog.text


async def test_a_placeholder_that_is_gone_already_causes_no_warning(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(on="delete", status=404))
    fake.add_fault(Fault(number=2, code="AccessDenied"))
    with pytest.raises(PartRejected):
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert told(caplog) == []
