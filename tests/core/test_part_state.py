"""The state of an upload: what may follow what, and progress that only goes forward."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aioframeio_upload import Part, PartError, Progress, Receipt
from aioframeio_upload._core import part_state as state_module
from aioframeio_upload._core.part_state import TRANSITIONS, PartState, UploadState
from aioframeio_upload._core.progress import Rate
from tests.support.strategies import tiled

LINK = "https://s3.example/part?X-Amz-Signature=1"
ELAPSED = st.sampled_from([0.0, 5e-324, 1e-9, 0.05]) | st.floats(0, 600)


def parts_of(*sizes: int) -> tuple[Part, ...]:
    return tiled(list(sizes), [LINK])


class UploadMachine(RuleBasedStateMachine):
    """Any legal life of an upload's parts, beside a model of it that is a set and some sums."""

    @initialize(
        sizes=st.lists(st.integers(1, 10**12), min_size=1, max_size=6),
        began_at=st.floats(0, 1e9),
        data=st.data(),
    )
    def create(self, sizes: list[int], began_at: float, data: st.DataObject) -> None:
        every = tiled(sizes, [LINK])
        # `send_parts` sends some of a plan's parts only.
        chosen = data.draw(st.sets(st.sampled_from(every), min_size=1))
        self.parts = {part.number: part for part in chosen}
        self.now = began_at
        self.state = UploadState(tuple(self.parts.values()), began_at)
        self.places = dict.fromkeys(self.parts, PartState.WAITING)
        self.sent = dict.fromkeys(self.parts, 0)
        self.attempts = Counter[int]()
        self.told: list[Progress] = []

    def those(self, place: PartState) -> list[int]:
        return [number for number, where in self.places.items() if where is place]

    @rule(elapsed=ELAPSED)
    def time_passes(self, elapsed: float) -> None:
        self.now += elapsed

    @precondition(lambda self: self.those(PartState.WAITING))
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.those(PartState.WAITING)))
        event = self.state.begin(number, self.now)
        self.places[number] = PartState.SENDING
        self.sent[number] = 0
        self.attempts[number] += 1
        part = self.parts[number]
        assert (event.number, event.attempt) == (number, self.attempts[number])
        assert (event.offset, event.size) == (part.offset, part.size)

    @precondition(lambda self: self.those(PartState.SENDING))
    @rule(data=st.data(), back=st.booleans())
    def bytes_leave(self, data: st.DataObject, back: bool) -> None:
        """Also fewer than before: after a redirect a part is sent anew within its attempt."""
        number = data.draw(st.sampled_from(self.those(PartState.SENDING)))
        sent = data.draw(st.integers(0 if back else self.sent[number], self.parts[number].size))
        self.state.moved(number, sent)
        self.sent[number] = sent

    @precondition(lambda self: self.those(PartState.SENDING))
    @rule(data=st.data())
    def an_attempt_fails(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.those(PartState.SENDING)))
        self.state.fail(number)
        self.places[number] = PartState.WAITING
        self.sent[number] = 0
        error = PartError("the connection broke", number=number, attempts=self.attempts[number])
        event = self.state.retrying(number, 0.5, error)
        assert (event.number, event.attempt, event.error) == (number, self.attempts[number], error)

    @precondition(lambda self: self.those(PartState.SENDING))
    @rule(data=st.data())
    def a_part_arrives(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.those(PartState.SENDING)))
        event = self.state.complete(Receipt(number, self.parts[number].size, "etag", None), self.now)
        self.places[number] = PartState.DONE
        self.sent[number] = 0
        assert (event.number, event.attempt, event.etag) == (number, self.attempts[number], "etag")
        assert isfinite(event.seconds)
        assert event.seconds >= 0

    @rule(data=st.data(), what=st.sampled_from(["begin", "fail", "complete"]))
    def nothing_else_may_happen(self, data: st.DataObject, what: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.parts)))
        if (self.places[number], what) in TRANSITIONS:
            return
        steps: dict[str, Callable[[], object]] = {
            "begin": lambda: self.state.begin(number, self.now),
            "fail": lambda: self.state.fail(number),
            "complete": lambda: self.state.complete(Receipt(number, 1, None, None), self.now),
        }
        with pytest.raises(RuntimeError, match=f"part {number} is {self.places[number].value}: it cannot {what}"):
            steps[what]()

    @rule()
    def tell(self) -> None:
        progress = self.state.progress(self.now)
        before = self.told[-1] if self.told else None
        self.told.append(progress)
        confirmed = sum(self.parts[number].size for number in self.those(PartState.DONE))
        assert progress.bytes_confirmed == confirmed
        assert progress.total_bytes == sum(part.size for part in self.parts.values())
        assert (progress.parts_completed, progress.total_parts) == (len(self.those(PartState.DONE)), len(self.parts))
        under_way = sum(self.sent.values())
        mark = before.bytes_uploaded if before is not None else 0
        assert progress.bytes_uploaded == max(mark, confirmed + under_way)
        assert confirmed <= progress.bytes_uploaded <= progress.total_bytes
        assert isfinite(progress.bytes_per_second)
        assert progress.bytes_per_second >= 0
        # What failed is still to be sent, wherever the bar stands.
        assert (progress.seconds_left == 0) == (confirmed + under_way == progress.total_bytes)
        assert progress.seconds_left is None or (isfinite(progress.seconds_left) and progress.seconds_left >= 0)
        assert (progress.seconds_left is None) == (
            progress.bytes_per_second == 0 and confirmed + under_way < progress.total_bytes
        )
        json.dumps(progress.to_dict(), allow_nan=False)

    @invariant()
    def it_knows_who_is_sending(self) -> None:
        if hasattr(self, "state"):
            assert self.state.in_flight == set(self.those(PartState.SENDING))
            assert {number: self.state.attempts(number) for number in self.parts} == {
                number: self.attempts[number] for number in self.parts
            }

    def teardown(self) -> None:
        """However it went: once every part is there, the last progress says so."""
        if not hasattr(self, "state"):
            return
        for number, part in self.parts.items():
            if self.places[number] is PartState.WAITING:
                self.state.begin(number, self.now)
            if self.places[number] is not PartState.DONE:
                self.state.complete(Receipt(number, part.size, None, None), self.now)
        last = self.state.progress(self.now)
        assert last.bytes_uploaded == last.bytes_confirmed == last.total_bytes
        assert last.parts_completed == last.total_parts
        assert last.seconds_left == 0


