"""Only its owner can read a journal; a file that is not a journal is not modified; and no record precedes its event."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioframeio_upload import Journal, JournalError, Part, Plan, Receipt
from aioframeio_upload._core.journal import Entry, Fingerprint, Identity
from aioframeio_upload._io.journal import AsyncJournal
from aioframeio_upload._io.journal_sqlite import APPLICATION_ID, VERSION, SqliteJournal
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, our_records, reached, sha256, uploader_on
from tests.support.journals import ONE_BY_ONE, mode, pending_in, recorded_parts, rows, stopped_at
from tests.support.seen import operations, puts

SIZE = 4 * PART
SECRET = b"X-Amz-Signature"


def names(folder: Path) -> list[str]:
    return on_disk(os.listdir, folder)


# -- credentials -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
async def test_every_file_is_its_owners_only_and_so_is_every_folder_that_is_made(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        journal = tmp_path / "state" / "deep" / "uploads.sqlite3"
        fake.add_fault(hold := Fault(do="hold"))
        async with uploader_on(fake, journal=journal) as uploader:
            upload = uploader.upload(make_file(SIZE), folder_id=fake.folder_id).start()
            await reached(fake, hold)
            found = {name.removeprefix(journal.name): mode(journal.parent / name) for name in names(journal.parent)}
            assert set(found) >= {"", "-wal", "-shm"}
            assert [name for name in found if name.endswith(".lock")]
            assert set(found.values()) == {0o600}
            assert {mode(journal.parent), mode(journal.parent.parent)} == {0o700}
            fake.release()
            await upload
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
async def test_a_file_that_others_may_read_is_taken_from_them(fake: FakeFrameio, journal: Path) -> None:
    on_disk(journal.touch, 0o644)
    await pending_in(fake, journal)
    assert mode(journal) == 0o600


async def test_the_links_of_a_finished_upload_are_nowhere(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in journal.parent.glob("uploads*"))

    stays = await stopped_at(fake, make_file(SIZE, "stays.mov"), journal, 2)
    on_disk(rows, journal, "UPDATE uploads SET plan = replace(plan, 'X-Amz-Signature', 'X-Amz-Other')")
    fake.add_fault(hold := Fault(do="hold", number=3))
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(make_file(SIZE), folder_id=fake.folder_id).start()
        await reached(fake, hold)
        assert SECRET in on_disk(everything)
        fake.release()
        await upload
        # While it is open still: nothing is left to the next checkpoint, or to the file system.
        assert SECRET not in on_disk(everything)
        assert [one.file_id for one in await uploader.pending()] == [stays.file_id]


async def test_no_message_about_the_journal_contains_a_link(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await stopped_at(fake, make_file(SIZE), journal, 3)
    told = repr(await pending_in(fake, journal))
    assert "X-Amz" not in told
    rows(journal, "UPDATE uploads SET plan = substr(plan, 1, length(plan) - 9)")
    async with uploader_on(fake, journal=journal) as uploader:
        assert await uploader.resume_pending() == ()
        with pytest.raises(JournalError, match="is damaged") as caught:
            await uploader.upload(journal.parent / "take.mov", folder_id=fake.folder_id)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "X-Amz" not in shown
    assert "X-Amz" not in caplog.text
    error: BaseException | None = caught.value
    while error is not None:
        assert "X-Amz" not in f"{error!r}{vars(error)}"
        error = error.__cause__ or error.__context__


# -- what is no journal ------------------------------------------------------------------------------------------------


def no_database(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be taken for one\n" * 100)


def three_bytes(path: Path) -> None:
    path.write_bytes(b"SQL")


def another_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE mine (precious TEXT)")


def another_program(path: Path) -> None:
    another_database(path)
    rows(path, "PRAGMA application_id = 7")


def a_newer_version(path: Path) -> None:
    SqliteJournal(str(path), True).close()
    rows(path, f"PRAGMA user_version = {VERSION + 1}")


def a_wal_without_its_file(path: Path) -> None:
    path.touch()
    path.with_name(f"{path.name}-wal").write_bytes(b"all that is left")


def a_folder(path: Path) -> None:
    path.mkdir()


def another_users(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    SqliteJournal(str(path), True).close()
    os.chown(path, 12345, 12345)


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), mode(path)) for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (no_database, "is not a database"),
        (three_bytes, "is not a database"),
        (another_database, "is a database, but not a journal"),
        (another_program, "is a database, but not a journal"),
        (a_newer_version, f"of version {VERSION + 1}"),
        (a_wal_without_its_file, "is empty, but its WAL file is not"),
        (a_folder, "is a folder"),
        (another_users, "belongs to another user"),
    ],
)
async def test_a_file_that_is_not_our_journal_is_refused_and_not_modified(
    fake: FakeFrameio, journal: Path, make: Callable[[Path], None], reason: str
) -> None:
    on_disk(make, journal)
    there: list[Path] = on_disk(lambda: list(journal.parent.iterdir()))
    for path in there:
        on_disk(path.chmod, 0o755)  # a file's mode is its owner's business
    before: dict[str, tuple[bytes, int]] = on_disk(content, journal.parent)
    with pytest.raises(JournalError, match=reason) as caught:
        await pending_in(fake, journal)
    assert (caught.value.path, str(journal) in str(caught.value)) == (str(journal), True)
    assert on_disk(content, journal.parent) == before
    assert fake.requests == []


async def test_a_place_where_nothing_can_be_made_is_refused(fake: FakeFrameio, tmp_path: Path) -> None:
    """Paths that are refused even to root: a folder that is a file, and a name that is too long."""
    on_disk((tmp_path / "file").write_bytes, b"")
    for path in (tmp_path / "file" / "uploads.sqlite3", tmp_path / ("n" * 300)):
        with pytest.raises(JournalError) as caught:
            await pending_in(fake, path)
        assert caught.value.path == str(path)


async def test_a_read_only_folder_is_refused(fake: FakeFrameio, tmp_path: Path) -> None:
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("root writes where it likes")
    folder = tmp_path / "folder"
    on_disk(folder.mkdir, 0o500)
    with pytest.raises(JournalError):
        await pending_in(fake, folder / "uploads.sqlite3")


async def test_a_file_without_bytes_becomes_a_journal(fake: FakeFrameio, journal: Path) -> None:
    on_disk(journal.touch)
    assert await pending_in(fake, journal) == ()
    assert rows(journal, "PRAGMA application_id") == [(APPLICATION_ID,)]


async def test_a_journal_can_be_named_by_a_record(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    named: Any = Journal(journal, sync=False)
    stopped = await stopped_at(fake, make_file(SIZE), named, 3)
    assert [one.file_id for one in await pending_in(fake, named)] == [stopped.file_id]


async def test_an_uploader_with_an_invalid_journal_leaves_nothing_open(fake: FakeFrameio, journal: Path) -> None:
    """No thread and no session: the fixtures check that."""
    on_disk(no_database, journal)
    with pytest.raises(JournalError):
        await uploader_on(fake, journal=journal).__aenter__()


# -- a disk that is full -----------------------------------------------------------------------------------------------


def fill(uploader: Any) -> None:
    """Limit the size of the journal, so that SQLite reports a full disk."""
    connection = uploader._opened()[0].journal._file._connection

    def full() -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    uploader._opened()[0].journal._thread.submit(full).result()


async def test_a_full_disk_at_the_beginning_is_an_error_and_leaves_nothing(
    make_file: Callable[..., Path], journal: Path
) -> None:
    async with FakeFrameio(rate_limits=False, part_size=1000) as fake, uploader_on(fake, journal=journal) as uploader:
        on_disk(fill, uploader)
        with pytest.raises(JournalError, match=r"full; 'take\.mov' was not begun") as caught:
            await uploader.upload(make_file(400_000), folder_id=fake.folder_id)
        assert caught.value.path == str(journal)
        assert (fake.files, puts(fake), await uploader.pending()) == ((), {}, ())


async def test_a_full_disk_in_the_middle_ends_the_upload_so_that_it_can_be_gone_on_with(
    make_file: Callable[..., Path], journal: Path
) -> None:
    async with FakeFrameio(rate_limits=False, part_size=1000) as fake:
        path = make_file(400_000)
        fake.add_fault(hold := Fault(do="hold", number=10))
        async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
            upload = uploader.upload(path, folder_id=fake.folder_id).start()
            await reached(fake, hold)
            on_disk(fill, uploader)
            fake.release(hold)
            with pytest.raises(JournalError, match="was stopped, and can be resumed"):
                await upload
        recorded = recorded_parts(journal)
        assert 10 <= len(recorded) < 400
        sent = puts(fake)
        async with uploader_on(fake, journal=journal) as uploader:
            file = await uploader.upload(path, folder_id=fake.folder_id)
        assert (file.outcome, fake.files[0].sha256) == ("resumed", sha256(path))
        assert all(puts(fake)[number] == sent[number] for number in recorded)


async def test_a_journal_that_cannot_be_erased_does_not_take_the_file_away(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(hold := Fault(on="status", do="hold"))
    path = make_file(SIZE)
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        rows(journal, "CREATE TRIGGER never BEFORE DELETE ON uploads BEGIN SELECT raise(ABORT, 'no'); END")
        fake.release(hold)
        assert (await upload).status == "uploaded"
    (record,) = [record for record in our_records(caplog) if record.levelno >= logging.WARNING]
    assert "'take.mov' is no longer pending, but could not be erased" in record.getMessage()
    rows(journal, "DROP TRIGGER never")
    async with uploader_on(fake, journal=journal) as uploader:
        assert (await uploader.upload(path, folder_id=fake.folder_id)).id == fake.files[0].id
    assert operations(fake).count("create") == 1


async def test_an_entry_that_somebody_has_taken_out_stops_its_upload(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    """It does not report parts that are not recorded."""
    fake.add_fault(hold := Fault(do="hold", number=2))
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        upload = uploader.upload(make_file(SIZE), folder_id=fake.folder_id).start()
        await reached(fake, hold)
        rows(journal, "PRAGMA foreign_keys = ON")
        rows(journal, "DELETE FROM uploads")
        fake.release(hold)
        with pytest.raises(JournalError):
            await upload


# -- parts that arrive together ----------------------------------------------------------------------------------------


@pytest.fixture
async def opened(journal: Path) -> AsyncIterator[AsyncJournal]:
    """Return a journal with two uploads."""
    opened = AsyncJournal(Journal(journal))
    await opened.open()
    for one in ENTRIES:
        await opened.begin(one)
    yield opened
    with contextlib.suppress(RuntimeError):  # of one that is closed
        await opened.close()


@contextlib.contextmanager
def slow_disk(opened: AsyncJournal) -> Iterator[list[str]]:
    """Block the journal's thread inside the block; yield the statements that it executes then and later."""
    statements: list[str] = []
    disk = threading.Event()

    def wait() -> None:
        opened._opened._connection.set_trace_callback(statements.append)
        disk.wait(30)

    opened._thread.submit(wait)
    try:
        yield statements
    finally:
        disk.set()


