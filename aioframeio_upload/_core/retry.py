"""What became of an attempt, and what follows: the verdict of the table, and the wait before the next try."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import partial
from html import unescape
from itertools import islice

import backoff

from .faults import THROTTLED, Kind, Row, Verdict, find
from .model import Receipt
from .redact import redact, redact_id
from .settings import RetryPolicy


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong with one attempt, in words of ours: aiohttp's messages hold the URL."""

    kind: Kind
    reason: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds that the server asks for."""
    receipt: Receipt | None = None
    """With `Kind.ETAG`: what S3 acknowledged all the same."""
    unanswered: bool = False
    """Whether the connection broke after the server was asked for leave, and before it let the first byte through."""


def judge(fault: Fault) -> Verdict:
    """Decide what follows a fault."""
    return _row(fault).verdict


def explain(fault: Fault) -> str:
    """Say what a fault is: S3's own words, and ours where they help."""
    row = _row(fault)
    return f"{fault.reason} ({row.meaning})" if row.code is not None else fault.reason


def is_throttle(fault: Fault) -> bool:
    """Say whether S3 asks for fewer requests."""
    return fault.status == 503 or fault.code in THROTTLED


class Asking(Enum):
    """Whether an attempt asks for leave before it sends a part (`Expect: 100-continue`), and why."""

    NO = "not asked"
    FIRST = "asked, as the upload's first part"
    """Whoever cannot bear the question is sent the part without it, in the same attempt."""
    AGAIN = "asked, as a refusal may have been lost with the connection before"
    """Where this one breaks as well, the question need not be the reason: that is a failed attempt."""
    WITHOUT = "not asked, as the one before was, and broke"
    """Where this one is answered, the question was the reason."""


def next_asking(before: Asking, fault: Fault) -> Asking:
    """Decide whether to ask, after an attempt that asked so, or did not, has failed."""
    if fault.kind is Kind.LOST:
        return Asking.WITHOUT if fault.unanswered else Asking.AGAIN
    if fault.kind is Kind.REDIRECTED:
        return Asking.AGAIN  # a redirect that is not followed is best told before the body is sent for nothing
    return before if fault.kind in (Kind.UNREACHABLE, Kind.PAUSED) else Asking.NO


def may_be_asking(fault: Fault) -> bool:
    """Return whether an end before the first byte may be due to `Expect: 100-continue` itself.

    Boxes between here and S3 close the connection, reset it, or answer with an error of their own (RFC 9110, 10.1.1,
    lets a server that cannot meet the expectation do so). S3 names a `<Code>` or at least the request; and what asks
    for patience does not depend on the question.
    """
    if fault.kind is Kind.LOST or fault.status == 417:
        return True
    is_ours = fault.code is not None or fault.request_id is not None or fault.retry_after is not None
    return (
        fault.kind is Kind.REFUSED
        and (fault.status or 0) >= 400
        and fault.status not in (408, 429, 503)
        and not is_ours
    )


def is_of_s3(outcome: Receipt | Fault) -> bool:
    """Return whether an attempt was surely answered by S3, well or badly, and not by something in between."""
    return isinstance(outcome, Receipt) or outcome.code is not None or outcome.kind is Kind.ETAG


def _row(fault: Fault) -> Row:
    return find(fault.kind, fault.status, fault.code, fault.reason)


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
        self, kind: Kind, status: int | None, retry_after: float | None, *, began: float, now: float
    ) -> Again | None:
        """Count a failed try; return None where the call is given up.

        Args:
            kind: How it ended; `Kind.REFUSED` where an answer came.
            status: Of the answer.
            retry_after: Seconds that the answer asks for.
            began: When this try began.
            now: On the same clock.
        """
        if kind is not Kind.UNREACHABLE:
            self.outages, self.quiet_since = 0, now
        else:
            self.outages += 1
        quiet = now - (began if self.quiet_since is None else self.quiet_since)
        self.quiet_since = now - quiet
        attempt, is_patient = self.attempts + 1, kind is Kind.UNREACHABLE and quiet < self.policy.patience
        self.attempts += not is_patient
        passes = may_pass(status) if kind is Kind.REFUSED else find(kind, None, None, "").verdict is Verdict.AGAIN
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


def is_md5(etag: str | None) -> bool:
    """Say whether an ETag can be the MD5 of the bytes: 32 hex digits, which a multipart or KMS one has not."""
    return etag is not None and re.fullmatch(r"[0-9a-fA-F]{32}", etag) is not None


_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9_.]{1,80})\s*</Code>")
_XML_MESSAGE = re.compile(rb"<Message>([^<]{0,8192})")
_XML_REQUEST = re.compile(rb"<RequestId>\s*([A-Za-z0-9_\-]{1,80})\s*</RequestId>")


def read_refusal(
    status: int, headers: Mapping[str, str], body: bytes, now: datetime, links: Iterable[str] = ()
) -> Fault:
    """Read S3's refusal: an XML document, of which three elements count.

    A refusal may quote the request: what is secret in the `links` it was sent to is taken out.

    By pattern and not by parser: what is not XML (a proxy's HTML) is a refusal too, and no entity is ever expanded.
    """
    code, message, request = (found.search(body) for found in (_XML_CODE, _XML_MESSAGE, _XML_REQUEST))
    clean, clean_id = partial(redact, links=links, limit=300), partial(redact_id, links=links)
    words = clean(unescape(message[1].decode("utf-8", "replace")).strip()) if message else ""
    request_id = headers.get("x-amz-request-id") or (request[1].decode() if request else None)
    return Fault(
        Kind.REFUSED,
        words or "no reason was given",
        status=status,
        code=clean_id(code[1].decode()) if code else None,
        request_id=clean_id(request_id),
        retry_after=read_retry_after(headers, now),
    )
