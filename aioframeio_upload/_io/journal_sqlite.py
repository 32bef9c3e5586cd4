"""The journal's SQLite file: readable by its owner only, and never modified if it is not a journal.

All functions here block; they run in the one thread of `AsyncJournal`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .._core.errors import JournalError, PlanError
from .._core.journal import (
    Entry,
    Row,
    SentFile,
    is_key,
    mark_of,
    read_entry,
    read_row,
    read_sent,
    write_ctime,
    write_entry,
    write_receipt,
    write_sent,
)
from .._core.model import Receipt
from .._core.words import LET_IT_END, NAME_ANOTHER, advise_on_file
from .claims import Claims
from .ownership import NO_FOLLOW, check_file, folder_warning, hide

log = logging.getLogger("aioframeio_upload")

APPLICATION_ID = 0x61665F6A
"""`af_j` in the header of the file, which identifies it as a journal (to `file(1)` too)."""

VERSION = 3
"""Of the schema. Version 2 records the CRC64NVME of a part, and the checksum that proves it; version 3 what was sent. A
file of an earlier version is upgraded when it is opened; one of a later version is not modified."""

SENT_ROWS = 100_000
"""How many of the files that were sent last are remembered: 20 MB (`SqliteJournal.finish` takes 0.55 ms with that many,
`drop` 0.5 ms; 2026-11-29, 2 cores of AMD EPYC, local disk)."""

SENT_DAYS = 90
"""For how many days they are."""

SENT_AT_ONCE = 20
"""How many that are older are erased with each file that is added: more than one, so that they become fewer."""

SENT_PATHS = 8
"""How many paths are remembered of one file at Frame.io: each copy with the same content that was compared adds one."""

SENT_ANSWERS = 50
"""How many files that were sent to one place are returned. A file that is replaced for months has thousands."""

BUSY = 10.0
"""Seconds to wait for another process's transaction, which normally takes milliseconds."""

BESIDE = ("-journal", "-wal", "-shm")
"""Suffixes of the files beside a database that SQLite reads and trusts."""

DAMAGE = """
CASE
    WHEN NOT json_valid(plan) THEN 'its plan cannot be read'
    WHEN json_valid(told) AND (
        json_extract(plan, '$.file_id') IS NOT json_extract(told, '$.file_id')
        OR json_extract(plan, '$.size') IS NOT json_extract(told, '$.size')
        OR (
            SELECT coalesce(max(number), 0) > coalesce(json_array_length(uploads.plan, '$.parts'), 0)
                OR coalesce(min(number), 1) < 1
                OR NOT coalesce(min(json_valid(told)), 1)
            FROM parts WHERE parts.key = uploads.key
        )
    ) THEN 'its plan or its parts belong to another upload'
END
"""
"""An SQL expression for the damage of an upload's plan and parts, as far as SQLite can detect it, or NULL."""

HEAD = 4096
"""Characters of a recorded plan that are searched for its IDs if the rest of its row is damaged."""

MOVE_AWAY = "move it away, or name another file as the journal: unfinished uploads start over then"
ON_A_LOCAL_DISK = "keep the journal on a local disk"
LET_WRITE = "let this user write to it, or name another file as the journal"

MESSAGES = {
    sqlite3.SQLITE_BUSY: ("database is locked by another program", LET_IT_END),
    sqlite3.SQLITE_LOCKED: ("database is locked by another program", LET_IT_END),
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space"),
    sqlite3.SQLITE_NOTADB: ("is not a database", NAME_ANOTHER),
    sqlite3.SQLITE_CORRUPT: ("is damaged: parts of the file are not SQLite's", MOVE_AWAY),
    sqlite3.SQLITE_READONLY: ("cannot be written to", LET_WRITE),
    sqlite3.SQLITE_PERM: ("cannot be used: permission denied", LET_WRITE),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", LET_WRITE),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: the disk reports an error", "check the disk"),
    sqlite3.SQLITE_PROTOCOL: ("cannot be locked, as on network file systems", ON_A_LOCAL_DISK),
    sqlite3.SQLITE_NOMEM: ("cannot be used: there is not enough memory", "close other programs"),
    sqlite3.SQLITE_CONSTRAINT: ("refused the record", MOVE_AWAY),
    sqlite3.SQLITE_ERROR: ("has other tables than a journal", NAME_ANOTHER),
}
"""Our words for SQLite's primary result codes, and what to do."""
"""Our messages for SQLite's errors, by primary code. SQLite's own may quote stored text, which includes part links."""

