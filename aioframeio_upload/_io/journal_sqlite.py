"""The journal's SQLite file: readable by its owner only, and left alone where it is not a journal.

Everything here blocks, and runs in the one thread of `OpenJournal`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .._core.errors import JournalError, PlanError
from .._core.journal import Entry, Row, is_key, mark_of, read_entry, read_row, write_entry, write_receipt
from .._core.model import Receipt
from .claims import Claims
from .ownership import NO_FOLLOW, check_file, folder_warning, hide

log = logging.getLogger("aioframeio_upload")

APPLICATION_ID = 0x61665F6A
"""`af_j`, in the header of the file: what `file` and we know it by."""

VERSION = 1
"""Of the schema; a file of another one is left alone."""

BUSY = 10.0
"""Seconds to wait for another process's transaction, which takes milliseconds."""

BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite reads beside a file, and believes."""

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
    ) THEN 'its plan or its parts are not its own'
END
"""
"""An expression for what is wrong with an upload's plan and parts, as far as SQLite can find out; NULL for nothing."""

HEAD = 4096
"""Characters of a recorded plan that are looked at for its ids, where the rest of its row is damaged."""

WORDS = {
    sqlite3.SQLITE_BUSY: "database is locked",
    sqlite3.SQLITE_LOCKED: "database is locked",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_NOTADB: "is not a database",
    sqlite3.SQLITE_CORRUPT: "is damaged: parts of the file are not SQLite's",
    sqlite3.SQLITE_READONLY: "cannot be written to",
    sqlite3.SQLITE_PERM: "cannot be used: permission denied",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error",
    sqlite3.SQLITE_PROTOCOL: "cannot be locked; is it on a network file system?",
    sqlite3.SQLITE_NOMEM: "cannot be used: there is not enough memory",
    sqlite3.SQLITE_CONSTRAINT: "refuses what was to be recorded",
    sqlite3.SQLITE_ERROR: "has other tables than a journal",
}
"""What is said of SQLite's errors, by their primary code. Its own words may quote what is stored: part links."""

