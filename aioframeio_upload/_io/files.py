"""Open, read and close files off the event loop, in a way that a cancellation cannot leave half done."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import aiofiles.os
import anyio

from .._core.errors import SourceChanged, SourceError
from .._core.redact import redact
from .._core.words import CHECK_SHARE, advise_on_file, format_count
from .foreign import await_foreign, each_of, is_away

T = TypeVar("T")

MAX_THREADS = 1024
"""More than any disk needs: a thread stuck on a dead mount cannot be stopped, so it is abandoned, and each such source
occupies a few. The other sources must still find free ones."""

POLL_INTERVAL = 0.05
"""Seconds between two checks whether a hanging read has ended."""


class PartReader(Protocol):
    """Access to the bytes of one part, which can be read any number of times while it is borrowed."""

    def peek(self, offset: int, buffer: memoryview) -> memoryview | None:
        """Return as many bytes as the buffer holds, if they are in memory; called on the loop.

        Return None if that would mean reading from disk or calling a file object. The result may be the buffer or
        foreign memory.
        """
        ...

    async def read(self, offset: int, buffer: memoryview) -> memoryview:
        """Fill the buffer in a thread.

        Raises:
            SourceChanged: The source ends too early.
            SourceError: The source cannot be read.
        """
        ...


class ReadThreads(ThreadPoolExecutor):
    """The threads for the disk access of all uploads; a hanging one does not block other sources.

    Not the default executor of asyncio, whose few threads also resolve host names. Reads are bounded by the parts in
    flight, and by `Timeouts.stall`. All other disk access goes through `answer`, which bounds its number and duration.
    """

    def __init__(self, questions: int, stall: float) -> None:
        super().__init__(MAX_THREADS, thread_name_prefix="aioframeio-upload")
        self._stall = stall
        self._places = anyio.Semaphore(questions, fast_acquire=True)

    async def ask(self, function: Callable[..., T], *arguments: Any, path: str | None = None) -> T:
        """Run a function in a thread, and abandon it if it takes too long.

        Raises:
            SourceError: It did not return within `Timeouts.stall`.
        """
        return await self.answer(lambda: await_foreign(in_thread(self, function, *arguments)), path)

    async def answer(self, begin: Callable[[], Awaitable[T]], path: str | None = None) -> T:
        """Await a disk access within `Timeouts.stall`; waiting for a slot does not count.

        Raises:
            SourceError: It did not end in time.
        """
        async with self._places:
            return await self.bounded(begin, path)

    async def bounded(self, begin: Callable[[], Awaitable[T]], path: str | None = None) -> T:
        """Await something that does not access a disk itself, within the same time but without a slot.

        Raises:
            SourceError: It did not end in time.
        """
        deadline = asyncio.timeout(self._stall)
        try:
            async with deadline:
                return await begin()
        except TimeoutError:
            if not deadline.expired():
                raise  # an ETIMEDOUT of the system
        raise SourceError(f"does not answer for {self._stall:g} s", path=path, away=True, advice=CHECK_SHARE)


def in_thread(executor: Executor, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Run a function on the executor; a cancellation does not stop a thread that has started."""
    return asyncio.get_running_loop().run_in_executor(executor, carried, function, arguments)


def carried(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """Call a function in a thread so that every exception reaches the loop."""
    try:
        return function(*arguments)
    except StopIteration as error:
        # Futures refuse a StopIteration, and before Python 3.12 the awaiter would wait for ever.
        raise RuntimeError("it raised StopIteration") from error


async def opened(opening: Awaitable[Any], path: str | None = None) -> SharedFile:
    """Await a handle of aiofiles, or an unbuffered file; after a cancellation, it is closed as soon as it is open."""
    task = asyncio.ensure_future(opening)
    try:
        handle = await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_close_late)
        raise
    return SharedFile(_raw_of(handle), owner=handle, path=path)


def _raw_of(handle: Any) -> Any:
    return getattr(handle, "raw", handle)


