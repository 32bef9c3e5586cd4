"""Bytes over time, in a bounded number of bins: where there would be more, two become one."""

from __future__ import annotations

from itertools import pairwise

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
        last = min(int(until / self.width), MOST_BINS - 1)
        first = min(int(since / self.width), last)
        self.bins += [0.0] * (last + 1 - len(self.bins))
        edges = [since, *(number * self.width for number in range(first + 1, last + 1)), until]
        for number, (began, ended) in enumerate(pairwise(edges), first):
            self.bins[number] += moved * (ended - began) / (until - since) if first < last else moved

    def _widen(self) -> None:
        self.width *= 2
        pairs = zip(self.bins[::2], [*self.bins[1::2], 0.0], strict=False)
        self.bins = [one + other for one, other in pairs]
