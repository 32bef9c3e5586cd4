"""One attempt at one part: a PUT to its presigned URL that ends in a receipt or a failure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias, assert_never

import aiohttp
from yarl import URL

from .._core.backoff import Asking, is_of_s3, may_be_asking
from .._core.checksums import Acknowledged, compare, read_answer
from .._core.failures import AttemptFailure, FailureKind, Verdict, judge
from .._core.links import resolve_redirect, why_not_followed
from .._core.model import Part, Receipt
from .._core.redact import PartUrl, Secret, address_of, without_frames
from .files import PartReader
from .flow_control import PauseGate, StallGuard
from .http_client import request
from .http_errors import FAILURES, describe, describe_pool, host_of, kind_of, read_bounded
from .part_digests import PartDigests, read_again
from .part_payload import PartPayload
from .session import Session

OCTET_STREAM = "application/octet-stream"
"""Media type that a link is signed for if Frame.io's answer has none (as in the official SDK, from 1.2.8 on)."""

MAX_ANSWER = 1 << 16
"""Bytes of an answer that are read. S3's errors take a few hundred; a proxy's page may take more."""

MAX_REDIRECTS = 3
"""S3 redirects (307) while a bucket is new; more redirects than this are a loop."""


EXPECT_FROM = 1 << 20
"""Bytes. An upload's first part is sent with `Expect: 100-continue` if it is larger: it can wait a round trip.
After an ambiguous reset a part of any size asks."""

EXPECT_WAIT = 3.0
"""Seconds from the headers to `100 Continue`. botocore waits for one second and then sends. Here the connection is
given up for a new one without `Expect`, so a slow link gets more time."""


def is_worth_asking(size: int) -> bool:
    """Return whether an upload's first part is large enough to be sent with `Expect: 100-continue`."""
    return size > EXPECT_FROM


class PutStages:
    """Note what happens to a PUT before its body is asked for. Called by the session's trace hooks.

    Args:
        guard: The timeout of the attempt.
        expect: Whether the request has `Expect: 100-continue`.
    """

    def __init__(self, guard: StallGuard, expect: bool) -> None:
        self._guard = guard
        self._expect = expect
        self.is_asked = False
        """Whether a server has the headers with `Expect`."""

    def queued(self) -> None:
        """Note that all connections of the pool are in use."""
        self._guard.queued()

    def admitted(self) -> None:
        """Note that the wait for the pool is over."""
        self._guard.admitted()

    def sent(self) -> None:
        """Note that the headers have left; from now on the server's answer to `Expect` is awaited."""
        if self._expect:
            self.is_asked = True
            self._guard.asked(EXPECT_WAIT)


@dataclass(frozen=True, slots=True)
class Redirected:
    """S3 redirects the part to another URL."""

    link: Secret[URL]


@dataclass(frozen=True, slots=True)
class AskAgainWithoutExpect:
    """The request ended before its first byte, in a way that `Expect: 100-continue` itself may have caused."""

    broke: AttemptFailure | None = None
    """How the connection broke, if it did."""


PutOutcome: TypeAlias = Receipt | AttemptFailure | Redirected | AskAgainWithoutExpect
"""How one PUT to one URL can end."""

AnswerOutcome: TypeAlias = Acknowledged | AttemptFailure | Redirected
"""What one answer can mean."""