def _close_late(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and task.exception() is None:
        _raw_of(task.result()).close()  # does not block: nothing was written, so there is nothing to flush


class SharedFile:
    """An open file that several threads use at once, and that is closed when the last of them is done.

    If a descriptor were closed during a `pread`, the call could read another file that got the same number. A cancelled
    executor call keeps running, so this can happen long after its upload has ended.
    """

    def __init__(
        self,
        file: Any,
        *,
        owner: Any = None,
        path: str | None = None,
        returned: Callable[[], None] = lambda: None,
    ) -> None:
        self.file = file
        """The unbuffered file, or the caller's own object."""
        self.path = path
        """The path for error messages."""
        self._returned = returned  # called when no thread reads the caller's object any more
        self._owner = owner  # kept alive, because a buffered reader closes its raw file when it is garbage-collected
        # Windows has no pread, and objects like BytesIO have no descriptor: their cursor is shared under a lock.
        self._seeks = owner is None or not hasattr(os, "pread")
        self._peeks = owner is not None and hasattr(os, "RWF_NOWAIT")
        self._cursor = threading.Lock()
        self._lock = threading.Lock()
        self._users = 0
        self._left = 0
        """Upper bound of the number of users whose callers were cancelled."""
        self._closing = False

    def peek(self, offset: int, buffer: memoryview) -> bool:
        """Fill the buffer from the page cache without blocking; called on the loop. Return whether that succeeded.

        Linux only (`RWF_NOWAIT`), and not on every file system: tmpfs refuses it. A hop to a thread costs 0.2 to
        0.3 ms, reading 256 KiB from the cache 0.03 ms. (2 cores, Python 3.11; 2026-11-23)
        """
        if not self._peeks or self._closing:
            return False
        try:
            # The result is short if only some of it is cached; then a thread reads the whole block.
            return os.preadv(self.file.fileno(), [buffer], offset, os.RWF_NOWAIT) == len(buffer)
        except BlockingIOError:
            return False
        except OSError:
            self._peeks = False
            return False

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer in the calling thread.

        Raises:
            SourceChanged: The file ends too early.
            SourceError: The disk or the network share failed.
        """
        read = self._seek_and_read if self._seeks else self._pread
        with self._used():
            try:
                done = read(offset, buffer)
                if done == len(buffer):
                    return
                # A network file system that has lost its server may pretend that the file ends here.
                is_long = self._owner is not None and os.fstat(self.file.fileno()).st_size >= offset + len(buffer)
            except Exception as error:  # a caller's file object may raise anything; it is chained as the cause
                reason = f"cannot be read: {reason_of(error)}"
                raise SourceError(reason, path=self.path, away=is_away(error), advice=advise_on_file(error)) from error
        missing = f"it ends {format_count(len(buffer) - done, 'byte')} early"
        if is_long:
            reason = f"cannot be read: {missing}, and is as long as before"
            raise SourceError(reason, path=self.path, away=True, advice=CHECK_SHARE)
        raise SourceChanged(f"changed while it was sent: {missing}", path=self.path)

    def leave(self) -> None:
        """Record that the caller of a read was cancelled; its thread may still be running."""
        with self._lock:
            self._left = self._users

    async def settled(self) -> None:
        """Wait until no abandoned read hangs: on a dead mount, each further read would occupy one more thread."""
        while self._left:  # noqa: ASYNC110  # an Event would have to be set by a thread that may outlive the loop
            await asyncio.sleep(POLL_INTERVAL)

    def append(self, block: memoryview) -> None:
        """Append the whole block, in the calling thread."""
        with self._used():
            done = 0
            while done < len(block):
                done += self.file.write(block[done:])

    def close(self) -> None:
        """Close the file now, or when the last thread that uses it is done."""
        with self._lock:
            self._closing = True
            self._close_when_unused()

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._lock:
            if self._closing:
                raise SourceError("was closed while it was read", path=self.path)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._left = min(self._left, self._users)
                self._close_when_unused()

    def _close_when_unused(self) -> None:
        if self._closing and not self._users:
            if self._owner is not None:
                self.file.close()
            self._returned()

    def _pread(self, offset: int, buffer: memoryview) -> int:
        descriptor, done = self.file.fileno(), 0
        while done < len(buffer):
            block = os.pread(descriptor, len(buffer) - done, offset + done)
            if not block:
                break
            buffer[done : done + len(block)] = block
            done += len(block)
        return done

    def _seek_and_read(self, offset: int, buffer: memoryview) -> int:
        with self._cursor:
            self.file.seek(offset)
            done = 0
            while done < len(buffer):
                block = self.file.read(len(buffer) - done)
                if not block:
                    break
                buffer[done : done + len(block)] = block
                done += len(block)
        return done


class FilePartReader:
    """A slice of an open file."""

    def __init__(self, file: SharedFile, start: int, executor: Executor) -> None:
        self._file = file
        self._start = start
        self._executor = executor

    def peek(self, offset: int, buffer: memoryview) -> memoryview | None:
        """Read from the page cache, if possible."""
        return buffer if self._file.peek(self._start + offset, buffer) else None

    async def read(self, offset: int, buffer: memoryview) -> memoryview:
        """Read through aiofiles, on an executor of our own."""
        await self._file.settled()
        try:
            await aiofiles.os.wrap(self._file.fill)(self._start + offset, buffer, executor=self._executor)
        except asyncio.CancelledError:
            self._file.leave()
            raise
        return buffer


def printable(path: str) -> str:
    """Return a path in printable form: undecodable bytes as `\\xe9`, and a NUL as `\\0`."""
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:  # a surrogate that does not represent a byte
        raw = path.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\0")


def reason_of(error: Exception) -> str:
    """Return the system's or the caller's object's reason why a source cannot be read.

    Credentials are removed: an object that reads from a network may quote the presigned URL that it reads.
    """
    return redact("; ".join(_reason_of(one) for one in each_of(error)))


def _reason_of(error: BaseException) -> str:
    if isinstance(error, SourceError):
        return error.reason
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
