"""A token bucket: never more calls or bytes than a rate allows."""

from __future__ import annotations

from dataclasses import dataclass

SLOWEST = 60.0
"""Seconds from call to call: the slowest documented rate is ten a minute. Headers that tell of a slower one are not
believed, or one wrong answer would park every later call."""


@dataclass(slots=True)
class TokenBucket:
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
    def full(cls, limit: float, window: float, now: float) -> TokenBucket:
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
