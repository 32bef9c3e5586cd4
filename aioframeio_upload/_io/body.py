"""One part's bytes as the body of one PUT: read in blocks, hashed on the way, never more than a block in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from .._core.errors import SourceError
from .files import Digest, Read

MIN_BLOCK = 1 << 16
MAX_BLOCK = 1 << 20
"""Bytes. A hop to the reading thread costs 0.2 to 0.3 ms, as much as reading 1 MiB from the page cache: blocks of
64 KiB are five times slower than blocks of 1 MiB, and larger ones gain nothing. (2 cores, Python 3.11; 2026-11-23)"""


def next_block(block: int, seconds: float) -> int:
    """Choose the next block's size by the time that the last one took: large on a fast link, small on a slow one.

    A slow link (1 Mbit/s: half a second for 64 KiB) shows its progress and is not taken for a stalled one.
    """
    if seconds < 0.05:
        return min(block * 2, MAX_BLOCK)
    return max(block // 2, MIN_BLOCK) if seconds > 0.2 else block


class Slice(Payload):
    """A body of known length. Owned by one attempt; sent once."""

    # Nothing here needs closing: the file belongs to the source.
    _autoclose = True
    # aiohttp resends a PUT once by itself after a disconnect, unless the payload says that it cannot be replayed
    # (client.py, `retry_persistent_connection`). Every attempt is ours: counted, delayed and told.
    _consumed = True

    def __init__(
        self, read: Read, size: int, content_type: str, digest: Digest | None, on_block: Callable[[], None]
    ) -> None:
        super().__init__(None, content_type=content_type)
        self._size = size
        self._read = read
        self._digest = digest
        self._on_block = on_block
        self.sent = 0
        """Bytes that the kernel has taken."""
        self.source_error: SourceError | None = None
        """Kept here: aiohttp turns what is raised in a payload into a connection error."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: a part is not text, and not to be held in memory."""
        raise TypeError("a part's bytes are streamed")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the whole body; its length was announced by `size`, so there is nothing to cut."""
        size = self._size or 0
        block_size = MIN_BLOCK
        _keep_little_unsent(writer)
        while self.sent < size:
            began = time.monotonic()
            try:
                block = await self._read(self.sent, min(block_size, size - self.sent), self._digest)
            except SourceError as error:
                self.source_error = error
                raise
            await writer.write(block)
            await writer.drain()
            self.sent += len(block)
            self._on_block()
            block_size = next_block(block_size, time.monotonic() - began)


def _keep_little_unsent(writer: AbstractStreamWriter) -> None:
    """Let `drain()` wait until the kernel has the block: what is counted as sent has left the process.

    Over TLS a limit of 0 would dead-lock asyncio's SSL protocol, which compares with >=.
    """
    if writer.transport is not None:
        writer.transport.set_write_buffer_limits(high=1, low=0)
