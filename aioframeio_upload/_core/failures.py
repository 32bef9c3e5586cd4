"""The table of failed attempts: what each looks like, and what follows (retry, new links, give up)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .model import Receipt


class FailureKind(Enum):
    """How an attempt ended without a receipt."""

    REFUSED = "refused"
    """An answer came that does not acknowledge the part."""
    UNREACHABLE = "unreachable"
    """No connection was made, so no byte was sent."""
    UNTRUSTED = "untrusted"
    """The server's certificate is not trusted."""
    MISCONFIGURED = "misconfigured"
    """No request can be made with these settings, now or later."""
    CROWDED = "crowded"
    """No connection of the caller's pool became free, so nothing was sent; the network has no part in it."""
    LOST = "lost"
    """The connection broke, or the answer could not be read; it may have been a refusal."""
    STALLED = "stalled"
    """No byte moved for `Timeouts.stall`, or no answer came within `Timeouts.answer` of the last one."""
    CRC = "crc"
    """S3 stored other bytes than were sent: the CRC that it computed of them differs."""
    ETAG = "etag"
    """S3 seems to have stored other bytes than were sent: its ETag looks like an MD5, and not like theirs."""
    REDIRECTED = "redirected"
    """S3, or a server in its place, redirects the part to a host that must not get it, or in a circle."""
    SLOW = "slow"
    """Nothing failed: the connection was far slower than the others, so that a new one is used."""
    PAUSED = "paused"
    """Nothing failed: a pause was longer than S3 keeps a silent connection."""


class Verdict(Enum):
    """What follows a failure."""

    AGAIN = "tried again"
    NEW_LINKS = "new links"
    GIVE_UP = "given up at once"
    EXHAUSTED = "exhausted"
    """Given up at once, and not rejected: what was sent is kept."""


@dataclass(frozen=True, slots=True)
class FailureRule:
    """One row of the table: what a failure looks like, what follows it, and the source of that rule."""

    kind: FailureKind
    verdict: Verdict
    source: str
    code: str | None = None
    """S3's `<Code>`; None: any."""
    status: tuple[int, int] | None = None
    """The HTTP status, from and to; None: any."""
    words: str | None = None
    """Words in S3's `<Message>`, in lower case; None: any."""
    meaning: str = ""
    """Explanation for the error message and for `docs/faults.md`."""

    def fits(self, kind: FailureKind, status: int | None, code: str | None, reason: str) -> bool:
        """Return whether a failure matches this row."""
        return (
            kind is self.kind
            and (self.code is None or self.code == code)
            and (self.status is None or (status is not None and self.status[0] <= status <= self.status[1]))
            and (self.words is None or self.words in reason.lower())
        )


_S3 = "Amazon S3 API reference, Error responses"
_BOTOCORE = "botocore 1.44 `retries/standard.py`"
_HTTP = "RFC 9110"
_AIOHTTP = "aiohttp 3.14 `client_exceptions.py`"
_AIOHTTP_POOL = "aiohttp 3.14 `connector.py`"

_REFUSED = FailureKind.REFUSED
_AGAIN, _NEW_LINKS, _GIVE_UP = Verdict.AGAIN, Verdict.NEW_LINKS, Verdict.GIVE_UP


def _code(code: str, verdict: Verdict, source: str, meaning: str, words: str | None = None) -> FailureRule:
    return FailureRule(_REFUSED, verdict, source, code=code, words=words, meaning=meaning)


