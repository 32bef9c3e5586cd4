"""How long to wait before the next attempt: full jitter, Retry-After, and the API's 429."""

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
    """Whether an attempt asks for leave before it sends a part (`Expect: 100-continue`), and why."""

    NO = "not asked"
    FIRST = "asked, as the upload's first part"
    """Whoever cannot bear the question is sent the part without it, in the same attempt."""
    AGAIN = "asked, as a refusal may have been lost with the connection before"
    """Where this one breaks as well, the question need not be the reason: that is a failed attempt."""
    WITHOUT = "not asked, as the one before was, and broke"
    """Where this one is answered, the question was the reason."""


def next_asking(before: Asking, fault: AttemptFailure) -> Asking:
    """Decide whether to ask, after an attempt that asked so, or did not, has failed."""
    if fault.kind is FailureKind.LOST:
        return Asking.WITHOUT if fault.unanswered else Asking.AGAIN
    if fault.kind is FailureKind.REDIRECTED:
        return Asking.AGAIN  # a redirect that is not followed is best told before the body is sent for nothing
    return before if fault.kind in (FailureKind.UNREACHABLE, FailureKind.PAUSED) else Asking.NO


def may_be_asking(fault: AttemptFailure) -> bool:
    """Return whether an end before the first byte may be due to `Expect: 100-continue` itself.

    Boxes between here and S3 close the connection, reset it, or answer with an error of their own (RFC 9110, 10.1.1,
    lets a server that cannot meet the expectation do so). S3 names a `<Code>` or at least the request; and what asks
    for patience does not depend on the question.
    """
    if fault.kind is FailureKind.LOST or fault.status == 417:
        return True
    is_ours = fault.code is not None or fault.request_id is not None or fault.retry_after is not None
    return (
        fault.kind is FailureKind.REFUSED
        and (fault.status or 0) >= 400
        and fault.status not in (408, 429, 503)
        and not is_ours
    )


def is_of_s3(outcome: Receipt | AttemptFailure) -> bool:
    """Return whether an attempt was surely answered by S3, well or badly, and not by something in between."""
    return isinstance(outcome, Receipt) or outcome.code is not None or outcome.kind is FailureKind.ETAG


@dataclass(frozen=True, slots=True)
class Again:
    """Another try of an API call follows."""

    attempt: int
    """The one that failed, from 1."""
    delay: float
    is_patient: bool
    """Whether the failed try used up no attempt."""


@dataclass(slots=True)
class CallTries:
    """Decide what follows each failed try of one API call. Owned by the call."""

    policy: RetryPolicy
    attempts: int = 0
    """Those that were used up."""
    outages: int = 0
    """Tries in a row that found no connection."""
    refusals: int = 0
    """Answers of 429."""
    quiet_since: float | None = None
    """When the service was last there, or else when the first try began."""

    def fail(
        self, kind: FailureKind, status: int | None, retry_after: float | None, *, began: float, now: float
    ) -> Again | None:
        """Count a failed try; return None where the call is given up.

        Args:
            kind: How it ended; `Kind.REFUSED` where an answer came.
            status: Of the answer.
            retry_after: Seconds that the answer asks for.
            began: When this try began.
            now: On the same clock.
        """
        if kind is not FailureKind.UNREACHABLE:
            self.outages, self.quiet_since = 0, now
        else:
            self.outages += 1
        quiet = now - (began if self.quiet_since is None else self.quiet_since)
        self.quiet_since = now - quiet
        attempt, is_patient = self.attempts + 1, kind is FailureKind.UNREACHABLE and quiet < self.policy.patience
        self.attempts += not is_patient
        passes = (
            may_pass(status) if kind is FailureKind.REFUSED else find(kind, None, None, "").verdict is Verdict.AGAIN
        )
        if not passes or (not is_patient and self.attempts >= self.policy.attempts):
            return None
        if status == 429:
            self.refusals += 1
            return Again(attempt, wait_after_429(self.refusals, retry_after), is_patient)
        number = self.outages if is_patient else attempt
        return Again(attempt, wait_before(self.policy, number, retry_after), is_patient)


MAX_RETRY_AFTER = 300.0
"""Seconds: a server that asks for more is not obeyed, or one wrong header would park an upload for a day."""


def wait_before(
    policy: RetryPolicy,
    attempt: int,
    retry_after: float | None = None,
    jitter: Callable[[float], float] = backoff.full_jitter,
) -> float:
    """Give the seconds between a failed attempt and the next: what the server asks for, else full jitter.

    Args:
        policy: Its `base` and `cap` bound the draw.
        attempt: The one that failed, from 1.
        retry_after: What the server asked for.
        jitter: Chance, as an argument.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), MAX_RETRY_AFTER)
    return jitter(widest_wait(policy, attempt))


def widest_wait(policy: RetryPolicy, attempt: int) -> float:
    """Give the upper end of the range that the wait after `attempt` is drawn from."""
    series = backoff.expo(factor=policy.base, max_value=policy.cap)
    # backoff 2 yields a None first, for its own send(). The exponent is bounded: 2 ** 1024 is no float.
    return next(islice(series, min(attempt, 64), None))


def may_pass(status: int | None) -> bool:
    """Say whether a call of the API may work later: its answer tells of a passing state."""
    return status is None or status in (408, 429) or status >= 500


def may_have_acted(status: int | None) -> bool:
    """Return whether the service may have done what a call asked for, although its answer does not tell so."""
    return status is None or status >= 500 or 200 <= status < 300


def wait_after_429(refusals: int, retry_after: float | None = None) -> float:
    """Give the seconds after the n-th 429 of the API in a row: at least one, then doubling.

    That is what Frame.io's guide asks for; it documents no Retry-After, but one that comes is obeyed.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), MAX_RETRY_AFTER)
    return min(2.0 ** (min(refusals, 64) - 1), MAX_RETRY_AFTER)


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `Retry-After`, seconds or a date; a date counts from the answer's own `Date`, not from our clock."""
    said = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", said):
        return float(said)
    until = _http_date(said)
    if until is None:
        return None
    since = _http_date(headers.get("Date", "")) or now
    return max((until - since).total_seconds(), 0.0)


def _http_date(text: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
