"""The kinds of sources, each opened so that a part of it can be read, and read again."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Protocol

import aiofiles

from .._core.errors import SourceChanged, SourceError
from .._core.journal import EDGE, Fingerprint
from .._core.model import Part
from .files import FilePartReader, PartReader, ReadThreads, SharedFile, opened, reason_of
from .foreign import await_foreign
from .source_kinds import Source, is_stream
from .spool import SeekableSource, Spool, StreamSource, unreadable
from .tree_path import TreePath


class OpenSource(Protocol):
    """A source while its upload runs. Owned by that upload, which closes it."""

    size: int
    path: str | None
    replayable: bool
    """Whether it can be sent from its beginning once more."""
    modified_ns: int | None
    """When it was last written to, where that can be known."""

    def lend(self, part: Part) -> AbstractAsyncContextManager[PartReader]:
        """Lend a part's bytes; while they are lent they can be read any number of times."""
        ...

    async def check(self) -> None:
        """Raise SourceChanged if it is not what it was when it was opened, SourceError if it does not answer."""

    async def fingerprint(self) -> Fingerprint | None:
        """Give what a later run can tell it by; None for what is no file."""

    def close(self) -> None:
        """Let go of what was opened here; a read that still runs in its thread ends first."""


async def open_source(
    source: Source, size: int | None, executor: ReadThreads, spool: Spool, *, stream_size: int | None = None
) -> OpenSource:
    """Open a source, off the loop, and find out its size. A caller's object is left at its position.

    Args:
        source: Of a kind that `check_kind` let through.
        size: As declared: what an object is taken to have whose end would have to be looked for.
        executor: The threads that read it.
        spool: Where the parts of a stream wait.
        stream_size: What a stream holds, where that is not the whole file.

    Raises:
        SourceError: It is missing, unreadable, empty, no file, or a file object that another upload reads; or it does
            not answer.
    """
    found: OpenSource
    if isinstance(source, str | os.PathLike):
        opener = source.open if isinstance(source, TreePath) else None
        found = await _open_path(os.fspath(source), executor, opener)
    elif isinstance(source, bytes | bytearray | memoryview):
        found = MemorySource(memoryview(source).cast("B"))
    else:
        returned = spool.borrow(source)
        try:
            found = await _open_object(source, size, stream_size, executor, spool, returned)
        except BaseException:
            returned()
            raise
    if found.size < 1:
        found.close()
        raise SourceError("is empty, and Frame.io does not accept empty files", path=found.path)
    return found


def check_size(source: OpenSource, declared: int | None) -> int:
    """Give the source's size if it is the declared one."""
    if declared is not None and declared != source.size:
        raise SourceError(f"has {source.size} bytes, not {declared} as declared", path=source.path)
    return source.size


class FileSource:
    """A file, ours or the caller's, of which any slice can be read at any time."""

    path: str | None = None
    replayable = True

    def __init__(
        self, file: SharedFile, start: int, size: int, executor: ReadThreads, modified_ns: int | None = None
    ) -> None:
        self.size = size
        self.modified_ns = modified_ns
        self._file = file
        self._start = start
        self._executor = executor

    @asynccontextmanager
    async def lend(self, part: Part) -> AsyncIterator[PartReader]:
        """Lend the part where it lies."""
        yield FilePartReader(self._file, self._start + part.offset, self._executor)

    async def check(self) -> None:
        """Look whether it answers; a read that comes short tells of itself."""
        await self._executor.bounded(self._file.settled, self.path)

    async def fingerprint(self) -> Fingerprint | None:
        """None: the caller's object is no file that a later run could find."""
        return None

    def close(self) -> None:
        """Close the file if it was opened here."""
        self._file.close()


