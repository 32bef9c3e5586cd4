"""The file at Frame.io and the entry in the journal after an upload has ended: each row of the contract's table."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aioframeio_upload import (
    ApiError,
    ConfirmationError,
    IntegrityError,
    Limits,
    LinksExpired,
    PartExhausted,
    PartRejected,
    RetryPolicy,
    SourceChanged,
    SourceError,
    Timeouts,
    Upload,
    UploadCancelled,
    Uploader,
    UploadError,
    UploadFailed,
)
from aioframeio_upload._core import checksums
from aioframeio_upload._engine import control as control_module
from aioframeio_upload._engine import placeholder as placeholder_module
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, QUICK, OwnError, on_disk, reached, some_bytes, uploader_on
from tests.support.journals import ONE_BY_ONE, let_time_pass
from tests.support.seen import operations, puts, told

HOLD = Fault(do="hold", number=3)
SIZE = 3 * PART
CONTENT = some_bytes(SIZE)
FEW = RetryPolicy(attempts=2, base=0.01, cap=0.02)
ONE_SLOT = Limits(parts=1, api_pacing=False)

LAST_PART = Fault(do="hold", number=3, times=None)
CONFIRMING = Fault(on="status", do="hold", times=None)
"""Faults that are reached when every part was acknowledged."""


async def ended(upload: Upload, fake: FakeFrameio) -> UploadError:
    """Await an upload and return how it ended; in each case nothing of it is running any more."""
    with pytest.raises(UploadError) as caught:
        await upload
    last = [event async for event in upload][-1]
    assert last == UploadFailed(caught.value)
    async with asyncio.timeout(10):
        await fake.until(lambda fake: fake.parts_in_flight == 0)
    return caught.value


def nothing_left(fake: FakeFrameio) -> bool:
    return (fake.files, len(fake.deleted)) == ((), 1)


def kept(fake: FakeFrameio, upload: Upload) -> bool:
    return ([file.id for file in fake.files], fake.deleted) == ([upload.file_id], ())


async def by_cancel(upload: Upload) -> None:
    upload.cancel()
    with pytest.raises(UploadCancelled):
        await upload


async def by_its_task(upload: Upload) -> None:
    task = asyncio.ensure_future(upload)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_its_block(upload: Upload) -> None:
    with pytest.raises(OwnError):
        async with upload:
            raise OwnError


STOPS = [by_cancel, by_its_task, by_its_block]


# -- the table, with a journal and without -----------------------------------------------------------------------------


@dataclass
class Story:
    """An upload of four parts in progress, of which the third is held."""

    fake: FakeFrameio
    uploader: Uploader
    upload: Upload
    path: Path


async def cancelled_for_good(story: Story) -> None:
    await by_cancel(story.upload)


async def cancelled_as_a_task(story: Story) -> None:
    await by_its_task(story.upload)


async def its_block_left_by_an_exception(story: Story) -> None:
    await by_its_block(story.upload)


async def shut_down(story: Story) -> None:
    await story.uploader.shutdown(0)


async def the_uploader_left_by_an_exception(story: Story) -> None:
    await story.uploader.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)


async def a_time_out(story: Story) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await story.upload


async def a_changed_source(story: Story) -> None:
    on_disk(os.utime, story.path)
    story.fake.release(HOLD)


async def a_source_cut_short(story: Story) -> None:
    on_disk(os.truncate, story.path, 2 * PART)
    story.fake.release(HOLD)


async def let_go_on(story: Story) -> None:
    story.fake.release(HOLD)


async def dead_links(story: Story) -> None:
    """The link of the next part is refused, and the service refuses to create another file."""
    let_time_pass(story.uploader, minutes=30)
    story.fake.release(HOLD)


@dataclass(frozen=True)
class Row:
    """How an upload ends and what is left: with a journal (file, entry), without one (file)."""

    end: Callable[[Story], Awaitable[None]]
    stays: tuple[bool, bool]
    stays_without: bool
    raises: type[BaseException] | tuple[type[BaseException], ...] = ()
    faults: tuple[Fault, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


KEPT, DROPPED = (True, True), (False, False)
ROWS = {
    "cancel()": Row(cancelled_for_good, DROPPED, False),
    "PartRejected": Row(
        let_go_on, DROPPED, False, PartRejected, (Fault(number=4, status=403, code="AccessDenied", times=None),)
    ),
    "IntegrityError": Row(
        let_go_on, DROPPED, False, IntegrityError, (Fault(do="corrupt", number=4, times=None),), {"retry": QUICK}
    ),
    "SourceError": Row(a_source_cut_short, DROPPED, False, SourceError),
    "SourceChanged": Row(a_changed_source, DROPPED, False, SourceChanged),
    "a cancelled task": Row(cancelled_as_a_task, KEPT, False),
    "a time-out": Row(a_time_out, KEPT, False),
    "its block left by an exception": Row(its_block_left_by_an_exception, KEPT, False),
    "the Uploader left by an exception": Row(the_uploader_left_by_an_exception, KEPT, False),
    "shutdown()": Row(shut_down, KEPT, False),
    "PartExhausted": Row(
        let_go_on,
        KEPT,
        False,
        PartExhausted,
        (Fault(number=4, status=500, times=None),),
        {"retry": RetryPolicy(attempts=2, base=0.01, cap=0.01)},
    ),
    "LinksExpired": Row(let_go_on, KEPT, False, LinksExpired, (Fault(do="expire", number=4, times=None),)),
    "ApiError, of new links": Row(
        dead_links,
        DROPPED,  # the placeholder was deleted before another one was requested
        False,
        ApiError,
        (Fault(do="expire", number=4), Fault(on="create", status=403, first=2)),
    ),
    "ApiError, of the confirmation": Row(let_go_on, KEPT, True, ApiError, (Fault(on="status", status=403, times=1),)),
    "ConfirmationError": Row(
        let_go_on,
        KEPT,
        True,
        ConfirmationError,
        (Fault(on="status", do="hold", times=None),),
        {"timeouts": Timeouts(confirm=0.3)},
    ),
}


async def begun(fake: FakeFrameio, uploader: Uploader, path: Path) -> Story:
    fake.add_fault(HOLD)
    upload = uploader.upload(path, folder_id=fake.folder_id).start()
    await reached(fake, HOLD)
    return Story(fake, uploader, upload, path)


@pytest.mark.parametrize("recorded", [True, False], ids=["journal", "no journal"])
@pytest.mark.parametrize("name", ROWS)
async def test_an_end_leaves_behind_what_its_row_says(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path, name: str, recorded: bool
) -> None:
    row, path, journal = ROWS[name], make_file(4 * PART), tmp_path / "uploads.sqlite3" if recorded else None
    for fault in row.faults:
        fake.add_fault(fault)
    uploader = uploader_on(fake, journal=journal, limits=ONE_BY_ONE, **row.settings)
    await uploader.__aenter__()
    try:
        story = await begun(fake, uploader, path)
        await row.end(story)
        if row.raises:
            error = await ended(story.upload, fake)
            assert isinstance(error, row.raises)
            if isinstance(error, LinksExpired):
                assert error.file_id == story.upload.file_id
    finally:
        await uploader.shutdown(0)
        await uploader.__aexit__(None, None, None)
    fake.release()
    stays, entry = row.stays if recorded else (row.stays_without, False)
    assert [file.id for file in fake.files] == ([story.upload.file_id] if stays else [])
    assert [file.id for file in fake.deleted] == ([] if stays else [story.upload.file_id])
    if journal is not None:
        async with uploader_on(fake, journal=journal) as other:
            assert [one.file_id for one in await other.pending()] == ([story.upload.file_id] if entry else [])


@pytest.mark.parametrize("way", [cancelled_for_good, cancelled_as_a_task, shut_down])
@pytest.mark.parametrize("recorded", [True, False], ids=["journal", "no journal"])
async def test_every_cancel_keeps_a_complete_file_and_the_next_run_only_confirms_it(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path, way: Any, recorded: bool
) -> None:
    path, journal = make_file(4 * PART), tmp_path / "uploads.sqlite3" if recorded else None
    fake.add_fault(hold := Fault(on="status", do="hold"))
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        await way(Story(fake, uploader, upload, path))
    fake.release(hold)
    await fake.until(lambda fake: fake.files[0].complete)  # the fake stitches after it has answered
    assert [file.id for file in fake.files] == [upload.file_id]
    if recorded:
        async with uploader_on(fake, journal=journal) as uploader:
            assert (await uploader.upload(path, folder_id=fake.folder_id)).id == upload.file_id
        assert (operations(fake).count("create"), puts(fake)) == (1, {1: 1, 2: 1, 3: 1, 4: 1})


async def test_a_complete_file_of_mixed_bytes_is_deleted_with_its_entry(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    """The source changes after its last part was read and before the final check of the source."""
    path, journal = make_file(4 * PART), tmp_path / "uploads.sqlite3"
    fake.add_fault(hold := Fault(do="hold", number=4))
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(os.utime, path)
        fake.release(hold)
        with pytest.raises(SourceChanged):
            await upload
        assert (fake.files, await uploader.pending()) == ((), ())


# -- every part was acknowledged: kept, without a journal too ----------------------------------------------------------


@pytest.mark.parametrize("refused", [False, True], ids=["failed there", "not in time"])
async def test_a_failed_confirmation_keeps_the_file_and_names_it(fake: FakeFrameio, refused: bool) -> None:
    fake.add_fault(CONFIRMING)
    timeouts = Timeouts(confirm=60 if refused else 0.2)
    async with uploader_on(fake, timeouts=timeouts) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id).start()
        await reached(fake, CONFIRMING)
        if refused:
            fake.fail(fake.files[0].id)
            fake.release(CONFIRMING)
        error = await ended(upload, fake)
    assert type(error) is ConfirmationError
    assert error.file_id == upload.file_id
    assert kept(fake, upload)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_an_api_error_after_the_last_part_keeps_the_file_and_names_it(fake: FakeFrameio, status: int) -> None:
    fake.add_fault(Fault(on="status", status=status, times=None))
    async with uploader_on(fake, retry=FEW) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        error = await ended(upload, fake)
    assert isinstance(error, ApiError)
    assert (error.status, error.file_id) == (status, upload.file_id)
    assert kept(fake, upload)


@pytest.mark.parametrize("stop", STOPS)
async def test_a_cancel_after_the_last_part_keeps_the_file(fake: FakeFrameio, stop: Any) -> None:
    fake.add_fault(CONFIRMING)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id).start()
        await reached(fake, CONFIRMING)
        await stop(upload)
        assert upload.done
    assert kept(fake, upload)
    assert "delete" not in operations(fake)


class LateMd5:
    """An MD5 that is computed late, as on a busy core: it takes no bytes until it is released.

    That of a host's first part is computed of its source, after the answer.
    """

    asked = threading.Event()
    let_go = threading.Event()

    def __init__(self, *, usedforsecurity: bool) -> None:
        self._digest = hashlib.md5(usedforsecurity=usedforsecurity)
        self.hexdigest = self._digest.hexdigest

    def update(self, block: Any, /) -> None:
        self.asked.set()
        self.let_go.wait(20)
        self._digest.update(block)


@pytest.mark.parametrize("stop", STOPS)
async def test_a_cancel_between_the_last_answer_and_its_check_keeps_the_file(
    md5_fake: FakeFrameio, stop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = md5_fake
    monkeypatch.setattr(checksums, "hashlib", SimpleNamespace(md5=LateMd5))
    LateMd5.asked.clear()
    LateMd5.let_go.clear()
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT[:PART], name="a.mov", folder_id=fake.folder_id).start()
        try:
            assert await asyncio.to_thread(LateMd5.asked.wait, 20)
            await stop(upload)
        finally:
            LateMd5.let_go.set()
    assert kept(fake, upload)


async def stopped_with_its_uploader(fake: FakeFrameio, fault: Fault, how: str) -> Upload:
    """Start an upload, and stop its Uploader when the fault is hit."""
    uploader = uploader_on(fake)

    async def live() -> None:
        async with uploader:
            uploads.append(uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id).start())
            await reached(fake, fault)
            if how == "an exception":
                raise OwnError
            if how == "a shutdown with enough grace":
                fake.release(fault)
            await uploader.shutdown(grace=30 if "grace" in how else 0)

    uploads: list[Upload] = []
    fake.add_fault(fault)
    if how == "an exception":
        with pytest.raises(OwnError):
            await live()
    else:
        await live()
    assert uploads[0].done
    return uploads[0]


@pytest.mark.parametrize("how", ["a shutdown", "an exception", "a shutdown with enough grace"])
async def test_an_uploader_stopped_after_the_last_part_keeps_the_file(fake: FakeFrameio, how: str) -> None:
    upload = await stopped_with_its_uploader(fake, CONFIRMING, how)
    assert kept(fake, upload)


# -- deleted, with a journal or without --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3], ids=["first part", "last part"])
async def test_a_part_that_s3_refuses_leaves_nothing(fake: FakeFrameio, number: int) -> None:
    fake.add_fault(Fault(number=number, code="SignatureDoesNotMatch"))
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        error = await ended(uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id), fake)
    assert type(error) is PartRejected
    assert nothing_left(fake)


class BrokenFile(io.BytesIO):
    """A file object that cannot be read beyond its first part."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= PART:
            raise OSError("the disk is gone")
        return super().read(size)