async def asked(opened: AsyncJournal, key: str, *numbers: int) -> list[asyncio.Task[None]]:
    """Hand over some parts to be recorded, up to the wait for the disk."""
    tasks = [asyncio.create_task(opened.note(key, Receipt(number, 10, f"e{number}", None))) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def recorded(opened: AsyncJournal) -> list[list[int]]:
    found = [await opened.find(one.identity.key) for one in ENTRIES]
    return [[receipt.number for receipt in one.receipts] for one in found if one is not None]


async def test_parts_that_arrive_while_the_disk_is_waited_for_are_recorded_in_one_commit(opened: AsyncJournal) -> None:
    one, two = (entry.identity.key for entry in ENTRIES)
    with slow_disk(opened) as statements:
        first = await asked(opened, one, 4)
        waiting = [*await asked(opened, one, 3, 1, 2), *await asked(opened, two, 5)]
        assert not any(task.done() for task in first + waiting)
    await asyncio.gather(*first, *waiting)
    assert (statements.count("COMMIT"), await recorded(opened)) == (2, [[1, 2, 3, 4], [5]])
    await opened.note(two, Receipt(4, 10, "e4", None))
    assert (statements.count("COMMIT"), await recorded(opened)) == (3, [[1, 2, 3, 4], [4, 5]])


async def test_a_part_that_cannot_be_recorded_keeps_none_beside_it_from_being(opened: AsyncJournal) -> None:
    one, two = (entry.identity.key for entry in ENTRIES)
    await opened.drop(two, ENTRIES[1].plan.file_id)
    with slow_disk(opened) as statements:
        first = await asked(opened, one, 1)
        waiting = [*await asked(opened, two, 1), *await asked(opened, one, 2)]
        waiting += [*await asked(opened, two, 2), *await asked(opened, one, 3)]
    told = await asyncio.gather(*first, *waiting, return_exceptions=True)
    assert [type(each) for each in told] == [NoneType, JournalError, NoneType, JournalError, NoneType]
    assert told[1] is not told[3]
    assert (statements.count("COMMIT"), await recorded(opened)) == (2, [[1, 2, 3]])


async def test_a_batch_that_fails_as_a_whole_raises_in_each_caller_at_once(opened: AsyncJournal) -> None:
    """In one attempt for all of them: the wait for another process that locks the journal happens once."""
    one, two = (entry.identity.key for entry in ENTRIES)
    opened._thread.submit(lambda: opened._opened._connection.execute("PRAGMA busy_timeout = 0"))
    with contextlib.closing(on_disk(sqlite3.connect, opened.path, isolation_level=None)) as other:
        on_disk(other.execute, "BEGIN IMMEDIATE")
        with slow_disk(opened) as statements:
            waiting = [*await asked(opened, one, 1), *await asked(opened, two, 1, 2), *await asked(opened, one, 2)]
        told = await asyncio.gather(*waiting, return_exceptions=True)
        on_disk(other.execute, "ROLLBACK")
    words = f"{opened.path}: database is locked by another program; wait until that has ended"
    assert [str(each) for each in told] == [words] * 4
    assert (len(set(map(id, told))), statements.count("BEGIN IMMEDIATE")) == (4, 2)
    await opened.note(one, Receipt(1, 10, "e1", None))
    assert await recorded(opened) == [[1], []]


async def test_closing_records_what_waits(journal: Path, opened: AsyncJournal) -> None:
    one = ENTRIES[0].identity.key
    with slow_disk(opened):
        waiting = await asked(opened, one, 1, 2, 3)
        closing = asyncio.create_task(opened.close())
        await asyncio.sleep(0)
    await asyncio.gather(closing, *waiting)
    assert recorded_parts(journal) == {1, 2, 3}


async def test_a_release_without_waiting_comes_after_earlier_operations(opened: AsyncJournal) -> None:
    one = ENTRIES[0].identity.key
    owner = object()
    assert await opened.own(one, owner)
    with slow_disk(opened):
        waiting = await asked(opened, one, 1, 2)
        opened.release_later(owner)
        told: list[Any] = []
        opened._thread.submit(lambda: told.append((opened._opened.find(one), opened._opened._claims.taken)))
    await asyncio.gather(*waiting)
    await opened.pending()
    ((found, taken),) = told
    assert ([receipt.number for receipt in found.receipts], taken) == ([1, 2], 0)


async def test_at_the_end_of_the_interpreter_a_note_fails_and_no_caller_waits(opened: AsyncJournal) -> None:
    one = ENTRIES[0].identity.key
    with slow_disk(opened):
        waiting = await asked(opened, one, 1, 2, 3)
        opened._thread.submit(opened._close)
        opened._thread.shutdown(wait=False)  # as CPython does before it joins the threads that are left
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [NoneType, JournalError, JournalError]
    assert "shutdown" in str(told[1])


async def test_what_was_on_its_way_is_recorded_before_what_was_asked_later_though_its_wait_was_cancelled(
    opened: AsyncJournal,
) -> None:
    one = ENTRIES[0].identity.key
    with slow_disk(opened) as statements:
        waiting = await asked(opened, one, 1, 2, 3)
        for task in waiting:
            task.cancel()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in told] == [asyncio.CancelledError] * 3
        looking = asyncio.create_task(opened.find(one))
        await asyncio.sleep(0)
        waiting = await asked(opened, one, 4)
    found = await looking
    assert found is not None
    assert [receipt.number for receipt in found.receipts] == [1, 2, 3]
    await asyncio.gather(*waiting)
    assert (statements.count("COMMIT"), await recorded(opened)) == (3, [[1, 2, 3, 4], []])


