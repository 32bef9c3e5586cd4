"""Going on after the process has gone: what was recorded is not sent again, and what is of no use begins anew."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioframeio_upload import (
    ConfirmationError,
    JournalError,
    Limits,
    LinksExpired,
    PartCompleted,
    PartStarted,
    Plan,
    Progress,
    SourceError,
    Timeouts,
    Upload,
    UploadCancelled,
    UploadCompleted,
    UploadedFile,
    UploadError,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
)
from aioframeio_upload._engine import control as control_module
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, on_disk, our_records, reached, sha256, some_bytes, uploader_on
from tests.support.journals import ONE_BY_ONE, let_time_pass, pending_in, recorded_parts, rows, stopped_at
from tests.support.seen import operations, puts, watched
from tests.support.trees import arrived, content_of, plant

SIZE = 5 * PART
"""Five parts."""


async def again(fake: FakeFrameio, path: Path, journal: Path, **how: Any) -> tuple[UploadedFile, list[Any]]:
    """Upload, as the next run does, and give the file and the events."""
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id, **how)
        events = [event async for event in upload]
        return await upload, events


def why_anew(events: list[Any]) -> str:
    """Prove that one event tells that it begins anew, and give the reason."""
    (event,) = [event for event in events if isinstance(event, UploadReplanned)]
    return str(event.reason)


def one_finished(fake: FakeFrameio, path: Path) -> str:
    """Prove that there is exactly one file, whole and the same as the source, and give its id."""
    (file,) = fake.files
    assert (file.complete, file.sha256) == (True, sha256(path))
    return file.id


# -- going on ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_the_next_run_sends_only_what_is_missing(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    stopped = await stopped_at(fake, path, journal, 3)
    file, events = await again(fake, path, journal)
    assert file.id == stopped.file_id == one_finished(fake, path)
    assert puts(fake) == {1: 1, 2: 1, 3: 2, 4: 1, 5: 1}
    assert operations(fake).count("create") == 1
    assert (file.outcome, file.etags) == ("resumed", fake.files[0].etags)
    assert [type(event) for event in events[:2]] == [UploadPlanned, UploadResumed]
    assert events[1] == UploadResumed(file.id, 2, 2 * PART)
    assert {event.number for event in events if isinstance(event, PartStarted | PartCompleted)} == {3, 4, 5}
    assert events[-1] == UploadCompleted(file)
    assert await pending_in(fake, journal) == ()


async def test_progress_goes_on_from_what_is_confirmed(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    await stopped_at(fake, path, journal, 4)
    _, events = await again(fake, path, journal)
    told = [event for event in events if isinstance(event, Progress)]
    assert told[0].bytes_confirmed >= 3 * PART
    assert told[0].parts_completed >= 3
    assert all(one.total_bytes == SIZE and one.total_parts == 5 for one in told)
    assert (told[-1].bytes_uploaded, told[-1].bytes_confirmed, told[-1].parts_completed) == (SIZE, SIZE, 5)


async def test_the_file_is_recorded_before_its_first_part_goes_out(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    fake.add_fault(hold := Fault(do="hold", number=1))
    path = make_file(SIZE)
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        (pending,) = await uploader.pending()
        assert (pending.file_id, pending.bytes_confirmed) == (upload.file_id, 0)
        fake.release()
        await upload


async def test_a_part_that_was_told_is_recorded(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(make_file(SIZE), folder_id=fake.folder_id)
        fake.add_fault(hold := Fault(on="status", do="hold"))  # it is not erased before all was seen
        told = set()
        async for event in upload:
            if isinstance(event, PartCompleted):
                told.add(event.number)
                assert told <= recorded_parts(journal)
            if len(told) == 5:
                fake.release(hold)
        assert told == {1, 2, 3, 4, 5}
        await upload


async def test_every_pending_upload_is_started_by_one_line(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    paths = [make_file(SIZE, "one.mov"), make_file(SIZE - 1, "two.mov")]
    stopped = [await stopped_at(fake, path, journal, 2, name=path.name.upper()) for path in paths]
    async with uploader_on(fake, journal=journal) as uploader:
        pending = {one.file_id: one for one in await uploader.pending()}
        assert {one.path for one in pending.values()} == {str(path) for path in paths}
        first = pending[stopped[0].file_id or ""]
        assert (first.name, first.folder_id, first.size) == ("ONE.MOV", fake.folder_id, SIZE)
        assert first.bytes_confirmed == PART
        assert first.expires_at is not None
        uploads = await uploader.resume_pending()
        assert await uploader.resume_pending() == ()  # somebody is at them
        files = await asyncio.gather(*uploads)
    assert {file.id for file in files} == {upload.file_id for upload in stopped}
    assert {file.outcome for file in files} == {"resumed"}
    assert {file.sha256 for file in fake.files} == {sha256(path) for path in paths}
    assert await pending_in(fake, journal) == ()


async def test_what_is_resumed_can_be_told_apart_before_anything_happens(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, tmp_path: Path
) -> None:
    """By two files of one name in two folders, as cameras make them."""
    paths = [on_disk(plant, tmp_path / card, {"clip.mov": SIZE}) / "clip.mov" for card in ("card-1", "card-2")]
    stopped = [await stopped_at(fake, path, journal, 2) for path in paths]
    async with uploader_on(fake, journal=journal) as uploader:
        uploads = await uploader.resume_pending()
        known = {upload.file_id: (upload.source, upload.folder_id, upload.name) for upload in uploads}
        assert known == {
            one.file_id: (str(path), fake.folder_id, "clip.mov") for one, path in zip(stopped, paths, strict=True)
        }
        await asyncio.gather(*uploads)


async def test_the_files_id_is_that_of_the_new_one_where_it_begins_anew(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    stopped = await stopped_at(fake, path, journal, 2)
    on_disk(os.utime, path)
    async with uploader_on(fake, journal=journal) as uploader:
        (upload,) = await uploader.resume_pending()
        assert upload.file_id == stopped.file_id
        assert (await upload).id == upload.file_id != stopped.file_id


async def test_a_handle_tells_its_source_and_folder(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    async with uploader_on(fake, journal=journal) as uploader:
        plan = await uploader.plan(path, folder_id=fake.folder_id)
        handles: list[Any] = [
            uploader.upload(path, folder_id="f"),
            uploader.upload(str(path), folder_id="f"),
            uploader.upload(b"x", name="x", folder_id="f"),
            uploader.execute(plan, path),
            uploader.upload_folder(path.parent, folder_id="f"),
        ]
        for one in handles:
            one.cancel()
        assert [one.source for one in handles] == [path, str(path), None, path, path.parent]
        assert [one.folder_id for one in handles] == ["f", "f", "f", fake.folder_id, "f"]
        assert [one.file_id for one in handles[:4]] == [None, None, None, plan.file_id]


async def test_what_was_resumed_and_cancelled_before_its_first_step_can_be_taken_up(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    await stopped_at(fake, path, journal, 2)
    async with uploader_on(fake, journal=journal) as uploader:
        (upload,) = await uploader.resume_pending()
        upload._stop()
        with pytest.raises(asyncio.CancelledError):
            await upload
        (upload,) = await uploader.resume_pending()
        await upload
    assert one_finished(fake, path)


async def planned(fake: FakeFrameio, path: Path) -> Plan:
    async with uploader_on(fake) as uploader:
        return await uploader.plan(path, folder_id=fake.folder_id)


@pytest.mark.parametrize("verb", ["execute", "resume_pending"])
async def test_a_plan_that_was_executed_is_gone_on_with(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, verb: str
) -> None:
    path = make_file(SIZE)
    plan = await planned(fake, path)
    await stopped_at(fake, path, journal, 3, plan=plan)
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.execute(plan, path) if verb == "execute" else (await uploader.resume_pending())[0]
        file = await upload
    assert (file.id, file.outcome) == (plan.file_id, "resumed")
    assert puts(fake) == {1: 1, 2: 1, 3: 2, 4: 1, 5: 1}
    assert one_finished(fake, path)


async def test_a_plan_that_is_of_no_use_any_more_begins_anew(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    plan = await planned(fake, path)
    await stopped_at(fake, path, journal, 3, plan=plan)
    on_disk(os.utime, path)
    async with uploader_on(fake, journal=journal) as uploader:
        file = await uploader.execute(plan, path)
    assert (file.id == plan.file_id, file.outcome) == (False, "uploaded")
    assert one_finished(fake, path) == file.id


async def test_a_plan_that_does_not_tell_its_folder_cannot_begin_anew(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    plan = replace(await planned(fake, path), folder_id=None)
    await stopped_at(fake, path, journal, 3, plan=plan)
    on_disk(os.utime, path)
    async with uploader_on(fake, journal=journal) as uploader:
        with pytest.raises(LinksExpired, match="does not contain its folder"):
            await uploader.execute(plan, path)
        assert (await uploader.pending(), fake.files) == ((), ())


# -- every part had arrived --------------------------------------------------------------------------------------------


async def sent_whole(fake: FakeFrameio, path: Path, journal: Path) -> str:
    """Send every part, and fail to confirm; gives the file's id."""
    fake.add_fault(refusal := Fault(on="status", status=403, times=1))
    async with uploader_on(fake, journal=journal) as uploader:
        with pytest.raises(UploadError):
            await uploader.upload(path, folder_id=fake.folder_id)
    assert fake.hits(refusal) == 1
    await fake.until(lambda fake: fake.files[0].complete)
    return fake.files[0].id


