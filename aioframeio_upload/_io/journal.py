"""Provide the journal to asyncio code: SQLite runs in one separate thread, so that the loop never waits for a disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio

from .._core.errors import JournalError
from .._core.journal import Entry, Row, SentFile
from .._core.model import Receipt
from .._core.public import public
from .._core.redact import without_frames
from .._core.words import RESUME

if TYPE_CHECKING:
    from .journal_sqlite import SqliteJournal

T = TypeVar("T")


@public
@dataclass(frozen=True, slots=True)
class Journal:
    """A file that records uploads, so that they survive the process. Any number of uploads and processes can share it.

    Args:
        path: A SQLite file, created with its folders if it does not exist. It holds part links, which are credentials,
            so only its owner can read it. It must be on a local disk: locks on network file systems are unreliable.
        sync: Wait for the disk after each write. That takes 1 to 10 ms, in a thread, and writes that come meanwhile
            share the next wait. If False, a power failure may lose the last writes, and their parts are sent again; a
            crash of the process loses nothing either way.
    """

    path: str | os.PathLike[str]
    sync: bool = True

    def __post_init__(self) -> None:
        path = os.fspath(self.path)
        if not isinstance(path, str):
            raise TypeError("the journal's path is not text")
        if not path:
            raise ValueError("the journal's path is empty; name a file, or pass journal=None to record nothing")
        if "\0" in path:
            raise ValueError("the journal's path contains a NUL character, which file names cannot contain")
        if path == ":memory:" or path.lower().startswith("file:"):
            raise ValueError(
                f"{path!r} is not the path of a file: a journal is for the next process, which cannot read a database"
                " in memory; pass a path (with ./ before a name that looks like this one), or journal=None to record"
                " nothing"
            )


@dataclass(frozen=True, slots=True)
class Note:
    """A receipt to be recorded for the upload with that key."""

    key: str
    receipt: Receipt
    recorded: asyncio.Future[None]


class AsyncJournal:
    """An open journal. Owned by an Uploader.

    All operations run in the order of the calls. A cancellation does not undo one: what was handed over is recorded.
    """

    def __init__(self, journal: Journal) -> None:
        self.path: str = os.fspath(journal.path)
        self._sync = journal.sync
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aioframeio-upload-journal")
        self._file: SqliteJournal | None = None
        self._waiting: list[Note] = []
        """Notes that wait for the previous batch to be written. Like `_batches`, used on the loop only."""
        self.warned: set[str] = set()
        """The keys of damaged uploads that were logged already."""
        self._batches = 0
        """Number of batches that are being written."""

    async def open(self) -> None:
        """Open the file.

        Raises:
            JournalError: It is not a journal, has another version, belongs to another user, or cannot be opened.
        """
        try:
            await self._call(self._open)
        except BaseException:
            await self.close()
            raise

    def _open(self) -> None:
        # Imported here, so that `import aioframeio_upload` does not load SQLite and filelock.
        from .journal_sqlite import SqliteJournal

        self._file = SqliteJournal(self.path, self._sync)

    async def close(self) -> None:
        """Close the file after all earlier operations; bounded by SQLite's busy timeout."""
        try:
            with anyio.CancelScope(shield=True):
                await self._call(self._close)
        finally:
            self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    async def begin(self, entry: Entry) -> None:
        """Record an upload whose file was just created."""
        await self._call(lambda: self._opened.begin(entry))

    async def note(self, key: str, receipt: Receipt) -> None:
        """Record that S3 has a part.

        Parts that arrive while a batch is being written form the next batch, with a single wait for the disk (group
        commit). So the wait does not grow with the parts in flight, which tend to end together.
        """
        note = Note(key, receipt, asyncio.get_running_loop().create_future())
        self._waiting.append(note)
        if not self._batches:
            self._record_waiting()
        await note.recorded

    def _record_waiting(self) -> None:
        """Hand over the waiting notes, before any later operation, even if their callers were cancelled."""
        if not self._waiting:
            return
        notes, self._waiting = self._waiting, []
        rows = [(note.key, note.receipt) for note in notes]
        try:
            recording = asyncio.get_running_loop().run_in_executor(self._thread, lambda: self._opened.note(rows))
        except RuntimeError as error:  # the interpreter is shutting down, and executors accept nothing more
            self._resolve(notes, [str(error)] * len(notes), error)
            return
        self._batches += 1
        recording.add_done_callback(lambda done: self._recorded(notes, done))

    def _recorded(self, notes: list[Note], done: asyncio.Future[list[str | None]]) -> None:
        self._batches -= 1
        failure = done.exception()
        reason = failure.reason if isinstance(failure, JournalError) else repr(failure)
        self._resolve(notes, done.result() if failure is None else [reason] * len(notes), failure)
        if not self._batches:
            self._record_waiting()

    def _resolve(self, notes: list[Note], reasons: Sequence[str | None], cause: BaseException | None) -> None:
        """Wake the callers; each gets a separate error object, because each raises it in another task."""
        for note, reason in zip(notes, reasons, strict=True):
            if note.recorded.done():
                continue  # its caller was cancelled
            if reason is None:
                note.recorded.set_result(None)
            else:
                advice = cause.advice if isinstance(cause, JournalError) else RESUME
                refusal = JournalError(reason, path=self.path, advice=advice)
                refusal.__cause__ = cause
                note.recorded.set_exception(refusal)

    async def drop(self, key: str, file_id: str) -> None:
        """Erase an upload, if it still belongs to that file."""
        await self._call(lambda: self._opened.drop(key, file_id))

    async def finish(self, key: str, place: str, sent: SentFile) -> None:
        """Erase an upload that has ended well, as `drop` does, and remember what was sent, at the cost of `drop`."""
        await self._call(lambda: self._opened.finish(key, place, sent))

    async def remember(self, place: str, sent: SentFile) -> None:
        """Remember a file that was sent to a place (`Identity.place`)."""
        await self._call(lambda: self._opened.remember(place, sent))

    async def sent(self, place: str) -> tuple[SentFile, ...]:
        """Return the files that were sent to a place, the latest first."""
        return await self._call(lambda: self._opened.sent(place))

    async def erase(self, mark: str) -> None:
        """Erase a row, whatever it contains, by the `mark` from `pending`."""
        await self._call(lambda: self._opened.erase(mark))

    async def pending(self) -> list[Row]:
        """Return all recorded uploads."""
        return await self._call(lambda: self._opened.pending())

    async def own(self, key: str, owner: object) -> bool:
        """Claim an upload; return False if another process, or another owner here, has claimed it."""
        return await self._call(lambda: self._opened.own(key, owner))

    async def has(self, key: str) -> bool:
        """Return whether an owner here, and no other process or Uploader, has claimed an upload."""
        return await self._call(lambda: self._opened.has(key))

    async def find(self, key: str) -> Entry | None:
        """Return the entry with that key, or None."""
        return await self._call(lambda: self._opened.find(key))

    async def release(self, owner: object) -> None:
        """Release the owner's claim."""
        await self._call(lambda: self._opened.release(owner))

    def release_later(self, owner: object) -> None:
        """Release the owner's claim without waiting for that."""
        self._record_waiting()
        self._thread.submit(lambda: self._opened.release(owner))

    @property
    def _opened(self) -> SqliteJournal:
        assert self._file is not None
        return self._file

    async def _call(self, function: Callable[[], T]) -> T:
        self._record_waiting()
        try:
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, function))
        except BaseException as error:
            without_frames(error, causes=True)  # the frames hold entries, which contain part links
            raise
