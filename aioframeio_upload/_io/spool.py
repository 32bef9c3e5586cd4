"""A stream, which can be read only once: each part waits in a temporary file, so that it can be sent again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, Future
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

import aiofiles.tempfile
import anyio

from .._core.errors import SourceError
from .._core.journal import Fingerprint
from .._core.model import Part
from .files import FilePartReader, PartReader, ReadThreads, SharedFile, carried, in_thread, opened, reason_of
from .foreign import ForeignCancellation, await_foreign
from .source_kinds import reading_method

WRITE_SIZE = 1 << 20
"""Bytes for one write in a thread: a hop costs 0.2 to 0.3 ms, as much as copying this much."""


class Spool:
    """Where the parts of all streams wait, never more than `parts` of them; and which of the callers' objects are read.

    Owned by the Uploader.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, parts: int) -> None:
        self._directory = None if directory is None else os.fspath(directory)
        self._places = anyio.Semaphore(parts)
        self._borrowed: set[int] = set()

    def borrow(self, source: Any) -> Callable[[], None]:
        """Take a caller's object for one reader alone, and give what returns it: two would share its one position.

        Raises:
            SourceError: Another upload reads it.
        """
        if id(source) in self._borrowed:
            raise SourceError("the file object is being read by another upload")
        self._borrowed.add(id(source))
        return partial(self._borrowed.discard, id(source))

    @asynccontextmanager
    async def place(self, executor: Executor) -> AsyncIterator[SharedFile]:
        """Lend a temporary file that has no name: it is gone when it is closed, and when the process is."""
        async with self._places:
            directory = self._directory or await in_thread(executor, default_directory)
            try:
                handle = aiofiles.tempfile.TemporaryFile("w+b", dir=directory, executor=executor)
                file = await opened(handle)
            except OSError as error:
                raise SourceError(f"cannot spool: {error.strerror}", path=directory) from error
            try:
                yield file
            finally:
                file.close()


def default_directory() -> str:
    """Choose the temporary directory, unless it is kept in memory, as /tmp is on some systems.

    Raises:
        SourceError: There is none.
    """
    mounts = _mounts()
    places: list[str] = []
    # Either may be missing: a container may have no directory to write to, and a working directory may be deleted.
    for find in (tempfile.gettempdir, lambda: "/var/tmp", os.getcwd):
        with contextlib.suppress(FileNotFoundError):
            places.append(find())
    usable = [place for place in places if os.access(place, os.W_OK | os.X_OK)]
    if not usable:
        raise SourceError(
            "cannot spool: there is no temporary directory; give spool_dir= to the Uploader, or set TMPDIR"
        )
    return next((place for place in usable if _on_disk(place, mounts)), usable[0])


def _on_disk(directory: str, mounts: dict[str, str]) -> bool:
    place = os.path.realpath(directory)
    while place not in mounts and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return mounts.get(place) not in ("tmpfs", "ramfs")


def _mounts() -> dict[str, str]:
    """The file system at each mount point; known on Linux only, where /tmp may be in memory."""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="replace") as table:
            rows = [line.split() for line in table]
    except OSError:
        return {}
    return {row[1]: row[2] for row in rows if len(row) > 2}


