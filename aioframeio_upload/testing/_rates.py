"""Frame.io's progressive leaky bucket, one for each operation (pure: the time is an argument)."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """So many calls in so many seconds."""

    calls: int
    window: float


class Bucket(NamedTuple):
    """How many calls are left, and when that was so."""

    left: float
    at: float


class Taken(NamedTuple):
    """A bucket after a call asked for its share, and whether it got it."""

    bucket: Bucket
    granted: bool

    @property
    def remaining(self) -> int:
        """Whole calls left, as x-ratelimit-remaining tells it."""
        return int(self.bucket.left)


def full(limit: Limit, now: float) -> Bucket:
    """Return the bucket of an operation nobody has called yet."""
    return Bucket(float(limit.calls), now)


def take(limit: Limit, bucket: Bucket, now: float) -> Taken:
    """Grant a call where at least one is left; a refused call costs nothing.

    The bucket fills evenly, `calls` in each `window`, up to `calls`: there is no moment at which a window is
    reset.

    Args:
        limit: The operation's limit.
        bucket: What its last call left.
        now: Seconds on the clock of `bucket.at`.
    """
    elapsed = max(0.0, now - bucket.at)
    left = min(float(limit.calls), bucket.left + elapsed * limit.calls / limit.window)
    at = max(now, bucket.at)
    # Sums of fractions end a hair short of the whole they stand for.
    if left >= 1 - 1e-9:
        return Taken(Bucket(max(0.0, left - 1), at), granted=True)
    return Taken(Bucket(left, at), granted=False)
