"""How often, how fast, how many at once: a leaky bucket for calls and bytes, and part slots that yield to S3."""

from __future__ import annotations

import math
from dataclasses import dataclass

SLOWEST = 60.0
"""Seconds from call to call: the slowest documented rate is ten a minute. Headers that tell of a slower one are not
believed, or one wrong answer would park every later call."""


@dataclass(slots=True)
class Bucket:
    """Frame.io's "progressive" bucket, as its guide describes it: it refills continuously at `limit / window`.

    Owned by one `Api`; `now` is any clock that only goes forward, in seconds.
    """

    limit: float
    """Calls that may come at once."""
    window: float
    """Seconds in which the whole limit refills."""
    level: float
    """Calls left; below zero: calls that wait their turn."""
    updated_at: float

    @classmethod
    def full(cls, limit: float, window: float, now: float) -> Bucket:
        """Start with every call available."""
        return cls(limit, window, limit, now)

    def reserve(self, now: float, amount: float = 1) -> float:
        """Take the next call and give the seconds until it is due; calls that wait keep their order."""
        self._refill(now)
        self.level -= amount
        return max(0.0, -self.level * self.window / self.limit)

    def give_back(self, now: float) -> None:
        """Return a call that was reserved and not made."""
        self._refill(now)
        self.level = min(self.limit, self.level + 1)

    def observe(self, limit: float, remaining: float, window: float, now: float) -> None:
        """Believe an answer's `x-ratelimit-*` headers: policies change, and other programs of the user count too."""
        if limit <= 0 or window <= 0 or remaining < 0 or window / limit > SLOWEST:
            return
        self._refill(now)
        self.limit, self.window = limit, window
        # Answers come late and out of order: they may take away what we believed to have, never add to it.
        self.level = min(self.level, remaining)

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self.updated_at)
        self.level = min(self.limit, self.level + elapsed * self.limit / self.window)
        self.updated_at = now


HALVED_ONCE_IN = 5.0
"""Seconds: the parts that were in flight together complain together, and that counts once."""

QUIET = 30.0
"""Seconds without a complaint after which the slots are doubled again: S3 scales a prefix up within minutes."""


@dataclass(slots=True)
class Slots:
    """How many parts may be in flight: halved when S3 is overloaded, doubled again after a while without complaint."""

    limit: int
    allowed: int
    changed_at: float = -math.inf

    def throttled(self, now: float) -> int:
        """Take note that S3 asks for fewer requests."""
        if now - self.changed_at >= HALVED_ONCE_IN:
            self.allowed = max(1, self.allowed // 2)
            self.changed_at = now
        return self.allowed

    def at(self, now: float) -> int:
        """Give the slots, some of them back if there was quiet for long enough."""
        if self.allowed < self.limit and now - self.changed_at >= QUIET:
            self.allowed = min(self.limit, self.allowed * 2)
            self.changed_at = now
        return self.allowed
