"""Frame.io's progressive leaky bucket, one per operation (pure: the time is an argument)."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """The number of calls allowed in a number of seconds."""

    calls: int
    window: float


class Bucket(NamedTuple):
    """The number of calls left at an instant."""

    left: float
    at: float


class Taken(NamedTuple):
    """The bucket after a call, and whether the call was granted."""

    bucket: Bucket
    granted: bool

    @property
    def remaining(self) -> int:
        """Whole calls left, as in x-ratelimit-remaining."""
        return int(self.bucket.left)


def full(limit: Limit, now: float) -> Bucket:
    """Return the bucket of an operation that has not been called yet."""
    return Bucket(float(limit.calls), now)


def take(limit: Limit, bucket: Bucket, now: float) -> Taken:
    """Grant a call if at least one is left; a refused call costs nothing.

    The bucket fills continuously, `calls` per `window`, up to `calls`: there is no moment at which a window is reset.
    (AdobeDocs, frameio-api guide, "Rate Limiting".)

    Args:
        limit: The operation's limit.
        bucket: The bucket after its last call.
        now: Seconds on the clock of `bucket.at`.
    """
    elapsed = max(0.0, now - bucket.at)
    left = min(float(limit.calls), bucket.left + elapsed * limit.calls / limit.window)
    at = max(now, bucket.at)
    # A tolerance, because sums of floating-point fractions may end slightly below the whole number.
    if left >= 1 - 1e-9:
        return Taken(Bucket(max(0.0, left - 1), at), granted=True)
    return Taken(Bucket(left, at), granted=False)
