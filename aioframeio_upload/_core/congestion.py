"""Decide when the connections to a host should use BBR instead of the system's congestion control.

CUBIC, the usual default, takes every lost packet for a full queue and sends less. On a long path that loses packets for
other reasons it fills only a part of the link: eight connections a quarter of 200 Mbit/s at 150 ms and 0.1 %
(`benchmarks.links`). BBR measures the rate instead. But it sends more segments again where the queue of the bottleneck
is short, and takes more than its share from CUBIC connections beside it (docs/tuning.md has the numbers). So it is used
where all of this is seen:

* the path is long (LONG);
* packets are lost again and again, while the queue is empty: the round trip is near its minimum. Packets that a full
  queue loses, which are the usual ones on a clean path, do not count;
* the connections are busy, and not limited by the receiver.

Then BBR is tried. Only if the rate rises (GAIN), it is kept, and for HOLD seconds: the path may change, and if it still
loses packets, that is seen within seconds. Otherwise the next trial comes later and later.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean

LONG = 0.02
"""Seconds. On a shorter path CUBIC recovers from a loss quickly enough."""

LEAST_LOSS, MOST_LOSS = 1e-4, 0.08
"""The share of the bytes that are sent again. With less, CUBIC is hardly slower; with more, something limits the rate
by dropping packets, and sending on regardless would only lose more."""

EMPTY, EMPTY_SHARE = 0.002, 0.05
"""The queue counts as empty while the round trip exceeds the least one by at most this many seconds, or this share."""

WINDOW = 3.0
"""Seconds that are looked at together."""

LOSSY_LOOKS, WITHOUT_QUEUE = 5, 4
"""Of the last looks in the window at which packets had been lost, how many count, and how many of them need to have the
queue empty. One burst is no evidence, and the losses of new connections, which fill the queue, are forgotten soon."""

FALLEN = 0.85
"""The rate has fallen to this share of the best one: the losses cost something, so the trial begins at once. A new
connection sends fast until its first losses, and compared with that BBR would seem to gain nothing."""

PATIENCE = 1.0
"""Seconds of evidence after which the trial begins anyway."""

PENDING = 5.0
"""Seconds after the first part within which a trial may be expected, if packets are lost."""

SETTLE, SETTLE_ROUND_TRIPS, JUDGE = 2.0, 10, 3.0
"""Seconds and round trips of a trial that do not count, because BBR is still measuring the path; seconds that do."""

GAIN = 1.1
"""By how much the rate has to rise."""

HOLD = 300.0
"""Seconds for which BBR is used after a successful trial."""

FIRST_REST, LONGEST_REST = 60.0, 3600.0
"""Seconds until the next trial after one that failed; doubled each time."""


@dataclass(frozen=True, slots=True)
class PathLook:
    """What the connections to a host did since the previous look."""

    now: float
    seconds: float
    """Since the previous look."""
    sent: int
    """Bytes, including those that were sent again."""
    resent: int
    acked: int
    round_trip: float
    """Seconds; the mean of the connections."""
    least_round_trip: float
    """Seconds; the least of all connections until now."""
    is_waiting_for_us: bool
    """Whether the connections waited for this program or for the receiver most of the time."""
    sending: int
    """Connections that sent; at least one."""

    @property
    def is_queue_empty(self) -> bool:
        """Whether packets hardly wait in the bottleneck's queue."""
        return self.round_trip - self.least_round_trip <= max(EMPTY, EMPTY_SHARE * self.least_round_trip)


class Stage(Enum):
    """What is known about a path."""

    WATCHING = "watching"
    TRYING = "trying"
    USING = "using"


