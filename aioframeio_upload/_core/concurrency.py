"""How many parts may be in flight: fewer while S3 is overloaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
