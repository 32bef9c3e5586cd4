"""After the last byte: the service is asked until it has the file, and what is there is never deleted."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from aioframeio_upload import (
    ApiError,
    ConfirmationError,
    RetryPolicy,
    Timeouts,
    UploadCancelled,
    Uploader,
    UploadFailed,
)
from aioframeio_upload._engine.confirm import FIRST_PAUSE, LONGEST_PAUSE, next_pause
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, QUICK, sha256, some_bytes, uploader_on

CONTENT = some_bytes(2 * PART + 1)
NOT_YET = Fault(
    on="status", status=200, body='{"data": {"upload_complete": false, "upload_failed": false}}', times=None
)


def count(fake: FakeFrameio, operation: str) -> int:
    return sum(seen.operation == operation for seen in fake.requests)


def test_the_pauses_grow_to_a_limit() -> None:
    pauses = [FIRST_PAUSE]
    while pauses[-1] < LONGEST_PAUSE:
        pauses.append(next_pause(pauses[-1]))
        assert pauses[-1] > pauses[-2]
    assert next_pause(LONGEST_PAUSE) == LONGEST_PAUSE
    assert FIRST_PAUSE < 1
    # A small file that is put together at once costs a question or two, one of an hour a few hundred.
    assert len(pauses) < 12


async def test_an_upload_ends_when_the_service_has_the_file() -> None:
    async with (
        FakeFrameio(rate_limits=False, part_size=PART, stitch_polls=1) as fake,
        uploader_on(fake) as uploader,
    ):
        file = await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        assert (file.status, fake.files[0].status) == ("uploaded", "uploaded")
        assert fake.files[0].sha256 == sha256(CONTENT)
        assert file.etags == fake.files[0].etags
        assert count(fake, "status") >= 2


async def test_a_failure_that_the_service_tells_is_a_confirmation_error_and_the_file_is_kept(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    fault = Fault(on="status", do="hold")
    fake.add_fault(fault)
    upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id).start()
    await fake.until(lambda fake: fake.hits(fault) == 1)
    fake.fail(fake.files[0].id)
    fake.release(fault)
    with pytest.raises(ConfirmationError, match="says that the upload failed") as caught:
        await upload
    (kept,) = fake.files
    assert (caught.value.file_id, upload.file_id) == (kept.id, kept.id)
    assert kept.id in str(caught.value)
    assert count(fake, "status") == 1, "a failure is final"
    assert [event async for event in upload][-1] == UploadFailed(caught.value)


async def test_a_service_that_never_has_it_is_given_up_in_time_and_the_file_is_kept(fake: FakeFrameio) -> None:
    fake.add_fault(NOT_YET)
    async with uploader_on(fake, timeouts=Timeouts(confirm=0.05)) as uploader:
        with pytest.raises(ConfirmationError, match=r"within 0\.05 s") as caught:
            await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        assert [caught.value.file_id] == [file.id for file in fake.files]
        assert count(fake, "delete") == 0


@pytest.mark.parametrize("do", ["hold", "answer"])
async def test_a_service_that_does_not_answer_at_all_is_given_up_in_the_same_time(fake: FakeFrameio, do: Any) -> None:
    fake.add_fault(Fault(on="status", do=do, status=503, times=None, headers={"Retry-After": "30"}))
    async with uploader_on(fake, timeouts=Timeouts(confirm=0.05)) as uploader:
        async with asyncio.timeout(3):
            with pytest.raises(ConfirmationError, match=r"within 0\.05 s"):
                await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert len(fake.files) == 1


async def test_a_token_that_never_comes_does_not_hold_up_the_confirmation(fake: FakeFrameio) -> None:
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.get_running_loop().create_future()
        return fake.token

    timeouts = Timeouts(confirm=0.05)
    async with Uploader(token, account_id=fake.account_id, base_url=fake.url, timeouts=timeouts) as uploader:
        async with asyncio.timeout(3):
            with pytest.raises(ConfirmationError):
                await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)


async def test_with_confirm_0_nobody_is_asked(fake: FakeFrameio) -> None:
    async with uploader_on(fake, timeouts=Timeouts(confirm=0)) as uploader:
        file = await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        assert (file.status, file.media_type) == ("created", "video/quicktime")
        assert len(file.etags) == 3
        assert count(fake, "status") == 0


async def test_an_api_error_while_asking_carries_the_file_which_is_kept(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(on="status", status=403, message="locked"))
    with pytest.raises(ApiError, match="403: locked") as caught:
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert [caught.value.file_id] == [file.id for file in fake.files]
    await fake.until(lambda fake: fake.files[0].complete)
    assert fake.files[0].sha256 == sha256(CONTENT)


async def test_a_hiccup_while_asking_costs_nothing_but_time(fake: FakeFrameio, uploader: Uploader) -> None:
    for do in ("answer", "reset", "garbled", "lose_answer"):
        fake.add_fault(Fault(on="status", do=do, status=503))
    assert (await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)).status == "uploaded"


@pytest.mark.parametrize("how", ["cancel()", "the task"])
async def test_a_cancel_while_it_is_confirmed_keeps_the_file(fake: FakeFrameio, uploader: Uploader, how: str) -> None:
    fake.add_fault(NOT_YET)
    upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    task = asyncio.create_task(upload)
    await fake.until(lambda fake: fake.hits(NOT_YET) == 1)
    if how == "cancel()":
        upload.cancel()
    else:
        task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises((asyncio.CancelledError, UploadCancelled)):
            await task
    assert [upload.file_id] == [file.id for file in fake.files]
    assert count(fake, "delete") == 0
    await fake.until(lambda fake: fake.files[0].complete)


async def test_waiting_for_confirmation_holds_no_file_slot(fake: FakeFrameio) -> None:
    from aioframeio_upload import Limits

    fake.add_fault(Fault(on="status", do="hold", name="first"))
    async with uploader_on(fake, limits=Limits(files=1, api_pacing=False)) as uploader:
        first = uploader.upload(b"x", name="first", folder_id=fake.folder_id).start()
        await fake.until(lambda fake: count(fake, "status") == 1)
        async with asyncio.timeout(10):
            await uploader.upload(b"x", name="second", folder_id=fake.folder_id)
        assert not first.done
        fake.release()
        await first


async def test_confirm_asks_for_a_plan_whose_parts_others_sent(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await uploader.plan(CONTENT, name="a.mov", folder_id=fake.folder_id)
    await uploader.send_parts(plan, CONTENT, [1, 2, 3])
    file = await uploader.confirm(plan)
    assert (file.id, file.status, file.size, file.etags) == (plan.file_id, "uploaded", len(CONTENT), ())


async def test_confirm_of_a_plan_with_a_missing_part_ends_in_time(fake: FakeFrameio) -> None:
    async with uploader_on(fake, timeouts=Timeouts(confirm=0.05)) as uploader:
        plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
        await uploader.send_parts(plan, CONTENT, [1, 3])
        with pytest.raises(ConfirmationError):
            await uploader.confirm(plan)


async def test_a_confirmation_that_uses_up_its_attempts_is_the_apis_error(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aioframeio_upload")
    fake.add_fault(Fault(on="status", status=500, times=None))
    async with uploader_on(fake, retry=RetryPolicy(attempts=3, base=QUICK.base, cap=QUICK.cap)) as uploader:
        with pytest.raises(ApiError, match="500"):
            await uploader.upload(b"x", name="a", folder_id=fake.folder_id)
    assert count(fake, "status") == 3
    assert caplog.text.count("again in") == 2