SCHEMA = f"""
BEGIN EXCLUSIVE;
CREATE TABLE uploads (key TEXT PRIMARY KEY, told TEXT NOT NULL, plan TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE parts (
    key TEXT NOT NULL REFERENCES uploads ON DELETE CASCADE,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    told TEXT NOT NULL,
    PRIMARY KEY (key, number)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


class SqliteJournal:
    """An open journal. Owned by one thread."""

    def __init__(self, path: str, sync: bool) -> None:
        self.path = path
        with self._told():
            place = os.path.abspath(path)
        self._claims = Claims(path, place)
        """By the full path, whatever the working directory is later."""
        self._damaged: dict[str, str] = {}
        """By key: what was found to be wrong with an upload's plan or receipts, which `pending` does not read."""
        with self._told():
            make_file(path)
            check_beside(path)
            prove_ours(path)
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
                # Again: in a folder that others may write to, something may have come since.
                check_beside(path)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, sync: bool) -> None:
        execute = self._connection.execute
        # What is no UTF-8 was not written here, and is found to be damaged; by default it is an error that quotes it.
        self._connection.text_factory = _decoded
        # What is erased is overwritten: links are credentials.
        execute("PRAGMA secure_delete = ON")
        execute("PRAGMA foreign_keys = ON")
        self._damage = DAMAGE if _has_json(self._connection) else "NULL"
        """What is asked of a plan that is not read: SQLite needs no lock of Python's, and a plan may be megabytes."""
        execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        if _is_blank(self._connection):
            try:
                # Not in WAL mode yet: so the file's own header tells from the first commit on what it is.
                self._connection.executescript(SCHEMA)
            except sqlite3.OperationalError:
                self._connection.rollback()
                if _is_blank(self._connection):  # and not made by another process at the same moment
                    raise
        _prove_mark(self._connection, self.path)
        (mode,) = execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise JournalError("SQLite cannot keep a WAL there; is it a network file system?", path=self.path)

    def close(self) -> None:
        """Close it; what is owned is let go."""
        self._claims.release_all()
        with self._told():
            self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Make errors of SQLite and of the system ones of ours, which quote nothing that is stored."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(words_for(error), path=self.path) from None
        except OSError as error:
            raise JournalError(error.strerror or type(error).__name__, path=self.path) from error

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself where the disk is full.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    # -- facts -------------------------------------------------------------------------------------------------------

    def begin(self, entry: Entry) -> None:
        """Record an upload whose file was just created; what was recorded under its key goes."""
        key, plan = entry.identity.key, entry.plan.to_json()
        with self._transaction() as execute:
            execute("DELETE FROM uploads WHERE key = ?", (key,))
            # They go with their upload; but of a damaged one some may be left, and would count as this file's.
            execute("DELETE FROM parts WHERE key = ?", (key,))
            execute("INSERT INTO uploads VALUES (?, ?, ?)", (key, write_entry(entry), plan))

    def note(self, arrived: Sequence[tuple[str, Receipt]]) -> list[str | None]:
        """Record that S3 has some parts, each of the upload with that key, and wait for the disk once.

        Returns:
            What keeps each of them out, which is no matter of the others: its upload is gone. None where it is in.
        """
        refused: list[str | None] = []
        with self._transaction() as execute:
            for key, receipt in arrived:
                row = key, receipt.number, receipt.size, write_receipt(receipt)
                try:
                    execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", row)
                    refused.append(None)
                except sqlite3.IntegrityError:  # of the statement; the transaction goes on
                    refused.append("its upload is not recorded any more")
        return refused

    def drop(self, key: str, file_id: str) -> None:
        """Erase an upload, links included, if it is that file's still: nobody has begun anew since."""
        with self._transaction() as execute:
            found = execute("SELECT told FROM uploads WHERE key = ?", (key,)).fetchall()
            if found and read_row(mark_of(key), found[0][0]).pending.file_id == file_id:
                execute("DELETE FROM uploads WHERE key = ?", (key,))
        self._empty_wal()

    def erase(self, mark: str) -> None:
        """Erase a row, whatever is in it, by the hexadecimal digits of its key."""
        with self._transaction() as execute:
            execute("DELETE FROM parts WHERE hex(key) = ?", (mark,))
            execute("DELETE FROM uploads WHERE hex(key) = ?", (mark,))
        self._empty_wal()

    def _empty_wal(self) -> None:
        """Remove what was erased from the WAL, too. Where another process reads, its own next one does it."""
        with self._told():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def find(self, key: str) -> Entry | None:
        """Give what is recorded under a key.

        Raises:
            JournalError: It is damaged, and the error has its `file_id`; or the journal cannot be read.
        """
        with self._told():
            # Fetched at once: a cursor that an error's traceback keeps would keep the file open, too.
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
        self._damaged[key] = "what is recorded of it cannot be read"
        row = self._row(mark_of(key), found[0][0])
        raise JournalError(row.complaint, path=self.path, file_id=row.pending.file_id)

    def pending(self) -> list[Row]:
        """Give all that is recorded, without the plans; what is damaged too, as far as it can be read."""
        with self._told():
            found = self._connection.execute("SELECT hex(key), told FROM uploads").fetchall()
            rows = [self._row(*one) for one in found]
        count = Counter(row.pending.file_id for row in rows)
        # A copy of another row tells that one's file, and must not stand for it.
        return [row.without_file() if row.is_damaged and count[row.pending.file_id] > 1 else row for row in rows]

    def _row(self, mark: str, told: object) -> Row:
        """Read a row without its plan, and by itself: a damaged one keeps no other from being read."""
        execute = self._connection.execute
        key = bytes.fromhex(mark).decode("ascii", "replace")
        # By the index wherever that finds it: a damaged key may be of any type.
        where, which = ("key = ?", key) if is_key(key) else ("hex(key) = ?", mark)
        sent: object = 0
        damage = self._damaged.get(key)
        try:
            read = execute(
                "SELECT (SELECT coalesce(sum(size), 0) FROM parts WHERE parts.key = uploads.key), "
                f"{self._damage} FROM uploads WHERE {where}",
                (which,),
            ).fetchall()
            if read:  # erased since by another process otherwise
                sent, found = read[0]
                damage = damage or found
        except sqlite3.DatabaseError as error:
            if primary_code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
                raise
            damage = "the file is damaged where its parts are"
        row = read_row(mark, told, sent, damage=damage)
        if not row.is_damaged:
            return row
        head: list[Any] = []
        with contextlib.suppress(sqlite3.DatabaseError):
            head = execute(f"SELECT substr(plan, 1, {HEAD}) FROM uploads WHERE {where}", (which,)).fetchall()
        return read_row(mark, told, sent, plan=head[0][0] if head else None, damage=damage)

    # -- who is at it ------------------------------------------------------------------------------------------------

    def own(self, key: str, owner: object) -> bool:
        """Take an upload for this process and for one upload in it, the owner; False where another one has it.

        When its process ends, however that happens, it is free.
        """
        with self._told():
            # Only a lock: nothing is written to the journal, and so there is no disk to wait for.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                return self._claims.take(key, owner)
            finally:
                self._connection.execute("ROLLBACK")

    def release(self, owner: object) -> None:
        """Let go of what the owner has taken, if it has."""
        self._claims.release(owner)


