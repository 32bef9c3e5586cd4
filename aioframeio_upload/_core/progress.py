"""Compute progress for one file, a folder or many senders: rate, high-water mark and time left."""

from __future__ import annotations

from collections import deque

from .events import Progress


class Rate:
    """Compute bytes a second over a sliding window."""

    WINDOW = 5.0
    """Seconds: long enough to smooth the bursts of a full send buffer, short enough to follow a link that changes."""

    SPACING = 0.1
    """Seconds between remembered samples, so that their number is bounded."""

    SHORTEST = 0.001
    """Seconds: over less, the rate would show the clock's resolution, and could be infinite."""

    def __init__(self, now: float, total: int = 0) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, total)])

    def restart(self, now: float, total: int) -> None:
        """Begin a new window, without the time in which there was nothing to move."""
        self._samples.clear()
        self._samples.append((now, total))

    def at(self, now: float, total: int) -> float:
        """Record the bytes moved in all until now, and return the rate."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - self.WINDOW:
            samples.popleft()
        since, before = samples[0]
        if now - samples[-1][0] >= self.SPACING:
            samples.append((now, total))
        return (total - before) / max(now - since, self.SHORTEST) if now > since else 0.0


class ProgressMeter:
    """Turn what was sent into `Progress` events that never go backwards. Owned by the state of one upload.

    Args:
        total: Bytes of everything that is uploaded.
        now: The time at which it starts.
        high_water: `bytes_uploaded` of the last event that an earlier plan of the same file has published.
        before: Of those bytes, the ones that an earlier run had sent; they do not count as speed.
        sent: Bytes that are acknowledged already.
    """

    def __init__(self, total: int, now: float, *, high_water: int = 0, before: int = 0, sent: int = 0) -> None:
        self.total = total
        self._most_sent = max(high_water, sent)
        self._most_moved = self._most_sent - max(before, sent)
        self._rate = Rate(now, self._most_moved)
        self._sent_at_start = sent
        self.busy = 0.0
        """Seconds in which bytes could move."""

    def rest(self, now: float) -> None:
        """Record that there is nothing to send at the moment: this time does not count for the rate."""
        self._rate.restart(now, self._most_moved)

    def mean_rate(self, sent: int) -> float:
        """Return the bytes a second over the time in which bytes could move, up to `sent`."""
        return (sent - self._sent_at_start) / self.busy if self.busy else 0.0

    def progress(
        self, now: float, *, sent: int, confirmed: int, before: int, parts: tuple[int, int], skipped: int = 0
    ) -> Progress:
        """Return the event for this moment.

        Args:
            now: The time.
            sent: Bytes that are acknowledged or under way; fewer than before where an attempt has failed.
            confirmed: Those of them that S3 has acknowledged.
            before: Those of them that an earlier run had sent.
            parts: How many are complete, and how many there are.
            skipped: Bytes that need not be sent, because the service has them.
        """
        # A failed attempt does not move the mark back.
        self._most_sent = max(self._most_sent, sent)
        self._most_moved = max(self._most_moved, sent - before)
        rate = self._rate.at(now, self._most_moved)
        # From what is under way now and not from the high-water mark: what failed is still to be sent.
        left = self.total - skipped - sent
        return Progress(
            bytes_uploaded=skipped + self._most_sent,
            bytes_confirmed=skipped + confirmed,
            total_bytes=self.total,
            parts_completed=parts[0],
            total_parts=parts[1],
            bytes_per_second=rate,
            seconds_left=0.0 if left == 0 else left / rate if rate > 0 else None,
            bytes_before=skipped + self._most_sent - self._most_moved,
        )
