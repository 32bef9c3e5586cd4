"""Test the table of parts, and progress that only goes forward."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aioframeio_upload import Part, PartError, Plan, Progress, Receipt
from aioframeio_upload._core import part_state as state_module
from aioframeio_upload._core.backoff import Asking
from aioframeio_upload._core.failures import AttemptFailure, FailureKind
from aioframeio_upload._core.part_state import AttemptKey, PartState, PartTable
from aioframeio_upload._core.progress import ProgressMeter, Rate
from tests.support.strategies import plans, tiled

LINK = "https://s3.example/part?X-Amz-Signature=1"
ELAPSED = st.sampled_from([0.0, 5e-324, 1e-9, 0.05]) | st.floats(0, 600)


def parts_of(*sizes: int) -> tuple[Part, ...]:
    return tiled(list(sizes), [LINK])


class UploadMachine(RuleBasedStateMachine):
    """Run any legal sequence of attempts, at most two of one part at once, beside a model of sets and sums."""

    @initialize(
        sizes=st.lists(st.integers(1, 10**12), min_size=1, max_size=6),
        began_at=st.floats(0, 1e9),
        data=st.data(),
    )
    def create(self, sizes: list[int], began_at: float, data: st.DataObject) -> None:
        every = tiled(sizes, [LINK])
        # `send_parts` sends some of a plan's parts only.
        chosen = data.draw(st.sets(st.sampled_from(every), min_size=1))
        self.parts = {part.number: part for part in sorted(chosen, key=lambda part: part.number)}
        self.now = began_at
        self.table = PartTable(tuple(self.parts.values()), began_at)
        self.queued = list(self.parts)
        self.running: dict[AttemptKey, int] = {}
        """The bytes that have left, of each running attempt."""
        self.counts: dict[AttemptKey, int] = {}
        """The number of each attempt as its event showed it."""
        self.attempts = Counter[int]()
        self.acknowledged: set[int] = set()
        self.left: set[int] = set()
        """Parts of which an attempt failed after all its bytes had left."""
        self.receipts: dict[int, Receipt] = {}
        self.published: list[Progress] = []

    def running_of(self, number: int) -> list[AttemptKey]:
        return [key for key in self.running if key.number == number]

    def state_of(self, number: int) -> PartState:
        if number in self.receipts:
            return PartState.DONE
        return PartState.SENDING if self.running_of(number) else PartState.WAITING

    def bytes_in_flight(self) -> dict[int, int]:
        """Return the bytes of each part that is being sent: two attempts at one part send the same bytes."""
        open_parts = {key.number for key in self.running} - self.receipts.keys()
        return {number: max(self.running[key] for key in self.running_of(number)) for number in open_parts}

    def may_begin(self) -> list[int]:
        return [number for number in self.parts if number not in self.receipts and len(self.running_of(number)) < 2]

    def may_complete(self) -> list[AttemptKey]:
        return [key for key in self.running if key.number not in self.receipts]

    @rule(elapsed=ELAPSED)
    def time_passes(self, elapsed: float) -> None:
        self.now += elapsed

    @precondition(lambda self: self.queued)
    @rule()
    def a_part_is_taken(self) -> None:
        expected = self.parts[self.queued.pop(0)]
        assert self.table.next_part is expected
        assert self.table.take() is expected

    @precondition(lambda self: self.may_begin())
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.may_begin()))
        key, event = self.table.begin(number, self.now)
        assert key not in self.counts, "no two attempts have one key"
        self.running[key] = 0
        self.attempts[number] += 1
        self.counts[key] = self.attempts[number]
        part = self.parts[number]
        assert (event.number, event.attempt) == (number, self.attempts[number])
        assert (event.offset, event.size) == (part.offset, part.size)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), back=st.booleans())
    def bytes_leave(self, data: st.DataObject, back: bool) -> None:
        """Also fewer than before: after a redirect a part is sent anew within its attempt."""
        key = data.draw(st.sampled_from(list(self.running)))
        sent = data.draw(st.integers(0 if back else self.running[key], self.parts[key.number].size))
        self.table.moved(key, sent)
        self.running[key] = sent

    @precondition(lambda self: self.counts.keys() - self.running.keys())
    @rule(data=st.data(), sent=st.integers(0, 10**12))
    def an_attempt_that_is_over_moves_nothing(self, data: st.DataObject, sent: int) -> None:
        self.table.moved(data.draw(st.sampled_from(sorted(self.counts.keys() - self.running.keys()))), sent)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), counted=st.booleans())
    def an_attempt_fails(self, data: st.DataObject, counted: bool) -> None:
        key = data.draw(st.sampled_from(list(self.running)))
        number = key.number
        self.table.fail(key, counted=counted)
        if self.running.pop(key) == self.parts[number].size:
            self.left.add(number)
        self.attempts[number] -= not counted
        error = PartError("the connection broke", number=number, attempts=self.attempts[number])
        event = self.table.retrying(number, 0.5, error)
        assert (event.number, event.attempt, event.error) == (number, self.attempts[number], error)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def s3_acknowledges_a_part(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.running)))
        self.table.acknowledge(key)
        self.acknowledged.add(key.number)

    @precondition(lambda self: self.may_complete())
    @rule(data=st.data(), is_checked=st.booleans())
    def a_part_arrives(self, data: st.DataObject, is_checked: bool) -> None:
        key = data.draw(st.sampled_from(self.may_complete()))
        number = key.number
        receipt = Receipt(number, self.parts[number].size, "etag", None)
        event = self.table.complete(key, receipt, self.now, is_checked=is_checked)
        del self.running[key]
        self.acknowledged.add(number)
        self.receipts[number] = receipt
        assert (event.number, event.attempt, event.etag) == (number, self.counts[key], "etag")
        assert isfinite(event.seconds)
        assert event.seconds >= 0
        assert (self.parts[number] in self.table.unchecked()) is not is_checked

    @rule(data=st.data(), what=st.sampled_from(["begin", "fail", "complete"]))
    def nothing_else_may_happen(self, data: st.DataObject, what: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.parts)))
        over = [key for key in self.counts if key.number == number and key not in self.running]
        key = data.draw(st.sampled_from([*over, AttemptKey(number, 0)]))
        if what == "begin" and number not in self.receipts:
            return
        steps: dict[str, Callable[[], object]] = {
            "begin": lambda: self.table.begin(number, self.now),
            "fail": lambda: self.table.fail(key),
            "complete": lambda: self.table.complete(key, Receipt(number, 1, None, None), self.now),
        }
        with pytest.raises(RuntimeError, match=f"part {number} is {self.state_of(number).value}: it cannot {what}"):
            steps[what]()

    @rule()
    def publish(self) -> None:
        progress = self.table.progress(self.now)
        before = self.published[-1] if self.published else None
        self.published.append(progress)
        confirmed = sum(self.parts[number].size for number in self.receipts)
        assert progress.bytes_confirmed == confirmed
        assert progress.total_bytes == sum(part.size for part in self.parts.values())
        assert (progress.parts_completed, progress.total_parts) == (len(self.receipts), len(self.parts))
        in_flight = sum(self.bytes_in_flight().values())
        mark = before.bytes_uploaded if before is not None else 0
        assert progress.bytes_uploaded == max(mark, confirmed + in_flight)
        assert confirmed <= progress.bytes_uploaded <= progress.total_bytes
        assert isfinite(progress.bytes_per_second)
        assert progress.bytes_per_second >= 0
        # What failed is still to be sent, wherever the high-water mark stands.
        assert (progress.seconds_left == 0) == (confirmed + in_flight == progress.total_bytes)
        assert progress.seconds_left is None or (isfinite(progress.seconds_left) and progress.seconds_left >= 0)
        assert (progress.seconds_left is None) == (
            progress.bytes_per_second == 0 and confirmed + in_flight < progress.total_bytes
        )
        json.dumps(progress.to_dict(), allow_nan=False)

    @invariant()
    def the_table_agrees_with_the_model(self) -> None:
        if not hasattr(self, "table"):
            return
        table, total = self.table, sum(part.size for part in self.parts.values())
        assert (table.queued, table.next_part is None) == (len(self.queued), not self.queued)
        assert set(table.in_flight) == {key.number for key in self.running}
        assert {number: table.attempts(number) for number in self.parts} == {
            number: self.attempts[number] for number in self.parts
        }
        assert 0 <= table.sent <= total
        assert table.sent + table.left == total
        assert table.has_sent == bool(self.acknowledged)
        assert table.is_whole == (self.acknowledged == self.parts.keys())
        all_left = all(
            sent == self.parts[number].size or number in self.left for number, sent in self.bytes_in_flight().items()
        )
        assert table.may_be_whole == (not self.queued and all_left)
        assert table.completed == len(self.receipts)
        assert table.receipts() == tuple(self.receipts[number] for number in sorted(self.receipts))
        assert set(table.missing()) == self.parts.keys() - self.receipts.keys()
        assert not table.receipts() or table.has_sent
        assert table.missing() or table.is_whole

    def teardown(self) -> None:
        """Complete every part, whatever happened before: the last progress then says so."""
        if not hasattr(self, "table"):
            return
        for number in self.table.missing():
            if not self.running_of(number):
                self.running[self.table.begin(number, self.now)[0]] = 0
            key, *others = self.running_of(number)
            self.table.complete(key, Receipt(number, self.parts[number].size, None, None), self.now)
            for other in others:
                self.table.fail(other)
        last = self.table.progress(self.now)
        assert last.bytes_uploaded == last.bytes_confirmed == last.total_bytes
        assert last.parts_completed == last.total_parts
        assert last.seconds_left == 0
        assert (self.table.is_whole, self.table.missing()) == (True, ())


TestUploadMachine = UploadMachine.TestCase


# -- the drawing -------------------------------------------------------------------------------------------------------


def drawn() -> dict[tuple[PartState, str], PartState]:
    """Read the drawing in the module's docstring.

    The upper line goes from left to right; the arrow below it leads from one of its words back to another.
    """
    drawing = (state_module.__doc__ or "").split("\n\n")[1].splitlines()
    upper, _, lower = drawing
    words = {match.start(): match[0] for match in re.finditer(r"\w+", upper)}

    def word_at(column: int) -> str:
        return next(word for start, word in words.items() if start <= column < start + len(word))

    forward = re.findall(r"(?=\b(\w+) ──(\w+)──▶ (\w+)\b)", upper)
    back = re.search(r"└─+(\w+)─+┘", lower)
    assert back is not None
    transitions = {(PartState(start), what): PartState(end) for start, what, end in forward}
    transitions[PartState(word_at(back.end() - 1)), back[1]] = PartState(word_at(back.start()))
    return transitions


@pytest.mark.parametrize("what", ["begin", "fail", "complete"])
@pytest.mark.parametrize("start", PartState)
def test_a_part_with_one_attempt_at_a_time_does_what_the_drawing_in_the_modules_docstring_shows(
    start: PartState, what: str
) -> None:
    table, receipt = PartTable(parts_of(100), 0.0), Receipt(1, 100, None)
    key = AttemptKey(1, 0)
    if start is not PartState.WAITING:
        key, _ = table.begin(1, 0.0)
    if start is PartState.DONE:
        table.complete(key, receipt, 0.0)
    assert table.state(1) is start
    steps: dict[str, Callable[[], object]] = {
        "begin": lambda: table.begin(1, 1.0),
        "fail": lambda: table.fail(key),
        "complete": lambda: table.complete(key, receipt, 1.0),
    }
    if (start, what) == (PartState.SENDING, "begin"):
        steps[what]()
        assert table.state(1) is PartState.SENDING, "two attempts"
    elif (start, what) in drawn():
        steps[what]()
        assert table.state(1) is drawn()[start, what]
    else:
        with pytest.raises(RuntimeError, match=f"part 1 is {start.value}: it cannot {what}"):
            steps[what]()


def test_a_part_that_is_done_stays_done() -> None:
    assert not [start for start, _ in drawn() if start is PartState.DONE]


def test_every_state_can_be_reached() -> None:
    assert {PartState.WAITING, *drawn().values()} == set(PartState)


# -- two attempts at one part ------------------------------------------------------------------------------------------


def test_two_attempts_at_one_part_count_their_bytes_once_and_the_first_receipt_wins() -> None:
    table = PartTable(parts_of(100, 100), 0.0)
    slow, _ = table.begin(1, 0.0)
    fast, started = table.begin(1, 5.0)
    assert started.attempt == 2
    table.moved(slow, 60)
    table.moved(fast, 80)
    assert table.sent == 80
    completed = table.complete(fast, Receipt(1, 100, "etag"), 7.0)
    assert (completed.attempt, completed.seconds) == (2, 2.0)
    with pytest.raises(RuntimeError, match="part 1 is done: it cannot complete"):
        table.complete(slow, Receipt(1, 100, "etag"), 8.0)
    table.moved(slow, 90)
    assert (table.sent, table.state(1)) == (100, PartState.DONE)
    table.fail(slow)
    assert (table.sent, table.in_flight) == (100, set())


def test_one_of_two_attempts_that_fails_leaves_the_other_running() -> None:
    table = PartTable(parts_of(100), 0.0)
    first, _ = table.begin(1, 0.0)
    second, _ = table.begin(1, 0.0)
    table.moved(first, 60)
    table.moved(second, 10)
    table.fail(first)
    assert (table.sent, table.state(1)) == (10, PartState.SENDING)
    table.fail(second)
    assert (table.sent, table.state(1)) == (0, PartState.WAITING)


def test_an_attempt_that_does_not_count_leaves_its_number_to_the_next_and_not_its_key() -> None:
    table = PartTable(parts_of(100), 0.0)
    paused, first = table.begin(1, 0.0)
    table.fail(paused, counted=False)
    resumed, second = table.begin(1, 1.0)
    assert (first.attempt, second.attempt) == (1, 1)
    assert paused != resumed


# -- what decides ------------------------------------------------------------------------------------------------------


def test_each_part_remembers_what_its_attempts_have_shown() -> None:
    table = PartTable(parts_of(100, 100), 0.0)
    table.ask_first(1)
    assert [table.memory(number).asking for number in (1, 2)] == [Asking.FIRST, Asking.NO]
    for number in (1, 2):
        table.begin(number, 0.0)
    table.learn(2, AttemptFailure(FailureKind.UNREACHABLE, "no connection"))
    assert [table.memory(number).outages for number in (1, 2)] == [0, 1]


def test_a_decision_gets_the_state_of_its_part_and_of_the_upload() -> None:
    table = PartTable(parts_of(100, 100), 0.0)
    first = table.take()
    key, _ = table.begin(first.number, 1.0)
    table.moved(key, 100)
    situation = table.situation(1, "file", 10.0)
    assert (situation.number, situation.file_id, situation.attempts) == (1, "file", 1)
    assert (situation.quiet_for, situation.may_be_whole) == (10.0, False), "part 2 is queued"
    second = table.take()
    other, _ = table.begin(second.number, 1.0)
    assert not table.situation(1, "file", 10.0).may_be_whole, "not all of part 2 has left"
    table.moved(other, 100)
    assert table.situation(1, "file", 10.0).may_be_whole
    table.fail(other)
    other, _ = table.begin(second.number, 2.0)
    assert table.situation(1, "file", 10.0).may_be_whole, "S3 may have part 2 from its first attempt"
    table.complete(other, Receipt(2, 100, None), 12.0)
    assert table.situation(1, "file", 15.0).quiet_for == 3.0
    table.resumed(14.0)
    assert table.situation(1, "file", 15.0).quiet_for == 1.0


def test_what_an_earlier_run_has_sent_is_done_and_not_queued() -> None:
    earlier = Receipt(2, 100, "etag")
    table = PartTable(parts_of(100, 100), 0.0, done=[earlier])
    assert (table.queued, table.missing(), table.receipts()) == (1, (1,), (earlier,))
    assert (table.has_sent, table.is_whole, table.completed) == (False, False, 1)
    key, _ = table.begin(table.take().number, 0.0)
    table.acknowledge(key)
    assert (table.has_sent, table.is_whole, table.completed) == (True, True, 1), "the receipt is not recorded yet"


class Unwalked(dict[int, Any]):
    """Rows that can be looked up by number, and not be gone through."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("it looked at all parts")

    keys = values = items = __iter__  # type: ignore[assignment]


