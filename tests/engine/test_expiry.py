"""Links that die before the last part: a new plan where that helps, and one clear error where it does not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from aioframeio_upload import (
    Event,
    Limits,
    LinksExpired,
    PartRetrying,
    PartStarted,
    Plan,
    Progress,
    Upload,
    UploadCompleted,
    Uploader,
    UploadFailed,
    UploadReplanned,
)
from aioframeio_upload._engine import parts as transfer
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, reached, sha256, some_bytes, uploader_on
from tests.support.seen import operations, puts, told

CONTENT = some_bytes(3 * PART - 5)
ONE_SLOT = Limits(parts=1, api_pacing=False)
DAY = 86400

TINY = 4096
MANY_PARTS = some_bytes(256 * TINY)


class Clock:
    """The service's clock, which a test sets: `offset` seconds from the system's."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset)


@asynccontextmanager
async def service(clock: Clock | None = None, lifetime: int = DAY, part: int = PART) -> AsyncIterator[FakeFrameio]:
    async with FakeFrameio(rate_limits=False, part_size=part, link_lifetime=lifetime, clock=clock or Clock()) as fake:
        yield fake


@asynccontextmanager
async def held_in_part(
    fake: FakeFrameio, uploader: Uploader, number: int, source: bytes | AsyncIterator[bytes] = CONTENT
) -> AsyncIterator[Upload]:
    """An upload whose part of that number arrived and is not answered before the block is left."""
    fake.add_fault(held := Fault(do="hold", number=number))
    size = len(source if isinstance(source, bytes) else CONTENT)
    upload = uploader.upload(source, name="a.mov", size=size, folder_id=fake.folder_id).start()
    await reached(fake, held)
    yield upload
    fake.release(held)


async def tell_time(fake: FakeFrameio, uploader: Uploader) -> None:
    """Let the library see an answer's `Date`, as any call of the API does."""
    await uploader.status(fake.files[0].id)


async def looks_ahead(upload: Upload, times: int) -> None:
    """Wait until the upload has told its progress so often, and has looked ahead each time."""
    async for event in upload:
        times -= isinstance(event, Progress)
        if not times:
            break


async def events_of(upload: Upload) -> list[Event]:
    return [event async for event in upload]


# -- a new plan --------------------------------------------------------------------------------------------------------


def elsewhere(plan: Plan) -> Plan:
    """The plan as it arrives in another process."""
    return Plan.from_json(plan.to_json())


async def test_links_about_to_die_lead_to_a_new_plan_and_the_same_bytes() -> None:
    async with service(clock := Clock()) as fake:
        async with uploader_on(fake) as planner:
            plan = elsewhere(await planner.plan(CONTENT, name="a.mov", folder_id=fake.folder_id))
        async with uploader_on(fake) as uploader:
            clock.offset = DAY - 30.0  # they live still, but not for the minute that a part needs
            await tell_time(fake, uploader)
            upload = uploader.execute(plan, CONTENT)
            file = await upload
            events = await events_of(upload)
    (old,), (new,) = fake.deleted, fake.files
    (anew,) = (event for event in events if isinstance(event, UploadReplanned))
    assert (anew.file_id, anew.replaced_file_id) == (new.id, old.id)
    assert anew.reason == "the link of part 1 is about to expire"
    assert (file.id, upload.file_id, new.sha256) == (new.id, new.id, sha256(CONTENT))
    assert file.view_url is not None
    assert new.id in file.view_url
    assert puts(fake) == {1: 1, 2: 1, 3: 1}, "no part was begun with a link about to die"
    assert not [event for event in events if isinstance(event, PartRetrying)]
    started = [event.number for event in events if isinstance(event, PartStarted)]
    assert sorted(started) == [1, 2, 3]
    assert events[-1] == UploadCompleted(file)


@pytest.mark.parametrize(
    "refusal", [Fault(do="expire", number=2), Fault(number=2, status=400, code="ExpiredToken")], ids=["date", "token"]
)
async def test_links_that_s3_says_have_expired_lead_to_a_new_plan_and_the_same_bytes(refusal: Fault) -> None:
    async with service(clock := Clock()) as fake, uploader_on(fake, limits=ONE_SLOT) as uploader:
        fake.add_fault(refusal)
        async with held_in_part(fake, uploader, 1) as upload:
            clock.offset = 600.0  # not just issued
            await tell_time(fake, uploader)
        await upload
        events = await events_of(upload)
    (anew,) = (event for event in events if isinstance(event, UploadReplanned))
    assert anew.reason == "part 2: S3 says that its link has expired"
    assert (len(fake.deleted), fake.files[0].sha256) == (1, sha256(CONTENT))
    assert puts(fake) == {1: 2, 2: 2, 3: 1}, "a dead link is tried once"


