"""A journal is refused or protected if others may write to its folder or read its files."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import Journal, JournalError, Uploader
from aioframeio_upload._io.journal_sqlite import SqliteJournal
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, our_records, reached, uploader_on
from tests.support.journals import mode, pending_in, stopped_at

SIZE = 4 * PART
BESIDE = ["-wal", "-shm", "-journal"]

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes and owners of this kind")
as_root = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a file to another user"
)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Create a journal and return its path."""
    path = tmp_path / "uploads.sqlite3"
    on_disk(lambda: SqliteJournal(str(path), True).close())
    return path


def a_link(path: Path) -> None:
    other = path.with_name("elsewhere")
    other.write_bytes(b"")
    path.symlink_to(other)


def a_fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def another_users(path: Path) -> None:
    path.write_bytes(b"planted")
    path.chmod(0o600)
    os.chown(path, 12345, 12345)


def writable_by_all(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o666)


def a_second_name(path: Path) -> None:
    other = path.with_name("mine")
    other.write_bytes(b"precious")
    other.chmod(0o600)
    os.link(other, path)


PLANTED: list[Any] = [
    pytest.param(a_link, "is a symbolic link", marks=unix),
    pytest.param(a_fifo, "is not a regular file", marks=unix),
    pytest.param(writable_by_all, r"may be written to by other users \(mode 666\)", marks=unix),
    pytest.param(a_second_name, "is a hard link", marks=unix),
    pytest.param(another_users, "belongs to another user", marks=as_root),
]


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize(("plant", "reason"), PLANTED)
async def test_what_was_planted_beside_a_journal_is_refused_and_left_as_it_is(
    fake: FakeFrameio, journal: Path, beside: str, plant: Callable[[Path], None], reason: str
) -> None:
    planted = journal.with_name(f"{journal.name}{beside}")
    on_disk(plant, planted)
    before = on_disk(os.lstat, planted)
    with pytest.raises(JournalError, match=f"uploads.sqlite3{beside}, which belongs to it, {reason}") as caught:
        await pending_in(fake, journal)
    assert caught.value.path == str(journal)
    after = on_disk(os.lstat, planted)
    assert (after.st_mode, after.st_uid, after.st_size) == (before.st_mode, before.st_uid, before.st_size)


@pytest.mark.parametrize(("plant", "reason"), [one for one in PLANTED if one.values[0] is not writable_by_all])
async def test_what_was_planted_in_a_journals_place_is_refused(
    fake: FakeFrameio, tmp_path: Path, plant: Callable[[Path], None], reason: str
) -> None:
    on_disk(plant, tmp_path / "uploads.sqlite3")
    with pytest.raises(JournalError, match=reason):
        await pending_in(fake, tmp_path / "uploads.sqlite3")


@unix
async def test_a_journal_that_all_may_write_to_is_refused(fake: FakeFrameio, journal: Path) -> None:
    on_disk(journal.chmod, 0o666)
    with pytest.raises(JournalError, match="may be written to by other users"):
        await pending_in(fake, journal)


@as_root
async def test_a_wal_with_an_upload_in_it_that_another_user_planted_uploads_nothing(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, tmp_path: Path
) -> None:
    """The attack: the entry of another user names a file that only we can read, and a folder of that user."""
    theirs = tmp_path / "theirs.sqlite3"
    fake.add_fault(hold := Fault(do="hold"))
    async with uploader_on(fake, journal=theirs) as uploader:
        upload = uploader.upload(make_file(SIZE, "secret"), folder_id=fake.folder_id).start()
        await reached(fake, hold)
        wal = on_disk(theirs.with_name("theirs.sqlite3-wal").read_bytes)
        upload.cancel()
        fake.release()
    planted = journal.with_name("uploads.sqlite3-wal")
    on_disk(planted.write_bytes, wal)
    on_disk(os.chown, planted, 12345, 12345)
    with pytest.raises(JournalError, match="-wal, which belongs to it, belongs to another user"):
        async with uploader_on(fake, journal=journal) as uploader:
            await uploader.resume_pending()


