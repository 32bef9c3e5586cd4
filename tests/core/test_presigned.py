"""The expiry of links is read from them, compared with the service's clock, and predicted from the rate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioframeio_upload._core.presigned import (
    MARGIN,
    REPLANS,
    Arrivals,
    LinkLifetime,
    Links,
    Now,
    ServiceClock,
    is_hopeless,
    link_lifetime,
    why_not_replaced,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WEEK = 7 * 24 * 3600
AGES = st.floats(-WEEK, 2 * WEEK)


def link(signed_at: datetime, seconds: int) -> str:
    return (
        "https://bucket.s3.amazonaws.com/part?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Date={signed_at:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}&X-Amz-Signature=00"
    )


def life_of(seconds: float) -> LinkLifetime:
    return LinkLifetime(NOW, NOW + timedelta(seconds=seconds))


# -- what links tell ---------------------------------------------------------------------------------------------------


@given(st.integers(1, WEEK))
def test_the_signing_time_and_the_expiry_are_read_from_a_link(seconds: int) -> None:
    assert link_lifetime([link(NOW, seconds)]) == life_of(seconds)


@given(st.lists(st.tuples(st.integers(0, WEEK), st.integers(1, WEEK)), min_size=1, max_size=10))
def test_of_many_links_the_first_that_dies_counts(told: list[tuple[int, int]]) -> None:
    found = link_lifetime([link(NOW + timedelta(seconds=age), seconds) for age, seconds in told] + ["https://no.date/"])
    assert found is not None
    assert found.expires_at == NOW + timedelta(seconds=min(age + seconds for age, seconds in told))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://bucket/part",
        "https://bucket/part?X-Amz-Date=20261123T120000Z",
        "https://bucket/part?X-Amz-Expires=60",
        "https://bucket/part?X-Amz-Date=20261123T120000Z&X-Amz-Expires=6\u0660",
        "https://bucket/part?X-Amz-Date=2026112\u0663T120000Z&X-Amz-Expires=60",
        "https://bucket/part?X-Amz-Date=20261323T120000Z&X-Amz-Expires=60",
        "https://bucket/part?X-Amz-Date=20261123T120000Z&X-Amz-Expires=9999999999",
        "https://bucket/part?X-Amz-Date=99991231T235959Z&X-Amz-Expires=60",
        "https://bucket/part?x-X-Amz-Date=20261123T120000Z&X-Amz-Expires=60",
        "https://bucket/part?X-Amz-Date=20261123T120000Z0&X-Amz-Expires=60",
    ],
)
def test_a_link_that_does_not_tell_has_no_lifetime(url: str) -> None:
    assert link_lifetime([url]) is None


@given(st.lists(st.text(max_size=60) | st.from_regex(r"\?X-Amz-Date=\d{8}T\d{6}Z&X-Amz-Expires=\d{1,12}"), max_size=5))
def test_any_text_is_read_as_links_without_an_error(urls: list[str]) -> None:
    found = link_lifetime(urls)
    assert found is None or found.expires_at >= found.signed_at


# -- what may be begun -------------------------------------------------------------------------------------------------

SKEWS = st.none() | st.floats(-400 * 86400, 400 * 86400)


def links_of(seconds: float | None, *, own: bool = True, received_at: datetime | None = NOW) -> Links:
    """Return links with this lifetime, received at 1000 by our clock."""
    return Links(None if seconds is None else life_of(seconds), 1000.0, received_at, is_own=own)


def after(seconds: float, service: float | None = None) -> Now:
    """Return the time this long after they were received, by our clock and by the service's."""
    told = seconds if service is None else service
    return Now(1000.0 + seconds, NOW + timedelta(seconds=told))


@pytest.mark.parametrize("own", [True, False])
def test_a_minute_must_be_left_when_a_part_begins(own: bool) -> None:
    links = links_of(3600, own=own)
    assert timedelta(seconds=60) == MARGIN
    assert links.may_begin(after(3600 - 61))
    assert not links.may_begin(after(3600 - 60))
    assert not links.may_begin(after(86400))


def test_of_a_life_of_less_than_two_minutes_half_may_be_used() -> None:
    links = links_of(60)
    assert links.may_begin(after(29))
    assert not links.may_begin(after(30))


