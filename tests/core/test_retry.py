"""Test what follows an attempt at a part, without a loop, a clock or random numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioframeio_upload import IntegrityError, LinksExpired, PartError, PartExhausted, PartRejected, Receipt, RetryPolicy
from aioframeio_upload._core.backoff import Asking
from aioframeio_upload._core.failures import FAILURES, AttemptFailure, FailureKind, FailureRule, Verdict
from aioframeio_upload._core.retry import Action, Decision, RetryMemory, Situation, decide

POLICY = RetryPolicy(attempts=3, base=1.0, cap=8.0, patience=60.0)
RECEIPT = Receipt(1, 10, "etag")
FRESH = Situation(number=1, file_id="f", attempts=1, memory=RetryMemory(), quiet_for=0.0, may_be_whole=False)
LOST = AttemptFailure(FailureKind.LOST, "the connection broke")
DOWN = AttemptFailure(FailureKind.UNREACHABLE, "no connection")
SPOILED = AttemptFailure(FailureKind.CRC, "other bytes", status=200)
WRONG = AttemptFailure(FailureKind.ETAG, "other bytes", status=200, receipt=RECEIPT)


def after(outcome: AttemptFailure, **state: object) -> Decision:
    situation = replace(FRESH, **{"memory": RetryMemory().after(outcome), **state})  # type: ignore[arg-type]
    return decide(outcome, None, situation, POLICY, jitter=lambda widest: widest)


def test_a_receipt_is_accepted() -> None:
    assert decide(RECEIPT, RECEIPT, FRESH, POLICY) == Decision(Action.ACCEPT, receipt=RECEIPT)


def test_a_receipt_whose_etag_proves_nothing_on_its_host_is_accepted_too() -> None:
    assert decide(WRONG, RECEIPT, replace(FRESH, may_be_whole=True), POLICY).action is Action.ACCEPT


@pytest.mark.parametrize(
    ("doubted", "may_be_whole", "action"),
    [
        (True, True, Action.SPOILED),
        (True, False, Action.ACCEPT),
        (False, True, Action.ACCEPT),
    ],
)
def test_a_part_that_was_stored_wrongly_spoils_a_file_that_may_be_whole(
    doubted: bool, may_be_whole: bool, action: Action
) -> None:
    situation = replace(FRESH, memory=RetryMemory(doubted=doubted), may_be_whole=may_be_whole)
    decision = decide(RECEIPT, RECEIPT, situation, POLICY)
    assert decision.action is action
    assert isinstance(decision.error, IntegrityError) == (action is Action.SPOILED)


@pytest.mark.parametrize(("may_be_whole", "action"), [(True, Action.SPOILED), (False, Action.ACCEPT)])
def test_a_wrong_crc_is_not_forgotten_where_an_etag_is_accepted_that_differs(
    may_be_whole: bool, action: Action
) -> None:
    situation = replace(FRESH, memory=RetryMemory().after(SPOILED).after(WRONG), may_be_whole=may_be_whole)
    assert decide(WRONG, RECEIPT, situation, POLICY).action is action
    without = replace(FRESH, memory=RetryMemory().after(WRONG), may_be_whole=may_be_whole)
    assert decide(WRONG, RECEIPT, without, POLICY).action is Action.ACCEPT


@pytest.mark.parametrize(("may_be_whole", "error"), [(True, IntegrityError), (False, PartExhausted)])
def test_a_wrong_crc_is_not_forgotten_where_the_last_attempt_failed_otherwise(
    may_be_whole: bool, error: type[Exception]
) -> None:
    memory = RetryMemory().after(SPOILED).after(LOST)
    situation = replace(FRESH, attempts=POLICY.attempts, memory=memory, may_be_whole=may_be_whole)
    decision = decide(LOST, None, situation, POLICY)
    assert (decision.action, type(decision.error)) == (Action.GIVE_UP, error)


def test_a_pause_costs_no_attempt_and_no_delay() -> None:
    decision = after(AttemptFailure(FailureKind.PAUSED, "paused"), attempts=99)
    assert decision == Decision(Action.WAIT, is_counted=False, reason="paused")


def test_a_slow_connection_costs_no_attempt_and_no_delay_and_is_told() -> None:
    decision = after(AttemptFailure(FailureKind.SLOW, "slow"), attempts=99)
    assert (decision.action, decision.delay, decision.is_counted) == (Action.RETRY, 0.0, False)
    assert isinstance(decision.error, PartError)


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: f"{row.kind.value} {row.code} {row.status} {row.words}")
def test_a_first_failure_is_followed_by_what_its_row_in_the_table_says(row: FailureRule) -> None:
    status = row.status[1] if row.status is not None else None
    decision = after(AttemptFailure(row.kind, row.words or "", status=status, code=row.code))
    expected: dict[Verdict, tuple[set[Action], type[Exception]]] = {
        Verdict.AGAIN: ({Action.RETRY, Action.WAIT}, PartError),
        Verdict.NEW_LINKS: ({Action.GIVE_UP}, LinksExpired),
        Verdict.GIVE_UP: ({Action.GIVE_UP}, PartRejected),
        Verdict.EXHAUSTED: ({Action.GIVE_UP}, PartExhausted),
    }
    actions, error = expected[row.verdict]
    assert decision.action in actions
    assert decision.action is Action.WAIT or isinstance(decision.error, error)


def test_the_delay_doubles_with_each_attempt_and_the_servers_own_wins() -> None:
    assert [after(LOST, attempts=number).delay for number in (1, 2)] == [1.0, 2.0]
    assert after(replace(LOST, retry_after=7.0)).delay == 7.0


def test_the_last_attempt_is_followed_by_its_error_with_the_failure_as_cause() -> None:
    decision = after(LOST, attempts=3)
    assert decision.action is Action.GIVE_UP
    assert isinstance(decision.error, PartExhausted)
    assert isinstance(decision.error.__cause__, PartError)
    assert isinstance(after(WRONG, attempts=3).error, IntegrityError)


def test_a_network_that_is_down_costs_no_attempt_within_patience() -> None:
    memory = RetryMemory().after(DOWN).after(DOWN)
    patient = after(DOWN, attempts=3, memory=memory, quiet_for=60.0)
    assert (patient.action, patient.is_counted, patient.delay) == (Action.RETRY, False, 2.0)
    late = after(DOWN, attempts=3, memory=memory, quiet_for=60.1)
    assert (late.action, late.is_counted) == (Action.GIVE_UP, True)


def test_the_memory_of_a_part_counts_outages_in_a_row_and_never_forgets_a_doubt() -> None:
    memory = RetryMemory(Asking.FIRST).after(DOWN)
    assert memory == RetryMemory(Asking.FIRST, doubted=False, outages=1)
    assert memory.after(WRONG) == RetryMemory(Asking.NO, doubted=True, etag_differed=True, outages=0)
    assert memory.after(WRONG).after(LOST) == RetryMemory(Asking.AGAIN, doubted=True, etag_differed=True, outages=0)
    assert memory.after(SPOILED) == RetryMemory(Asking.NO, doubted=True, crc_differed=True, outages=0)
    assert memory.after(RECEIPT) is memory
