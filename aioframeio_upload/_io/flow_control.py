"""Control the flow of a part's bytes: pauses, the bandwidth limit, and the stall timeout of an attempt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .._core.token_bucket import TokenBucket

BURST = 0.05
"""Size of a burst in seconds of the limit; short compared to any upload, so that the limit holds from the start."""

PAUSE = 15.0
"""Seconds for which a pause may hold an attempt: S3 drops a silent connection after 20 to 30."""

LATE = 30.0
"""Seconds. If the loop wakes a throttled payload by more than this later than planned, that counts as a stall."""

STRETCH = 1.0
"""Seconds of a call's wait for a connection that are told at a time."""

LOOK = 0.1
MOST_LOOK = 1.0
"""Interval, as a fraction of `Timeouts.stall` and at most in seconds, at which the kernel is asked how much of a
written body it still has."""


class PauseGate:
    """The pause state of one upload. Closed and opened by its handle; its payloads and workers wait for it."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()

    @property
    def is_open(self) -> bool:
        """Whether bytes may be sent."""
        return self._opened.is_set()

    def close(self) -> None:
        """Pause."""
        self._opened.clear()

    def open(self) -> None:
        """Resume."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait until the gate is open."""
        await self._opened.wait()


class BandwidthLimiter:
    """The bandwidth limit of all uploads of an Uploader together. Owned by its `Session`."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._bucket = None
        if bytes_per_second is not None:
            self._bucket = TokenBucket.full(bytes_per_second * BURST, BURST, time.monotonic())

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._bucket is not None

    def reserve(self, size: int) -> float:
        """Reserve bytes and return the seconds until they may be sent; reservations are served in order."""
        return 0.0 if self._bucket is None else self._bucket.reserve(time.monotonic(), size)


class PoolWait:
    """The wait of one request for a connection, while others use all that a caller's connector allows.

    Args:
        seconds: How long it may take in all: aiohttp may queue a request again, if another one was faster.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None
        self.is_waiting = False
        """Whether the request is in the queue, or was when its time was over."""

    def begin(self) -> float:
        """Note that the request is queued, and return the seconds that it may wait from now on."""
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._seconds
        self.is_waiting = True
        return max(0.0, self._until - now)

    def end(self) -> None:
        """Note that it has left the queue: a connection is free, or may be opened."""
        self.is_waiting = False


class CallDeadline:
    """The timeout of one call, which does not run while the call waits for a connection of a caller's pool.

    Not aiohttp's `total`, which counts that wait too.

    Args:
        seconds: For the whole call otherwise.
        pool: Seconds for that wait.
        on_wait: Called with the seconds of each stretch of that wait, before they have passed.
    """

    def __init__(self, seconds: float, pool: float, on_wait: Callable[[float], None] | None = None) -> None:
        self.timeout = asyncio.timeout(seconds)
        """The timeout context to make the call in."""
        self._left = seconds
        self._pool = PoolWait(pool)
        self._on_wait = on_wait
        self._telling: asyncio.TimerHandle | None = None

    @property
    def is_queued(self) -> bool:
        """Whether the call waits for a connection, or did when its time was over."""
        return self._pool.is_waiting

    def sent(self) -> None:
        """Do nothing: the headers have left."""

    def queued(self) -> None:
        """Stop the clock: other requests use all connections."""
        when, now = self.timeout.when(), asyncio.get_running_loop().time()
        if when is None or self.timeout.expired():
            return
        self._left = when - now
        self.timeout.reschedule(now + self._pool.begin())
        self._tell()

    def admitted(self) -> None:
        """Start the clock again."""
        self.close()
        if not self.timeout.expired():
            self._pool.end()
            self.timeout.reschedule(asyncio.get_running_loop().time() + self._left)

    def close(self) -> None:
        """Stop telling of the wait."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    def _tell(self) -> None:
        if self._on_wait is not None:
            self._on_wait(STRETCH)
            self._telling = asyncio.get_running_loop().call_later(STRETCH, self._tell)


class StallGuard:
    """The timeout of one attempt: `Timeouts.stall` from the last byte that moved, longer while bytes are held back.

    It covers connecting, writing and, with a limit of its own, the response. aiohttp has no write timeout: `sock_read`
    starts only after the last byte of the body, and `total` would end a slow part too.

    Args:
        stall: Seconds until the next byte has to move.
        answer: Seconds from when the other end has every byte until the end of its response.
        pool: Seconds for a connection of a caller's pool to become free.
    """

    def __init__(self, stall: float, answer: float, pool: float) -> None:
        self.stall = stall
        self._answer = answer
        self._pool = PoolWait(pool)
        self._looking: asyncio.TimerHandle | None = None
        self.deadline = asyncio.timeout(stall)
        """The timeout context to run the attempt in."""
        self.is_paused = False
        """Whether a pause holds the body, or did when the attempt ended."""
        self.is_sent = False
        """Whether the other end has the whole body, so that only its response is missing."""

    @property
    def is_queued(self) -> bool:
        """Whether the attempt waits for a connection of the pool, or did when it ended."""
        return self._pool.is_waiting

    def queued(self) -> None:
        """Extend the timeout: other requests use all connections of the pool."""
        if not self.deadline.expired():
            self._allow(self._pool.begin())

    def admitted(self) -> None:
        """Restart the timeout: a connection is free, or may be opened."""
        if not self.deadline.expired():
            self._pool.end()
            self.moved()

    def moved(self) -> None:
        """Restart the timeout: a byte moved, or may move from now on."""
        self._allow(self.stall)

    def asked(self, seconds: float) -> None:
        """Limit the wait for `100 Continue` to `seconds`: the server has the headers."""
        self._allow(min(seconds, self.stall))

    def throttled(self, seconds: float) -> None:
        """Extend the timeout: the bandwidth limit holds the next byte back for `seconds`."""
        self._allow(seconds + LATE)

    def paused(self) -> None:
        """Set the timeout to `PAUSE`: a pause holds the body."""
        self._allow(PAUSE, is_paused=True)

    def written(self, unacknowledged: Callable[[], int], before: int | None = None) -> None:
        """Watch the rest of the body leave, now that the kernel has all of it.

        The kernel buffers several MiB per connection, so a written body is not yet a received one.

        Args:
            unacknowledged: Returns how many bytes the other end does not have yet; 0 if that is unknown.
            before: What it returned last time.
        """
        left = unacknowledged()
        if not left:
            self.is_sent = True
            self._allow(self._answer)
            return
        if before is None or left < before:
            self.moved()
        again = min(self.stall * LOOK, MOST_LOOK)
        self._looking = asyncio.get_running_loop().call_later(again, self.written, unacknowledged, left)

    def close(self) -> None:
        """Stop watching, at the end of the attempt."""
        if self._looking is not None:
            self._looking.cancel()

    def _allow(self, seconds: float, *, is_paused: bool = False) -> None:
        # After expiry `is_paused` is kept, so that the reason stays known even if the pause ends before the attempt.
        if not self.deadline.expired():
            self.is_paused = is_paused
            self.deadline.reschedule(asyncio.get_running_loop().time() + seconds)
