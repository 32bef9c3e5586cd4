"""A part in flight is a straggler if another connection would send it much sooner, and never if all are slow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.stragglers import LATE_ANSWER, LEAST_SPAN, SPACING, Flight, Stragglers

MB = 10**6


class Clock:
    """Moves parts in flight at given rates."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stragglers = Stragglers()
        self.flights: list[Flight] = []

    def begin(self, *sizes: int) -> list[Flight]:
        begun = [Flight(size, self.now) for size in sizes]
        self.flights += begun
        return begun

    def complete(self, *flights: Flight) -> None:
        for flight in flights:
            self.stragglers.completed(flight, self.now)
            self.flights.remove(flight)

    def run(self, seconds: float, *rates: float, is_idle: bool = False) -> None:
        for _ in range(round(seconds / SPACING)):
            self.now += SPACING
            for flight, rate in zip(self.flights, rates, strict=True):
                flight.moved = min(flight.size, flight.moved + int(rate * SPACING))
                flight.is_sent = flight.moved == flight.size
            self.stragglers.look(self.now, self.flights, is_idle=is_idle)

    def found(self) -> list[bool]:
        return [flight.is_straggler for flight in self.flights]


def test_one_connection_at_a_hundredth_of_the_others_speed_is_found_after_seconds() -> None:
    clock = Clock()
    clock.begin(*[100 * MB] * 8)
    clock.run(LEAST_SPAN - SPACING, *[3e6] * 7, 3e4)
    assert not any(clock.found())
    clock.run(2 * SPACING, *[3e6] * 7, 3e4)
    assert clock.found() == [False] * 7 + [True]


@given(st.floats(0, 1e8), st.integers(1, 64), st.booleans())
def test_where_all_are_equally_slow_none_is(rate: float, count: int, is_idle: bool) -> None:
    clock = Clock()
    clock.begin(*[10**12] * count)
    clock.run(5, *[rate] * count, is_idle=is_idle)
    assert not any(clock.found())


def test_a_link_that_becomes_slow_for_all_makes_no_stragglers_although_parts_were_fast_before() -> None:
    clock = Clock()
    before = clock.begin(*[10 * MB] * 4)
    clock.run(2, *[5e6] * 4)
    clock.complete(*before)
    clock.begin(*[100 * MB] * 4)
    clock.run(10, *[2e4] * 4)
    assert not any(clock.found())


def test_the_last_part_is_compared_with_those_that_were_completed() -> None:
    clock = Clock()
    before = clock.begin(*[10 * MB] * 4)
    clock.run(4, *[2.5e6] * 4)
    clock.complete(*before)
    clock.begin(10 * MB)
    clock.run(3, 3e4, is_idle=True)
    assert clock.found() == [True]


def test_of_two_parts_the_slow_one_is_found() -> None:
    clock = Clock()
    clock.begin(100 * MB, 100 * MB)
    clock.run(3, 5e6, 1e4)
    assert clock.found() == [False, True]


def test_several_slow_connections_are_found_beside_fast_ones_and_stay_so_when_only_they_are_left() -> None:
    clock = Clock()
    flights = clock.begin(*[100 * MB] * 3, *[10 * MB] * 5)
    clock.run(3, *[2e4] * 3, *[3e6] * 5)
    assert clock.found() == [True] * 3 + [False] * 5
    clock.complete(*flights[3:])
    clock.run(3, *[2e4] * 3)
    assert clock.found() == [True] * 3


@pytest.mark.parametrize("slow", [1, 2, 3, 5, 8])
def test_slow_connections_are_found_however_many_are_left_at_the_end(slow: int) -> None:
    clock = Clock()
    left = clock.begin(*[16 * MB] * slow)
    fast = clock.begin(*[16 * MB] * 4)
    clock.run(SPACING, *[4e4] * slow, *[32e6] * 4)  # before any rate is known
    clock.complete(*fast)
    clock.run(LEAST_SPAN + 1, *[4e4] * slow, is_idle=True)
    assert clock.found() == [True] * slow
    assert clock.flights == left


def test_a_link_that_becomes_slow_for_all_makes_no_stragglers_of_parts_that_were_fast_on_it() -> None:
    clock = Clock()
    soon = clock.begin(*[20 * MB] * 4)
    clock.begin(*[100 * MB] * 4)
    clock.run(4, *[5e6] * 8)
    clock.complete(*soon)
    for _ in range(20):
        clock.run(1, *[2e5] * 4, is_idle=True)
        assert not any(clock.found())


def test_a_third_of_the_others_rate_is_ordinary_while_slots_are_taken_and_a_fifth_counts_where_they_are_free() -> None:
    for is_idle, rate, found in ((False, 6e5, False), (True, 6e5, True), (True, 1e6, False)):
        clock = Clock()
        clock.begin(*[100 * MB] * 4)
        clock.run(4, *[3e6] * 3, rate, is_idle=is_idle)
        assert clock.found()[-1] is found, (is_idle, rate)


def test_a_slow_part_that_is_nearly_done_is_left_alone() -> None:
    clock = Clock()
    *_, last = clock.begin(*[10 * MB] * 4)
    last.moved = 10 * MB - 200_000
    clock.run(3, *[2e6] * 3, 5e4)
    assert not last.is_straggler


def test_what_a_pause_holds_is_no_straggler_and_begins_anew_afterwards() -> None:
    clock = Clock()
    *_, last = clock.begin(*[100 * MB] * 4)
    last.is_held = True
    clock.run(10, *[3e6] * 3, 0)
    assert not last.is_straggler
    last.is_held = False
    clock.run(LEAST_SPAN - SPACING, *[3e6] * 3, 0)
    assert not last.is_straggler


def test_blocks_that_come_in_turns_under_a_bandwidth_limit_make_no_stragglers() -> None:
    clock = Clock()
    flights = clock.begin(*[100 * MB] * 8)
    for turn in range(64):
        flights[turn % 8].moved += 1 << 18
        clock.run(SPACING, *[0.0] * 8)
        assert not any(clock.found())


def test_an_answer_is_late_if_the_others_came_soon_and_not_where_a_proxy_delays_all() -> None:
    for usual, found in ((SPACING, True), (20.0, False)):
        clock = Clock()
        flights = clock.begin(*[MB] * 5)
        clock.run(SPACING, *[2e6] * 5)
        clock.run(usual, *[0.0] * 5)
        clock.complete(*flights[:4])
        clock.run(LATE_ANSWER + usual, 0.0)
        assert clock.found() == [found]


def test_a_straggler_that_recovers_is_none_any_more() -> None:
    clock = Clock()
    *_, last = clock.begin(*[10**10] * 4)
    clock.run(3, *[3e6] * 3, 1e4)
    assert last.is_straggler
    clock.run(20, *[3e6] * 4)
    assert not last.is_straggler