class PathSource(FileSource):
    """A file, opened once; its parts are read at their offsets, without a cursor to share."""

    def __init__(self, path: str, file: SharedFile, found: _Look, executor: ReadThreads) -> None:
        super().__init__(file, 0, found.size, executor, found.mtime_ns)
        self.path: str | None = path
        self._before = found
        self._edges: str | None = None
        self._hashing = threading.Lock()  # by the first of many parts

    async def check(self) -> None:
        """Compare what the path leads to with what was opened.

        Raises:
            SourceChanged: It is something else.
            SourceError: It is away: whether it has changed cannot be told.
        """
        await super().check()
        await self._executor.ask(self._look_again, path=self.path)

    async def fingerprint(self) -> Fingerprint | None:
        """Return its size and time of change, and a hash of its two ends."""
        edges = await self._executor.ask(self._hash_edges, path=self.path)
        return Fingerprint(self._before.size, self._before.mtime_ns, edges)

    def _look_again(self) -> None:
        before = self._before
        try:
            now = _look(self.path or "")
        except OSError as error:
            reason = f"cannot be reached any more: {reason_of(error)}"
            raise SourceError(reason, path=self.path, away=True) from error
        how = None
        if not now.is_file:
            how = "is no regular file any more"
        elif now.size != before.size:
            how = f"had {before.size} bytes and now has {now.size}"
        elif now.mtime_ns != before.mtime_ns:
            how = "was written to"
        elif self._edges is None:
            self._hash_edges()  # to compare with, before the first byte is sent
        elif now.ctime_ns != before.ctime_ns:
            # Mostly a chmod, a hard link, a rename or an attribute that a backup has set; but also what wrote to the
            # file and put its time back. (On Windows it is the time of creation.)
            if self._read_edges() != self._edges:
                how = "was written to, and its time put back"
            self._before = now
        if how is not None:
            raise SourceChanged(f"changed while it was sent: it {how}", path=self.path)

    def _hash_edges(self) -> str:
        with self._hashing:
            if self._edges is None:
                self._edges = self._read_edges()
            return self._edges

    def _read_edges(self) -> str:
        digest, length = hashlib.sha256(), min(self.size, EDGE)
        for offset in (0, self.size - length):
            edge = memoryview(bytearray(length))
            self._file.fill(offset, edge)
            digest.update(edge)
        return digest.hexdigest()


class MemorySource:
    """Bytes that the caller holds; nothing is copied."""

    path: str | None = None
    replayable = True
    modified_ns: int | None = None

    def __init__(self, view: memoryview) -> None:
        self.size = len(view)
        self._view = view

    @asynccontextmanager
    async def lend(self, part: Part) -> AsyncIterator[PartReader]:
        """Lend the part where it lies."""
        # Let go at once, not when the collector comes by: a caller's bytearray cannot be resized before.
        with self._view[part.offset : part.offset + part.size] as view:
            yield _MemoryPartReader(view)

    async def check(self) -> None:
        """Nothing to check: the memory is the caller's to leave alone."""

    async def fingerprint(self) -> Fingerprint | None:
        """None: no later run has these bytes."""
        return None

    def close(self) -> None:
        """Let go of the caller's memory."""
        self._view.release()


class _MemoryPartReader:
    def __init__(self, view: memoryview) -> None:
        self._view = view

    def peek(self, offset: int, buffer: memoryview) -> memoryview:
        return self._view[offset : offset + len(buffer)]

    async def read(self, offset: int, buffer: memoryview) -> memoryview:
        return self.peek(offset, buffer)


async def _open_path(path: str, executor: ReadThreads, opener: Callable[[str, int], int] | None = None) -> PathSource:
    try:
        # Looked at before it is opened: opening a FIFO would wait for its writer.
        mode = (await executor.ask(os.stat, path, path=path)).st_mode
        if not stat.S_ISREG(mode):
            raise SourceError("is a directory" if stat.S_ISDIR(mode) else "is not a regular file", path=path)
        handle = partial(aiofiles.open, path, "rb", executor=executor, opener=opener)
        file = await executor.answer(lambda: opened(handle(), path), path)
    except OSError as error:
        raise SourceError(reason_of(error), path=path, away=True) from error
    except ValueError:  # a NUL byte in it
        raise SourceError("is no path", path=path.replace("\0", "\\0")) from None
    try:
        found = await executor.ask(_look, file.file.fileno(), path=path)
    except OSError as error:  # the share has gone in between
        file.close()
        raise SourceError(reason_of(error), path=path, away=True) from error
    except BaseException:
        file.close()
        raise
    return PathSource(path, file, found, executor)


@dataclass(frozen=True, slots=True)
class _Look:
    """What tells a file from what it was. No inode: network storage gives it another one when it is mounted again."""

    is_file: bool
    size: int
    mtime_ns: int
    ctime_ns: int


