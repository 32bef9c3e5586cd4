"""Where a part's bytes go: a file of its own on disk, written and hashed off the loop.

Each attempt at a part has its own file, as each PUT is an object of its own in S3: an attempt that breaks off
leaves what an earlier one has stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that was received wholly.

    Attributes:
        size: Its length.
        md5: The MD5 of what was stored, in hex.
        path: Its bytes; None where they were discarded.
    """

    size: int
    md5: str
    path: Path | None = None


class Spool:
    """A temporary directory and the threads that write to it; threads of its own, so that it takes none from
    the default executor of the program under test.
    """

    def __init__(self, *, store: bool) -> None:
        self.store = store
        self.directory: Path | None = None
        self._count = 0
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="fake-frameio")

    async def off_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function in one of the spool's threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    async def open(self) -> None:
        """Make the directory."""
        if self.store:
            try:
                self.directory = Path(await self.off_loop(tempfile.mkdtemp, prefix="fake-frameio-"))
            except FileNotFoundError as error:
                reason = "FakeFrameio keeps what it is sent in a temporary directory, and there is none"
                raise RuntimeError(f"{reason}: set TMPDIR, or give store=False") from error

    async def close(self) -> None:
        """Remove the directory with all it holds."""
        if self.directory is not None:
            await self.off_loop(shutil.rmtree, self.directory)
        self._threads.shutdown(wait=False)

    def writer(self, *, keep: bool, flip: bool = False) -> PartWriter:
        """Return what a part is written with.

        Args:
            keep: Whether the bytes are stored, or only counted and hashed.
            flip: Whether the bits of the first byte are turned over on the way.
        """
        path = None
        if keep and self.directory is not None:
            self._count += 1
            path = self.directory / str(self._count)
        return PartWriter(self, path, flip)

    async def sha256(self, parts: Sequence[StoredPart]) -> str | None:
        """Return the SHA-256 of the parts one after the other; None where their bytes were, or are being, discarded."""
        paths = [part.path for part in parts if part.path is not None]
        try:
            return await self.off_loop(_sha256, paths) if len(paths) == len(parts) else None
        except FileNotFoundError:  # deleted while it was put together
            return None

    async def forget(self, parts: Sequence[StoredPart]) -> None:
        """Remove the bytes of parts that nobody will ask for."""
        await self.off_loop(_unlink, [part.path for part in parts if part.path is not None])


@dataclass(slots=True, eq=False)
class PartWriter:
    """One attempt at one part: one block is written while the next is awaited."""

    spool: Spool
    path: Path | None
    flip: bool
    size: int = 0
    _md5: hashlib._Hash = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    _descriptor: int = -1
    _writing: asyncio.Future[None] | None = None

    async def write(self, block: bytes) -> None:
        """Take the next block; waits for the one before it."""
        await self._settle()
        self.size += len(block)
        self._writing = asyncio.ensure_future(self.spool.off_loop(self._write, block))

    async def finish(self) -> StoredPart:
        """Return what was stored."""
        await self._settle()
        if self._descriptor >= 0:
            await self.spool.off_loop(self._close)
        return StoredPart(self.size, self._md5.hexdigest(), self.path if self.size else None)

    async def discard(self) -> None:
        """Leave nothing."""
        await self._settle()
        if self._descriptor >= 0:
            await self.spool.off_loop(self._close)
        if self.path is not None and self.size:
            await self.spool.off_loop(_unlink, [self.path])

    async def _settle(self) -> None:
        """A cancelled caller leaves only once the thread is done with the descriptor."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    def _write(self, block: bytes) -> None:
        if self.flip:
            self.flip = False
            block = bytes([block[0] ^ 0xFF]) + block[1:]
        self._md5.update(block)
        if self.path is None:
            return
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


def _sha256(paths: Sequence[Path]) -> str:
    whole = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                whole.update(buffer[:count])
    return whole.hexdigest()


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
