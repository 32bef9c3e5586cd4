"""A source that is away for a moment has not changed: a journal keeps what was sent, and the next run goes on."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import FolderUploadError, SourceChanged, SourceError, Timeouts
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, reached, some_bytes, uploader_on
from tests.support.journals import ONE_BY_ONE, pending_in, stopped_at
from tests.support.seen import operations, puts

SIZE = 4 * PART + 1
STALL = 1.5
"""Seconds, where something hangs."""

REAL_STAT = os.stat
REAL_PREAD: Callable[[int, int, int], bytes] = getattr(os, "pread", None)  # type: ignore[assignment]


class Disk:
    """Where a file lies, and what the system answers there: by itself, or by what it was told to."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.number: int | None = None
        """The error that whatever is asked of the file ends in."""
        self.reads_fail = self.reads_end = self.hangs = False
        self.let_go = threading.Event()

    def stat(self, path: Any, **options: Any) -> os.stat_result:
        if self.path is not None and path == self.path and not self.reads_fail:
            self.answer()
        return REAL_STAT(path, **options)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        if self.is_ours(descriptor):
            if self.reads_end:
                return b""
            if self.reads_fail:
                self.answer()
        return REAL_PREAD(descriptor, size, offset)

    def preadv(self, *_: Any) -> int:
        raise BlockingIOError  # nothing of it is in the page cache

    def is_ours(self, descriptor: int) -> bool:
        return self.path is not None and os.path.samestat(os.fstat(descriptor), REAL_STAT(self.path))

    def answer(self) -> None:
        if self.hangs:
            self.let_go.wait(60)
        if self.number is not None:
            raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(os, "stat", disk.stat)
    if hasattr(os, "pread"):
        monkeypatch.setattr(os, "pread", disk.pread)
    if hasattr(os, "preadv"):
        monkeypatch.setattr(os, "preadv", disk.preadv)
    yield disk
    disk.let_go.set()


def unplugged(disk: Disk, path: Path) -> None:
    path.rename(path.with_name("unplugged"))


def unmounted(disk: Disk, path: Path) -> None:
    """The folder that it was mounted in is there, as a file even: ENOTDIR."""
    path.parent.rename(path.parent.with_name("unplugged"))
    path.parent.write_bytes(b"")


def plugged_in(disk: Disk, path: Path) -> None:
    for away, back in ((path.with_name("unplugged"), path), (path.parent.with_name("unplugged"), path.parent)):
        if away.exists():
            if back.is_file():
                back.unlink()
            away.rename(back)
    disk.path = disk.number = None
    disk.reads_fail = disk.reads_end = disk.hangs = False
    disk.let_go.set()


def answering(number: int, *, reads: bool = False) -> Callable[[Disk, Path], None]:
    def end(disk: Disk, path: Path) -> None:
        disk.path, disk.number, disk.reads_fail = str(path), number, reads

    return end


def reading_as_if_it_ended(disk: Disk, path: Path) -> None:
    disk.path, disk.reads_end = str(path), True


def hanging(disk: Disk, path: Path) -> None:
    disk.path, disk.hangs = str(path), True


def hanging_where_it_is_read(disk: Disk, path: Path) -> None:
    disk.path, disk.hangs, disk.reads_fail = str(path), True, True