def make_file(path: str) -> None:
    """Make the file, readable by its owner only from the first byte on; one that is there is left as it is.

    Raises:
        OSError: It cannot be made.
        JournalError: What is there is no file, or another user's.
    """
    for folder in reversed(Path(path).absolute().parents):
        if not folder.exists():
            folder.mkdir(0o700, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | NO_FOLLOW, 0o600))
    except FileExistsError:
        # Looked at, not opened: closing it would drop the POSIX locks that this process has on it.
        found = os.lstat(path)
        check_file(found, path)
        if found.st_size == 0 and _size_of(f"{path}-wal"):
            # SQLite would throw the WAL away.
            raise JournalError("is empty, and what belongs to it is not", path=path) from None


def check_beside(path: str) -> None:
    """Check the journal, and every file beside it that SQLite would read.

    Raises:
        JournalError: One of them is not this user's alone.
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


def prove_ours(path: str) -> None:
    """Look at a file's header without touching the file.

    By SQLite, as a file of its own that was opened and closed here would drop the locks that this process has on the
    journal: POSIX locks belong to the process. `immutable` keeps it from reading, or recovering into, anything else.

    Raises:
        JournalError: It is no journal, or one of another version.
    """
    address = f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            if not _is_blank(connection):
                _prove_mark(connection, path)
    except sqlite3.DatabaseError as error:
        if primary_code(error) == sqlite3.SQLITE_CORRUPT:
            return  # another process is copying its WAL into the file at this moment; SQLite itself will tell
        raise


def _is_blank(connection: sqlite3.Connection) -> bool:
    """Say whether there is nothing in it: a file without bytes, or of one who was killed before the first commit."""
    return not any(_read(connection, name) for name in ("application_id", "user_version", "schema_version"))


def _prove_mark(connection: sqlite3.Connection, path: str) -> None:
    if _read(connection, "application_id") != APPLICATION_ID:
        raise JournalError("is a database, but no journal", path=path)
    if (version := _read(connection, "user_version")) != VERSION:
        raise JournalError(f"is a journal of version {version}; this library has version {VERSION}", path=path)


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _has_json(connection: sqlite3.Connection) -> bool:
    """Return whether this SQLite knows JSON; every one since 3.38 does, and older ones where they were built so."""
    try:
        connection.execute("SELECT json_valid('1')").fetchall()
    except sqlite3.OperationalError:
        return False
    return True


def primary_code(error: sqlite3.Error) -> int | None:
    """Return SQLite's code of an error, without what only refines it; None for an error of Python's module."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def words_for(error: sqlite3.Error) -> str:
    """Return what is said of an error of SQLite."""
    code = primary_code(error)
    if code is None:
        return f"cannot be used: {type(error).__name__}"
    return WORDS.get(code, f"cannot be used: SQLite's error {code}")


def _read(connection: sqlite3.Connection, pragma: str) -> int:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)
