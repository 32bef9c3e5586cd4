"""Store each part in a separate file, written and hashed in threads.

Each attempt at a part has its own file, because each PUT creates its own object in S3: a failed attempt does not
change what an earlier one has stored.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

Flip = Literal["corrupt", "rot"]
StatedChecksum = Literal["crc64nvme", "crc32c", "crc32"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that was received completely.

    Attributes:
        size: Its length.
        md5: The MD5 of the stored bytes, in hex.
        checksum: Their CRC in base64; None if the service states none.
        path: The file with its bytes; None if they were discarded.
    """

    size: int
    md5: str
    checksum: str | None = None
    path: Path | None = None


class Spool:
    """A temporary directory and the threads that write to it.

    It has its own threads, so that it does not use the default executor of the program under test.
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
        """Create the directory."""
        if self.store:
            try:
                self.directory = Path(await self.off_loop(tempfile.mkdtemp, prefix="fake-frameio-"))
            except FileNotFoundError as error:
                reason = "FakeFrameio stores received parts in a temporary directory, and there is none"
                raise RuntimeError(f"{reason}: set TMPDIR, or pass store=False") from error

    async def close(self) -> None:
        """Remove the directory with its content."""
        if self.directory is not None:
            await self.off_loop(shutil.rmtree, self.directory)
        self._threads.shutdown(wait=False)

    def writer(self, *, keep: bool, flip: Flip | None = None, checksum: StatedChecksum | None = None) -> PartWriter:
        """Return a writer for one attempt at a part.

        Args:
            keep: Store the bytes, instead of only counting and hashing them.
            flip: Invert the bits of the first byte, before or after ("rot") the digests are computed.
            checksum: The CRC to compute.
        """
        path = None
        if keep and self.directory is not None:
            self._count += 1
            path = self.directory / str(self._count)
        return PartWriter(self, path, flip, checksum)

    async def digests(self, parts: Sequence[StoredPart]) -> tuple[str, str] | tuple[None, None]:
        """Return SHA-256 and CRC64NVME of the concatenated parts; None if their bytes were, or are being, discarded."""
        paths = [part.path for part in parts if part.path is not None]
        try:
            return await self.off_loop(_digests, paths) if len(paths) == len(parts) else (None, None)
        except FileNotFoundError:  # deleted while it was being read
            return None, None

    async def forget(self, parts: Sequence[StoredPart]) -> None:
        """Delete the bytes of parts that are no longer needed."""
        await self.off_loop(_unlink, [part.path for part in parts if part.path is not None])


@dataclass(slots=True, eq=False)
class PartWriter:
    """One attempt at one part; a block is written while the next one is received."""

    spool: Spool
    path: Path | None
    flip: Flip | None
    checksum: StatedChecksum | None
    size: int = 0
    _crc: int = 0
    # Without `usedforsecurity=False`, an OpenSSL in FIPS mode refuses MD5.
    _md5: hashlib._Hash = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    _descriptor: int = -1
    _writing: asyncio.Future[None] | None = None

    async def write(self, block: bytes) -> None:
        """Start to write the next block, once the previous one is written."""
        await self._settle()
        self.size += len(block)
        self._writing = asyncio.ensure_future(self.spool.off_loop(self._write, block))

    async def finish(self) -> StoredPart:
        """Finish writing and return the stored part."""
        await self._settle()
        if self._descriptor >= 0:
            await self.spool.off_loop(self._close)
        checksum = None if self.checksum is None else crc_text(self.checksum, self._crc)
        return StoredPart(self.size, self._md5.hexdigest(), checksum, self.path if self.size else None)

    async def discard(self) -> None:
        """Delete what was written."""
        await self._settle()
        if self._descriptor >= 0:
            await self.spool.off_loop(self._close)
        if self.path is not None and self.size:
            await self.spool.off_loop(_unlink, [self.path])

    async def _settle(self) -> None:
        """Wait for the last block; shielded, because the thread still uses the descriptor after a cancellation."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    def _write(self, block: bytes) -> None:
        sent, flip, self.flip = block, self.flip, None
        if flip is not None:
            block = bytes([block[0] ^ 0xFF]) + block[1:]
        stated = sent if flip == "rot" else block
        self._md5.update(stated)
        if self.checksum is not None:
            self._crc = crc_of(self.checksum, stated, self._crc)
        if self.path is None:
            return
        if self._descriptor < 0:
            # Without O_BINARY, Windows would write each line feed as two bytes.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(self.path, flags, 0o600)
        rest = memoryview(block)
        while rest:  # os.write may write less than it was given
            rest = rest[os.write(self._descriptor, rest) :]

    def _close(self) -> None:
        # Also while an earlier close still runs in a thread: `finish` may have been cancelled meanwhile.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def crc_of(name: StatedChecksum, block: bytes | memoryview, before: int = 0) -> int:
    """Return the CRC of some bytes, in continuation of `before`."""
    # Here, because it takes 30 ms, and the pytest plugin imports this module in every run of its users.
    from awscrt import checksums

    compute = {"crc64nvme": checksums.crc64nvme, "crc32c": checksums.crc32c, "crc32": checksums.crc32}[name]
    crc: int = compute(block, before)
    return crc


def crc_text(name: StatedChecksum, crc: int) -> str:
    """Return a CRC as S3 states it: base64, the highest byte first."""
    return base64.b64encode(crc.to_bytes(8 if name == "crc64nvme" else 4, "big")).decode()


def _digests(paths: Sequence[Path]) -> tuple[str, str]:
    whole, crc = hashlib.sha256(), 0
    buffer = memoryview(bytearray(1 << 20))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                whole.update(buffer[:count])
                crc = crc_of("crc64nvme", buffer[:count], crc)
    return whole.hexdigest(), crc_text("crc64nvme", crc)


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
