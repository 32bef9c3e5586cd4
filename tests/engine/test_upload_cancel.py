"""Each way to cancel an upload stops it within a second and leaves nothing: no task, file, connection, placeholder."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioframeio_upload import Limits, Timeouts, Upload, UploadCancelled, Uploader, UploadFailed
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, OwnError, on_both_loops, open_files, our_records, reached, some_bytes, uploader_on

STALL = Fault(do="stall", after=PART // 2, times=None)
DATA = some_bytes(1000)


async def by_its_task(upload: Upload, ready: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.create_task(upload)
    await ready()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def by_an_awaiter(upload: Upload, ready: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def wait() -> None:
        await upload

    await by_its_task(wait(), ready)  # type: ignore[arg-type]  # any coroutine will do


async def by_a_timeout(upload: Upload, ready: Callable[[], Coroutine[Any, Any, None]]) -> None:
    upload.start()
    await ready()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await upload


async def by_wait_for(upload: Upload, ready: Callable[[], Coroutine[Any, Any, None]]) -> None:
    upload.start()
    await ready()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(upload, 0.01)


async def by_an_anyio_scope(upload: Upload, ready: Callable[[], Coroutine[Any, Any, None]]) -> None:
    upload.start()
    await ready()
    with anyio.move_on_after(0.01) as scope:
        await upload
    assert scope.cancelled_caught


async def by_an_exception_in_its_block(upload: Upload, ready: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def leave() -> None:
        async with upload:
            await ready()
            raise OwnError

    with pytest.raises(OwnError):
        await leave()


async def by_a_task_group(upload: Upload, ready: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def leave() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(upload)
            await ready()
            raise OwnError

    with pytest.raises(ExceptionGroup) as caught:
        await leave()
    assert caught.group_contains(OwnError)


async def by_cancel(upload: Upload, ready: Callable[[], Coroutine[Any, Any, None]]) -> None:
    upload.start()
    await ready()
    upload.cancel()
    upload.cancel()
    with pytest.raises(UploadCancelled):
        await upload
    upload.cancel()


WAYS = [
    by_its_task,
    by_an_awaiter,
    by_a_timeout,
    by_wait_for,
    by_an_anyio_scope,
    by_an_exception_in_its_block,
    by_a_task_group,
    by_cancel,
]


@asynccontextmanager
async def within_a_second() -> AsyncIterator[None]:
    async with asyncio.timeout(3):  # with slack: the machine may be busy
        yield


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_while_parts_are_sent(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path], tmp_path: Path, way: Any
) -> None:
    fake.add_fault(STALL)
    upload = uploader.upload(make_file(3 * PART), folder_id=fake.folder_id)

    async def ready() -> None:
        await reached(fake, STALL, 3)

    async with within_a_second():
        await way(upload, ready)
        await fake.until(lambda fake: fake.parts_in_flight == 0)
    assert upload.done
    assert uploader.uploads == ()
    assert open_files(tmp_path) == []
    assert (fake.files, len(fake.deleted)) == ((), 1)
    events = [event async for event in upload]
    assert isinstance(last := events[-1], UploadFailed)
    assert isinstance(last.error, UploadCancelled)
    with pytest.raises(UploadCancelled):
        _ = upload.result


async def _at_once() -> None:
    return


@pytest.mark.parametrize("way", [by_its_task, by_a_task_group, by_cancel, by_an_exception_in_its_block])
async def test_cancelled_before_its_first_step(fake: FakeFrameio, uploader: Uploader, way: Any) -> None:
    upload = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)
    async with within_a_second():
        await way(upload, _at_once)
    events = [event async for event in upload]
    assert len(events) == 1
    assert isinstance(last := events[0], UploadFailed)
    assert isinstance(last.error, UploadCancelled)
    assert (uploader.uploads, fake.files, fake.requests) == ((), (), [])


async def test_one_that_runs_is_stopped_by_a_task_cancelled_before_its_first_step(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    fake.add_fault(hold := Fault(do="hold"))
    upload = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id).start()
    await reached(fake, hold)
    async with within_a_second():
        await by_its_task(upload, _at_once)
    assert upload.done
    assert fake.files == ()


async def test_cancelled_before_it_was_started_it_never_begins(fake: FakeFrameio, uploader: Uploader) -> None:
    upload = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)
    upload.cancel()
    assert upload.done
    for _ in range(2):
        with pytest.raises(UploadCancelled):
            await upload
    assert fake.requests == []


async def test_as_a_task_cancelled_it_raises_cancelled_error_to_every_awaiter(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    fake.add_fault(hold := Fault(do="hold"))
    upload = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)
    tasks = [asyncio.ensure_future(upload), asyncio.ensure_future(upload)]
    await reached(fake, hold)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    with pytest.raises(asyncio.CancelledError):
        await upload


@pytest.mark.parametrize("way", [by_its_task, by_cancel])
async def test_cancelled_while_the_file_is_being_created_it_removes_what_was_made(
    fake: FakeFrameio, uploader: Uploader, way: Any
) -> None:
    slow = Fault(on="create", do="hold")
    fake.add_fault(slow)
    upload = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)

    async def ready() -> None:
        await reached(fake, slow)
        asyncio.get_running_loop().call_later(0.05, fake.release)

    async with within_a_second():
        await way(upload, ready)
        await fake.until(lambda fake: len(fake.deleted) == 1)
    assert fake.files == ()


@pytest.mark.parametrize("way", [by_its_task, by_cancel, by_an_exception_in_its_block])
async def test_cancelled_when_every_part_has_arrived_it_leaves_the_file_alone(fake: FakeFrameio, way: Any) -> None:
    slow = Fault(on="status", do="hold")
    fake.add_fault(slow)
    async with uploader_on(fake, timeouts=Timeouts(confirm=60)) as uploader:
        upload = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)

        async def ready() -> None:
            await reached(fake, slow)

        async with within_a_second():
            await way(upload, ready)
        await fake.until(lambda fake: fake.files[0].complete)  # it puts the parts together behind its answers
        assert fake.deleted == ()
        assert upload.file_id == fake.files[0].id


async def test_cancelled_while_it_waits_to_try_a_part_again(fake: FakeFrameio, uploader: Uploader) -> None:
    busy = Fault(times=None, headers={"Retry-After": "100"})
    fake.add_fault(busy)
    upload = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)

    async def ready() -> None:
        await reached(fake, busy)

    async with within_a_second():
        await by_its_task(upload, ready)
    assert fake.files == ()


async def test_cancelled_while_it_waits_for_a_place_it_was_never_begun(fake: FakeFrameio) -> None:
    fake.add_fault(hold := Fault(on="create", do="hold"))
    async with uploader_on(fake, limits=Limits(files=1, api_pacing=False)) as uploader:
        first, second = (uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id).start() for _ in range(2))
        await reached(fake, hold)
        async with within_a_second():
            second.cancel()
            with pytest.raises(UploadCancelled):
                await second
        fake.release()
        await first
    assert sum(seen.operation == "create" for seen in fake.requests) == len(fake.files) == 1


async def test_a_cancelled_upload_is_not_logged_as_unseen(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(hold := Fault(do="hold"))
    upload = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id).start()
    await reached(fake, hold)
    upload.cancel()
    async for _ in upload:
        pass
    del upload
    gc.collect()
    assert not our_records(caplog)


async def test_a_delete_that_does_not_work_is_told_in_a_warning_and_does_not_hold_up(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = Fault(on="delete", do="hold")
    fake.add_fault(STALL)
    fake.add_fault(stuck)
    upload = uploader.upload(some_bytes(PART), name="take.mov", folder_id=fake.folder_id)

    async def ready() -> None:
        await reached(fake, STALL)

    async with within_a_second():
        await by_cancel(upload, ready)
    (record,) = our_records(caplog)
    assert f"file {upload.file_id}, which is incomplete, could not be deleted" in record.getMessage()


async def test_a_cancelled_upload_is_cancelled_though_a_scope_inside_it_takes_the_count_back(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    """anyio's scopes call `Task.uncancel` when they end; here it is called as if one had ended at that moment."""
    fake.add_fault(hold := Fault(do="hold", times=None))
    upload = uploader.upload(DATA, name="a.mov", folder_id=fake.folder_id).start()
    await reached(fake, hold)
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "upload a.mov")
    upload.cancel()
    task.uncancel()
    with pytest.raises(UploadCancelled):
        await upload
    assert fake.files == ()
