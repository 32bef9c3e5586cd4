"""The handle of one upload: awaited, entered, iterated, started, as often as one likes."""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from aioframeio_upload import (
    PartRejected,
    Progress,
    Upload,
    UploadCompleted,
    UploadedFile,
    Uploader,
    UploadError,
    UploadFailed,
    UploadPlanned,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, our_records, reached, sha256, some_bytes

DATA = some_bytes(1000)
REJECT = Fault(status=403, code="SignatureDoesNotMatch", times=None)
HOLD = Fault(do="hold")

Make = Callable[[], Upload]


@pytest.fixture
def make(fake: FakeFrameio, uploader: Uploader) -> Make:
    return lambda: uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)


# -- its uses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_awaiting_it_gives_the_file(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    path = make_file(2 * PART + 5)
    file = await uploader.upload(path, folder_id=fake.folder_id)
    (stored,) = fake.files
    assert (stored.complete, stored.sha256) == (True, sha256(path))
    assert (file.id, file.name, file.size, file.folder_id) == (stored.id, "take.mov", 2 * PART + 5, fake.folder_id)
    assert (file.account_id, file.media_type, file.outcome) == (fake.account_id, "video/quicktime", "uploaded")
    assert file.etags == stored.etags


async def test_awaiting_it_again_gives_the_same_file_and_sends_nothing(fake: FakeFrameio, make: Make) -> None:
    upload = make()
    first = await upload
    requests = len(fake.requests)
    assert await upload is first
    assert upload.result is first
    assert len(fake.requests) == requests


async def test_awaiting_it_again_raises_the_same_error(fake: FakeFrameio, make: Make) -> None:
    fake.add_fault(REJECT)
    upload = make()
    with pytest.raises(PartRejected) as first:
        await upload
    with pytest.raises(PartRejected) as second:
        await upload
    with pytest.raises(PartRejected) as third:
        _ = upload.result
    assert first.value is second.value is third.value


async def test_the_traceback_of_its_error_names_the_source_once(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    fake.add_fault(REJECT)
    path = make_file(1000)
    uploads = [uploader.upload(source, name="a.mov", folder_id=fake.folder_id) for source in (path, DATA)]
    for upload, shown in zip(uploads, (str(path), "a.mov"), strict=True):
        with pytest.raises(PartRejected):
            await upload
        with pytest.raises(PartRejected) as caught:
            await upload
        assert caught.value.__notes__ == [f"while uploading {shown!r}"]
        assert "while uploading" not in str(caught.value)
        assert "".join(traceback.format_exception_only(caught.value)).endswith(f"\nwhile uploading {shown!r}\n")


async def test_several_may_await_it_at_once(fake: FakeFrameio, make: Make) -> None:
    upload = make()

    async def wait() -> UploadedFile:
        return await upload

    first, second = await asyncio.gather(wait(), wait())
    assert first is second
    assert len(fake.files) == 1


async def test_the_block_starts_it_and_waits_for_its_end(fake: FakeFrameio, make: Make) -> None:
    async with make() as upload:
        assert not upload.done
    assert upload.done
    assert upload.result.id == fake.files[0].id


async def test_leaving_the_block_raises_its_error(fake: FakeFrameio, make: Make) -> None:
    fake.add_fault(REJECT)
    with pytest.raises(PartRejected):
        async with make():
            pass


async def test_iterating_starts_it_and_ends_after_the_last_fact(make: Make) -> None:
    upload = make()
    events = [event async for event in upload]
    assert isinstance(events[0], UploadPlanned)
    assert events[-1] == UploadCompleted(upload.result)


async def test_after_a_failure_the_iteration_ends_with_it_and_raises_nothing(fake: FakeFrameio, make: Make) -> None:
    fake.add_fault(REJECT)
    upload = make()
    events = [event async for event in upload]
    with pytest.raises(PartRejected) as caught:
        await upload
    assert events[-1] == UploadFailed(caught.value)


async def test_breaking_out_of_the_iteration_stops_nothing(fake: FakeFrameio, make: Make) -> None:
    async with make() as upload:
        async for _ in upload:
            break
    assert fake.files[0].complete


async def test_starting_returns_itself_at_once_and_twice_is_once(fake: FakeFrameio, make: Make) -> None:
    upload = make()
    assert upload.start() is upload
    assert upload.start() is upload
    await upload
    assert len(fake.files) == 1


async def test_nothing_happens_until_it_is_used(fake: FakeFrameio, uploader: Uploader) -> None:
    upload = uploader.upload("/does/not/exist.mov", folder_id=fake.folder_id)
    assert (upload.done, upload.progress, upload.file_id) == (False, None, None)
    assert uploader.uploads == ()
    upload.close()
    assert fake.requests == []


async def test_gather_takes_uploads(fake: FakeFrameio, make: Make) -> None:
    files = await asyncio.gather(*(make() for _ in range(5)))
    assert {file.id for file in files} == {file.id for file in fake.files}


async def test_a_task_group_takes_uploads(fake: FakeFrameio, make: Make) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(make()) for _ in range(3)]
    assert {task.result().id for task in tasks} == {file.id for file in fake.files}


async def test_wait_for_takes_an_upload(fake: FakeFrameio, make: Make) -> None:
    assert (await asyncio.wait_for(make(), 10)).id == fake.files[0].id


async def test_it_may_be_made_a_task_twice(fake: FakeFrameio, make: Make) -> None:
    """As in a loop over `wait_for(shield(upload), …)`: each round makes a task of it."""
    fake.add_fault(HOLD)
    upload = make()
    first = asyncio.ensure_future(upload)
    await reached(fake, HOLD)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(upload), 0.01)
    fake.release()
    file = await asyncio.wait_for(asyncio.shield(upload), 10)
    assert await first is file
    assert await asyncio.wait_for(upload, 10) is file


