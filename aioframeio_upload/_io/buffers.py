"""The pool of block buffers, the turns in which payloads write, and the hashing thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

BLOCK = 1 << 18
"""Bytes. Over TLS 256 KiB measured best: 128 KiB reach 0.9 of it, 512 KiB and more hold the loop for longer and fall
out of a core's cache. (perf.md's measurement, 2026-11-23)"""

MIN_BLOCK = 1 << 14
"""Bytes: smaller blocks would cost more than they show."""

AHEAD = 8
"""Buffers more than bodies: so many blocks may wait for their hash before the loop has to."""

ROUNDS = 2
"""Rounds of the loop between two turns: a timer that fell due during one needs two to reach the task that sleeps, and
would else wait for the next turn too. With them a 5 ms ticker is late by 0.7 ms (median) and 1.4 ms (99 %) at full
speed over TLS, without by 2.6 and 3.5; the speed is the same. (2026-11-23, `benchmarks.loop_lag`)"""

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


class WriteTurns:
    """Whose turn it is to write: one body's at a time, in the order of asking, with rounds of the loop in between.

    Not a lock: a turn never awaits anything, and asyncio's lock, when it is free, lets body after body write in one
    and the same round, which with sixteen of them held everything else in the loop up for 50 ms.
    """

    def __init__(self) -> None:
        self._is_resting = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def mine(self) -> None:
        """Wait for a turn; it is over when the caller lets the loop go on."""
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
            if not waiter.done():  # its body was cancelled
                waiter.set_result(None)
                self._begin()


class BufferPool:
    """The buffers of all bodies of an Uploader. Owned by its resources; a buffer by one body, then by the hasher."""

    size = BLOCK

    def __init__(self, bodies: int, bandwidth: int | None = None) -> None:
        if bandwidth is not None:
            self.size = block_for(bandwidth)
        self.turns = WriteTurns()
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
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():
                    self._wake()  # it was woken for a buffer that it does not take
                raise
        if self._free:  # a turn's buffers come back together, and wake one
            self._wake()
        return buffer

    def give_back(self, buffer: memoryview) -> None:
        """Take a buffer back."""
        self._free.append(buffer)
        self._wake()

    def hash(self, sent: Sequence[tuple[memoryview, memoryview]], digest: Hash) -> None:
        """Have buffers and the blocks in them hashed in the thread, and take each back then.

        All of a turn at once: a hand-over to a thread a block costs the loop half as much again as sending does.
        """
        self._hasher.submit(self._hash, sent, digest, asyncio.get_running_loop())

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

    def _hash(
        self, sent: Sequence[tuple[memoryview, memoryview]], digest: Hash, loop: asyncio.AbstractEventLoop
    ) -> None:
        for buffer, block in sent:
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
