"""Read streams, which can be read only once: each part is copied to a temporary file, so that it can be sent again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Hashable
from concurrent.futures import Executor, Future
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

import anyio

from .._core.errors import SourceError
from .._core.journal import Fingerprint
from .._core.model import Part
from .._core.words import (
    CHECK_OBJECT,
    CORRECT_STREAM,
    DECLARE_SIZE,
    NAME_SPOOL,
    SEND_AGAIN,
    SEND_NEW_STREAM,
    SPOOL_ELSEWHERE,
    advise_on_file,
    format_count,
)
from .fair_limiter import FairLimiter
from .files import FilePartReader, PartReader, ReadThreads, SharedFile, carried, in_thread, opened, reason_of
from .foreign import ForeignCancellation, await_foreign, is_away
from .source_kinds import reading_method

WRITE_SIZE = 1 << 20
"""Bytes written in one call to a thread. The hop costs 0.2 to 0.3 ms, about as much as copying this many bytes."""


class Spool:
    """The temporary files for the parts of all streams, and the caller's objects in use.

    Owned by the Uploader.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, places: FairLimiter) -> None:
        self._directory = None if directory is None else os.fspath(directory)
        self._places = places
        self._borrowed: set[int] = set()

    def borrow(self, source: Any) -> Callable[[], None]:
        """Reserve a caller's object for one upload, because two would share its position.

        Returns:
            A function that ends the reservation.

        Raises:
            SourceError: Another upload is reading it.
        """
        if id(source) in self._borrowed:
            raise SourceError("the file object is being read by another upload", advice="open it a second time")
        self._borrowed.add(id(source))
        return partial(self._borrowed.discard, id(source))

    @asynccontextmanager
    async def place(self, executor: Executor, stream: Hashable) -> AsyncIterator[SharedFile]:
        """Open a temporary file without a name, which disappears when it is closed or the process ends."""
        async with self._places.slot(stream):
            directory = self._directory or await in_thread(executor, default_directory)
            try:
                # Not that of aiofiles: on Windows, the object that removes the file is never closed there, which is a
                # ResourceWarning from Python 3.14 on.
                make = partial(tempfile.TemporaryFile, "w+b", buffering=0, dir=directory)
                file = await opened(in_thread(executor, make))
            except OSError as error:
                reason = f"cannot be spooled to: {error.strerror}"
                raise SourceError(reason, path=directory, advice=SPOOL_ELSEWHERE) from error
            try:
                yield file
            finally:
                file.close()


def default_directory() -> str:
    """Return the temporary directory, or another one if that is in memory, as /tmp is on some systems.

    Raises:
        SourceError: No directory is usable.
    """
    mounts = _mounts()
    places: list[str] = []
    # Both can fail: a container may have no writable directory, and the working directory may have been deleted.
    for find in (tempfile.gettempdir, lambda: "/var/tmp", os.getcwd):
        with contextlib.suppress(FileNotFoundError):
            places.append(find())
    usable = [place for place in places if os.access(place, os.W_OK | os.X_OK)]
    if not usable:
        raise SourceError("cannot spool: there is no temporary folder", advice=NAME_SPOOL)
    return next((place for place in usable if _on_disk(place, mounts)), usable[0])


def _on_disk(directory: str, mounts: dict[str, str]) -> bool:
    place = os.path.realpath(directory)
    while place not in mounts and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return mounts.get(place) not in ("tmpfs", "ramfs")


def _mounts() -> dict[str, str]:
    """Return the type of file system at each mount point; empty except on Linux, where /tmp is often a tmpfs."""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="replace") as table:
            rows = [line.split() for line in table]
    except OSError:
        return {}
    return {row[1]: row[2] for row in rows if len(row) > 2}


class StreamSource:
    """A stream while its upload runs, read in order, one part at a time.

    Only the parts that are being sent are on disk.
    """

    path: str | None = None
    replayable = False
    modified_ns: int | None = None
    changed_ns: int | None = None
    what = "the stream"
    """The name of the source in error messages."""

    def __init__(
        self, stream: Any, size: int, executor: ReadThreads, spool: Spool, returned: Callable[[], None]
    ) -> None:
        self.size = size
        self._returned = returned
        self._read = _reader(stream, self._in_thread)
        self._reading: Future[Any] | None = None
        """The current or last call of the caller's object in a thread."""
        self._rest = memoryview(b"")
        self._left = size
        self._last = 0
        self._executor = executor
        self._spool = spool
        # One part is filled at a time. anyio's lock is fair, and parts are requested in order, so they stay in order.
        self._turn = anyio.Lock()

    @asynccontextmanager
    async def lend(self, part: Part) -> AsyncIterator[PartReader]:
        """Copy the part's bytes to a temporary file and return its reader."""
        async with AsyncExitStack() as stack:
            async with self._turn:
                file = await stack.enter_async_context(self._spool.place(self._executor, self))
                await self._find(part)
                await self._fill(file, part)
            yield FilePartReader(file, 0, self._executor)

    async def check(self) -> None:
        """Do nothing: spooled bytes cannot change."""

    async def fingerprint(self) -> Fingerprint | None:
        """Return None: a later run could not read the stream again."""
        return None

    @property
    def unfinished(self) -> AsyncGenerator[Any] | None:
        """The generator that is read, if it was begun and has not ended."""
        return self._read.unfinished if isinstance(self._read, _Pieces) else None

    def close(self) -> None:
        """End the reservation of the stream, without closing it: it belongs to the caller."""
        if self._reading is None or self._reading.done():
            self._returned()
        else:  # the caller of a read was cancelled, but its thread still uses the object
            self._reading.add_done_callback(lambda _: self._returned())

    async def _find(self, part: Part) -> None:
        """Move to the beginning of a part. A stream is there already, because parts are requested in order."""
        assert part.number > self._last

    async def _fill(self, file: SharedFile, part: Part) -> None:
        self._last = part.number
        missing = part.size
        while missing:
            if not self._rest:
                self._rest = await self._chunk()
                if not self._rest:
                    early = format_count(self._left, "byte")
                    raise SourceError(f"{self.what} ended {early} early", advice=DECLARE_SIZE)
            block = self._rest[: min(missing, WRITE_SIZE)]
            self._rest = self._rest[len(block) :]
            try:
                await in_thread(self._executor, file.append, block)
            except OSError as error:
                reason = f"cannot spool part {part.number}: {error.strerror}"
                raise SourceError(reason, advice=SPOOL_ELSEWHERE) from error
            missing -= len(block)
            self._left -= len(block)
        # Checked before the last part is sent, so that a stream that is too long makes no finished file at Frame.io.
        if not self._left and (self._rest or await self._chunk()):
            words = f"{self.what} is longer than the {format_count(self.size, 'byte')} that were planned"
            raise SourceError(words, advice=DECLARE_SIZE)

    async def _chunk(self) -> memoryview:
        try:
            return _as_bytes(await await_foreign(self._read()) or b"")
        except SourceError:
            raise  # from `ReadThreads.bounded`: it does not answer
        except Exception as error:  # a caller's stream may raise anything; it is chained as the cause
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> SourceError:
        if isinstance(error, ForeignCancellation):
            return SourceError(f"{self.what} cannot be read: {error}", away=True, advice=SEND_AGAIN)
        away = is_away(error)
        advice = SEND_NEW_STREAM if away else CORRECT_STREAM
        return SourceError(f"{self.what} cannot be read: {reason_of(error)}", away=away, advice=advice)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._reading = self._executor.submit(carried, function, arguments)
        # Without a timeout: a read from a pipe returns when its writer has written something.
        return await asyncio.wrap_future(self._reading)


