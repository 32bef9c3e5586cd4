"""Planning: a file is created, its parts are the service's own; and what an end half-way leaves there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from frameio.types import FileWithUploadUrls

from aioframeio_upload import (
    ApiError,
    LinksExpired,
    Plan,
    PlanError,
    SourceError,
    UploadCancelled,
    Uploader,
    UploadPlanned,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import reached, sha256, some_bytes, uploader_on
from tests.support.seen import operations, told

MAY_BE_THERE = "a file without its bytes may have been made there"


# -- the plan ----------------------------------------------------------------------------------------------------------


async def test_the_parts_have_the_sizes_that_the_service_gave_and_not_even_ones() -> None:
    sizes = (1, 300_000, 7, 99_692)
    content = some_bytes(sum(sizes))
    async with FakeFrameio(rate_limits=False, part_size=lambda size: sizes) as fake, uploader_on(fake) as uploader:
        plan = await uploader.plan(content, name="a.mov", folder_id=fake.folder_id)
        assert tuple(part.size for part in plan.parts) == sizes
        assert [part.offset for part in plan.parts] == [0, 1, 300_001, 300_008]
        await uploader.execute(plan, content)
        assert fake.files[0].sha256 == sha256(content)


async def test_a_plan_tells_what_the_service_made(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    plan = await uploader.plan(make_file(10, "take 7.mov"), folder_id=fake.folder_id)
    (made,) = fake.files
    assert (plan.file_id, plan.name, plan.size) == (made.id, "take 7.mov", 10)
    assert (plan.account_id, plan.folder_id, plan.status) == (fake.account_id, fake.folder_id, "created")
    assert plan.media_type == "video/quicktime"
    assert plan.view_url is not None
    assert plan.view_url.endswith(made.id)
    assert plan.expires_at is not None
    assert operations(fake) == ["create"], "no byte of it is sent"


@pytest.mark.parametrize(
    "sizes", [(5,), (5, 6), (10, 0), (0, 10), (11, -1), ()], ids=lambda sizes: "+".join(map(str, sizes)) or "none"
)
async def test_sizes_that_do_not_tile_the_file_are_refused_before_a_byte_is_sent_and_the_placeholder_goes(
    sizes: tuple[int, ...],
) -> None:
    async with FakeFrameio(rate_limits=False, part_size=lambda size: sizes) as fake, uploader_on(fake) as uploader:
        with pytest.raises((PlanError, ApiError)):
            await uploader.upload(b"0123456789", name="a", folder_id=fake.folder_id)
        assert (fake.files, operations(fake)) == ((), ["create", "delete"])


async def test_a_placeholder_that_cannot_be_deleted_is_named_in_a_warning(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(on="create", status=201, body='{"data": {"id": "made"}}'))
    fake.add_fault(Fault(on="delete", status=403, message="you may not"))
    with pytest.raises(ApiError, match="has no upload_urls"):
        await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
    (said,) = told(caplog)
    assert "made" in said
    assert "you may not" in said


async def test_a_source_that_cannot_be_sent_creates_nothing(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    for source, size in ((tmp_path / "missing", None), (tmp_path, None), (b"", None), (b"four", 5)):
        with pytest.raises(SourceError):
            await uploader.plan(source, name="a", size=size, folder_id=fake.folder_id)
    assert fake.requests == []


# -- the media type ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "caller", "sent"),
    [
        ("video/mp4", None, "video/mp4"),
        ("video/mp4", "image/png", "video/mp4"),
        (None, None, "application/octet-stream"),
        (None, "application/octet-stream", "application/octet-stream"),
    ],
)
async def test_parts_carry_the_services_type_or_the_callers_or_octet_stream(
    service: str | None, caller: str | None, sent: str
) -> None:
    async with FakeFrameio(rate_limits=False, media_type=lambda name: service) as fake, uploader_on(fake) as uploader:
        file = await uploader.upload(b"x", name="a", folder_id=fake.folder_id, media_type=caller)
        assert fake.files[0].complete
        assert [seen.headers["Content-Type"] for seen in fake.requests if seen.operation == "part"] == [sent]
        assert file.media_type in (service, caller, sent)


async def test_the_callers_type_is_sent_where_the_service_left_it_open() -> None:
    # The fake signs for octet-stream as the service is taken to do, so another type shows in its refusal.
    async with FakeFrameio(rate_limits=False, media_type=lambda name: None) as fake, uploader_on(fake) as uploader:
        plan = await uploader.plan(b"x", name="a", folder_id=fake.folder_id, media_type="image/x-dpx")
        assert plan.media_type == "image/x-dpx"
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            await uploader.execute(plan, b"x")
        (seen,) = (seen for seen in fake.requests if seen.operation == "part")
        assert (seen.headers["Content-Type"], seen.status) == ("image/x-dpx", 403)


# -- an answer that is lost, and a cancellation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Fault(on="create", do="lose_answer"), Fault(on="create", do="reset"), Fault(on="create", status=502)],
    ids=lambda fault: fault.do,
)
async def test_a_create_whose_answer_was_lost_is_repeated_with_a_warning_that_names_folder_and_file(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    fake.add_fault(fault)
    plan = await uploader.plan(b"x", name="take.mov", folder_id=fake.folder_id)
    assert operations(fake) == ["create", "create"]
    (said,) = told(caplog)
    for word in ("take.mov", fake.folder_id, MAY_BE_THERE):
        assert word in said
    # What might be somebody else's is never deleted.
    assert fake.deleted == ()
    assert plan.file_id == fake.files[-1].id


async def test_a_create_that_was_refused_is_told_by_its_error_alone(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    for status in (400, 403, 422, 429):
        fake.add_fault(Fault(on="create", status=status, headers={"Retry-After": "0"}))
        if status == 429:
            await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
        else:
            with pytest.raises(ApiError):
                await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
    assert told(caplog) == []


async def test_a_remote_upload_whose_answer_was_lost_is_warned_of(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(on="remote", do="lose_answer"))
    source = "https://example.com/take.mov?signature=secret"
    await uploader.remote_upload(source, folder_id=fake.folder_id, name="take.mov")
    (said,) = told(caplog)
    assert "take.mov" in said
    assert fake.folder_id in said
    assert "secret" not in said


@pytest.mark.parametrize("how", ["upload", "plan"])
async def test_a_cancel_while_create_is_under_way_waits_for_its_answer_and_leaves_no_placeholder(
    fake: FakeFrameio, uploader: Uploader, how: str
) -> None:
    fault = Fault(on="create", do="hold")
    fake.add_fault(fault)
    task: asyncio.Task[Any] = asyncio.create_task(
        uploader.plan(b"x", name="a", folder_id=fake.folder_id)
        if how == "plan"
        else uploader.upload(b"x", name="a", folder_id=fake.folder_id)
    )
    await fake.until(lambda fake: fake.hits(fault) == 1)
    task.cancel()
    await asyncio.sleep(0)
    fake.release(fault)
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (fake.files, operations(fake)) == ((), ["create", "delete"])


async def test_a_cancel_between_the_answer_and_the_plan_leaves_no_placeholder(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    for steps in range(40):
        task = asyncio.create_task(uploader.plan(b"x", name="a", folder_id=fake.folder_id))
        await fake.until(lambda fake: len(fake.files) == 1)
        for _ in range(steps):  # of the loop, so that the cancel falls on each step after the answer
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await uploader.delete(task.result().file_id)
        assert fake.files == ()


async def test_a_cancelled_create_that_does_not_answer_ends_in_a_second_and_is_warned_of(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fault = Fault(on="create", do="hold")
    fake.add_fault(fault)
    upload = uploader.upload(b"x", name="take.mov", folder_id=fake.folder_id).start()
    await fake.until(lambda fake: fake.hits(fault) == 1)
    upload.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([asyncio.ensure_future(_end_of(upload))])
    (said,) = told(caplog)
    assert "take.mov" in said
    assert MAY_BE_THERE in said
    fake.release(fault)


async def test_a_cancel_before_create_is_sent_sends_none(fake: FakeFrameio) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def token() -> str:
        asked.set()
        await go_on.wait()
        return fake.token

    async with Uploader(token, base_url=fake.url, account_id=fake.account_id) as uploader:
        task = asyncio.create_task(uploader.plan(b"x", name="a", folder_id=fake.folder_id))
        await asked.wait()
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert fake.requests == []


async def test_a_create_that_may_go_on_at_the_moment_of_its_cancel_is_not_sent(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    go_on.set()

    async def token() -> str:
        asked.set()
        await go_on.wait()
        return fake.token

    async with Uploader(token, base_url=fake.url, account_id=fake.account_id) as uploader:
        file = await uploader.upload(b"x", name="a", folder_id=fake.folder_id)  # a pooled connection sends at once
        go_on.clear()
        asked.clear()
        before = operations(fake)
        upload = uploader.upload(b"x", name="b", folder_id=fake.folder_id).start()
        await asked.wait()
        upload.cancel()
        go_on.set()
        with pytest.raises(UploadCancelled):
            await upload
        assert [made.id for made in fake.files] == [file.id]
        assert operations(fake) == before
    assert told(caplog) == []


async def test_a_cancelled_create_is_not_tried_again(fake: FakeFrameio, uploader: Uploader) -> None:
    fault = Fault(on="create", status=503, headers={"Retry-After": "0.2"}, times=None)
    fake.add_fault(fault)
    task = asyncio.create_task(uploader.plan(b"x", name="a", folder_id=fake.folder_id))
    await reached(fake, fault)
    before = len(fake.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(fake.requests) == before


async def _end_of(upload: Any) -> None:
    async for _ in upload:
        pass


async def test_a_second_cancel_leaves_no_task_behind(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fault = Fault(on="create", do="hold")
    fake.add_fault(fault)
    task = asyncio.create_task(uploader.plan(b"x", name="take.mov", folder_id=fake.folder_id))
    await fake.until(lambda fake: fake.hits(fault) == 1)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(0.3):
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake.until(lambda fake: fake.connections == 0)  # the request has been given up, too
    assert MAY_BE_THERE in caplog.text
    fake.release(fault)


# -- plan, JSON, execute -----------------------------------------------------------------------------------------------


async def test_a_plan_made_here_is_executed_elsewhere(fake: FakeFrameio) -> None:
    content = some_bytes(3_000_000)
    async with uploader_on(fake) as uploader:
        plan = await uploader.plan(content, name="a.mov", folder_id=fake.folder_id)
    text = plan.to_json()
    async with uploader_on(fake) as uploader:
        again = Plan.from_json(text)
        assert again == plan
        upload = uploader.execute(again, content)
        events = [event async for event in upload]
        file = await upload
    assert (file.id, file.size, file.status) == (plan.file_id, len(content), "uploaded")
    assert (fake.files[0].sha256, fake.files[0].etags) == (sha256(content), file.etags)
    assert isinstance(events[0], UploadPlanned)
    assert operations(fake).count("create") == 1


async def test_a_plan_for_another_size_is_refused_before_a_byte_is_sent(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await uploader.plan(b"0123456789", name="a", folder_id=fake.folder_id)
    for source in (b"012345678", b"0123456789a"):
        with pytest.raises((PlanError, SourceError), match="10"):
            await uploader.execute(plan, source)
    assert "part" not in operations(fake)


async def test_a_plan_without_an_account_is_executed_in_the_uploaders(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
    orphan = Plan.from_json(plan.to_json().replace(f'"account_id":"{fake.account_id}"', '"account_id":null'))
    assert orphan.account_id is None
    assert (await uploader.execute(orphan, b"x")).account_id == fake.account_id
    async with Uploader(fake.token, base_url=fake.url) as nobodys:
        with pytest.raises(ValueError, match="no account"):
            nobodys.execute(orphan, b"x")


@pytest.mark.parametrize("shape", ["the SDK's object", "the dict"])
async def test_what_the_sdk_created_is_executed_here(fake: FakeFrameio, uploader: Uploader, shape: str) -> None:
    made = await uploader.plan(b"x", name="a.mov", folder_id=fake.folder_id)
    data: Any = {
        "id": made.file_id,
        "name": made.name,
        "type": "file",
        "status": "created",
        "file_size": 1,
        "media_type": made.media_type,
        "parent_id": made.folder_id,
        "project_id": fake.project_id,
        "created_at": "2025-06-26T20:08:06.751313Z",
        "updated_at": "2025-06-26T20:08:06.823170Z",
        "view_url": made.view_url,
        "upload_urls": [{"size": part.size, "url": part.url} for part in made.parts],
    }
    plan = Plan.from_response(FileWithUploadUrls(**data) if shape == "the SDK's object" else data)
    assert plan == Plan.from_response(data)
    assert plan.account_id is None
    assert (await uploader.execute(plan, b"x")).id == made.file_id
    assert fake.files[0].complete


async def test_a_plan_that_is_too_old_is_told_so(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(do="expire"))
    with pytest.raises(LinksExpired, match="expired") as caught:
        await uploader.upload(b"x", name="a", folder_id=fake.folder_id)
    assert caught.value.file_id == fake.deleted[0].id
    assert (fake.files, operations(fake).count("part")) == ((), 1)


# -- the service fetches it --------------------------------------------------------------------------------------------


async def test_a_remote_upload_is_begun_and_its_status_tells_the_end(fake: FakeFrameio, uploader: Uploader) -> None:
    file = await uploader.remote_upload("https://example.com/a", folder_id=fake.folder_id, name="dir/a.mov")
    (made,) = fake.files
    assert (file.id, file.name, file.folder_id, file.status) == (made.id, "a.mov", fake.folder_id, "created")
    assert (file.account_id, file.media_type) == (fake.account_id, "video/quicktime")
    assert not (await uploader.status(file.id)).complete
    async with asyncio.timeout(5):
        while not (status := await uploader.status(file.id)).complete:
            pass
    assert status.completed_at is not None


async def test_a_remote_upload_is_not_confirmed_by_its_first_answer(fake: FakeFrameio, uploader: Uploader) -> None:
    file = await uploader.remote_upload("https://example.com/a", folder_id=fake.folder_id, name="a")
    assert operations(fake) == ["remote"]
    fake.fail(file.id)
    assert (await uploader.status(file.id)).failed
