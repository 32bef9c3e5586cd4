"""Share a number of slots fairly between uploads; the number may change at any time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class FairLimiter:
    """Slots, and those who wait for one.

    Every other slot goes to the waiter whose upload has the fewest, so that a small file does not wait behind a large
    one; the rest go to the longest waiter, so that a large file is not starved by many small ones.

    Not anyio's CapacityLimiter: it serves waiters in their order only, and when its number grows, it admits as many as
    it grew by, also while more are held than the new number.

    Args:
        total: Slots that may be held.
        first: If given, an upload that holds no slot gets one as long as fewer than so many are held, and `total` is
            for one upload and the further slots of all: those who hold one slot each for long, such as slow streams,
            then keep nobody out.
    """

    def __init__(self, total: int, first: int | None = None) -> None:
        self._total = total
        self._first = first
        self._held: Counter[Hashable] = Counter()
        self._in_use = 0
        self._waiting: dict[asyncio.Future[None], Hashable] = {}
        """In the order of arrival."""
        self._serves_oldest = False

    @property
    def total(self) -> int:
        """Slots that may be held."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._admit()

    @property
    def in_use(self) -> int:
        """Slots that are held: more than `total` for a while after that was lowered."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    async def acquire(self, upload: Hashable) -> None:
        """Wait for a slot."""
        is_next = not self._waiting or (self._first is not None and upload not in self._held)
        if is_next and self._may_take(upload):
            self._take(upload)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = upload
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiting.pop(waiter, None)
            else:  # admitted just before the cancellation
                self.release(upload)
            raise

    def release(self, upload: Hashable) -> None:
        """Return a slot."""
        self._in_use -= 1
        self._held[upload] -= 1
        if not self._held[upload]:
            del self._held[upload]
        self._admit()

    @asynccontextmanager
    async def slot(self, upload: Hashable) -> AsyncIterator[None]:
        """Hold a slot."""
        await self.acquire(upload)
        try:
            yield
        finally:
            self.release(upload)

    def has_new(self) -> bool:
        """Return whether an upload that holds no slot waits for one."""
        return any(not self._held[upload] for upload in self._waiting.values())

    def _may_take(self, upload: Hashable) -> bool:
        if self._first is None:
            return self._in_use < self._total
        further = self._in_use - len(self._held)
        return self._in_use < self._first and (upload not in self._held or further < self._total - 1)

    def _take(self, upload: Hashable) -> None:
        self._in_use += 1
        self._held[upload] += 1

    def _admit(self) -> None:
        # A task that was cancelled has not run yet to leave the queue.
        self._waiting = {waiter: upload for waiter, upload in self._waiting.items() if not waiter.done()}
        while may := [waiter for waiter, upload in self._waiting.items() if self._may_take(upload)]:
            waiter = may[0]
            if not self._serves_oldest:
                waiter = min(may, key=lambda waiter: self._held[self._waiting[waiter]])
            self._serves_oldest = not self._serves_oldest
            self._take(self._waiting.pop(waiter))
            waiter.set_result(None)
