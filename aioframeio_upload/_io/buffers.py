"""Share memory, write turns and the hashing thread between the payloads of an Uploader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .._core.checksums import Digest

BLOCK = 1 << 18
"""Bytes. Over TLS 256 KiB measured best: 128 KiB reach 0.9 of its speed, 512 KiB and more block the loop for longer and
do not fit into a core's cache. (Measured 2026-11-23.)"""

MIN_BLOCK = 1 << 14
"""Bytes. Smaller blocks would cost more than the finer progress is worth."""

AHEAD = 8
"""Buffers in addition to one per payload: blocks that may wait to be hashed before the sender has to wait."""

ROUNDS = 2
"""Iterations of the loop between two turns. A timer that became due during a turn needs two to wake its task, and would
otherwise wait for the next turn too. With them a 5 ms ticker is late by 0.7 ms (median) and 1.4 ms (99 %) at full speed
over TLS, without them by 2.6 and 3.5; the speed is the same. (2026-11-23, `benchmarks.loop_lag`)"""

SILENCE = 10.0
"""Seconds for which an open PUT may send nothing: S3 drops a silent connection after 20 to 30."""


def block_for(bandwidth: int) -> int:
    """Return the block size under a limit in bytes per second: about twenty blocks a second, within bounds.

    At the smallest limits, one block is sent every SILENCE seconds.
    """
    return max(min(MIN_BLOCK, int(bandwidth * SILENCE)), min(bandwidth // 20, BLOCK))


class WriteTurns:
    """Let payloads write one at a time, first come first served, with iterations of the loop in between.

    Not an `asyncio.Lock`: a turn never awaits anything, so a free lock would let all payloads write in one iteration of
    the loop. With sixteen payloads that blocked everything else in the loop for 50 ms.
    """

    def __init__(self) -> None:
        self._is_resting = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def mine(self) -> None:
        """Wait for a turn; it ends when the caller yields to the loop."""
        if not self._is_resting:
            self._begin()
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _begin(self) -> None:
        self._is_resting = True
        asyncio.get_running_loop().call_soon(self._rest, ROUNDS)

    def _rest(self, rounds: int) -> None:
        if rounds:
            asyncio.get_running_loop().call_soon(self._rest, rounds - 1)
            return
        self._is_resting = False
        while self._waiting and not self._is_resting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # done if its task was cancelled
                waiter.set_result(None)
                self._begin()


class BufferPool:
    """The buffers of all payloads of an Uploader, owned by its `Session`.

    A buffer is owned by one payload, then by the hashing thread, which returns it to the pool.
    """

    size: int = BLOCK

    def __init__(self, bodies: int, bandwidth: int | None = None) -> None:
        if bandwidth is not None:
            self.size = block_for(bandwidth)
        self.turns: WriteTurns = WriteTurns()
        self._free: deque[memoryview] = deque()
        self._unmade = bodies + AHEAD
        self._waiting: deque[asyncio.Future[None]] = deque()
        # One thread, so that the blocks of a part are hashed in order. hashlib releases the GIL meanwhile.
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="aioframeio-upload-hash")

    def take_now(self) -> memoryview | None:
        """Return a free buffer, or None."""
        if self._free:
            return self._free.popleft()
        if not self._unmade:
            return None
        self._unmade -= 1
        return memoryview(bytearray(self.size))

    async def take(self) -> memoryview:
        """Wait for a free buffer and return it; the only thing to wait for is hashing that is behind."""
        while (buffer := self.take_now()) is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            if self._free:  # the hashing thread returned one after `take_now` and before the waiter was queued
                self._wake()
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():
                    self._wake()  # pass the wake-up on to the next waiter
                raise
        if self._free:  # the buffers of a turn are returned together, with a single wake-up
            self._wake()
        return buffer

    def give_back(self, buffer: memoryview) -> None:
        """Return a buffer to the pool."""
        self._free.append(buffer)
        self._wake()

    def hash(self, sent: Sequence[tuple[memoryview, memoryview]], digests: Sequence[Digest]) -> None:
        """Hash blocks in the thread, which then returns their buffers to the pool.

        All blocks of a turn are handed over at once: one hand-over per block would cost the loop half as much as
        sending does.
        """
        self._hasher.submit(self._hash, sent, digests, asyncio.get_running_loop())

    def lost(self) -> None:
        """Replace a buffer that a cancelled read or a broken connection may still access, so it is never reused."""
        self._unmade += 1
        self._wake()

    async def hashed(self) -> None:
        """Wait until every block that was handed to `hash` is in its digests."""
        await asyncio.get_running_loop().run_in_executor(self._hasher, _pass)

    def close(self) -> None:
        """Stop the thread."""
        self._hasher.shutdown(wait=False, cancel_futures=True)

    def _hash(
        self, sent: Sequence[tuple[memoryview, memoryview]], digests: Sequence[Digest], loop: asyncio.AbstractEventLoop
    ) -> None:
        for buffer, block in sent:
            for digest in digests:
                digest.update(block)
            self._free.append(buffer)
        if self._waiting and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


def _pass() -> None:
    """Do nothing: the thread does one thing after the other, so that what was before this is done."""