async def short_stream() -> AsyncIterator[bytes]:
    yield CONTENT[: 2 * PART]


@pytest.mark.parametrize("make", [lambda: BrokenFile(CONTENT), short_stream], ids=["file", "stream"])
async def test_a_source_that_cannot_be_read_leaves_nothing(fake: FakeFrameio, make: Callable[[], Any]) -> None:
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        upload = uploader.upload(make(), name="a.mov", size=SIZE, folder_id=fake.folder_id)
        error = await ended(upload, fake)
    assert type(error) is SourceError
    assert nothing_left(fake)


@pytest.mark.parametrize("number", [1, 3], ids=["before the next part", "at the final check"])
async def test_a_source_that_changes_leaves_nothing_not_even_when_every_part_has_arrived(
    fake: FakeFrameio, make_file: Callable[..., Path], number: int
) -> None:
    """The stored bytes are a mixture of both versions."""
    path = make_file(SIZE)
    fake.add_fault(held := Fault(do="hold", number=number))
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, held)
        on_disk(path.write_bytes, CONTENT + b"more")
        fake.release(held)
        error = await ended(upload, fake)
    assert type(error) is SourceChanged
    assert nothing_left(fake)
    assert len(fake.deleted[0].parts) == (3 if number == 3 else 1)


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("fault", [Fault(do="hold", number=1, times=None), LAST_PART], ids=["first part", "last part"])
async def test_a_cancel_before_the_last_answer_leaves_nothing(fake: FakeFrameio, fault: Fault, stop: Any) -> None:
    fake.add_fault(fault)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id).start()
        await reached(fake, fault)
        await stop(upload)
        assert upload.done
        assert nothing_left(fake)
        assert upload.file_id == fake.deleted[0].id