class SeekableSource(StreamSource):
    """A caller's file object whose seeks may be slow: read in order like a stream, but able to restart and to skip."""

    replayable = True
    what = "the file object"

    def __init__(  # noqa: PLR0913  # a stream's five, and where the object can seek to
        self,
        file: Any,
        start: int,
        size: int,
        executor: ReadThreads,
        spool: Spool,
        returned: Callable[[], None],
        modified_ns: int | None,
    ) -> None:
        super().__init__(file, size, executor, spool, returned)
        self.modified_ns = modified_ns
        self._file = file
        self._start = start

    async def _find(self, part: Part) -> None:
        """Seek if the part does not follow the previous one: after parts that were sent before, or for a new plan."""
        if part.offset == self.size - self._left:
            return
        try:
            await await_foreign(self._in_thread(self._file.seek, self._start + part.offset))
        except SourceError:
            raise
        except Exception as error:  # a caller's file object may raise anything; it is chained as the cause
            raise self._unreadable(error) from error
        self._rest, self._left = memoryview(b""), self.size - part.offset

    def _unreadable(self, error: Exception) -> SourceError:
        return unreadable(error)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        # With a timeout, because unlike those of a pipe, its bytes exist already.
        return await self._executor.bounded(partial(super()._in_thread, function, *arguments))


def unreadable(error: Exception) -> SourceError:
    """Return the SourceError for an exception that a caller's file object has raised."""
    advice = advise_on_file(error) or CHECK_OBJECT
    return SourceError(f"the file object cannot be read: {reason_of(error)}", away=is_away(error), advice=advice)


def _as_bytes(piece: Any) -> memoryview:
    """Return a view of what a stream returned.

    Raises:
        TypeError: It is nothing that holds bytes.
    """
    try:
        view = memoryview(piece)
    except TypeError:
        raise TypeError(f"chunks must be bytes, not {type(piece).__name__}") from None
    return view.cast("B")


class _Pieces:
    """The pieces of an async iterable, of which only the last is empty.

    Not an async generator: asyncio closes an abandoned one in another task, after the end of the upload.
    """

    def __init__(self, stream: AsyncIterable[Any]) -> None:
        self._stream = stream
        self._pieces: AsyncIterator[Any] | None = None
        self._has_ended = False

    async def __call__(self) -> Any:
        self._pieces = aiter(self._stream) if self._pieces is None else self._pieces
        try:
            async for piece in self._pieces:
                if piece:
                    return piece
        except BaseException:
            self._has_ended = True
            raise
        self._has_ended = True
        return b""

    @property
    def unfinished(self) -> AsyncGenerator[Any] | None:
        """The generator, if it was begun and waits at a `yield`.

        Another iterator that can be closed belongs to the caller, as a file object does.
        """
        has_begun = self._pieces is not None and not self._has_ended
        return self._pieces if has_begun and isinstance(self._pieces, AsyncGenerator) else None


def _reader(
    stream: Any, in_its_thread: Callable[[Callable[[int], Any], int], Awaitable[Any]]
) -> Callable[[], Awaitable[Any]]:
    """Return a function that reads the next piece of a stream; only the last piece is empty."""
    # `read` is preferred, because iterating an aiohttp StreamReader or an aiofiles handle yields lines.
    read = reading_method(stream)
    if read is None:
        return _Pieces(stream)
    if not iscoroutinefunction(read):
        return partial(in_its_thread, read, WRITE_SIZE)
    return partial(_read_until_some, stream, read)


async def _read_until_some(stream: Any, read: Callable[[int], Awaitable[Any]]) -> Any:
    # aiohttp's multipart reader may return an empty piece before the end, which it reports by `at_eof()`.
    at_eof = getattr(stream, "at_eof", None)
    while not (piece := await read(WRITE_SIZE)) and at_eof is not None and not at_eof():
        continue
    return piece
