"""One attempt at one part: a PUT to its presigned URL, which ends in a receipt or a fault."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from yarl import URL

from .._core.faults import Kind, Verdict
from .._core.model import Part, Receipt
from .._core.redact import Secret, redact_id, without_frames
from .._core.retry import Fault, is_md5, judge, read_refusal
from .body import Slice
from .files import Lent
from .gate import Gate, Guard
from .resources import Resources
from .wire import FAILURES, describe, read_bounded, unreachable, untrusted

OCTET_STREAM = "application/octet-stream"
"""What a link is signed for where Frame.io left the type null (the official SDK, from 1.2.8 on)."""

MAX_ANSWER = 1 << 16
"""Bytes: S3's refusals take a few hundred; a proxy's page may take more, and nobody reads it."""

MAX_REDIRECTS = 3
"""S3 sends a 307 while a bucket is young; a loop is a fault."""


EXPECT_FROM = 1 << 20
"""Bytes: an upload's first part of more than this can wait a round trip for leave to be sent (`Expect: 100-continue`).
After an ambiguous reset a part of any size asks."""

EXPECT_WAIT = 3.0
"""Seconds from the headers to S3's leave. botocore waits one and then sends; here the connection is given up for a new
one without the question, so a slow link gets more time."""


def is_worth_asking(size: int) -> bool:
    """Say whether a first part is so large that its server should be asked before it is sent."""
    return size > EXPECT_FROM


@dataclass(frozen=True, slots=True)
class _Stored:
    """What S3 says that it stored, in an answer without an error."""

    etag: str | None
    is_md5: bool
    """Whether the ETag should be the MD5 of the part."""
    request_id: str | None


class Attempt:
    """One attempt at a part as it runs; others look at `sent`.

    Args:
        part: Which.
        lent: Its bytes.
        media_type: What its link is signed for.
        gate: Its upload's pause.
        expect: Ask before the body whether it will be taken. S3 then refuses before gigabytes are sent; without, it
            refuses early and closes, which is often seen as a broken pipe only.
    """

    def __init__(self, part: Part, lent: Lent, media_type: str | None, gate: Gate, *, expect: bool = False) -> None:
        self._part = part
        self._lent = lent
        self._content_type = media_type or OCTET_STREAM
        self._gate = gate
        self._expect = expect
        self._body: Slice | None = None
        self.is_acknowledged = False
        """Whether S3 said that it has the part; known before its ETag is compared."""

    @property
    def sent(self) -> int:
        """Bytes of the part that have left."""
        return self._body.sent if self._body is not None else 0

    async def put(self, resources: Resources) -> Receipt | Fault:
        """Send the part once.

        Raises:
            SourceError: Its bytes could not be read.
        """
        # byte for byte as it was signed: yarl would rewrite %2F, %40 and %27 in the query
        link = Secret(URL(self._part.url, encoded=True))
        redirects = 0
        unanswered: str | None = None
        while redirects <= MAX_REDIRECTS:
            host = _address(link)
            ask = self._expect and host not in (unanswered, *resources.expectless)
            outcome = await self._put_to(link, resources, ask)
            if outcome is None:
                unanswered = host
                continue
            # Only now: what was silent may have been the link.
            if host == unanswered and not (isinstance(outcome, Fault) and outcome.status is None):
                resources.expectless.add(host)
            if isinstance(outcome, Secret):
                redirects, link = redirects + 1, outcome
            else:
                return outcome
        return Fault(Kind.LOST, "redirected in a circle", status=307)

    async def _put_to(
        self, link: Secret[URL], resources: Resources, expect: bool
    ) -> Receipt | Fault | Secret[URL] | None:
        """PUT to one URL.

        Another URL is where S3 redirects to (aiohttp is not to follow: it would re-quote it). None: whoever answers
        there, perhaps a proxy, does not know `Expect`.
        """
        size = self._part.size
        digest = hashlib.md5(usedforsecurity=False) if resources.check_etags else None
        guard = Guard(resources.timeouts.stall)
        body = Slice(
            self._lent, size, self._content_type, resources.blocks, digest, self._gate, resources.bandwidth, guard
        )
        self._body = body
        try:
            outcome = await self._exchange(link.reveal(), body, guard, resources, expect)
        except BaseException as error:
            without_frames(error)
            raise
        if body.source_error is not None:
            raise body.source_error
        if isinstance(outcome, _Stored):
            # A cancellation meanwhile must not take a whole file for a placeholder.
            receipt = _receipt(self._part, outcome, await resources.blocks.hexdigest(digest) if digest else None)
            self.is_acknowledged = isinstance(receipt, Receipt)
            return receipt
        self.is_acknowledged = False
        if guard.is_paused and isinstance(outcome, Fault) and judge(outcome) is Verdict.AGAIN:
            return Fault(Kind.PAUSED, f"ended by a pause: {outcome.reason}")
        return outcome

    async def _exchange(
        self, url: URL, body: Slice, guard: Guard, resources: Resources, expect: bool
    ) -> _Stored | Fault | Secret[URL] | None:
        """Send the body and read the answer; the frames from here on hold the link, and are in no traceback."""
        stall = resources.timeouts.stall
        headers = {"Content-Type": self._content_type, "x-amz-acl": "private"}
        connected = False

        def asked() -> None:
            nonlocal connected
            connected = True
            guard.asked(EXPECT_WAIT)

        try:
            async with (
                guard.deadline,
                resources.session.put(
                    url,
                    data=body,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=resources.timeouts.connect),
                    allow_redirects=False,
                    expect100=expect,
                    trace_request_ctx=asked if expect else None,
                    **resources.route_to(url, headers),
                ) as response,
            ):
                self.is_acknowledged = response.status == 200 and body.sent == self._part.size
                answer = await read_bounded(response, MAX_ANSWER) or b""
        except TimeoutError as error:
            is_late = guard.deadline.expired()
            if is_late and connected and not body.begun:
                return None
            return self._late(guard, connected or body.begun, stall) if is_late else _lost(error)
        except FAILURES as error:
            return _lost(error)
        return self._read(url, response, answer, body.sent, expect)

    def _read(
        self, url: URL, response: aiohttp.ClientResponse, answer: bytes, sent: int, expect: bool
    ) -> _Stored | Fault | Secret[URL] | None:
        """Read an answer: what S3 says that it stored, or as `_put_to` says."""
        if response.status == 417 and expect:
            return None
        links = [str(url), self._part.url]
        if response.status == 307 and (location := response.headers.get("Location")):
            target = _redirect(url, location)
            return Secret(target) if target else Fault(Kind.LOST, "redirected to no usable URL", status=307)
        if response.status != 200:
            return read_refusal(response.status, response.headers, answer, datetime.now(UTC), links)
        if sent != self._part.size:
            return Fault(Kind.LOST, f"answered after {sent} of {self._part.size} bytes", status=200)
        etag = response.headers.get("ETag", "").removeprefix("W/").strip('"')
        return _Stored(
            etag=redact_id(etag, links=links),
            is_md5=etag_is_md5(response, etag),
            request_id=redact_id(response.headers.get("x-amz-request-id"), links=links),
        )

    def _late(self, guard: Guard, connected: bool, stall: float) -> Fault:
        """Say what an attempt waited for in vain."""
        if guard.is_paused or not self._gate.is_open:
            return Fault(Kind.PAUSED, "paused for longer than S3 keeps a silent connection")
        if not connected:
            return Fault(Kind.UNREACHABLE, f"no connection in {stall:g} s")
        return Fault(Kind.STALLED, f"no byte moved for {stall:g} s")


def _lost(error: BaseException) -> Fault:
    kind = Kind.UNTRUSTED if untrusted(error) else Kind.UNREACHABLE if unreachable(error) else Kind.LOST
    return Fault(kind, describe(error))


def _receipt(part: Part, stored: _Stored, md5: str | None) -> Receipt | Fault:
    receipt = Receipt(part.number, part.size, stored.etag, md5)
    if md5 is None or not stored.is_md5 or (stored.etag or "").lower() == md5:
        return receipt
    return Fault(
        Kind.ETAG,
        "S3 acknowledged other bytes than were sent: its ETag is not their MD5",
        status=200,
        request_id=stored.request_id,
        receipt=receipt,
    )


def _address(link: Secret[URL]) -> str:
    """Return a link's host and port, which are no secret; user and password are."""
    return f"{link.reveal().host}:{link.reveal().port}"


def etag_is_md5(response: aiohttp.ClientResponse, etag: str | None) -> bool:
    """Say whether the ETag should be the MD5 of the part: not under KMS or a customer's key (S3 API, PutObject)."""
    encrypted = response.headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    customer_key = "x-amz-server-side-encryption-customer-algorithm" in response.headers
    return is_md5(etag) and not encrypted and not customer_key


def _redirect(url: URL, location: str) -> URL | None:
    try:
        target = URL(location, encoded=True)
        if not target.absolute:
            target = url.join(target)
        if not target.host or not 0 < (target.port or 0) < 1 << 16:
            return None
    except ValueError:
        return None
    # Never from TLS to plain text: the body is somebody's film.
    return target if target.scheme == url.scheme or target.scheme == "https" else None
