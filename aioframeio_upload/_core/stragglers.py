"""Find the parts in flight that are far behind their siblings: another connection would send them sooner.

A service has many servers, and a path many links; one of them may be slow or lose packets, and the connection over it
moves a few percent of what the others do. AWS recommends to send a slow part again, on a new connection
("Timeouts and retries for latency-sensitive applications", in the S3 performance guidelines). Here a second attempt
runs beside the first, so that nothing is lost if that was not the reason.

Rates are compared with those of other parts at the same time, because a link may be slow for all of them. Where too few
are in flight for that, as at the end of a file, those that were completed lately count too. And a part is behind that
was never as fast as those that began after it or beside it and are complete, however many slow ones are left: at the
end of a file, only they are. What is compared are bytes that were acknowledged, over seconds: connections of one link
may differ by a factor of three for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, median_high

FAR, FAR_IDLE = 0.1, 0.25
"""A part is far behind if its rate is below this share of its siblings'; and where slots are free, so that a second
attempt takes the place of no other part."""

WORTH = 2.0
"""It must need at least so many times as long as a second attempt would."""

CONNECT = 1.0
"""Seconds that a second attempt takes before its first byte, at most."""

LEAST_SPAN = 2.0
WINDOW = 20.0
"""Seconds over which rates are compared, at least and at most."""

SETTLED, BEST_SPAN = 2.0, 1.0
"""A part's best rate is that of such a span, after its first seconds, in which buffers on the way take bytes."""

LEAST_MOVED = 1 << 19
"""Bytes that siblings must have moved meanwhile: less is a few blocks, which come in turns under a bandwidth limit."""

LATE_ANSWER, LATE_TIMES, LEAST_ANSWERS = 5.0, 10.0, 3
"""An answer is late after so many seconds, and so many times as long as usual, if so many answers are known. S3 answers
within a fraction of a second, and one in a thousand takes seconds (aws-c-s3)."""

PAST, RECENT = 8, 60.0
"""How many completed parts are remembered, and for how many seconds."""

SPACING = 0.5
"""Seconds between two looks."""

MOST_RACES = 2
"""Second attempts at a time, over all uploads of an Uploader."""


@dataclass(slots=True, eq=False)
class Flight:
    """One part in flight. Owned by `PartSlots`."""

    size: int
    begun_at: float
    moved: int = 0
    """Bytes that the other end has acknowledged."""
    is_held: bool = False
    """Whether a pause holds it, or a caller's pool that has no connection for it."""
    is_sent: bool = False
    """Whether the other end has all of it, so that only its answer is missing."""
    is_straggler: bool = False
    sent_at: float | None = None
    marks: deque[tuple[float, int]] = field(default_factory=deque)
    """Times, and the bytes until then."""
    expected: float = 0.0
    """The rate of its siblings when it became a straggler."""
    best: float | None = None
    """Its highest rate so far; None while it is not known."""

    def note(self, now: float) -> None:
        """Remember the state at a time."""
        if self.is_held or not self.marks:
            self.marks.clear()
            self.sent_at = None
        for at, moved in reversed(self.marks):
            if now - at >= BEST_SPAN:
                if at - self.begun_at >= SETTLED:
                    self.best = max(self.best or 0.0, (self.moved - moved) / (now - at))
                break
        self.marks.append((now, self.moved))
        while len(self.marks) > 2 and now - self.marks[1][0] > WINDOW:
            self.marks.popleft()
        if self.is_sent and self.sent_at is None:
            self.sent_at = now

    @property
    def span(self) -> float:
        """The seconds for which its rate is known."""
        return self.marks[-1][0] - self.marks[0][0] if self.marks else 0.0

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return (self.marks[-1][1] - self.marks[0][1]) / self.span if self.span else 0.0


@dataclass(slots=True)
class _Completed:
    at: float
    rate: float
    answer: float


@dataclass(slots=True)
class Stragglers:
    """Compares the parts in flight of an Uploader. Owned by its `PartSlots`."""

    _past: deque[_Completed] = field(default_factory=lambda: deque(maxlen=PAST))

    def completed(self, flight: Flight, now: float) -> None:
        """Remember how long a part took that was acknowledged."""
        if not flight.is_straggler:
            seconds = max(now - flight.begun_at, 1e-3)
            self._past.append(_Completed(now, flight.size / seconds, now - (flight.sent_at or now)))

    def look(self, now: float, flights: Sequence[Flight], *, is_idle: bool) -> None:
        """Mark the stragglers.

        Args:
            now: The time.
            flights: All parts in flight, with what they have moved.
            is_idle: Whether slots are free.
        """
        for flight in flights:
            flight.note(now)
        past = [one for one in self._past if now - one.at <= RECENT]
        for flight in flights:
            if flight.is_sent:
                flight.is_straggler = _is_late(flight, now, past)
            elif flight.is_straggler:
                flight.is_straggler = flight.rate < 2 * FAR_IDLE * flight.expected
            else:
                siblings = [one.rate for one in flights if one is not flight and _counts(one)]
                if len(siblings) < 2:
                    siblings += [one.rate for one in past]
                share = FAR_IDLE if is_idle else FAR
                if siblings:
                    flight.expected = median_high(siblings)
                    flight.is_straggler = _is_behind(flight, flight.rate, share)
                beside = [one.rate for one in past if one.at > flight.begun_at]
                if not flight.is_straggler and flight.best is not None and beside:
                    flight.expected = median(beside)
                    flight.is_straggler = _is_behind(flight, flight.best, share)


def _counts(flight: Flight) -> bool:
    """Return whether a part in flight shows how fast its siblings could be."""
    return not flight.is_straggler and not flight.is_held and not flight.is_sent and flight.span >= LEAST_SPAN / 2


def _is_behind(flight: Flight, rate: float, share: float) -> bool:
    again = flight.size / max(flight.expected, 1.0) + CONNECT
    left = (flight.size - flight.moved) / max(rate, 1.0)
    return (
        flight.span >= LEAST_SPAN
        and flight.expected * flight.span >= LEAST_MOVED
        and rate < share * flight.expected
        and left > WORTH * again
    )


def _is_late(flight: Flight, now: float, past: Sequence[_Completed]) -> bool:
    if flight.sent_at is None or len(past) < LEAST_ANSWERS:
        return False
    usual = median(one.answer for one in past)
    return now - flight.sent_at > max(LATE_ANSWER, LATE_TIMES * usual)