def _look(path: str | int) -> _Look:
    found = os.stat(path)
    return _Look(stat.S_ISREG(found.st_mode), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


ASYNC_HANDLES = ("_file", "wrapped")
"""Where aiofiles and anyio keep the file behind a handle of theirs."""


# -- the caller's objects ----------------------------------------------------------------------------------------------


async def _open_object(
    source: Any,
    size: int | None,
    stream_size: int | None,
    executor: ReadThreads,
    spool: Spool,
    returned: Callable[[], None],
) -> OpenSource:
    """Open a caller's object, from its position to its end; it is never closed here."""
    if is_stream(source):
        return await _open_stream(source, stream_size or size, executor, spool, returned)
    try:
        found = await executor.ask(_open_anywhere, source, returned)
        if found is not None:
            file, start, length, modified_ns = found
            return FileSource(file, start, length, executor, modified_ns)
        if not await executor.ask(_is_seekable, source):
            return await _open_stream(source, stream_size or size, executor, spool, returned)
        start, measured, modified_ns = await executor.ask(_measure, source, size)
    except SourceError as error:
        if not error.is_away:
            raise
        raise SourceError(f"the file object {error}; with size= its end is not looked for", away=True) from error
    except Exception as error:  # a caller's file object may raise whatever it likes; it is told as the cause
        raise unreadable(error) from error
    return SeekableSource(source, start, measured, executor, spool, returned, modified_ns)


def _open_anywhere(file: Any, returned: Callable[[], None]) -> tuple[SharedFile, int, int, int | None] | None:
    """Open an object of which any slice can be read at the same price, or return None.

    These are memory and the files that Python itself opens, by their exact types: a subclass may read something else
    than its descriptor does, and so may all that merely has a `fileno()`. That of a `GzipFile` is the packed file's.
    Every other object is read in order: to seek in it may mean to fetch, or to unpack, all that lies before.
    """
    if type(file) is io.BytesIO:
        start = file.tell()
        return SharedFile(file, returned=returned), start, max(0, file.getbuffer().nbytes - start), None
    if isinstance(file, tempfile._TemporaryFileWrapper):
        file = file.file  # documented: the true file object; the wrapper only deletes it
    raw = _true_file(file)
    if raw is None:
        return None
    if not file.readable():
        raise SourceError("the file object cannot be read: it is not open for reading")
    file.flush()  # a buffer may hold what was written and is not in the file yet
    start, found = file.tell(), os.fstat(raw.fileno())
    size = max(0, found.st_size - start)
    if not hasattr(os, "pread"):  # Windows: its own cursor is moved, under a lock
        return SharedFile(file, returned=returned), start, size, found.st_mtime_ns
    # A descriptor of our own: the caller may close the file, and its number then becomes another file's. `pread` leaves
    # the caller's position alone, which both share.
    own = io.FileIO(os.dup(raw.fileno()))
    return SharedFile(own, owner=own, returned=returned), start, size, found.st_mtime_ns


def _true_file(file: Any) -> io.FileIO | None:
    """Return the file on disk of which an object gives the very bytes, or None."""
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    is_true = type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
    return raw if is_true else None


def _is_seekable(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return seekable is not None and bool(seekable())


def _measure(file: Any, declared: int | None) -> tuple[int, int, int | None]:
    """Return an object's position, what it holds from there on, and when that was last written to.

    Its end is looked for only where no size was declared: what is packed has to be unpacked for that.
    """
    start = file.tell()
    size = declared
    if size is None:
        size = max(0, file.seek(0, os.SEEK_END) - start)
        file.seek(start)
    return start, size, _modified_ns(file)


def _modified_ns(file: Any) -> int | None:
    if isinstance(file, tempfile.SpooledTemporaryFile):
        return None  # asked for its descriptor it would move from memory to the disk
    try:
        found = os.fstat(file.fileno())
    except (OSError, AttributeError, TypeError, ValueError):
        return None
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else None


async def _open_stream(
    stream: Any, size: int | None, executor: ReadThreads, spool: Spool, returned: Callable[[], None]
) -> StreamSource:
    told = size if size is not None else await _own_size(stream, executor)
    if told is None:
        raise SourceError("a stream needs size=: Frame.io makes the part links from it")
    return StreamSource(stream, told, executor, spool, returned)


async def _own_size(stream: Any, executor: ReadThreads) -> int | None:
    """The size that a stream tells itself: an UploadFile's `size`, or that of the file behind an async handle."""
    told = getattr(stream, "size", None)
    if isinstance(told, int) and not isinstance(told, bool):
        return told
    behind = next((getattr(stream, name) for name in ASYNC_HANDLES if hasattr(stream, name)), None)
    if behind is None or not iscoroutinefunction(getattr(stream, "tell", None)):
        return None
    try:
        raw = await executor.ask(_true_file, behind)
        if raw is None:
            return None
        found = await executor.ask(os.stat, raw.fileno())
        return found.st_size - int(await await_foreign(stream.tell()))
    except Exception as error:  # as above
        raise unreadable(error) from error
