"""Test uploads that continue from a plan and receipts that the caller kept; the file stays the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    LinksExpired,
    PartCompleted,
    PartRejected,
    Plan,
    PlanError,
    Progress,
    Receipt,
    SourceError,
    Upload,
    UploadCancelled,
    Uploader,
    UploadError,
    UploadPlanned,
    UploadResumed,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, reached, sha256, some_bytes, uploader_on
from tests.support.journals import ONE_BY_ONE, pending_in
from tests.support.seen import operations, puts

CONTENT = some_bytes(5 * PART - 3)
"""Five parts."""


async def planned(uploader: Uploader, fake: FakeFrameio) -> Plan:
    return await uploader.plan(CONTENT, name="a.mov", folder_id=fake.folder_id)


async def stream_of(plan: Plan, receipts: Iterable[Receipt] = ()) -> AsyncIterator[bytes]:
    """Yield the missing bytes as the body of a request would: in pieces that are not aligned with parts."""
    done = {receipt.number for receipt in receipts}
    missing = b"".join(CONTENT[part.offset : part.offset + part.size] for part in plan.parts if part.number not in done)
    for start in range(0, len(missing), 300_000):
        yield missing[start : start + 300_000]


def receipts_in(events: Iterable[Any]) -> list[Receipt]:
    """Return the receipts that a program can make from the events."""
    return [Receipt(event.number, event.size, event.etag) for event in events if isinstance(event, PartCompleted)]


async def stopped_by(fake: FakeFrameio, plan: Plan, number: int) -> list[Receipt]:
    """Send a stream until a part is in flight, then shut down; return the receipts of the parts that were published."""
    fake.add_fault(hold := Fault(do="hold", number=number))
    async with uploader_on(fake, limits=ONE_BY_ONE) as uploader:
        upload = uploader.execute(plan, stream_of(plan), receipts=()).start()
        await reached(fake, hold)
        await uploader.shutdown(0)
        events = [event async for event in upload]
    fake.release(hold)
    return receipts_in(events)


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_the_next_process_continues_a_stream(fake: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        plan = await planned(uploader, fake)
    receipts = await stopped_by(fake, plan, 4)
    assert [receipt.number for receipt in receipts] == [1, 2, 3]
    async with uploader_on(fake) as uploader:
        upload = uploader.execute(Plan.from_json(plan.to_json()), stream_of(plan, receipts), receipts=receipts)
        events = [event async for event in upload]
        file = await upload
    assert (file.id, file.outcome, file.etags) == (plan.file_id, "resumed", fake.files[0].etags)
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert puts(fake) == {1: 1, 2: 1, 3: 1, 4: 2, 5: 1}
    assert isinstance(events[0], UploadPlanned)
    assert isinstance(events[1], UploadResumed)
    assert events[1] == UploadResumed(plan.file_id, 3, sum(receipt.size for receipt in receipts))
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[0].bytes_confirmed >= events[1].bytes_completed
    assert (progress[-1].bytes_uploaded, progress[-1].total_bytes) == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("whole", [True, False], ids=["bytes", "a stream"])
async def test_parts_that_have_arrived_out_of_order_are_not_sent_again(
    fake: FakeFrameio, uploader: Uploader, whole: bool
) -> None:
    plan = await planned(uploader, fake)
    receipts = (await uploader.send_parts(plan, CONTENT, [1, 3]))[::-1]
    source = CONTENT if whole else stream_of(plan, receipts)
    await uploader.execute(plan, source, receipts=receipts)
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert puts(fake) == dict.fromkeys(range(1, 6), 1)


async def test_a_file_whose_parts_have_all_arrived_is_only_confirmed(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await planned(uploader, fake)
    receipts = await uploader.send_parts(plan, CONTENT, range(1, 6))

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("nothing is missing")
        yield b""

    upload = uploader.execute(plan, unread(), receipts=receipts)
    events = [event async for event in upload]
    assert [type(event).__name__ for event in events] == [
        "UploadPlanned",
        "UploadResumed",
        "Progress",
        "UploadCompleted",
    ]
    assert upload.result.outcome == "resumed"
    assert sum(puts(fake).values()) == 5


async def cancel(fake: FakeFrameio, uploader: Uploader, upload: Upload) -> None:
    fake.add_fault(hold := Fault(do="hold", number=2))
    upload.start()
    await reached(fake, hold)
    upload.cancel()


async def stop(fake: FakeFrameio, uploader: Uploader, upload: Upload) -> None:
    fake.add_fault(hold := Fault(do="hold", number=2))
    upload.start()
    await reached(fake, hold)
    await uploader.shutdown(0)


async def refuse(fake: FakeFrameio, uploader: Uploader, upload: Upload) -> None:
    fake.add_fault(Fault(number=2, code="AccessDenied"))


async def expire(fake: FakeFrameio, uploader: Uploader, upload: Upload) -> None:
    fake.add_fault(Fault(number=2, do="expire"))


@pytest.mark.parametrize(
    ("end", "kind"),
    [(cancel, UploadCancelled), (stop, UploadCancelled), (refuse, PartRejected), (expire, LinksExpired)],
)
@pytest.mark.parametrize("whole", [True, False], ids=["bytes", "a stream"])
async def test_however_it_ends_the_file_stays_for_the_owner_of_the_receipts(
    fake: FakeFrameio, end: Callable[..., Any], kind: type[UploadError], whole: bool
) -> None:
    async with uploader_on(fake, limits=ONE_BY_ONE) as uploader:
        plan = await planned(uploader, fake)
        upload = uploader.execute(plan, CONTENT if whole else stream_of(plan), receipts=())
        await end(fake, uploader, upload)
        with pytest.raises((kind, asyncio.CancelledError)):
            await upload
        with pytest.raises(kind):
            _ = upload.result
    assert ([file.id for file in fake.files], fake.deleted) == ([plan.file_id], ())
    assert operations(fake).count("create") == 1


async def test_a_stream_that_breaks_off_leaves_the_file_too(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await planned(uploader, fake)

    async def broken() -> AsyncIterator[bytes]:
        yield CONTENT[:PART]
        raise ConnectionError("the browser has gone")

    upload = uploader.execute(plan, broken(), receipts=())
    with pytest.raises(SourceError, match="ConnectionError"):
        await upload
    receipts = receipts_in([event async for event in upload])
    await uploader.execute(plan, stream_of(plan, receipts), receipts=receipts)
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert fake.deleted == ()


async def test_the_journal_has_nothing_of_what_the_caller_keeps(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    path = make_file(3 * PART)
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        plan = await uploader.plan(path, folder_id=fake.folder_id)
        upload = uploader.execute(plan, path, receipts=())
        await stop(fake, uploader, upload)
    assert await pending_in(fake, journal) == ()
    assert fake.deleted == ()


async def test_receipts_of_another_plan_are_refused(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await planned(uploader, fake)
    for receipt in (Receipt(6, 1, None), Receipt(1, plan.parts[0].size - 1, None)):
        with pytest.raises(PlanError, match=f"no part {receipt.number} of {receipt.size} bytes"):
            uploader.execute(plan, CONTENT, receipts=[receipt])


async def test_a_source_of_another_size_is_refused_although_parts_have_arrived(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    plan = await planned(uploader, fake)
    receipts = await uploader.send_parts(plan, CONTENT, [1])
    with pytest.raises(PlanError, match="the plan is for"):
        await uploader.execute(plan, CONTENT[plan.parts[0].size :], receipts=receipts)
    assert puts(fake) == {1: 1}