def test_nothing_that_happens_for_each_part_or_each_progress_looks_at_all_parts() -> None:
    table = PartTable(parts_of(100, 100, 100), 0.0)
    table._rows = Unwalked(table._rows)
    first, second = (table.begin(table.take().number, 0.0)[0] for _ in range(2))
    table.moved(first, 50)
    table.learn(1, AttemptFailure(FailureKind.LOST, "the connection broke"))
    table.situation(1, "file", 1.0)
    table.fail(first)
    table.acknowledge(second)
    table.complete(second, Receipt(2, 100, "etag"), 1.0)
    progress = table.progress(2.0)
    assert (progress.bytes_confirmed, progress.parts_completed, progress.total_parts) == (100, 1, 3)
    assert (table.is_whole, table.has_sent, table.queued, table.left) == (False, True, 1, 200)
    with pytest.raises(AssertionError, match="it looked at all parts"):
        table.missing()


# -- progress and rate -----------------------------------------------------------------------------------------------


def test_a_retry_does_not_turn_progress_back() -> None:
    table = PartTable(parts_of(100), 0.0)
    first, _ = table.begin(1, 0.0)
    table.moved(first, 60)
    assert table.progress(1.0).bytes_uploaded == 60
    table.fail(first)
    assert table.progress(1.1).bytes_uploaded == 60
    second, _ = table.begin(1, 2.0)
    table.moved(second, 10)
    progress = table.progress(2.1)
    assert (progress.bytes_uploaded, progress.bytes_confirmed) == (60, 0)


