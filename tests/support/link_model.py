"""Simulate uploads over links, to test the control of the parts in flight without a network or a clock.

A fluid model in small time steps, of what matters to the number of connections:

* a shared bottleneck with a queue: while the windows of all connections exceed its bandwidth-delay product, each gets
  its share of the rate; where they exceed its queue too, the largest loses a packet;
* TCP CUBIC (RFC 9438) of a connection: slow start, the cubic and the Reno-friendly curve, a decrease to 0.7 on a loss;
  random losses make Mathis' rate, `MSS / RTT * 1.2 / sqrt(loss)`;
* a rate that each connection cannot exceed (a slow service, a receive window);
* two round trips for a connection, one for the answer to a part, and the time that the service takes for it;
* a service that refuses parts while more than some number is in flight.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

SEGMENT = 1448
FIRST_WINDOW = 10 * SEGMENT  # RFC 6928
DECREASE = 0.7  # RFC 9438, 4.6
CUBIC = 0.4  # RFC 9438, 4.1; segments per second cubed
PERIOD = 0.1
"""Seconds between two samples, as in the library."""


@dataclass(frozen=True)
class Link:
    """What lies between the uploader and S3."""

    rate: float = 25e6
    """Bytes per second of the bottleneck."""
    round_trip: float = 0.04
    queue: float = 0.05
    """Seconds that the bottleneck's queue holds at full rate."""
    loss: float = 0.0
    """The share of packets that are lost at random."""
    per_connection: float = inf
    """Bytes per second that one connection cannot exceed."""
    most: int = 1 << 30
    """Parts in flight above which the service refuses one more."""
    answer: float = 0.02
    """Seconds that the service takes from the last byte to its answer."""
    others: int = 0
    """Connections of somebody else that send all the time."""
    changes: tuple[tuple[float, float], ...] = ()
    """Times, and the rate from then on."""
    silent: tuple[float, float] = (inf, inf)
    """From when to when nothing moves."""
    step: float = 0.05
    tells: bool = True
    """Whether the system tells round trips and what was sent again, as Linux does."""


class Window:
    """The congestion window of one connection."""

    def __init__(self) -> None:
        self.size: float = FIRST_WINDOW
        self._threshold = inf
        self._most = 0.0
        self._lost_at = -inf

    def acknowledged(self, size: float, now: float, round_trip: float) -> None:
        """Grow."""
        if self.size < self._threshold:
            self.size += size
            return
        passed, before = now - self._lost_at, self._most / SEGMENT
        curve = CUBIC * (passed - (before * (1 - DECREASE) / CUBIC) ** (1 / 3)) ** 3 + before
        friendly = before * DECREASE + 3 * (1 - DECREASE) / (1 + DECREASE) * passed / round_trip
        self.size = max(self.size, min(max(curve, friendly) * SEGMENT, self.size + size / 2))

    def lost(self, now: float, round_trip: float) -> None:
        """Shrink, once in a round trip."""
        if now - self._lost_at >= round_trip:
            self._most, self._lost_at = self.size, now
            self.size = self._threshold = max(2 * SEGMENT, self.size * DECREASE)


@dataclass
class Flight:
    """One part in flight."""

    size: float
    begun_at: float
    window: Window
    ready_at: float
    """When the first byte can leave."""
    sent: float = 0.0
    done_at: float = inf
    """When the answer arrives."""
    is_refused: bool = False
    effective: float = 0.0
    is_free: bool = True
    """Whether its window decides on its rate."""


@dataclass
class Moment:
    """What was so at a time."""

    at: float
    slots: int
    in_flight: int
    moved: float


@dataclass
class Run:
    """How an upload went."""

    moments: list[Moment] = field(default_factory=list)
    seconds: float = 0.0
    in_vain: float = 0.0
    refused: int = 0
    of_others: float = 0.0
    """Bytes that the connections of somebody else have moved."""

    def rate(self, since: float, until: float) -> float:
        """Return the mean rate between two times."""
        inside = [moment for moment in self.moments if since <= moment.at <= until]
        return (inside[-1].moved - inside[0].moved) / (inside[-1].at - inside[0].at)

    def slots(self, since: float, until: float = inf) -> list[int]:
        """Return the numbers of slots between two times."""
        return [moment.slots for moment in self.moments if since <= moment.at <= until]

    def in_flight(self, since: float, until: float = inf) -> list[int]:
        """Return the numbers of parts in flight between two times."""
        return [moment.in_flight for moment in self.moments if since <= moment.at <= until]


@dataclass(frozen=True)
class Seen:
    """What a law of control is told ten times a second."""

    now: float
    moved: int
    in_flight: int
    waiting: int
    part_size: int
    round_trip: float | None
    queue: float | None = None
    resent: int = 0
    completed: Sequence[tuple[float, float, int]] = ()
    """Of the parts that were completed since: seconds, bytes, and how many were in flight at its end."""


class Law:
    """Decide on the number of slots. A fixed number, unless a subclass knows better."""

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def observe(self, seen: Seen) -> int:
        """Return the number of slots from now on."""
        return self.slots

    def refused(self, now: float, begun_at: float, in_flight: int) -> int:
        """Note that the service refused a part."""
        return self.slots


