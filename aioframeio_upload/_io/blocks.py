"""The buffers that blocks travel in: filled, sent, hashed in a thread, used again; and whose turn it is to write."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

BLOCK = 1 << 18
"""Bytes. Over TLS 256 KiB measured best: 128 KiB reach 0.9 of it, 512 KiB and more hold the loop for longer and fall
out of a core's cache. (perf.md's measurement, 2026-11-23)"""

MIN_BLOCK = 1 << 14
"""Bytes: smaller blocks would cost more than they show."""

AHEAD = 8
"""Buffers more than bodies: so many blocks may wait for their hash before the loop has to."""

SILENCE = 10.0
"""Seconds that an open PUT may go without a block: S3 gives a silent connection up after 20 to 30."""


def block_for(bandwidth: int) -> int:
    """Choose the block under a limit of so many bytes a second: twenty of them a second, as far as that makes sense.

    The smallest limits take a block every SILENCE seconds.
    """
    return max(min(MIN_BLOCK, int(bandwidth * SILENCE)), min(bandwidth // 20, BLOCK))


class Hash(Protocol):
    """What `hashlib` gives."""

    def update(self, block: Any, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """Give the digest of all."""
        ...


class Blocks:
    """The buffers of all bodies of an Uploader. Owned by its resources; a buffer by one body, then by the hasher."""

    size = BLOCK

    def __init__(self, bodies: int, bandwidth: int | None = None) -> None:
        if bandwidth is not None:
            self.size = block_for(bandwidth)
        self.turns = asyncio.Lock()
        """Held by the one body that writes; asyncio's lock serves in the order of asking."""
        self._free: deque[memoryview] = deque()
        self._unmade = bodies + AHEAD
        self._waiting: deque[asyncio.Future[None]] = deque()
        # One thread, so that the blocks of a part are hashed in their order; hashlib lets go of the GIL.
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="aioframeio-upload-md5")

    def take_now(self) -> memoryview | None:
        """Give a buffer, if one is free."""
        if self._free:
            return self._free.popleft()
        if not self._unmade:
            return None
        self._unmade -= 1
        return memoryview(bytearray(self.size))

    async def take(self) -> memoryview:
        """Give a buffer, when one is free; it waits only for hashing that is behind."""
        while (buffer := self.take_now()) is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            if self._free:  # given back between the look and the queueing
                self._wake()
            await waiter
        return buffer

    def sent(self, buffer: memoryview, block: memoryview, digest: Hash | None) -> None:
        """Take a buffer back whose block was sent: at once, or when it is hashed."""
        if digest is None:
            self._give_back(buffer)
            self._wake()
        else:
            self._hasher.submit(self._hash, buffer, block, digest, asyncio.get_running_loop())

    def lost(self) -> None:
        """Count a buffer as gone that a cancelled read or a broken connection may still have its hands on."""
        self._unmade += 1
        self._wake()

    async def hexdigest(self, digest: Hash) -> str:
        """Give the digest, when every block that was sent is in it."""
        return await asyncio.get_running_loop().run_in_executor(self._hasher, digest.hexdigest)

    def close(self) -> None:
        """Let the thread end."""
        self._hasher.shutdown(wait=False, cancel_futures=True)

    def _hash(self, buffer: memoryview, block: memoryview, digest: Hash, loop: asyncio.AbstractEventLoop) -> None:
        digest.update(block)
        self._give_back(buffer)
        if self._waiting and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def _give_back(self, buffer: memoryview) -> None:
        self._free.append(buffer)

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