class PutAttempt:
    """Send a part once. Owned by one attempt; `sent` may be read while it runs.

    Args:
        part: The part.
        lent: The part's bytes.
        media_type: The `Content-Type` that the link is signed for.
        gate: The upload's pause.
        asking: Whether to send `Expect: 100-continue`. S3 then refuses before gigabytes are sent; without it, S3
            refuses early and closes the connection, which often shows as a broken pipe only.
        is_fresh: Whether to open a connection for it, to an address that is looked up anew.
    """

    def __init__(  # a record of what is sent and how
        self,
        part: Part,
        lent: PartReader,
        media_type: str | None,
        gate: PauseGate,
        *,
        asking: Asking = Asking.NO,
        is_fresh: bool = False,
    ) -> None:
        self._part = part
        self._lent = lent
        self._content_type = media_type or OCTET_STREAM
        self._gate = gate
        self._asking = asking
        self._is_fresh = is_fresh
        self._body: PartPayload | None = None
        self._guard: StallGuard | None = None
        self.is_acknowledged = False
        """Whether S3 said that it has the part; known before its checksums are compared."""

    @property
    def sent(self) -> int:
        """Bytes of the part that have left."""
        return self._body.sent if self._body is not None else 0

    @property
    def transport(self) -> asyncio.WriteTransport | None:
        """The connection; None while there is none."""
        return self._body.transport if self._body is not None else None

    @property
    def is_held(self) -> bool:
        """Whether a pause holds the part, or a caller's pool that has no connection for it."""
        return not self._gate.is_open or (self._guard is not None and self._guard.is_queued)

    async def put(self, resources: Session) -> Receipt | AttemptFailure:
        """Send the part once.

        Raises:
            SourceError: Its bytes could not be read.
        """
        # Byte for byte as it was signed: yarl would rewrite %2F, %40 and %27 in the query.
        link = Secret(URL(self._part.url, encoded=True))
        redirects = 0
        unasked = _address(link) if self._asking is Asking.WITHOUT else None
        while redirects <= MAX_REDIRECTS:
            host = _address(link)
            asks = self._asking in (Asking.FIRST, Asking.AGAIN) and host not in (unasked, *resources.expectless)
            outcome = await self._put_to(link, resources, asks)
            match outcome:
                case AskAgainWithoutExpect(broke=broke):
                    if broke is not None and self._asking is Asking.AGAIN:
                        return replace(broke, unanswered=True)
                    unasked = host
                case Redirected():
                    if host == unasked:
                        resources.expectless.add(host)
                    redirects, link = redirects + 1, outcome.link
                case Receipt() | AttemptFailure():
                    # Only after an answer of S3: without one, the network or any other request may be the reason.
                    if host == unasked and is_of_s3(outcome):
                        resources.expectless.add(host)
                    return outcome
                case _:
                    assert_never(outcome)
        return AttemptFailure(FailureKind.REDIRECTED, "redirected in a circle", status=307)

    async def _put_to(self, link: Secret[URL], resources: Session, expect: bool) -> PutOutcome:
        """PUT to one URL; aiohttp does not follow redirects, because it would re-quote the signed URL."""
        size = self._part.size
        digests = PartDigests(resources.checksums.wanted(address_of(self._part.url)))
        timeouts = resources.timeouts
        guard = self._guard = StallGuard(timeouts.stall, timeouts.answer_for(size), timeouts.pool)
        body = PartPayload(
            self._lent,
            size,
            self._content_type,
            resources.blocks,
            digests,
            self._gate,
            resources.bandwidth,
            guard,
            resources.connections.to(_address(link)),
        )
        self._body = body
        try:
            outcome = await self._exchange(link, body, guard, resources, expect)
        except BaseException as error:
            without_frames(error)
            raise
        finally:
            guard.close()
            if self._is_fresh and body.transport is not None:
                body.transport.abort()  # the next one gets a new connection too
        if body.source_error is not None:
            raise body.source_error
        match outcome:
            case Acknowledged():
                # Set before the checksums are known: a cancellation meanwhile must not delete a complete file.
                self.is_acknowledged = True
                receipt = await self._compare(outcome, digests, resources)
                self.is_acknowledged = isinstance(receipt, Receipt)
                return receipt
            case AttemptFailure():
                self.is_acknowledged = False
                if guard.is_paused and judge(outcome) is Verdict.AGAIN:
                    return AttemptFailure(FailureKind.PAUSED, f"ended by a pause: {outcome.reason}")
                return outcome
            case Redirected() | AskAgainWithoutExpect():
                self.is_acknowledged = False
                return outcome
            case _:
                assert_never(outcome)

    async def _compare(
        self, answer: Acknowledged, digests: PartDigests, resources: Session
    ) -> Receipt | AttemptFailure:
        """Return the receipt of the part, or the failure if S3 stored something else than was sent.

        If the answer states a checksum that was not computed, it is computed now, from the source: sending the part
        again would take longer.
        """
        computed = await digests.values(resources.blocks)
        missing = resources.checksums.missing(address_of(self._part.url), answer, computed)
        if missing is not None:
            computed[missing.name] = await read_again(
                missing, self._lent, self._part.size, resources.blocks, resources.timeouts.stall
            )
        return compare(self._part, answer, computed)

    async def _exchange(
        self, link: Secret[URL], body: PartPayload, guard: StallGuard, resources: Session, expect: bool
    ) -> AnswerOutcome | AskAgainWithoutExpect:
        """Send the body and read the answer.

        The frames from here on contain answers, which may quote the link, so `_put_to` removes them from every
        traceback.
        """
        stages = PutStages(guard, expect)
        headers = {"Content-Type": self._content_type, "x-amz-acl": "private"}
        broke: AttemptFailure | None = None
        outcome: AnswerOutcome
        try:
            async with (
                guard.deadline,
                await request(
                    resources.session_for(),
                    "PUT",
                    link,
                    data=body,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=resources.timeouts.connect),
                    allow_redirects=False,
                    expect100=expect,
                    stages=stages,
                    **(resources.apart(link.reveal()) if self._is_fresh else {}),
                    **resources.route_to(link.reveal(), headers),
                ) as response,
            ):
                # Known before the body is read, if anything proves it: a cancellation meanwhile must not delete a whole
                # file as a placeholder.
                head = self._read(link, response, b"", body.sent)
                self.is_acknowledged = isinstance(head, Acknowledged) and head.is_proof
                outcome = self._read(link, response, await read_bounded(response, MAX_ANSWER), body.sent)
        except TimeoutError as error:
            is_late = guard.deadline.expired()
            if is_late and stages.is_asked and not body.begun:
                return AskAgainWithoutExpect()
            connected = stages.is_asked or body.begun
            outcome = broke = self._late(guard, connected, link, resources) if is_late else _lost(error, link)
        except FAILURES as error:
            outcome = broke = _lost(error, link)
        if isinstance(outcome, AttemptFailure) and stages.is_asked and not body.begun and may_be_asking(outcome):
            return AskAgainWithoutExpect(broke)
        return outcome

    def _read(
        self, link: Secret[URL], response: aiohttp.ClientResponse, answer: bytes | None, sent: int
    ) -> AnswerOutcome:
        """Return what an answer means."""
        if response.status == 307 and (location := response.headers.get("Location")):
            return self._redirect(PartUrl(link.reveal()), PartUrl(location))
        links = [PartUrl(link.reveal()), self._part.url]
        outcome = read_answer(response.status, response.headers, answer, datetime.now(UTC), links)
        if isinstance(outcome, Acknowledged) and sent != self._part.size:
            return AttemptFailure(FailureKind.LOST, f"answered after {sent} of {self._part.size} bytes", status=200)
        return outcome

    def _redirect(self, here: PartUrl, location: PartUrl) -> Redirected | AttemptFailure:
        """Return where S3 sends the part, or the failure where that redirect must not be followed."""
        target = resolve_redirect(here, location)
        why_not = "to no usable URL" if target is None else why_not_followed(self._part.url, here, target)
        if target is None or why_not is not None:
            return AttemptFailure(FailureKind.REDIRECTED, f"redirected {why_not}", status=307)
        return Redirected(Secret(URL(target, encoded=True)))

    def _late(self, guard: StallGuard, connected: bool, link: Secret[URL], resources: Session) -> AttemptFailure:
        """Return the failure of an attempt that ran out of time."""
        timeouts = resources.timeouts
        if guard.is_paused or not self._gate.is_open:
            return AttemptFailure(FailureKind.PAUSED, "paused for longer than S3 keeps a silent connection")
        if guard.is_queued:
            words = describe_pool(resources.session.connector, timeouts.pool)
            return AttemptFailure(FailureKind.CROWDED, words)
        if not connected:
            return AttemptFailure(
                FailureKind.UNREACHABLE, f"no connection to {host_of(link.reveal())} in {timeouts.stall:g} s"
            )
        if guard.is_sent:
            seconds = timeouts.answer_for(self._part.size)
            return AttemptFailure(
                FailureKind.STALLED, f"no answer came within {round(seconds, 1):g} s of the last byte"
            )
        return AttemptFailure(FailureKind.STALLED, f"no byte moved for {timeouts.stall:g} s")


def _lost(error: BaseException, link: Secret[URL]) -> AttemptFailure:
    return AttemptFailure(kind_of(error), describe(error, host_of(link.reveal())))


def _address(link: Secret[URL]) -> str:
    """Return a link's host and port, which are not secret as user and password are."""
    # Not decoded: yarl raises a UnicodeError for an `xn--…` name that does not decode.
    return f"{link.reveal().raw_host}:{link.reveal().port}"