TestUploadMachine = UploadMachine.TestCase


# -- the table -------------------------------------------------------------------------------------------------------


def test_the_drawing_in_the_modules_docstring_is_the_table() -> None:
    """The upper line goes from left to right; the arrow below it leads from one of its words back to another."""
    drawing = (state_module.__doc__ or "").split("\n\n")[1].splitlines()
    upper, _, lower = drawing
    words = {match.start(): match[0] for match in re.finditer(r"\w+", upper)}

    def word_at(column: int) -> str:
        return next(word for start, word in words.items() if start <= column < start + len(word))

    forward = re.findall(r"(?=\b(\w+) ──(\w+)──▶ (\w+)\b)", upper)
    back = re.search(r"└─+(\w+)─+┘", lower)
    assert back is not None
    drawn = {(PartState(start), what): PartState(end) for start, what, end in forward}
    drawn[PartState(word_at(back.end() - 1)), back[1]] = PartState(word_at(back.start()))
    assert drawn == TRANSITIONS


def test_a_part_that_is_done_stays_done() -> None:
    assert not [start for start, _ in TRANSITIONS if start is PartState.DONE]


def test_every_place_can_be_reached() -> None:
    assert {PartState.WAITING, *TRANSITIONS.values()} == set(PartState)


# -- progress and rate -----------------------------------------------------------------------------------------------


def test_a_retry_does_not_turn_progress_back() -> None:
    state = UploadState(parts_of(100), 0.0)
    state.begin(1, 0.0)
    state.moved(1, 60)
    assert state.progress(1.0).bytes_uploaded == 60
    state.fail(1)
    assert state.progress(1.1).bytes_uploaded == 60
    state.begin(1, 2.0)
    state.moved(1, 10)
    progress = state.progress(2.1)
    assert (progress.bytes_uploaded, progress.bytes_confirmed) == (60, 0)


def test_the_time_left_is_what_is_left_at_the_rate_of_the_last_seconds() -> None:
    state = UploadState(parts_of(100, 100), 0.0)
    state.begin(1, 0.0)
    state.moved(1, 50)
    progress = state.progress(2.0)
    assert (progress.bytes_per_second, progress.seconds_left) == (25.0, 6.0)


def test_nothing_can_be_said_of_the_time_left_before_anything_moved() -> None:
    assert UploadState(parts_of(100), 0.0).progress(1.0).seconds_left is None


def test_a_part_took_the_time_of_its_last_attempt() -> None:
    state = UploadState(parts_of(100), 0.0)
    state.begin(1, 1.0)
    state.fail(1)
    state.begin(1, 10.0)
    assert state.complete(Receipt(1, 100, None, None), 12.5).seconds == 2.5


@given(st.integers(1, 10**9), st.integers(1, 100), st.floats(0.05, 1))
def test_a_steady_flow_has_its_own_rate(per_step: int, steps: int, step: float) -> None:
    rate = Rate(0.0)
    for count in range(1, steps + 1):
        assert rate.at(count * step, count * per_step) == pytest.approx(per_step / step, rel=1e-6)


@given(st.lists(st.tuples(ELAPSED, st.integers(0, 10**13)), min_size=1, max_size=200), st.floats(0, 1e9))
def test_the_rate_is_finite_and_never_negative(moves: list[tuple[float, int]], began_at: float) -> None:
    rate, now, total = Rate(began_at), began_at, 0
    for elapsed, count in moves:
        now, total = now + elapsed, total + count
        assert 0 <= rate.at(now, total) < float("inf")


def test_the_rate_forgets_what_is_older_than_its_window() -> None:
    rate = Rate(0.0)
    flowing = [rate.at(tick / 10, tick * 1000) for tick in range(1, 101)]
    assert flowing[-1] == pytest.approx(10_000)
    standing = [rate.at(tick / 10, 100_000) for tick in range(101, 201)]
    assert standing == sorted(standing, reverse=True)
    assert standing[-1] == 0


def test_the_rate_remembers_a_bounded_number_of_samples() -> None:
    rate = Rate(0.0)
    for tick in range(100_000):
        rate.at(tick / 10_000, tick)
    assert len(rate._samples) <= Rate.WINDOW / Rate.SPACING + 2
