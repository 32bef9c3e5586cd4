"""Send the parts of a plan: a bounded number in flight, each retried until S3 has it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable
from typing import Protocol, assert_never

import anyio
import anyio.lowlevel

from .._core.backoff import Asking
from .._core.batches import PartBatch
from .._core.checksums import name_parts, unproved
from .._core.errors import IntegrityError, LinksExpired, PartError, PlanError, UploadError
from .._core.failures import AttemptFailure
from .._core.model import Part, Plan, Receipt
from .._core.part_state import UploadState
from .._core.presigned import Links
from .._core.redact import address_of
from .._core.retry import SPOILED, Action, Decision, RetryMemory, Situation, decide
from .._io.files import PartReader
from .._io.flow_control import PauseGate
from .._io.s3_put import PutAttempt, is_worth_asking
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import OpenSource, open_source
from .event_log import EventLog
from .resume import NullJournalSession


class PartSender(Protocol):
    """A plan's parts on their way: from this process (`Transfer`), or from many."""

    is_spoiled: bool

    @property
    def links(self) -> Links:
        """How old the links are, and how long they live."""
        ...

    @property
    def has_sent(self) -> bool:
        """Whether S3 acknowledged a part under these links."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether every part was acknowledged, and as it was sent."""
        ...

    @property
    def bytes_per_second(self) -> float:
        """What was sent, over the time in which it could be."""
        ...

    async def run(self) -> tuple[Receipt, ...]:
        """Send every part that is not done."""
        ...


async def send_some(plan: Plan, source: Source, numbers: Collection[int], resources: Session) -> tuple[Receipt, ...]:
    """Send only those parts of a plan; nothing is deleted, for others may be sending the rest."""
    if not numbers:
        return ()
    found = await open_parts(source, plan, resources, numbers)
    try:
        receipts = await PartUploader(plan, found, resources, EventLog(), PauseGate(), numbers).run()
    finally:
        found.close()
    tell_unproved(plan.name, receipts, "only the file's confirmation can prove that S3 has them")
    return receipts


async def open_parts(
    source: Source, plan: Plan, resources: Session, numbers: Collection[int] | None = None
) -> OpenSource:
    """Open a source for those parts, or for all: a stream holds their bytes alone, everything else the whole file.

    Raises:
        SourceError: It is missing, unreadable, empty or no file, or is read by another upload.
        PlanError: The plan is for another size.
    """
    size = sum(part.size for part in plan.parts if numbers is None or part.number in numbers)
    found = await open_source(source, None, resources.executor, resources.spool, stream_size=size)
    try:
        check_fit(plan, found)
    except PlanError:
        found.close()
        raise
    return found


def check_fit(plan: Plan, source: OpenSource) -> Plan:
    """Give the plan back if it is one for a source of that size; a stream's shows as it is read."""
    if source.replayable and plan.size != source.size:
        raise PlanError(f"the plan is for {plan.size} bytes, the source has {source.size}")
    return plan


log = logging.getLogger("aioframeio_upload")

PROGRESS_PERIOD = 1 / 20
"""Seconds between two `Progress`: the contract is at least ten a second while bytes move, and at most some tens."""


FORESIGHT = 5.0
"""Seconds of sending after which the rate is believed in a forecast."""


def tell_unproved(name: str, receipts: Iterable[Receipt], meaning: str) -> None:
    """Warn of parts of which nothing proves that S3 has them."""
    if numbers := unproved(receipts):
        log.warning("%r: %s acknowledged without an ETag; %s", name, name_parts(numbers), meaning)


