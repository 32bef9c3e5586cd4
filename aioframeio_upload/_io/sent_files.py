"""Remember on disk which files of a watched folder were sent, so that the memory does not grow with their number."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.watching import Stamp
from .log import log

if TYPE_CHECKING:
    import sqlite3

TABLE = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2000;
CREATE TABLE sent (
    folder TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (folder, name)
) WITHOUT ROWID
"""
"""Without journal and synchronization: the database is temporary. Its cache may take 2 MB."""


class Sent(NamedTuple):
    """What a file was when it was sent, or found to be at Frame.io."""

    stamp: Stamp
    at: float
    """When that was known (`anyio.current_time`)."""


class SentFiles:
    """The files that one run of a watch has dealt with. Call it in threads: it uses the disk.

    SQLite's unnamed database (sqlite.org/inmemorydb.html, "temporary databases") is a file that is deleted while it is
    open, and written only when the cache is full. Each run begins with an empty one and compares with what is at
    Frame.io instead. If the disk is full, everything is forgotten, which has the same effect.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def find(self, path: str) -> Sent | None:
        """Return what a file was when it was sent; None if it was not."""
        folder, _, name = path.rpartition("/")
        rows = self._run("SELECT size, modified_ns, at FROM sent WHERE folder = ? AND name = ?", folder, name)
        return Sent(Stamp(rows[0][0], rows[0][1]), rows[0][2]) if rows else None

    def in_folder(self, folder: str) -> dict[str, Stamp]:
        """Return what each file of a folder was when it was sent, by name."""
        rows = self._run("SELECT name, size, modified_ns FROM sent WHERE folder = ?", folder)
        return {name: Stamp(size, modified_ns) for name, size, modified_ns in rows}

    def add(self, path: str, stamp: Stamp, at: float) -> None:
        """Remember a file."""
        folder, _, name = path.rpartition("/")
        self._run("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?)", folder, name, *stamp, at)

    def close(self) -> None:
        """Close and so delete the database; may be called at any time, from any thread."""
        with self._lock:
            self._forget()

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        import sqlite3  # a program that watches nothing does not need it

        with self._lock:
            try:
                if self._database is None:
                    # One connection, used under the lock by one thread at a time.
                    self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
                    self._database.executescript(TABLE)
                return self._database.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                log.warning("what was sent is looked up at Frame.io again: the temporary list of it failed: %s", error)
                self._forget()
                return []

    def _forget(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
