"""Each way to cancel a folder's upload stops it within a second, and leaves no file that lacks bytes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import FolderUpload, Limits, UploadCancelled, Uploader, UploadFailed
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
