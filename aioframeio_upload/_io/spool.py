"""A stream, which can be read only once: each part waits in a temporary file, so that it can be sent again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

import aiofiles.tempfile
import anyio

from .._core.errors import SourceError
from .._core.journal import Fingerprint
from .._core.model import Part
from .files import Descriptor, Lent, LentSlice, in_thread, opened
from .foreign import ForeignCancellation, await_foreign

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
    async def place(self, executor: Executor) -> AsyncIterator[Descriptor]:
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
    """Choose the temporary directory, unless it is kept in memory, as /tmp is on some systems."""
    usual = tempfile.gettempdir()
    mounts = _mounts()
    return next((place for place in (usual, "/var/tmp", os.getcwd()) if _on_disk(place, mounts)), usual)


def _on_disk(directory: str, mounts: dict[str, str]) -> bool:
    if not os.access(directory, os.W_OK | os.X_OK):
        return False
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

    def __init__(self, stream: Any, size: int, executor: Executor, spool: Spool, returned: Callable[[], None]) -> None:
        self.size = size
        self._returned = returned
        self._read = _reader(stream, executor)
        self._rest = memoryview(b"")
        self._left = size
        self._last = 0
        self._executor = executor
        self._spool = spool
        # One part is filled at a time; anyio's lock serves in order, and the parts are asked for in order.
        self._turn = anyio.Lock()

    @asynccontextmanager
    async def lend(self, part: Part) -> AsyncIterator[Lent]:
        """Fill a temporary file with the part's bytes and lend it."""
        async with AsyncExitStack() as stack:
            async with self._turn:
                file = await stack.enter_async_context(self._spool.place(self._executor))
                await self._fill(file, part)
            yield LentSlice(file, 0, self._executor)

    async def check(self) -> None:
        """Nothing to check: what was spooled cannot change."""

    async def fingerprint(self) -> Fingerprint | None:
        """None: no later run can read the stream again."""
        return None

    def close(self) -> None:
        """Give the stream back, open: it is the caller's, and spooled parts are closed by who borrowed them."""
        self._returned()

    async def _fill(self, file: Descriptor, part: Part) -> None:
        assert part.number > self._last
        self._last = part.number
        missing = part.size
        while missing:
            if not self._rest:
                self._rest = await self._chunk()
                if not self._rest:
                    raise SourceError(f"the stream ended {self._left} bytes early")
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
            raise SourceError(f"the stream is longer than the {self.size} bytes that were declared")

    async def _chunk(self) -> memoryview:
        try:
            return memoryview(await await_foreign(self._read()) or b"").cast("B")
        except ForeignCancellation as error:
            raise SourceError(f"the stream cannot be read: {error}") from error
        except Exception as error:  # a caller's stream may raise whatever it likes; it is told as the cause
            raise SourceError(f"the stream cannot be read: {type(error).__name__}") from error


def _reader(stream: Any, executor: Executor) -> Callable[[], Awaitable[bytes]]:
    """Give what reads the next piece of any stream, none of them empty but the last.

    No generator of ours: one that is given up half-way is closed by a task that asyncio starts, after the upload's end.
    """
    read = getattr(stream, "read", None)
    if read is not None:
        # `read` where there is one: iterating an aiohttp StreamReader or an aiofiles handle goes by lines.
        return (
            partial(read, WRITE_SIZE) if iscoroutinefunction(read) else partial(in_thread, executor, read, WRITE_SIZE)
        )
    pieces: AsyncIterator[bytes] | None = None

    async def next_piece() -> bytes:
        nonlocal pieces
        pieces = aiter(stream) if pieces is None else pieces
        async for piece in pieces:
            if piece:
                return piece
        return b""

    return next_piece
