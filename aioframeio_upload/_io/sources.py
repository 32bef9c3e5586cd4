"""Open sources of every kind, so that each part can be read, and read again for a retry."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Protocol

import aiofiles

from .._core.errors import SourceChanged, SourceError
from .._core.journal import EDGE, Fingerprint
from .._core.model import Part
from .._core.words import CHECK_PATH, LEAVE_OUT, SEND_STREAM, UPLOAD_FOLDER, advise_on_file, format_count
from .files import FilePartReader, PartReader, ReadThreads, SharedFile, opened, printable, reason_of
from .foreign import await_foreign
from .source_kinds import Source, is_stream
from .spool import SeekableSource, Spool, StreamSource, unreadable
from .tree_path import TreePath


class OpenSource(Protocol):
    """A source while its upload runs. Owned by that upload, which closes it."""

    size: int
    path: str | None
    replayable: bool
    """Whether it can be sent again from its beginning."""
    modified_ns: int | None
    """When it was last modified, if that is known."""
    changed_ns: int | None
    """When its content or status had been changed last as it was opened; None for anything but a path."""

    def lend(self, part: Part) -> AbstractAsyncContextManager[PartReader]:
        """Return a context in which the bytes of a part can be read any number of times."""
        ...

    async def check(self) -> None:
        """Raise SourceChanged if the source has changed since it was opened, SourceError if it does not answer."""

    async def fingerprint(self) -> Fingerprint | None:
        """Return evidence by which a later run recognises the source; None if it is not a file."""

    @property
    def unfinished(self) -> AsyncGenerator[Any] | None:
        """The caller's generator, if it was begun and has not ended; to be closed after the last read.

        Else its `finally` would run when the garbage collector finds it, or at the end of the program.
        """
        ...

    def close(self) -> None:
        """Close what was opened here, after any read that still runs in its thread."""


async def open_source(
    source: Source, size: int | None, executor: ReadThreads, spool: Spool, *, stream_size: int | None = None
) -> OpenSource:
    """Open a source, off the loop, and determine its size. The position of a caller's object is not changed.

    Args:
        source: A source of a kind that `check_kind` accepts.
        size: The declared size, used for objects whose end would have to be searched for.
        executor: The threads that read the source.
        spool: The temporary files for the parts of a stream.
        stream_size: The size of a stream, if it does not contain the whole file.

    Raises:
        SourceError: The source is missing, unreadable, empty, not a file, in use by another upload, or does not answer.
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
        subject = "the source " if found.path is None else ""
        raise SourceError(
            f"{subject}is empty, and Frame.io does not accept empty files", path=found.path, advice=LEAVE_OUT
        )
    return found


def check_size(source: OpenSource, declared: int | None) -> int:
    """Return the source's size; raise SourceError if another one was declared."""
    if declared is not None and declared != source.size:
        reason = f"has {format_count(source.size, 'byte')}, not {declared} as declared"
        raise SourceError(reason, path=source.path, advice="pass its own size, or none")
    return source.size


class FileSource:
    """An open file of which any slice can be read at any time."""

    path: str | None = None
    replayable = True
    unfinished = None
    changed_ns: int | None = None

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
        """Return a reader of the file itself; nothing is copied first."""
        yield FilePartReader(self._file, self._start + part.offset, self._executor)

    async def check(self) -> None:
        """Check that the file answers. That it is shorter than before is noticed by the read itself."""
        await self._executor.bounded(self._file.settled, self.path)

    async def fingerprint(self) -> Fingerprint | None:
        """Return None: a later run could not find the caller's object."""
        return None

    def close(self) -> None:
        """Close the file if it was opened here."""
        self._file.close()