@unix
async def test_a_journal_that_was_restored_readable_by_all_goes_on_and_is_hidden(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    """As after a restore by `cp -r`: the WAL is full of links."""
    journal, copy = tmp_path / "uploads.sqlite3", tmp_path / "copy" / "uploads.sqlite3"
    fake.add_fault(hold := Fault(do="hold", number=3))

    def restore() -> None:
        copy.parent.mkdir(0o700)
        for suffix in ("", "-wal"):
            to = copy.with_name(f"{copy.name}{suffix}")
            to.write_bytes(journal.with_name(f"{journal.name}{suffix}").read_bytes())
            to.chmod(0o644)

    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(make_file(SIZE), folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(restore)
        async with uploader_on(fake, journal=copy) as other:
            assert [one.file_id for one in await other.pending()] == [upload.file_id]
            found = {name: mode(copy.parent / name) for name in on_disk(os.listdir, copy.parent)}
            assert set(found.values()) == {0o600}, found
        fake.release()
        await upload


# -- the folder --------------------------------------------------------------------------------------------------------


def writable(folder: Path) -> None:
    folder.chmod(0o777)


def writable_by_a_group(folder: Path) -> None:
    os.chown(folder, -1, 12345)
    folder.chmod(0o770)


def a_strangers(folder: Path) -> None:
    os.chown(folder, 12345, 12345)


def ours_and_sticky(folder: Path) -> None:
    folder.chmod(0o1777)


def readable(folder: Path) -> None:
    folder.chmod(0o755)


@unix
@pytest.mark.parametrize(
    ("make", "warning"),
    [
        (writable, "may be written to by other users (mode 777)"),
        pytest.param(writable_by_a_group, "may be written to by other users (mode 770)", marks=as_root),
        pytest.param(a_strangers, "belongs to another user (uid 12345)", marks=as_root),
        (ours_and_sticky, None),
        (readable, None),
    ],
)
async def test_a_folder_that_others_may_write_to_is_warned_about(
    fake: FakeFrameio,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Path], None],
    warning: str | None,
) -> None:
    folder = tmp_path / "shared"
    on_disk(folder.mkdir)
    on_disk(make, folder)
    assert await pending_in(fake, folder / "uploads.sqlite3") == ()
    told = [record.getMessage() for record in our_records(caplog)]
    assert len(told) == (warning is not None)
    assert all(f"its folder {warning}" in one for one in told)


# -- the claims --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plant", "reason"), PLANTED)
async def test_a_claim_that_was_planted_stops_its_own_upload_only(
    fake: FakeFrameio,
    make_file: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    plant: Callable[[Path], None],
    reason: str,
) -> None:
    journal = tmp_path / "journal" / "uploads.sqlite3"
    fake.add_fault(hold := Fault(do="hold", number=3))
    path = make_file(SIZE)
    async with uploader_on(fake, journal=journal) as uploader:
        uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        (claim,) = [
            name for name in on_disk(os.listdir, journal.parent) if name.endswith(".lock") and "owner" not in name
        ]
        await uploader.shutdown(0)
    fake.release(hold)
    other = await stopped_at(fake, make_file(SIZE - 1, "other.mov"), journal, 2)
    on_disk(plant, journal.parent / claim)
    async with uploader_on(fake, journal=journal) as uploader:
        with pytest.raises(JournalError, match=reason):
            await uploader.upload(path, folder_id=fake.folder_id)
        (upload,) = await uploader.resume_pending()
        assert (await upload).id == other.file_id
    (told,) = our_records(caplog)
    assert claim in told.getMessage()


@unix
async def test_without_flock_an_upload_goes_on_and_is_still_owned_by_one(
    fake: FakeFrameio,
    make_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As on some network file systems; warnings are errors here."""
    import fcntl

    def missing(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "no flock")

    monkeypatch.setattr(fcntl, "flock", missing)
    path, journal = make_file(SIZE), tmp_path / "journal" / "uploads.sqlite3"
    fake.add_fault(hold := Fault(do="hold", number=2))
    async with uploader_on(fake, journal=journal) as uploader, uploader_on(fake, journal=journal) as other:
        first = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        with pytest.raises(JournalError, match="in use by another upload or process"):
            await other.upload(path, folder_id=fake.folder_id)
        fake.release()
        assert (await first).status == "uploaded"
        await other.upload(path, folder_id=fake.folder_id)
    assert not [name for name in on_disk(os.listdir, journal.parent) if "lock" in name]
    assert {"its file system has no locks" in record.getMessage() for record in our_records(caplog)} == {True}


# -- what is no path ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [":memory:", Path(":memory:"), "file:uploads.db", "FILE:u?mode=memory", "", "a\0b"])
async def test_what_can_be_no_journals_path_is_refused_in_words(fake: FakeFrameio, path: Any) -> None:
    for make in (lambda: Journal(path), lambda: uploader_on(fake, journal=path)):
        with pytest.raises(ValueError, match="journal"):
            make()


async def test_a_path_of_bytes_is_refused() -> None:
    path: Any = b"uploads.sqlite3"
    with pytest.raises(TypeError, match="not text"):
        Uploader("token", journal=path)
