"""When links die: read from the links, told by the service's clock, and foreseen from the rate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioframeio_upload._core.expiry import MARGIN, Lifetime, ServiceClock, is_hopeless, lifetime

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WEEK = 7 * 24 * 3600
AGES = st.floats(-WEEK, 2 * WEEK)


def link(signed_at: datetime, seconds: int) -> str:
    return (
        "https://bucket.s3.amazonaws.com/part?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Date={signed_at:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}&X-Amz-Signature=00"
    )


def life_of(seconds: float) -> Lifetime:
    return Lifetime(NOW, NOW + timedelta(seconds=seconds))


# -- what links tell ---------------------------------------------------------------------------------------------------


@given(st.integers(1, WEEK))
def test_a_link_tells_when_it_was_signed_and_when_it_dies(seconds: int) -> None:
    assert lifetime([link(NOW, seconds)]) == life_of(seconds)


@given(st.lists(st.tuples(st.integers(0, WEEK), st.integers(1, WEEK)), min_size=1, max_size=10))
def test_of_many_links_the_first_that_dies_counts(told: list[tuple[int, int]]) -> None:
    found = lifetime([link(NOW + timedelta(seconds=age), seconds) for age, seconds in told] + ["https://no.date/"])
    assert found is not None
    assert found.expires_at == NOW + timedelta(seconds=min(age + seconds for age, seconds in told))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://bucket/part",
        "https://bucket/part?X-Amz-Date=20261123T120000Z",
        "https://bucket/part?X-Amz-Expires=60",
        "https://bucket/part?X-Amz-Date=20261323T120000Z&X-Amz-Expires=60",
        "https://bucket/part?X-Amz-Date=20261123T120000Z&X-Amz-Expires=9999999999",
        "https://bucket/part?X-Amz-Date=99991231T235959Z&X-Amz-Expires=60",
        "https://bucket/part?x-X-Amz-Date=20261123T120000Z&X-Amz-Expires=60",
        "https://bucket/part?X-Amz-Date=20261123T120000Z0&X-Amz-Expires=60",
    ],
)
def test_a_link_that_does_not_tell_has_no_lifetime(url: str) -> None:
    assert lifetime([url]) is None


@given(st.lists(st.text(max_size=60) | st.from_regex(r"\?X-Amz-Date=\d{8}T\d{6}Z&X-Amz-Expires=\d{1,12}"), max_size=5))
def test_whatever_links_look_like_they_are_read_without_an_error(urls: list[str]) -> None:
    found = lifetime(urls)
    assert found is None or found.expires_at >= found.signed_at


# -- what may be begun -------------------------------------------------------------------------------------------------


def test_a_minute_must_be_left_when_a_part_begins() -> None:
    life = life_of(3600)
    assert timedelta(seconds=60) == MARGIN
    assert life.is_good(life.expires_at - timedelta(seconds=61))
    assert not life.is_good(life.expires_at - timedelta(seconds=60))
    assert not life.is_good(life.expires_at + timedelta(days=1))


def test_of_a_life_of_less_than_two_minutes_half_may_be_used() -> None:
    life = life_of(60)
    assert life.is_good(NOW + timedelta(seconds=29))
    assert not life.is_good(NOW + timedelta(seconds=30))


@given(st.floats(1, WEEK), AGES)
def test_a_link_is_good_just_issued_and_never_when_it_is_dead(seconds: float, age: float) -> None:
    life, now = life_of(seconds), NOW + timedelta(seconds=age)
    assert life.is_good(NOW)
    assert 0 <= life.margin <= 60
    assert life.margin <= life.seconds / 2
    if life.is_good(now):
        assert now < life.expires_at
    if age >= 0 and not life.is_good(now):
        assert not life.is_fresh(now), "or new links would not be asked for although those are of no use"


@given(st.floats(1, WEEK), AGES)
def test_links_are_fresh_for_a_minute_at_most(seconds: float, age: float) -> None:
    life, now = life_of(seconds), NOW + timedelta(seconds=age)
    assert life.is_fresh(now) == (timedelta(seconds=age).total_seconds() < life.margin)


# -- what can be foreseen ----------------------------------------------------------------------------------------------


def test_a_file_that_is_longer_under_way_than_links_live_is_hopeless() -> None:
    day = life_of(86400)
    usable = 86400 - 60
    assert not is_hopeless(usable * 1000, 1000, day)
    assert is_hopeless(usable * 1000 + 1, 1000, day)


@given(st.integers(1, 10**13), st.floats(0, 1e12))
def test_nothing_is_hopeless_before_a_byte_has_moved_or_where_links_tell_no_end(size: int, rate: float) -> None:
    assert not is_hopeless(size, 0.0, life_of(1))
    assert not is_hopeless(size, rate, None)


@given(st.integers(1, 10**13), st.floats(1e-3, 1e12), st.floats(1, WEEK))
def test_a_faster_link_is_never_less_hopeful(size: int, rate: float, seconds: float) -> None:
    if not is_hopeless(size, rate, life_of(seconds)):
        assert not is_hopeless(size, rate * 2, life_of(seconds))


# -- whose clock -------------------------------------------------------------------------------------------------------

INSTANTS = st.integers(-30 * 365, 170 * 365).map(lambda days: NOW + timedelta(days=days, seconds=days % 86400))
MONOTONIC = st.floats(0, 1e8)


@given(INSTANTS, INSTANTS, MONOTONIC, st.floats(0, 1e6))
def test_the_services_time_goes_on_from_what_it_said_whatever_our_own_clock_tells(
    told: datetime, local: datetime, monotonic: float, later: float
) -> None:
    clock = ServiceClock()
    clock.observe(format_datetime(told, usegmt=True), monotonic)
    passed = clock.now(monotonic + later, local) - told.replace(microsecond=0)
    assert passed.total_seconds() == pytest.approx(later, abs=1e-3)


@given(INSTANTS, MONOTONIC)
def test_before_the_service_has_told_any_our_own_clock_counts(local: datetime, monotonic: float) -> None:
    assert ServiceClock().now(monotonic, local) == local


@given(st.text(max_size=40) | st.text("0123456789:+- ,GMTMonNov", max_size=40), st.floats(0, 1e6))
@example("", 0.0)
@example("Mon, 23 Nov 2026 12:00:07 -0000", 0.0)
@example("Mon, 23 Nov 2026 12:00:07 +99999999999999999999", 0.0)
@example("Mon, 23 Nov 99999999999 12:00:07 GMT", 0.0)
@example("Fri, 31 Dec 9999 23:59:59 GMT", 1e6)
@example("Fri, 31 Dec 9999 23:59:59 -2359", 1e6)
@example("Mon, 01 Jan 0001 00:00:00 +2359", 0.0)
def test_whatever_stands_in_date_there_is_a_time_that_can_be_compared(date: str, later: float) -> None:
    clock = ServiceClock()
    clock.observe(date, 0.0)
    assert isinstance(life_of(60).left(clock.now(later, NOW)), float)


def test_a_date_that_is_none_does_not_replace_one_that_was() -> None:
    clock = ServiceClock()
    clock.observe(format_datetime(NOW, usegmt=True), 10.0)
    clock.observe("yesterday", 11.0)
    assert clock.now(12.0, datetime(1999, 1, 1, tzinfo=UTC)) == NOW + timedelta(seconds=2)
