"""Send the parts of a plan: a bounded number in flight, each retried until S3 has it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, assert_never

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .._core.backoff import Asking, wait_before
from .._core.batches import PartBatch
from .._core.checksums import DISBELIEVED, name_parts, unproved
from .._core.errors import IntegrityError, LinksExpired, PartError, PlanError, UploadError
from .._core.events import PartRaced
from .._core.failures import AttemptFailure, FailureKind
from .._core.instrumentation import Recording, RequestFacts
from .._core.model import Part, Plan, Receipt
from .._core.part_state import AttemptKey, PartTable
from .._core.presigned import Links
from .._core.redact import address_of, split_url
from .._core.retry import SPOILED, Action, Decision, decide
from .._io.files import PartReader
from .._io.flow_control import PauseGate
from .._io.s3_put import PutAttempt, is_worth_asking
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import OpenSource, open_source
from .cleanup import close_generator
from .control import UploadControl
from .event_log import EventLog, PartEventSink
from .resume import NullJournalSession

log = logging.getLogger("aioframeio_upload")

PROGRESS_PERIOD = 1 / 20
"""Seconds between two `Progress` events. The documented rate is at least ten a second while bytes move."""

FORECAST_AFTER = 5.0
"""Seconds of sending after which the mean rate is steady enough for a forecast."""


MOST_SECOND = 3
"""Second attempts at one part: a new connection may be slow too."""


@dataclass(slots=True, eq=False)
class _Running:
    """One running attempt."""

    put: PutAttempt
    part: Part
    lent: PartReader
    scope: anyio.CancelScope
    race: _Race | None
    """The race whose second attempt this is; None for a first one."""
    is_replaced: bool = False
    """Whether it was ended because its connection is slow."""

    @property
    def is_unneeded(self) -> bool:
        """Whether this attempt alone was ended: another one is better."""
        return self.scope.cancel_called or (self.race is not None and self.race.scope.cancel_called)


@dataclass(slots=True, eq=False)
class _Race:
    """A second attempt at a part. The task of the first waits for its end, because it lends the source."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)
    is_won: bool = False
    """Whether it was acknowledged first."""
    has_failed: bool = False
    """Whether it failed, and only the time until the next one may begin has to pass."""


class PartSender(Protocol):
    """Send the parts of one plan: from this process (`PartUploader`), or from the workers of a cluster."""

    is_spoiled: bool
    """Whether the service may have put the file together from other bytes than were sent: only a new file can help."""

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
        """Bytes sent per second of the time in which bytes could be sent."""
        ...

    async def run(self) -> tuple[Receipt, ...]:
        """Send every part that is not done, and return all receipts in the order of the parts."""
        ...


async def send_some(plan: Plan, source: Source, numbers: Collection[int], resources: Session) -> tuple[Receipt, ...]:
    """Send some parts of a plan. Whatever happens, the file stays: other senders may be sending the rest."""
    if not numbers:
        return ()
    found = await open_parts(source, plan, resources, numbers)
    try:
        receipts = await PartUploader(plan, found, resources, EventLog(), PauseGate(), numbers).run()
    finally:
        found.close()
        await close_generator(found, plan.name, UploadControl())
    tell_unproved(plan.name, receipts, "only the file's confirmation can prove that S3 has them")
    return receipts