SENT = """
CREATE TABLE IF NOT EXISTS sent (
    id INTEGER PRIMARY KEY, place TEXT NOT NULL, file_id TEXT NOT NULL, told TEXT NOT NULL, at INTEGER NOT NULL,
    changed TEXT
)
"""
"""In the order in which they were sent; `place` is `Identity.place`, `told` is JSON of `write_sent`, `at` a Unix time,
`changed` the output of `write_ctime`. By the place alone, because each question is about one place, and each index
makes each upload write one more page."""

SENT_CHANGED = "ALTER TABLE sent ADD COLUMN changed TEXT"
"""For a file that was made before there was this column. It is not in `told`, of which earlier releases would not be
able to read the row, and does not raise `VERSION`, with which they would not open the file: they name the columns that
they read and write, so those that have the file open, and those that open it, go on, and their rows have none."""

SENT_INDEX = "CREATE INDEX IF NOT EXISTS sent_place ON sent (place)"

SCHEMA = f"""
-- `told` has the JSON of `write_entry` in one table, of `write_receipt` in the other (`_core/journal.py`). The files of
-- users have this name.
BEGIN EXCLUSIVE;
CREATE TABLE uploads (key TEXT PRIMARY KEY, told TEXT NOT NULL, plan TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE parts (
    key TEXT NOT NULL REFERENCES uploads ON DELETE CASCADE,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    told TEXT NOT NULL,
    PRIMARY KEY (key, number)
) WITHOUT ROWID;
{SENT};
{SENT_INDEX};
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


class SqliteJournal:
    """An open journal. Owned by one thread."""

    def __init__(self, path: str, sync: bool) -> None:
        self.path = path
        with self._own_errors():
            place = os.path.abspath(path)
        self._claims = Claims(path, place)
        """With the absolute path, because the working directory may change later."""
        self._damaged: dict[str, str] = {}
        """By key: the damage that was found in an upload's plan or receipts, which `pending` does not read."""
        with self._own_errors():
            make_file(path)
            check_beside(path)
            check_header(path)
            if (danger := folder_warning(os.path.dirname(place))) is not None:
                log.warning(
                    "journal %s: its folder %s; whoever can put files there can have a resume upload any file of yours"
                    " to a folder of theirs: keep it in a folder of your own",
                    path,
                    danger,
                )
            for name in ("", *BESIDE):
                hide(f"{path}{name}")
            self._connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
            try:
                self._prepare(sync)
                # Again, because others may have put files there since, if they can write to the folder.
                check_beside(path)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, sync: bool) -> None:
        execute = self._connection.execute
        # Text that is not UTF-8 was not written here, so that its entry counts as damaged. By default, sqlite3 would
        # raise an error that quotes the text.
        self._connection.text_factory = _decoded
        # Overwrite erased content, because links are credentials.
        execute("PRAGMA secure_delete = ON")
        execute("PRAGMA foreign_keys = ON")
        self._damage = DAMAGE if _has_json(self._connection) else "NULL"
        """SQL that checks a plan without reading it: a plan may be megabytes, and SQLite checks it without the GIL."""
        execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        if _is_blank(self._connection):
            try:
                # Before WAL mode is switched on, so that the header in the file itself has the mark from the first
                # commit on.
                self._connection.executescript(SCHEMA)
            except sqlite3.OperationalError:
                self._connection.rollback()
                if _is_blank(self._connection):  # otherwise another process created it at the same moment
                    raise
        _check_mark(self._connection, self.path)
        self._upgrade()
        (mode,) = execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            reason = "SQLite cannot keep a WAL there, as on network file systems"
            raise JournalError(reason, path=self.path, advice=ON_A_LOCAL_DISK)

    def _upgrade(self) -> None:
        """Create the tables of this version, and have the file name it, so that no earlier library reads the receipts.

        Earlier receipts stay as they are: `_core/journal.py` reads both. Also those of a process that had the file open
        before, and goes on.
        """
        if _read(self._connection, "user_version") != VERSION or not self._has_changed():
            with self._transaction() as execute:
                _check_mark(self._connection, self.path)  # again: a later library may have upgraded it meanwhile
                execute(SENT)
                if not self._has_changed():
                    execute(SENT_CHANGED)
                execute(SENT_INDEX)
                execute(f"PRAGMA user_version = {VERSION}")

    def _has_changed(self) -> bool:
        """Return whether the table of what was sent has the column of the change time."""
        columns = self._connection.execute("PRAGMA table_info(sent)").fetchall()
        return any(name == "changed" for _, name, *_ in columns)

    def close(self) -> None:
        """Release all claims and close the file."""
        self._claims.release_all()
        with self._own_errors():
            self._connection.close()

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Convert errors of SQLite and of the system to JournalErrors, which quote nothing that is stored."""
        try:
            yield
        except sqlite3.Error as error:
            reason, advice = message_for(error)
            raise JournalError(reason, path=self.path, advice=advice) from None
        except OSError as error:
            advice = LET_WRITE if isinstance(error, PermissionError) else advise_on_file(error)
            raise JournalError(error.strerror or type(error).__name__, path=self.path, advice=advice) from error

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._own_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                # Fails if SQLite has rolled back by itself, as it does when the disk is full.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    # -- entries -----------------------------------------------------------------------------------------------------

    def begin(self, entry: Entry) -> None:
        """Record an upload whose file was just created, in place of any earlier entry with its key."""
        key, plan = entry.identity.key, entry.plan.to_json()
        with self._transaction() as execute:
            execute("DELETE FROM uploads WHERE key = ?", (key,))
            # The foreign key deletes them already; but a damaged journal may have orphans, which would count as
            # this file's.
            execute("DELETE FROM parts WHERE key = ?", (key,))
            execute("INSERT INTO uploads VALUES (?, ?, ?)", (key, write_entry(entry), plan))

    def note(self, arrived: Sequence[tuple[str, Receipt]]) -> list[str | None]:
        """Record that S3 has some parts, each with the key of its upload, with a single wait for the disk.

        Returns:
            For each part None, or the reason why it was not recorded: its upload is gone. The others are recorded.
        """
        refused: list[str | None] = []
        with self._transaction() as execute:
            for key, receipt in arrived:
                row = key, receipt.number, receipt.size, write_receipt(receipt)
                try:
                    execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", row)
                    refused.append(None)
                except sqlite3.IntegrityError:  # only the statement failed; the transaction continues
                    refused.append("its upload is not recorded any more")
        return refused

    def drop(self, key: str, file_id: str) -> None:
        """Erase an upload with its links, if it still belongs to that file: a new run may have started over since."""
        with self._transaction() as execute:
            self._erase_entry(execute, key, file_id)
        self._empty_wal()

    @staticmethod
    def _erase_entry(execute: Any, key: str, file_id: str) -> None:
        found = execute("SELECT told FROM uploads WHERE key = ?", (key,)).fetchall()
        if found and read_row(mark_of(key), found[0][0]).pending.file_id == file_id:
            execute("DELETE FROM uploads WHERE key = ?", (key,))

    def finish(self, key: str, place: str, sent: SentFile) -> None:
        """Erase an upload that has ended well, as `drop` does, and remember what was sent."""
        with self._transaction() as execute:
            self._erase_entry(execute, key, sent.file_id)
            self._add_sent(execute, place, sent)
        self._empty_wal()

    def remember(self, place: str, sent: SentFile) -> None:
        """Remember a file that was sent to a place, or is there with the same content."""
        with self._transaction() as execute:
            self._add_sent(execute, place, sent)

    @staticmethod
    def _add_sent(execute: Any, place: str, sent: SentFile) -> None:
        now = int(time.time())
        others = execute(
            "SELECT id, told FROM sent WHERE place = ? AND file_id = ? ORDER BY id DESC", (place, sent.file_id)
        ).fetchall()
        kept = [id for id, told in others if (one := read_sent(sent.file_id, told)) and one.path != sent.path]
        for id, _ in others:
            if id not in kept[: SENT_PATHS - 1]:
                execute("DELETE FROM sent WHERE id = ?", (id,))
        added = execute(
            "INSERT INTO sent (place, file_id, told, at, changed) VALUES (?, ?, ?, ?, ?)",
            (place, sent.file_id, write_sent(sent), now, write_ctime(sent.ctime_ns)),
        )
        execute("DELETE FROM sent WHERE id <= ?", (added.lastrowid - SENT_ROWS,))
        execute(
            "DELETE FROM sent WHERE at < ? AND id IN (SELECT id FROM sent ORDER BY id LIMIT ?)",
            (now - SENT_DAYS * 86400, SENT_AT_ONCE),
        )

    def sent(self, place: str) -> tuple[SentFile, ...]:
        """Return the files that were sent to a place, the latest first."""
        with self._own_errors():
            rows = self._connection.execute(
                "SELECT file_id, told, changed FROM sent WHERE place = ? ORDER BY id DESC LIMIT ?",
                (place, SENT_ANSWERS),
            ).fetchall()
        return tuple(one for one in (read_sent(*row) for row in rows) if one is not None)

    def erase(self, mark: str) -> None:
        """Erase a row, whatever it contains, by the hexadecimal digits of its key."""
        with self._transaction() as execute:
            execute("DELETE FROM parts WHERE hex(key) = ?", (mark,))
            execute("DELETE FROM uploads WHERE hex(key) = ?", (mark,))
        self._empty_wal()

    def _empty_wal(self) -> None:
        """Remove erased content from the WAL too. While another process reads, that process's next call does it."""
        with self._own_errors():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def find(self, key: str) -> Entry | None:
        """Return the entry with that key, or None.

        Raises:
            JournalError: The entry is damaged, and the error has its `file_id`; or the journal cannot be read.
        """
        with self._own_errors():
            # Fetched at once, because a cursor in an error's traceback would keep the file open.
            execute = self._connection.execute
            found = execute("SELECT told, plan FROM uploads WHERE key = ?", (key,)).fetchall()
            receipts = execute("SELECT number, size, told FROM parts WHERE key = ?", (key,)).fetchall()
        if not found:
            return None
        try:
            entry = read_entry(found[0][0], found[0][1], receipts)
        except (ValueError, PlanError):
            entry = None
        if entry is not None and entry.identity.key == key:
            return entry
        self._damaged[key] = "its entry cannot be read"
        row = self._row(mark_of(key), found[0][0])
        raise JournalError(row.complaint, path=self.path, file_id=row.pending.file_id, advice="discard it")

    def pending(self) -> list[Row]:
        """Return all recorded uploads without their plans; of damaged ones, what can be read."""
        with self._own_errors():
            found = self._connection.execute("SELECT hex(key), told FROM uploads").fetchall()
            rows = [self._row(*one) for one in found]
        count = Counter(row.pending.file_id for row in rows)
        # A damaged row may be a copy of another one. Discarding it must not delete the other row's file.
        return [row.without_file() if row.is_damaged and count[row.pending.file_id] > 1 else row for row in rows]

    def _row(self, mark: str, text: object) -> Row:
        """Read a row without its plan. Each row has a separate query, so that a damaged one does not hide others."""
        execute = self._connection.execute
        key = bytes.fromhex(mark).decode("ascii", "replace")
        # By the index for a valid key; a damaged one may be of any type, and only `hex()` finds it.
        where, which = ("key = ?", key) if is_key(key) else ("hex(key) = ?", mark)
        sent: object = 0
        damage = self._damaged.get(key)
        try:
            read = execute(
                "SELECT (SELECT coalesce(sum(size), 0) FROM parts WHERE parts.key = uploads.key), "
                f"{self._damage} FROM uploads WHERE {where}",
                (which,),
            ).fetchall()
            if read:  # otherwise another process has erased it since
                sent, found = read[0]
                damage = damage or found
        except sqlite3.DatabaseError as error:
            if primary_code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
                raise
            damage = "the file is damaged where its parts are"
        row = read_row(mark, text, sent, damage=damage)
        if not row.is_damaged:
            return row
        head: list[Any] = []
        with contextlib.suppress(sqlite3.DatabaseError):
            head = execute(f"SELECT substr(plan, 1, {HEAD}) FROM uploads WHERE {where}", (which,)).fetchall()
        return read_row(mark, text, sent, plan=head[0][0] if head else None, damage=damage)

    # -- claims ------------------------------------------------------------------------------------------------------

    def own(self, key: str, owner: object) -> bool:
        """Claim an upload for this process and for the owner, an upload in it; return False if another one has it.

        The claim is void when the process ends, however that happens.
        """
        with self._own_errors():
            # Used as a lock only: nothing is written to the journal, so there is no disk to wait for.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                return self._claims.take(key, owner)
            finally:
                self._connection.execute("ROLLBACK")

    def has(self, key: str) -> bool:
        """Return whether an owner has claimed an upload through this open journal."""
        return self._claims.has(key)

    def release(self, owner: object) -> None:
        """Release the owner's claim, if any."""
        self._claims.release(owner)