async def test_a_cancel_that_a_busy_loop_delays_still_deletes_the_placeholder(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over before the first step of its clean-up, but the delete has a minimum of its own."""
    monkeypatch.setattr(control_module, "CLEAN_UP", 0.0)
    monkeypatch.setattr(placeholder_module, "LEAST_FOR_DELETE", 5.0)
    fake.add_fault(Fault(do="hold", number=1, times=None))
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id).start()
        await fake.until(lambda fake: fake.parts_in_flight > 0)
        upload.cancel()
        assert type(await ended(upload, fake)) is UploadCancelled
    assert nothing_left(fake)


# -- deleted, because there is no journal ------------------------------------------------------------------------------


async def test_a_refused_create_leaves_nothing_to_delete(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(on="create", status=403))
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        error = await ended(upload, fake)
    assert isinstance(error, ApiError)
    assert (fake.files, fake.deleted, upload.file_id) == ((), (), None)
    assert operations(fake) == ["create"]


def made_anew(fake: FakeFrameio, uploader: Uploader) -> Upload:
    """Return an upload whose file is spoiled and must be created again."""
    fake.add_fault(Fault(number=1, do="corrupt"))
    return uploader.upload(CONTENT[:PART], name="a.mov", folder_id=fake.folder_id)


async def test_an_api_error_while_a_new_plan_is_made_leaves_nothing(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(on="create", status=403, first=2))
    async with uploader_on(fake) as uploader:
        error = await ended(made_anew(fake, uploader), fake)
    assert isinstance(error, ApiError)
    assert nothing_left(fake)


@pytest.mark.parametrize("stop", STOPS)
async def test_a_cancel_while_a_new_plan_is_made_leaves_nothing(fake: FakeFrameio, stop: Any) -> None:
    slow = Fault(on="create", do="hold", first=2)
    fake.add_fault(slow)
    async with uploader_on(fake) as uploader:
        upload = made_anew(fake, uploader).start()
        await reached(fake, slow)
        asyncio.get_running_loop().call_soon(fake.release, slow)
        await stop(upload)
        assert (fake.files, len(fake.deleted)) == ((), 2)


@pytest.mark.parametrize("how", ["a shutdown", "an exception", "a shutdown with enough grace"])
async def test_an_uploader_stopped_before_the_last_answer_leaves_only_complete_files(
    fake: FakeFrameio, how: str
) -> None:
    upload = await stopped_with_its_uploader(fake, LAST_PART, how)
    if how == "a shutdown with enough grace":
        assert (kept(fake, upload), upload.result.id) == (True, upload.file_id)
    else:
        assert nothing_left(fake)


async def test_a_placeholder_that_cannot_be_deleted_is_named_in_a_warning_and_the_error_stays_the_same(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(number=1, code="AccessDenied"))
    fake.add_fault(Fault(on="delete", status=403, times=None))
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        error = await ended(upload, fake)
    assert type(error) is PartRejected
    (said,) = told(caplog)
    assert f"file {upload.file_id}, which is incomplete, could not be deleted" in said