class PathSource(FileSource):
    """A file by its path, opened once; parts are read at their offsets (`pread`), so they share no cursor."""

    def __init__(self, path: str, file: SharedFile, found: _Look, executor: ReadThreads) -> None:
        super().__init__(file, 0, found.size, executor, found.mtime_ns)
        self.path: str | None = path
        # Not that of a later look, before which a program may have written to the middle of the file.
        self.changed_ns: int | None = found.ctime_ns
        self._before = found
        self._edges: str | None = None
        self._hashing = threading.Lock()  # so that only the first of many concurrent parts hashes

    async def check(self) -> None:
        """Compare the file at the path with the one that was opened.

        Raises:
            SourceChanged: It is another file, or was modified.
            SourceError: It is away, so whether it has changed is unknown.
        """
        await super().check()
        await self._executor.ask(self._look_again, path=self.path)

    async def fingerprint(self) -> Fingerprint | None:
        """Return its size, modification time, and a hash of its two ends."""
        edges = await self._executor.ask(self._hash_edges, path=self.path)
        return Fingerprint(self._before.size, self._before.mtime_ns, edges)

    def _look_again(self) -> None:
        before = self._before
        try:
            now = _look(self.path or "")
        except OSError as error:
            reason = f"cannot be reached any more: {reason_of(error)}"
            raise SourceError(reason, path=self.path, away=True, advice=advise_on_file(error)) from error
        how = None
        if not now.is_file:
            how = "is no regular file any more"
        elif now.size != before.size:
            how = f"had {before.size} bytes and now has {now.size}"
        elif now.mtime_ns != before.mtime_ns:
            how = "was written to"
        elif self._edges is None:
            self._hash_edges()  # before the first byte is sent, to compare with later
        elif now.ctime_ns != before.ctime_ns:
            # Usually a chmod, a hard link, a rename or an attribute set by a backup; but also a program that wrote to
            # the file and restored its mtime. (On Windows `st_ctime_ns` is the creation time.)
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
    """A bytes-like object of the caller; nothing is copied."""

    path: str | None = None
    replayable = True
    unfinished = None
    modified_ns: int | None = None
    changed_ns: int | None = None

    def __init__(self, view: memoryview) -> None:
        self.size = len(view)
        self._view = view

    @asynccontextmanager
    async def lend(self, part: Part) -> AsyncIterator[PartReader]:
        """Return a reader of the caller's memory."""
        # Released at once, not by the garbage collector: a bytearray cannot be resized while a view of it exists.
        with self._view[part.offset : part.offset + part.size] as view:
            yield _MemoryPartReader(view)

    async def check(self) -> None:
        """Do nothing: the caller must not modify the memory while it is uploaded."""

    async def fingerprint(self) -> Fingerprint | None:
        """Return None: a later run does not have these bytes."""
        return None

    def close(self) -> None:
        """Release the caller's memory."""
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
        # The type is checked before the file is opened: opening a FIFO would wait for a writer.
        mode = (await executor.ask(os.stat, path, path=path)).st_mode
        if not stat.S_ISREG(mode):
            is_folder = stat.S_ISDIR(mode)
            raise SourceError(
                "is a folder" if is_folder else "is not a regular file",
                path=path,
                advice=UPLOAD_FOLDER if is_folder else SEND_STREAM,
            )
        handle = partial(aiofiles.open, path, "rb", executor=executor, opener=opener)
        file = await executor.answer(lambda: opened(handle(), path), path)
    except OSError as error:
        target = await executor.ask(_dangling_target, path, path=path) if isinstance(error, FileNotFoundError) else None
        reason = reason_of(error) if target is None else f"is a link to {target}, which does not exist"
        raise SourceError(reason, path=path, away=True, advice=advise_on_file(error)) from error
    except ValueError:  # the path contains a NUL byte
        raise SourceError("is not a valid path", path=path.replace("\0", "\\0"), advice=CHECK_PATH) from None
    try:
        found = await executor.ask(_look, file.file.fileno(), path=path)
    except OSError as error:  # for example, the network share disappeared meanwhile
        file.close()
        raise SourceError(reason_of(error), path=path, away=True, advice=advise_on_file(error)) from error
    except BaseException:
        file.close()
        raise
    return PathSource(path, file, found, executor)


@dataclass(frozen=True, slots=True)
class _Look:
    """The status of a file, to detect changes. Without the inode, which network storage may change on a remount."""

    is_file: bool
    size: int
    mtime_ns: int
    ctime_ns: int
    """The change time; on Windows that of creation (Python's documentation of `os.stat_result.st_ctime`: deprecated
    there since 3.12, and to be the change time in the future). There it shows that a file was replaced, unless the
    creation time was copied or the file was recreated within 15 s (Microsoft, "file system tunneling"), and not that it
    was written to. FAT and exFAT have no change time; Linux shows the modification time (FAT: commit 0f9d148167c5)."""