async def test_the_old_placeholder_goes_before_the_new_one_is_made() -> None:
    async with service(clock := Clock()) as fake, uploader_on(fake, limits=ONE_SLOT) as uploader:
        async with held_in_part(fake, uploader, 1) as upload:
            clock.offset = DAY
            await tell_time(fake, uploader)
        await upload
    assert operations(fake)[:8] == ["create", "part", "status", "part", "delete", "create", "part", "part"]


async def test_links_can_die_more_than_once() -> None:
    async with service(clock := Clock()) as fake, uploader_on(fake, limits=ONE_SLOT) as uploader:
        faults = [Fault(do="hold", number=1, first=count) for count in (1, 2)]
        for fault in faults:
            fake.add_fault(fault)
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id).start()
        for fault in faults:
            await reached(fake, fault)
            clock.offset += DAY
            await tell_time(fake, uploader)
            fake.release(fault)
        await upload
        replanned = [event for event in await events_of(upload) if isinstance(event, UploadReplanned)]
    assert [event.replaced_file_id for event in replanned] == [file.id for file in fake.deleted]
    assert (len(replanned), fake.files[0].sha256) == (2, sha256(CONTENT))


async def test_progress_never_runs_backwards_over_a_new_plan() -> None:
    async with service(clock := Clock()) as fake, uploader_on(fake, limits=ONE_SLOT) as uploader:
        fake.add_fault(again := Fault(do="hold", number=1, first=2))
        async with held_in_part(fake, uploader, 2) as upload:
            listening = asyncio.create_task(events_of(upload))
            async for event in upload:
                if isinstance(event, Progress) and event.parts_completed == 1:
                    break
            clock.offset = DAY
            await tell_time(fake, uploader)
        await reached(fake, again)
        async for event in upload:
            if isinstance(event, Progress) and event.parts_completed == 0:  # of the new file
                break
        fake.release(again)
        await upload
        seen = [event for event in await listening if isinstance(event, Progress)]
    for before, after in pairwise(seen):
        assert before.bytes_uploaded <= after.bytes_uploaded <= len(CONTENT)
        assert after.bytes_confirmed <= after.bytes_uploaded
    assert [event.parts_completed for event in seen] != sorted(event.parts_completed for event in seen)
    assert (seen[-1].bytes_uploaded, seen[-1].bytes_confirmed) == (len(CONTENT), len(CONTENT))


async def test_a_plan_that_was_made_before_is_made_anew_too() -> None:
    async with service(clock := Clock()) as fake, uploader_on(fake) as uploader:
        plan = await uploader.plan(CONTENT, name="a.mov", folder_id=fake.folder_id)
        clock.offset = DAY + 1.0
        await tell_time(fake, uploader)
        file = await uploader.execute(plan, CONTENT)
    assert ([one.id for one in fake.deleted], fake.files[0].sha256) == ([plan.file_id], sha256(CONTENT))
    assert file.id == fake.files[0].id


# -- whose clock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-400, -2, 2, 400])
async def test_links_are_judged_by_the_services_date_and_not_by_the_local_clock(days: int) -> None:
    """By a local clock two days ahead of the service's, all of them would be dead when they are issued."""
    async with service(Clock(days * float(DAY))) as fake, uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        await upload
        assert not [event for event in await events_of(upload) if isinstance(event, UploadReplanned)]
    assert fake.deleted == ()
    assert sum(puts(fake).values()) == 3


async def test_links_are_found_dead_by_the_services_date_while_the_local_clock_still_trusts_them() -> None:
    async with service(clock := Clock(-400.0 * DAY)) as fake, uploader_on(fake, limits=ONE_SLOT) as uploader:
        async with held_in_part(fake, uploader, 1) as upload:
            clock.offset += DAY
            await tell_time(fake, uploader)
        await upload
    assert (len(fake.deleted), fake.files[0].sha256) == (1, sha256(CONTENT))


# -- where it would not help -------------------------------------------------------------------------------------------


async def expired(upload: Upload) -> LinksExpired:
    """How it ended, which is as it should."""
    with pytest.raises(LinksExpired) as caught:
        await upload
    events = await events_of(upload)
    assert events[-1] == UploadFailed(caught.value)
    assert not [event for event in events if isinstance(event, UploadReplanned | PartRetrying)]
    return caught.value