def make_file(path: str) -> None:
    """Create the file, readable by its owner only from the first byte on. An existing file is not modified.

    Raises:
        OSError: The file cannot be created.
        JournalError: What is there is not a regular file of this user.
    """
    for folder in reversed(Path(path).absolute().parents):
        if not folder.exists():
            folder.mkdir(0o700, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | NO_FOLLOW, 0o600))
    except FileExistsError:
        # `lstat`, not `open`: closing the file would drop all POSIX locks that this process has on it.
        found = os.lstat(path)
        check_file(found, path)
        if found.st_size == 0 and _size_of(f"{path}-wal"):
            # Not left to SQLite, which would delete the WAL with the records in it.
            raise JournalError("is empty, but its WAL file is not", path=path, advice=MOVE_AWAY) from None


def check_beside(path: str) -> None:
    """Check the journal and every file beside it that SQLite would read.

    Raises:
        JournalError: One of them does not belong to this user alone.
    """
    check_file(os.lstat(path), path)
    for suffix in BESIDE:
        with contextlib.suppress(FileNotFoundError):
            check_file(os.lstat(f"{path}{suffix}"), path, os.path.basename(path) + suffix)


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def check_header(path: str) -> None:
    """Check a file's header without modifying the file.

    Through SQLite, because opening and closing the file here would drop the POSIX locks of this process on it.
    `immutable` prevents SQLite from reading other files, and from recovering a WAL into this one. All slashes of the
    path are encoded: after two of them SQLite expects a host, for which it would take the server of a Windows share.

    Raises:
        JournalError: The file is not a journal, or one of another version.
    """
    address = f"file:{quote(os.fsencode(os.path.abspath(path)), safe='')}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            if not _is_blank(connection):
                _check_mark(connection, path)
    except sqlite3.DatabaseError as error:
        if primary_code(error) == sqlite3.SQLITE_CORRUPT:
            return  # perhaps another process is copying its WAL into the file; the real connection will find out
        raise


