"""The journal remembers which files were sent from this machine, within bounds, and at the cost of erasing an entry."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from aioframeio_upload import Timeouts
from aioframeio_upload._core.journal import Entry, Fingerprint, Identity, SentFile
from aioframeio_upload._core.model import Part, Plan
from aioframeio_upload._engine.resume import JournalSession
from aioframeio_upload._io import journal_sqlite
from aioframeio_upload._io.journal import AsyncJournal, Journal
from aioframeio_upload._io.journal_sqlite import SqliteJournal
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_disk, uploader_on
from tests.support.journals import rows, stopped_at
from tests.support.seen import operations

NAMES = ["C0001.MP4", "C0002.MP4"]


def sent(file_id: str, path: str = "/card/C0001.MP4") -> SentFile:
    return SentFile(file_id, path, 10, 1_700_000_000_000_000_001, "AAAAAAAAAAA=", ctime_ns=2**64)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(str(tmp_path / "uploads.sqlite3"), False)
    yield journal
    journal.close()


def recorded(opened: SqliteJournal) -> list[tuple[str, int]]:
    return opened._connection.execute("SELECT file_id, at FROM sent ORDER BY id").fetchall()


async def said(journal: Path, identity: Identity) -> tuple[SentFile, ...]:
    """Return what the journal says was sent to that place."""
    opened = AsyncJournal(Journal(journal))
    await opened.open()
    try:
        return await JournalSession(opened, identity).sent()
    finally:
        await opened.close()


async def test_an_upload_is_remembered_with_its_file_and_checksum(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(3 * PART)
    async with uploader_on(fake, journal=journal) as uploader:
        file = await uploader.upload(path, folder_id=fake.folder_id)
    stat = on_disk(path.stat)
    real = str(on_disk(path.resolve))
    (one,) = await said(journal, Identity(fake.account_id, fake.folder_id, path.name, "/from/elsewhere"))
    ctime_ns = stat.st_ctime_ns
    assert one == SentFile(file.id, real, stat.st_size, stat.st_mtime_ns, fake.files[0].crc64nvme, ctime_ns=ctime_ns)
    assert await said(journal, Identity(fake.account_id, fake.folder_id, "other.mov", real)) == ()
    assert rows(journal, "SELECT count(*) FROM uploads") == [(0,)]


async def test_a_resumed_upload_is_remembered_with_the_checksum_of_the_whole_file(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    path = make_file(4 * PART)
    await stopped_at(fake, path, journal, 3)
    assert rows(journal, "SELECT count(*) FROM sent") == [(0,)]
    async with uploader_on(fake, journal=journal) as uploader:
        (upload,) = await uploader.resume_pending()
        file = await upload
    (one,) = await said(journal, Identity(fake.account_id, fake.folder_id, path.name, str(path)))
    assert (one.file_id, one.crc64nvme) == (file.id, fake.files[0].crc64nvme)
    assert one.ctime_ns is None, "the first parts may be those of another content, see `JournalSession`"


async def test_an_upload_that_nobody_confirms_and_each_file_of_a_folder_is_remembered(
    fake: FakeFrameio, tmp_path: Path, journal: Path
) -> None:
    root = tmp_path / "card"
    on_disk(root.mkdir)
    for number, name in enumerate(NAMES):
        on_disk((root / name).write_bytes, bytes([number]) * 100)
    async with uploader_on(fake, journal=journal, timeouts=Timeouts(confirm=0)) as uploader:
        await uploader.upload_folder(root, folder_id=fake.folder_id, contents_only=True)
    for name in NAMES:
        (one,) = await said(journal, Identity(fake.account_id, fake.folder_id, name, ""))
        assert (one.file_id, one.size) == (next(file.id for file in fake.files if file.name == name), 100)


async def test_no_link_is_remembered(fake: FakeFrameio, make_file: Callable[..., Path], journal: Path) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        await uploader.upload(make_file(2 * PART), folder_id=fake.folder_id)
    content = on_disk(lambda: b"".join(path.read_bytes() for path in journal.parent.glob("uploads*")))
    assert b"take.mov" in content
    assert b"X-Amz" not in content
    assert b"http" not in content


async def test_a_table_that_cannot_be_written_keeps_no_link_in_the_journal(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        rows(journal, "CREATE TRIGGER never BEFORE INSERT ON sent BEGIN SELECT raise(ABORT, 'no'); END")
        await uploader.upload(make_file(PART), folder_id=fake.folder_id)
        assert await uploader.pending() == ()
    assert operations(fake).count("create") == 1


def test_what_was_sent_last_comes_first_and_a_file_counts_once(opened: SqliteJournal) -> None:
    for one in ("a", "b", "a"):
        opened.remember("place", sent(one))
    opened.remember("elsewhere", sent("c"))
    assert [one.file_id for one in opened.sent("place")] == ["a", "b"]


def test_each_path_of_a_file_is_remembered_the_latest_ones(opened: SqliteJournal) -> None:
    paths = [f"/copy-{number}/C0001.MP4" for number in range(journal_sqlite.SENT_PATHS + 2)]
    for path in (*paths, paths[-2]):
        opened.remember("place", sent("a", path))
    found = [one.path for one in opened.sent("place")]
    assert found == [paths[-2], paths[-1], *reversed(paths[2:-2])]


def test_a_place_that_much_was_sent_to_is_answered_with_the_latest(opened: SqliteJournal) -> None:
    for number in range(journal_sqlite.SENT_ANSWERS + 3):
        opened.remember("place", sent(str(number)))
    found = opened.sent("place")
    assert (len(found), found[0].file_id) == (journal_sqlite.SENT_ANSWERS, "52")


def test_only_so_many_files_are_remembered(opened: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_sqlite, "SENT_ROWS", 5)
    for number in range(20):
        opened.remember(str(number), sent(str(number)))
    assert [one for one, _ in recorded(opened)] == ["15", "16", "17", "18", "19"]


def test_files_of_another_season_are_forgotten_a_few_with_each_that_is_added(opened: SqliteJournal) -> None:
    for number in range(50):
        opened.remember(str(number), sent(str(number)))
    day = 86400
    opened._connection.execute("UPDATE sent SET at = at - ?", ((journal_sqlite.SENT_DAYS + 1) * day,))
    opened._connection.execute("UPDATE sent SET at = at + ? WHERE id > 45", (2 * day,))
    counts = []
    for name in ("x", "y", "z"):
        opened.remember(name, sent(name))
        counts.append(len(recorded(opened)))
    assert counts == [31, 12, 8]
    assert opened.sent("44") == ()
    assert opened.sent("45") == (sent("45"),)


def test_an_upload_that_began_anew_meanwhile_is_not_erased_with_the_one_that_ended(opened: SqliteJournal) -> None:
    identity = Identity("a", "d", "C0001.MP4", "/card/C0001.MP4")
    plan = Plan("new", "d", "C0001.MP4", 10, (Part(1, 0, 10, "https://s3.example/1"),), "a")
    opened.begin(Entry(identity, Fingerprint(10, 1, "e"), plan))
    opened.finish(identity.key, identity.place, sent("old"))
    assert [one.pending.file_id for one in opened.pending()] == ["new"]
    assert opened.sent(identity.place) == (sent("old"),)


def test_a_place_is_found_by_its_index(opened: SqliteJournal) -> None:
    (plan,) = opened._connection.execute(
        "EXPLAIN QUERY PLAN SELECT file_id, told, changed FROM sent WHERE place = ? ORDER BY id DESC LIMIT 50", ("x",)
    ).fetchall()
    assert "USING INDEX sent_place" in plan[3]


def test_a_row_that_cannot_be_read_is_left_out(opened: SqliteJournal, tmp_path: Path) -> None:
    opened.remember("place", sent("a"))
    opened.remember("place", sent("b"))
    with closing(sqlite3.connect(tmp_path / "uploads.sqlite3")) as connection:
        connection.execute("UPDATE sent SET told = x'ff00' WHERE file_id = 'a'")
        connection.commit()
    assert opened.sent("place") == (sent("b"),)
