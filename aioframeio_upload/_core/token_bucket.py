"""Limit the rate of API calls and of bytes with token buckets, and share the rate of API calls with other processes."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf

SLOWEST = 60.0
"""Seconds between two calls. The slowest documented rate is ten a minute; headers that report less than one a minute
are ignored, or a single wrong answer would block every later call. A share does not fall below it either."""

ARRIVAL_SLACK = 0.25
"""Additional seconds for the first call that has to wait, or the time between two calls if that is less. The service
counts arrivals, and the calls before may have arrived late, because the first ones had to connect."""

PROBE = 1.0
"""Seconds for which the answer to a first call is awaited before the next one goes."""

STEEPNESS = 3.5
"""How strongly the share falls with the room: to a sixth at half of the room. Steeper wastes time, flatter costs
refusals. This and the next numbers are from the simulation in tests/core/test_token_bucket.py, with 1 to 64 processes.
"""

PLENTY = 4
"""Calls left from which on there is all the room that sharing needs, however many the service would grant at once."""

FIRST_ROOM = 0.37
"""The room with which sharing begins: a tenth of the rate, near what each of four to sixteen processes gets."""

WEIGHT_TOLD = 0.15
"""Weight of the latest answer in the room, where answers tell how many calls are left."""

WEIGHT_FULL = 0.3
"""The same where the bucket was full: nobody else has called for a second, so that the others seem to have ended."""

WEIGHT_UNTOLD = 0.06
"""The same where answers do not tell: a single one shows little, so that more of them have to agree."""

WARM_UP = 6
"""The first answers count as if so many had come before."""

MORE = 0.005
"""What a granted call adds to the hope for room. It makes the share grow, slowly, where nothing is refused although
answers show little room: services that count in fixed or sliding windows do that, even to a process alone."""

LESS = 0.5
"""The factor by which a refusal lowers that hope."""

FRACTION = 0.9
"""The most that may be left of a call beside those which an answer reports: a whole one would have been reported."""

WHOLE = 0.95
"""The share from which on the whole rate is used."""

SPREAD = 0.3
"""The random part of a pause: processes that were refused together should not come back together."""

LONGEST_PAUSE = 8.0
"""Seconds. A service that refuses everything must not make the calls that wait behind each other wait for hours."""


@dataclass(slots=True)
class TokenBucket:
    """A bucket that refills continuously at `limit / window`. Owned by a `BandwidthLimiter`.

    `now` is any monotonic clock, in seconds.
    """

    limit: float
    """Bytes that may be sent at once."""
    window: float
    """Seconds in which the whole limit refills."""
    level: float
    """Bytes left; a negative level counts those that wait."""
    updated_at: float

    @classmethod
    def full(cls, limit: float, window: float, now: float) -> TokenBucket:
        """Start with a full bucket."""
        return cls(limit, window, limit, now)

    def reserve(self, now: float, amount: float = 1) -> float:
        """Reserve an amount and return the seconds to wait for it; amounts are due in the order of reservation."""
        elapsed = max(0.0, now - self.updated_at)
        self.level = min(self.limit, self.level + elapsed * self.limit / self.window)
        self.updated_at = max(now, self.updated_at)
        self.level -= amount
        return max(0.0, -self.level * self.window / self.limit)


@dataclass(slots=True)
class SharedRate:
    """Decide when the next call of one operation goes. Owned by an `ApiPace`.

    Frame.io's limits hold for a user, who may have many processes on many hosts that do not know of each other. As long
    as nothing shows others, this process uses the whole limit: a bucket that refills continuously at `limit / window`,
    as Frame.io's guide describes its "progressive" limits. From the first sign of others on, it uses a share, with
    equal pauses between its calls.

    The share is a fixed function of the *room*: the average of what the last answers showed to be left of the limit.
    All processes see the same room, so all come to the same share within a few calls, whatever they began with; the
    equation-based rate control of RFC 5348 works like this. Additive increase and multiplicative decrease of each
    process's own share was simulated first: shares that chance had moved apart took too many calls to meet again, and
    the slowest of 4 processes took 1.6 times as long as the fastest, now 1.2.

    `now` is any monotonic clock, in seconds; `chance` a random number from 0 to 1.
    """

    limit: float
    """Calls that the service grants at once."""
    window: float
    """Seconds in which the whole limit refills."""
    level: float
    """Calls left of the limit, as far as known."""
    updated_at: float
    room: float | None = None
    """From 0 (every call is refused) to 1 (nobody else calls); None: no sign of others, so the whole rate is used."""
    answers: int = 0
    """Answers that are in the room."""
    hope: float = 0.0
    """What is added to the room that granted calls show, from 0 to 1."""
    next_at: float = -inf
    """When the next call may go at the earliest."""
    refusals: int = 0
    """Rounds of 429 answers since a call was granted. Calls that were sent together are one round."""
    refused_at: float = -inf
    """When the last round of refusals was noticed. Answers to calls that were sent before belong to that round."""
    granted: int = 0
    """Calls that were granted."""
    in_flight: int = 0
    """Calls that are not answered yet."""
    is_behind: bool = False
    """Whether the bucket was empty, and has not been full since."""
    sent_at: float = -inf
    """When the last call went."""

    @classmethod
    def full(cls, limit: float, window: float, now: float) -> SharedRate:
        """Start with every call available."""
        return cls(limit, window, limit, now)

    @property
    def share(self) -> float:
        """The fraction of the limit's rate that this process uses."""
        if self.room is None:
            return 1.0
        least = min(1.0, self.window / self.limit / SLOWEST)
        return max(least, exp(STEEPNESS * (self.room - 1)))

    @property
    def interval(self) -> float:
        """Seconds between two calls at the current share."""
        return self.window / self.limit / self.share

    def take(self, now: float) -> float:
        """Reserve the next call and return 0; or return the seconds after which to ask again, and reserve none."""
        self._refill(now)
        wait = self.next_at - now
        # The first calls go one after the other, then a few at once. Otherwise each of twelve processes that start
        # together would make all calls that the service grants at once.
        if self.granted < self.limit and self.in_flight > self.granted:
            wait = max(wait, self.sent_at + PROBE - now)
        # Sums of floating-point fractions may end slightly below the whole number.
        if self.level < 1 - 1e-9:
            if not self.is_behind:
                self.is_behind = True
                self.level -= min(1.0, ARRIVAL_SLACK * self.limit / self.window)
            wait = max(wait, (1 - self.level) * self.window / self.limit)
        if wait > 1e-9:
            return wait
        self.level -= 1
        self.in_flight += 1
        self.sent_at = now
        if self.room is not None:
            self.next_at = now + self.interval
        return 0.0

    def end(self) -> None:
        """Record that a call which was taken is over, whether or not it was made or answered."""
        self.in_flight -= 1

    def adopt(self, limit: float, window: float, now: float) -> bool:
        """Adopt the limit that an answer reports, since policies change; return False if it cannot be one."""
        if limit < 1 or window <= 0 or window / limit > SLOWEST:
            return False
        self._refill(now)
        self.limit, self.window, self.level = limit, window, min(self.level, limit)
        return True

    def grant(self, sent_at: float, now: float, remaining: float | None, chance: float) -> None:
        """Record that the service granted a call.

        Args:
            sent_at: When the call was sent.
            now: When its answer came.
            remaining: Calls that are left, as the answer tells; None if it does not.
            chance: Spreads the calls of processes that begin to share.
        """
        self.granted += 1
        self.refusals = 0
        self._refill(now)
        most = min(PLENTY, self.limit - 1)
        is_less = remaining is not None and self._is_less(sent_at, now, remaining)
        if self.room is None:
            # With plenty left, others need not be there any more: it may be what a run before this one used.
            if remaining is not None and remaining < most and is_less and self.granted <= self.limit:
                self._begin_to_share(now, chance)
            return
        self.hope = min(1.0, self.hope + MORE)
        seen, weight = 1.0, WEIGHT_UNTOLD
        if remaining is not None and most >= 1:
            seen = min(remaining, most) / most
            weight = WEIGHT_FULL if seen == 1 else WEIGHT_TOLD
        self._see(min(1.0, seen + self.hope), now, weight)
        if self.share > WHOLE:
            self.room, self.level = None, 0.0  # the rate, but no burst: others may have made theirs

    def refuse(self, sent_at: float, now: float, retry_after: float | None, *, is_told: bool, chance: float) -> None:
        """Record that the service answered a call with 429.

        Args:
            sent_at: When the call was sent.
            now: When its answer came.
            retry_after: Seconds that the answer asks for.
            is_told: Whether the answer tells how many calls are left.
            chance: Spreads the calls of processes that were refused together.
        """
        if sent_at < self.refused_at:
            self.next_at = max(self.next_at, now + (retry_after or 0.0))
            return  # one more answer of a round that has been taken into account
        self.refusals += 1
        self.refused_at = now
        if retry_after is not None and retry_after <= 0:
            return  # `Retry-After: 0` asks for no lower rate
        # Frame.io's guide: wait for a second at least, and then at least twice as long after each further 429.
        pause = min(2.0 ** min(self.refusals - 1, 16), LONGEST_PAUSE) if retry_after is None else retry_after
        self.hope *= LESS
        if self.room is None:
            self._begin_to_share(now + pause, chance)
            return
        self._see(0.0, now, WEIGHT_TOLD if is_told else WEIGHT_UNTOLD)
        if retry_after is None and self.refusals == 1:
            # A process that makes several calls a second need not stop for a whole second: the refused call does.
            pause = min(pause, 2 * self.interval)
        self.next_at = now + pause * (1 + chance * SPREAD)

    def _is_less(self, sent_at: float, now: float, remaining: float) -> bool:
        """Return whether more calls were made than this process knows of, and then lower the level."""
        # The service counted between the two instants. It reports whole calls, so a fraction more may be left, and
        # answers to calls in flight come in any order: only what no order of this process's calls explains is foreign.
        refilled = (now - sent_at) * self.limit / self.window
        if self.level < remaining + FRACTION + refilled:
            return False
        self.level = remaining + refilled / 2
        return True

    def _begin_to_share(self, since: float, chance: float) -> None:
        self.granted = max(self.granted, int(self.limit))
        self.room, self.answers = FIRST_ROOM, 0
        self.next_at = since + chance * self.interval

    def _see(self, room: float, now: float, weight: float) -> None:
        """Include the room that an answer shows in the average."""
        assert self.room is not None
        before = self.interval
        self.answers += 1
        self.room += max(weight, 1 / (self.answers + WARM_UP)) * (room - self.room)
        if self.next_at > now:
            self.next_at = now + (self.next_at - now) * self.interval / before

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self.updated_at)
        self.level = min(self.limit, self.level + elapsed * self.limit / self.window)
        self.updated_at = max(now, self.updated_at)
        if self.level >= self.limit:
            self.is_behind = False