async def open_parts(
    source: Source, plan: Plan, resources: Session, numbers: Collection[int] | None = None
) -> OpenSource:
    """Open a source for some parts of a plan, or for all.

    A stream contains the bytes of those parts only, every other source the whole file.

    Raises:
        SourceError: The source is missing, unreadable, empty or not a file, or another upload reads it.
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
    """Return the plan if it fits the size of the source. A stream's size is checked while it is read.

    Raises:
        PlanError: The plan is for another size.
    """
    if source.replayable and plan.size != source.size:
        raise PlanError(f"the plan is for {plan.size} bytes, the source has {source.size}")
    return plan


def tell_unproved(name: str, receipts: Iterable[Receipt], meaning: str) -> None:
    """Log a warning that names the parts whose receipts do not prove that S3 has them."""
    if numbers := unproved(receipts):
        log.warning("%r: %s acknowledged without an ETag or a checksum; %s", name, name_parts(numbers), meaning)


class PartUploader:
    """Send the parts of one plan, or some of them, from this process. Owned by one upload; runs once.

    The table knows which parts are queued, in flight, acknowledged or done; this class makes the attempts, obeys the
    decisions of `_core/retry`, and publishes the events.
    """

    def __init__(  # noqa: PLR0913  # as `PartSenderFactory` has it: each argument is a collaborator with another owner
        self,
        plan: Plan | PartBatch,
        source: OpenSource,
        resources: Session,
        feed: PartEventSink,
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
        parts = [part for part in plan.parts if wanted is None or part.number in wanted]
        high_water, before = feed.bar  # a new plan of the same file continues where the last `Progress` was
        self._table = PartTable(parts, anyio.current_time(), high_water=high_water, before=before, done=done)
        # The first part asks before it is sent: S3 then refuses a wrong link before gigabytes are on their way.
        if (first := self._table.next_part) is not None and is_worth_asking(first.size):
            self._table.ask_first(first.number)
        self._running: dict[AttemptKey, _Running] = {}
        """The running attempts, whose counters the table gets with each `Progress`."""
        self._races: dict[int, _Race] = {}
        """Of the parts that have a second attempt."""
        self._slow: Counter[int] = Counter()
        """How often parts were sent again because of a slow connection."""
        self._workers = 0
        self._has_warned = False
        self._failure: UploadError | None = None
        self.is_spoiled = False

    async def run(self) -> tuple[Receipt, ...]:
        """Send every part and return the receipts in the order of the parts.

        The first part that is given up ends all others at once.

        Raises:
            PartError: A part was given up, or was cancelled by somebody else.
            LinksExpired: The links have expired.
            SourceError: The source cannot be read, or has changed.
            JournalError: The receipt of a part could not be recorded.
        """
        async with anyio.create_task_group() as ticking:
            async with anyio.create_task_group() as group:
                self._employ(group)
                ticking.start_soon(self._tick, group)
            ticking.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure
        await self._check_complete()
        for part in self._table.unchecked():
            # ETags of the host have matched since then, so that this part is not what was sent.
            if address_of(part.url) in self._resources.checksums.proven:
                raise self._spoiled(part)
        self._publish_progress()
        return self._table.receipts()

    async def _check_complete(self) -> None:
        """Raise if a part has no receipt.

        A task group takes a worker that ends in a cancellation for done, also where neither it nor the upload was
        cancelled, as when a source's own task is.
        """
        if missing := self._table.missing():
            await anyio.lowlevel.checkpoint_if_cancelled()
            attempts = self._table.attempts(missing[0])
            raise PartError("was cancelled, and not by its upload", number=missing[0], attempts=attempts)

    def _employ(self, group: TaskGroup) -> None:
        """Start workers for the parts that can be in flight, as far as there are parts.

        A part that waits to be sent again keeps its worker, so that a service in trouble gets fewer requests instead of
        the next part. Where the number of slots falls, workers wait for one.
        """
        if self._failure is not None:
            return
        for _ in range(min(self._resources.part_slots.wanted - self._workers, self._table.queued)):
            self._workers += 1
            group.start_soon(self._work, group.cancel_scope)

    async def _tick(self, group: TaskGroup) -> None:
        completed = 0
        while True:
            await anyio.sleep(PROGRESS_PERIOD)
            # anyio lets a task that is cancelled go on if its sleep is over, and then the group may have ended.
            await anyio.lowlevel.checkpoint_if_cancelled()
            self._employ(group)
            # Also if the last part in flight has just completed, and the next one waits to be sent again. Not while
            # receipts wait for the journal and nothing is sent, as the table's `in_flight` would have it.
            self._race_stragglers(group)
            if self._running or completed != self._table.completed:
                completed = self._table.completed
                self._table.meter.busy += PROGRESS_PERIOD if self._gate.is_open else 0.0
                self._publish_progress()
                self._forecast()

    def _publish_progress(self) -> None:
        self._count_bytes()
        self._feed.publish(self._table.progress(anyio.current_time()))

    def _count_bytes(self) -> None:
        for key, running in self._running.items():
            self._table.moved(key, running.put.sent)

    @property
    def has_sent(self) -> bool:
        """Whether S3 acknowledged a part under these links."""
        return self._table.has_sent

    @property
    def is_whole(self) -> bool:
        """Whether every part was acknowledged, and as it was sent; known before `run` is over."""
        return self._table.is_whole and not self.is_spoiled

    @property
    def bytes_per_second(self) -> float:
        """Bytes sent per second of the time in which bytes could be sent."""
        return self._table.meter.mean_rate(self._table.sent)

    def _forecast(self) -> None:
        """Log a warning, once, if the links will expire before the last part is sent at this rate."""
        left = self.links.left(self._resources.now())
        rate = self.bytes_per_second
        if self._has_warned or left is None or self._table.meter.busy < FORECAST_AFTER or not rate:
            return
        needed = self._table.left / rate
        if needed > left:
            self._has_warned = True
            log.warning(
                "%r needs %.0f s more at this rate, and its links expire in %.0f s", self._plan.name, needed, left
            )

    async def _work(self, scope: anyio.CancelScope) -> None:
        """Send one part after another until all are taken or one is given up."""
        try:
            while self._table.queued and self._failure is None:
                if not self._gate.is_open:
                    await self._pass_gate()  # before a place in the spool is taken, which other uploads could use
                    continue
                part = self._table.take()
                async with self._source.lend(part) as lent:
                    await self._send(part, lent)
        except UploadError as error:
            # Kept aside instead of raised into the group: the scope ends the others, and the caller gets no group.
            if self._failure is None:
                log.debug("%r is given up: %s", self._plan.name, error)
                self._failure = error
                if self._is_worth_a_second_opinion(error):
                    return
        if self._failure is not None:
            scope.cancel()

    def _is_worth_a_second_opinion(self, error: UploadError) -> bool:
        """Return whether to wait for the answer about one more part before all are ended.

        S3 says that a link has expired although it was received a moment ago, and the links state no lifetime. If S3
        accepts another of them, new links may help; if it refuses that one too, they will not.
        """
        is_early = isinstance(error, LinksExpired) and self.links.life is None
        undecided = is_early and not self.has_sent and self.links.are_new(self._resources.now())
        return undecided and bool(self._running)

    async def _send(self, part: Part, lent: PartReader) -> None:
        """Try one part until S3 has it."""
        while True:
            key, outcome = await self._attempt(part, lent)
            race = self._races.pop(part.number, None)
            if race is not None and await self._has_lost(race, key, outcome):
                return
            assert outcome is not None
            accepted = self._accept(part, outcome)
            self._table.learn(part.number, outcome)
            self._count_bytes()
            situation = self._table.situation(part.number, self._plan.file_id, anyio.current_time())
            decision = decide(outcome, accepted, situation, self._resources.retry)
            if await self._obey(key, decision):
                return
            if self._failure is not None:
                return  # only the answer about this part was awaited
            await anyio.sleep(decision.delay)

    # -- stragglers

    def _race_stragglers(self, group: TaskGroup) -> None:
        """Send the parts a second time that are far behind the others.

        A stream is not raced, because it can be read once only. But the part that is spooled can be sent again, so that
        its slow connection is replaced.
        """
        slots = self._resources.part_slots
        if not self._gate.is_open or self._failure is not None:
            return
        for key, running in tuple(self._running.items()):
            number = key.number
            if running.scope.cancel_called or not slots.is_straggler(running.put):
                continue
            if running.race is not None:
                running.scope.cancel()  # its new connection is slow as well; the first attempt goes on
            elif self._is_raced(number) or self._slow[number] >= MOST_SECOND or self._table.memory(number).doubted:
                continue
            elif not self._source.replayable:
                if not self._slow[number]:
                    self._slow[number] += 1
                    running.is_replaced = True
                    running.scope.cancel()
            elif slots.begin_race():
                self._slow[number] += 1
                race = self._races[number] = _Race()
                group.start_soon(self._race, running, race, group.cancel_scope)

    def _is_raced(self, number: int) -> bool:
        race = self._races.get(number)
        return race is not None and not race.ended.is_set()

    async def _race(self, first: _Running, race: _Race, scope: anyio.CancelScope) -> None:
        """Make a second attempt at a part. Only its success counts: the first one is tried again if it fails."""
        part = first.part
        try:
            with race.scope:
                try:
                    key, outcome = await self._attempt(part, first.lent, race)
                finally:
                    self._resources.part_slots.end_race()
                accepted = self._accept(part, outcome) if isinstance(outcome, Receipt) else None
                if outcome is not None:
                    self._table.learn(part.number, outcome)  # of wrong bytes at S3, too
                if accepted is None or race.scope.cancel_called:
                    self._table.fail(key, counted=False)
                    if isinstance(outcome, AttemptFailure):
                        log.debug("part %d: a second connection failed: %s", part.number, outcome.reason)
                        race.has_failed = True
                        if self._table.memory(part.number).doubted:
                            # No second attempt follows, so the slow connection is replaced.
                            first.is_replaced = True
                            first.scope.cancel()
                        if first in self._running.values():
                            times = self._slow[part.number]
                            await anyio.sleep(wait_before(self._resources.retry, times, outcome.retry_after))
                    return
                race.is_won = True
                first.scope.cancel()
                log.debug("part %d: a second connection was faster", part.number)
                situation = self._table.situation(part.number, self._plan.file_id, anyio.current_time())
                await self._obey(key, decide(accepted, accepted, situation, self._resources.retry))
        except LinksExpired:
            pass  # before it began; the first attempt may go on
        except UploadError as error:
            if self._failure is None:
                self._failure = error
            scope.cancel()
        finally:
            race.ended.set()

    async def _has_lost(self, race: _Race, key: AttemptKey, outcome: Receipt | AttemptFailure | None) -> bool:
        """Wait for the end of the second attempt at a part, and return whether it was acknowledged first.

        Raises:
            IntegrityError: It was, and S3 got other bytes from the first one.
        """
        if race.has_failed or (isinstance(outcome, Receipt) and not race.is_won):
            race.scope.cancel()
        await race.ended.wait()
        if not race.is_won:
            return False
        self._table.fail(key, counted=False)
        if isinstance(outcome, AttemptFailure):
            self._table.learn(key.number, outcome)
            if self._table.memory(key.number).doubted:
                self.is_spoiled = True
                raise IntegrityError(SPOILED, number=key.number, attempts=self._table.attempts(key.number))
        return True

    # -- one attempt

    async def _obey(self, key: AttemptKey, decision: Decision) -> bool:
        """Do what was decided, and return whether the part is done.

        Raises:
            UploadError: The part is given up.
            JournalError: The receipt could not be recorded.
        """
        match decision.action:
            case Action.ACCEPT:
                await self._complete(key, decision)
                return True
            case Action.WAIT:
                log.debug("part %d: %s; sent again on resume", key.number, decision.reason)
                self._table.fail(key, counted=False)
            case Action.RETRY:
                assert isinstance(decision.error, PartError)
                self._table.fail(key, counted=decision.is_counted)
                self._resources.count_retries()
                log.debug("%s; again in %.1f s", decision.error, decision.delay)
                self._feed.publish(self._table.retrying(key.number, decision.delay, decision.error))
            case Action.GIVE_UP:
                assert decision.error is not None
                self._table.fail(key, counted=decision.is_counted)
                raise decision.error
            case Action.SPOILED:
                assert decision.error is not None
                self.is_spoiled = True
                raise decision.error
            case _:
                assert_never(decision.action)
        return False

    async def _complete(self, key: AttemptKey, decision: Decision) -> None:
        """Record a receipt in the journal, then publish it."""
        receipt = decision.receipt
        assert receipt is not None
        self._table.acknowledge(key)
        await self._record.note(receipt)
        now = anyio.current_time()
        self._feed.publish(self._table.complete(key, receipt, now, is_checked=decision.is_checked))

    async def _attempt(
        self, part: Part, lent: PartReader, race: _Race | None = None
    ) -> tuple[AttemptKey, Receipt | AttemptFailure | None]:
        """Make one attempt, once the upload is not paused and a slot is free.

        The outcome is None if the attempt was cancelled, because the other one was acknowledged or this one is slow.
        """
        slots = self._resources.part_slots
        holder = self if race is None else race
        while True:
            if not self._gate.is_open:
                await self._pass_gate()
            await self._source.check()  # without a slot: a source that does not answer must not keep it from others
            await slots.acquire(holder, part.size)
            try:
                if not self._gate.is_open:
                    continue
                if not self.links.may_begin(self._resources.now()):
                    expired = f"the link of part {part.number} is about to expire"
                    raise LinksExpired(expired, file_id=self._plan.file_id)
                outcome: Receipt | AttemptFailure | None = None
                with self._begun(part, lent, race) as (key, count, running):
                    put = running.put
                    with self._recording(part, count) as recording, slots.sending(put, part.size) as ended:
                        try:
                            outcome = await put.put(self._resources)
                        except BaseException:
                            if running.is_unneeded:
                                recording.supersede()
                            raise
                        ended(outcome)
                        _record(recording, outcome)
                        self._note_outage(part, outcome)
                if outcome is None and running.is_replaced:
                    outcome = AttemptFailure(FailureKind.SLOW, "its connection is far slower than the others")
                return key, outcome
            finally:
                slots.release(holder)

    @contextmanager
    def _begun(self, part: Part, lent: PartReader, race: _Race | None) -> Iterator[tuple[AttemptKey, int, _Running]]:
        """Note that an attempt has begun, and in the end what it moved. A cancellation of its scope ends here."""
        key, started = self._table.begin(part.number, anyio.current_time())
        if race is not None:
            self._feed.publish(PartRaced(part.number, started.attempt))
        self._feed.publish(started)
        is_fresh = bool(self._slow[part.number])
        asking = self._table.memory(part.number).asking if race is None else Asking.NO
        put = PutAttempt(part, lent, self._plan.media_type, self._gate, asking=asking, is_fresh=is_fresh)
        running = self._running[key] = _Running(put, part, lent, anyio.CancelScope(), race)
        try:
            with running.scope:
                yield key, started.attempt, running
        finally:
            # Also in a cancellation, whose upload asks whether the file is whole, and how fast it went.
            del self._running[key]
            self._table.moved(key, put.sent)
            if put.is_acknowledged:
                self._table.acknowledge(key)

    def _recording(self, part: Part, attempt: int) -> Recording:
        host = split_url(part.url)
        facts = RequestFacts("PUT", (host and host.hostname) or "", host and host.port, attempt)
        slots = self._resources.part_slots.limiter.total
        return self._resources.settings.telemetry.part(part.number, part.size, facts, slots)

    def _note_outage(self, part: Part, outcome: Receipt | AttemptFailure | None) -> None:
        kind, words = (outcome.kind, outcome.reason) if isinstance(outcome, AttemptFailure) else (None, "")
        if outcome is not None:
            self._resources.outages.note(address_of(part.url), kind, words)

    async def _pass_gate(self) -> None:
        await self._gate.passed()
        self._table.resumed(anyio.current_time())

    def _accept(self, part: Part, outcome: Receipt | AttemptFailure) -> Receipt | None:
        """Return the receipt of a part that S3 has, or None; note what it shows about the host's checksums."""
        host, trust = address_of(part.url), self._resources.checksums
        was_checked = host not in trust.off
        receipt = trust.believe(host, outcome, doubted=self._table.memory(part.number).etag_differed)
        if was_checked and host in trust.off:
            log.warning(DISBELIEVED, host)
        return receipt

    def _spoiled(self, part: Part) -> IntegrityError:
        self.is_spoiled = True
        return IntegrityError(SPOILED, number=part.number, attempts=self._table.attempts(part.number))


def _record(recording: Recording, outcome: Receipt | AttemptFailure) -> None:
    if isinstance(outcome, Receipt):
        recording.learn(http__response__status_code=200)
        return
    if outcome.status is not None:
        recording.learn(http__response__status_code=outcome.status)
    if outcome.kind is FailureKind.PAUSED:
        recording.supersede()
        return
    is_refused = outcome.status is not None and outcome.status >= 400
    recording.fail(str(outcome.status) if is_refused else outcome.kind.value, outcome.reason)