async def test_a_shielded_upload_goes_on_when_its_awaiter_is_cancelled(fake: FakeFrameio, make: Make) -> None:
    fake.add_fault(HOLD)
    upload = make().start()

    async def wait() -> UploadedFile:
        return await asyncio.shield(upload)

    waiter = asyncio.create_task(wait())
    await reached(fake, HOLD)
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()
    assert not upload.done
    fake.release()
    assert (await upload).id == fake.files[0].id


# -- what it tells -----------------------------------------------------------------------------------------------------


async def test_planned_tells_the_file_before_its_bytes_are_there(fake: FakeFrameio, make: Make) -> None:
    fake.add_fault(HOLD)
    upload = make()
    planned = await upload.planned()
    (file,) = fake.files
    assert planned == UploadPlanned(file.id, "take.mov", planned.view_url if planned else "", 1000, 1)
    assert upload.file_id == file.id
    assert not upload.done
    await reached(fake, HOLD)
    fake.release()
    await upload
    assert await upload.planned() == planned


async def test_planned_raises_the_error_of_an_upload_that_never_came_so_far(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    upload = uploader.upload(b"", name="take.mov", folder_id=fake.folder_id)
    with pytest.raises(UploadError, match="empty"):
        await upload.planned()


async def test_cancelling_who_waits_for_planned_leaves_the_upload_alone(fake: FakeFrameio, make: Make) -> None:
    slow = Fault(on="create", do="hold")
    fake.add_fault(slow)
    upload = make()
    waiter = asyncio.create_task(upload.planned())
    await reached(fake, slow)
    waiter.cancel()
    await asyncio.wait([waiter])
    fake.release()
    assert (await upload).id == fake.files[0].id


async def test_a_result_is_not_there_while_it_runs(fake: FakeFrameio, make: Make) -> None:
    fake.add_fault(HOLD)
    async with make() as upload:
        await reached(fake, HOLD)
        assert (upload.done, upload.name, repr(upload)) == (False, "take.mov", "<Upload 'take.mov' running>")
        with pytest.raises(UploadError, match="has not ended"):
            _ = upload.result
        fake.release()
    assert upload.done


async def test_the_latest_progress_can_be_read_at_any_time(make: Make) -> None:
    upload = make()
    await upload
    progress = upload.progress
    assert progress is not None
    assert (progress.bytes_uploaded, progress.bytes_confirmed, progress.total_bytes) == (1000, 1000, 1000)
    assert (progress.parts_completed, progress.total_parts, progress.seconds_left) == (1, 1, 0.0)


async def test_progress_reaches_its_end_before_the_upload_completes(make: Make) -> None:
    *_, progress, end = [event async for event in make()]
    assert isinstance(progress, Progress)
    assert progress.bytes_uploaded == progress.total_bytes
    assert isinstance(end, UploadCompleted)


# -- when nobody looks -------------------------------------------------------------------------------------------------


async def test_one_that_is_never_used_warns_as_a_coroutine_does(make: Make) -> None:
    upload = [make()]
    with pytest.warns(RuntimeWarning, match="upload of 'take.mov' was never awaited"):
        upload.clear()


@pytest.mark.parametrize("use", [Upload.close, Upload.cancel], ids=["close", "cancel"])
async def test_one_that_is_given_up_does_not_warn(fake: FakeFrameio, make: Make, use: Callable[[Upload], None]) -> None:
    use(make())
    gc.collect()
    assert fake.requests == []


async def test_one_that_failed_unseen_is_logged_when_it_is_collected(
    fake: FakeFrameio, make: Make, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(REJECT)
    events = [event async for event in make()]
    assert isinstance(events[-1], UploadFailed)
    del events
    gc.collect()
    (record,) = our_records(caplog)
    assert (record.name, record.levelno) == ("aioframeio_upload", logging.ERROR)
    assert "'take.mov' failed, and nobody saw it" in record.getMessage()


async def _awaited(upload: Upload) -> None:
    await upload


async def _left(upload: Upload) -> None:
    async with upload:
        pass


async def _asked(upload: Upload) -> None:
    async for _ in upload:
        pass
    _ = upload.result


@pytest.mark.parametrize("look", [_awaited, _left, _asked])
async def test_one_whose_error_was_seen_is_not_logged(
    fake: FakeFrameio,
    make: Make,
    look: Callable[[Upload], Coroutine[None, None, None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake.add_fault(REJECT)
    with pytest.raises(PartRejected):
        await look(make())
    gc.collect()
    assert not our_records(caplog)


async def test_a_finished_upload_is_not_referenced(make: Make, uploader: Uploader) -> None:
    upload = make()
    await upload
    assert uploader.uploads == ()
    seen = weakref.ref(upload)
    del upload
    gc.collect()
    assert seen() is None


async def test_one_that_could_not_start_says_so_and_is_not_called_unused(fake: FakeFrameio) -> None:
    outside = Uploader("token", account_id=fake.account_id, base_url=fake.url)
    upload = outside.upload(DATA, name="take.mov", folder_id=fake.folder_id)
    with pytest.raises(RuntimeError, match="not entered"):
        await upload
    del upload
    gc.collect()


async def test_one_that_is_started_without_a_loop_leaves_nothing_behind(make: Make, uploader: Uploader) -> None:
    upload = make()
    with pytest.raises(RuntimeError, match="no running event loop"):
        await anyio.to_thread.run_sync(upload.start)
    assert uploader.uploads == ()
    await upload