async def test_a_file_that_takes_longer_than_links_live_is_given_up_at_once() -> None:
    """Of many parts that must all begin within ten seconds, the first takes some tenths of one; S3 says they died."""
    async with (
        service(clock := Clock(), lifetime=20, part=TINY) as fake,
        uploader_on(fake, limits=ONE_SLOT) as uploader,
    ):
        async with held_in_part(fake, uploader, 1, MANY_PARTS) as upload:
            await looks_ahead(upload, 6)
            clock.offset = 25.0
            await tell_time(fake, uploader)
        error = await expired(upload)
    assert "the file takes longer than new links would be valid" in str(error)
    assert (fake.files, [file.id for file in fake.deleted]) == ((), [error.file_id])
    assert operations(fake).count("create") == 1


async def test_links_refused_when_they_were_just_issued_are_not_asked_for_again() -> None:
    async with service() as fake, uploader_on(fake) as uploader:
        fake.add_fault(Fault(do="expire", times=None))
        error = await expired(uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id))
    assert "the links were just issued: the clocks of S3 and of the service differ" in str(error)
    assert (fake.files, [file.id for file in fake.deleted]) == ((), [error.file_id])


async def stream() -> AsyncIterator[bytes]:
    for start in range(0, len(CONTENT), 300_000):
        yield CONTENT[start : start + 300_000]


async def test_a_stream_cannot_be_sent_anew() -> None:
    async with service(clock := Clock()) as fake, uploader_on(fake, limits=ONE_SLOT) as uploader:
        async with held_in_part(fake, uploader, 1, stream()) as upload:
            clock.offset = float(DAY)
            await tell_time(fake, uploader)
        error = await expired(upload)
    assert "a stream cannot be sent a second time" in str(error)
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_a_plan_that_does_not_tell_its_folder_cannot_be_made_anew() -> None:
    async with service(clock := Clock()) as fake, uploader_on(fake) as uploader:
        plan = replace(await uploader.plan(CONTENT, name="a.mov", folder_id=fake.folder_id), folder_id=None)
        clock.offset = float(DAY)
        await tell_time(fake, uploader)
        error = await expired(uploader.execute(plan, CONTENT))
    assert "the plan does not contain its folder" in str(error)
    assert error.file_id == plan.file_id
    assert max(puts(fake).values()) == 1, "S3 was asked, and once"


@pytest.mark.parametrize("refused", [False, True])
async def test_send_parts_neither_makes_a_new_plan_nor_deletes(refused: bool) -> None:
    """Others may be sending the other parts."""
    async with service(clock := Clock()) as fake, uploader_on(fake) as planner, uploader_on(fake) as uploader:
        plan = elsewhere(await planner.plan(CONTENT, name="a.mov", folder_id=fake.folder_id))
        clock.offset = 600.0 if refused else float(DAY)
        await tell_time(fake, uploader)
        if refused:
            fake.add_fault(Fault(do="expire"))
        with pytest.raises(LinksExpired) as caught:
            await uploader.send_parts(plan, CONTENT, [2])
    assert caught.value.file_id == plan.file_id
    assert ([file.id for file in fake.files], fake.deleted) == ([plan.file_id], ())
    assert operations(fake) == ["create", "status", *["part"] * refused]


# -- foreseen ----------------------------------------------------------------------------------------------------------


async def test_that_links_will_die_too_early_is_warned_of_once_and_before_they_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transfer, "FORECAST_AFTER", 0.2)
    async with (
        service(lifetime=20, part=TINY) as fake,
        uploader_on(fake, limits=ONE_SLOT) as uploader,
        held_in_part(fake, uploader, 1, MANY_PARTS) as upload,
    ):
        await looks_ahead(upload, 12)
        (said,) = told(caplog)
        upload.cancel()
    (record,) = (record for record in caplog.records if record.getMessage() == said)
    assert (record.levelname, record.name) == ("WARNING", "aioframeio_upload")
    words = re.fullmatch(r"'a\.mov' needs (\d+) s more at this rate, and its links expire in (\d+) s", said)
    assert words is not None
    assert int(words[1]) > int(words[2]) > 0


@pytest.mark.parametrize(("foresight", "lifetime"), [(transfer.FORECAST_AFTER, 20), (0.0, DAY)])
async def test_nothing_is_foreseen_before_the_rate_can_be_believed_nor_where_there_is_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, foresight: float, lifetime: int
) -> None:
    monkeypatch.setattr(transfer, "FORECAST_AFTER", foresight)
    async with (
        service(lifetime=lifetime, part=TINY) as fake,
        uploader_on(fake, limits=ONE_SLOT) as uploader,
        held_in_part(fake, uploader, 1, MANY_PARTS) as upload,
    ):
        await looks_ahead(upload, 6)
        upload.cancel()
    assert told(caplog) == []