# -- a power cut -------------------------------------------------------------------------------------------------------


def entry(name: str, parts: int) -> Entry:
    told = tuple(
        Part(n, (n - 1) * 10, 10, f"https://s3.example/{n}?X-Amz-Signature={'0' * 900}") for n in range(1, parts + 1)
    )
    identity = Identity("a1", "d1", name, f"/takes/{name}")
    return Entry(identity, Fingerprint(10 * parts, 1, "e"), Plan(name, "d1", name, 10 * parts, told, "a1"))


ENTRIES = [entry("one.mov", 12), entry("two.mov", 5)]

Facts = tuple[Entry | None, ...]


def facts(file: SqliteJournal) -> Facts:
    return tuple(file.find(one.identity.key) for one in ENTRIES)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[Facts]]:
    """Return a journal's file and WAL after some operations, and all states that it has had."""
    path = tmp_path_factory.mktemp("lived") / "journal"
    file = SqliteJournal(str(path), True)
    states = [facts(file)]

    def step(write: Callable[..., Any], *arguments: Any) -> None:
        write(*arguments)
        states.append(facts(file))

    step(file.begin, ENTRIES[0])
    one, two = (entry.identity.key for entry in ENTRIES)
    step(file.note, [(one, Receipt(1, 10, "e1", None))])
    # From here on the file holds something, and the WAL what came after.
    file._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    step(file.begin, ENTRIES[1])
    for number in range(2, 12):
        step(file.note, [(one, Receipt(number, 10, f"e{number}", "f" * 32))])
        if number < 5:
            step(file.note, [(two, Receipt(number, 10, None, None))])
    step(file.note, [(one, Receipt(12, 10, "e12", None)), (two, Receipt(5, 10, "e5", None))])
    whole = path.read_bytes(), path.with_name("journal-wal").read_bytes()
    file.close()
    assert all(len(one) > 20_000 for one in whole), [len(one) for one in whole]
    return *whole, states


