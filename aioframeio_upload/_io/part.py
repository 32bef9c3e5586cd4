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
from .wire import FAILURES, describe, read_bounded

OCTET_STREAM = "application/octet-stream"
"""What a link is signed for where Frame.io left the type null (the official SDK, from 1.2.8 on)."""

MAX_ANSWER = 1 << 16
"""Bytes: S3's refusals take a few hundred; a proxy's page may take more, and nobody reads it."""

MAX_REDIRECTS = 3
"""S3 sends a 307 while a bucket is young; a loop is a fault."""


class Attempt:
    """An attempt as it runs. Owned by `put`; others look at `sent`."""

    def __init__(self) -> None:
        self.body: Slice | None = None

    @property
    def sent(self) -> int:
        """Bytes of the part that have left."""
        return self.body.sent if self.body is not None else 0

    async def put(self, part: Part, lent: Lent, media_type: str | None, resources: Resources) -> Receipt | Fault:
        """Send the part once.

        Raises:
            SourceError: Its bytes could not be read.
        """
        # byte for byte as it was signed: yarl would rewrite %2F, %40 and %27 in the query
        url = URL(part.url, encoded=True)
        for _ in range(1 + MAX_REDIRECTS):
            outcome = await self._put_to(url, part, lent, media_type or OCTET_STREAM, resources)
            if not isinstance(outcome, URL):
                return outcome
            url = outcome
        return Fault(Kind.LOST, "redirected in a circle", status=307)

    async def _put_to(
        self, url: URL, part: Part, lent: Lent, content_type: str, resources: Resources
    ) -> Receipt | Fault | URL:
        """PUT to one URL; another URL is where S3 redirects to. aiohttp follows none: it would re-quote it."""
        digest = hashlib.md5(usedforsecurity=False) if resources.check_etags else None
        # The whole stall guard: it covers connecting, writing (for which aiohttp has no time limit) and the answer.
        stall = resources.timeouts.stall
        deadline = asyncio.timeout(stall)
        now = asyncio.get_running_loop().time

        def on_block() -> None:
            if not deadline.expired():
                deadline.reschedule(now() + stall)

        self.body = body = Slice(lent, part.size, content_type, resources.blocks, digest, on_block)
        fault: Fault | None = None
        try:
            async with (
                deadline,
                resources.session.put(
                    url,
                    data=body,
                    headers={"Content-Type": content_type, "x-amz-acl": "private"},
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=resources.timeouts.connect),
                    allow_redirects=False,
                    **resources.route,
                ) as response,
            ):
                answer = await read_bounded(response, MAX_ANSWER) or b""
        except TimeoutError:
            if deadline.expired():
                fault = Fault(Kind.STALLED, f"no byte moved for {stall:g} s")
            else:
                fault = Fault(Kind.LOST, "no connection in time")
        except FAILURES as error:
            fault = Fault(Kind.LOST, describe(error))
        if body.source_error is not None:
            raise body.source_error
        if fault is not None:
            return fault
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
    target = URL(location, encoded=True)
    if not target.absolute:
        target = url.join(target)
    # Never from TLS to plain text: the body is somebody's film.
    return target if target.scheme == url.scheme or target.scheme == "https" else None
