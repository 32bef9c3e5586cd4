"""Compute the delay before the next attempt, and whether that attempt asks with `Expect: 100-continue`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from itertools import islice

import backoff

from .failures import AttemptFailure, FailureKind, Verdict, find
from .model import Receipt
from .settings import RetryPolicy


class Asking(Enum):
    """Whether an attempt sends `Expect: 100-continue` and waits for S3's answer before the body, and why."""

    NO = "not asked"
    FIRST = "asked, as the upload's first part"
    """If the server cannot handle `Expect`, the same attempt sends the part without it."""
    AGAIN = "asked, as a refusal may have been lost with the connection before"
    """If this attempt breaks too, `Expect` need not be the reason: the attempt has failed."""
    WITHOUT = "not asked, as the one before was, and broke"
    """If this attempt is answered, `Expect` was the reason."""


def next_asking(before: Asking, failure: AttemptFailure) -> Asking:
    """Decide whether the attempt after a failure asks.

    Args:
        before: Whether the attempt that failed did.
        failure: How it failed.
    """
    if failure.kind is FailureKind.LOST:
        return Asking.WITHOUT if failure.unanswered else Asking.AGAIN
    if failure.kind is FailureKind.REDIRECTED:
        return Asking.AGAIN  # so that the next such redirect comes before the body is sent in vain
    return before if failure.kind in (FailureKind.UNREACHABLE, FailureKind.PAUSED) else Asking.NO


def may_be_asking(failure: AttemptFailure) -> bool:
    """Return whether a failure before the first byte may be due to `Expect: 100-continue` itself.

    Proxies and firewalls on the way to S3 close the connection, reset it, or answer with an error of their own
    (RFC 9110, 10.1.1, allows that to a server that cannot meet the expectation). An answer of S3 has a `<Code>` or at
    least a request ID, and one with a `Retry-After` does not depend on `Expect`.
    """
    if failure.kind is FailureKind.LOST or failure.status == 417:
        return True
    is_from_s3 = failure.code is not None or failure.request_id is not None or failure.retry_after is not None
    return (
        failure.kind is FailureKind.REFUSED
        and (failure.status or 0) >= 400
        and failure.status not in (408, 429, 503)
        and not is_from_s3
    )


def is_of_s3(outcome: Receipt | AttemptFailure) -> bool:
    """Return whether S3 itself answered an attempt for certain, and not a proxy on the way."""
    return (
        isinstance(outcome, Receipt) or outcome.code is not None or outcome.kind in (FailureKind.ETAG, FailureKind.CRC)
    )


@dataclass(frozen=True, slots=True)
class Again:
    """The API call is tried again."""

    attempt: int
    """Number of the attempt that failed, from 1."""
    delay: float
    """Seconds until then."""
    is_patient: bool
    """Whether the failed try used up no attempt."""


