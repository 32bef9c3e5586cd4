"""The leaky bucket of the rate limits, with the time as an argument."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload.testing._rates import Limit, full, take

FIVE_A_SECOND = Limit(5, 1.0)


def granted(limit: Limit, times: list[float]) -> list[bool]:
    bucket = full(limit, times[0])
    answers = []
    for time in times:
        bucket, answer = take(limit, bucket, time)
        answers.append(answer)
    return answers


def test_a_burst_gets_as_many_calls_as_the_limit() -> None:
    assert granted(FIVE_A_SECOND, [0.0] * 7) == [True] * 5 + [False] * 2


def test_the_bucket_refills_evenly_and_not_at_the_end_of_a_window() -> None:
    assert granted(FIVE_A_SECOND, [0.0] * 5 + [0.19, 0.2, 0.39, 0.4]) == [True] * 5 + [False, True, False, True]


def test_a_refused_call_costs_nothing() -> None:
    assert granted(FIVE_A_SECOND, [0.0] * 100 + [0.2])[-1]


def test_the_documented_pace_is_never_refused() -> None:
    assert all(granted(FIVE_A_SECOND, [number / 5 for number in range(500)]))


def test_the_remaining_calls_are_reported_as_a_whole_number() -> None:
    taken = take(FIVE_A_SECOND, full(FIVE_A_SECOND, 0.0), 0.0)
    assert taken.remaining == 4
    assert take(FIVE_A_SECOND, taken.bucket, 0.1).remaining == 3


@given(
    st.integers(1, 100),
    st.floats(0.5, 60),
    st.lists(st.floats(0, 120, allow_subnormal=False), min_size=1, max_size=300).map(sorted),
)
def test_no_window_ever_grants_more_than_a_full_bucket_and_its_refill(
    calls: int, window: float, times: list[float]
) -> None:
    limit = Limit(calls, window)
    given_at = [time for time, answer in zip(times, granted(limit, times), strict=True) if answer]
    for index, start in enumerate(given_at):
        for count, end in enumerate(given_at[index:], 1):
            assert count <= calls + (end - start) * calls / window + 1e-6


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_a_clock_that_runs_backwards_neither_fills_nor_empties_the_bucket(times: list[float]) -> None:
    bucket = full(FIVE_A_SECOND, times[0])
    for time in times:
        bucket, _ = take(FIVE_A_SECOND, bucket, time)
        assert 0 <= bucket.left <= 5
