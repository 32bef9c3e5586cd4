"""Each way to cancel a folder's upload stops it within a second, and leaves no file that lacks bytes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import FolderUpload, FolderUploadError, Limits, UploadCancelled, Uploader, UploadFailed
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, on_disk, open_files, our_records, reached, uploader_on
from tests.engine.test_upload_cancel import WAYS, by_cancel, by_its_task, within_a_second
from tests.support.trees import count, events_of, plant, send

STALL = Fault(do="stall", after=PART // 2, times=None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "shoot", {f"{folder}/{number}.mov": PART for folder in "abc" for number in range(10)})


async def ended(upload: FolderUpload) -> None:
    """It is over, as cancelled."""
    assert upload.done
    last = (await events_of(upload))[-1]
    assert isinstance(last, UploadFailed)
    assert isinstance(last.error, UploadCancelled)
    with pytest.raises(UploadCancelled):
        _ = upload.result


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_while_files_are_sent(fake: FakeFrameio, root: Path, way: Any) -> None:
    fake.add_fault(STALL)
    async with uploader_on(fake, limits=Limits(parts=4, files=6, api_pacing=False)) as uploader:
        upload = uploader.upload_folder(root, folder_id=fake.folder_id)

        async def ready() -> None:
            await reached(fake, STALL, 4)
            await fake.until(lambda fake: len(fake.files) == 6)

        async with within_a_second():
            await way(upload, ready)
            await fake.until(lambda fake: fake.parts_in_flight == 0)
        await ended(upload)
        assert uploader.uploads == ()
        assert open_files(root) == []
        assert (fake.files, len(fake.deleted)) == ((), 6)


@pytest.mark.parametrize("operation", ["list_children", "create_folder", "create", "list_files"])
@pytest.mark.parametrize("way", [by_its_task, by_cancel])
async def test_cancelled_while_it_waits_for_an_answer(
    fake: FakeFrameio, uploader: Uploader, root: Path, operation: str, way: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(held := Fault(on=operation, do="hold", times=None))
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)

    async def ready() -> None:
        await reached(fake, held)

    async with within_a_second():
        await way(upload, ready)
    await ended(upload)
    fake.release()
    if operation == "list_files":
        await fake.until(lambda fake: all(file.complete for file in fake.files))
        assert fake.files, "what has arrived is kept"
    del upload
    gc.collect()
    assert not [record for record in our_records(caplog) if record.levelname == "ERROR"]


@pytest.mark.parametrize("way", [by_its_task, by_cancel])
async def test_cancelled_before_its_first_step(fake: FakeFrameio, uploader: Uploader, root: Path, way: Any) -> None:
    async def at_once() -> None:
        return

    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    async with within_a_second():
        await way(upload, at_once)
    await ended(upload)
    assert fake.requests == []


async def test_what_was_done_before_a_cancellation_stays_and_the_next_run_sends_the_rest(
    fake: FakeFrameio, root: Path
) -> None:
    held = Fault(do="hold", first=12, times=None)
    fake.add_fault(held)
    async with uploader_on(fake, limits=Limits(parts=2, files=3, api_pacing=False)) as uploader:
        upload = uploader.upload_folder(root, folder_id=fake.folder_id).start()
        await reached(fake, held, 2)
        async with asyncio.timeout(20):
            await fake.until(lambda fake: sum(file.complete for file in fake.files) == 11)
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload
        assert all(file.complete for file in fake.files)
        fake.release()
        result = await send(uploader, fake, root)
    assert (len(result.skipped), len(result.files)) == (11, 19)
    assert len(fake.files) == 30


async def test_a_shutdown_stops_it(fake: FakeFrameio, root: Path) -> None:
    fake.add_fault(STALL)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload_folder(root, folder_id=fake.folder_id).start()
        await reached(fake, STALL, 8)
        assert uploader.statistics().uploads == 1
        async with within_a_second():
            await uploader.shutdown(0)
        await ended(upload)
    assert fake.files == ()


async def test_a_pause_holds_all_of_it_and_a_resume_goes_on(fake: FakeFrameio, root: Path) -> None:
    async with uploader_on(fake, limits=Limits(parts=2, files=3, api_pacing=False)) as uploader:
        fake.add_fault(held := Fault(do="hold", first=3, times=1))
        upload = uploader.upload_folder(root, folder_id=fake.folder_id).start()
        await reached(fake, held)
        upload.pause()
        fake.release()
        before = count(fake, "create")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(_ending(upload))), 0.3)
        assert count(fake, "create") <= before + 3, "no more than had their turn already"
        upload.resume()
        assert len((await upload).files) == 30


async def _ending(upload: FolderUpload) -> None:
    async for _ in upload:
        pass


async def test_a_cancelled_walk_leaves_no_thread_behind(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path, make_file: Callable[..., Path]
) -> None:
    def make() -> None:
        for one in range(40):
            for two in range(40):
                (tmp_path / "wide" / str(one) / str(two)).mkdir(parents=True)

    on_disk(make)
    upload = uploader.upload_folder(tmp_path / "wide", folder_id=fake.folder_id).start()
    await asyncio.sleep(0)
    upload.cancel()
    with pytest.raises(UploadCancelled):
        await upload
    await ended(upload)


# -- a cancellation of one file's task alone -------------------------------------------------------------------------


def task_of(path: str) -> asyncio.Task[Any]:
    """The task that uploads a file of a folder."""
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == f"upload {path}")
    return task


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_a_file_whose_task_is_cancelled_alone_is_that_files_failure(fake: FakeFrameio, tmp_path: Path) -> None:
    """A task group takes a cancelled child for done, so that the file would be missing from the result."""
    root = on_disk(plant, tmp_path / "shoot", {"a.mov": PART, "b.mov": PART, "c.mov": PART})
    fake.add_fault(held := Fault(do="hold", name="a.mov"))
    async with uploader_on(fake, limits=Limits(parts=2, files=2, api_pacing=False)) as uploader, asyncio.timeout(20):
        upload = uploader.upload_folder(root, folder_id=fake.folder_id).start()
        await reached(fake, held)
        task_of("a.mov").cancel()
        with pytest.raises(FolderUploadError) as caught:
            await upload
    (failure,) = caught.value.result.failures
    assert (failure.path, "nobody sent" in str(failure.error)) == ("a.mov", True)
    assert {file.name for file in caught.value.result.files} == {"b.mov", "c.mov"}
    assert {file.name for file in fake.files} == {"b.mov", "c.mov"}


async def test_files_after_one_that_was_cancelled_alone_are_created_and_cleaned_up_as_ever(
    fake: FakeFrameio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The time for a cancelled file's clean-up is that file's: the others begin when it is over."""
    root = on_disk(plant, tmp_path / "shoot", {"a.mov": PART, "b.mov": PART, "c.mov": PART})
    fake.add_fault(held := Fault(do="hold", name="a.mov"))
    fake.add_fault(Fault(name="b.mov", status=403, code="AccessDenied", times=None))
    fake.add_fault(Fault(on="delete", do="hold"))  # that of a.mov, so that its clean-up takes all its time
    async with uploader_on(fake, limits=Limits(parts=1, files=1, api_pacing=False)) as uploader, asyncio.timeout(20):
        upload = uploader.upload_folder(root, folder_id=fake.folder_id).start()
        await reached(fake, held)
        task_of("a.mov").cancel()
        with pytest.raises(FolderUploadError) as caught:
            await upload
    assert [failure.path for failure in caught.value.result.failures] == ["a.mov", "b.mov"]
    (left,) = (file for file in fake.files if file.name == "a.mov")
    assert {file.name for file in fake.files} == {"a.mov", "c.mov"}
    (said,) = (text for record in our_records(caplog) if "could not be deleted" in (text := record.getMessage()))
    assert left.id in said


async def test_one_file_cancelled_alone_does_not_hide_a_cancellation_of_the_folder(
    fake: FakeFrameio, root: Path
) -> None:
    fake.add_fault(STALL)
    async with uploader_on(fake, limits=Limits(parts=4, files=6, api_pacing=False)) as uploader:
        task = asyncio.create_task(uploader.upload_folder(root, folder_id=fake.folder_id))
        await reached(fake, STALL, 4)
        await fake.until(lambda fake: len(fake.files) == 6)
        async with within_a_second():
            task_of("a/0.mov").cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (fake.files, uploader.uploads) == ((), ())
        assert uploader.statistics().in_flight == 0