def load(folder: Path, main: bytes, wal: bytes) -> Facts | None:
    """Return the content of a journal of these bytes, or None if it is damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "journal").write_bytes(main)
    (folder / "journal-wal").write_bytes(wal)
    try:
        file = SqliteJournal(str(folder / "journal"), True)
    except JournalError:
        return None
    try:
        return facts(file)
    except JournalError:
        return None
    finally:
        file.close()


CUTS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@CUTS
@given(st.data())
def test_a_wal_cut_at_any_byte_shows_an_earlier_state(
    lived: tuple[bytes, bytes, list[Facts]], tmp_path: Path, data: st.DataObject
) -> None:
    main, wal, states = lived
    cut = data.draw(st.integers(0, len(wal)))
    found = load(tmp_path / "cut", main, wal[:cut])
    # Never less than what the file itself held, and never nothing at all.
    assert found in states[2:]
    assert load(tmp_path / "cut", main, wal) == states[-1]


@CUTS
@given(st.data())
def test_a_journal_cut_at_any_byte_shows_an_earlier_state_or_is_damaged(
    lived: tuple[bytes, bytes, list[Facts]], tmp_path: Path, data: st.DataObject
) -> None:
    main, wal, states = lived
    page = 4096
    cut = data.draw(st.integers(0, len(main) - 1) | st.integers(0, len(main) // page).map(lambda pages: pages * page))
    kept = wal[: data.draw(st.sampled_from([0, len(wal), len(wal) // 2]))]
    found = load(tmp_path / "cut", main[:cut], kept)
    assert found is None or found in states
