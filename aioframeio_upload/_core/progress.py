"""Rates and progress: bytes per second over a sliding window.

    waiting ──begin──▶ sending ──complete──▶ done
       ▲                  │
       └──────fail────────┘

Whoever holds the state tells it what happened and when; it answers with the event to publish.
"""

from __future__ import annotations

from collections import deque


class Rate:
    """Bytes a second over a sliding window."""

    WINDOW = 5.0
    """Seconds: long enough to smooth the bursts of a full send buffer, short enough to follow a link that changes."""

    SPACING = 0.1
    """Seconds between remembered samples, so that their number is bounded."""

    SHORTEST = 0.001
    """Seconds: over less, the rate would tell the clock's resolution, and could be infinite."""

    def __init__(self, now: float, total: int = 0) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, total)])

    def at(self, now: float, total: int) -> float:
        """Note the bytes moved in all until now, and give the rate."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - self.WINDOW:
            samples.popleft()
        since, before = samples[0]
        if now - samples[-1][0] >= self.SPACING:
            samples.append((now, total))
        return (total - before) / max(now - since, self.SHORTEST) if now > since else 0.0
