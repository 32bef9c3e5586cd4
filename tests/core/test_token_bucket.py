"""Buckets never allow more than the service does, and processes that do not know each other share what it allows."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.token_bucket import (
    FIRST_ROOM,
    LONGEST_PAUSE,
    SLOWEST,
    SPREAD,
    SharedRate,
    TokenBucket,
)
from aioframeio_upload.testing._rates import Limit, full, take

LIMITS = st.integers(1, 100)
WINDOWS = st.floats(0.5, 60)
ARRIVALS = st.lists(st.floats(0, 30, allow_subnormal=False), min_size=1, max_size=120).map(sorted)


def assert_paced(due: list[float], limit: float, window: float) -> None:
    """No period has more calls than a full bucket and its refill in that period."""
    due = sorted(due)
    for index, start in enumerate(due):
        for count, end in enumerate(due[index:], 1):
            assert count <= limit + (end - start) * limit / window + 1e-6


# -- bytes -------------------------------------------------------------------------------------------------------------


@given(LIMITS, WINDOWS, ARRIVALS)
def test_no_stretch_of_time_sees_more_than_a_full_bucket_and_its_refill(
    limit: int, window: float, arrivals: list[float]
) -> None:
    bucket = TokenBucket.full(limit, window, arrivals[0])
    assert_paced([now + bucket.reserve(now) for now in arrivals], limit, window)


@given(LIMITS, WINDOWS, ARRIVALS)
def test_reservations_are_due_in_the_order_in_which_they_came(limit: int, window: float, arrivals: list[float]) -> None:
    bucket = TokenBucket.full(limit, window, arrivals[0])
    due = [now + bucket.reserve(now) for now in arrivals]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(due))


@given(LIMITS, WINDOWS, ARRIVALS)
def test_a_reservation_waits_only_for_the_refill(limit: int, window: float, arrivals: list[float]) -> None:
    """It is not slower than allowed either: the n-th of many waits for (n - limit) refills at most."""
    bucket = TokenBucket.full(limit, window, arrivals[0])
    for count, now in enumerate(arrivals, 1):
        delay = bucket.reserve(now)
        assert 0 <= delay <= max(0, count - limit) * window / limit + 1e-6


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    bucket = TokenBucket.full(5, 1, 100.0)
    assert [bucket.reserve(100.0) for _ in range(8)] == pytest.approx([0, 0, 0, 0, 0, 0.2, 0.4, 0.6])


def test_a_clock_that_jumps_back_adds_nothing_to_the_bucket() -> None:
    bucket = TokenBucket.full(5, 1, 100.0)
    for _ in range(5):
        bucket.reserve(100.0)
    bucket.reserve(50.0)
    assert bucket.reserve(100.0) == pytest.approx(0.4)


# -- calls of one process ----------------------------------------------------------------------------------------------


def known(limit: float = 5, window: float = 1.0) -> SharedRate:
    """Return the rate of a process that seems to be alone, and has had an answer to its first calls."""
    rate = SharedRate.full(limit, window, 0.0)
    rate.granted = 100
    return rate


def when_taken(rate: SharedRate, now: float) -> float:
    """Reserve the next call as early as possible, and return when that is."""
    while (wait := rate.take(now)) > 0:
        now += wait
    return now


def test_a_burst_of_calls_goes_at_once_and_the_rest_at_the_rate_a_little_later() -> None:
    rate, now, taken = known(), 0.0, []
    for _ in range(8):
        now = when_taken(rate, now)
        taken.append(now)
    assert taken == pytest.approx([0, 0, 0, 0, 0, 0.4, 0.6, 0.8])


@given(LIMITS, WINDOWS, ARRIVALS)
def test_the_calls_of_a_process_alone_never_exceed_the_limit(limit: int, window: float, arrivals: list[float]) -> None:
    rate, now, taken = known(limit, window), arrivals[0], []
    for arrival in arrivals:
        now = when_taken(rate, max(now, arrival))
        taken.append(now)
    assert_paced(taken, limit, window)


def test_the_first_calls_go_by_ones_and_twos_until_answers_come() -> None:
    rate = SharedRate.full(5, 1, 0.0)
    assert rate.take(0.0) == 0
    assert rate.take(0.1) == pytest.approx(0.9), "the answer to the first call is awaited for a second"
    rate.end()
    rate.grant(0.0, 0.2, 4, 0.5)
    assert [rate.take(0.2) for _ in range(2)] == [0, 0]
    assert rate.take(0.2) > 0


def test_a_service_that_does_not_answer_the_first_call_delays_the_next_ones_by_a_second_each() -> None:
    rate, now, taken = SharedRate.full(5, 1, 0.0), 0.0, []
    for _ in range(3):
        now = when_taken(rate, now)
        taken.append(now)
    assert taken == pytest.approx([0, 1, 2])


def test_other_processes_are_noticed_by_what_the_first_answer_says_is_left() -> None:
    rate = SharedRate.full(5, 1, 0.0)
    rate.take(0.0)
    rate.end()
    rate.grant(0.0, 0.01, 1, 0.5)
    assert rate.room == FIRST_ROOM
    assert rate.take(0.01) > 0


def test_what_a_run_before_this_one_used_is_no_sign_of_others_while_plenty_is_left() -> None:
    rate, now = SharedRate.full(100, 60, 0.0), 0.0
    for remaining in range(60, 10, -1):
        now = when_taken(rate, now)
        rate.end()
        rate.grant(now, now + 0.01, remaining, 0.5)
    assert rate.share == 1
    assert now < 2, "the first ones wait for answers"
    taken = [now := when_taken(rate, now) for _ in range(40)]
    assert taken[-1] > 5, "no more than the answers say is left"


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (0, 1, 2, 3, 4), (2, 0, 4, 1, 3)])
def test_answers_to_our_own_calls_in_any_order_are_no_sign_of_others(order: tuple[int, ...]) -> None:
    rate = SharedRate.full(5, 1, 0.0)
    rate.granted = 4
    assert [rate.take(0.0) for _ in order] == [0] * 5
    for remaining in order:
        rate.end()
        rate.grant(0.0, 0.1, remaining, 0.5)
    assert rate.share == 1
    assert rate.take(0.1) > 0, "nor a reason to make more calls than were left"


def refuse(rate: SharedRate, sent_at: float, now: float, retry_after: float | None = None, chance: float = 0.0) -> None:
    """Let a service that tells how much is left refuse a call."""
    rate.refuse(sent_at, now, retry_after, is_told=True, chance=chance)


def test_a_refusal_begins_to_share_and_further_ones_lower_the_share_once_a_round() -> None:
    rate = known()
    for _ in range(3):
        rate.take(0.0)
    refuse(rate, 0.0, 0.1)
    assert (rate.room, rate.refusals) == (FIRST_ROOM, 1)
    refuse(rate, 0.0, 0.2)  # sent before the first refusal was known
    assert (rate.room, rate.refusals) == (FIRST_ROOM, 1)
    before = rate.share
    refuse(rate, 1.2, 1.3)
    assert rate.share < before
    assert rate.refusals == 2
    assert rate.take(1.3) == pytest.approx(2), "the second round in a row waits for twice as long"


def test_a_granted_call_ends_the_doubling() -> None:
    rate = known()
    for second in range(3):
        refuse(rate, second, second + 0.1)
    assert rate.refusals == 3
    rate.grant(3, 3.1, None, 0.0)
    assert rate.refusals == 0


def test_retry_after_holds_every_call_of_the_operation_back() -> None:
    rate = known()
    rate.take(0.0)
    refuse(rate, 0.0, 0.1, 30.0)
    assert rate.take(0.1) >= 30
    assert rate.take(29.0) >= 1


def test_a_retry_after_of_zero_asks_for_no_lower_rate() -> None:
    rate = known()
    rate.take(0.0)
    for _ in range(20):
        refuse(rate, 0.0, 0.1, 0.0)
    assert rate.share == 1
    assert rate.take(0.1) == 0


@given(st.integers(1, 100), st.floats(0.01, 60), st.integers(1, 200), st.floats(0, 1))
def test_refusals_without_end_still_leave_a_call_in_a_minute(
    limit: int, window: float, times: int, chance: float
) -> None:
    rate = SharedRate.full(limit, min(window, limit * SLOWEST), 0.0)
    for number in range(times):
        refuse(rate, number, number + 0.5, chance=chance)
    assert rate.interval <= SLOWEST * (1 + 1e-9)
    assert rate.take(times) <= max(SLOWEST, LONGEST_PAUSE * (1 + SPREAD)) * (1 + 1e-9)


STEPS = st.lists(
    st.tuples(st.sampled_from(["grant", "refuse", "lost"]), st.floats(0, 30), st.integers(0, 8), st.booleans()),
    max_size=60,
)


@given(LIMITS, WINDOWS, STEPS)
def test_whatever_the_service_answers_the_process_neither_exceeds_the_limit_nor_stops(
    limit: int, window: float, steps: list[tuple[str, float, int, bool]]
) -> None:
    rate, now, taken = SharedRate.full(limit, window, 0.0), 0.0, list[float]()
    longest = max(1.0, SLOWEST, LONGEST_PAUSE * (1 + SPREAD)) + window / limit
    for kind, gap, remaining, is_told in steps:
        now += gap
        next_at = when_taken(rate, now)
        assert next_at - now <= longest
        taken.append(now := next_at)
        rate.end()
        match kind:
            case "grant":
                rate.grant(now, now + 0.1, remaining if is_told else None, 0.5)
            case "refuse":
                rate.refuse(now, now + 0.1, None, is_told=is_told, chance=0.5)
        assert rate.in_flight == 0
        assert rate.room is None or 0 <= rate.room <= 1
        assert 0 < rate.share <= 1
    assert_paced(taken, limit, window)


def grant_until_whole(rate: SharedRate, remaining: int | None) -> float:
    """Grant every call until the whole rate is used, and return when that is."""
    now = 0.0
    while rate.share < 1:
        now = when_taken(rate, now)
        rate.end()
        rate.grant(now, now + 0.01, remaining, 0.5)
    return now


@pytest.mark.parametrize(("remaining", "seconds"), [(4, 15), (None, 60), (0, 600)])
def test_a_share_grows_to_the_whole_while_nothing_is_refused(remaining: int | None, seconds: float) -> None:
    """Within seconds where answers show that nobody else calls, and in the end even if they show the contrary."""
    rate = known()
    rate.take(0.0)
    rate.end()
    refuse(rate, 0.0, 0.0)
    assert grant_until_whole(rate, remaining) <= seconds


def test_a_process_that_uses_the_whole_rate_again_begins_without_a_burst() -> None:
    rate = known()
    refuse(rate, 0.0, 0.0)
    now = grant_until_whole(rate, 4)
    taken = [now := when_taken(rate, now) for _ in range(4)]
    assert all(later - earlier >= 0.2 - 1e-9 for earlier, later in pairwise(taken))


@pytest.mark.parametrize("remaining", [0, 2, 4])
def test_processes_with_different_shares_come_to_the_same_share_within_a_few_calls(remaining: int) -> None:
    rich, poor = known(), known()
    refuse(rich, 0.0, 0.0)
    refuse(poor, 0.0, 0.0)
    rich.room, poor.room = 0.9, 0.1
    assert rich.share / poor.share > 10
    for second in range(1, 15):
        for rate in (rich, poor):
            rate.grant(second, second + 0.1, remaining, 0.5)
    assert rich.share / poor.share < 1.4


@pytest.mark.parametrize("told", [(0, 1), (-5, 1), (5, 0), (5, -1), (1, 61), (0.5, 1)])
def test_limits_that_cannot_be_change_nothing(told: tuple[float, float]) -> None:
    rate = known()
    assert not rate.adopt(*told, 0.0)
    assert rate == known()


def test_a_limit_that_an_answer_reports_is_adopted() -> None:
    rate = known()
    assert rate.adopt(10, 60, 0.0)
    now, taken = 0.0, []
    for _ in range(7):
        now = when_taken(rate, now)
        taken.append(now)
    assert taken[:5] == [0] * 5, "a higher limit adds no calls at once"
    assert taken[6] - taken[5] == pytest.approx(6)


def test_a_clock_that_jumps_back_or_far_ahead_neither_blocks_nor_overfills() -> None:
    rate = known()
    for _ in range(5):
        assert rate.take(100.0) == 0
    assert 0 < rate.take(50.0) <= 0.5
    assert [rate.take(1e6) for _ in range(5)] == [0] * 5
    assert rate.take(1e6) > 0


# -- many processes ----------------------------------------------------------------------------------------------------


@dataclass
class Process:
    """A process in the simulation, with calls to make."""

    rate: SharedRate
    to_make: int
    refused: int = 0
    """Calls whose pause after a 429 is over."""
    done: int = 0
    ended_at: float = 0.0
    plan: int = 0
    """Counts the looks at the rate: only the latest is valid."""


@dataclass
class Simulation:
    """A service with one bucket, and processes that each decide by a `SharedRate`, in simulated time.

    Processes and service exchange what they exchange in reality: calls and answers that take a while.
    """

    processes: int
    calls: int
    seed: int
    headers: bool = True
    service: str = "bucket"
    """How it counts: "bucket" as Frame.io does, or in "fixed" or "sliding" windows."""
    retry_after: float | None = None
    foreign: float = 0.0
    """Calls a second of another client, which does not slow down."""
    limit: Limit = Limit(5, 1.0)  # noqa: RUF009  # a tuple
    refusals: int = 0
    events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.bucket = full(self.limit, 0.0)
        self.counted = list[float]()
        self.all = [Process(SharedRate.full(*self.limit, 0.0), self.calls) for _ in range(self.processes)]
        self.count = 0

    def at(self, when: float, what: Callable[[float], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, what))

    def run(self) -> float:
        """Run until every call is granted; return the seconds, divided by those that the bucket needs."""
        for process in self.all:
            self.at(self.chance.uniform(0, 0.01), partial(self.look, process))
        if self.foreign:
            self.at(0.1, self.call_from_outside)
        while any(process.done < self.calls for process in self.all):
            now, _, what = heapq.heappop(self.events)
            what(now)
        taken_away = min(self.foreign, self.limit.calls / self.limit.window / 2)
        rate = self.limit.calls / self.limit.window - taken_away
        return max(process.ended_at for process in self.all) * rate / (self.calls * self.processes - self.limit.calls)

    def slowest_to_fastest(self) -> float:
        ends = [process.ended_at for process in self.all]
        return max(ends) / min(ends)

    def ask(self, now: float) -> tuple[bool, int]:
        """Return whether the service grants a call, and how many it would still grant."""
        calls, window = self.limit
        if self.service != "bucket":
            begin = now // window * window if self.service == "fixed" else now - window
            self.counted = [at for at in self.counted if at >= begin]
            if is_granted := len(self.counted) < calls:
                self.counted.append(now)
            return is_granted, calls - len(self.counted)
        taken = take(self.limit, self.bucket, now)
        self.bucket = taken.bucket
        return taken.granted, taken.remaining

    def call_from_outside(self, now: float) -> None:
        self.ask(now)
        self.at(now + 1 / self.foreign, self.call_from_outside)

    def look(self, process: Process, now: float) -> None:
        """Send every call that the rate allows, and look again when it may allow the next."""
        process.plan += 1
        plan = process.plan
        while process.refused + process.to_make:
            if (wait := process.rate.take(now)) > 0:
                self.at(now + wait, lambda now: self.look(process, now) if plan == process.plan else None)
                return
            if process.refused:
                process.refused -= 1
            else:
                process.to_make -= 1
            self.at(now + self.chance.uniform(0.002, 0.02), partial(self.arrive, process, now))

    def arrive(self, process: Process, sent: float, now: float) -> None:
        granted, remaining = self.ask(now)
        told = remaining if self.headers else None
        answer = now + self.chance.uniform(0.002, 0.02)
        self.at(answer, lambda at: self.hear(process, sent, granted, told, at))

    def hear(self, process: Process, sent: float, granted: bool, told: int | None, now: float) -> None:
        process.rate.end()
        if granted:
            process.rate.grant(sent, now, told, self.chance.random())
            process.done, process.ended_at = process.done + 1, now
        else:
            self.refusals += 1
            process.rate.refuse(sent, now, self.retry_after, is_told=self.headers, chance=self.chance.random())
            pause = self.retry_after or min(2.0 ** max(0, process.rate.refusals - 1), 30.0)
            self.at(now + pause, lambda at: self.come_back(process, at))
        self.look(process, now)

    def come_back(self, process: Process, now: float) -> None:
        process.refused += 1
        self.look(process, now)


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("limit", [Limit(5, 1.0), Limit(3, 1.0), Limit(100, 60.0), Limit(10, 60.0)])
def test_a_process_alone_loses_no_time_and_is_never_refused(limit: Limit, headers: bool) -> None:
    simulation = Simulation(1, 200, seed=1, headers=headers, limit=limit)
    assert simulation.run() <= 1.03
    assert simulation.refusals == 0


def test_twelve_processes_share_nearly_the_whole_rate_evenly_and_with_few_refusals() -> None:
    """The numbers are fixed by the seeds, so this is no race with a clock."""
    runs = [Simulation(12, 20, seed) for seed in range(9)]
    assert middle([run.run() for run in runs]) <= 1.12
    assert middle([run.refusals / 240 for run in runs]) <= 0.2
    ratios = [run.slowest_to_fastest() for run in runs]
    assert middle(ratios) <= 1.4
    assert max(ratios) <= 1.6


@pytest.mark.parametrize(
    ("processes", "calls", "time", "refusals", "ratio"),
    [
        (2, 60, 1.25, 0.1, 1.3),
        (4, 40, 1.2, 0.1, 1.3),
        (16, 15, 1.2, 0.4, 1.7),
        (32, 8, 1.5, 1, 3),
        (64, 6, 1.5, 1.6, 6),
    ],
)
def test_any_number_of_processes_gets_through_with_a_bounded_loss(
    processes: int, calls: int, time: float, refusals: float, ratio: float
) -> None:
    runs = [Simulation(processes, calls, seed) for seed in range(3)]
    assert middle([run.run() for run in runs]) <= time
    assert middle([run.refusals / (processes * calls) for run in runs]) <= refusals
    assert middle([run.slowest_to_fastest() for run in runs]) <= ratio


@pytest.mark.parametrize("processes", [1, 4, 12, 64])
@pytest.mark.parametrize(
    "service",
    [
        {"headers": False},
        {"headers": False, "retry_after": 1.0},
        {"retry_after": 2.5},
        {"foreign": 2.5},
        {"foreign": 2.5, "headers": False},
        {"limit": Limit(10, 60.0)},
        {"limit": Limit(1, 1.0)},
        {"service": "fixed"},
        {"service": "sliding"},
        {"service": "sliding", "headers": False},
    ],
    ids=str,
)
def test_every_service_lets_all_processes_finish(processes: int, service: dict[str, object]) -> None:
    """Within four times the ideal: no process is left behind with a share near nothing, and none waits for ever."""
    calls = {1: 100, 64: 6}.get(processes, 12)
    simulation = Simulation(processes, calls, seed=3, **service)  # type: ignore[arg-type]
    assert simulation.run() <= 4
