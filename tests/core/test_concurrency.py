"""The number of parts in flight finds what the link bears; links are simulated (`tests/support/link_model.py`)."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioframeio_upload._core.concurrency import AGAIN, FIRST, FORGOTTEN, QUIET, ROUND_TRIPS, Concurrency, Sample
from tests.support.control_laws import MB, Searching
from tests.support.link_model import Law, Link, Run, simulate

SEEDS = (1, 2)


def run(link: Link, size: int, count: int, *, until: float = float("inf"), seed: int = 1) -> Run:
    return simulate(link, Searching(), [size] * count, until=until, seed=seed)


# -- always ------------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.floats(0, 3),
        st.integers(0, 10**8),
        st.integers(0, 80),
        st.integers(0, 3),
        st.integers(0, 2 * 10**9),
        st.floats(0, 1),
        st.sampled_from(["", "", "", "refused", "lost", "completed"]),
    ),
    max_size=80,
)


@given(st.integers(1, 64), st.booleans(), STEPS)
def test_whatever_happens_there_is_a_slot_and_never_more_than_the_limit(
    limit: int, adaptive: bool, steps: list[tuple[float, int, int, int, int, float, str]]
) -> None:
    control, now, moved = Concurrency(limit, adaptive), 1000.0, 0
    for passed, more, in_flight, waiting, size, trip, happening in steps:
        now, moved = now + passed, moved + more
        control.observe(Sample(now, moved, in_flight, waiting, size, trip))
        assert 1 <= control.slots + control.spare <= limit
        before = control.slots
        if happening == "refused":
            assert control.refused(now, now, in_flight) <= before
        elif happening == "lost":
            assert control.lost(now, now, in_flight) <= before
        elif happening == "completed":
            control.completed()
        assert 1 <= control.slots <= limit
        assert control.reason in ("growing", "holding", "backing off")


@settings(max_examples=15, deadline=None)
@given(
    st.floats(5e5, 1e8),
    st.floats(0.005, 0.3),
    st.sampled_from([0.0, 0.0, 1e-4, 1e-3, 1e-2]),
    st.integers(1, 30),
    st.sampled_from([10**5, 4 * MB, 20 * MB, 1900 * MB]),
)
def test_on_any_link_bytes_move_and_the_number_stays_within_its_bounds(
    rate: float, trip: float, loss: float, most: int, size: int
) -> None:
    link = Link(rate=rate, round_trip=trip, loss=loss, most=most)
    law = Searching(24)
    found = simulate(link, law, [size] * 10**4, until=20)
    assert found.moments[-1].moved > 0
    assert all(1 <= moment.slots <= 24 for moment in found.moments)


# -- a link ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "size", "best", "within"),
    [
        (Link(), 4 * MB, 4, 1.1),
        (Link(), 20 * MB, 4, 1.1),
        (Link(loss=0.001), 4 * MB, 32, 1.25),
        (Link(loss=0.001), 20 * MB, 32, 1.35),
        (Link(round_trip=0.15), 4 * MB, 8, 1.1),
        (Link(round_trip=0.15), 20 * MB, 8, 1.15),
        (Link(round_trip=0.15, loss=0.001), 4 * MB, 64, 1.25),
        (Link(round_trip=0.15, loss=0.001), 20 * MB, 64, 1.5),
        (Link(per_connection=1.5e6), 20 * MB, 16, 1.25),
        (Link(rate=1e9, round_trip=0.0002, answer=0.001, step=0.01), 32 * MB, 8, 1.2),
    ],
)
@pytest.mark.parametrize("tells", [True, False])
def test_a_file_takes_little_longer_than_with_the_best_fixed_number(
    link: Link, size: int, best: int, within: float, tells: bool
) -> None:
    link, count = replace(link, tells=tells), 600 * MB // size
    fixed = simulate(link, Law(best), [size] * count).seconds
    assert run(link, size, count).seconds <= within * fixed + (0 if tells else 8)


def test_a_link_that_loses_packets_gets_twice_the_rate_of_eight_connections() -> None:
    link = Link(round_trip=0.15, loss=0.001)
    for seed in SEEDS:
        eight = simulate(link, Law(8), [20 * MB] * 50, seed=seed).seconds
        assert run(link, 20 * MB, 50, seed=seed).seconds < eight / 2


@pytest.mark.parametrize(
    ("bandwidth", "size", "first"),
    [(5 * MB, 4 * MB, 2), (20 * MB, 20 * MB, 2), (10 * MB, 4 * MB, 5), (None, 4 * MB, 8)],
)
def test_under_a_bandwidth_limit_few_parts_are_begun(bandwidth: int | None, size: int, first: int) -> None:
    """So that not all of them are half sent when the upload is stopped."""
    link = Link(rate=bandwidth or 25 * MB, tells=False)
    found = simulate(link, Searching(FIRST, bandwidth=bandwidth), [size] * 10**4, until=12)
    assert found.slots(0.2, 0.3)[-1] == first
    if bandwidth is not None:
        assert max(found.slots(0)) == first, "more than fill the limit are never tried"


def test_a_link_too_slow_for_the_bandwidth_limit_gets_more_parts() -> None:
    link = Link(round_trip=0.15, loss=0.001)
    limited, alone = (simulate(link, law, [4 * MB] * 50) for law in (Searching(FIRST, bandwidth=10 * MB), Law(FIRST)))
    assert limited.seconds < 1.25 * alone.seconds


@pytest.mark.parametrize("trip", [0.04, 0.15])
def test_while_another_congestion_control_may_be_the_cure_for_losses_the_number_waits(trip: float) -> None:
    for seed in SEEDS:
        law = Searching(awaits_until=8)
        found = simulate(Link(round_trip=trip, loss=0.001), law, [4 * MB] * 10**4, until=16, seed=seed)
        assert max(found.slots(0, 8)) == FIRST
        assert found.slots(16 - 0.1)[-1] >= 2 * FIRST, "it was none"


def test_without_losses_nothing_is_waited_for() -> None:
    found = simulate(Link(rate=125e6, per_connection=1.5e6), Searching(awaits_until=60), [4 * MB] * 10**4, until=15)
    assert found.slots(10)[-1] == 64


@pytest.mark.parametrize(("fills", "expected"), [(True, 9), (False, 16)])
def test_losses_of_a_queue_that_fills_now_and_then_do_not_double_the_number(fills: bool, expected: int) -> None:
    """On a far link, connections that have lost packets to a full queue leave it empty for a while."""
    control, highest = Concurrency(64), 0
    for tenth in range(80):
        is_full = tenth < 10 or (fills and tenth % 10 == 0)
        queue, resent = 0.05 if is_full else 0.0, 1000 * tenth
        control.observe(Sample(tenth / 10, 2 * MB * tenth, control.slots, 1, 4 * MB, 0.15, queue, resent))
        highest = max(highest, control.slots)
    assert highest == expected


def test_a_trial_of_fewer_parts_ends_as_soon_as_they_are_seen_to_be_much_slower() -> None:
    trip, size = 0.15, 10 * MB
    control, moved, seen = Concurrency(64), 0.0, []
    for tenth in range(600):
        control.observe(Sample(tenth / 10, int(moved), control.slots, 1, size, trip, queue=0.05))
        moved += 2 * MB if control.slots >= 5 else MB
        seen.append(control.slots)
    trials = [len(list(group)) / 10 for slots, group in groupby(seen[1:]) if slots < 5]
    assert trials
    assert max(trials) <= ROUND_TRIPS * trip + 0.2


def test_parts_of_two_gigabytes_are_steered_by_their_bytes() -> None:
    link = Link(round_trip=0.15, loss=0.001)
    found = run(link, 1900 * MB, 64, until=120)
    assert max(found.slots(0, 1)) <= 3, "little is at risk while nothing is known"
    assert found.slots(110)[-1] >= 16, "and no part has ended yet"


def test_a_service_that_is_slow_for_each_connection_gets_all_that_are_allowed() -> None:
    found = run(Link(rate=125e6, per_connection=1.5e6), 4 * MB, 10**4, until=60)
    assert set(found.slots(10)) == {64}


@pytest.mark.parametrize("size", [20 * MB, 1900 * MB])
def test_on_a_thin_uplink_few_are_in_flight_after_a_minute_at_the_same_rate(size: int) -> None:
    link = Link(rate=1.5e6, round_trip=0.01)
    found = run(link, size, 100, until=400)
    assert max(found.in_flight(70)) <= 3
    assert found.rate(60, 400) >= 0.97 * link.rate


@pytest.mark.parametrize(
    "link", [Link(), Link(rate=1.5e6, round_trip=0.01), Link(per_connection=1.5e6), Link(rate=5e7, round_trip=0.08)]
)
def test_on_a_constant_link_the_number_settles_and_then_moves_by_one_at_most(link: Link) -> None:
    found = run(link, 20 * MB, 10**5, until=900)
    later = found.slots(600)
    assert max(later) - min(later) <= 2, "one more or one less than the number in between"
    assert found.rate(600, 900) >= 0.95 * found.rate(10, 60)


def test_the_rate_follows_a_link_that_becomes_slow_and_fast_again() -> None:
    for each in (float("inf"), 1.5e6):
        link = Link(changes=((20, 2.5e6), (60, 25e6)), per_connection=each)
        found = run(link, 4 * MB, 10**4, until=100)
        assert found.rate(30, 60) >= 0.9 * 2.5e6
        assert found.rate(70, 100) >= 0.9 * 25e6


def test_after_a_silence_of_the_link_the_rate_is_back() -> None:
    found = run(Link(silent=(20, 40)), 4 * MB, 10**4, until=60)
    assert len(set(found.slots(22, 40))) == 1, "an outage says nothing about the number"
    assert found.rate(45, 60) >= 0.85 * 25e6


def test_beside_a_connection_of_somebody_else_it_leaves_as_much_as_eight_connections_do() -> None:
    link = Link(others=1)
    eight = simulate(link, Law(8), [4 * MB] * 10**4, until=120)
    assert run(link, 4 * MB, 10**4, until=120).of_others >= 0.6 * eight.of_others


# -- a service that refuses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [20 * MB, 100 * MB])
def test_a_service_that_refuses_more_than_six_is_asked_for_more_seldom(size: int) -> None:
    link = Link(most=6, per_connection=1.5e6)
    found = run(link, size, 10**4, until=120)
    assert found.refused <= 15
    assert found.rate(40, 120) >= 0.9 * simulate(link, Law(6), [size] * 10**4, until=120).rate(40, 120)


def test_a_refusal_lowers_the_number_at_once_and_those_in_flight_with_it_count_no_more() -> None:
    control = Concurrency(64)
    control.observe(Sample(100.0, 0, 0, 1, MB))
    assert control.slots == FIRST
    assert [control.refused(101.0, 100.0, 8), control.refused(101.1, 100.5, 7), control.reason] == [5, 5, "backing off"]
    assert control.refused(101.2, 101.05, 5) == 5 * 7 // 10


def test_after_quiet_the_number_grows_by_one_up_to_what_was_refused_and_tries_that_later() -> None:
    control, now, moved = Concurrency(64), 100.0, 0
    control.observe(Sample(now, 0, 0, 1, MB))
    control.refused(now, now, 8)
    seen = [control.slots]
    while len(seen) < 3:
        now, moved = now + 0.1, moved + 10**5
        control.observe(Sample(now, moved, control.slots, 1, 1900 * MB))
        if control.slots != seen[-1]:
            assert now - 100.0 > QUIET * len(seen)
            seen.append(control.slots)
    assert seen == [5, 6, 7]


def test_a_fixed_number_stays_except_while_parts_are_refused() -> None:
    control = Concurrency(8, adaptive=False)
    assert control.slots == 8
    for tenth in range(100):
        assert control.observe(Sample(tenth / 10, tenth * MB, 8, 5, MB)) == 8
    assert control.reason == "holding"
    control.refused(10.0, 9.0, 8)
    assert (control.slots, control.reason) == (5, "backing off")
    control.observe(Sample(10.0 + AGAIN + 1, 0, 0, 0, MB))
    control.observe(Sample(10.0 + 3 * AGAIN, 0, 0, 0, MB))
    for second in range(100):
        control.observe(Sample(11.0 + 3 * AGAIN + 3 * second, 0, 0, 0, MB))
    assert (control.slots, control.reason) == (8, "holding")


def test_connections_that_are_lost_one_after_another_lower_the_number_and_single_ones_do_not() -> None:
    control = Concurrency(64)
    control.observe(Sample(100.0, 0, 0, 1, MB))
    for _ in range(10):
        control.lost(101.0, 100.5, 8)
        control.lost(101.0, 100.5, 8)
        control.completed()
    assert control.slots == FIRST
    for _ in range(3):
        control.lost(102.0, 101.5, 8)
    assert (control.slots, control.reason) == (5, "backing off")


# -- when nothing is to be learned -------------------------------------------------------------------------------------


def test_while_no_part_waits_the_number_stays() -> None:
    control, moved = Concurrency(64), 0
    for tenth in range(600):
        moved += 10**5 * (1 + tenth % 7)
        control.observe(Sample(tenth / 10, moved, 3, 0, MB))
        assert control.slots == FIRST


def test_after_a_minute_without_parts_the_link_is_a_new_one() -> None:
    link, law = Link(per_connection=1.5e6, rate=125e6), Searching()
    simulate(link, law, [4 * MB] * 2000, until=30)
    assert law.slots == 64
    law.control.observe(Sample(30 + FORGOTTEN + 1, 0, 0, 1, 1900 * MB))
    assert law.control.slots == 2


def test_the_first_parts_are_few_where_parts_are_large() -> None:
    first = {}
    for size in (1, 4 * MB, 10 * MB, 20 * MB, 1900 * MB):
        control = Concurrency(64)
        first[size] = control.observe(Sample(0.0, 0, 0, 1, size))
    assert first == {1: 8, 4 * MB: 8, 10 * MB: 5, 20 * MB: 2, 1900 * MB: 2}