@dataclass(slots=True)
class BbrDecision:
    """Whether the connections to one host should use BBR. Owned by the host's `HostConnections`."""

    stage: Stage = Stage.WATCHING
    looks: deque[PathLook] = field(default_factory=deque)
    best_rate: float = 0.0
    """Bytes per second, the best in a window since the path was last watched anew."""
    evident_since: float | None = None
    rate_before: float = 0.0
    sending_before: float = 1.0
    begun_at: float | None = None
    """When the path was first looked at."""
    since: float = 0.0
    """When the stage began."""
    rest: float = FIRST_REST
    not_before: float = 0.0
    """When the next trial may begin."""

    @property
    def is_bbr(self) -> bool:
        """Whether BBR should be used now."""
        return self.stage is not Stage.WATCHING

    def is_pending(self, now: float) -> bool:
        """Return whether BBR is being tried, or may be tried soon."""
        if self.stage is not Stage.WATCHING:
            return self.stage is Stage.TRYING
        is_new = self.begun_at is not None and now - self.begun_at < PENDING and not self.not_before
        return is_new and bool(self.looks) and self.looks[-1].least_round_trip >= LONG

    def observe(self, look: PathLook) -> bool:
        """Include a look at the connection, and return whether BBR should be used from now on."""
        if self.begun_at is None:
            self.begun_at = look.now
        self.looks.append(look)
        while self.looks and look.now - self.looks[0].now >= WINDOW:
            self.looks.popleft()
        if self.stage is Stage.WATCHING:
            self._watch(look)
        elif self.stage is Stage.TRYING:
            self._judge(look)
        elif look.now - self.since >= HOLD:
            self._enter(Stage.WATCHING, look.now)
        return self.is_bbr

    def _watch(self, look: PathLook) -> None:
        rate = rate_of(self.looks, look.now - 1)
        self.best_rate = max(self.best_rate, rate)
        if not is_loss_limited(self.looks):
            self.evident_since = None
            return
        if self.evident_since is None:
            self.evident_since = look.now
        costs = rate <= FALLEN * self.best_rate or look.now - self.evident_since >= PATIENCE
        if costs and look.now >= self.not_before:
            self.rate_before, self.sending_before = rate, sending_of(self.looks, look.now - 1)
            self._enter(Stage.TRYING, look.now)

    def _judge(self, look: PathLook) -> None:
        """End the trial once it has been running for long enough."""
        began = self.since + SETTLE + SETTLE_ROUND_TRIPS * look.least_round_trip
        if look.now - began < JUDGE:
            return
        # At the end of a file, fewer connections are left: each has to be faster than before. With more, not each.
        share = min(1.0, sending_of(self.looks, began) / self.sending_before)
        if rate_of(self.looks, began) >= GAIN * share * self.rate_before:
            self.rest = FIRST_REST
            self._enter(Stage.USING, look.now)
        else:
            self.not_before = look.now + self.rest
            self.rest = min(self.rest * 2, LONGEST_REST)
            self._enter(Stage.WATCHING, look.now)

    def _enter(self, stage: Stage, now: float) -> None:
        self.stage, self.since = stage, now
        self.evident_since, self.best_rate = None, 0.0
        self.looks.clear()


def is_loss_limited(looks: deque[PathLook]) -> bool:
    """Return whether the path loses packets, and not because its queue is full."""
    without_queue = sum(look.is_queue_empty for look in [look for look in looks if look.resent][-LOSSY_LOOKS:])
    sent = sum(look.sent for look in looks)
    return (
        looks[-1].least_round_trip >= LONG
        and without_queue >= WITHOUT_QUEUE
        and LEAST_LOSS * sent <= sum(look.resent for look in looks) <= MOST_LOSS * sent
        and sum(look.is_waiting_for_us for look in looks) * 4 <= len(looks)
    )


def rate_of(looks: deque[PathLook], after: float) -> float:
    """Return the bytes per second that were acknowledged in the looks after an instant."""
    chosen = [look for look in looks if look.now > after]
    seconds = sum(look.seconds for look in chosen)
    return sum(look.acked for look in chosen) / seconds if seconds else 0.0


def sending_of(looks: deque[PathLook], after: float) -> float:
    """Return the mean number of connections that sent in the looks after an instant."""
    chosen = [look.sending for look in looks if look.now > after]
    return fmean(chosen) if chosen else 1.0
