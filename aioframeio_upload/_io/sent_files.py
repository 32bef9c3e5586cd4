"""Remember on disk which files of a watched folder were sent, so that the memory does not grow with their number."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.watching import Stamp
from .log import log

if TYPE_CHECKING:
    import sqlite3

MOST_BESIDE = 100_000
"""Files that are remembered in memory where the disk has no room: 40 MB. Older ones are looked up at Frame.io again."""

TABLE = """
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2000;
CREATE TABLE sent (
    folder TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, modified_ns TEXT NOT NULL, at REAL NOT NULL,
    changed_ns TEXT, crc64nvme TEXT, compared INTEGER NOT NULL,
    PRIMARY KEY (folder, name)
) WITHOUT ROWID
"""
"""Without synchronization, because the database is temporary; with a journal, in memory, so that a statement for which
the disk has no room changes nothing. The cache may take 2 MB. The time is text: a time after the year 2262, which a
damaged clock or `touch` can set, has more than the 64 bits of SQLite's integers."""


MOST_COMPARED = 3
"""How often a file of which only the change time differs is read in one run, and found to be the same. After that it
goes by its size and modification time: on some network shares the change time differs at each look."""


class Sent(NamedTuple):
    """What a file was when it was sent, or found to be at Frame.io."""

    stamp: Stamp
    at: float
    """When that was known (`anyio.current_time`)."""
    changed_ns: int | None = None
    """Its change time then."""
    crc64nvme: str | None = None
    """The checksum of its content then; None if it is not known, so that it cannot be compared."""
    compared: int = 0
    """How often its content was compared since, and was the same."""

    def is_same(self, stamp: Stamp, changed_ns: int | None) -> bool:
        """Return whether a file with this stamp and change time now needs no attention."""
        is_settled = self.crc64nvme is None or self.compared >= MOST_COMPARED
        return self.stamp == stamp and (self.changed_ns == changed_ns or is_settled)


COLUMNS = "size, modified_ns, at, changed_ns, crc64nvme, compared"


class SentFiles:
    """The files that one run of a watch has dealt with. Call it in threads: it uses the disk.

    SQLite's unnamed database (sqlite.org/inmemorydb.html, "temporary databases") is a file that is deleted while it is
    open, and written only when the cache is full. Each run begins with an empty one and compares with what is at
    Frame.io instead. What the disk has no room for is kept in memory. If the database cannot be read, it is begun anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._beside: dict[str, Sent] = {}
        """What could not be written, by path."""
        self._is_closed = False

    def find(self, path: str) -> Sent | None:
        """Return what a file was when it was sent; None if it was not."""
        folder, _, name = path.rpartition("/")
        with self._lock:
            if (beside := self._beside.get(path)) is not None:
                return beside
            rows = self._read(f"SELECT {COLUMNS} FROM sent WHERE folder = ? AND name = ?", folder, name)
        return _sent(*rows[0]) if rows else None

    def in_folder(self, folder: str) -> dict[str, Sent]:
        """Return what each file of a folder was when it was sent, by name."""
        with self._lock:
            rows = self._read(f"SELECT name, {COLUMNS} FROM sent WHERE folder = ?", folder)
            found = {name: _sent(*columns) for name, *columns in rows}
            for path, beside in self._beside.items():
                above, _, name = path.rpartition("/")
                if above == folder:
                    found[name] = beside
        return found

    def add(self, path: str, sent: Sent) -> None:
        """Remember a file."""
        import sqlite3  # a program that watches nothing does not need it

        folder, _, name = path.rpartition("/")
        stamp, changed = sent.stamp, None if sent.changed_ns is None else str(sent.changed_ns)
        row = folder, name, stamp.size, str(stamp.modified_ns), sent.at, changed, sent.crc64nvme, sent.compared
        with self._lock:
            self._beside.pop(path, None)
            try:
                self._execute("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            except (sqlite3.Error, OverflowError) as error:
                if not self._beside:
                    log.warning("what was sent is remembered in memory: the temporary list of it failed: %s", error)
                self._beside[path] = sent
                if len(self._beside) > MOST_BESIDE:
                    del self._beside[next(iter(self._beside))]

    def close(self) -> None:
        """Close and so delete the database; may be called at any time, from any thread. It is not opened again."""
        with self._lock:
            self._is_closed = True
            self._beside.clear()
            self._forget()

    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        import sqlite3

        try:
            return self._execute(statement, values)
        except sqlite3.Error as error:
            log.warning("what was sent is looked up at Frame.io again: the temporary list of it failed: %s", error)
            self._forget()
            return []

    def _execute(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Run a statement, with the lock held; nothing after `close`."""
        import sqlite3

        if self._is_closed:
            return []
        if self._database is None:
            # One connection, used under the lock by one thread at a time.
            database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            try:
                database.executescript(TABLE)
            except sqlite3.Error:
                database.close()
                raise
            self._database = database
        return self._database.execute(statement, values).fetchall()

    def _forget(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _sent(  # the columns of a row, in the order of `COLUMNS`
    size: int, modified_ns: str, at: float, changed_ns: str | None, crc64nvme: str | None, compared: int
) -> Sent:
    changed = None if changed_ns is None else int(changed_ns)
    return Sent(Stamp(size, int(modified_ns)), at, changed, crc64nvme, compared)
