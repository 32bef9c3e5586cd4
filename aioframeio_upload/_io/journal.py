"""The journal as the loop sees it: SQLite in one thread of its own, so that nothing here ever waits for a disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio

from .._core.errors import JournalError
from .._core.journal import Entry, Row
from .._core.model import Receipt
from .._core.redact import without_frames

if TYPE_CHECKING:
    from .journal_sqlite import SqliteJournal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Journal:
    """Where uploads are recorded, so that they survive the process; one file for any number of them and of processes.

    Args:
        path: A SQLite file, made with its folders where there is none. It holds part links, which are credentials: it
            is readable by its owner only. On this host, not on a network file system, where locks do not hold.
        sync: Wait for the disk at each fact, 1 to 10 ms in a thread; once for all that come meanwhile. Without, a power
            cut may cost the last ones, and their parts are sent again; a crash of the process costs none either way.
    """

    path: str | os.PathLike[str]
    sync: bool = True

    def __post_init__(self) -> None:
        path = os.fspath(self.path)
        if not isinstance(path, str):
            raise TypeError("the journal's path is not text")
        if not path:
            raise ValueError("the journal's path is empty; name a file, or give journal=None to record nothing")
        if "\0" in path:
            raise ValueError("the journal's path has a NUL character, which no file's name can have")
        if path == ":memory:" or path.lower().startswith("file:"):
            raise ValueError(
                f"{path!r} is no path of a file: a journal is there for the next process, which finds no database in"
                " memory; give a path (./ before a name that looks like this one), or journal=None to record nothing"
            )


@dataclass(frozen=True, slots=True)
class Note:
    """That S3 has a part of the upload with that key."""

    key: str
    receipt: Receipt
    recorded: asyncio.Future[None]


class AsyncJournal:
    """A journal in use. Owned by an Uploader.

    A cancellation takes back nothing: a fact that was on its way is recorded, and all are in the order of asking.
    """

    def __init__(self, journal: Journal) -> None:
        self.path = os.fspath(journal.path)
        self._sync = journal.sync
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aioframeio-upload-journal")
        self._file: SqliteJournal | None = None
        self._waiting: list[Note] = []
        """For the batch before it. Owned by the loop, and so is the next."""
        self.warned: set[str] = set()
        """The keys of damaged uploads that were told in the log."""
        self._batches = 0
        """How many are on their way to the file."""

    async def open(self) -> None:
        """Open the file.

        Raises:
            JournalError: It is no journal, of another version, another user's, or cannot be made or opened.
        """
        try:
            await self._call(self._open)
        except BaseException:
            await self.close()
            raise

    def _open(self) -> None:
        # Not before a journal is asked for: `import aioframeio_upload` loads neither SQLite nor filelock.
        from .journal_sqlite import SqliteJournal

        self._file = SqliteJournal(self.path, self._sync)

    async def close(self) -> None:
        """Close the file, after what was asked for before; bounded by SQLite's patience with other processes."""
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

        Parts that arrive while the disk is waited for are recorded together, with one more wait: so it does not grow
        with the parts in flight, which started together and end together. (Databases call it group commit.)
        """
        note = Note(key, receipt, asyncio.get_running_loop().create_future())
        self._waiting.append(note)
        if not self._batches:
            self._record_waiting()
        await note.recorded

    def _record_waiting(self) -> None:
        """Hand over what waits; before anything that is asked later, though nobody may wait for it any more."""
        if not self._waiting:
            return
        notes, self._waiting = self._waiting, []
        rows = [(note.key, note.receipt) for note in notes]
        try:
            recording = asyncio.get_running_loop().run_in_executor(self._thread, lambda: self._opened.note(rows))
        except RuntimeError as error:  # the interpreter ends, and its threads take nothing more
            self._tell(notes, [str(error)] * len(notes), error)
            return
        self._batches += 1
        recording.add_done_callback(lambda done: self._recorded(notes, done))

    def _recorded(self, notes: list[Note], done: asyncio.Future[list[str | None]]) -> None:
        self._batches -= 1
        failure = done.exception()
        reason = failure.reason if isinstance(failure, JournalError) else repr(failure)
        self._tell(notes, done.result() if failure is None else [reason] * len(notes), failure)
        if not self._batches:
            self._record_waiting()

    def _tell(self, notes: list[Note], reasons: Sequence[str | None], cause: BaseException | None) -> None:
        """Tell each of them: an error of its own, as each is raised in a task of its own."""
        for note, reason in zip(notes, reasons, strict=True):
            if note.recorded.done():
                continue  # nobody waits for it any more
            if reason is None:
                note.recorded.set_result(None)
            else:
                refusal = JournalError(reason, path=self.path)
                refusal.__cause__ = cause
                note.recorded.set_exception(refusal)

    async def drop(self, key: str, file_id: str) -> None:
        """Erase an upload, if it is that file's still."""
        await self._call(lambda: self._opened.drop(key, file_id))

    async def erase(self, mark: str) -> None:
        """Erase a row, whatever is in it, by the `mark` that `pending` gives."""
        await self._call(lambda: self._opened.erase(mark))

    async def pending(self) -> list[Row]:
        """Give all that is recorded."""
        return await self._call(lambda: self._opened.pending())

    async def own(self, key: str, owner: object) -> bool:
        """Take an upload; False where another process, or another owner here, has it."""
        return await self._call(lambda: self._opened.own(key, owner))

    async def find(self, key: str) -> Entry | None:
        """Give what is recorded under a key."""
        return await self._call(lambda: self._opened.find(key))

    async def release(self, owner: object) -> None:
        """Let go of what the owner has taken."""
        await self._call(lambda: self._opened.release(owner))

    def release_later(self, owner: object) -> None:
        """Let go of it, for a caller that cannot wait."""
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
            without_frames(error, causes=True)  # what is recorded has the links in it
            raise
