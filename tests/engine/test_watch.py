"""A watched folder: what settles is sent, once, whatever happens to the folder, the disk or the process."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    AuthenticationError,
    FileCompleted,
    FileFailed,
    FileSkipped,
    FileStarted,
    Limits,
    NotFound,
    RetryPolicy,
    SourceError,
    UploadCancelled,
    Uploader,
    UploadFailed,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, on_disk, our_records, reached, some_bytes, uploader_on
from tests.engine.test_conflict import stacks
from tests.support.trees import arrived, content_of, folders, plant
from tests.support.watching import Seen, SetClock, SetReports, no_reports, watched


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
async def clock() -> SetClock:
    return SetClock()


def put(root: Path, name: str, content: bytes | int = b"x", modified_ns: int | None = None) -> None:
    path = root / name
    on_disk(path.parent.mkdir, parents=True, exist_ok=True)
    on_disk(path.write_bytes, content if isinstance(content, bytes) else some_bytes(content))
    if modified_ns is not None:
        on_disk(os.utime, path, ns=(modified_ns, modified_ns))


def is_same(fake: FakeFrameio, root: Path) -> bool:
    return arrived(fake) == on_disk(content_of, root)


async def test_what_is_there_and_what_comes_is_sent_when_it_has_settled(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    put(root, "a.mov", 3 * PART)
    async with watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        await clock.advance(9.9)
        assert fake.files == ()
        await clock.advance(0.2)
        await seen.until(FileCompleted, 1)
        put(root, "sub/b.mov")
        await clock.advance(20)
        await seen.until(FileCompleted, 2)
    assert is_same(fake, root)
    await seen.end()
    assert watch.result is None
    assert folders(fake) == ["sub"]


# -- how files come ----------------------------------------------------------------------------------------------------


async def test_a_card_that_is_copied_in_for_minutes_is_sent_file_by_file(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    names = [f"DCIM/100/C{number:04}.MP4" for number in range(40)]
    async with watched(uploader, fake, root, clock, settle=5) as watch:
        seen = Seen(watch)
        for half in range(2 * len(names) + 1):
            if half < 2 * len(names):
                put(root, names[half // 2], b"x" * (1 + half % 2) * 100)  # it is half there, then whole
            await clock.advance(2)
        await clock.advance(10)
        await seen.until(FileCompleted, len(names))
    assert is_same(fake, root)
    assert len(fake.files) == len(names)
    assert seen.of(FileFailed) == []


@pytest.mark.parametrize(
    "temporary", ["f.{}.exr.tmp", ".f.{}.exr.aB3dE9", "f.{}.exr.part", "f.{}.exr.sb-0a1b2c3d-Xyz123"]
)
async def test_a_frame_that_is_renamed_when_it_is_whole_is_sent_by_its_name(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock, temporary: str
) -> None:
    async with watched(uploader, fake, root, clock, settle=1) as watch:
        seen = Seen(watch)
        for number in range(4):
            put(root, temporary.format(number), f"half of {number}".encode())
            await clock.advance(30)  # the renderer takes far longer than `settle`
            put(root, temporary.format(number), f"frame {number}".encode())
            on_disk(os.rename, root / temporary.format(number), root / f"f.{number}.exr")
            await clock.advance(5)
        await seen.until(FileCompleted, 4)
    assert is_same(fake, root)
    assert seen.paths(FileStarted) == [f"f.{number}.exr" for number in range(4)]


async def test_an_export_that_pauses_for_less_than_the_time_to_settle_is_sent_once(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    async with watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        for size in range(1, 8):
            put(root, "export.mov", size * 1000)
            await clock.advance(9)
            assert fake.files == ()
        await clock.advance(10)
        await seen.until(FileCompleted, 1)
    assert is_same(fake, root)
    assert seen.paths(FileStarted) == ["export.mov"]


async def test_a_file_that_changes_while_it_is_sent_is_sent_again_when_it_has_settled(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    fake.add_fault(held := Fault(on="part", do="hold"))
    put(root, "export.mov", 1000)
    async with watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await reached(fake, held)
        put(root, "export.mov", 2000)
        fake.release()
        await seen.until(FileFailed, 1)
        await clock.advance(40)
        await seen.until(FileCompleted, 1)
    assert is_same(fake, root)
    assert len(fake.files) == 1, "the first attempt was deleted"


async def test_what_vanishes_before_its_turn_is_no_failure(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    reports = SetReports()
    for name in ("a.mov", "b.mov", "sub/c.mov", "sub/d.mov"):
        put(root, name)
    async with watched(uploader, fake, root, clock, reports) as watch:
        seen = Seen(watch)
        await clock.advance(5)
        on_disk((root / "a.mov").unlink)  # and nothing reports it
        on_disk(shutil.rmtree, root / "sub")
        reports.report("sub")
        await clock.advance(10)
        await seen.until(FileCompleted, 1)
    assert is_same(fake, root)
    assert (seen.of(FileFailed), seen.of(FileSkipped)) == ([], [])


async def test_what_vanishes_between_its_turn_and_its_first_byte_is_no_failure(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    put(root, "sub/a.mov")
    fake.add_fault(held := Fault(on="create_folder", do="hold"))
    async with watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await reached(fake, held)
        on_disk((root / "sub/a.mov").unlink)
        fake.release()
        put(root, "b.mov")
        await clock.advance(20)
        await seen.until(FileCompleted, 1)
    assert is_same(fake, root)
    assert (seen.paths(FileStarted), seen.of(FileFailed)) == (["b.mov"], [])


@pytest.mark.parametrize("is_reported", [True, False])
async def test_a_folder_that_is_moved_in_is_sent_whole(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock, tmp_path: Path, is_reported: bool
) -> None:
    on_disk(plant, tmp_path / "shoot", "a.mov b/c.mov b/d/e.mov .hidden b/x.part")
    reports = SetReports()
    async with watched(uploader, fake, root, clock, reports if is_reported else no_reports) as watch:
        seen = Seen(watch)
        await clock.advance(1)
        on_disk(os.rename, tmp_path / "shoot", root / "shoot")
        reports.report("shoot")  # as inotify: the folder alone
        await clock.advance(16)
        await seen.until(FileCompleted, 3)
    assert set(arrived(fake)) == {"shoot/a.mov", "shoot/b/c.mov", "shoot/b/d/e.mov"}


async def test_patterns_choose_what_is_sent_however_it_is_found(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    reports = SetReports()
    put(root, "a.mov")
    put(root, "a.wav")
    async with watched(
        uploader, fake, root, clock, reports, include=("*.mov", "keep"), exclude=("cache", "*_proxy.mov")
    ) as watch:
        seen = Seen(watch)
        await clock.advance(1)
        names = ("cache/b.mov", "b_proxy.mov", "sub/cache/c.mov", "sub/d.mov", "sub/keep/e.wav", "e.wav", "sub/.f.mov")
        for name in names:
            put(root, name)
        reports.report(*names)
        await clock.advance(12)
        await seen.until(FileCompleted, 3)
        await clock.advance(60)
    assert set(arrived(fake)) == {"a.mov", "sub/d.mov", "sub/keep/e.wav"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
async def test_links_to_folders_are_not_followed_and_what_cannot_be_read_is_reported_once(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock, tmp_path: Path
) -> None:
    on_disk(plant, tmp_path / "outside", "secret.mov")
    on_disk(os.symlink, tmp_path / "outside", root / "link")
    on_disk(os.symlink, tmp_path / "outside" / "secret.mov", root / "file.mov")
    on_disk(os.mkfifo, root / "pipe")
    on_disk(os.symlink, tmp_path / "nowhere", root / "dangling")
    put(root, "empty.mov", b"")
    reports = SetReports()
    async with watched(uploader, fake, root, clock, reports) as watch:
        seen = Seen(watch)
        await clock.advance(1)
        reports.report("link", "link/secret.mov", "pipe", "dangling", "../outside/secret.mov", "", ".")
        await clock.advance(200)
        await seen.until(FileCompleted, 1)
    assert list(arrived(fake)) == ["file.mov"]
    assert sorted(seen.paths(FileFailed)) == ["dangling", "pipe"]
    assert seen.paths(FileSkipped) == ["empty.mov"]


async def test_a_file_that_was_empty_is_sent_when_it_has_content(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    put(root, "a.mov", b"")
    async with watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        await clock.advance(30)
        await seen.until(FileSkipped, 1)
        put(root, "a.mov", b"now")
        await clock.advance(30)
        await seen.until(FileCompleted, 1)
    assert is_same(fake, root)


# -- files that were sent ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conflict", ["skip", "create", "version"])
@pytest.mark.parametrize("is_older", [False, True])
async def test_a_file_that_is_replaced_after_it_was_sent_is_sent_again(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock, conflict: str, is_older: bool
) -> None:
    put(root, "a.dpx", b"first", modified_ns=10**18)
    async with watched(uploader, fake, root, clock, conflict=conflict) as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until(FileCompleted, 1)
        for round, content in enumerate((b"again", b"third"), 2):
            # Of the same size, as frames are, and perhaps with a preserved time that is older than the upload.
            put(root, "a.dpx", content, modified_ns=(10**18 - round if is_older else None))
            await clock.advance(20)
            await seen.until(FileCompleted, round)
    assert seen.of(FileSkipped) == []
    assert {file.sha256 for file in fake.files} >= {on_disk(content_of, root)["a.dpx"]}
    assert len(fake.files) == 3
    assert stacks(fake) == ([[file.id for file in fake.files]] if conflict == "version" else [])


async def test_what_was_sent_and_only_touched_otherwise_is_not_sent_again(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    reports = SetReports()
    put(root, "a.mov")
    async with watched(uploader, fake, root, clock, reports, conflict="create") as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until(FileCompleted, 1)
        on_disk((root / "a.mov").chmod, 0o600)
        reports.report("a.mov", lost=True)
        await clock.advance(100)
        on_disk(os.rename, root / "a.mov", root / "b.mov")
        on_disk(os.rename, root / "b.mov", root / "a.mov")
        reports.report("a.mov", "b.mov")
        await clock.advance(100)
    assert (len(fake.files), seen.of(FileSkipped)) == (1, [])


@pytest.mark.parametrize("conflict", ["skip", "create", "version"])
async def test_a_second_watch_sends_only_what_has_changed_since(
    fake: FakeFrameio, uploader: Uploader, root: Path, conflict: str
) -> None:
    on_disk(plant, root, "a.mov b.mov sub/c.mov")
    for expected in (3, 0, 1):
        if expected == 1:
            put(root, "b.mov", b"another")
        clock = SetClock()
        async with watched(uploader, fake, root, clock, conflict=conflict) as watch:
            seen = Seen(watch)
            await clock.advance(11)
            await seen.until(FileSkipped, 3 - expected)
            await seen.until(FileCompleted, expected)
        await seen.end()
        assert len(seen.of(FileCompleted)) == expected
    assert len(fake.files) == 4
    assert len(stacks(fake)) == (conflict == "version")


async def test_times_of_another_clock_change_nothing(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    """The share's clock is a day ahead, or a year behind: a file settles by our clock, and is sent once."""
    now = time.time_ns()
    put(root, "ahead.mov", modified_ns=now + 86_400 * 10**9)
    put(root, "behind.mov", modified_ns=now - 365 * 86_400 * 10**9)
    for run in range(2):
        clock = SetClock()
        async with watched(uploader, fake, root, clock) as watch:
            seen = Seen(watch)
            await clock.advance(9.9)
            assert len(fake.files) == 2 * run
            await clock.advance(0.2)
            await seen.until(FileSkipped if run else FileCompleted, 2)
    assert is_same(fake, root)
    assert len(fake.files) == 2


