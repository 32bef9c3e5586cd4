"""A token bucket never allows more calls than the service does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.token_bucket import TokenBucket

LIMITS = st.integers(1, 100)
WINDOWS = st.floats(0.5, 60)
ARRIVALS = st.lists(st.floats(0, 30, allow_subnormal=False), min_size=1, max_size=120).map(sorted)


def assert_paced(due: list[float], limit: float, window: float) -> None:
    """No period has more calls than a full bucket and its refill in that period."""
    due = sorted(due)
    for index, start in enumerate(due):
        for count, end in enumerate(due[index:], 1):
            assert count <= limit + (end - start) * limit / window + 1e-6


@given(LIMITS, WINDOWS, ARRIVALS)
def test_no_stretch_of_time_sees_more_calls_than_a_full_bucket_and_its_refill(
    limit: int, window: float, arrivals: list[float]
) -> None:
    bucket = TokenBucket.full(limit, window, arrivals[0])
    assert_paced([now + bucket.reserve(now) for now in arrivals], limit, window)


@given(LIMITS, WINDOWS, ARRIVALS)
def test_calls_are_due_in_the_order_in_which_they_came(limit: int, window: float, arrivals: list[float]) -> None:
    bucket = TokenBucket.full(limit, window, arrivals[0])
    due = [now + bucket.reserve(now) for now in arrivals]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(due))


@given(LIMITS, WINDOWS, ARRIVALS)
def test_a_call_waits_only_for_the_refill(limit: int, window: float, arrivals: list[float]) -> None:
    """It is not slower than allowed either: the n-th of many calls waits for (n - limit) refills at most."""
    bucket = TokenBucket.full(limit, window, arrivals[0])
    for count, now in enumerate(arrivals, 1):
        delay = bucket.reserve(now)
        assert 0 <= delay <= max(0, count - limit) * window / limit + 1e-6


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    bucket = TokenBucket.full(5, 1, 100.0)
    assert [bucket.reserve(100.0) for _ in range(8)] == pytest.approx([0, 0, 0, 0, 0, 0.2, 0.4, 0.6])


@given(
    LIMITS,
    WINDOWS,
    st.integers(0, 200),
    st.tuples(LIMITS, st.integers(0, 200), WINDOWS),
    st.floats(0, 100),
)
def test_an_answers_headers_never_add_a_call(
    limit: int, window: float, taken: int, told: tuple[int, int, float], later: float
) -> None:
    bucket, alone = TokenBucket.full(limit, window, 0.0), TokenBucket.full(limit, window, 0.0)
    for each in (bucket, alone):
        for _ in range(taken):
            each.reserve(0.0)
    bucket.observe(*told, later)
    alone.observe(limit, limit, window, later)  # what was believed all along
    assert bucket.level <= alone.level + 1e-9
    assert bucket.level <= told[1]


def test_an_answers_headers_take_away_what_another_program_has_used() -> None:
    bucket = TokenBucket.full(5, 1, 0.0)
    bucket.observe(5, 0, 1, 0.0)
    assert bucket.reserve(0.0) == pytest.approx(0.2)


def test_an_answers_headers_change_the_rate() -> None:
    bucket = TokenBucket.full(5, 1, 0.0)
    bucket.observe(10, 0, 10, 0.0)
    assert [bucket.reserve(0.0) for _ in range(2)] == pytest.approx([1, 2])


@pytest.mark.parametrize("told", [(0, 0, 1), (-5, 1, 1), (5, -1, 1), (5, 1, 0), (5, 1, -1)])
def test_headers_without_sense_change_nothing(told: tuple[float, float, float]) -> None:
    bucket = TokenBucket.full(5, 1, 0.0)
    bucket.observe(*told, 0.0)
    assert bucket == TokenBucket.full(5, 1, 0.0)


def test_a_call_that_is_given_back_is_there_again() -> None:
    bucket = TokenBucket.full(1, 1, 0.0)
    assert bucket.reserve(0.0) == 0
    assert bucket.reserve(0.0) == 1
    bucket.give_back(0.0)
    assert bucket.reserve(0.0) == 1


@given(LIMITS, WINDOWS, st.integers(1, 300))
def test_calls_given_back_never_overfill_the_bucket(limit: int, window: float, times: int) -> None:
    bucket = TokenBucket.full(limit, window, 0.0)
    for _ in range(times):
        bucket.give_back(0.0)
    assert_paced([bucket.reserve(0.0) for _ in range(limit + 20)], limit, window)