class PartUploader:
    """The parts of one plan, or some of them. Owned by one upload; runs once."""

    def __init__(  # noqa: PLR0913  # settings and collaborators, to become a record
        self,
        plan: Plan | PartBatch,
        source: OpenSource,
        resources: Session,
        feed: EventLog,
        gate: PauseGate,
        numbers: Iterable[int] | None = None,
        *,
        record: NullJournalSession | None = None,
        done: Collection[Receipt] = (),
    ) -> None:
        wanted = None if numbers is None else frozenset(numbers)
        self._plan = plan
        self._source = source
        self._resources = resources
        self._feed = feed
        self._gate = gate
        received_at = plan.received_at if isinstance(plan, Plan) else None
        self.links: Links = resources.links(plan.file_id, plan.parts, received_at)
        self._record = record or NullJournalSession()
        sent = {receipt.number for receipt in done}
        self._sent_earlier = len(sent)
        parts = [part for part in plan.parts if wanted is None or part.number in wanted]
        self._waiting = deque(part for part in parts if part.number not in sent)
        self._numbers = {part.number for part in self._waiting}
        # A new plan of the same file goes on from where the bar stands.
        high_water, before = feed.bar
        self._state = UploadState(parts, anyio.current_time(), high_water, sent, before)
        self._warned = False
        self._attempts: dict[int, PutAttempt] = {}
        self._receipts = list(done)
        self._acknowledged = set(sent)
        """Parts that S3 has, as they were sent; more than there are receipts while one's MD5 is worked out."""
        self._failure: UploadError | None = None
        self._asked = False
        self._unchecked: list[tuple[Part, str]] = []
        """Parts that were taken although their ETag is not the MD5, and their hosts."""
        self.is_spoiled = False
        """Whether the file may have been put together from other bytes than were sent: only a new one can help."""

    async def run(self) -> tuple[Receipt, ...]:
        """Send every part and give the receipts in the order of the parts.

        The first part that is given up ends all others at once.

        Raises:
            PartError: A part was given up, or ended without a word.
            LinksExpired: The links are dead.
            SourceError: The source cannot be read, or has changed.
            JournalError: A part that S3 has could not be recorded.
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
        await self._check_complete()
        for part, host in self._unchecked:
            if host in self._resources.etags.proven:  # meanwhile, so that part is not what was sent
                raise self._spoiled(part)
        self._publish_progress()
        return tuple(sorted(self._receipts, key=lambda receipt: receipt.number))

    async def _check_complete(self) -> None:
        """Raise if a part has no receipt: a group takes a worker that ends in somebody else's cancellation for done."""
        missing = self._numbers - {receipt.number for receipt in self._receipts}
        if missing:
            await anyio.lowlevel.checkpoint_if_cancelled()
            number = min(missing)
            attempts = self._state.attempts(number)
            raise PartError("was cancelled, and not by its upload", number=number, attempts=attempts)

    async def _tick(self) -> None:
        completed = 0
        while True:
            await anyio.sleep(PROGRESS_PERIOD)
            # Also where the last part in flight was just acknowledged and another one waits to be tried again.
            if self._attempts or completed != len(self._receipts):
                completed = len(self._receipts)
                self._state.meter.busy += PROGRESS_PERIOD if self._gate.is_open else 0.0
                self._publish_progress()
                self._foresee()

    def _publish_progress(self) -> None:
        for number, attempt in self._attempts.items():
            self._state.moved(number, attempt.sent)
        self._feed.publish(self._state.progress(anyio.current_time()))

    @property
    def has_sent(self) -> bool:
        """Whether S3 acknowledged a part under these links."""
        return len(self._acknowledged) > self._sent_earlier

    @property
    def is_whole(self) -> bool:
        """Whether every part was acknowledged, and as it was sent; known before `run` is over."""
        return len(self._acknowledged) == len(self._plan.parts) and not self.is_spoiled

    @property
    def bytes_per_second(self) -> float:
        """What was sent, over the time in which it could be."""
        return self._state.meter.mean_rate(self._state.sent)

    def _foresee(self) -> None:
        """Warn, once, as soon as it can be seen that the links will die before the last part."""
        left = self.links.left(self._resources.now())
        if self._warned or left is None or self._state.meter.busy < FORESIGHT or not self.bytes_per_second:
            return
        needed = self._state.left / self.bytes_per_second
        if needed > left:
            self._warned = True
            log.warning("%r needs %.0f s more at this rate, and its links die in %.0f s", self._plan.name, needed, left)

    async def _work(self, scope: anyio.CancelScope) -> None:
        try:
            while self._waiting and self._failure is None:
                if not self._gate.is_open:
                    await self._pass_gate()  # before a place of the spool is taken, which others could use meanwhile
                    continue
                part = self._waiting.popleft()
                async with self._source.lend(part) as lent:
                    await self._send(part, lent)
        except UploadError as error:
            # Kept aside and not raised into the group: its siblings end by the scope, and the caller gets no group.
            if self._failure is None:
                log.debug("%r is given up: %s", self._plan.name, error)
                self._failure = error
                if self._is_worth_a_second_opinion(error):
                    return
        if self._failure is not None:
            scope.cancel()

    def _is_worth_a_second_opinion(self, error: UploadError) -> bool:
        """Return whether to wait for what S3 says of one more part before all are ended.

        It says that one of the links has expired which were received a moment ago, and which do not tell how long they
        live. If it takes another of them, new links may help; if it refuses that too, they would not.
        """
        is_early = isinstance(error, LinksExpired) and self.links.life is None
        undecided = is_early and not self.has_sent and self.links.are_new(self._resources.now())
        return undecided and bool(self._attempts)

    async def _send(self, part: Part, lent: PartReader) -> None:
        """Try one part until S3 has it."""
        memory = self._first_memory(part)
        while True:
            outcome = await self._attempt(part, lent, memory.asking)
            accepted = self._accept(part, outcome, memory.doubted)
            memory = memory.after(outcome)
            situation = Situation(
                number=part.number,
                file_id=self._plan.file_id,
                attempts=self._state.attempts(part.number),
                memory=memory,
                quiet_for=self._state.quiet_for(anyio.current_time()),
                may_be_whole=not self._is_surely_incomplete(),
            )
            decision = decide(outcome, accepted, situation, self._resources.retry)
            if await self._obey(part, decision):
                return
            if self._failure is not None:
                return  # only the answer about this part was awaited
            await anyio.sleep(decision.delay)

    def _first_memory(self, part: Part) -> RetryMemory:
        # The upload's first part asks first: S3 then refuses a wrong link before gigabytes are sent.
        asks, self._asked = not self._asked and is_worth_asking(part.size), True
        return RetryMemory(Asking.FIRST if asks else Asking.NO)

    async def _obey(self, part: Part, decision: Decision) -> bool:
        """Do what was decided, and return whether the part is done.

        Raises:
            UploadError: The part is given up.
            JournalError: The receipt could not be recorded.
        """
        if decision.is_throttle:
            self._resources.throttled()
        match decision.action:
            case Action.ACCEPT:
                assert decision.receipt is not None
                await self._complete(decision.receipt)
                return True
            case Action.WAIT:
                log.debug("part %d: %s; sent again on resume", part.number, decision.reason)
                self._state.fail(part.number, counted=False)
            case Action.RETRY:
                assert isinstance(decision.error, PartError)
                self._state.fail(part.number, counted=decision.is_counted)
                self._resources.retries += 1
                log.debug("%s; again in %.1f s", decision.error, decision.delay)
                self._feed.publish(self._state.retrying(part.number, decision.delay, decision.error))
            case Action.GIVE_UP:
                assert decision.error is not None
                self._state.fail(part.number, counted=decision.is_counted)
                raise decision.error
            case Action.SPOILED:
                assert decision.error is not None
                self.is_spoiled = True
                raise decision.error
            case _:
                assert_never(decision.action)
        return False

    async def _complete(self, receipt: Receipt) -> None:
        """Record a receipt in the journal, then publish it."""
        # Noted before it is recorded: a cancellation meanwhile must not delete a complete file as a placeholder.
        self._receipts.append(receipt)
        self._acknowledged.add(receipt.number)
        await self._record.note(receipt)
        self._feed.publish(self._state.complete(receipt, anyio.current_time()))

    async def _attempt(self, part: Part, lent: PartReader, asking: Asking) -> Receipt | AttemptFailure:
        """Make one attempt, when the upload is not paused and a slot is free."""
        while True:
            if not self._gate.is_open:
                await self._pass_gate()
            self._resources.recover()
            await self._source.check()  # without a slot: a source that does not answer is not to keep it from others
            async with self._resources.part_slots:
                if not self._gate.is_open:
                    continue
                if not self.links.may_begin(self._resources.now()):
                    raise self._expired(f"the link of part {part.number} is about to die")
                self._feed.publish(self._state.begin(part.number, anyio.current_time()))
                attempt = PutAttempt(part, lent, self._plan.media_type, self._gate, asking=asking)
                self._attempts[part.number] = attempt
                try:
                    return await attempt.put(self._resources)
                finally:
                    del self._attempts[part.number]
                    if attempt.is_acknowledged:
                        self._acknowledged.add(part.number)

    async def _pass_gate(self) -> None:
        await self._gate.passed()
        self._state.resumed(anyio.current_time())

    def _expired(self, reason: str) -> LinksExpired:
        return LinksExpired(reason, file_id=self._plan.file_id)

    def _accept(self, part: Part, outcome: Receipt | AttemptFailure, doubted: bool) -> Receipt | None:
        """Return the receipt of a part that S3 has, or None; learn from it what the host's ETags are worth."""
        host, trust = address_of(part.url), self._resources.etags
        was_checked = host not in trust.off
        receipt = trust.believe(host, outcome, doubted=doubted)
        if was_checked and host in trust.off:
            log.warning("the ETags of %s are not the MD5 of what is sent; they are not checked any more", host)
        if receipt is not None and isinstance(outcome, AttemptFailure):
            self._unchecked.append((part, host))
        return receipt

    def _is_surely_incomplete(self) -> bool:
        """Return whether S3 cannot have every part yet."""
        sizes = {part.number: part.size for part in self._plan.parts}
        return bool(self._waiting) or any(attempt.sent < sizes[number] for number, attempt in self._attempts.items())

    def _spoiled(self, part: Part) -> IntegrityError:
        self.is_spoiled = True
        return IntegrityError(SPOILED, number=part.number, attempts=self._state.attempts(part.number))
