"""Limit the rate of API calls and of bytes with token buckets."""

from __future__ import annotations

from dataclasses import dataclass

SLOWEST = 60.0
"""Seconds between two calls. The slowest documented rate is ten a minute; headers that report less than one a minute
are ignored, or a single wrong answer would block every later call."""


@dataclass(slots=True)
class TokenBucket:
    """A bucket that refills continuously at `limit / window`, as Frame.io's guide describes its "progressive" limits.

    Owned by one `FrameioApi` or `BandwidthLimiter`. `now` is any monotonic clock, in seconds.
    """

    limit: float
    """Calls that may be made at once."""
    window: float
    """Seconds in which the whole limit refills."""
    level: float
    """Calls left; a negative level counts the calls that wait."""
    updated_at: float

    @classmethod
    def full(cls, limit: float, window: float, now: float) -> TokenBucket:
        """Start with every call available."""
        return cls(limit, window, limit, now)

    def reserve(self, now: float, amount: float = 1) -> float:
        """Reserve the next call and return the seconds to wait for it; calls are due in the order of reservation."""
        self._refill(now)
        self.level -= amount
        return max(0.0, -self.level * self.window / self.limit)

    def give_back(self, now: float) -> None:
        """Return a call that was reserved and not made."""
        self._refill(now)
        self.level = min(self.limit, self.level + 1)

    def observe(self, limit: float, remaining: float, window: float, now: float) -> None:
        """Adopt an answer's `x-ratelimit-*` headers: policies change, and other programs of the user count too."""
        if limit <= 0 or window <= 0 or remaining < 0 or window / limit > SLOWEST:
            return
        self._refill(now)
        self.limit, self.window = limit, window
        # Answers come late and out of order, so they may lower the level, but never raise it.
        self.level = min(self.level, remaining)

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self.updated_at)
        self.level = min(self.limit, self.level + elapsed * self.limit / self.window)
        self.updated_at = now
