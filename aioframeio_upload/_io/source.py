"""What is sent: a path, bytes, a file object or a stream, each opened into slices that can be read again."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any, Protocol

import aiofiles

from .._core.errors import SourceChanged, SourceError
from .._core.journal import EDGE, Fingerprint
from .._core.model import Part
from .files import Descriptor, Lent, LentSlice, Threads, opened, reason_of
from .kinds import Source, is_stream
from .spool import Spool, StreamSource


class OpenSource(Protocol):
    """A source while its upload runs. Owned by that upload, which closes it."""

    size: int
    path: str | None
    replayable: bool
    """Whether it can be sent from its beginning once more."""
    modified_ns: int | None
    """When it was last written to, where that can be known."""

    def lend(self, part: Part) -> AbstractAsyncContextManager[Lent]:
        """Lend a part's bytes; while they are lent they can be read any number of times."""
        ...

    async def check(self) -> None:
        """Raise SourceChanged if it is not what it was when it was opened, SourceError if it does not answer."""

    async def fingerprint(self) -> Fingerprint | None:
        """Give what a later run can tell it by; None for what is no file."""

    def close(self) -> None:
        """Let go of what was opened here; a read that still runs in its thread ends first."""


async def open_source(source: Source, size: int | None, executor: Threads, spool: Spool) -> OpenSource:
    """Open a source, off the loop, and find out its size.

    Args:
        source: Of a kind that `check_kind` let through.
        size: What a stream is taken to have if it does not tell.
        executor: The threads that read it.
        spool: Where the parts of a stream wait.

    Raises:
        SourceError: It is missing, unreadable, empty, no file, or a file object that another upload reads; or it does
            not answer.
    """
    found: OpenSource
    if isinstance(source, str | os.PathLike):
        found = await _open_path(os.fspath(source), executor)
    elif isinstance(source, bytes | bytearray | memoryview):
        found = MemorySource(memoryview(source).cast("B"))
    else:
        returned = spool.borrow(source)
        try:
            if is_stream(source) or not await _seekable(source, executor):
                told = size if size is not None else await _own_size(source, executor)
                if told is None:
                    raise SourceError("a stream needs size=: Frame.io makes the part links from it")
                found = StreamSource(source, told, executor, spool, returned)
            else:
                found = await _open_file(source, executor, returned)
        except BaseException:
            returned()
            raise
    if found.size < 1:
        found.close()
        raise SourceError("is empty, and Frame.io takes no empty file", path=found.path)
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
        self, file: Descriptor, start: int, size: int, executor: Threads, modified_ns: int | None = None
    ) -> None:
        self.size = size
        self.modified_ns = modified_ns
        self._file = file
        self._start = start
        self._executor = executor

    @asynccontextmanager
    async def lend(self, part: Part) -> AsyncIterator[Lent]:
        """Lend the part where it lies."""
        yield LentSlice(self._file, self._start + part.offset, self._executor)

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

    def __init__(self, path: str, file: Descriptor, fingerprint: tuple[int, int], executor: Threads) -> None:
        super().__init__(file, 0, fingerprint[0], executor, fingerprint[1])
        self.path: str | None = path
        self._fingerprint = fingerprint

    async def check(self) -> None:
        """Compare the path's fingerprint with the one taken when it was opened."""
        await super().check()
        before = self._fingerprint
        try:
            now = await self._executor.ask(_fingerprint, self.path, path=self.path)
        except OSError as error:
            raise SourceChanged(f"cannot be found any more: {error.strerror}", path=self.path) from error
        if now != before:
            how = "was written to" if now[0] == before[0] else f"had {before[0]} bytes and now has {now[0]}"
            raise SourceChanged(f"changed while it was sent: it {how}", path=self.path)

    async def fingerprint(self) -> Fingerprint | None:
        """Give its size and time of change, and a hash of its two ends."""
        return Fingerprint(*self._fingerprint, await self._executor.ask(self._hash_edges, path=self.path))

    def _hash_edges(self) -> str:
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
    async def lend(self, part: Part) -> AsyncIterator[Lent]:
        """Lend the part where it lies."""
        # Let go at once, not when the collector comes by: a caller's bytearray cannot be resized before.
        with self._view[part.offset : part.offset + part.size] as view:
            yield _LentMemory(view)

    async def check(self) -> None:
        """Nothing to check: the memory is the caller's to leave alone."""

    async def fingerprint(self) -> Fingerprint | None:
        """None: no later run has these bytes."""
        return None

    def close(self) -> None:
        """Let go of the caller's memory."""
        self._view.release()


