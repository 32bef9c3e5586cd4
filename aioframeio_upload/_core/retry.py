"""What became of an attempt, and what follows: a fault, a verdict on it, and the wait before the next try.

The table `_BY_CODE` is the whole policy for S3's answers; what no row names is judged by its HTTP status.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from html import unescape
from itertools import islice

import backoff

from .model import Receipt
from .settings import RetryPolicy


class Kind(Enum):
    """How an attempt failed."""

    REFUSED = "refused"
    """S3 answered, and not with 200."""
    UNREACHABLE = "unreachable"
    """No connection was made, so not a byte went out."""
    LOST = "lost"
    """The connection broke, or gave no answer that could be read; a refusal may have been lost with it."""
    STALLED = "stalled"
    """No byte moved for `Timeouts.stall`."""
    ETAG = "etag"
    """S3 stored something else than was sent."""


class Verdict(Enum):
    """What follows a fault."""

    AGAIN = "again"
    NEW_LINKS = "new links"
    GIVE_UP = "give up"


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


_BY_CODE: Mapping[str, Verdict] = {
    # docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; botocore retries/standard.py takes the same for
    # transient or throttling.
    "InternalError": Verdict.AGAIN,
    "SlowDown": Verdict.AGAIN,
    "ServiceUnavailable": Verdict.AGAIN,
    "RequestTimeout": Verdict.AGAIN,  # a 400: the socket was silent for 20 to 30 s
    "Throttling": Verdict.AGAIN,
    "ExpiredToken": Verdict.NEW_LINKS,  # a 400: the credentials behind the link have died
}

_AGAIN_STATUS = frozenset({408, 429, 500, 502, 503, 504})

_EXPIRED = "request has expired"
"""S3's words for a dead link; its code is the `AccessDenied` of every other refusal."""


def judge(fault: Fault) -> Verdict:
    """Decide what follows a fault."""
    if fault.kind is not Kind.REFUSED:
        return Verdict.AGAIN
    if fault.code == "AccessDenied" and _EXPIRED in fault.reason.lower():
        return Verdict.NEW_LINKS
    by_status = Verdict.AGAIN if fault.status in _AGAIN_STATUS else Verdict.GIVE_UP
    return _BY_CODE.get(fault.code or "", by_status)


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


def read_refusal(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Fault:
    """Read S3's refusal: an XML document, of which three elements count.

    By pattern and not by parser: what is not XML (a proxy's HTML) is a refusal too, and no entity is ever expanded.
    """
    code, message, request = (found.search(body) for found in (_XML_CODE, _XML_MESSAGE, _XML_REQUEST))
    # Cut last: half of a link might not look like one.
    words = without_links(unescape(message[1].decode("utf-8", "replace")).strip())[:300] if message else ""
    request_id = headers.get("x-amz-request-id") or (request[1].decode() if request else None)
    return Fault(
        Kind.REFUSED,
        words or "no reason was given",
        status=status,
        code=code[1].decode() if code else None,
        request_id=request_id[:120] if request_id else None,
        retry_after=read_retry_after(headers, now),
    )


_LINK = re.compile(r"https?://|[?&]X-Amz-|X-Amz-[A-Za-z-]+=|Signature=|Credential=", re.IGNORECASE)


def without_links(words: str) -> str:
    """Take the URLs out of a server's words: a refusal may quote the request, and its query is a credential."""
    return re.sub(r"\S+", lambda word: "…" if _LINK.search(word[0]) else word[0], words)
