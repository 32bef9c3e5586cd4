"""Every attempt becomes a bar with its outcome, every byte that moved is counted once, and a picture fits a page."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload import (
    Event,
    FileCompleted,
    FileFailed,
    FileSkipped,
    FileStarted,
    FolderPlanned,
    PartCompleted,
    PartError,
    PartExhausted,
    PartRaced,
    PartRetrying,
    PartStarted,
    Progress,
    SourceError,
    UploadCompleted,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
)
from aioframeio_upload._plot.layout import COLUMNS, MAX_ROWS, compose, format_clock, mean_in_flight, ticks
from aioframeio_upload._plot.model import MAX_BINS, Bar, Rates, Track, UploadHistory
from tests.core.test_events import EVENTS, FILE

BUSY = PartError("slow down", number=1, attempts=1, status=503, code="SlowDown")


def progress(sent: int, rate: float = 0.0) -> Progress:
    return Progress(sent, 0, 1000, 0, 1, rate, None)


def history_of(*events: tuple[float, Event]) -> UploadHistory:
    history = UploadHistory()
    for at, event in events:
        history.add(event, "a", "a", at)
    return history


def track_of(*events: tuple[float, Event]) -> Track:
    (track,) = history_of(*events).tracks
    return track


# -- bars --------------------------------------------------------------------------------------------------------------


def test_an_attempt_is_a_bar_from_its_begin_to_its_end() -> None:
    track = track_of(
        (10.0, UploadPlanned("f", "take.mov", None, 5, 1)),
        (11.0, PartStarted(1, 1, 0, 5)),
        (13.0, PartRetrying(1, 1, 0.5, BUSY)),
        (14.0, PartStarted(1, 2, 0, 5)),
        (16.0, PartCompleted(1, 5, None, 2, 2.0)),
        (17.0, UploadCompleted(FILE)),
    )
    assert track.bars == [Bar(1, 1, 1.0, 3.0, "again"), Bar(1, 2, 4.0, 6.0, "done")]
    assert (track.name, track.count, track.size, track.end) == ("a", 1, 5, "done")


def test_the_part_that_ended_the_upload_has_failed_and_the_others_are_stopped() -> None:
    error = PartExhausted("enough", number=2, attempts=8, status=500)
    track = track_of((0.0, PartStarted(1, 1, 0, 5)), (0.0, PartStarted(2, 1, 5, 5)), (3.0, UploadFailed(error)))
    assert {bar.key: bar.outcome for bar in track.bars} == {1: "stopped", 2: "failed"}
    assert track.end == "PartExhausted"
    assert not track.running


def test_an_attempt_that_a_pause_or_a_new_plan_ends_is_stopped() -> None:
    track = track_of(
        (0.0, PartStarted(1, 1, 0, 5)),
        (2.0, PartStarted(1, 1, 0, 5)),
        (3.0, UploadReplanned("f2", "f1", "its links died")),
        (4.0, PartStarted(1, 1, 0, 5)),
    )
    assert [(bar.began, bar.ended, bar.outcome) for bar in track.bars] == [(0.0, 2.0, "stopped"), (2.0, 3.0, "stopped")]
    assert track.open_bars(9.0) == [Bar(1, 1, 4.0, 9.0, "stopped")]
    assert track.replanned == 1


@pytest.mark.parametrize("winner", [1, 2])
def test_two_attempts_at_a_part_are_two_bars_of_which_one_arrives(winner: int) -> None:
    track = track_of(
        (0.0, PartStarted(1, 1, 0, 5)),
        (2.0, PartRaced(1, 2)),
        (2.0, PartStarted(1, 2, 0, 5)),
        (3.0, PartCompleted(1, 5, None, winner, 1.0)),
    )
    assert {(bar.attempt, bar.began, bar.ended, bar.outcome == "done") for bar in track.bars} == {
        (1, 0.0, 3.0, winner == 1),
        (2, 2.0, 3.0, winner == 2),
    }
    assert track.races == 1
    assert not track.running
    assert not track.overtaken


def test_while_two_attempts_run_both_are_drawn() -> None:
    track = track_of((0.0, PartStarted(1, 1, 0, 5)), (2.0, PartRaced(1, 2)), (2.0, PartStarted(1, 2, 0, 5)))
    assert track.open_bars(4.0) == [Bar(1, 1, 0.0, 4.0, "stopped"), Bar(1, 2, 2.0, 4.0, "stopped")]


def test_a_part_without_a_started_event_began_its_duration_before_its_end() -> None:
    events = (0.0, UploadPlanned("f", "take.mov", None, 5, 1)), (5.0, PartCompleted(3, 5, None, 2, 1.5))
    assert track_of(*events).bars == [Bar(3, 2, 3.5, 5.0, "done")]
    early = (0.0, PartCompleted(3, 5, None, 2, 1.5))
    assert track_of(early).bars == [Bar(3, 2, 0.0, 0.0, "done")]


def test_each_file_of_a_folder_is_a_bar() -> None:
    track = track_of(
        (0.0, FolderPlanned(4, 1, 1000)),
        (0.0, FileSkipped("c.mov", "it is there already")),
        (1.0, FileStarted("a.mov", 5)),
        (2.0, FileStarted("b.mov", 5)),
        (3.0, FileCompleted("a.mov", FILE)),
        (4.0, FileFailed("b.mov", SourceError("gone"))),
        (5.0, FileFailed("d.mov", SourceError("never there"))),
    )
    assert track.bars == [
        Bar("a.mov", 1, 1.0, 3.0, "done"),
        Bar("b.mov", 1, 2.0, 4.0, "failed"),
        Bar("d.mov", 1, 5.0, 5.0, "failed"),
    ]
    assert (track.is_folder, track.count, track.skipped, track.failures) == (True, 4, 1, 2)


def test_attempts_beyond_the_maximum_are_only_counted() -> None:
    history = UploadHistory(max_bars=3)
    for number in range(5):
        history.add(PartCompleted(number + 1, 5, None, 1, 1.0), "a", "a", float(number))
    assert (len(history.tracks[0].bars), history.forgotten) == (3, 2)


def test_attempts_that_failed_for_the_same_reason_are_counted_together() -> None:
    lost = [PartError("the connection was lost", number=number, attempts=1) for number in (1, 2)]
    history = history_of(*((0.0, PartRetrying(1, 1, 0.1, error)) for error in (BUSY, *lost)))
    assert history.reasons == {"503 SlowDown": 1, "the connection was lost": 2}


SCRIPTS = st.dictionaries(st.integers(1, 60), st.lists(st.floats(0, 100), min_size=1, max_size=4), max_size=60)


@given(SCRIPTS, st.floats(-1e6, 1e6))
def test_the_last_attempt_at_each_part_is_done_and_the_earlier_ones_are_retried(
    script: dict[int, list[float]], start: float
) -> None:
    events: list[tuple[float, Event]] = []
    for number, lasted in script.items():
        at = start
        for attempt, seconds in enumerate(lasted, 1):
            events.append((at, PartStarted(number, attempt, 0, 1)))
            at += seconds
            again = attempt < len(lasted)
            retrying = PartRetrying(number, attempt, 0.0, BUSY)
            events.append((at, retrying if again else PartCompleted(number, 1, None, attempt, seconds)))
    history = history_of(*sorted(events, key=lambda one: one[0]))
    bars = [bar for track in history.tracks for bar in track.bars]
    outcomes = {number: Counter(bar.outcome for bar in bars if bar.key == number) for number in script}
    assert outcomes == {
        number: Counter({"done": 1} | ({"again": len(lasted) - 1} if len(lasted) > 1 else {}))
        for number, lasted in script.items()
    }
    drawn = [bar for block in compose(history).blocks for row in block.rows for bar in row]
    assert sum(bar.ended - bar.began for bar in drawn) <= sum(map(sum, script.values())) * 1.01 + 0.01


# -- throughput --------------------------------------------------------------------------------------------------------


def test_bytes_of_an_earlier_run_and_bytes_sent_again_are_not_throughput() -> None:
    history = history_of(
        (0.0, UploadResumed("f", 1, 400)),
        (0.0, progress(400)),
        (1.0, progress(700)),
        (2.0, progress(700)),
        (3.0, progress(1000)),
    )
    assert sum(history.rates.bins) == pytest.approx(600)


def folder_progress(sent: int, before: int, rate: float = 1e9) -> Progress:
    return Progress(sent, 0, 1000, 0, 1, rate, None, before)


def test_files_of_a_folder_that_were_there_before_count_as_uploaded_but_not_as_throughput() -> None:
    history = history_of(
        (0.0, FolderPlanned(2, 1, 1000)),
        (1.0, folder_progress(900, 900)),
        (2.0, folder_progress(950, 900)),
        (2.1, folder_progress(950, 900)),
        (3.0, folder_progress(1000, 910)),
    )
    assert sum(history.rates.bins) == pytest.approx(90)


def test_a_late_listener_to_a_folder_counts_all_bytes_that_moved() -> None:
    history = history_of(
        (0.0, FolderPlanned(2, 1, 1000)), (0.0, folder_progress(700, 300)), (1.0, folder_progress(1000, 300))
    )
    assert sum(history.rates.bins) == pytest.approx(700)


def test_bytes_after_a_wait_are_not_spread_over_it() -> None:
    history = history_of(
        (0.0, progress(0)),
        (1.0, progress(100)),
        (9.0, PartStarted(1, 2, 0, 1000)),
        (10.0, progress(1000)),
    )
    still = history.rates.bins[int(1.2 / history.rates.width) : int(8.8 / history.rates.width)]
    assert sum(still) == 0
    assert sum(history.rates.bins) == pytest.approx(1000)


MOVES = st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 10), st.floats(0, 1e12)), max_size=40)


@given(MOVES)
def test_no_byte_is_lost_or_counted_twice_and_the_bins_are_bounded(
    moves: list[tuple[float, float, float]],
) -> None:
    rates = Rates()
    at = 0.0
    for wait, lasted, moved in moves:
        rates.add(at + wait, at + wait + lasted, moved)
        at += wait + lasted
    assert len(rates.bins) <= MAX_BINS
    assert sum(rates.bins) == pytest.approx(sum(moved for _, _, moved in moves), rel=1e-6, abs=1e-6)


# -- the picture -------------------------------------------------------------------------------------------------------

TIMED_EVENTS = st.lists(
    st.tuples(st.floats(-5, 50), st.integers(0, 20), st.one_of(list(EVENTS.values()))), min_size=1, max_size=60
)


@given(TIMED_EVENTS)
def test_any_events_are_drawn_on_one_page_and_within_their_time(events: list[tuple[float, int, Event]]) -> None:
    history = UploadHistory()
    at = 0.0
    for wait, source, event in events:
        at += wait
        history.add(event, source, f"take {source}", at)
    check(history)


@given(st.integers(1, 30), st.integers(1, 90), st.integers(1, 60))
def test_many_parts_of_many_files_at_once_are_drawn_on_one_page(files: int, parts: int, at_once: int) -> None:
    history = UploadHistory()
    for number in range(parts):
        for file in range(files):
            history.add(PartStarted(number, 1, 0, 1), file, "", float(number))
            if number >= at_once:
                history.add(PartCompleted(number - at_once, 1, None, 1, 1.0), file, "", number + 0.5)
    check(history)
    drawn = compose(history)
    shown = sum(len(row) for block in drawn.blocks for row in block.rows)
    assert shown + drawn.left_out <= files * parts
    if files * (1 + min(parts, at_once)) < MAX_ROWS:
        assert drawn.left_out == 0


def test_how_many_attempts_ran_is_drawn_over_time() -> None:
    bars = [Bar(1, 1, 0.0, 10.0, "done"), Bar(2, 1, 5.0, 10.0, "done"), Bar(3, 1, 0.0, 10.0 / COLUMNS / 2, "done")]
    found = mean_in_flight(bars, 10.0)
    assert found[0] == pytest.approx(1.5)
    assert found[1 : COLUMNS // 2] == pytest.approx([1.0] * (COLUMNS // 2 - 1))
    assert found[COLUMNS // 2 :] == pytest.approx([2.0] * (COLUMNS // 2))
    assert mean_in_flight([], 0.0) == ()


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=20))
def test_the_mean_number_of_attempts_has_the_area_of_their_bars(times: list[tuple[float, float]]) -> None:
    bars = [Bar(1, 1, min(pair), max(pair), "done") for pair in times]
    area = sum(mean_in_flight(bars, 100.0)) * 100.0 / COLUMNS
    assert area == pytest.approx(sum(bar.ended - bar.began for bar in bars), abs=1e-6)


def check(history: UploadHistory) -> None:
    """Assert all that the renderer relies on."""
    picture = compose(history.copy())
    assert picture.rows <= MAX_ROWS
    for block in picture.blocks:
        assert not block.keys or len(block.keys) == len(block.rows)
        for row in block.rows:
            assert all(0 <= bar.began <= bar.ended <= picture.span for bar in row)
            if not block.keys:
                assert all(one.ended <= other.began for one, other in pairwise(row))


def test_successive_parts_share_a_row_and_very_short_bars_are_merged() -> None:
    history = UploadHistory()
    for number in range(50_000):
        history.add(PartStarted(number, 1, 0, 1), "a", "a", float(number))
        history.add(PartCompleted(number, 1, None, 1, 1.0), "a", "a", number + 1.0)
    (block,) = compose(history).blocks
    assert (len(block.rows), block.at_once) == (1, 1)
    assert len(block.rows[0]) < 3000


def test_a_file_of_few_parts_has_a_row_for_each_part_in_order() -> None:
    history = history_of((0.0, PartStarted(2, 1, 0, 1)), (0.0, PartStarted(1, 1, 0, 1)), (1.0, progress(5)))
    assert [block.keys for block in compose(history).blocks] == [(1, 2)]


def test_a_copy_does_not_change_with_later_events() -> None:
    history = history_of((0.0, PartStarted(1, 1, 0, 1)), (1.0, progress(5)))
    copy = history.copy()
    before: Any = compose(copy)
    history.add(PartCompleted(1, 1, None, 1, 1.0), "a", "a", 2.0)
    history.add(progress(1000), "a", "a", 3.0)
    assert compose(copy) == before
    assert sum(copy.rates.bins) == pytest.approx(5)


@given(st.floats(0, 1e7))
def test_the_ticks_are_few_and_have_different_labels(span: float) -> None:
    found = ticks(span)
    assert 1 <= len(found) <= 12
    assert found[0] == 0
    assert found[-1] <= span + 1e-6
    assert len({format_clock(instant) for instant in found}) == len(found)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (0.5, "0.5 s"), (12, "12 s"), (150, "2:30"), (3750, "1:02:30")]
)
def test_an_instant_is_written_as_people_write_it(seconds: float, text: str) -> None:
    assert format_clock(seconds) == text