FAILURES: tuple[FailureRule, ...] = (
    _code("AccessDenied", _NEW_LINKS, _S3, "the link has expired", words="request has expired"),
    _code("ExpiredToken", _NEW_LINKS, _S3, "the credentials behind the link have expired"),
    _code("SlowDown", _AGAIN, _S3, "too many requests; fewer parts are in flight for a while"),
    _code("ServiceUnavailable", _AGAIN, _BOTOCORE, "S3 is overloaded; fewer parts are in flight for a while"),
    _code("InternalError", _AGAIN, _S3, "S3 failed"),
    _code("RequestTimeout", _AGAIN, _BOTOCORE, "a 400: the connection was silent for 20 to 30 s"),
    _code("Throttling", _AGAIN, _BOTOCORE, "a 400: too many requests; fewer parts are in flight for a while"),
    _code("BadDigest", _AGAIN, _S3, "the bytes were changed on the way"),
    _code("IncompleteBody", _AGAIN, _S3, "the body ended early"),
    _code("SignatureDoesNotMatch", _GIVE_UP, _S3, "the link, the media type or a header differs from what was signed"),
    _code("AccessDenied", _GIVE_UP, _S3, "the link does not allow this request"),
    _code("RequestTimeTooSkewed", _GIVE_UP, _S3, "S3's clock and that of the server that signed the link differ"),
    _code("NoSuchUpload", _GIVE_UP, _S3, "another client ended the upload"),
    _code("EntityTooLarge", _GIVE_UP, _S3, "the part is larger than S3 accepts"),
    _code("EntityTooSmall", _GIVE_UP, _S3, "the part is smaller than S3 accepts"),
    _code("NotImplemented", _GIVE_UP, _S3, "a 501: the request contains a header that S3 does not know"),
    FailureRule(_REFUSED, _AGAIN, _HTTP, status=(408, 408), meaning="the server waited too long for the request"),
    FailureRule(_REFUSED, _AGAIN, _HTTP, status=(429, 429), meaning="too many requests"),
    FailureRule(_REFUSED, _AGAIN, _BOTOCORE, status=(500, 599), meaning="the server failed"),
    FailureRule(_REFUSED, _GIVE_UP, _HTTP, status=(400, 499), meaning="any other refusal"),
    FailureRule(_REFUSED, _GIVE_UP, _HTTP, status=(300, 399), meaning="a redirect other than S3's temporary one (307)"),
    FailureRule(
        _REFUSED,
        _AGAIN,
        "Amazon S3 API reference, UploadPart",
        status=(200, 200),
        meaning="a body, which S3 does not send: a network's login page or a gateway's message; nothing was stored",
    ),
    FailureRule(_REFUSED, _AGAIN, _HTTP, meaning="an answer that HTTP does not define for a PUT, as from a proxy"),
    FailureRule(FailureKind.UNTRUSTED, _GIVE_UP, _AIOHTTP, meaning="the server's certificate is not trusted"),
    FailureRule(
        FailureKind.MISCONFIGURED,
        _GIVE_UP,
        _AIOHTTP,
        meaning="an invalid URL, a proxy that wants other credentials (407) or refuses the request (4xx), "
        "a server without TLS or without a TLS version in common",
    ),
    FailureRule(
        FailureKind.UNREACHABLE,
        _AGAIN,
        _AIOHTTP,
        meaning="no connection: name not found, connection refused, host unreachable, handshake broken off, timeout, "
        "a proxy that cannot connect (502 to 504); uses up no attempt within `RetryPolicy.patience`",
    ),
    FailureRule(
        FailureKind.CROWDED,
        Verdict.EXHAUSTED,
        _AIOHTTP_POOL,
        meaning="other requests used all connections that the connector of `session=` allows, for `Timeouts.pool`",
    ),
    FailureRule(
        FailureKind.LOST, _AGAIN, _AIOHTTP, meaning="the connection broke, or the answer was lost or unreadable"
    ),
    FailureRule(
        FailureKind.REDIRECTED,
        _AGAIN,
        _HTTP,
        meaning="a 307 to a host that is neither S3 nor the link's, from https to http, or in a circle; it is not "
        "followed",
    ),
    FailureRule(
        FailureKind.STALLED,
        _AGAIN,
        "`Timeouts.stall`, `Timeouts.answer`",
        meaning="no byte moved, whichever side was stuck; or no answer came after the last byte",
    ),
    FailureRule(
        FailureKind.CRC,
        _AGAIN,
        "Amazon S3 user guide, Checking object integrity",
        meaning="S3 stored other bytes than were sent: its CRC differs; never a reason to stop comparing",
    ),
    FailureRule(
        FailureKind.ETAG,
        _AGAIN,
        "Amazon S3 API reference, Object (ETag)",
        meaning="no CRC in the answer, and the ETag is another MD5; if that repeats on a host where none ever matched, "
        "MD5s are not compared there any more",
    ),
    FailureRule(
        FailureKind.SLOW,
        _AGAIN,
        "`_core/stragglers.py`",
        meaning="the connection of a stream's part moves a few percent of what the others do; sent again at once on a "
        "new one; does not count as an attempt",
    ),
    FailureRule(
        FailureKind.PAUSED,
        _AGAIN,
        "`Upload.pause()`",
        meaning="a pause of more than 15 s; does not count as an attempt",
    ),
)
"""The first row that matches counts."""

THROTTLED = frozenset({"SlowDown", "ServiceUnavailable", "Throttling"})
"""Codes with which S3 asks for fewer requests (S3 user guide, "Optimizing performance"; botocore)."""


def find(kind: FailureKind, status: int | None, code: str | None, reason: str) -> FailureRule:
    """Return the first row of the table that matches; every failure has one."""
    return next(row for row in FAILURES if row.fits(kind, status, code, reason))


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """Describe how one attempt failed. The reason is in our own words: aiohttp's messages contain the URL."""

    kind: FailureKind
    reason: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds that the server asks for."""
    receipt: Receipt | None = None
    """With `FailureKind.ETAG`: what S3 acknowledged."""
    unanswered: bool = False
    """Whether the connection broke after `Expect: 100-continue` was sent, and before the server answered it."""


def rule_for(failure: AttemptFailure) -> FailureRule:
    """Return the row of the table that a failure matches."""
    return find(failure.kind, failure.status, failure.code, failure.reason)


def judge(failure: AttemptFailure) -> Verdict:
    """Return what follows a failure."""
    return rule_for(failure).verdict


def explain(failure: AttemptFailure, rule: FailureRule | None = None) -> str:
    """Return S3's own words about a failure, with the table's meaning where S3 gave a code.

    Args:
        failure: The failure.
        rule: Its row in the table, where that is already known.
    """
    rule = rule or rule_for(failure)
    return f"{failure.reason} ({rule.meaning})" if rule.code is not None else failure.reason


def is_throttle(failure: AttemptFailure) -> bool:
    """Return whether S3 asks for fewer requests."""
    return failure.status == 503 or failure.code in THROTTLED
