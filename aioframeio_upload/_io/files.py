"""Files off the loop: opening, reading at an offset and closing, none of which a cancellation can leave half done."""

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
from .foreign import await_foreign

T = TypeVar("T")

MOST_THREADS = 1024
"""No disk needs so many. One on a mount that died is left where it hangs, for nothing can end it, and the others go on
without it: each source that dies keeps a few."""

GLANCE = 0.05
"""Seconds between two looks whether a read that hangs has ended."""


class PartReader(Protocol):
    """One part's bytes, wherever they lie; while they are lent they can be read any number of times."""

    def peek(self, offset: int, buffer: memoryview) -> memoryview | None:
        """Give as many bytes as the buffer holds, if they are in memory: at once, from the loop.

        None where the disk would have to be touched, or a file object called. What is given may be the buffer or
        somebody else's memory.
        """
        ...

    async def read(self, offset: int, buffer: memoryview) -> memoryview:
        """Fill the buffer, in a thread.

        Raises:
            SourceChanged: The source ends before.
            SourceError: It cannot be read.
        """
        ...


class ReadThreads(ThreadPoolExecutor):
    """The threads that touch the disks of all uploads: one that hangs keeps no other source waiting.

    Reads are bounded by the parts in flight, and by `Timeouts.stall`. Whatever else is asked of a disk goes through
    `answer`: so many questions at once, each bounded by the same time.
    """

    def __init__(self, questions: int, stall: float) -> None:
        super().__init__(MOST_THREADS, thread_name_prefix="aioframeio-upload")
        self._stall = stall
        self._places = anyio.Semaphore(questions, fast_acquire=True)

    async def ask(self, function: Callable[..., T], *arguments: Any, path: str | None = None) -> T:
        """Run a function in a thread, and leave it there if it takes too long.

        Raises:
            SourceError: It does not answer.
        """
        return await self.answer(lambda: await_foreign(in_thread(self, function, *arguments)), path)

    async def answer(self, begin: Callable[[], Awaitable[T]], path: str | None = None) -> T:
        """Begin something and await it, within `Timeouts.stall`; what waits for others is not late.

        Raises:
            SourceError: It does not answer.
        """
        async with self._places:
            return await self.bounded(begin, path)

    async def bounded(self, begin: Callable[[], Awaitable[T]], path: str | None = None) -> T:
        """Begin and await what asks nothing of a disk itself, within the same time.

        Raises:
            SourceError: It does not answer.
        """
        deadline = asyncio.timeout(self._stall)
        try:
            async with deadline:
                return await begin()
        except TimeoutError:
            if not deadline.expired():
                raise  # the system's own ETIMEDOUT
        raise SourceError(f"does not answer for {self._stall:g} s", path=path, away=True)


def in_thread(executor: Executor, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Run a function on the executor; cancelling the wait does not stop a thread that has begun."""
    return asyncio.get_running_loop().run_in_executor(executor, carried, function, arguments)


def carried(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """Call a function in a thread so that whatever it raises reaches the loop."""
    try:
        return function(*arguments)
    except StopIteration as error:
        # A future refuses to hold one, and whoever awaits it would wait for ever (before Python 3.12).
        raise RuntimeError("it raised StopIteration") from error


async def opened(opening: Awaitable[Any], path: str | None = None) -> SharedFile:
    """Await an aiofiles handle; if the wait is cancelled, the file is closed as soon as it is open."""
    task = asyncio.ensure_future(opening)
    try:
        handle = await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_close_late)
        raise
    return SharedFile(handle.raw, owner=handle, path=path)


def _close_late(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().raw.close()  # nothing was written to it: nothing is flushed, nothing waits


class SharedFile:
    """An open file that many threads use at once, and that closes when the last of them is done.

    Closing a descriptor under a running `pread` could let it read another file that got the same number; and a
    cancelled executor call runs on.
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
        """What errors name."""
        self._returned = returned  # of the caller's own object: no thread reads it any more
        self._owner = owner  # a buffered reader closes its raw file when it is collected
        # Windows has no pread, and an object like BytesIO no descriptor: they share their cursor under a lock.
        self._seeks = owner is None or not hasattr(os, "pread")
        self._peeks = owner is not None and hasattr(os, "RWF_NOWAIT")
        self._cursor = threading.Lock()
        self._lock = threading.Lock()
        self._users = 0
        self._left = 0
        """Users that nobody waits for any more, at most."""
        self._closing = False

    def peek(self, offset: int, buffer: memoryview) -> bool:
        """Fill the buffer from the page cache, without waiting; called on the loop. False where that cannot be.

        Linux only (`RWF_NOWAIT`), and not on every file system: tmpfs refuses. A hop to a thread costs 0.2 to 0.3 ms,
        reading 256 KiB from the cache 0.03. (2 cores, Python 3.11; 2026-11-23)
        """
        if not self._peeks or self._closing:
            return False
        try:
            # Short at the edge of what is cached; the thread reads the block anew then.
            return os.preadv(self.file.fileno(), [buffer], offset, os.RWF_NOWAIT) == len(buffer)
        except BlockingIOError:
            return False
        except OSError:
            self._peeks = False
            return False

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer, in the calling thread.

        Raises:
            SourceChanged: The file ends before.
            SourceError: The disk or the share fails.
        """
        read = self._seek_and_read if self._seeks else self._pread
        with self._used():
            try:
                done = read(offset, buffer)
                if done == len(buffer):
                    return
                # A network file system that has lost its server may read as if the file ended here.
                is_long = self._owner is not None and os.fstat(self.file.fileno()).st_size >= offset + len(buffer)
            except Exception as error:  # a caller's file object may raise whatever it likes; it is told as the cause
                reason = f"cannot be read: {reason_of(error)}"
                raise SourceError(reason, path=self.path, away=isinstance(error, OSError)) from error
        missing = f"it ends {len(buffer) - done} bytes early"
        if is_long:
            raise SourceError(f"cannot be read: {missing}, and is as long as before", path=self.path, away=True)
        raise SourceChanged(f"changed while it was sent: {missing}", path=self.path)

    def leave(self) -> None:
        """Note that a read was given up; its thread may still be at it."""
        with self._lock:
            self._left = self._users

    async def settled(self) -> None:
        """Wait until no read hangs that was given up: each that is begun beside it would keep one more thread."""
        while self._left:  # noqa: ASYNC110  an Event would be set from a thread, which may outlive the loop
            await asyncio.sleep(GLANCE)

    def append(self, block: memoryview) -> None:
        """Write the whole block at the end, in the calling thread."""
        with self._used():
            done = 0
            while done < len(block):
                done += self.file.write(block[done:])

    def close(self) -> None:
        """Close the file: now, or when the last thread that uses it is done."""
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
        """From the page cache."""
        return buffer if self._file.peek(self._start + offset, buffer) else None

    async def read(self, offset: int, buffer: memoryview) -> memoryview:
        """Through aiofiles, on an executor of our own: the default one also resolves names."""
        await self._file.settled()
        try:
            await aiofiles.os.wrap(self._file.fill)(self._start + offset, buffer, executor=self._executor)
        except asyncio.CancelledError:
            self._file.leave()
            raise
        return buffer


def printable(path: str) -> str:
    """Give a path as it can be printed and sent: bytes that are no text as `\\xe9`, and a NUL as `\\0`."""
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        raw = path.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\0")


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read: in the system's words, or in those of the caller's own object.

    Without credentials: an object that reads over a network may quote the presigned URL that it reads from.
    """
    if isinstance(error, SourceError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return redact(str(error.strerror))
    return redact(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
