"""What is left behind where an upload ends early: each row of the contract's table, with a journal and without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    ApiError,
    ConfirmationError,
    IntegrityError,
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
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, QUICK, on_disk, reached, uploader_on
from tests.support.journals import ONE_BY_ONE, let_time_pass
from tests.support.seen import operations, puts

HOLD = Fault(do="hold", number=3)
SIZE = 4 * PART


@dataclass
class Story:
    """An upload under way, of which the third part is held."""

    fake: FakeFrameio
    uploader: Uploader
    upload: Upload
    path: Path


async def cancelled_for_good(story: Story) -> None:
    story.upload.cancel()
    with pytest.raises(UploadCancelled):
        await story.upload


async def cancelled_as_a_task(story: Story) -> None:
    task = asyncio.ensure_future(story.upload)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def its_block_left_by_an_exception(story: Story) -> None:
    with pytest.raises(ZeroDivisionError):
        async with story.upload:
            raise ZeroDivisionError


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
    """The next part's link is refused; the service, asked for another file, says no."""
    let_time_pass(story.uploader, minutes=30)
    story.fake.release(HOLD)


@dataclass(frozen=True)
class Row:
    """How an upload ends, and what stays: with a journal (file, entry), without one (file)."""

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
        DROPPED,  # the placeholder went before another one was asked for
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
async def test_this_is_left_behind(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path, name: str, recorded: bool
) -> None:
    row, path, journal = ROWS[name], make_file(SIZE), tmp_path / "uploads.sqlite3" if recorded else None
    for fault in row.faults:
        fake.add_fault(fault)
    uploader = uploader_on(fake, journal=journal, limits=ONE_BY_ONE, **row.settings)
    await uploader.__aenter__()
    try:
        story = await begun(fake, uploader, path)
        await row.end(story)
        if row.raises:
            with pytest.raises(row.raises):
                await story.upload
    finally:
        await uploader.shutdown(0)
        await uploader.__aexit__(None, None, None)
    fake.release()
    stays, entry = row.stays if recorded else (row.stays_without, False)
    assert [file.id for file in fake.files] == ([story.upload.file_id] if stays else [])
    if journal is not None:
        async with uploader_on(fake, journal=journal) as other:
            assert [one.file_id for one in await other.pending()] == ([story.upload.file_id] if entry else [])


@pytest.mark.parametrize("way", [cancelled_for_good, cancelled_as_a_task, shut_down])
@pytest.mark.parametrize("recorded", [True, False], ids=["journal", "no journal"])
async def test_a_whole_file_is_kept_by_every_cancel_and_the_next_run_only_confirms(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path, way: Any, recorded: bool
) -> None:
    path, journal = make_file(SIZE), tmp_path / "uploads.sqlite3" if recorded else None
    fake.add_fault(hold := Fault(on="status", do="hold"))
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        await way(Story(fake, uploader, upload, path))
    fake.release(hold)
    await fake.until(lambda fake: fake.files[0].complete)  # it puts the parts together behind its answers
    assert [file.id for file in fake.files] == [upload.file_id]
    if recorded:
        async with uploader_on(fake, journal=journal) as uploader:
            assert (await uploader.upload(path, folder_id=fake.folder_id)).id == upload.file_id
        assert (operations(fake).count("create"), puts(fake)) == (1, {1: 1, 2: 1, 3: 1, 4: 1})


async def test_a_whole_file_of_mixed_bytes_goes_and_its_entry_too(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    """The source changes after its last part was read, and before the last look at it."""
    path, journal = make_file(SIZE), tmp_path / "uploads.sqlite3"
    fake.add_fault(hold := Fault(do="hold", number=4))
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(os.utime, path)
        fake.release(hold)
        with pytest.raises(SourceChanged):
            await upload
        assert (fake.files, await uploader.pending()) == ((), ())
