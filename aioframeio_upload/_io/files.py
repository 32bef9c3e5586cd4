"""Files off the loop: opening, reading at an offset and closing, none of which a cancellation can leave half done."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

from .._core.errors import SourceChanged, SourceError

Block: TypeAlias = bytes | memoryview
"""The bytes that are handed to the socket at once."""

T = TypeVar("T")


class Digest(Protocol):
    """What `hashlib` gives."""

    def update(self, block: Any, /) -> None:
        """Take the next bytes."""


Read: TypeAlias = Callable[[int, int, "Digest | None"], "asyncio.Future[Block]"]
"""Read `size` bytes at an offset of one part, in a thread, and feed them to the digest there."""


def in_thread(executor: Executor, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Run a function on the executor; cancelling the wait does not stop a thread that has begun."""
    return asyncio.get_running_loop().run_in_executor(executor, function, *arguments)


async def opened(opening: Awaitable[Any], path: str | None = None) -> Descriptor:
    """Await an aiofiles handle; if the wait is cancelled, the file is closed as soon as it is open."""
    task = asyncio.ensure_future(opening)
    try:
        handle = await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_close_late)
        raise
    return Descriptor(handle.raw, owner=handle, path=path)


def _close_late(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().raw.close()  # nothing was written to it: nothing is flushed, nothing waits


class Descriptor:
    """An open file that many threads use at once, and that closes when the last of them is done.

    Closing a descriptor under a running `pread` could let it read another file that got the same number; and a
    cancelled executor call runs on.
    """

    def __init__(self, file: Any, *, owner: Any = None, path: str | None = None) -> None:
        self.file = file
        """The unbuffered file, or the caller's own object."""
        self.path = path
        """What errors name."""
        self._owner = owner  # a buffered reader closes its raw file when it is collected
        # Windows has no pread, and an object like BytesIO no descriptor: they share their cursor under a lock.
        self._seeks = owner is None or not hasattr(os, "pread")
        self._cursor = threading.Lock()
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False

    def read(self, offset: int, size: int, digest: Digest | None) -> bytes:
        """Read exactly `size` bytes, in the calling thread, and feed them to the digest.

        Raises:
            SourceChanged: The file ends before.
            SourceError: The disk or the share fails.
        """
        with self._used():
            try:
                block = self._seek_and_read(offset, size) if self._seeks else self._pread(offset, size)
            except (OSError, ValueError) as error:  # ValueError: the caller closed it
                raise SourceError(f"cannot be read: {_reason(error)}", path=self.path) from error
        if len(block) < size:
            missing = f"it ends {size - len(block)} bytes early"
            raise SourceChanged(f"changed while it was sent: {missing}", path=self.path)
        if digest is not None:
            digest.update(block)
        return block

    def append(self, block: Block) -> None:
        """Write the whole block at the end, in the calling thread."""
        with self._used(), memoryview(block) as view:
            done = 0
            while done < len(view):
                done += self.file.write(view[done:])

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
                self._close_when_unused()

    def _close_when_unused(self) -> None:
        if self._closing and not self._users and self._owner is not None:
            self.file.close()

    def _pread(self, offset: int, size: int) -> bytes:
        descriptor = self.file.fileno()
        return _read_fully(lambda missing, done: os.pread(descriptor, missing, offset + done), size)

    def _seek_and_read(self, offset: int, size: int) -> bytes:
        with self._cursor:
            self.file.seek(offset)
            return _read_fully(lambda missing, done: self.file.read(missing), size)


def _read_fully(read: Callable[[int, int], bytes], size: int) -> bytes:
    """Call `read(missing, done)` until `size` bytes are there or it ends; one call is usually enough."""
    block = read(size, 0)
    if len(block) == size:
        return block
    pieces, done = [block], len(block)
    while block and done < size:
        block = read(size - done, done)
        pieces.append(block)
        done += len(block)
    return b"".join(pieces)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
