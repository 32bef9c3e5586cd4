"""Decide what follows an attempt at a part: accept it, send it again after a delay, or give the upload up.

`decide` is pure: the time, the memory of earlier attempts and chance are arguments. `PartUploader` obeys the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import backoff

from .backoff import Asking, next_asking, wait_before
from .errors import IntegrityError, LinksExpired, PartError, PartExhausted, PartRejected, UploadError
from .failures import AttemptFailure, FailureKind, Verdict, explain, rule_for
from .model import Receipt
from .settings import RetryPolicy
from .words import CHECK_NETWORK, CHECK_PROXY, LOOK_ON_THE_WAY, RAISE_POOL, TRUST

_SPOILING = (FailureKind.CRC, FailureKind.ETAG)
"""Failures after which S3 may have other bytes than were sent."""


class Action(Enum):
    """What follows an attempt."""

    ACCEPT = "accept"
    """S3 has the part: record its receipt."""
    RETRY = "retry"
    """Publish the error and send the part again after the delay."""
    WAIT = "wait"
    """A pause ended the attempt, so nothing failed: send the part again when the upload is resumed."""
    GIVE_UP = "give up"
    """Raise the error: no further attempt helps."""
    SPOILED = "spoiled"
    """Raise the error: the file may contain other bytes than were sent, and only a new one helps."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows an attempt, with everything that is needed to do it."""

    action: Action
    delay: float = 0.0
    """Seconds before the next attempt."""
    error: UploadError | None = None
    """What is published with a retry, or raised."""
    receipt: Receipt | None = None
    """With `ACCEPT`: what is recorded."""
    is_checked: bool = True
    """With `ACCEPT`: False where the checksum differed, on a host whose ETags do not seem to be checksums."""
    is_counted: bool = True
    """Whether the attempt counts towards `RetryPolicy.attempts`."""
    reason: str = ""
    """With `WAIT`: how the pause ended the attempt."""


@dataclass(frozen=True, slots=True)
class RetryMemory:
    """What earlier attempts at one part showed. Each attempt is followed by a new record."""

    asking: Asking = Asking.NO
    """Whether the next attempt sends `Expect: 100-continue`."""
    doubted: bool = False
    """Whether S3 acknowledged other bytes than were sent."""
    crc_differed: bool = False
    """Whether a CRC showed that, which leaves no doubt."""
    etag_differed: bool = False
    """Whether an ETag showed that, which may mean that the ETags of its host are not MD5s."""
    outages: int = 0
    """Attempts in a row without a connection."""

    def after(self, outcome: Receipt | AttemptFailure) -> RetryMemory:
        """Return the memory after one more attempt."""
        if isinstance(outcome, Receipt):
            return self
        return replace(
            self,
            asking=next_asking(self.asking, outcome),
            doubted=self.doubted or outcome.kind in _SPOILING,
            crc_differed=self.crc_differed or outcome.kind is FailureKind.CRC,
            etag_differed=self.etag_differed or outcome.kind is FailureKind.ETAG,
            outages=self.outages + 1 if outcome.kind is FailureKind.UNREACHABLE else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of a part and its upload after an attempt."""

    number: int
    file_id: str
    attempts: int
    """Attempts at the part that count, with this one."""
    memory: RetryMemory
    """With this attempt."""
    quiet_for: float
    """Seconds since S3 acknowledged any part of the upload."""
    may_be_whole: bool
    """Whether S3 may have every part, so that the service may have put the file together."""


SPOILED = "S3 stored other bytes than were sent, and the file may have been put together from them"


def decide(
    outcome: Receipt | AttemptFailure,
    accepted: Receipt | None,
    situation: Situation,
    policy: RetryPolicy,
    jitter: Callable[[float], float] = backoff.full_jitter,
) -> Decision:
    """Decide what follows an attempt.

    Args:
        outcome: The outcome of the attempt.
        accepted: The receipt to record; with a failure, one whose ETag proves nothing on that host (`HostChecksums`).
        situation: The state of the part and its upload.
        policy: The retry policy of the Uploader.
        jitter: Returns a random number from 0 to its argument.
    """
    if accepted is not None:
        # The service puts a file together as soon as every part is there; a later PUT does not change it.
        is_spoiled = situation.memory.doubted if accepted is outcome else situation.memory.crc_differed
        if is_spoiled and situation.may_be_whole:
            error = IntegrityError(SPOILED, number=situation.number, attempts=situation.attempts)
            return Decision(Action.SPOILED, error=error)
        return Decision(Action.ACCEPT, receipt=accepted, is_checked=accepted is outcome)
    assert isinstance(outcome, AttemptFailure)
    if outcome.kind is FailureKind.PAUSED:
        return Decision(Action.WAIT, is_counted=False, reason=outcome.reason)
    return _after_failure(outcome, situation, policy, jitter)


def _after_failure(
    failure: AttemptFailure, situation: Situation, policy: RetryPolicy, jitter: Callable[[float], float]
) -> Decision:
    rule = rule_for(failure)
    reason, outages = explain(failure, rule), situation.memory.outages
    if failure.kind is FailureKind.SLOW:
        return Decision(Action.RETRY, error=_error_of(failure, reason, situation), is_counted=False)
    # A network that is down is no failure of the part: it costs no attempt within `RetryPolicy.patience`.
    is_patient = bool(outages) and situation.quiet_for <= policy.patience
    error = _error_of(failure, reason, situation)
    final: UploadError | None = None
    is_exhausted = rule.verdict is Verdict.EXHAUSTED
    if rule.verdict is Verdict.GIVE_UP:
        final = PartRejected.of(error, reason, advice=_ADVICE.get(failure.kind))
    elif rule.verdict is Verdict.NEW_LINKS:
        expired = f"part {situation.number}: S3 says that its link has expired"
        final = LinksExpired(expired, file_id=situation.file_id)
    elif is_exhausted or (not is_patient and situation.attempts >= policy.attempts):
        if failure.kind in _SPOILING:
            final = IntegrityError.of(error, reason)
        elif situation.memory.crc_differed and situation.may_be_whole:
            final = IntegrityError.of(error, f"{SPOILED}; the last attempt: {reason}")
        else:
            words = reason if is_exhausted else f"every attempt failed; the last: {reason}"
            final = PartExhausted.of(error, words, advice=_ADVICE.get(failure.kind))
            final.__cause__ = error
    if final is not None:
        action, delay = Action.GIVE_UP, 0.0
    else:
        attempt = outages if is_patient else situation.attempts
        action, delay = Action.RETRY, wait_before(policy, attempt, failure.retry_after, jitter)
    return Decision(action, delay, final or error, is_counted=not is_patient)


_ADVICE = {
    FailureKind.UNTRUSTED: TRUST,
    FailureKind.MISCONFIGURED: CHECK_PROXY,
    FailureKind.UNREACHABLE: CHECK_NETWORK,
    FailureKind.CROWDED: RAISE_POOL,
    FailureKind.REDIRECTED: LOOK_ON_THE_WAY,
}
"""Where the kind of failure says more than S3's answer does."""


def _error_of(failure: AttemptFailure, reason: str, situation: Situation) -> PartError:
    return PartError(
        reason,
        number=situation.number,
        attempts=situation.attempts,
        status=failure.status,
        code=failure.code,
        request_id=failure.request_id,
    )
