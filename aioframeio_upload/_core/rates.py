"""Bytes over time, in a bounded number of bins: where there would be more, two become one."""

from __future__ import annotations

MOST_BINS = 240
FIRST_WIDTH = 0.1
"""Seconds: progress is told about as often."""


class Rates:
    """What moved, in bins of one width from time 0 on."""

    def __init__(self) -> None:
        self.width = FIRST_WIDTH
        self.bins: list[float] = []
        """Bytes in each."""

    def copy(self) -> Rates:
        """Give one of its own to another thread."""
        other = Rates()
        other.width, other.bins = self.width, self.bins.copy()
        return other

    def move(self, since: float, until: float, moved: float) -> None:
        """Spread bytes evenly over a stretch of time."""
        if moved <= 0:
            return
        while until >= self.width * MOST_BINS:
            self._widen()
        first, last = int(since / self.width), int(until / self.width)
        self.bins += [0.0] * (last + 1 - len(self.bins))
        if until <= since or first >= last:
            self.bins[last] += moved
            return
        for number in range(first, last + 1):
            began, ended = max(since, number * self.width), min(until, (number + 1) * self.width)
            self.bins[number] += moved * max(0.0, ended - began) / (until - since)

    def _widen(self) -> None:
        self.width *= 2
        pairs = zip(self.bins[::2], [*self.bins[1::2], 0.0], strict=False)
        self.bins = [one + other for one, other in pairs]