class Simulation:
    """Send parts over a link."""

    def __init__(self, link: Link, law: Law, sizes: Iterable[int], seed: int = 1) -> None:
        self.link = link
        self.law = law
        self.queue = deque(float(size) for size in sizes)
        self.flying: list[Flight] = []
        self.idle: list[Window] = []
        self.others = [Window() for _ in range(link.others)]
        self.chance = random.Random(seed)
        self.now = 0.0
        self.moved = 0.0
        self.again: list[tuple[float, float]] = []
        self.completed: list[tuple[float, float, int]] = []
        self.run_ = Run()
        self.round_trip = link.round_trip
        """The smoothed one, with its queue."""
        self.resent = 0

    def run(self, until: float = inf) -> Run:
        """Send until all is sent, or until a time."""
        link, run = self.link, self.run_
        told_at = -inf
        while (self.queue or self.flying or self.again) and self.now < until:
            if self.now - told_at >= PERIOD - 1e-9:
                told_at = self.now
                self._tell()
            self._start()
            self._move(link.step)
            self.now += link.step
            self._end()
        run.seconds = self.now
        return run

    def _tell(self) -> None:
        flying = self.flying
        size = sum(one.size for one in flying) / len(flying) if flying else (self.queue[0] if self.queue else 0)
        waiting = len(self.queue) + len(self.again)
        queue = self.round_trip - self.link.round_trip if self.link.tells else None
        trip, resent = (self.link.round_trip, self.resent) if self.link.tells else (0.0, 0)
        self.law.observe(
            Seen(self.now, int(self.moved), len(flying), waiting, int(size), trip, queue, resent, self.completed)
        )
        self.completed = []
        self.run_.moments.append(Moment(self.now, self.law.slots, len(flying), self.moved))

    def _start(self) -> None:
        due = [size for at, size in self.again if at <= self.now]
        self.again = [(at, size) for at, size in self.again if at > self.now]
        self.queue.extendleft(due)
        while self.queue and len(self.flying) < self.law.slots:
            window = self.idle.pop() if self.idle else None
            ready = self.now + (0.0 if window else 2 * self.link.round_trip)
            one = Flight(self.queue.popleft(), self.now, window or Window(), ready)
            if sum(not other.is_refused for other in self.flying) >= self.link.most:
                one.is_refused = True
                one.done_at = ready + self.link.round_trip
            self.flying.append(one)

    def _rate(self) -> float:
        rate = self.link.rate
        for at, changed in self.link.changes:
            if self.now >= at:
                rate = changed
        return 0.0 if self.link.silent[0] <= self.now < self.link.silent[1] else rate

    def _move(self, step: float) -> None:
        link, rate, now = self.link, self._rate(), self.now
        if not rate:
            return
        sending = [one for one in self.flying if one.ready_at <= now and one.sent < one.size]
        total = 0.0
        for one in sending:
            one.effective = min(one.window.size, link.per_connection * link.round_trip)
            one.is_free = one.effective == one.window.size
            total += one.effective
        total += sum(window.size for window in self.others)
        product = rate * link.round_trip
        is_full = total > product
        round_trip = max(link.round_trip, min(total, product + rate * link.queue) / rate)
        self.round_trip += (round_trip - self.round_trip) * min(1.0, step / round_trip)
        speed = rate / total if is_full else 1 / link.round_trip
        for one in sending:
            moved = min(one.effective * speed * step, one.size - one.sent)
            one.sent += moved
            self.moved += moved
            if one.is_free:
                one.window.acknowledged(moved, now, round_trip)
            self._lose(one.window, moved, round_trip)
            if one.sent >= one.size:
                one.done_at = now + step + link.answer + round_trip / 2
        for window in self.others:
            moved = window.size * speed * step
            self.run_.of_others += moved
            window.acknowledged(moved, now, round_trip)
            self._lose(window, moved, round_trip)
        room = product + rate * link.queue
        windows = [one.window for one in sending if one.is_free] + self.others
        total = sum(window.size for window in windows)
        for window in sorted(windows, key=lambda window: -window.size):
            if total <= room:
                break
            before = window.size
            window.lost(now, 0.0)
            total -= before - window.size
            self.resent += SEGMENT

    def _lose(self, window: Window, moved: float, round_trip: float) -> None:
        if self.link.loss and self.chance.random() > (1 - self.link.loss) ** (moved / SEGMENT):
            window.lost(self.now, round_trip)
            self.resent += SEGMENT

    def _end(self) -> None:
        ended = [one for one in self.flying if one.done_at <= self.now]
        for one in ended:
            if one.is_refused:
                self.run_.refused += 1
                self.run_.in_vain += one.sent
                self.law.refused(self.now, one.begun_at, len(self.flying))
                self.again.append((self.now + self.chance.uniform(0.1, 1.0), one.size))
            else:
                self.completed.append((self.now - one.begun_at, one.size, len(self.flying)))
                self.idle.append(one.window)
            self.flying.remove(one)


def simulate(link: Link, law: Law, sizes: Iterable[int], *, until: float = inf, seed: int = 1) -> Run:
    """Send parts of some sizes over a link, and return how it went."""
    return Simulation(link, law, sizes, seed).run(until)


MakeLaw = Callable[[], Law]