# -- the disk, the share and the system's reports ----------------------------------------------------------------------


@pytest.mark.parametrize("is_replaced", [False, True], ids=["missing", "empty mount point"])
async def test_a_disk_may_be_unplugged_and_plugged_in_again(
    fake: FakeFrameio,
    uploader: Uploader,
    root: Path,
    clock: SetClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    is_replaced: bool,
) -> None:
    reports = SetReports()
    put(root, "a.mov")
    put(root, "slow.mov", 2 * PART)
    fake.add_fault(held := Fault(on="part", do="hold", name="slow.mov", number=1))
    async with watched(uploader, fake, root, clock, reports) as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until(FileCompleted, 1)
        await reached(fake, held)
        put(root, "b.mov")
        reports.report("b.mov")
        await clock.advance(1)
        on_disk(os.rename, root, tmp_path / "unplugged")
        if is_replaced:
            on_disk(root.mkdir)
        fake.release()
        await clock.advance(120)
        await seen.until(FileFailed, 1)
        assert len(fake.files) == 1
        if is_replaced:
            on_disk(root.rmdir)
        on_disk(os.rename, tmp_path / "unplugged", root)
        await clock.advance(25)
        await seen.until(FileCompleted, 3)
    assert is_same(fake, root)
    assert len(fake.files) == 3
    assert seen.paths(FileFailed) == ["slow.mov"]
    assert reports.opened == (3 if is_replaced else 2)
    assert not reports.is_open
    if not is_replaced:
        assert "cannot be watched until it is back" in our_records(caplog)[0].getMessage()