class StreamSource:
    """A stream while its upload runs: read in order, a part at a time, each part ready to be sent again.

    It holds the bytes of the parts that are lent, one after the other, and no others.
    """

    path: str | None = None
    replayable = False
    modified_ns: int | None = None
    what = "the stream"
    """What errors call it."""

    def __init__(
        self, stream: Any, size: int, executor: ReadThreads, spool: Spool, returned: Callable[[], None]
    ) -> None:
        self.size = size
        self._returned = returned
        self._read = _reader(stream, self._in_thread)
        self._reading: Future[Any] | None = None
        """What a thread does with the caller's object at this moment, or did last."""
        self._rest = memoryview(b"")
        self._left = size
        self._last = 0
        self._executor = executor
        self._spool = spool
        # One part is filled at a time; anyio's lock serves in order, and the parts are asked for in order.
        self._turn = anyio.Lock()

    @asynccontextmanager
    async def lend(self, part: Part) -> AsyncIterator[PartReader]:
        """Fill a temporary file with the part's bytes and lend it."""
        async with AsyncExitStack() as stack:
            async with self._turn:
                file = await stack.enter_async_context(self._spool.place(self._executor))
                await self._find(part)
                await self._fill(file, part)
            yield FilePartReader(file, 0, self._executor)

    async def check(self) -> None:
        """Nothing to check: what was spooled cannot change."""

    async def fingerprint(self) -> Fingerprint | None:
        """None: no later run can read the stream again."""
        return None

    def close(self) -> None:
        """Give the stream back, open: it is the caller's, and spooled parts are closed by who borrowed them."""
        if self._reading is None or self._reading.done():
            self._returned()
        else:  # a read that nobody waits for any more: its thread has to be done with the object first
            self._reading.add_done_callback(lambda _: self._returned())

    async def _find(self, part: Part) -> None:
        """Be where the part begins: a stream is there, as it is asked for its parts in their order."""
        assert part.number > self._last

    async def _fill(self, file: SharedFile, part: Part) -> None:
        self._last = part.number
        missing = part.size
        while missing:
            if not self._rest:
                self._rest = await self._chunk()
                if not self._rest:
                    raise SourceError(f"{self.what} ended {self._left} bytes early")
            block = self._rest[: min(missing, WRITE_SIZE)]
            self._rest = self._rest[len(block) :]
            try:
                await in_thread(self._executor, file.append, block)
            except OSError as error:
                raise SourceError(f"cannot spool part {part.number}: {error.strerror}") from error
            missing -= len(block)
            self._left -= len(block)
        # Before the last part goes out, not after: then no finished file stands at Frame.io.
        if not self._left and (self._rest or await self._chunk()):
            raise SourceError(f"{self.what} is longer than the {self.size} bytes that were planned")

    async def _chunk(self) -> memoryview:
        try:
            return memoryview(await await_foreign(self._read()) or b"").cast("B")
        except SourceError:
            raise  # it does not answer
        except Exception as error:  # a caller's stream may raise whatever it likes; it is told as the cause
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> SourceError:
        # Its words are not told: an HTTP client's may hold a link that is a secret.
        reason = str(error) if isinstance(error, ForeignCancellation) else type(error).__name__
        return SourceError(f"the stream cannot be read: {reason}", away=isinstance(error, OSError))

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._reading = self._executor.submit(carried, function, arguments)
        # However long it takes: a pipe gives what there is when there is something.
        return await asyncio.wrap_future(self._reading)


class SeekableSource(StreamSource):
    """A caller's file object that can seek, at a price: read in order, too, but it can begin anew, and skip."""

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
        """Seek, where the part does not follow the one before: some are sent, or a new plan begins."""
        if part.offset == self.size - self._left:
            return
        try:
            await await_foreign(self._in_thread(self._file.seek, self._start + part.offset))
        except SourceError:
            raise
        except Exception as error:  # as above
            raise self._unreadable(error) from error
        self._rest, self._left = memoryview(b""), self.size - part.offset

    def _unreadable(self, error: Exception) -> SourceError:
        return unreadable(error)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        # In time, unlike a pipe: its bytes are there.
        return await self._executor.bounded(partial(super()._in_thread, function, *arguments))


def unreadable(error: Exception) -> SourceError:
    """Return the error of a caller's file object that has raised another one."""
    return SourceError(f"the file object cannot be read: {reason_of(error)}", away=isinstance(error, OSError))


def _reader(
    stream: Any, in_its_thread: Callable[[Callable[[int], Any], int], Awaitable[Any]]
) -> Callable[[], Awaitable[Any]]:
    """Return what reads the next piece of any stream, none of them empty but the last.

    No generator of ours: one that is given up half-way is closed by a task that asyncio starts, after the upload's end.
    """
    # `read` where there is one: iterating an aiohttp StreamReader or an aiofiles handle goes by lines.
    read = reading_method(stream)
    if read is not None:
        if not iscoroutinefunction(read):
            return partial(in_its_thread, read, WRITE_SIZE)
        return partial(_read_until_some, stream, read)
    pieces: AsyncIterator[Any] | None = None

    async def next_piece() -> Any:
        nonlocal pieces
        pieces = aiter(stream) if pieces is None else pieces
        async for piece in pieces:
            if piece:
                return piece
        return b""

    return next_piece


async def _read_until_some(stream: Any, read: Callable[[int], Awaitable[Any]]) -> Any:
    # A multipart reader may give nothing although there is more, and tells its end by `at_eof()`.
    at_eof = getattr(stream, "at_eof", None)
    while not (piece := await read(WRITE_SIZE)) and at_eof is not None and not at_eof():
        continue
    return piece