def test_the_time_left_is_what_is_left_at_the_rate_of_the_last_seconds() -> None:
    table = PartTable(parts_of(100, 100), 0.0)
    key, _ = table.begin(1, 0.0)
    table.moved(key, 50)
    progress = table.progress(2.0)
    assert (progress.bytes_per_second, progress.seconds_left) == (25.0, 6.0)


def test_nothing_can_be_said_of_the_time_left_before_anything_moved() -> None:
    assert PartTable(parts_of(100), 0.0).progress(1.0).seconds_left is None


def test_a_part_took_the_time_of_its_last_attempt() -> None:
    table = PartTable(parts_of(100), 0.0)
    first, _ = table.begin(1, 1.0)
    table.fail(first)
    second, _ = table.begin(1, 10.0)
    assert table.complete(second, Receipt(1, 100, None, None), 12.5).seconds == 2.5


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


def test_time_in_which_there_was_nothing_to_send_does_not_lower_the_rate() -> None:
    meter = ProgressMeter(2_000, 0.0)
    meter.rest(60.0)
    progress = meter.progress(61.0, sent=1_000, confirmed=0, before=0, parts=(0, 1))
    assert (progress.bytes_per_second, progress.seconds_left) == (1_000, 1.0)


def test_the_rate_remembers_a_bounded_number_of_samples() -> None:
    rate = Rate(0.0)
    for tick in range(100_000):
        rate.at(tick / 10_000, tick)
    assert len(rate._samples) <= Rate.WINDOW / Rate.SPACING + 2


@given(plans(), st.data())
def test_progress_begins_with_what_an_earlier_run_has_sent(plan: Plan, data: st.DataObject) -> None:
    done = data.draw(st.sets(st.sampled_from([part.number for part in plan.parts])))
    sent = sum(part.size for part in plan.parts if part.number in done)
    receipts = [Receipt(part.number, part.size, None) for part in plan.parts if part.number in done]
    state = PartTable(plan.parts, 0.0, done=receipts)
    told = state.progress(0.0)
    assert (told.bytes_uploaded, told.bytes_confirmed, told.parts_completed) == (sent, sent, len(done))
    assert (told.total_bytes, told.total_parts) == (plan.size, len(plan.parts))
    # What was sent before counts for nothing in the rate.
    assert state.progress(1.0).bytes_per_second == 0.0
    for number in done:
        with pytest.raises(RuntimeError, match="is done: it cannot begin"):
            state.begin(number, 1.0)