class _LentMemory:
    def __init__(self, view: memoryview) -> None:
        self._view = view

    def peek(self, offset: int, buffer: memoryview) -> memoryview:
        return self._view[offset : offset + len(buffer)]

    async def read(self, offset: int, buffer: memoryview) -> memoryview:
        return self.peek(offset, buffer)


async def _open_path(path: str, executor: Threads) -> PathSource:
    try:
        # Looked at before it is opened: opening a FIFO would wait for its writer.
        mode = (await executor.ask(os.stat, path, path=path)).st_mode
        if not stat.S_ISREG(mode):
            raise SourceError("is a directory" if stat.S_ISDIR(mode) else "is not a regular file", path=path)
        file = await executor.answer(lambda: opened(aiofiles.open(path, "rb", executor=executor), path), path)
    except OSError as error:
        raise SourceError(error.strerror or type(error).__name__, path=path) from error
    except ValueError:  # a NUL byte in it
        raise SourceError("is no path", path=path.replace("\0", "\\0")) from None
    try:
        fingerprint = await executor.ask(_fingerprint, file.file.fileno(), path=path)
    except OSError as error:  # the share has gone in between
        file.close()
        raise SourceError(reason_of(error), path=path) from error
    except BaseException:
        file.close()
        raise
    return PathSource(path, file, fingerprint, executor)


def _fingerprint(path: str | int) -> tuple[int, int]:
    """Size and time of change. No inode: network storage gives a file another one when it is mounted again."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


async def _open_file(file: Any, executor: Threads, returned: Callable[[], None]) -> FileSource:
    """Take a caller's file object from its position to its end; it is never closed here."""

    def measure() -> tuple[int, int, int | None]:
        start = file.tell()
        size = file.seek(0, os.SEEK_END) - start
        file.seek(start)  # whoever opens it again, to plan first and send later, is to find the same
        return start, size, _modified_ns(file)

    try:
        start, size, modified_ns = await executor.ask(measure)
    except Exception as error:  # a caller's file object may raise whatever it likes; it is told as the cause
        raise SourceError(f"the file object cannot be read: {reason_of(error)}") from error
    return FileSource(Descriptor(file, returned=returned), start, max(0, size), executor, modified_ns)


def _modified_ns(file: Any) -> int | None:
    try:
        found = os.fstat(file.fileno())
    except (OSError, AttributeError, TypeError, ValueError):  # a BytesIO has no descriptor
        return None
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else None


async def _seekable(file: Any, executor: Threads) -> bool:
    seekable = getattr(file, "seekable", None)
    try:
        return seekable is not None and bool(await executor.ask(seekable))
    except Exception as error:  # ValueError where it is closed
        raise SourceError(f"the file object cannot be read: {reason_of(error)}") from error


async def _own_size(stream: Any, executor: Threads) -> int | None:
    """The size that a stream tells itself: an UploadFile's `size`, or that of the file behind an aiofiles handle."""
    told = getattr(stream, "size", None)
    if isinstance(told, int) and not isinstance(told, bool):
        return told
    if not callable(getattr(stream, "fileno", None)) or not iscoroutinefunction(getattr(stream, "tell", None)):
        return None
    try:
        found = await executor.ask(os.stat, stream.fileno())
        return found.st_size - int(await stream.tell()) if stat.S_ISREG(found.st_mode) else None
    except Exception as error:  # as above
        raise SourceError(f"the file object cannot be read: {reason_of(error)}") from error