def _is_blank(connection: sqlite3.Connection) -> bool:
    """Return whether the file has no schema: it is empty, or its creator was killed before the first commit."""
    return not any(_read(connection, name) for name in ("application_id", "user_version", "schema_version"))


def _check_mark(connection: sqlite3.Connection, path: str) -> None:
    if _read(connection, "application_id") != APPLICATION_ID:
        raise JournalError("is a database, but not a journal", path=path, advice=NAME_ANOTHER)
    if not 1 <= (version := _read(connection, "user_version")) <= VERSION:
        reason = f"is a journal of version {version}, and this library has version {VERSION}"
        raise JournalError(reason, path=path, advice=f"update the library, or {NAME_ANOTHER}")


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _has_json(connection: sqlite3.Connection) -> bool:
    """Return whether this SQLite has JSON functions: always since 3.38, in older versions if compiled with them."""
    try:
        connection.execute("SELECT json_valid('1')").fetchall()
    except sqlite3.OperationalError:
        return False
    return True


def primary_code(error: sqlite3.Error) -> int | None:
    """Return the primary result code of an error; None for an error of Python's module itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def message_for(error: sqlite3.Error) -> tuple[str, str]:
    """Return our message for an error of SQLite, and what to do."""
    code = primary_code(error)
    if code is None:
        return f"cannot be used: {type(error).__name__}", NAME_ANOTHER
    return MESSAGES.get(code, (f"cannot be used: SQLite's error {code}", NAME_ANOTHER))


def _read(connection: sqlite3.Connection, pragma: str) -> int:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)
