"""Test the delays between attempts, `Retry-After`, `Expect: 100-continue`, and how S3's error answers are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import isfinite

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioframeio_upload import RetryPolicy
from aioframeio_upload._core.backoff import (
    MAX_RETRY_AFTER,
    Again,
    Asking,
    CallTries,
    may_be_asking,
    next_asking,
    read_retry_after,
    wait_after_429,
    wait_before,
    widest_wait,
)
from aioframeio_upload._core.failures import AttemptFailure, FailureKind
from tests.support.strategies import FINITE

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

POLICIES = st.builds(
    lambda attempts, base, more: RetryPolicy(attempts, base, base + more),
    st.integers(1, 1000),
    st.just(0.0) | st.floats(0.001, 1000),
    st.floats(0, 1000),
)


# -- how long after --------------------------------------------------------------------------------------------------


@given(POLICIES, st.integers(1, 10**6), st.floats(0, 1))
def test_a_wait_is_drawn_from_zero_to_the_doubled_base_and_no_more_than_the_cap(
    policy: RetryPolicy, attempt: int, chance: float
) -> None:
    widest = min(policy.base * 2.0 ** min(attempt - 1, 900), policy.cap)
    assert wait_before(policy, attempt, jitter=lambda width: width * chance) == pytest.approx(widest * chance)


@given(POLICIES, st.integers(1, 2000))
def test_full_jitter_stays_within_the_policy(policy: RetryPolicy, attempt: int) -> None:
    delay = wait_before(policy, attempt)
    assert 0 <= delay <= widest_wait(policy, attempt) <= policy.cap


def test_the_default_waits_widen_from_half_a_second_to_half_a_minute() -> None:
    policy = RetryPolicy()
    assert [widest_wait(policy, attempt) for attempt in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(POLICIES, st.integers(1, 100), FINITE)
def test_what_the_server_asks_for_wins_up_to_five_minutes(policy: RetryPolicy, attempt: int, asked: float) -> None:
    assert wait_before(policy, attempt, asked, jitter=lambda _: -1) == min(asked, 300)
    assert wait_before(policy, attempt, -asked, jitter=lambda _: -1) == 0


def test_five_minutes_are_300_seconds() -> None:
    assert MAX_RETRY_AFTER == 300


@pytest.mark.parametrize(
    ("status", "passed_at", "is_patient"),
    [(429, 95.0, True), (429, 90.1, True), (429, 90.0, False), (429, None, False), (503, 95.0, False)],
)
def test_a_429_uses_up_no_attempt_while_calls_of_that_operation_still_pass(
    status: int, passed_at: float | None, is_patient: bool
) -> None:
    tries = CallTries(RetryPolicy(attempts=2, patience=10))
    for attempts in range(1, 4):
        again = tries.fail(FailureKind.REFUSED, status, 0, began=99, now=100, passed_at=passed_at)
        if not is_patient and attempts == 2:
            assert again is None
            return
        assert again is not None
        assert again.is_patient is is_patient
    assert tries.attempts == 0


def test_the_wait_after_a_429_doubles_by_what_the_whole_operation_was_refused_in_a_row() -> None:
    """A call that others of the same operation overtook waits for a second again: the service is normal again."""
    tries = CallTries(RetryPolicy())
    known = [tries.fail(FailureKind.REFUSED, 429, None, began=0, now=1, passed_at=0, refusals=n) for n in (1, 2, 1)]
    assert [again.delay for again in known if again is not None] == [1, 2, 1]
    alone = CallTries(RetryPolicy())
    unknown = [alone.fail(FailureKind.REFUSED, 429, None, began=0, now=1, passed_at=0) for _ in range(3)]
    assert [again.delay for again in unknown if again is not None] == [1, 2, 4]


@pytest.mark.parametrize(
    ("passed_at", "refusals", "tries_of_a_call"), [(None, 3, 2), (None, 2, 3), (None, 9, 2), (100.0, 9, None)]
)
def test_calls_that_wait_behind_each_other_do_not_each_find_out_that_nothing_passes(
    passed_at: float | None, refusals: int, tries_of_a_call: int | None
) -> None:
    """Each is made twice, though; and while anything passes, none is given up."""
    tries = CallTries(RetryPolicy(attempts=3, patience=10))
    for number in range(1, 8):
        if tries.fail(FailureKind.REFUSED, 429, 0, began=99, now=100, passed_at=passed_at, refusals=refusals) is None:
            assert number == tries_of_a_call
            return
    assert tries_of_a_call is None


def test_the_waits_after_429_start_at_a_second_and_double() -> None:
    assert [wait_after_429(refusals) for refusals in range(1, 11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


@given(st.integers(1, 10**6), st.none() | st.floats(-1e6, 1e9))
def test_a_wait_after_429_is_what_was_asked_for_or_at_least_a_second_up_to_five_minutes(
    refusals: int, asked: float | None
) -> None:
    delay = wait_after_429(refusals, asked)
    assert (1 if asked is None else 0) <= delay <= 300
    assert asked is None or delay == min(max(asked, 0), 300)


# -- Retry-After -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**12))
def test_a_number_of_seconds_is_read_up_to_five_minutes(seconds: int) -> None:
    assert read_retry_after({"Retry-After": f" {seconds} "}, NOW) == min(seconds, 300)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("1000000000", 300),
        ("9" * 5000, 300),  # more digits than `int` reads
        ("0" * 5000 + "7", 7),
        ("0007.5000000000000", 7.5),
        ("Fri, 27 Nov 2099 12:00:00 GMT", 300),
    ],
)
def test_a_wait_however_long_and_however_written_is_capped_and_not_ignored(said: str, seconds: float) -> None:
    assert read_retry_after({"Retry-After": said}, NOW) == seconds


@pytest.mark.parametrize("said", ["\u0665", "1\u0660", "\u00b2", "-1", "+1", "1e3", "1_0", "inf", "nan", "."])
def test_what_is_no_number_in_ascii_digits_is_no_number_of_seconds(said: str) -> None:
    assert read_retry_after({"Retry-After": said}, NOW) is None


@given(st.integers(-100_000, 100_000), st.integers(-(10**8), 10**8))
def test_a_date_counts_from_the_answers_own_date_whatever_our_clock_says(wait: int, skew: int) -> None:
    answered_at = NOW + timedelta(seconds=skew)
    headers = {
        "Date": format_datetime(answered_at, usegmt=True),
        "Retry-After": format_datetime(answered_at + timedelta(seconds=wait), usegmt=True),
    }
    assert read_retry_after(headers, NOW) == min(max(wait, 0), 300)


def test_a_date_counts_from_our_clock_where_the_answer_has_none() -> None:
    headers = {"Retry-After": "Mon, 23 Nov 2026 12:00:07 GMT"}
    assert read_retry_after(headers, NOW) == 7
    assert read_retry_after(headers | {"Date": "yesterday"}, NOW) == 7


WORDS = st.text(max_size=40) | st.text("0123456789.:+- ,GMTMonNov", max_size=40)


@given(WORDS, WORDS)
@example("", "")
@example("Mon, 23 Nov 2026 12:00:07 -0000", "Mon, 23 Nov 2026 12:00:07 +0100")
@example("Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 23 Nov 2026 12:00:07 +99999999999999999999", "")
@example("Mon, 23 Nov 99999999999 12:00:07 GMT", "")
@example("1e9", "-1")
@example("nan", "inf")
@example("\N{ARABIC-INDIC DIGIT THREE}", "")
@example("9" * 400, "9" * 400)
def test_any_retry_after_is_read_as_a_time_that_can_be_waited_or_as_none(said: str, date: str) -> None:
    for headers in ({"Retry-After": said, "Date": date}, {"Retry-After": date, "Date": said}, {"Date": said}):
        seconds = read_retry_after(headers, NOW)
        assert seconds is None or (isfinite(seconds) and seconds >= 0)


# -- asking for leave --------------------------------------------------------------------------------------------------

BROKE = AttemptFailure(FailureKind.LOST, "the connection broke")
AT_THE_QUESTION = AttemptFailure(FailureKind.LOST, "the connection broke", unanswered=True)


@pytest.mark.parametrize(
    ("before", "fault", "after"),
    [
        (Asking.NO, BROKE, Asking.AGAIN),
        (Asking.AGAIN, AT_THE_QUESTION, Asking.WITHOUT),
        (Asking.WITHOUT, BROKE, Asking.AGAIN),
        (Asking.NO, AttemptFailure(FailureKind.REDIRECTED, "redirected to a stranger", status=307), Asking.AGAIN),
        (Asking.AGAIN, BROKE, Asking.AGAIN),
        (Asking.FIRST, AttemptFailure(FailureKind.UNREACHABLE, "no connection"), Asking.FIRST),
        (Asking.AGAIN, AttemptFailure(FailureKind.PAUSED, "paused"), Asking.AGAIN),
        (Asking.AGAIN, AttemptFailure(FailureKind.REFUSED, "busy", status=503), Asking.NO),
        (Asking.FIRST, AttemptFailure(FailureKind.STALLED, "no byte moved"), Asking.NO),
    ],
)
def test_whether_the_next_attempt_asks(before: Asking, fault: AttemptFailure, after: Asking) -> None:
    assert next_asking(before, fault) is after


@pytest.mark.parametrize(
    ("fault", "may_be"),
    [
        (BROKE, True),
        (AttemptFailure(FailureKind.LOST, "answered after 0 of 9 bytes", status=200), True),
        (AttemptFailure(FailureKind.REFUSED, "", status=400), True),
        (AttemptFailure(FailureKind.REFUSED, "", status=417, code="ExpectationFailed"), True),
        (AttemptFailure(FailureKind.REFUSED, "", status=403), True),
        (AttemptFailure(FailureKind.REFUSED, "", status=502), True),
        (AttemptFailure(FailureKind.REFUSED, "", status=400, code="InvalidRequest"), False),
        (AttemptFailure(FailureKind.REFUSED, "", status=400, request_id="R"), False),
        (AttemptFailure(FailureKind.REFUSED, "", status=502, retry_after=3), False),
        *((AttemptFailure(FailureKind.REFUSED, "", status=status), False) for status in (200, 302, 408, 429, 503)),
        (AttemptFailure(FailureKind.UNREACHABLE, "no connection"), False),
        (AttemptFailure(FailureKind.UNTRUSTED, "no certificate"), False),
    ],
)
def test_which_failures_may_be_due_to_the_expectation(fault: AttemptFailure, may_be: bool) -> None:
    assert may_be_asking(fault) is may_be


# -- the tries of a call of the API ------------------------------------------------------------------------------------


def test_a_try_without_a_connection_uses_up_no_attempt_within_patience() -> None:
    tries = CallTries(RetryPolicy(attempts=3, base=0, cap=0, patience=10))
    for second in range(10):
        again = tries.fail(FailureKind.UNREACHABLE, None, None, began=second, now=second + 1.0 * (second < 9))
        assert again == Again(1, 0.0, is_patient=True)
    assert tries.fail(FailureKind.UNREACHABLE, None, None, began=9, now=10) == Again(1, 0.0, is_patient=False)
    assert tries.fail(FailureKind.UNREACHABLE, None, None, began=10, now=11) == Again(2, 0.0, is_patient=False)
    assert tries.fail(FailureKind.UNREACHABLE, None, None, began=11, now=12) is None


def test_an_answer_starts_the_patience_anew() -> None:
    tries = CallTries(RetryPolicy(attempts=3, base=0, cap=0, patience=10))
    assert tries.fail(FailureKind.UNREACHABLE, None, None, began=0, now=9) == Again(1, 0.0, is_patient=True)
    assert tries.fail(FailureKind.REFUSED, 503, None, began=9, now=10) == Again(1, 0.0, is_patient=False)
    assert tries.fail(FailureKind.UNREACHABLE, None, None, began=10, now=19) == Again(2, 0.0, is_patient=True)


@pytest.mark.parametrize("kind", [FailureKind.UNTRUSTED, FailureKind.MISCONFIGURED])
def test_what_cannot_heal_is_not_tried_again(kind: FailureKind) -> None:
    assert CallTries(RetryPolicy()).fail(kind, None, None, began=0, now=1) is None


def test_one_attempt_is_one_attempt_and_still_waits_for_a_connection() -> None:
    tries = CallTries(RetryPolicy(attempts=1))
    assert tries.fail(FailureKind.UNREACHABLE, None, None, began=0, now=1) is not None
    assert tries.fail(FailureKind.LOST, None, None, began=1, now=2) is None
