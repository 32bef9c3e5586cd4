"""Choose the number of parts in flight by what the link and S3 bear.

The law is a search with hysteresis. Linux tells how long packets wait in queues, which shows what limits the
rate. While they wait, the link is full, and more connections would only share it: fewer are tried, which must keep
97 % of the rate. While they do not, the connections are the limit (losses on a far link, a service that is slow for
each), and the number is doubled as long as the rate gains (`WORTH`). Elsewhere both are tried now and then, ever more
seldom, and the rate alone decides. It looks at bytes that were acknowledged, so that it steers parts of 1.9 GB as well
as small ones; it prefers large steps, because the noise of a link that loses packets is as large as the gain of a small
one. A refusal by S3 lowers the number at once, and what was refused is a ceiling for a while. Where BBR may cure the
losses of a path (`congestion.py`), it is tried first, because more connections of BBR gain nothing.

Compared in simulations (`python -m tests.support.control_laws`, 2026-11-29; 200 Mbit/s and 100 parts of 20 MB unless
said), in seconds, and the most parts in flight in the second half:

                          search    gradient  regression  AIMD      8 fixed   32 fixed
    40 ms                 83, 3     81, 22    89, 20      81, 54    81, 8     83, 32
    40 ms, 0.1 % lost     84, 45    95, 27    973, 1      85, 56    174, 8    85, 32
    150 ms, 0.1 % lost    107, 45   109, 64   3183, 1     107, 57   472, 8    140, 32
    12 Mbit/s             267, 3    267, 20   267, 4      267, 20   267, 8    267, 20
    1.5 MB/s each         28, 64    48, 54    163, 27     58, 44    174, 8    54, 32
    refuses more than 6   83, 3     81, 7     97, 7       81, 7     81, 8     83, 18
      parts refused       0         141       29          17        987       5386
    beside one of others  105, 5    86, 28    92, 32      85, 56    92, 8     85, 32
      its share           23 %      7 %       12 %        5 %       12 %      4 %

* The gradient (Netflix's concurrency-limits, of the time for a megabyte) and AIMD are as fast, but keep 20 to 60 parts
  in flight where three suffice, and go on asking a service that refuses.
* The regression (xet-core's, `duration = t0 + size * parts / bandwidth`, as it is understood here) sees complete parts
  only, and takes the slow parts of a link that loses packets for congestion.
* The queue is the signal of TCP Vegas and BBR. By the rate alone, as in an earlier version, the first doubling filled
  the queue of a clean link of 40 ms, and its losses cost a sixth of the time (`benchmarks.links`).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

Reason: TypeAlias = Literal["growing", "holding", "backing off"]

AT_RISK = 48 << 20
"""Bytes that the first parts have together while nothing is known of the link: half a minute of 12 Mbit/s."""

LEAST_FIRST = 2
FIRST = 8
"""Parts that are begun at once, by their size. Up to eight are tried on a full link too: who shares it with others gets
more of it."""

ROUND = 0.2
"""Seconds, and at least two round trips: one step at the start."""

STEEP = 1.25
"""Factor by which the rate grows from one round to the next while connections are in TCP's slow start: nobody knows yet
how far it will grow."""

START = 3.0
"""Seconds after which the rate is taken for steady."""

QUEUE, QUEUE_SHARE = 0.003, 0.1
"""The link counts as full while packets wait for longer than this many seconds, and this share of the round trip, in
its queue: more connections would only share it. Otherwise the connections are what limits the rate."""

LOSSY = 2e-4
"""The share of the bytes that are sent again from which the path counts as lossy, if its queue is empty. Connections
are then slow, however long they have been open, so that the end of slow start need not be awaited."""

CLEAR = 1.0
"""Seconds. Losses within that time after the link was full are those of its queue, which the connections then drain."""

WASTEFUL = 0.03
"""The share of the bytes that are sent again from which fewer connections are tried, as where the link is full: a queue
of a few milliseconds is not seen otherwise."""

RECENT = 1.0
"""Seconds. While packets were lost in that time and another congestion control may be the cure, there are no more than
FIRST parts: with BBR, so many fill a link that loses packets, and more only send more again."""

ROUNDS = 3
"""Rounds that a doubling at the start gets to show."""

SMOOTH_FULL = 0.15
"""Weight of a sample in whether the link is full: half a second."""

SETTLE = 0.3
MEASURE = 0.5
ROUND_TRIPS = 6
"""Seconds, and at least so many round trips, that a doubling takes to show, and for which it is then measured."""

CAREFUL = 2.0
MOST_CAREFUL = 4.0
"""Times that, for smaller steps; and seconds, where parts are long: new connections are faster than old ones on a link
that loses packets, until their first loss."""

PARTS = 2
MOST_MEASURE = 6.0
"""A decrease is measured for as long as so many parts take, but for no more than six seconds: the wait for an answer is
the price of few parts, and a shorter look may miss it."""

WORTH = 0.1
"""Gain of a doubling that is worth it, as a share of the rate. Beside one connection of somebody else, a doubling from
4 gains 11 %, one from 8 gains 6 %; that connection loses half of its rate each time."""

LINEAR = 0.5
"""Of its proportion: a small step is worth it if it gains that much. Noise is as large as what it could gain."""

SAME = 0.97
"""Of the best rate: fewer parts that reach it are as good."""

WORSE = 0.8
"""Of the best rate: a trial of fewer parts ends as soon as they reach less. On a far link the connections that are left
take over slowly."""

CHANGED = 1.25
"""Factor by which the rate at the same number changes, up or down, before the number is searched for again."""

FALLEN = 1.1
"""The same where the path loses packets while its queue is empty: new connections are faster than old ones there."""

LONG = 60.0
"""Seconds at the present rate. Parts that take longer together are not doubled in number on suspicion: what was begun
is not aborted."""

ALONE = 30.0
"""Seconds at the present rate. With shorter parts, two are in flight at least: they hide the wait for the answer to
each other."""

FILLED = 0.8
"""Share of a bandwidth limit from which on more parts could gain too little."""

FREE = 2.0
"""Seconds at the present rate. As many parts as are sent in that time, up to FIRST, are not worth reducing: little is
at risk, and on a far link the trial costs a second (150 ms: 1.22 of the time that the bytes need, 1.40 with it)."""

PATIENCE = 4.0
MOST_PATIENCE = 60.0
"""Seconds between two trials of another number; doubled after each trial in vain."""

DECREASE = 0.7
"""Of the parts in flight, when S3 refuses one or connections fail."""

QUIET = 2.0
"""Seconds without a refusal before one part more is in flight, up to the number that was refused."""

AGAIN = 30.0
MOST_AGAIN = 600.0
"""Seconds without a refusal before the number that was refused is tried again; doubled each time."""

FAILING = 3
"""Connections that were lost, all begun since the last decrease and without a success between them, are a signal."""

FORGOTTEN = 60.0
"""Seconds without parts after which nothing is known of the link: it may be another."""

SMOOTH = 0.02
"""Weight of a sample in the usual rate: five seconds."""

HISTORY = 20.0
"""Seconds of samples that are kept."""


class Sample(NamedTuple):
    """The state of all uploads together at one time."""

    now: float
    moved: int
    """Bytes that the other end has acknowledged since the beginning, in all attempts."""
    in_flight: int
    waiting: int
    """Parts that would be in flight if there were slots."""
    part_size: int
    """Bytes; the mean of the parts in flight."""
    round_trip: float = 0.0
    """Seconds; the least one of the path, without its queues; 0 if unknown."""
    queue: float | None = None
    """Seconds that packets wait in queues on the path, the mean of the connections; None if unknown."""
    resent: int = 0
    """Bytes that were sent again since the beginning."""
    awaits_congestion: bool = False
    """Whether another congestion control is being tried, or may be tried soon if packets are lost."""


class _Phase(Enum):
    STARTING = "starting"
    """Doubled each round while the rate grows steeply."""
    RISING = "rising"
    """More than the base; kept if it is worth it."""
    HOLDING = "holding"
    TRIMMING = "trimming"
    """Fewer than the base; kept if the rate stays."""


@dataclass(slots=True)
class Concurrency:
    """The number of slots for parts of an Uploader; between 1 and `limit`. Owned by its `Session`."""

    limit: int
    adaptive: bool = True
    """Whether the rate decides. Otherwise `limit` is the number, except while S3 refuses parts."""
    bandwidth: int | None = None
    """Bytes per second that all parts may send together; None for no limit. With one, more parts than fill it would all
    be half sent when the upload is stopped."""
    slots: int = field(init=False)
    _phase: _Phase = _Phase.STARTING
    _history: deque[tuple[float, int, int, int]] = field(default_factory=deque)
    """Time, bytes, parts in flight, and bytes that were sent again."""
    _since: float = -math.inf
    """Of the last change; what was measured before belongs to another number."""
    _base: tuple[int, float] = (0, 0.0)
    """The number that a trial returns to, and its rate."""
    _best: float = 0.0
    """The rate that fewer parts must keep."""
    _usual: float = 0.0
    """The rate while holding, smoothed."""
    _try_at: float = math.inf
    _patience: float = PATIENCE
    _step: int = 0
    """Size of the next trial; 0 for the usual one."""
    _up_next: bool = True
    _is_proportional: bool = False
    """Whether the last increase gained in proportion: fewer would lose as much, which needs no trial."""
    _decreased_at: float = -math.inf
    _refused: int = 0
    """The number in flight when S3 refused one; 0 if that is long ago."""
    _again: float = AGAIN / 2
    _is_backing_off: bool = False
    _failed: int = 0
    _full: float | None = None
    """The share of the last half second in which the link was full; None if that is unknown."""
    _full_at: float = -math.inf
    """When it was full last."""

    def __post_init__(self) -> None:
        self.slots = min(self.limit, LEAST_FIRST) if self.adaptive else self.limit

    @property
    def reason(self) -> Reason:
        """Why the number is what it is."""
        if self._is_backing_off:
            return "backing off"
        return "growing" if self.adaptive and self._phase in (_Phase.STARTING, _Phase.RISING) else "holding"

    @property
    def spare(self) -> int:
        """Slots above the number for an upload that has none: its wait for others' parts may be long."""
        return 1 if self.adaptive and not self._is_backing_off and self.slots < self._most else 0

    @property
    def rate(self) -> float:
        """Bytes per second over the last second."""
        return self._rate(1.0) or 0.0

    def observe(self, sample: Sample) -> int:
        """Note the state of the uploads, and return the number of slots from now on; to be called ten times a second.

        Lowering it aborts nothing: a slot that is in use is not given again.
        """
        self._note(sample)
        self._recover(sample.now)
        if not self.adaptive or self._is_backing_off:
            return self.slots
        if not sample.waiting:
            self._since = sample.now  # something else limits the rate
        elif sample.awaits_congestion and self.slots >= FIRST and self._resent_share(RECENT) >= LOSSY:
            self._hold(sample.now, self.slots, self.rate)
            self._up_next, self._try_at = True, sample.now  # if it is no cure, more connections are
        elif self._phase is _Phase.STARTING:
            self._start(sample)
        else:
            self._compare(sample)
        return self.slots

    def refused(self, now: float, begun_at: float, in_flight: int) -> int:
        """Note that S3 refused a part because it gets too many requests, and return the number of slots from now on.

        Args:
            now: The time.
            begun_at: When the attempt began. What began before the last decrease says nothing about the present number.
            in_flight: Parts in flight, this one included.
        """
        if begun_at < self._decreased_at:
            return self.slots
        self._again = min(self._again * 2, MOST_AGAIN)
        self._refused = max(2, min(in_flight, self.slots) if self.adaptive else self.limit)
        self._decrease(now, in_flight)
        return self.slots

    def lost(self, now: float, begun_at: float, in_flight: int) -> int:
        """Note that an attempt lost its connection or stalled, and return the number of slots from now on."""
        if begun_at >= self._decreased_at:
            self._failed += 1
            if self._failed >= FAILING and in_flight > 1:
                self._decrease(now, in_flight)
        return self.slots

    def completed(self) -> None:
        """Note that a part was acknowledged."""
        self._failed = 0

    # -- the rate ------------------------------------------------------------------------------------------------------

    def _note(self, sample: Sample) -> None:
        history = self._history
        if not history or sample.now - history[-1][0] > FORGOTTEN:
            self._begin(sample)
        elif self._phase is _Phase.STARTING and len(history) == 1 and history[0][1] == sample.moved:
            history.clear()  # to open connections is not to send
        history.append((sample.now, sample.moved, sample.in_flight, sample.resent))
        while len(history) > 2 and sample.now - history[1][0] > HISTORY:
            history.popleft()
        if sample.queue is not None:
            is_full = sample.queue > max(QUEUE, QUEUE_SHARE * sample.round_trip)
            self._full = (1 - SMOOTH_FULL) * (self._full or 0.0) + SMOOTH_FULL * is_full
            if is_full:
                self._full_at = sample.now

    def _begin(self, sample: Sample) -> None:
        self._history.clear()
        self._phase, self._since, self._patience, self._step = _Phase.STARTING, sample.now, PATIENCE, 0
        self._base, self._full, self._full_at = (0, 0.0), None, -math.inf
        if self.adaptive and not self._is_backing_off:
            at_risk = AT_RISK if self.bandwidth is None else min(AT_RISK, int(self.bandwidth * FREE))
            first = max(LEAST_FIRST, min(FIRST, at_risk // max(1, sample.part_size)))
            self.slots = min(first, self.limit, self._ceiling)

    def _rate(self, seconds: float, before: float = 0.0) -> float | None:
        """Return the mean rate of some seconds, until `before` seconds ago; None if that is not known."""
        until: tuple[float, int] | None = None
        for at, moved, *_ in reversed(self._history):
            if until is None:
                if self._history[-1][0] - at >= before - 1e-6:
                    until = at, moved
            elif until[0] - at >= seconds - 1e-6:
                return (until[1] - moved) / (until[0] - at)
        return None

    def _level(self, seconds: float) -> int:
        """Return the most parts in flight in the last seconds: where a part ends, the next takes a moment."""
        last = self._history[-1][0]
        level = 0
        for at, _, in_flight, _ in reversed(self._history):
            if last - at > seconds:
                break
            level = max(level, in_flight)
        return level

    def _resent_share(self, seconds: float) -> float:
        """Return the share of the last seconds' bytes that were sent again."""
        last = self._history[-1]
        first = next((one for one in reversed(self._history) if last[0] - one[0] >= seconds - 1e-6), self._history[0])
        again = last[3] - first[3]
        return again / max(1, again + last[1] - first[1])

    @property
    def _fills_bandwidth(self) -> bool:
        """Whether the limit of the bandwidth is what limits the rate."""
        return self.bandwidth is not None and self.rate >= FILLED * self.bandwidth

    @property
    def _may_rise(self) -> bool:
        """Whether the connections may be what limits the rate."""
        return (self._full or 0.0) < 0.5 and not self._fills_bandwidth

    @property
    def _is_crowded(self) -> bool:
        """Whether fewer connections would probably be as fast."""
        return self._full is None or self._full >= 0.5 or self._resent_share(MEASURE) >= WASTEFUL

    @property
    def _is_lossy(self) -> bool:
        """Whether packets are lost, and not because the link is full: then each connection is slow."""
        is_clear = self._history[-1][0] - self._full_at >= CLEAR
        return is_clear and self._may_rise and self._resent_share(MEASURE) >= LOSSY

    def _is_clearly_worse(self, sample: Sample, seconds: float) -> bool:
        """Return whether a trial of fewer parts need not be measured to its end."""
        if self._phase is not _Phase.TRIMMING or sample.now - self._since < seconds:
            return False
        rate = self._rate(seconds)
        return rate is not None and self._level(seconds) <= self.slots and rate < WORSE * self._best

    # -- starting ------------------------------------------------------------------------------------------------------

    def _start(self, sample: Sample) -> None:
        span = max(ROUND, 2 * sample.round_trip)
        if sample.now - self._since < span:
            return
        rate, before = self._rate(span), self._rate(span, span)
        if not rate or before is None:
            return
        level, (base, base_rate) = max(1, self._level(span)), self._base
        if self.bandwidth is not None and rate >= FILLED * self.bandwidth:
            self._hold(sample.now, self.slots, rate)
        elif sample.now - self._full_at <= span:
            self._hold(sample.now, max(level, self.slots, self._free(sample, rate)), rate)
            self._best = 0.0  # what was acknowledged in this moment is too much or too little: it came in bursts
        elif not base:
            lossy = self._resent_share(span) >= LOSSY
            if rate < before * STEEP or lossy or sample.now - self._history[0][0] > START:
                self._double(sample, level, rate)
        elif rate >= base_rate * (1 + WORTH):
            self._double(sample, level, rate)
        elif sample.now - self._since >= ROUNDS * span:
            self._hold(sample.now, base, rate)

    def _double(self, sample: Sample, level: int, rate: float) -> None:
        more = min(2 * level, self._most)
        if more <= level:
            self._hold(sample.now, more, rate)
        elif not self._is_brief(sample, more, rate):
            self._rise(sample, level, rate)
        else:
            self._base, self.slots, self._since = (level, rate), more, sample.now

    # -- comparing -----------------------------------------------------------------------------------------------------

    def _compare(self, sample: Sample) -> None:
        settle = max(SETTLE, ROUND_TRIPS * sample.round_trip)
        measure = max(MEASURE, ROUND_TRIPS * sample.round_trip)
        if self._is_clearly_worse(sample, measure):
            self._end_trim(sample, 0.0)
            return
        is_first = self._phase is _Phase.HOLDING and self._patience == PATIENCE and self._is_lossy
        if not is_first and (self._phase is not _Phase.RISING or self.slots < 2 * self._base[0]):
            settle, measure = CAREFUL * settle, CAREFUL * measure
        if not self._is_brief(sample, 2 * self.slots, self._rate(measure) or 0.0):
            settle, measure = max(settle, MOST_CAREFUL), max(measure, MOST_CAREFUL)
        if self._phase is _Phase.TRIMMING:
            parts = PARTS * self.slots * sample.part_size / max(1.0, self._usual)
            measure = max(measure, min(parts, MOST_MEASURE))
        level = self._level(measure)
        if level < self.slots or (self._phase is _Phase.TRIMMING and level > self.slots):
            return  # the parts that take the new slots, or give the old ones back, are still to come
        rate = self._rate(measure)
        if not rate or sample.now - self._since < settle + measure:
            return
        match self._phase:
            case _Phase.RISING:
                self._end_rise(sample, level, rate)
            case _Phase.TRIMMING:
                self._end_trim(sample, rate)
            case _:
                self._watch(sample, level, rate)

    def _watch(self, sample: Sample, level: int, rate: float) -> None:
        """Search again if the rate changed; otherwise try a neighbouring number now and then."""
        fallen = FALLEN if self._is_lossy else CHANGED
        if not self._usual / fallen < rate < self._usual * CHANGED:
            self._step, self._up_next = 0, True
            # Where parts are long, those of a trial in vain are still in flight: a drop of the rate begins one more
            # trial, not one each time.
            is_worth_it = rate > self._usual or level <= self.slots + 1 or self._is_brief(sample, 2 * level, rate)
            if is_worth_it and self._may_rise:
                self._rise(sample, level, rate)
            else:
                self._hold(sample.now, self.slots, rate)
            return
        self._usual += (rate - self._usual) * SMOOTH
        if sample.now >= self._try_at and level <= self.slots:
            self._try(sample, rate)

    def _try(self, sample: Sample, rate: float) -> None:
        is_up, self._up_next = self._up_next, not self._up_next
        least = max(2 if sample.part_size <= ALONE * rate else 1, self._free(sample, rate))
        if is_up and self.slots < self._most:
            if self._may_rise:
                step = self._step or (self.slots if self._is_lossy else max(1, self.slots // 8))
                self._rise(sample, self.slots, self._usual, self.slots + step)
            elif self.slots < FIRST and not self._fills_bandwidth:
                self._rise(sample, self.slots, self._usual, self.slots + 1)
        elif not is_up and self.slots > least and not self._is_proportional and self._is_crowded:
            step = self._step or max(1, self.slots // (8 if self._full is None else 2))
            self._best = self._best or self._rate(PATIENCE) or rate
            self._phase, self._base, self._since = _Phase.TRIMMING, (self.slots, self._usual), sample.now
            self.slots = max(least, self.slots - step)

    def _rise(self, sample: Sample, level: int, rate: float, to: int = 0) -> None:
        """Try more than `level` parts, which have reached `rate`."""
        if not to:
            to = 2 * level if self._is_brief(sample, 2 * level, rate) else level + max(1, level // 2)
        to = min(max(to, self._free(sample, rate)), self._most)
        if to <= level:
            self._hold(sample.now, to, rate)
        else:
            self._base = level, rate
            self._phase, self.slots, self._since = _Phase.RISING, to, sample.now

    def _end_rise(self, sample: Sample, level: int, rate: float) -> None:
        base, before = self._base
        gain, grown = rate / before - 1, level / base - 1
        share = WORTH if grown > 0.9 else 2 * WORTH if grown >= 0.25 else LINEAR
        if gain >= grown * share:
            self._patience, self._step = PATIENCE, 0
            self._is_proportional = gain >= grown * LINEAR
            if not self._refused:
                self._again = AGAIN / 2
            self._rise(sample, level, rate, 0 if grown > 0.9 else level + 2 * (level - base))
            return
        self._patience = min(self._patience * 2, MOST_PATIENCE)
        self._is_proportional = False
        self._hold(sample.now, max(base, self._free(sample, rate)), max(before, rate))
        self._step = max(1, (level - base) // 2)

    def _end_trim(self, sample: Sample, rate: float) -> None:
        base, before = self._base
        best, cut = self._best, base - self.slots
        if rate >= SAME * best:
            self._patience = PATIENCE
            self._hold(sample.now, self.slots, rate)
            self._step = min(2 * cut, max(1, self.slots // (3 if self._full is None else 2)))
            self._up_next, self._try_at = False, sample.now
        else:
            self._patience = min(self._patience * 2, MOST_PATIENCE)
            self._hold(sample.now, base, before)
            self._step = max(1, cut // 2)
        self._best = best

    def _hold(self, now: float, slots: int, rate: float) -> None:
        self._phase, self.slots, self._best, self._usual = _Phase.HOLDING, slots, rate, rate
        self._try_at, self._since = now + self._patience, now

    @property
    def _ceiling(self) -> int:
        return self._refused - 1 if self._refused else self.limit

    @property
    def _most(self) -> int:
        return min(self.limit, self._ceiling)

    def _free(self, sample: Sample, rate: float) -> int:
        return min(FIRST, self._most, int(FREE * rate / max(1, sample.part_size)))

    @staticmethod
    def _is_brief(sample: Sample, parts: int, rate: float) -> bool:
        return parts * sample.part_size <= LONG * rate

    # -- backing off ---------------------------------------------------------------------------------------------------

    def _decrease(self, now: float, in_flight: int) -> None:
        # Where few are in flight, their number is not the reason: then the slots count.
        self.slots = max(1, int(min(self.slots, max(in_flight, FIRST)) * DECREASE))
        self._decreased_at = self._since = now
        self._is_backing_off, self._failed = True, 0

    def _recover(self, now: float) -> None:
        quiet = now - self._decreased_at
        if self._is_backing_off and quiet > QUIET:
            self.slots = min(self.slots + 1, max(self.slots, self._most))
            self._decreased_at = now
            if self.slots >= self._most:
                self._is_backing_off, self._phase, self._since = False, _Phase.STARTING, now
                self._base = (0, 0.0)
        elif self._refused and quiet > self._again:
            self._refused = 0
            if not self.adaptive:
                self.slots = self.limit