@given(st.floats(1, WEEK), SKEWS, SKEWS, st.booleans())
def test_links_received_a_moment_ago_may_be_tried_with_any_wall_clock(
    seconds: float, at_first: float | None, later: float | None, stamped: bool
) -> None:
    first, second = (None if skew is None else NOW + timedelta(seconds=skew) for skew in (at_first, later))
    life = LinkLifetime(NOW - timedelta(days=400), NOW - timedelta(days=400) + timedelta(seconds=seconds))
    links = Links(life if stamped else None, 1000.0, first, is_own=True)
    assert links.may_begin(Now(1000.0 + min(60, seconds / 2) * 0.99, second))


@given(st.floats(1, WEEK), st.floats(0, 2 * WEEK))
def test_one_wrong_date_does_not_end_links_that_this_process_received(seconds: float, age: float) -> None:
    links = links_of(seconds)
    assert (
        links.may_begin(after(age)) == links.may_begin(after(age, 400 * 86400.0)) == links.may_begin(after(age, -1.0))
    )


@given(st.floats(1, WEEK), st.integers(-10_000, 10_000), st.booleans())
def test_without_the_services_time_links_from_elsewhere_are_tried(seconds: float, days: int, told: bool) -> None:
    """With any local date: it is not an argument."""
    life = LinkLifetime(NOW + timedelta(days=days), NOW + timedelta(days=days, seconds=seconds))
    links = Links(life, 1000.0, NOW if told else None, is_own=False)
    assert links.may_begin(Now(1000.0, None))
    assert links.may_begin(Now(1000.0, NOW if told else NOW + timedelta(days=400)))


def test_the_age_of_links_from_elsewhere_is_measured_on_the_services_clock_alone() -> None:
    """The signer's clock, which is a year off, is not compared with it."""
    year = timedelta(days=365)
    links = Links(LinkLifetime(NOW - year, NOW - year + timedelta(days=1)), 1000.0, NOW, is_own=False)
    assert links.may_begin(after(1, 80_000.0))
    assert not links.may_begin(after(1, 86_400.0))


def test_links_that_do_not_tell_may_always_be_tried() -> None:
    assert links_of(None).may_begin(after(WEEK))
    assert links_of(None).left(after(1)) is None


@given(st.lists(st.tuples(st.text("abcdef", min_size=1, max_size=2), st.floats(0, 30)), max_size=40))
def test_what_arrived_within_the_last_minute_is_known_and_older_plans_are_forgotten(
    steps: list[tuple[str, float]],
) -> None:
    arrivals, now, seen = Arrivals(), 0.0, {}
    for file_id, pause in steps:
        now += pause
        if file_id not in seen:  # ids are the service's: no file is created twice
            arrivals.note(file_id, now)
            seen[file_id] = now
    for file_id, at in seen.items():
        if now - at < 60:
            assert arrivals.find(file_id) == at
    assert arrivals.find("never") is None
    arrivals.note("last", now + 61)
    assert all(arrivals.find(file_id) is None for file_id in seen)


# -- whether new ones would help ---------------------------------------------------------------------------------------


def why(links: Links, now: Now, *, replaced: int = 0, has_sent: bool = False, rate: float = 0.0) -> str | None:
    return why_not_replaced(links, now, replaced=replaced, has_sent=has_sent, size=10**9, rate=rate)


@given(st.none() | st.integers(1, WEEK), st.booleans(), st.floats(0, 2 * WEEK), SKEWS, st.booleans())
def test_an_upload_gets_new_links_a_few_times_at_most(
    seconds: int | None, own: bool, age: float, skew: float | None, has_sent: bool
) -> None:
    links, now = links_of(seconds, own=own), Now(1000.0 + age, None if skew is None else NOW + timedelta(seconds=skew))
    assert REPLANS == 3
    assert why(links, now, replaced=REPLANS, has_sent=has_sent) == (
        "this upload's links have expired 4 times: use a faster connection, or send smaller files"
    )


@given(st.none() | st.integers(1, WEEK), SKEWS.filter(lambda skew: skew is None or skew < 0.4))
def test_links_that_s3_refuses_as_soon_as_they_came_are_not_asked_for_again(
    seconds: int | None, skew: float | None
) -> None:
    now = Now(1000.4, None if skew is None else NOW + timedelta(seconds=skew))
    assert "just issued" in (why(links_of(seconds), now) or "")


