"""Let the API calls of an Uploader wait for their turn, operation by operation."""

from __future__ import annotations

import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from .._core.backoff import MAX_RETRY_AFTER
from .._core.token_bucket import SharedRate


class Turn:
    """A call that has its turn. Its answer is recorded here."""

    def __init__(self, rate: SharedRate) -> None:
        self._rate = rate
        self.refusals: int | None = None
        """After a 429: how often in a row the operation was refused in this process, however many calls took part."""

    def observe(self, status: int, headers: Mapping[str, str], sent_at: float, retry_after: float | None) -> None:
        """Record an answer: the limit that it tells, and whether the limit let the call pass."""
        now, told = time.monotonic(), _read_limit(headers)
        remaining = None
        if told is not None and self._rate.adopt(told[0], told[2], now):
            remaining = told[1]
        # Chance here spreads calls in time; nothing depends on its being unpredictable.
        chance = random.random()
        if status == 429:
            wanted = None if retry_after is None else min(retry_after, MAX_RETRY_AFTER)
            self._rate.refuse(sent_at, now, wanted, is_told=remaining is not None, chance=chance)
            self.refusals = max(1, self._rate.refusals)
        else:
            self._rate.grant(sent_at, now, remaining, chance)


class _Queue:
    """The calls of one operation that wait, in their order."""

    def __init__(self, rate: SharedRate) -> None:
        self.rate = rate
        self.newcomers = anyio.Lock()
        """Held by the first of the new calls, so that only one of them waits for `head`."""
        self.head = anyio.Lock()
        """Held by the call that goes next. Refused calls wait for this lock alone, and so go before new ones."""
        self.changed = anyio.Event()
        """Set when an answer has come: the next call may have to wait for less time than it thought."""

    async def wait(self) -> None:
        while (seconds := self.rate.take(time.monotonic())) > 0:
            with anyio.move_on_after(seconds):
                await self.changed.wait()

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class ApiPace:
    """The rates of all operations of an Uploader. Owned by its `FrameioApi`; all views share it.

    Other processes of the same user, and other Uploaders of this one, are noticed by the service's answers alone.
    """

    # Processes with one journal could keep a common bucket beside it. That was left out: it would help on one host
    # only, at the cost of a locked file for each call, and what is left to gain is small (docs/how-to/many-workers.md).

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def turn(self, operation: str, calls: int, seconds: float, *, is_again: bool) -> AsyncIterator[Turn]:
        """Wait until a call may be made, and make it within the block.

        Args:
            operation: The name of the operation.
            calls: Its documented limit: so many calls.
            seconds: In so many seconds.
            is_again: The call was made before: it goes before calls that were not.
        """
        queue = self._queues.get(operation)
        if queue is None:
            queue = self._queues[operation] = _Queue(SharedRate.full(calls, seconds, time.monotonic()))
        async with AsyncExitStack() as stack:
            if not is_again:
                await stack.enter_async_context(queue.newcomers)
            await stack.enter_async_context(queue.head)
            await queue.wait()
        try:
            yield Turn(queue.rate)
        finally:
            queue.rate.end()
            queue.wake()


_NUMBER = re.compile(r"0{0,9}[0-9]{1,9}")
"""Leading zeros count as digits for `int`, which raises ValueError above 4,300 of them."""


def _read_limit(headers: Mapping[str, str]) -> tuple[int, int, float] | None:
    """Return limit, remaining calls and seconds of the window, if the three headers are numbers."""
    numbers = [headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining", "window")]
    if not all(_NUMBER.fullmatch(text) for text in numbers):
        return None
    limit, remaining, milliseconds = map(int, numbers)
    return limit, remaining, milliseconds / 1000
