"""The journal's file: SQLite in WAL mode, nobody else's to read, left as it is where it is not ours.

Everything here blocks, and runs in the one thread of `OpenJournal`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import filelock

from .._core.errors import JournalError, PlanError
from .._core.journal import (
    Entry,
    Identity,
    PendingUpload,
    read_entry,
    read_pending,
    write_entry,
    write_receipt,
)
from .._core.model import Receipt

APPLICATION_ID = 0x61665F6A
"""`af_j`, in the header of the file: what `file` and we know it by."""

VERSION = 1
"""Of the schema; a file of another one is left alone."""

BUSY = 10.0
"""Seconds to wait for another process's transaction, which takes milliseconds."""

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


class JournalFile:
    """An open journal. Owned by one thread."""

    def __init__(self, path: str, sync: bool) -> None:
        self.path = path
        self._locks: dict[object, filelock.BaseFileLock] = {}
        with self._told():
            self._place = os.path.abspath(path)
            """Where the locks are, whatever the working directory is later."""
            make_file(path)
            prove_ours(path)
            hide(path)
            self._connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
            try:
                self._prepare(sync)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, sync: bool) -> None:
        execute = self._connection.execute
        # What is erased is overwritten: links are credentials.
        execute("PRAGMA secure_delete = ON")
        execute("PRAGMA foreign_keys = ON")
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
        for owner in tuple(self._locks):
            self.release(owner)
        with self._told():
            self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what SQLite and the system say in an error of ours; none of them quotes what is stored."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(str(error), path=self.path) from error
        except OSError as error:
            raise JournalError(error.strerror or type(error).__name__, path=self.path) from error
        except (ValueError, PlanError) as error:
            raise JournalError(f"is damaged: {error}", path=self.path) from error

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
                except sqlite3.IntegrityError as error:  # of the statement; the transaction goes on
                    refused.append(str(error))
        return refused

    def drop(self, key: str, file_id: str) -> None:
        """Erase an upload, links included, if it is that file's still: nobody has begun anew since."""
        with self._transaction() as execute:
            found = execute("SELECT told FROM uploads WHERE key = ?", (key,)).fetchall()
            if found and read_pending(found[0][0], 0)[1].file_id == file_id:
                execute("DELETE FROM uploads WHERE key = ?", (key,))
        with self._told():
            # The WAL still holds what was erased. Where another process reads, its own next one does it.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def find(self, key: str) -> Entry | None:
        """Give what is recorded under a key."""
        with self._told():
            # Fetched at once: a cursor that an error's traceback keeps would keep the file open, too.
            execute = self._connection.execute
            found = execute("SELECT told, plan FROM uploads WHERE key = ?", (key,)).fetchall()
            receipts = execute("SELECT number, size, told FROM parts WHERE key = ?", (key,)).fetchall()
            return read_entry(found[0][0], found[0][1], receipts) if found else None

    def pending(self) -> list[tuple[Identity, PendingUpload]]:
        """Give all that is recorded, without the plans."""
        with self._told():
            rows = self._connection.execute(
                "SELECT told, (SELECT coalesce(sum(size), 0) FROM parts WHERE parts.key = uploads.key) FROM uploads"
            )
            return [read_pending(*row) for row in rows.fetchall()]

    # -- who is at it ------------------------------------------------------------------------------------------------

    def own(self, key: str, owner: object) -> bool:
        """Take an upload for this process and for one upload in it, the owner; False where another one has it.

        The system lets go of the lock when its process ends, however that happens.
        """
        lock = filelock.FileLock(f"{self._place}-{key[:32]}.lock", timeout=0, mode=0o600, thread_local=False)
        with self._told():
            try:
                lock.acquire()
            except filelock.Timeout:
                return False
        self._locks[owner] = lock
        return True

    def release(self, owner: object) -> None:
        """Let go of what the owner has taken, if it has."""
        lock = self._locks.pop(owner, None)
        if lock is not None:
            # Before it is let go: nobody else can have taken it yet, and filelock sees a lock on a file without a name.
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
            with contextlib.suppress(OSError):
                lock.release()


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
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise JournalError("is no file", path=path) from None
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            raise JournalError("belongs to another user", path=path) from None
        if found.st_size == 0 and _size_of(f"{path}-wal"):
            # SQLite would throw the WAL away.
            raise JournalError("is empty, and what belongs to it is not", path=path) from None


def hide(path: str) -> None:
    """Take a journal that was there from all but its owner; before SQLite, which gives its WAL the same mode."""
    if os.stat(path).st_mode & 0o077:
        os.chmod(path, 0o600)


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
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:
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


def _read(connection: sqlite3.Connection, pragma: str) -> int:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)
