"""What holds bytes back: a pause, the bandwidth limit, and the stall timeout of an attempt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .._core.token_bucket import TokenBucket

BURST = 0.05
"""Seconds' worth of bytes that may go at once: small against any upload, so that the limit holds from the start."""

PAUSE = 15.0
"""Seconds that a pause may hold an attempt: S3 drops a silent connection after 20 to 30."""

LATE = 30.0
"""Seconds: how much later than promised the loop may wake a throttled body before that counts as a stall."""


LOOK = 0.1
MOST_LOOK = 1.0
"""Of `Timeouts.stall`, and seconds at most: how often the kernel is asked how much of a written body is still here."""


class PauseGate:
    """One upload's pause. Closed and opened by its handle; its bodies and workers wait at it."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()

    @property
    def is_open(self) -> bool:
        """Whether bytes may go."""
        return self._opened.is_set()

    def close(self) -> None:
        """Let nothing through from now on."""
        self._opened.clear()

    def open(self) -> None:
        """Let everything through again."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait until it is open."""
        await self._opened.wait()


class BandwidthLimiter:
    """The bytes a second of all uploads of an Uploader together; owned by its resources."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._bucket = None
        if bytes_per_second is not None:
            self._bucket = TokenBucket.full(bytes_per_second * BURST, BURST, time.monotonic())

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._bucket is not None

    def reserve(self, size: int) -> float:
        """Take bytes and give the seconds until they may go; who asks first goes first."""
        return 0.0 if self._bucket is None else self._bucket.reserve(time.monotonic(), size)


class StallGuard:
    """One attempt's time limit: `Timeouts.stall` from the last byte that moved; longer where bytes are held on purpose.

    It covers connecting, writing (for which aiohttp has no time limit) and, with a limit of its own, the answer.

    Args:
        stall: Seconds that may pass until the next byte moves.
        answer: Seconds from the moment at which the other end has every byte to the end of its answer.
    """

    def __init__(self, stall: float, answer: float) -> None:
        self.stall = stall
        self._answer = answer
        self._looking: asyncio.TimerHandle | None = None
        self.deadline = asyncio.timeout(stall)
        """To be entered around the attempt."""
        self.is_paused = False
        """Whether a pause holds the body, or did when the attempt ended."""
        self.is_sent = False
        """Whether the other end has the whole body, so that only its answer is waited for."""

    def moved(self) -> None:
        """Note that a byte moved, or may move from now on."""
        self._allow(self.stall)

    def asked(self, seconds: float) -> None:
        """Note that the server has the headers, and has that long to let the body begin."""
        self._allow(min(seconds, self.stall))

    def throttled(self, seconds: float) -> None:
        """Note that the next byte waits that long for its turn."""
        self._allow(seconds + LATE)

    def paused(self) -> None:
        """Note that a pause holds the body."""
        self._allow(PAUSE, is_paused=True)

    def written(self, unacknowledged: Callable[[], int], before: int | None = None) -> None:
        """Note that the kernel has the whole body, and watch the rest of it leave.

        Args:
            unacknowledged: Returns how many bytes the other end does not have yet; 0 where that is not known.
            before: What it returned last.
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
        """Watch no longer: the attempt has ended."""
        if self._looking is not None:
            self._looking.cancel()

    def _allow(self, seconds: float, *, is_paused: bool = False) -> None:
        # What ended the attempt stays known, even where the pause is over before the attempt is.
        if not self.deadline.expired():
            self.is_paused = is_paused
            self.deadline.reschedule(asyncio.get_running_loop().time() + seconds)
