"""One plan's parts on their way: a bounded number of them in flight, each tried until it is there or cannot be."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

import anyio

from ._core.errors import IntegrityError, LinksExpired, PartError, PartExhausted, PartRejected, UploadError
from ._core.model import Part, Plan, Receipt
from ._core.retry import Fault, Kind, Verdict, judge, wait_before
from ._core.state import UploadState
from ._feed import Feed
from ._io.files import Lent
from ._io.part import Attempt
from ._io.resources import Resources
from ._io.source import OpenSource

log = logging.getLogger("aioframeio_upload")

PROGRESS_PERIOD = 1 / 20
"""Seconds between two `Progress`: the contract is at least ten a second while bytes move, and at most some tens."""


class Transfer:
    """The parts of one plan, or some of them. Owned by one upload; runs once."""

    def __init__(
        self, plan: Plan, source: OpenSource, resources: Resources, feed: Feed, numbers: Iterable[int] | None = None
    ) -> None:
        wanted = None if numbers is None else frozenset(numbers)
        self._plan = plan
        self._source = source
        self._resources = resources
        self._feed = feed
        self._waiting = deque(part for part in plan.parts if wanted is None or part.number in wanted)
        self._state = UploadState(self._waiting, anyio.current_time())
        self._attempts: dict[int, Attempt] = {}
        self._receipts: list[Receipt] = []
        self._failure: UploadError | None = None
        self._asked = False
        self._suspects: list[tuple[str, IntegrityError]] = []
        """Hosts and errors of parts that were taken although their ETag is not the MD5."""

    async def run(self) -> tuple[Receipt, ...]:
        """Send every part and give the receipts in the order of the parts.

        The first part that is given up ends all others at once.

        Raises:
            PartError: A part was given up.
            LinksExpired: The links are dead.
            SourceError: The source cannot be read, or has changed.
        """
        # As many workers as parts can be in flight: a part that waits to be tried again keeps its worker, so that a
        # service in trouble sees fewer requests and not the next part.
        workers = min(self._resources.limits.parts, len(self._waiting))
        async with anyio.create_task_group() as ticking:
            ticking.start_soon(self._tick)
            async with anyio.create_task_group() as group:
                for _ in range(workers):
                    group.start_soon(self._work, group.cancel_scope)
            ticking.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure
        for host, error in self._suspects:
            if host in self._resources.etags.proven:  # meanwhile, so that part is not what was sent
                raise error
        self._publish_progress()
        return tuple(sorted(self._receipts, key=lambda receipt: receipt.number))

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(PROGRESS_PERIOD)
            if self._attempts:
                self._publish_progress()

    def _publish_progress(self) -> None:
        for number, attempt in self._attempts.items():
            self._state.moved(number, attempt.sent)
        self._feed.publish(self._state.progress(anyio.current_time()))

    async def _work(self, scope: anyio.CancelScope) -> None:
        try:
            while self._waiting:
                part = self._waiting.popleft()
                async with self._source.lend(part) as lent:
                    await self._send(part, lent)
        except UploadError as error:
            # Kept aside and not raised into the group: its siblings end by the scope, and the caller gets no group.
            self._failure = self._failure or error
            scope.cancel()

    async def _send(self, part: Part, lent: Lent) -> None:
        """Try one part until S3 has it."""
        doubted = False
        # Asked on the upload's first part, and where a refusal may have been lost with the connection.
        expect, self._asked = not self._asked, True
        while True:
            async with self._resources.part_slots:
                await self._source.check()
                self._feed.publish(self._state.begin(part.number, anyio.current_time()))
                attempt = self._attempts[part.number] = Attempt()
                try:
                    outcome = await attempt.put(part, lent, self._plan.media_type, self._resources, expect=expect)
                finally:
                    del self._attempts[part.number]
            receipt = self._believe(part, outcome, doubted)
            if receipt is not None:
                if doubted and outcome is receipt and not self._something_is_missing():
                    raise self._too_late(part)
                self._receipts.append(receipt)
                self._feed.publish(self._state.complete(receipt, anyio.current_time()))
                return
            assert isinstance(outcome, Fault)
            doubted = doubted or outcome.kind is Kind.ETAG
            expect = outcome.kind is Kind.LOST
            self._state.fail(part.number)
            await anyio.sleep(self._retry_after(part, outcome))

    def _retry_after(self, part: Part, fault: Fault) -> float:
        """Tell that a part is tried again and give the delay, or raise the error of one that is given up."""
        attempts = self._state.attempts(part.number)
        error = PartError(
            fault.reason,
            number=part.number,
            attempts=attempts,
            status=fault.status,
            code=fault.code,
            request_id=fault.request_id,
        )
        verdict = judge(fault)
        if verdict is Verdict.GIVE_UP:
            raise PartRejected.of(error, fault.reason)
        if verdict is Verdict.NEW_LINKS:
            raise LinksExpired(f"part {part.number}: S3 says its link has expired", file_id=self._plan.file_id)
        if attempts >= self._resources.retry.attempts:
            if fault.kind is Kind.ETAG:
                raise IntegrityError.of(error, fault.reason)
            raise PartExhausted.of(error, "every attempt failed; the last: " + fault.reason) from error
        delay = wait_before(self._resources.retry, attempts, fault.retry_after)
        self._resources.retries += 1
        log.debug("%s; again in %.1f s", error, delay)
        self._feed.publish(self._state.retrying(part.number, delay, error))
        return delay

    def _something_is_missing(self) -> bool:
        """Whether the service surely has not every part yet."""
        sizes = {part.number: part.size for part in self._plan.parts}
        return bool(self._waiting) or any(attempt.sent < sizes[number] for number, attempt in self._attempts.items())

    def _too_late(self, part: Part) -> IntegrityError:
        # The service puts a file together as soon as every part is there, and no later PUT changes it.
        return IntegrityError(
            "S3 stored other bytes than were sent at first, and the file may have been put together from them",
            number=part.number,
            attempts=self._state.attempts(part.number),
        )

    def _believe(self, part: Part, outcome: Receipt | Fault, doubted: bool) -> Receipt | None:
        """Give the receipt of a part that S3 has, or None.

        A host on which no ETag ever was the MD5, and on which the same part's differs twice, does not make MD5s (a
        bucket's encryption does that): the check is off for it from then on.
        """
        host, trust = urlsplit(part.url).netloc, self._resources.etags
        if isinstance(outcome, Receipt):
            if outcome.md5 is not None and outcome.etag is not None and outcome.md5 == outcome.etag.lower():
                trust.proven.add(host)
            return outcome
        if outcome.kind is not Kind.ETAG or host in trust.proven:
            return None
        if host not in trust.off and doubted:
            trust.off.add(host)
            log.warning("the ETags of %s are not the MD5 of what is sent; they are not checked any more", host)
        if host not in trust.off:
            return None
        attempts = self._state.attempts(part.number)
        error = IntegrityError(outcome.reason, number=part.number, attempts=attempts, status=outcome.status)
        self._suspects.append((host, error))
        return outcome.receipt