@pytest.mark.parametrize("source", ["there", "gone"])
async def test_a_file_whose_parts_have_all_arrived_is_only_confirmed(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, source: str
) -> None:
    path = make_file(SIZE)
    digest, file_id = sha256(path), await sent_whole(fake, path, journal)
    if source == "gone":
        on_disk(path.unlink)
    before = len(fake.requests)
    file, events = await again(fake, path, journal)
    assert (file.id, file.outcome, file.etags) == (file_id, "resumed", fake.files[0].etags)
    assert set(operations(fake)[before:]) == {"status"}
    assert [type(event) for event in events] == [UploadPlanned, UploadResumed, Progress, UploadCompleted]
    assert events[1] == UploadResumed(file_id, 5, SIZE)
    assert (events[2].bytes_uploaded, events[2].bytes_confirmed, events[2].seconds_left) == (SIZE, SIZE, 0.0)
    assert fake.files[0].sha256 == digest
    assert await pending_in(fake, journal) == ()


async def test_a_file_that_arrived_although_its_last_receipt_was_lost_is_only_confirmed(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    await sent_whole(fake, path, journal)
    rows(journal, "DELETE FROM parts WHERE number = 5")
    file, _ = await again(fake, path, journal)
    assert sum(puts(fake).values()) == 5
    assert file.etags == (*fake.files[0].etags[:4], None)
    assert one_finished(fake, path)


async def test_a_file_that_arrived_is_kept_when_its_source_has_changed_and_the_new_one_is_uploaded(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    await sent_whole(fake, path, journal)
    on_disk(os.utime, path)
    file, events = await again(fake, path, journal)
    assert [one.complete for one in fake.files] == [True, True]
    assert (file.id, file.outcome) == (fake.files[1].id, "uploaded")
    assert why_anew(events) == "the source has changed since; the file that had arrived stays"
    assert await pending_in(fake, journal) == ()


async def test_a_file_that_arrived_and_was_deleted_there_cannot_come_back_without_its_source(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    file_id = await sent_whole(fake, path, journal)
    on_disk(path.unlink)
    async with uploader_on(fake, journal=journal) as uploader:
        await uploader.delete(file_id)
        (upload,) = await uploader.resume_pending()
        with pytest.raises(SourceError):
            await upload
        assert await uploader.pending() == ()


async def test_one_that_failed_there_is_kept_and_asked_for_again(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    fake.fail(await sent_whole(fake, path, journal))
    for _ in range(2):
        with pytest.raises(ConfirmationError):
            await again(fake, path, journal)
    assert len(fake.files) == len(await pending_in(fake, journal)) == 1


# -- beginning anew ----------------------------------------------------------------------------------------------------


def rewritten(path: Path, journal: Path, fake: FakeFrameio) -> None:
    """The same size and time, and other bytes at its end: storage that keeps times by the second."""
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touched(path: Path, journal: Path, fake: FakeFrameio) -> None:
    os.utime(path)


def longer(path: Path, journal: Path, fake: FakeFrameio) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def expired(path: Path, journal: Path, fake: FakeFrameio) -> None:
    """The service sent the links long ago."""
    changed = rows(journal, "SELECT plan FROM uploads")[0][0].count('"received_at":"20')
    rows(journal, """UPDATE uploads SET plan = replace(plan, '"received_at":"20', '"received_at":"19')""")
    assert changed == 1


def expired_by_their_stamps(path: Path, journal: Path, fake: FakeFrameio) -> None:
    """The links were signed long ago, and there is no word of when the service sent them."""
    changed = rows(journal, "SELECT plan FROM uploads")[0][0].count("X-Amz-Date=20")
    rows(journal, "UPDATE uploads SET plan = replace(plan, 'X-Amz-Date=20', 'X-Amz-Date=19')")
    rows(journal, "UPDATE uploads SET plan = json_remove(plan, '$.received_at')")
    assert changed == 5


@pytest.mark.parametrize("how", [rewritten, touched, longer, expired, expired_by_their_stamps])
async def test_what_cannot_be_gone_on_with_begins_anew_and_the_old_placeholder_goes(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, how: Callable[[Path, Path, FakeFrameio], None]
) -> None:
    path = make_file(SIZE)
    stopped = await stopped_at(fake, path, journal, 3)
    on_disk(how, path, journal, fake)
    file, events = await again(fake, path, journal)
    assert file.id != stopped.file_id
    assert (one_finished(fake, path), file.outcome) == (file.id, "uploaded")
    assert [one.id for one in fake.deleted] == [stopped.file_id]
    assert not [event for event in events if isinstance(event, UploadResumed)]
    assert [type(event) for event in events[:2]] == [UploadPlanned, UploadReplanned], "the plan is the first event"
    assert (events[0].file_id, events[1].file_id, events[1].replaced_file_id) == (file.id, file.id, stopped.file_id)
    reason = "its links have expired" if how in (expired, expired_by_their_stamps) else "the source has changed since"
    assert events[1].reason.startswith(reason)
    assert await pending_in(fake, journal) == ()


async def test_a_placeholder_that_somebody_has_deleted_is_made_anew(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    stopped = await stopped_at(fake, path, journal, 3)
    async with uploader_on(fake) as uploader:
        await uploader.delete(stopped.file_id or "")
    file, events = await again(fake, path, journal)
    assert (one_finished(fake, path), file.outcome) == (file.id, "uploaded")
    assert operations(fake).count("delete") == 1
    assert why_anew(events) == "Frame.io has no such file any more"


async def test_a_placeholder_that_failed_there_is_made_anew(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    stopped = await stopped_at(fake, path, journal, 3)
    fake.fail(stopped.file_id or "")
    file, events = await again(fake, path, journal)
    assert (one_finished(fake, path), file.outcome) == (file.id, "uploaded")
    assert why_anew(events) == "Frame.io says that its upload failed"


async def test_another_folder_or_name_is_another_upload(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    stopped = await stopped_at(fake, path, journal, 3)
    file, _ = await again(fake, path, journal, name="other.mov")
    assert (file.id == stopped.file_id, file.outcome) == (False, "uploaded")
    assert [one.file_id for one in await pending_in(fake, journal)] == [stopped.file_id]


async def test_a_link_to_the_source_is_the_same_source(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, tmp_path: Path
) -> None:
    path = make_file(SIZE)
    await stopped_at(fake, path, journal, 3)
    on_disk((tmp_path / "here").symlink_to, tmp_path)
    file, _ = await again(fake, tmp_path / "here" / path.name, journal)
    assert file.outcome == "resumed"


async def test_new_links_in_the_middle_are_what_is_gone_on_with(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    fake.add_fault(first := Fault(do="hold", number=2))
    fake.add_fault(Fault(do="expire", number=3))
    fake.add_fault(second := Fault(do="hold", number=4))
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, first)
        let_time_pass(uploader, minutes=30)
        fake.release(first)
        await reached(fake, second)
        (pending,) = await uploader.pending()
        assert pending.file_id == upload.file_id == fake.files[0].id
        assert recorded_parts(journal) == {1, 2, 3}
        await uploader.shutdown(0)
    fake.release(second)
    file, _ = await again(fake, path, journal)
    assert (file.id, file.outcome) == (one_finished(fake, path), "resumed")
    assert puts(fake) == {1: 2, 2: 2, 3: 2, 4: 2, 5: 1}


async def test_links_that_die_in_a_resumed_upload_make_it_a_new_one(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    await stopped_at(fake, path, journal, 3)
    fake.add_fault(hold := Fault(do="hold", number=4))
    fake.add_fault(Fault(do="expire", number=5))
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        let_time_pass(uploader, minutes=30)
        fake.release(hold)
        events = [event async for event in upload]
        file = await upload
        assert await uploader.pending() == ()
    assert (file.id, file.outcome) == (one_finished(fake, path), "uploaded")
    assert [event for event in events if isinstance(event, UploadReplanned)]
    told = [event.bytes_uploaded for event in events if isinstance(event, Progress)]
    assert told == sorted(told)


# -- what stays --------------------------------------------------------------------------------------------------------


async def test_a_source_that_cannot_be_found_leaves_what_is_pending(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, tmp_path: Path
) -> None:
    """A share that is not mounted yet must not cost what was sent."""
    path = make_file(SIZE)
    await stopped_at(fake, path, journal, 3)
    on_disk(shutil.move, path, tmp_path / "away")
    async with uploader_on(fake, journal=journal) as uploader:
        (upload,) = await uploader.resume_pending()
        with pytest.raises(SourceError):
            await upload
    on_disk(shutil.move, tmp_path / "away", path)
    file, _ = await again(fake, path, journal)
    assert (one_finished(fake, path), file.outcome) == (file.id, "resumed")


async def test_a_service_that_cannot_be_asked_leaves_what_is_pending(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    await stopped_at(fake, path, journal, 3)
    fake.add_fault(Fault(on="status", status=403, times=1))
    with pytest.raises(UploadError):
        await again(fake, path, journal)
    file, _ = await again(fake, path, journal)
    assert (one_finished(fake, path), file.outcome) == (file.id, "resumed")


async def test_bytes_and_streams_are_not_recorded(fake: FakeFrameio, journal: Path) -> None:
    fake.add_fault(hold := Fault(do="hold"))
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(some_bytes(PART), name="a.mov", folder_id=fake.folder_id).start()
        await reached(fake, hold)
        assert await uploader.pending() == ()
        upload._stop()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert (fake.files, len(fake.deleted)) == ((), 1)
        fake.release()
        _, file = await watched(uploader, fake, some_bytes(PART))
        assert isinstance(file, UploadedFile)
        assert file.outcome == "uploaded"


# -- one at a time -----------------------------------------------------------------------------------------------------


async def test_the_same_file_twice_in_one_process_is_refused(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    fake.add_fault(hold := Fault(do="hold", number=2))
    async with uploader_on(fake, journal=journal) as uploader, uploader_on(fake, journal=journal) as other:
        first = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        ours, theirs = "'take.mov' is being uploaded by this Uploader already", "in use by another upload or process"
        for one, words in (uploader, ours), (other, theirs):
            with pytest.raises(JournalError, match=words) as caught:
                await one.upload(path, folder_id=fake.folder_id)
            assert caught.value.path == str(journal)
            assert await one.resume_pending() == ()
            with pytest.raises(JournalError):
                await one.discard(first.file_id or "")
        fake.release()
        await first
        # Afterwards it is nobody's: another upload of it makes another file.
        await other.upload(path, folder_id=fake.folder_id)
    assert [file.complete for file in fake.files] == [True, True]
    assert not [left for left in on_disk(os.listdir, journal.parent) if "lock" in left]


def locks(journal: Path) -> list[str]:
    """The lock files beside a journal: each is open in the process that is at its upload."""
    return [name for name in on_disk(os.listdir, journal.parent) if name.endswith(".lock")]


async def test_what_waits_only_for_its_confirmation_holds_no_lock(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    paths = [make_file(SIZE, name) for name in ("one.mov", "two.mov", "three.mov")]
    fake.add_fault(hold := Fault(on="status", do="hold", times=3))
    async with uploader_on(fake, journal=journal) as uploader:
        for number, path in enumerate(paths, 1):
            uploader.upload(path, folder_id=fake.folder_id).start()
            await reached(fake, hold, number)
        assert (locks(journal), len(await uploader.pending())) == ([], 3)
        await uploader.shutdown(0)
    fake.release(hold)
    # Or one of the first three is confirmed, and erased, before the others are looked for.
    fake.add_fault(hold := Fault(on="status", do="hold", times=6))
    async with uploader_on(fake, journal=journal) as uploader, uploader_on(fake, journal=journal) as other:
        # Two at once do no harm: both only ask.
        uploads = [*await uploader.resume_pending(), *await other.resume_pending()]
        assert (locks(journal), len(uploads)) == ([], 6)
        fake.release(hold)
        assert {(await upload).outcome for upload in uploads} == {"resumed"}
        assert (await uploader.pending(), operations(fake).count("create")) == ((), 3)


async def test_a_version_that_waits_for_its_stack_is_one_uploads_alone(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    """Two that stack would stack it twice."""
    path = make_file(SIZE)
    async with uploader_on(fake, journal=journal) as uploader, uploader_on(fake, journal=journal) as other:
        await uploader.upload(b"older", name=path.name, folder_id=fake.folder_id)
        fake.add_fault(hold := Fault(on="create_stack", do="hold"))
        first = uploader.upload(path, folder_id=fake.folder_id, conflict="version").start()
        await reached(fake, hold)
        assert await other.resume_pending() == await uploader.resume_pending() == ()
        with pytest.raises(JournalError, match="in use by another upload or process"):
            await other.upload(path, folder_id=fake.folder_id, conflict="version")
        await uploader.shutdown(0)
        (second,) = await other.resume_pending()
        fake.release()
        assert (await second).id == first.file_id
    assert operations(fake).count("create") == 2


async def test_one_that_waits_for_its_confirmation_does_not_erase_what_was_begun_anew_since(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    fake.add_fault(asked := Fault(on="status", do="hold", times=1))
    async with uploader_on(fake, journal=journal) as uploader, uploader_on(fake, journal=journal) as other:
        first = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, asked)
        on_disk(os.utime, path)
        fake.add_fault(hold := Fault(do="hold", number=2))
        second = other.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        fake.release(asked)
        assert (await first).id != second.file_id
        assert [one.file_id for one in await uploader.pending()] == [second.file_id]
        fake.release(hold)
        await second
        assert (await uploader.pending(), len(fake.files)) == ((), 2)


# -- throwing away -----------------------------------------------------------------------------------------------------


async def test_a_discarded_upload_is_gone_with_its_placeholder(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    stopped = await stopped_at(fake, make_file(SIZE), journal, 3)
    async with uploader_on(fake, journal=journal) as uploader:
        await uploader.discard(stopped.file_id or "")
        assert await uploader.pending() == ()
        with pytest.raises(JournalError, match="holds no upload of file"):
            await uploader.discard(stopped.file_id or "")
    assert fake.files == ()


@pytest.mark.parametrize("lost", [False, True])
async def test_a_discarded_upload_whose_parts_had_all_arrived_keeps_its_file(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, lost: bool
) -> None:
    file_id = await sent_whole(fake, make_file(SIZE), journal)
    if lost:
        rows(journal, "DELETE FROM parts WHERE number = 5")
    async with uploader_on(fake, journal=journal) as uploader:
        await uploader.discard(file_id)
        assert await uploader.pending() == ()
    assert [file.id for file in fake.files] == [file_id]


async def test_a_placeholder_that_is_gone_can_be_discarded_and_one_that_cannot_be_asked_for_stays(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    stopped = await stopped_at(fake, make_file(SIZE), journal, 3)
    file_id = stopped.file_id or ""
    fake.add_fault(Fault(on="delete", status=403))
    async with uploader_on(fake, journal=journal) as uploader:
        with pytest.raises(UploadError):
            await uploader.discard(file_id)
        assert len(await uploader.pending()) == 1
        await uploader.delete(file_id)
        await uploader.discard(file_id)
        assert await uploader.pending() == ()


async def test_cancelling_a_resumed_upload_for_good_removes_it(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(SIZE)
    await stopped_at(fake, path, journal, 3)
    fake.add_fault(hold := Fault(do="hold", number=4))
    async with uploader_on(fake, journal=journal) as uploader:
        upload: Upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload
        assert (fake.files, await uploader.pending()) == ((), ())


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a clean-up take longer than the second in which it has to be over."""
    monkeypatch.setattr(control_module, "CLEAN_UP", 20.0)


@pytest.mark.usefixtures("slow_machine")
@pytest.mark.parametrize("verb", ["upload", "resume_pending"])
@pytest.mark.parametrize("moment", ["before its first step", "waiting for a place", "asking for its status"])
async def test_cancelling_for_good_what_is_not_yet_gone_on_with_removes_it_too(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, moment: str, verb: str
) -> None:
    path = make_file(SIZE)
    await stopped_at(fake, path, journal, 3)
    async with uploader_on(fake, journal=journal, limits=Limits(files=1, api_pacing=False)) as uploader:
        other = uploader.upload(b"x", name="other", folder_id=fake.folder_id)
        asked = Fault(on="status", do="hold", times=1)
        if moment == "waiting for a place":
            other.pause()
            await other.planned()
        elif moment == "asking for its status":
            fake.add_fault(asked)
        if verb == "upload":
            upload = uploader.upload(path, folder_id=fake.folder_id).start()
        else:
            (upload,) = await uploader.resume_pending()
        if moment == "waiting for a place":
            await anyio.wait_all_tasks_blocked()
        elif moment == "asking for its status":
            await reached(fake, asked)
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload
        assert [file.name for file in fake.files if file.name != "other"] == []
        assert (await uploader.pending(), locks(journal)) == ((), [])
        other.cancel()


@pytest.mark.usefixtures("slow_machine")
@pytest.mark.parametrize("lost", [0, 5])
async def test_cancelling_for_good_what_has_arrived_removes_nothing(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, lost: int
) -> None:
    """Neither where that is recorded, nor where only the service knows it."""
    path = make_file(SIZE)
    file_id = await sent_whole(fake, path, journal)
    rows(journal, f"DELETE FROM parts WHERE number = {lost}")
    fake.add_fault(asked := Fault(on="status", do="hold", times=1))
    async with uploader_on(fake, journal=journal) as uploader:
        (upload,) = await uploader.resume_pending()
        await reached(fake, asked)
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload
        assert [one.file_id for one in await uploader.pending()] == [file_id]
    assert one_finished(fake, path) == file_id


async def test_without_a_journal_nothing_can_be_asked_of_it(fake: FakeFrameio) -> None:
    async with uploader_on(fake, timeouts=Timeouts()) as uploader:
        for ask in (uploader.pending(), uploader.resume_pending(), uploader.discard("f1")):
            with pytest.raises(ValueError, match="no journal"):
                await ask


async def test_a_folder_goes_on_part_by_part(fake: FakeFrameio, tmp_path: Path, journal: Path) -> None:
    root = tmp_path / "shoot"
    on_disk(plant, root, {"a.wav": b"sound", "reel/take.mov": some_bytes(SIZE)})
    fake.add_fault(held := Fault(do="hold", name="take.mov", number=4))
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        uploader.upload_folder(root, folder_id=fake.folder_id).start()
        await reached(fake, held)
        await uploader.shutdown(0)
    fake.release(held)
    async with uploader_on(fake, journal=journal) as uploader:
        result = await uploader.upload_folder(root, folder_id=fake.folder_id)
        assert await uploader.pending() == ()
    assert "resumed" in {file.outcome for file in result.files}
    assert arrived(fake) == {f"shoot/{path}": digest for path, digest in on_disk(content_of, root).items()}
    assert [puts(fake)[number] for number in (2, 3, 4, 5)] == [1, 1, 2, 1]


async def test_a_file_of_a_folder_that_begins_anew_is_told_in_the_log(
    fake: FakeFrameio, tmp_path: Path, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder's listeners are told of no file's own events."""
    root = tmp_path / "shoot"
    on_disk(plant, root, {"reel/take.mov": some_bytes(SIZE)})
    fake.add_fault(held := Fault(do="hold", number=3))
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        uploader.upload_folder(root, folder_id=fake.folder_id).start()
        await reached(fake, held)
        await uploader.shutdown(0)
    fake.release(held)
    on_disk(os.utime, root / "reel" / "take.mov")
    with caplog.at_level("INFO", "aioframeio_upload"):
        async with uploader_on(fake, journal=journal) as uploader:
            await uploader.upload_folder(root, folder_id=fake.folder_id)
    told = [record.getMessage() for record in our_records(caplog) if record.levelname == "INFO"]
    assert told == ["'reel/take.mov' begins anew: the source has changed since"]