NUMBERS = {name: getattr(errno, name) for name in ("EIO", "ESTALE", "ETIMEDOUT", "EACCES", "ENODEV", "EHOSTDOWN")}
WAYS: dict[str, Callable[[Disk, Path], None]] = {
    "unplugged": unplugged,
    "unmounted": unmounted,
    **{name: answering(number) for name, number in NUMBERS.items()},
    "EIO where it is read": answering(errno.EIO, reads=True),
    "ESTALE where it is read": answering(errno.ESTALE, reads=True),
    "read as if it ended": reading_as_if_it_ended,
    "no answer": hanging,
    "no answer where it is read": hanging_where_it_is_read,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file on a disk of its own."""
    place = tmp_path / "disk"
    on_disk(place.mkdir)
    on_disk((place / "take.mov").write_bytes, some_bytes(SIZE))
    return place / "take.mov"


async def away_at(
    fake: FakeFrameio, path: Path, way: Callable[[], None], journal: Path | None, number: int = 3
) -> SourceError:
    """Upload until a part is under way, then take the source away, and give the error."""
    fake.add_fault(hold := Fault(do="hold", number=number))
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE, timeouts=Timeouts(stall=STALL)) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(way)
        fake.release(hold)
        with pytest.raises(SourceError) as caught:
            await upload
    return caught.value


@pytest.mark.parametrize("conflict", ["create", "skip"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_with_a_journal_the_next_run_goes_on(
    fake: FakeFrameio, tmp_path: Path, path: Path, disk: Disk, way: Callable[[Disk, Path], None], conflict: Any
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    error = await away_at(fake, path, lambda: way(disk, path), journal)
    assert (type(error), error.is_away, error.path) == (SourceError, True, str(path))
    (pending,) = await pending_in(fake, journal)
    assert 0 < pending.bytes_confirmed < SIZE
    disk.let_go.clear()
    async with uploader_on(fake, journal=journal, timeouts=Timeouts(stall=STALL)) as uploader:  # still away
        with pytest.raises(SourceError) as caught:
            await uploader.upload(path, folder_id=fake.folder_id, conflict=conflict)
        assert caught.value.is_away
        (upload,) = await uploader.resume_pending()
        with pytest.raises(SourceError):
            await upload
        assert await uploader.pending() == (pending,)
        on_disk(plugged_in, disk, path)
        file = await uploader.upload(path, folder_id=fake.folder_id, conflict=conflict)
    assert (file.outcome, file.id, fake.deleted) == ("resumed", pending.file_id, ())
    assert (set(puts(fake).values()), operations(fake).count("create")) == ({1}, 1)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_without_a_journal_the_placeholder_goes(
    fake: FakeFrameio, path: Path, disk: Disk, way: Callable[[Disk, Path], None]
) -> None:
    error = await away_at(fake, path, lambda: way(disk, path), None)
    assert (type(error), error.is_away) == (SourceError, True)
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_what_is_back_as_another_file_begins_anew(fake: FakeFrameio, tmp_path: Path, path: Path) -> None:
    journal = tmp_path / "uploads.sqlite3"
    await away_at(fake, path, lambda: path.unlink(), journal)
    on_disk(path.write_bytes, some_bytes(SIZE - 1))
    async with uploader_on(fake, journal=journal) as uploader:
        file = await uploader.upload(path, folder_id=fake.folder_id)
        assert await uploader.pending() == ()
    assert (file.outcome, len(fake.files), len(fake.deleted)) == ("uploaded", 1, 1)


async def test_a_source_that_is_away_at_the_last_look_is_only_confirmed_by_the_next_run(
    fake: FakeFrameio, tmp_path: Path, path: Path, disk: Disk
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    await away_at(fake, path, lambda: unplugged(disk, path), journal, number=5)
    on_disk(plugged_in, disk, path)
    async with uploader_on(fake, journal=journal) as uploader:
        await uploader.upload(path, folder_id=fake.folder_id)
    assert (set(puts(fake).values()), len(fake.files), fake.deleted) == ({1}, 1, ())


async def test_a_cancel_of_one_whose_source_is_away_still_removes_it(
    fake: FakeFrameio, tmp_path: Path, path: Path, disk: Disk
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    fake.add_fault(hold := Fault(do="hold", number=3))
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(unplugged, disk, path)
        upload.cancel()
        await uploader.shutdown(0)
        assert (fake.files, await uploader.pending()) == ((), ())


# -- what it is now ----------------------------------------------------------------------------------------------------


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [a_directory, empty])
@pytest.mark.parametrize("conflict", ["create", "skip"])
async def test_a_source_that_is_nothing_to_send_any_more_removes_what_was_begun(
    fake: FakeFrameio, tmp_path: Path, path: Path, change: Callable[[Path], None], conflict: Any
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    await stopped_at(fake, path, journal, 3)
    on_disk(change, path)
    async with uploader_on(fake, journal=journal) as uploader:
        with pytest.raises(SourceError, match=r"is a folder|is empty") as caught:
            await uploader.upload(path, folder_id=fake.folder_id, conflict=conflict)
        assert not caught.value.is_away
        assert (fake.files, len(fake.deleted), await uploader.pending()) == ((), 1, ())


async def test_one_that_had_arrived_stays_although_its_source_is_a_directory_now(
    fake: FakeFrameio, tmp_path: Path, path: Path
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    await away_at(fake, path, lambda: path.unlink(), journal, number=5)
    on_disk(path.mkdir)
    async with uploader_on(fake, journal=journal) as uploader:
        (upload,) = await uploader.resume_pending()
        with pytest.raises(SourceError, match="is a folder"):
            await upload
        assert ([file.complete for file in fake.files], await uploader.pending()) == ([True], ())


async def test_a_service_that_does_not_answer_leaves_what_was_begun_of_such_a_source(
    fake: FakeFrameio, tmp_path: Path, path: Path
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    await stopped_at(fake, path, journal, 3)
    on_disk(empty, path)
    fake.add_fault(Fault(on="status", status=403, times=1))
    async with uploader_on(fake, journal=journal) as uploader:
        for left in (1, 0):
            with pytest.raises(SourceError, match="is empty"):
                await uploader.upload(path, folder_id=fake.folder_id)
            assert len(await uploader.pending()) == left


async def test_a_wrong_size_does_not_cost_what_was_sent_of_an_unchanged_source(
    fake: FakeFrameio, tmp_path: Path, path: Path
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    await stopped_at(fake, path, journal, 3)
    async with uploader_on(fake, journal=journal) as uploader:
        with pytest.raises(SourceError, match="as declared"):
            await uploader.upload(path, folder_id=fake.folder_id, size=SIZE - 1)
        assert len(await uploader.pending()) == 1
        on_disk(os.truncate, path, SIZE - 2)
        with pytest.raises(SourceError, match="as declared"):
            await uploader.upload(path, folder_id=fake.folder_id, size=SIZE)
        assert (fake.files, await uploader.pending()) == ((), ())


async def test_a_file_that_shrinks_while_it_is_read_has_changed(fake: FakeFrameio, tmp_path: Path, path: Path) -> None:
    journal = tmp_path / "uploads.sqlite3"
    error = await away_at(fake, path, lambda: os.truncate(path, 3 * PART + 5), journal)
    assert isinstance(error, SourceChanged)
    assert not error.is_away
    assert (fake.files, await pending_in(fake, journal)) == ((), ())


# -- in a folder -------------------------------------------------------------------------------------------------------


async def test_a_file_of_a_folder_that_is_away_is_a_failed_file_and_the_next_run_goes_on(
    fake: FakeFrameio, tmp_path: Path, path: Path, disk: Disk
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    fake.add_fault(hold := Fault(do="hold", number=3))
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        folder = uploader.upload_folder(path.parent, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(unplugged, disk, path)
        fake.release(hold)
        with pytest.raises(FolderUploadError) as caught:
            await folder
        (failed,) = caught.value.result.failures
        assert isinstance(failed.error, SourceError)
        assert failed.error.is_away
        assert len(await uploader.pending()) == 1
        on_disk(plugged_in, disk, path)
        result = await uploader.upload_folder(path.parent, folder_id=fake.folder_id)
    assert [file.outcome for file in result.files] == ["resumed"]
    assert set(puts(fake).values()) == {1}


# -- the caller's objects ----------------------------------------------------------------------------------------------


async def test_a_stream_that_raises_an_oserror_is_away_and_no_journal_keeps_it(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield some_bytes(SIZE)[: 2 * PART]
        raise OSError(errno.EIO, "Input/output error")

    async with uploader_on(fake, journal=tmp_path / "uploads.sqlite3") as uploader:
        with pytest.raises(SourceError, match="the stream cannot be read") as caught:
            await uploader.upload(cut(), name="a", size=SIZE, folder_id=fake.folder_id)
        assert (caught.value.is_away, await uploader.pending(), fake.files) == (True, (), ())
