"""BBR is used only where a long path loses packets while its queue is empty, and kept only where the rate rises."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.congestion import (
    FIRST_REST,
    GAIN,
    HOLD,
    JUDGE,
    LONG,
    LONGEST_REST,
    MOST_LOSS,
    PATIENCE,
    PENDING,
    SETTLE,
    SETTLE_ROUND_TRIPS,
    WINDOW,
    WITHOUT_QUEUE,
    BbrDecision,
    PathLook,
    Stage,
)

PERIOD = 0.25
TRIAL = SETTLE + SETTLE_ROUND_TRIPS * 0.15 + JUDGE
"""Seconds of a trial on the paths of these tests."""


@dataclass(frozen=True)
class Path:
    """A path as the looks see it."""

    rate: float = 5e6
    bbr_rate: float = 20e6
    loss: float = 1e-3
    round_trip: float = 0.15
    queue: float = 0.0
    """Seconds that packets wait in the queue when some are lost."""
    waits_for_us: bool = False
    connections: int = 8

    def look(self, now: float, *, bbr: bool, lost: bool = True) -> PathLook:
        sent = round((self.bbr_rate if bbr else self.rate) * PERIOD)
        return PathLook(
            now=now,
            seconds=PERIOD,
            sent=sent,
            resent=round(sent * self.loss) if lost else 0,
            acked=sent,
            round_trip=self.round_trip + self.queue,
            least_round_trip=self.round_trip,
            is_waiting_for_us=self.waits_for_us,
            sending=self.connections,
        )


def changes(path: Path, seconds: float, decision: BbrDecision | None = None, begin: float = 0.0) -> list[float]:
    """Return the instants at which the congestion control changes; the first one is to BBR."""
    decision = decision or BbrDecision()
    found, bbr = [], decision.is_bbr
    for number in range(1, round(seconds / PERIOD)):
        now = begin + number * PERIOD
        before, bbr = bbr, decision.observe(path.look(now, bbr=bbr))
        if bbr is not before:
            found.append(now)
    return found


def test_a_long_path_that_loses_packets_gets_bbr_and_keeps_it_while_the_rate_is_higher() -> None:
    (begun,) = changes(Path(), 60)
    assert begun <= WINDOW + PATIENCE


def test_after_a_while_the_path_is_looked_at_again() -> None:
    begun, ended, again = changes(Path(), 320)
    assert ended - begun == pytest.approx(HOLD + TRIAL, abs=2 * PERIOD)
    assert again - ended <= WINDOW + PATIENCE


def test_a_trial_without_a_gain_ends_and_the_next_one_comes_later_and_later() -> None:
    found = changes(Path(bbr_rate=5e6 * (GAIN - 0.05)), 20 * FIRST_REST)
    begins, ends = found[::2], found[1::2]
    assert all(end - begin <= TRIAL + PERIOD for begin, end in zip(begins, ends, strict=False))
    rests = [begin - end for begin, end in zip(begins[1:], ends, strict=False)]
    assert rests == pytest.approx([FIRST_REST * 2**number for number in range(len(rests))], abs=PERIOD)
    assert len(rests) >= 4


def test_the_rest_after_failed_trials_has_a_bound() -> None:
    decision = BbrDecision(rest=LONGEST_REST)
    changes(Path(bbr_rate=1e6), TRIAL + WINDOW + PATIENCE + 1, decision)
    assert decision.rest == LONGEST_REST
    assert not decision.is_bbr


def test_a_trial_begins_at_once_when_the_rate_has_fallen() -> None:
    """A new connection is fast until its first losses: later BBR is compared with what the losses leave."""
    decision = BbrDecision()
    for number in range(8):
        assert not decision.observe(Path(rate=20e6).look(number * PERIOD, bbr=False, lost=False))
    (begun,) = changes(Path(), 20, decision, begin=2.0)
    assert begun - 2.0 < WITHOUT_QUEUE * PERIOD + PATIENCE


@pytest.mark.parametrize(("left", "stage"), [(2, Stage.USING), (8, Stage.WATCHING)])
def test_a_trial_that_goes_on_with_fewer_connections_is_judged_by_what_each_gains(left: int, stage: Stage) -> None:
    """As at the end of a file, where the rate of all together falls with any congestion control."""
    decision = BbrDecision()
    (begun,) = changes(Path(), WINDOW + PATIENCE, decision)
    for number in range(round(TRIAL / PERIOD) + 1):
        is_late = number > SETTLE / PERIOD
        look = Path(bbr_rate=4e6 if is_late else 20e6).look(begun + number * PERIOD, bbr=True)
        decision.observe(replace(look, sending=left if is_late else 8))
    assert decision.stage is stage


def test_a_trial_is_pending_at_the_beginning_of_a_long_path_and_while_it_runs() -> None:
    decision = BbrDecision()
    assert not decision.is_pending(0), "nothing is known of the path"
    decision.observe(Path().look(100.0, bbr=False, lost=False))
    assert decision.is_pending(100.0 + PENDING - 1)
    assert not decision.is_pending(100.0 + PENDING + 1)
    begun, ended = changes(Path(bbr_rate=5e6), 20, decision, begin=100.0)
    assert ended > begun
    assert not decision.is_pending(ended), "it was in vain"
    assert BbrDecision(stage=Stage.TRYING).is_pending(0)
    assert not BbrDecision(stage=Stage.USING).is_pending(0)


def test_on_a_short_path_no_trial_is_pending() -> None:
    decision = BbrDecision()
    decision.observe(Path(round_trip=LONG * 0.9).look(0.0, bbr=False))
    assert not decision.is_pending(0.0)


@pytest.mark.parametrize(
    "path",
    [
        Path(round_trip=LONG * 0.9),
        Path(loss=0),
        Path(loss=MOST_LOSS * 1.5),
        Path(queue=0.02),
        Path(waits_for_us=True),
    ],
    ids=["short", "clean", "drops a lot", "its queue is full", "waits for the program or the receiver"],
)
def test_other_paths_keep_the_systems(path: Path) -> None:
    assert changes(path, 600) == []


def test_one_burst_of_losses_is_no_evidence() -> None:
    decision, path = BbrDecision(), Path(loss=0.01)
    for number in range(2400):
        assert not decision.observe(path.look(number * PERIOD, bbr=False, lost=number % 40 < 2))


def test_losses_of_a_queue_that_is_full_now_and_then_are_no_evidence() -> None:
    """A CUBIC connection on a clean path loses packets when the queue is full, and drains it then."""
    decision = BbrDecision()
    for number in range(2400):
        phase = number % 12
        path = Path(queue=0.05 * phase / 12)
        assert not decision.observe(path.look(number * PERIOD, bbr=False, lost=phase >= 10))


LOOKS = st.builds(
    PathLook,
    now=st.just(0.0),
    seconds=st.floats(0.05, 2),
    sent=st.integers(0, 10**8),
    resent=st.integers(0, 10**7),
    acked=st.integers(0, 10**8),
    round_trip=st.floats(1e-4, 5),
    least_round_trip=st.floats(1e-4, 1),
    is_waiting_for_us=st.booleans(),
    sending=st.integers(1, 64),
)


@given(st.lists(LOOKS, max_size=80))
def test_whatever_is_seen_bbr_begins_only_after_losses_on_a_long_path(looks: list[PathLook]) -> None:
    decision, now, bbr = BbrDecision(), 0.0, False
    for look in looks:
        now += look.seconds
        before, bbr = bbr, decision.observe(replace(look, now=now))
        assert bbr is decision.is_bbr
        assert FIRST_REST <= decision.rest <= LONGEST_REST
        if bbr and not before:
            assert look.least_round_trip >= LONG
    if not any(look.resent and look.is_queue_empty for look in looks):
        assert not bbr
