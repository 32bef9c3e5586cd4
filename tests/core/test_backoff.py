"""Test the delays between attempts, `Retry-After`, `Expect: 100-continue`, and how S3's error answers are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from aioframeio_upload._core.checksums import CHECKSUM
from aioframeio_upload._core.failures import AttemptFailure, FailureKind, Verdict, judge
from aioframeio_upload._core.s3_errors import read_refusal
from tests.support.strategies import FINITE, SECRET

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


@given(st.integers(0, 10**9 - 1))
def test_a_number_of_seconds_is_read(seconds: int) -> None:
    assert read_retry_after({"Retry-After": f" {seconds} "}, NOW) == seconds


@given(st.integers(-100_000, 100_000), st.integers(-(10**8), 10**8))
def test_a_date_counts_from_the_answers_own_date_whatever_our_clock_says(wait: int, skew: int) -> None:
    answered_at = NOW + timedelta(seconds=skew)
    headers = {
        "Date": format_datetime(answered_at, usegmt=True),
        "Retry-After": format_datetime(answered_at + timedelta(seconds=wait), usegmt=True),
    }
    assert read_retry_after(headers, NOW) == max(wait, 0)


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


# -- S3's refusals ---------------------------------------------------------------------------------------------------

XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match</Message>
<AWSAccessKeyId>AK</AWSAccessKeyId><RequestId>R1</RequestId><HostId>h</HostId></Error>"""


def test_a_refusals_code_message_and_request_are_read() -> None:
    fault = read_refusal(403, {"Retry-After": "3"}, XML, NOW)
    assert fault == AttemptFailure(
        FailureKind.REFUSED,
        "The request signature we calculated does not match",
        status=403,
        code="SignatureDoesNotMatch",
        request_id="R1",
        retry_after=3,
    )


def test_the_request_in_the_headers_comes_before_the_one_in_the_body() -> None:
    assert read_refusal(403, {"x-amz-request-id": "R2"}, XML, NOW).request_id == "R2"


def test_a_refusal_without_a_body_still_has_words() -> None:
    assert read_refusal(403, {}, b"", NOW) == AttemptFailure(FailureKind.REFUSED, "no reason was given", status=403)


ELEMENTS = st.sampled_from([b"<Code>", b"</Code>", b"<Message>", b"</Message>", b"<RequestId>", b"</RequestId>"])
PIECES = st.lists(ELEMENTS | st.binary(max_size=20), max_size=12).map(b"".join)


@given(
    st.integers(100, 999),
    st.dictionaries(st.sampled_from(["Retry-After", "Date", "x-amz-request-id", "X-Other"]), WORDS),
    st.binary() | PIECES,
)
@example(403, {"x-amz-request-id": "r" * 10_000}, b"<Code>" + b"A" * 10_000 + b"</Code><Message>" + b"\xff" * 10_000)
def test_any_answer_is_read_as_a_refusal_of_bounded_length(
    status: int, headers: Mapping[str, str], body: bytes
) -> None:
    fault = read_refusal(status, headers, body, NOW)
    assert (fault.kind, fault.status) == (FailureKind.REFUSED, status)
    assert fault.reason.strip()
    assert len(fault.reason) <= 300
    assert len(fault.code or "") <= 80
    assert len(fault.request_id or "") <= 120
    assert judge(fault) in Verdict


VALUES = st.text("abcdefXYZ019._~-%", max_size=12)
SIGNED_PARAMETERS = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    f"X-Amz-Credential={SECRET}%2F20261123%2Feu-west-1%2Fs3%2Faws4_request",
    "X-Amz-Date=20261123T120000Z",
    "X-Amz-Expires=86400",
    f"X-Amz-Security-Token={SECRET}%2B",
    "X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-acl",
    f"X-Amz-Signature={SECRET}",
    "x-id=PutObject",
)


@st.composite
def presigned_links(draw: st.DrawFn) -> str:
    """Draw a part's link as S3 signs them, its parameters in any order."""
    parameters = draw(st.permutations([*SIGNED_PARAMETERS, f"x-amz-meta-name={draw(VALUES)}"]))
    return f"https://bucket.s3.eu-west-1.amazonaws.com/parts/{draw(VALUES)}?{'&'.join(parameters)}"


QUOTED: dict[str, Callable[[str], str]] = {
    "as it is": lambda url: url,
    "in quotes": lambda url: f'"{url}"',
    "escaped for XML": lambda url: url.replace("&", "&amp;"),
    "its target only": lambda url: "/" + url.split("/", 3)[3],
    "its target, escaped": lambda url: "/" + url.split("/", 3)[3].replace("&", "&amp;"),
    "its query only": lambda url: url.partition("?")[2],
    "its query, escaped": lambda url: url.partition("?")[2].replace("&", "&amp;"),
    "a line for each parameter": lambda url: url.partition("?")[2].replace("&", "\n"),
}


@pytest.mark.parametrize("quote", [pytest.param(quote, id=name) for name, quote in QUOTED.items()])
@given(presigned_links(), st.text(st.characters(codec="ascii", exclude_characters="<"), max_size=20))
def test_a_refusal_that_quotes_the_request_shows_nothing_of_its_secrets(
    quote: Callable[[str], str], url: str, before: str
) -> None:
    body = f"<Error><Code>X</Code><Message>{before} {quote(url)} did not match</Message></Error>".encode()
    fault = read_refusal(403, {}, body, NOW)
    assert SECRET[:6] not in repr(fault)


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


# -- ETags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("etag", "can_be"),
    [
        ("d41d8cd98f00b204e9800998ecf8427e", True),
        ("D41D8CD98F00B204E9800998ECF8427E", True),
        ("d41d8cd98f00b204e9800998ecf8427e-2", False),
        ("d41d8cd98f00b204e9800998ecf8427e\n", False),
        ("d41d8cd98f00b204e9800998ecf8427", False),
        ("g41d8cd98f00b204e9800998ecf8427e", False),
        ("", False),
        (None, False),
    ],
)
def test_an_etag_can_be_an_md5_only_with_its_32_hex_digits(etag: str | None, can_be: bool) -> None:
    assert CHECKSUM.is_digest(etag) is can_be


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