async def test_another_disk_under_the_same_path_is_not_taken_for_the_first(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock, tmp_path: Path
) -> None:
    reports = SetReports()
    put(root, "waits.mov", b"first card")
    on_disk(plant, tmp_path / "second", {"waits.mov": b"other card", "b.mov": b"b"})
    async with watched(uploader, fake, root, clock, reports) as watch:
        seen = Seen(watch)
        await clock.advance(8)
        on_disk(os.rename, root, tmp_path / "first")
        on_disk(os.rename, tmp_path / "second", root)
        await clock.advance(30)
        await seen.until(FileCompleted, 2)
    assert is_same(fake, root)
    assert len(fake.files) == 2


async def test_a_share_that_reports_nothing_is_read_at_intervals(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    async with watched(uploader, fake, root, clock, no_reports) as watch:
        seen = Seen(watch)
        for number in range(3):
            put(root, f"{number}.mov", b"x" * 10)
            await clock.advance(2)
            put(root, f"{number}.mov", b"x" * 20)
            await clock.advance(16)  # five seconds until it is read, ten until it has settled
            await seen.until(FileCompleted, number + 1)
    assert is_same(fake, root)
    assert len(fake.files) == 3


async def test_what_the_system_did_not_report_is_found_later(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    reports = SetReports()
    async with watched(uploader, fake, root, clock, reports) as watch:
        seen = Seen(watch)
        await clock.advance(1)
        put(root, "unreported.mov")
        await clock.advance(45)
        await seen.until(FileCompleted, 1)
        put(root, "lost.mov")
        reports.report(lost=True)
        await clock.advance(16)
        await seen.until(FileCompleted, 2)
    assert is_same(fake, root)
    assert reports.opened == 2, "reports that were lost are listened to anew"


async def test_a_folder_that_is_missing_at_the_start_is_an_error(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    put(root, "file")
    for path, reason in ((root / "nowhere", "No such file"), (root / "file", "is not a folder")):
        with pytest.raises(SourceError, match=reason):
            await uploader.watch_folder(path, folder_id=fake.folder_id)
    assert fake.requests == []


# -- failures ----------------------------------------------------------------------------------------------------------


async def test_what_fails_is_tried_again_after_a_growing_pause_or_when_it_changes(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    fake.add_fault(Fault(on="part", status=403, code="SignatureDoesNotMatch", name="a.mov", times=None))
    put(root, "a.mov")
    put(root, "b.mov")
    async with watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        await clock.advance(10)
        await seen.until(FileFailed, 1)
        for failures, pause in enumerate((30, 60, 120), 1):
            await clock.advance(pause - 1)
            assert len(seen.of(FileFailed)) == failures
            await clock.advance(2)
            await seen.until(FileFailed, failures + 1)
        put(root, "a.mov", b"changed")
        await clock.advance(16)
        await seen.until(FileFailed, 5)
        await clock.advance(31)
        await seen.until(FileFailed, 6)
    assert [file.name for file in fake.files] == ["b.mov"], "what was rejected was deleted each time"
    assert watch.result is None


async def test_a_token_that_is_refused_ends_the_watch(fake: FakeFrameio, root: Path, clock: SetClock) -> None:
    put(root, "a.mov")
    token = fake.token
    async with Uploader(lambda: token, account_id=fake.account_id, base_url=fake.url) as uploader:
        watch = watched(uploader, fake, root, clock).start()
        await clock.advance(5)
        token = "revoked"
        clock.time += 20
        clock.wake()
        with pytest.raises(AuthenticationError):
            await watch


async def test_a_target_that_is_refused_is_an_error_at_once(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    with pytest.raises(NotFound):
        await uploader.watch_folder(root, folder_id="no-such-folder")


async def test_a_service_that_is_away_at_the_start_is_waited_for(
    fake: FakeFrameio, root: Path, clock: SetClock
) -> None:
    put(root, "a.mov")
    fake.add_fault(Fault(on="list_children", status=503, times=4))
    few = RetryPolicy(attempts=2, base=0.01, cap=0.01)
    async with uploader_on(fake, retry=few) as uploader, watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until(FileFailed, 1)
        await clock.advance(31)
        await seen.until(FileCompleted, 1)
    assert is_same(fake, root)


async def test_a_remote_folder_that_is_deleted_is_made_anew(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    put(root, "sub/a.mov")
    async with watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until(FileCompleted, 1)
        store = fake._account.store
        (folder_id,) = (id for id, one in store.assets.items() if one.name == "sub")
        del store.assets[folder_id], store.assets[fake.files[0].id]
        put(root, "sub/b.mov")
        await clock.advance(20)
        await seen.until(FileFailed, 1)
        await clock.advance(31)
        await seen.until(FileCompleted, 2)
    assert list(arrived(fake)) == ["sub/b.mov"]


# -- starting and stopping ---------------------------------------------------------------------------------------------


async def test_stop_finishes_what_was_begun_and_begins_nothing_else(
    fake: FakeFrameio, root: Path, clock: SetClock
) -> None:
    fake.add_fault(held := Fault(on="part", do="hold", name="a.mov"))
    for name in ("a.mov", "b.mov"):
        put(root, name)
    async with uploader_on(fake, limits=Limits(files=1, api_pacing=False)) as uploader:
        watch = watched(uploader, fake, root, clock).start()
        seen = Seen(watch)
        await clock.idle()
        clock.time += 11
        clock.wake()
        await reached(fake, held)
        watch.stop()
        watch.stop()
        assert not watch.done
        fake.release()
        await watch
    assert list(arrived(fake)) == ["a.mov"]
    await seen.end()
    assert seen.paths(FileStarted) == ["a.mov"]
    watch.stop()


async def test_stopping_ends_a_pause(fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock) -> None:
    put(root, "a.mov")
    watch = watched(uploader, fake, root, clock).start()
    watch.pause()
    await clock.idle()
    clock.time += 11
    clock.wake()
    watch.stop()
    await watch
    assert fake.files == ()


async def test_cancel_deletes_what_is_not_whole_and_a_cancellation_stops(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    fake.add_fault(held := Fault(on="part", do="hold", times=None))
    put(root, "a.mov")
    watch = watched(uploader, fake, root, clock).start()
    seen = Seen(watch)
    await clock.advance(11)
    await reached(fake, held)
    watch.cancel()
    with pytest.raises(UploadCancelled):
        await watch
    await seen.end()
    assert isinstance(seen.events[-1], UploadFailed)
    assert fake.files == ()
    task = asyncio.create_task(watched(uploader, fake, root, SetClock()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("how", ["leave", "shutdown"])
async def test_leaving_the_uploader_stops_an_idle_watch(
    fake: FakeFrameio, root: Path, clock: SetClock, how: str
) -> None:
    async with uploader_on(fake) as uploader:
        watch = watched(uploader, fake, root, clock).start()
        assert uploader.uploads == (watch,)
        await clock.idle()
        if how == "shutdown":
            await uploader.shutdown(grace=20)
    assert watch.result is None


async def test_a_watch_that_waits_holds_no_slot(fake: FakeFrameio, root: Path, make_file: Any) -> None:
    clocks = SetClock(), SetClock()
    async with uploader_on(fake, limits=Limits(files=1, api_pacing=False)) as uploader:
        watches = [watched(uploader, fake, root, clock).start() for clock in clocks]
        for clock in clocks:
            await clock.idle()
        async with asyncio.timeout(20):
            await uploader.upload(make_file(10), folder_id=fake.folder_id)
    assert [watch.result for watch in watches] == [None, None]


async def test_nothing_is_kept_of_what_was_sent(
    fake: FakeFrameio, uploader: Uploader, root: Path, clock: SetClock
) -> None:
    async with watched(uploader, fake, root, clock) as watch:
        seen = Seen(watch)
        for number in range(3):
            for name in range(20):
                put(root, f"{number}/{name}.mov", f"{number} {name}".encode())
            await clock.advance(20)
            await seen.until(FileCompleted, 20 * (number + 1))
        await clock.advance(20)
        held = watch._events
        assert held.facts == []
        assert watch.progress is not None
    assert watch.progress.bytes_uploaded == watch.progress.total_bytes
    assert (watch.progress.parts_completed, watch.progress.total_parts) == (60, 60)


async def test_wrong_arguments_are_refused_and_a_watch_that_is_not_used_warns(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="settle"):
            uploader.watch_folder(root, folder_id="f", settle=wrong)
    with pytest.raises(ValueError, match="conflict"):
        uploader.watch_folder(root, folder_id="f", conflict="replace")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="path"):
        uploader.watch_folder(b"in", folder_id="f")  # type: ignore[arg-type]
    watch = uploader.watch_folder(root, folder_id="f")
    assert (watch.name, watch.source, watch.folder_id) == ("in", root, "f")
    with pytest.warns(RuntimeWarning, match="never awaited"):
        del watch


# -- the system's own reports ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("how", ["reports", "no extra", "forced"])
async def test_a_folder_is_watched_with_and_without_the_extra(
    fake: FakeFrameio,
    uploader: Uploader,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    if how == "no extra":
        monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
        caplog.set_level("INFO")
    elif how == "forced":
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    put(root, "a.mov", 2 * PART)
    async with uploader.watch_folder(root, folder_id=fake.folder_id, settle=0.05) as watch:
        seen = Seen(watch)
        await seen.until(FileCompleted, 1)
        on_disk(plant, tmp_path / "shoot", "b.mov c/d.mov")
        on_disk(os.rename, tmp_path / "shoot", root / "shoot")
        await seen.until(FileCompleted, 3)
        put(root, "a.mov", b"replaced")
        await seen.until(FileCompleted, 4)
    assert is_same(fake, root)
    assert ("aioframeio-upload[watch]" in caplog.text) == (how == "no extra")


@pytest.mark.skipif(sys.platform != "linux", reason="its names are bytes, and watchfiles ends at one that is no text")
async def test_reports_that_end_are_listened_to_anew(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    async with uploader.watch_folder(root, folder_id=fake.folder_id, settle=0.05) as watch:
        seen = Seen(watch)
        put(root, "a.mov")
        await seen.until(FileCompleted, 1)
        put(root, os.fsdecode(b"caf\xe9.mov"))
        put(root, "b.mov")
        await seen.until(FileCompleted, 2)
        await seen.until(FileFailed, 1)
        put(root, "c.mov")
        await seen.until(FileCompleted, 3)
    assert sorted(arrived(fake)) == ["a.mov", "b.mov", "c.mov"]
