"""Part slots are halved when S3 is overloaded, doubled after a quiet period, and stay between one and the limit."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.part_slots import HALVED_ONCE_IN, QUIET, Slots

LIMITS = st.integers(1, 64)
HAPPENINGS = st.lists(st.tuples(st.floats(0, 60), st.booleans()), max_size=60)


@given(LIMITS, HAPPENINGS)
def test_there_is_always_one_slot_and_never_more_than_the_limit(
    limit: int, happenings: list[tuple[float, bool]]
) -> None:
    slots, now, told = Slots(limit, limit), 1000.0, limit
    for passed, complains in happenings:
        now += passed
        before = told
        told = slots.throttled(now) if complains else slots.at(now)
        assert 1 <= told <= limit
        assert told == slots.allowed
        assert told <= before if complains else told >= before


@given(LIMITS, HAPPENINGS)
def test_they_are_halved_once_in_five_seconds_however_many_complain(
    limit: int, happenings: list[tuple[float, bool]]
) -> None:
    slots, now, halved_at = Slots(limit, limit), 1000.0, -inf
    for passed, _ in happenings:
        now += passed
        before = slots.allowed
        slots.throttled(now)
        if slots.allowed < before:
            assert slots.allowed == before // 2
            assert now - halved_at >= HALVED_ONCE_IN
            halved_at = now


def test_the_parts_that_complain_together_count_once() -> None:
    slots = Slots(8, 8)
    assert [slots.throttled(100.0 + seconds) for seconds in (0, 0, 1, 4.9, 5, 10, 15, 20)] == [4, 4, 4, 4, 2, 1, 1, 1]


@given(LIMITS, st.integers(1, 10))
def test_after_quiet_for_long_enough_all_of_them_are_back(limit: int, complaints: int) -> None:
    slots, now = Slots(limit, limit), 0.0
    for _ in range(complaints):
        slots.throttled(now)
        now += HALVED_ONCE_IN
    while slots.allowed < limit:
        before = slots.allowed
        assert slots.at(slots.changed_at + QUIET - 0.001) == before
        assert slots.at(slots.changed_at + QUIET) == min(limit, before * 2)
