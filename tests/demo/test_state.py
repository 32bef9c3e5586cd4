"""The demo's state follows the events of an upload, and its report adds up the time of each phase."""

from __future__ import annotations

from aioframeio_upload import Event, PartCompleted, PartError, PartRetrying, PartStarted, UploadCompleted, UploadPlanned
from aioframeio_upload._demo.report import digest_report, memory_report, time_report
from aioframeio_upload._demo.state import Cell, DemoState
from tests.core.test_events import FILE

BROKEN = PartError("the connection broke", number=1, attempts=1)


def state_of(*events: tuple[float, Event]) -> tuple[DemoState, list[str | None]]:
    """Return the state after events at these times, and the line for each."""
    now = 0.0
    state = DemoState("take.mov", lambda: now)
    lines = []
    for now, event in events:  # noqa: B007  # the clock of the state returns it
        lines.append(state.update(event)[0])
    return state, lines


def healed() -> tuple[DemoState, list[str | None]]:
    """Return the state of two parts, of which the first fails once."""
    return state_of(
        (1.0, UploadPlanned("id", "take.mov", None, 4_000_000, 2)),
        (1.0, PartStarted(1, 1, 0, 2_000_000)),
        (1.0, PartStarted(2, 1, 2_000_000, 2_000_000)),
        (2.0, PartRetrying(1, 1, 2.0, BROKEN)),
        (3.0, PartCompleted(2, 2_000_000, None, 1, 2.0)),
        (4.0, PartStarted(1, 2, 0, 2_000_000)),
        (5.0, PartCompleted(1, 2_000_000, None, 2, 1.0)),
        (5.5, UploadCompleted(FILE)),
    )


def test_a_part_that_arrives_at_a_later_attempt_is_healed_and_has_a_line() -> None:
    state, lines = healed()
    assert state.cells == [Cell.HEALED, Cell.DONE]
    assert [line for line in lines if line] == [
        "take.mov: 4.0 MB in 2 parts",
        "again in 2.0 s: part 1, attempt 1: the connection broke",
        "part 1 arrived, attempt 2",
        "100%  all 2 parts have arrived",
    ]


def test_the_time_in_which_only_a_pause_was_left_counts_as_idle() -> None:
    state, _ = healed()
    assert (state.attempts, state.retries) == (3, 1)
    assert (state.failed_seconds, state.pause_seconds, state.idle_seconds) == (1.0, 2.0, 1.0)


def test_the_report_has_the_duration_of_each_phase_and_the_rate_without_idle_time() -> None:
    state, _ = healed()
    assert [line.plain for line in time_report(state)] == [
        "\nWhere the time went",
        "  planning              1.00 s",
        "  sending               4.00 s  1.3 MB/s while bytes moved",
        "    failed attempts     1.00 s  added up; 1 of 3",
        "    pauses after them   2.00 s  added up; 1.00 s with no other part to send",
        "  confirmation          0.50 s",
    ]


def test_the_report_says_whether_the_digests_are_equal() -> None:
    assert [line.plain for line in digest_report("a", "a")][-1] == "identical"
    assert [line.plain for line in digest_report("a", "b")][-1] == "DIFFERENT"
    assert [line.plain for line in digest_report("a", None)][-2:] == ["arrived  not as a whole", "DIFFERENT"]
    assert (
        memory_report(1_000_000, 3_000_000).plain
        == "  peak memory           3.0 MB  of which Python and this display took 1.0 MB before the upload"
    )
