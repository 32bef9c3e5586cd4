"""Test the table of failures against a second list, and the page that is written from it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioframeio_upload import RetryPolicy
from aioframeio_upload._core.backoff import wait_before
from aioframeio_upload._core.failures import (
    FAILURES,
    AttemptFailure,
    FailureKind,
    FailureRule,
    Verdict,
    explain,
    find,
    is_throttle,
    judge,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
AGAIN, NEW_LINKS, GIVE_UP = Verdict.AGAIN, Verdict.NEW_LINKS, Verdict.GIVE_UP


def specimen(row: FailureRule) -> AttemptFailure:
    """Return a failure that has what the row requires, and nothing else."""
    status = row.status[1] if row.status is not None else None
    return AttemptFailure(row.kind, f"S3 says: {row.words}".title() if row.words else "", status=status, code=row.code)


def name_of(row: FailureRule) -> str:
    return " ".join(str(word) for word in (row.kind.value, row.code, row.status, row.words) if word)


@pytest.mark.parametrize("row", FAILURES, ids=name_of)
def test_a_failure_that_looks_as_a_row_says_matches_that_row_and_none_before(row: FailureRule) -> None:
    fault = specimen(row)
    assert find(fault.kind, fault.status, fault.code, fault.reason) is row
    assert judge(fault) is row.verdict


@pytest.mark.parametrize("row", FAILURES, ids=name_of)
def test_every_row_has_a_meaning_and_a_source(row: FailureRule) -> None:
    assert row.meaning.strip()
    assert row.source.strip()
    assert "|" not in row.meaning + row.source, "it would break the table of the page"
    assert row.words is None or row.words == row.words.lower()


# -- what the issue asks for, written down a second time ---------------------------------------------------------------

EXPECTED: list[tuple[FailureKind, int | None, str | None, str, Verdict]] = [
    # resets, disconnects, timeouts, lost or garbled answers, a wrong ETag
    (FailureKind.LOST, None, None, "the connection broke (ECONNRESET)", AGAIN),
    (FailureKind.LOST, None, None, "the server closed the connection without an answer", AGAIN),
    (FailureKind.LOST, None, None, "the answer was not HTTP", AGAIN),
    (FailureKind.LOST, 200, None, "answered after 3 of 9 bytes", AGAIN),
    (FailureKind.REDIRECTED, 307, None, "redirected in a circle", AGAIN),
    (
        FailureKind.REDIRECTED,
        307,
        None,
        "redirected to host.example, which is neither S3 nor the host of the link",
        AGAIN,
    ),
    (FailureKind.STALLED, None, None, "no byte moved for 30 s", AGAIN),
    (FailureKind.UNREACHABLE, None, None, "the name of the host x could not be resolved", AGAIN),
    (FailureKind.UNREACHABLE, None, None, "no connection in time", AGAIN),
    (FailureKind.CRC, 200, None, "S3 acknowledged other bytes than were sent: their CRC64NVME differs", AGAIN),
    (FailureKind.ETAG, 200, None, "S3 acknowledged other bytes than were sent", AGAIN),
    (FailureKind.SLOW, None, None, "slow", AGAIN),
    (FailureKind.PAUSED, None, None, "paused", AGAIN),
    # 408, 429, 5xx, with any document or none
    *(
        (FailureKind.REFUSED, status, code, "", AGAIN)
        for status in (408, 429, 500, 501, 502, 503, 504, 599)
        for code in (None, "ACodeOfTomorrow")
    ),
    (FailureKind.REFUSED, 503, "SlowDown", "Please reduce your request rate.", AGAIN),
    (FailureKind.REFUSED, 400, "SlowDown", "", AGAIN),
    (FailureKind.REFUSED, 503, "ServiceUnavailable", "", AGAIN),
    (FailureKind.REFUSED, 500, "InternalError", "We encountered an internal error", AGAIN),
    (FailureKind.REFUSED, 200, "InternalError", "", AGAIN),
    (FailureKind.REFUSED, 400, "RequestTimeout", "Your socket connection … was not read from", AGAIN),
    (FailureKind.REFUSED, 400, "Throttling", "Rate exceeded", AGAIN),
    (FailureKind.REFUSED, 400, "BadDigest", "", AGAIN),
    (FailureKind.REFUSED, 400, "IncompleteBody", "", AGAIN),
    # new links
    (FailureKind.REFUSED, 403, "AccessDenied", "Request has expired", NEW_LINKS),
    (FailureKind.REFUSED, 400, "AccessDenied", "request has expired", NEW_LINKS),
    (FailureKind.REFUSED, 400, "ExpiredToken", "The provided token has expired.", NEW_LINKS),
    # given up at once
    (FailureKind.REFUSED, 403, "SignatureDoesNotMatch", "The request signature we calculated …", GIVE_UP),
    (FailureKind.REFUSED, 403, "SignatureDoesNotMatch", "Request has expired", GIVE_UP),
    (FailureKind.REFUSED, 403, "AccessDenied", "Access Denied", GIVE_UP),
    (FailureKind.REFUSED, 403, "RequestTimeTooSkewed", "", GIVE_UP),
    (FailureKind.REFUSED, 404, "NoSuchUpload", "", GIVE_UP),
    (FailureKind.REFUSED, 400, "EntityTooLarge", "", GIVE_UP),
    (FailureKind.REFUSED, 400, "EntityTooSmall", "", GIVE_UP),
    *(
        (FailureKind.REFUSED, status, None, "", GIVE_UP)
        for status in (400, 401, 403, 404, 405, 409, 411, 412, 413, 417, 499)
    ),
    (FailureKind.REFUSED, 403, "InvalidAccessKeyId", "", GIVE_UP),
    (FailureKind.REFUSED, 501, "NotImplemented", "A header you provided implies …", GIVE_UP),
    (FailureKind.REFUSED, 301, "PermanentRedirect", "", GIVE_UP),
    *((FailureKind.REFUSED, status, None, "", GIVE_UP) for status in (300, 301, 302, 303, 304, 308)),
    (FailureKind.REFUSED, 400, "ACodeOfTomorrow", "Request has expired", GIVE_UP),
    (FailureKind.UNTRUSTED, None, None, "the server's certificate is not trusted", GIVE_UP),
    (FailureKind.MISCONFIGURED, None, None, "the proxy refused (407)", GIVE_UP),
    (FailureKind.CROWDED, None, None, "no connection of the session's pool was free", Verdict.EXHAUSTED),
]


@pytest.mark.parametrize(
    ("kind", "status", "code", "reason", "verdict"),
    [pytest.param(*row, id=" ".join(str(word) for word in row[:4] if word)[:70]) for row in EXPECTED],
)
def test_what_follows_a_failure(
    kind: FailureKind, status: int | None, code: str | None, reason: str, verdict: Verdict
) -> None:
    assert judge(AttemptFailure(kind, reason, status=status, code=code)) is verdict


def test_the_list_above_knows_every_kind_and_code_of_the_table() -> None:
    assert {kind for kind, *_ in EXPECTED} == set(FailureKind)
    assert {(row.code, row.verdict) for row in FAILURES if row.code} <= {row[2::2] for row in EXPECTED}


STATUSES = st.none() | st.integers(-1, 1000)
CODES = st.none() | st.sampled_from([row.code for row in FAILURES if row.code]) | st.text(max_size=20)
REASONS = st.text(max_size=40) | st.just("Request has expired")


@given(st.sampled_from(FailureKind), STATUSES, CODES, REASONS)
@example(FailureKind.REFUSED, None, None, "")
@example(FailureKind.REFUSED, 0, "", "")
def test_every_failure_matches_a_row_of_its_kind(
    kind: FailureKind, status: int | None, code: str | None, reason: str
) -> None:
    row = find(kind, status, code, reason)
    assert row.kind is kind
    assert row.code in (None, code)


@given(st.integers(400, 499).filter(lambda status: status not in (408, 429)), REASONS)
def test_a_4xx_that_no_row_names_is_never_tried_twice(status: int, reason: str) -> None:
    assert judge(AttemptFailure(FailureKind.REFUSED, reason, status=status)) is GIVE_UP


@given(st.integers(500, 599), REASONS)
def test_a_5xx_that_no_row_names_is_tried_again(status: int, reason: str) -> None:
    assert judge(AttemptFailure(FailureKind.REFUSED, reason, status=status)) is AGAIN


# -- what is said of it ------------------------------------------------------------------------------------------------


def test_a_skewed_clock_is_named_in_the_error() -> None:
    said = explain(
        AttemptFailure(FailureKind.REFUSED, "The difference is too large.", status=403, code="RequestTimeTooSkewed")
    )
    assert said.startswith("The difference is too large.")
    assert "clock" in said
    assert "differ" in said


def test_a_failure_without_a_code_has_only_the_servers_own_words() -> None:
    assert explain(AttemptFailure(FailureKind.REFUSED, "Teapot.", status=418)) == "Teapot."


@pytest.mark.parametrize(
    ("status", "code", "throttles"),
    [
        (503, "SlowDown", True),
        (503, None, True),
        (503, "ServiceUnavailable", True),
        (400, "Throttling", True),
        (200, "SlowDown", True),
        (500, "InternalError", False),
        (429, None, False),
        (None, None, False),
    ],
)
def test_slots_are_given_up_where_s3_asks_for_fewer_requests(
    status: int | None, code: str | None, throttles: bool
) -> None:
    assert is_throttle(AttemptFailure(FailureKind.REFUSED, "", status=status, code=code)) is throttles


@given(st.integers(1, 100), st.floats(0, 300))
def test_what_the_server_asks_for_wins_over_the_jitter(attempt: int, asked: float) -> None:
    assert wait_before(RetryPolicy(), attempt, asked, jitter=lambda _: -1) == asked


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_faults", DOCS / "make_faults.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.needs_tree
def test_the_page_is_what_the_table_says(script: ModuleType) -> None:
    """`python docs/make_faults.py` writes it."""
    assert (DOCS / "faults.md").read_text(encoding="utf-8") == script.page()


@pytest.mark.needs_tree
def test_the_page_has_a_line_for_each_row_and_no_two_look_alike(script: ModuleType) -> None:
    lines = [line for line in script.page().splitlines() if line.startswith("| ")][2:]
    assert len(lines) == len(FAILURES)
    assert len({line.split(" | ")[0] for line in lines}) == len(FAILURES)
    for row, line in zip(FAILURES, lines, strict=True):
        assert line.endswith(f" | {row.verdict.value} | {row.source} |")
