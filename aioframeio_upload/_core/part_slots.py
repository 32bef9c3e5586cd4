"""Adapt the number of parts in flight: fewer while S3 is overloaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

HALVED_ONCE_IN = 5.0
"""Seconds. Parts that are in flight together are throttled together; that counts as one signal."""

QUIET = 30.0
"""Seconds without throttling after which the slots are doubled again. S3 scales up for a prefix within minutes."""


@dataclass(slots=True)
class Slots:
    """The number of parts that may be in flight: halved when S3 is overloaded, doubled after a quiet period."""

    limit: int
    allowed: int
    changed_at: float = -math.inf

    def throttled(self, now: float) -> int:
        """Record that S3 throttled a request, and return the number of slots from now on."""
        if now - self.changed_at >= HALVED_ONCE_IN:
            self.allowed = max(1, self.allowed // 2)
            self.changed_at = now
        return self.allowed

    def at(self, now: float) -> int:
        """Return the number of slots, increased if there was no throttling for long enough."""
        if self.allowed < self.limit and now - self.changed_at >= QUIET:
            self.allowed = min(self.limit, self.allowed * 2)
            self.changed_at = now
        return self.allowed