def test_links_that_are_old_by_either_clock_are_replaced() -> None:
    for seconds in (None, 86400):
        assert why(links_of(seconds), after(60)) is None
        assert why(links_of(seconds), after(1, 86400.0)) is None, "the machine slept, and its clock stood still"
        assert why(links_of(seconds, own=False), after(0)) is None, "they came from elsewhere, so nobody knows how old"


def test_links_that_do_not_tell_their_life_may_be_short_lived_where_s3_took_one() -> None:
    assert why(links_of(None), after(1), has_sent=True) is None
    assert "just issued" in (why(links_of(86400), after(1), has_sent=True) or "")


def test_links_that_die_before_their_time_are_no_use_for_a_file_that_takes_longer() -> None:
    """As with credentials that expire sooner (`ExpiredToken`): after 600 s, while the file needs 1000 s."""
    assert "takes longer" in (why(links_of(86400), after(600), has_sent=True, rate=1e6) or "")
    assert "takes longer" in (why(links_of(None), after(600), has_sent=True, rate=1e6) or "")
    assert why(links_of(86400), after(600), has_sent=True, rate=2e6) is None
    assert why(links_of(86400, own=False), after(600), has_sent=True, rate=1e6) is None


# -- what can be foreseen ----------------------------------------------------------------------------------------------


def test_a_file_that_is_longer_under_way_than_links_live_is_hopeless() -> None:
    assert not is_hopeless(86400 * 1000, 1000, 86400)
    assert is_hopeless(86400 * 1000 + 1, 1000, 86400)
    assert "takes longer" in (why(links_of(1000), after(1000, 1000.0), rate=1e6) or "")


@given(st.integers(1, 10**13), st.floats(0, 1e6))
def test_nothing_is_hopeless_before_a_byte_has_moved(size: int, seconds: float) -> None:
    assert not is_hopeless(size, 0.0, seconds)


@given(st.integers(1, 10**13), st.floats(1e-3, 1e12), st.floats(1, WEEK))
def test_a_faster_link_is_never_less_hopeful(size: int, rate: float, seconds: float) -> None:
    if not is_hopeless(size, rate, seconds):
        assert not is_hopeless(size, rate * 2, seconds)


# -- whose clock -------------------------------------------------------------------------------------------------------

INSTANTS = st.integers(-30 * 365, 170 * 365).map(lambda days: NOW + timedelta(days=days, seconds=days % 86400))
MONOTONIC = st.floats(0, 1e8)


@given(INSTANTS, MONOTONIC, st.floats(0, 1e6))
def test_the_services_time_goes_on_from_what_it_said(told: datetime, monotonic: float, later: float) -> None:
    clock = ServiceClock()
    clock.observe(format_datetime(told, usegmt=True), monotonic)
    now = clock.now(monotonic + later)
    assert now is not None
    assert (now - told.replace(microsecond=0)).total_seconds() == pytest.approx(later, abs=1e-3)


@given(MONOTONIC)
def test_the_services_time_is_unknown_before_its_first_answer(monotonic: float) -> None:
    assert ServiceClock().now(monotonic) is None


@given(st.text(max_size=40) | st.text("0123456789:+- ,GMTMonNov", max_size=40), st.floats(0, 1e6))
@example("", 0.0)
@example("Mon, 23 Nov 2026 12:00:07 -0000", 0.0)
@example("Mon, 23 Nov 2026 12:00:07 +99999999999999999999", 0.0)
@example("Mon, 23 Nov 99999999999 12:00:07 GMT", 0.0)
@example("Fri, 31 Dec 9999 23:59:59 GMT", 1e6)
@example("Fri, 31 Dec 9999 23:59:59 -2359", 1e6)
@example("Mon, 01 Jan 0001 00:00:00 +2359", 0.0)
def test_any_date_header_leads_to_a_time_that_can_be_compared(date: str, later: float) -> None:
    clock = ServiceClock()
    clock.observe(date, 0.0)
    assert isinstance(links_of(60).spent(Now(later, clock.now(later))), float)


def test_an_invalid_date_does_not_replace_a_valid_one() -> None:
    clock = ServiceClock()
    clock.observe(format_datetime(NOW, usegmt=True), 10.0)
    clock.observe("yesterday", 11.0)
    assert clock.now(12.0) == NOW + timedelta(seconds=2)
