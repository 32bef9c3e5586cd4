"""One attempt at one part: a PUT to its presigned URL, which ends in a receipt or a fault."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime

import aiohttp
from yarl import URL

from .._core.model import Part, Receipt
from .._core.retry import Fault, Kind, is_md5, read_refusal
from .body import Slice
from .files import Lent
from .resources import Resources
from .wire import FAILURES, describe, never_sent, read_bounded

OCTET_STREAM = "application/octet-stream"
"""What a link is signed for where Frame.io left the type null (the official SDK, from 1.2.8 on)."""

MAX_ANSWER = 1 << 16
"""Bytes: S3's refusals take a few hundred; a proxy's page may take more, and nobody reads it."""

MAX_REDIRECTS = 3
"""S3 sends a 307 while a bucket is young; a loop is a fault."""


EXPECT_FROM = 1 << 20
"""Bytes: a part of more than this can wait a round trip for leave to be sent (`Expect: 100-continue`)."""

EXPECT_WAIT = 3.0
"""Seconds from the headers to S3's leave. botocore waits one and then sends; here the connection is given up for a new
one without the question, so a slow link gets more time."""


class Attempt:
    """An attempt as it runs. Owned by `put`; others look at `sent`."""

    def __init__(self) -> None:
        self.body: Slice | None = None

    @property
    def sent(self) -> int:
        """Bytes of the part that have left."""
        return self.body.sent if self.body is not None else 0

    async def put(
        self, part: Part, lent: Lent, media_type: str | None, resources: Resources, *, expect: bool = False
    ) -> Receipt | Fault:
        """Send the part once.

        Args:
            part: Which.
            lent: Its bytes.
            media_type: What its link is signed for.
            resources: What to use.
            expect: Ask before the body whether it will be taken. S3 then refuses before gigabytes are sent; without, it
                refuses early and closes, which is often seen as a broken pipe only.

        Raises:
            SourceError: Its bytes could not be read.
        """
        # byte for byte as it was signed: yarl would rewrite %2F, %40 and %27 in the query
        url = URL(part.url, encoded=True)
        redirects = 0
        while redirects <= MAX_REDIRECTS:
            ask = expect and part.size > EXPECT_FROM and url.authority not in resources.expectless
            outcome = await self._put_to(url, part, lent, media_type or OCTET_STREAM, resources, ask)
            if outcome is None:
                resources.expectless.add(url.authority)
            elif isinstance(outcome, URL):
                redirects, url = redirects + 1, outcome
            else:
                return outcome
        return Fault(Kind.LOST, "redirected in a circle", status=307)

    async def _put_to(
        self, url: URL, part: Part, lent: Lent, content_type: str, resources: Resources, expect: bool
    ) -> Receipt | Fault | URL | None:
        """PUT to one URL; another URL is where S3 redirects to, None that who answers there knows no `Expect`."""
        # aiohttp is not to follow a redirect: it would re-quote it.
        digest = hashlib.md5(usedforsecurity=False) if resources.check_etags else None
        # The whole stall guard: it covers connecting, writing (for which aiohttp has no time limit) and the answer.
        stall = resources.timeouts.stall
        deadline = asyncio.timeout(stall)
        now = asyncio.get_running_loop().time

        def on_move() -> None:
            if not deadline.expired():
                deadline.reschedule(now() + stall)

        def on_headers() -> None:
            if expect and not deadline.expired():
                deadline.reschedule(now() + EXPECT_WAIT)

        self.body = body = Slice(lent, part.size, content_type, resources.blocks, digest, on_move)
        fault: Fault | None = None
        answered: tuple[aiohttp.ClientResponse, bytes] | None = None
        try:
            async with (
                deadline,
                resources.session.put(
                    url,
                    data=body,
                    headers={"Content-Type": content_type, "x-amz-acl": "private"},
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=resources.timeouts.connect),
                    allow_redirects=False,
                    expect100=expect,
                    trace_request_ctx=on_headers,
                    **resources.route,
                ) as response,
            ):
                answered = response, await read_bounded(response, MAX_ANSWER) or b""
        except TimeoutError as error:
            if expect and not body.begun and deadline.expired():
                return None
            stalled = Fault(Kind.STALLED, f"no byte moved for {stall:g} s")
            fault = stalled if deadline.expired() else Fault(Kind.LOST, describe(error))
        except FAILURES as error:
            fault = Fault(Kind.UNREACHABLE if never_sent(error) else Kind.LOST, describe(error))
        if body.source_error is not None:
            raise body.source_error
        if fault is not None or answered is None:
            return fault
        response, answer = answered
        if response.status == 417 and expect:
            return None
        if response.status == 307 and (location := response.headers.get("Location")):
            return _redirect(url, location) or Fault(Kind.LOST, "redirected to no usable URL", status=307)
        if response.status != 200:
            return read_refusal(response.status, response.headers, answer, datetime.now(UTC))
        if body.sent != part.size:
            return Fault(Kind.LOST, f"answered after {body.sent} of {part.size} bytes", status=200)
        return _receipt(part, response, await resources.blocks.hexdigest(digest) if digest is not None else None)


def _receipt(part: Part, response: aiohttp.ClientResponse, md5: str | None) -> Receipt | Fault:
    etag = response.headers.get("ETag", "").removeprefix("W/").strip('"') or None
    receipt = Receipt(part.number, part.size, etag, md5)
    if md5 is None or not etag_is_md5(response, etag) or (etag or "").lower() == md5:
        return receipt
    return Fault(
        Kind.ETAG,
        "S3 acknowledged other bytes than were sent: its ETag is not their MD5",
        status=response.status,
        request_id=response.headers.get("x-amz-request-id"),
        receipt=receipt,
    )


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