@dataclass(slots=True)
class CallTries:
    """Decide what follows each failed try of one API call. Owned by the call."""

    policy: RetryPolicy
    attempts: int = 0
    """Attempts that are used up."""
    outages: int = 0
    """Tries in a row without a connection."""
    refusals: int = 0
    """Answers with status 429 in a row."""
    quiet_since: float | None = None
    """When the service last answered, or else when the first try began."""

    def fail(  # noqa: PLR0913  # the facts of one try, each of another kind
        self,
        kind: FailureKind,
        status: int | None,
        retry_after: float | None,
        *,
        began: float,
        now: float,
        passed_at: float | None = None,
        refusals: int | None = None,
    ) -> Again | None:
        """Count a failed try; return None if the call is given up.

        Args:
            kind: How it failed; `FailureKind.REFUSED` if an answer came.
            status: The status of the answer.
            retry_after: Seconds that the answer asks for.
            began: When this try began.
            now: The time, on the same clock.
            passed_at: When the service last let a call of that operation pass, for this process; None: never. While it
                does so within `RetryPolicy.patience`, a 429 uses up no attempt: the limits are for a user, who may have
                many processes, and each of them gets its turn.
            refusals: How often in a row the service refused that operation with 429 in this process; None: unknown, so
                that this call's own refusals count. After a call that was granted in between, the delay is a second
                again: the guide asks to double it "until normal". Where the operation was refused in this process as
                often as a call has attempts, this call's second refusal is its last: calls that wait behind each other
                would otherwise each find out for themselves.
        """
        if kind is not FailureKind.UNREACHABLE:
            self.outages, self.quiet_since = 0, now
        else:
            self.outages += 1
        quiet = now - (began if self.quiet_since is None else self.quiet_since)
        self.quiet_since = now - quiet
        is_away = kind is FailureKind.UNREACHABLE and quiet < self.policy.patience
        is_shared = status == 429 and passed_at is not None and now - passed_at < self.policy.patience
        attempt, is_patient = self.attempts + 1, is_away or is_shared
        self.attempts += not is_patient
        passes = (
            may_pass(status) if kind is FailureKind.REFUSED else find(kind, None, None, "").verdict is Verdict.AGAIN
        )
        is_hopeless = status == 429 and self.attempts > 1 and (refusals or 0) >= self.policy.attempts
        if not passes or (not is_patient and (self.attempts >= self.policy.attempts or is_hopeless)):
            return None
        if status == 429:
            self.refusals = self.refusals + 1 if refusals is None else refusals
            delay = wait_after_429(self.refusals, retry_after)
            if is_shared and retry_after is None:
                delay = min(delay, max(1.0, self.policy.cap))  # it does not end after a few, so it must not grow on
            return Again(attempt, delay, is_patient)
        number = self.outages if is_patient else attempt
        return Again(attempt, wait_before(self.policy, number, retry_after), is_patient)


MAX_RETRY_AFTER = 300.0
"""Seconds. Longer values are cut: one wrong header must not stop an upload for a day."""


def wait_before(
    policy: RetryPolicy,
    attempt: int,
    retry_after: float | None = None,
    jitter: Callable[[float], float] = backoff.full_jitter,
) -> float:
    """Return the seconds between a failed attempt and the next: what the server asks for, else full jitter.

    Args:
        policy: Its `base` and `cap` limit the random delay.
        attempt: Number of the attempt that failed, from 1.
        retry_after: Seconds that the server asks for.
        jitter: Returns a random number from 0 to its argument.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), MAX_RETRY_AFTER)
    return jitter(widest_wait(policy, attempt))


def widest_wait(policy: RetryPolicy, attempt: int) -> float:
    """Return the upper end of the range that the delay after `attempt` is drawn from."""
    series = backoff.expo(factor=policy.base, max_value=policy.cap)
    # backoff 2 yields a None first, for its own send(). The exponent is bounded: 2 ** 1024 does not fit a float.
    return next(islice(series, min(attempt, 64), None))


def may_pass(status: int | None) -> bool:
    """Return whether an API call may work later, going by the status of its answer; None: no answer came."""
    return status is None or status in (408, 429) or status >= 500


def may_have_acted(status: int | None) -> bool:
    """Return whether the service may have done what a call asked for, although the answer does not confirm it."""
    return status is None or status >= 500 or 200 <= status < 300


def wait_after_429(refusals: int, retry_after: float | None = None) -> float:
    """Return the delay after the n-th 429 of the API in a row: one second, then doubled each time.

    Frame.io's guide asks for that. It does not document a `Retry-After`, but one that comes is obeyed.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), MAX_RETRY_AFTER)
    return min(2.0 ** (min(refusals, 64) - 1), MAX_RETRY_AFTER)


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `Retry-After` as seconds, at most `MAX_RETRY_AFTER`; None if there is none, or it is not valid.

    A date counts from the answer's own `Date`: the local clock may be wrong.
    """
    value = headers.get("Retry-After", "").strip()
    # RFC 9110, 10.2.3: any number of ASCII digits. `float` reads them all, where `int` refuses more than 4,300.
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), MAX_RETRY_AFTER)
    until = _http_date(value)
    if until is None:
        return None
    since = _http_date(headers.get("Date", "")) or now
    return min(max((until - since).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