def _look(path: str | int) -> _Look:
    found = os.stat(path)
    return _Look(stat.S_ISREG(found.st_mode), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


ASYNC_HANDLES = ("_file", "wrapped")
"""The attributes in which aiofiles and anyio keep the file behind their handles."""


# -- the caller's objects ----------------------------------------------------------------------------------------------


async def _open_object(
    source: Any,
    size: int | None,
    stream_size: int | None,
    executor: ReadThreads,
    spool: Spool,
    returned: Callable[[], None],
) -> OpenSource:
    """Open a caller's object, from its position to its end. It belongs to the caller and is not closed here."""
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
        words = f"the file object {error.reason}"
        raise SourceError(words, away=True, advice="pass size=, so that its end is not looked for") from error
    except Exception as error:  # a caller's file object may raise anything; it is chained as the cause
        raise unreadable(error) from error
    return SeekableSource(source, start, measured, executor, spool, returned, modified_ns)


def _open_anywhere(file: Any, returned: Callable[[], None]) -> tuple[SharedFile, int, int, int | None] | None:
    """Open an object of which every slice can be read at the same cost, or return None.

    These are `BytesIO` and the files that Python itself opens, by their exact types. A subclass, or another object with
    a `fileno()`, may return other bytes than its descriptor: the `fileno()` of a `GzipFile` is the compressed file.
    All other objects are read in order, because a seek may mean to download or decompress everything before.
    """
    if type(file) is io.BytesIO:
        start = file.tell()
        return SharedFile(file, returned=returned), start, max(0, file.getbuffer().nbytes - start), None
    if isinstance(file, tempfile._TemporaryFileWrapper):  # noqa: SLF001  # tempfile has no public name for it
        file = file.file  # the underlying file object (documented); the wrapper only deletes the file on closing
    raw = _true_file(file)
    if raw is None:
        return None
    if not file.readable():
        raise SourceError("the file object cannot be read: it is not open for reading", advice='open it with "rb"')
    file.flush()  # the buffer may contain bytes that are not in the file yet
    start, found = file.tell(), os.fstat(raw.fileno())
    size = max(0, found.st_size - start)
    if not hasattr(os, "pread"):  # Windows: the object's own cursor is moved, under a lock
        return SharedFile(file, returned=returned), start, size, found.st_mtime_ns
    # A duplicate of the descriptor, because the caller may close the file, and another file may then get its number.
    # Both descriptors share a position, which `pread` does not move.
    own = io.FileIO(os.dup(raw.fileno()))
    return SharedFile(own, owner=own, returned=returned), start, size, found.st_mtime_ns


def _true_file(file: Any) -> io.FileIO | None:
    """Return the regular file whose bytes an object returns unchanged, or None."""
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    is_true = type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
    return raw if is_true else None


def _is_seekable(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return seekable is not None and bool(seekable())


def _measure(file: Any, declared: int | None) -> tuple[int, int, int | None]:
    """Return an object's position, the number of bytes from there to its end, and its modification time.

    Its end is searched for only if no size was declared: a compressed file has to be decompressed for that.
    """
    start = file.tell()
    size = declared
    if size is None:
        size = max(0, file.seek(0, os.SEEK_END) - start)
        file.seek(start)
    return start, size, _modified_ns(file)


def _modified_ns(file: Any) -> int | None:
    if isinstance(file, tempfile.SpooledTemporaryFile):
        return None  # calling its `fileno()` would move it from memory to disk
    try:
        found = os.fstat(file.fileno())
    except (OSError, AttributeError, TypeError, ValueError):
        return None
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else None


async def _open_stream(
    stream: Any, size: int | None, executor: ReadThreads, spool: Spool, returned: Callable[[], None]
) -> StreamSource:
    known = size if size is not None else await _own_size(stream, executor)
    if known is None:
        raise SourceError("a stream needs size=: Frame.io makes the part links from it")
    return StreamSource(stream, known, executor, spool, returned)


async def _own_size(stream: Any, executor: ReadThreads) -> int | None:
    """Return the size that a stream itself provides: `UploadFile.size`, or that of the file behind an async handle."""
    own = getattr(stream, "size", None)
    if isinstance(own, int) and not isinstance(own, bool):
        return own
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


def _dangling_target(path: str) -> str | None:
    """Return what a link names; None if the path is no link."""
    try:
        return printable(os.readlink(path))
    except OSError:
        return None
