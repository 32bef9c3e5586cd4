"""Send the parts of a plan from the workers of a Dask cluster."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Awaitable, Collection, Iterable
from typing import Any, TypeVar
from uuid import uuid4

import anyio
from distributed import Client, Future, Queue
from distributed.scheduler import KilledWorker

from .._core.batches import Arrived, BatchOutcome, BatchState, PartBatch, cut
from .._core.errors import IntegrityError, LinksExpired, SourceError, UploadError
from .._core.model import Plan, Receipt
from .._core.presigned import Links
from .._core.receipts import merge
from .._engine.event_log import EventLog
from .._engine.parts import PROGRESS_PERIOD
from .._engine.resume import NullJournalSession
from .._io.files import in_thread, reason_of
from .._io.flow_control import PauseGate
from .._io.foreign import await_foreign
from .._io.session import Session
from .._io.sources import OpenSource
from .worker import UploadWorkerPlugin, send_batch

log = logging.getLogger("aioframeio_upload")

T = TypeVar("T")

RETRIES = 2
"""Further tries of a lot by the engine, perhaps on another worker, after every attempt from one has failed."""

EMPTY_ROUNDS = 3
"""In a row, after which the upload is given up: a worker may close just as it gets a lot, but not again and again."""

MOST_REPORTS = 1000
"""That wait at the scheduler: where nobody takes them any more, the workers stop to report."""

STOPPING = 10.0
STOPPING_WHEN_CANCELLED = 0.4
"""Seconds until every worker has stopped; with the placeholder's deletion it keeps the promise of a cancel's second."""


class DaskPartSender:
    """The parts of one plan, sent by a cluster. Owned by one upload; runs once.

    In rounds, of which there is one unless the upload is paused, or a worker leaves in good order: a crew on every
    worker, a task for each lot, a queue for their reports.
    """

    def __init__(  # noqa: PLR0913  # settings and collaborators, to become a record
        self,
        client: Client,
        plan: Plan,
        source: OpenSource,
        resources: Session,
        feed: EventLog,
        gate: PauseGate,
        *,
        record: NullJournalSession | None = None,
        done: Collection[Receipt] = (),
    ) -> None:
        self._client = client
        self._plan = plan
        self._source = source
        self._resources = resources
        self._feed = feed
        self._gate = gate
        self._record = record or NullJournalSession()
        self._receipts = list(done)
        self._brought: list[Arrived] = []
        """By lots that have ended: a report may have been lost with its worker."""
        high_water, before = feed.bar
        self._state = BatchState(plan, anyio.current_time(), high_water, (receipt.number for receipt in done), before)
        self._failure: UploadError | None = None
        self._was_paused = False
        """In the round that is under way, or was last."""
        self.links: Links = resources.links(plan.file_id, plan.parts, plan.received_at)
        self._sent_earlier = len(self._state.done)
        self.is_spoiled = False

    @property
    def is_whole(self) -> bool:
        """Whether every part was acknowledged, and as it was sent."""
        return self._state.is_whole and not self.is_spoiled

    @property
    def has_sent(self) -> bool:
        """Whether S3 acknowledged a part under these links."""
        return len(self._state.done) > self._sent_earlier

    @property
    def bytes_per_second(self) -> float:
        """What was sent, over the time in which it could be."""
        return self._state.meter.mean_rate(self._state.sent)

    async def run(self) -> tuple[Receipt, ...]:
        """Send every part and give the receipts in the order of the parts; the first that is given up ends all.

        Raises:
            PartError: A part was given up.
            LinksExpired: The links are dead.
            SourceError: A worker cannot read the source, or sees another one.
            JournalError: A part that S3 has could not be recorded.
            UploadError: The cluster failed.
        """
        empty = 0
        while not self._state.is_whole:
            await self._gate.passed()
            began, before = anyio.current_time(), len(self._state.done)
            await self._round(f"aioframeio-upload-{uuid4().hex}")
            self._state.meter.busy += anyio.current_time() - began
            if self._failure is not None:
                raise self._failure
            empty = 0 if self._was_paused or len(self._state.done) > before else empty + 1
            if empty == EMPTY_ROUNDS:
                raise UploadError("the cluster could not send the parts: no worker took one")
        self._feed.publish(self._state.progress(anyio.current_time()))
        try:
            return merge(self._plan, self._receipts)
        except IntegrityError:
            self.is_spoiled = True
            raise

    async def _round(self, name: str) -> None:
        """Send what is missing, until it is there, fails or is paused."""
        self._was_paused = False
        threads = await _engine(self._client.nthreads())
        lots = cut(self._plan, self._state.done, tuple(threads.values()), self._resources.limits.parts)
        self._state.begin(lots)
        reports = await _engine(Queue(name, client=self._client, maxsize=MOST_REPORTS))
        futures: list[Future[Any]] = []
        seconds = STOPPING_WHEN_CANCELLED
        try:
            await self._open(await self._crew(name))
            futures = [self._submit(lot, name) for lot in lots]
            await self._follow(futures, reports)
            seconds = STOPPING
        finally:
            with anyio.move_on_after(seconds, shield=True) as stopping:
                await self._stop(name, futures, reports)
            if stopping.cancelled_caught:
                log.warning(
                    "not every worker said within %g s that it has stopped sending %r", seconds, self._plan.name
                )
            reports.close()

    async def _crew(self, name: str) -> UploadWorkerPlugin:
        fingerprint = await self._source.fingerprint()
        resources = self._resources
        assert fingerprint is not None  # it is a path
        assert self._source.path is not None
        try:
            path: str = await in_thread(resources.executor, os.path.abspath, self._source.path)
        except OSError as error:  # a relative path, and no working directory any more
            raise SourceError(reason_of(error), path=self._source.path, away=True) from error
        return UploadWorkerPlugin(name, path, fingerprint, resources.settings.portable())

    def _submit(self, lot: PartBatch, name: str) -> Future[Any]:
        return self._client.submit(send_batch, lot, name, key=f"{name}-{lot.index}", pure=False, retries=RETRIES)

    async def _open(self, crew: UploadWorkerPlugin) -> None:
        try:
            await _engine(self._client.register_plugin(crew))
            return
        except UploadError as error:  # a worker that was lost at this moment is not asked again
            log.debug("%s: %s", crew.name, error)
        await _engine(self._client.register_plugin(crew))

    async def _stop(self, name: str, futures: list[Future[Any]], reports: Queue) -> None:
        """Call the crews off, and take their last words."""
        last: list[bytes] = []
        try:
            await _engine(self._client.cancel(futures, force=True))
            await _engine(self._client.unregister_worker_plugin(name))
        except UploadError as error:  # a worker was lost at this moment: no reason to give up what is whole
            log.debug("calling off %s: %s", name, error)
        try:
            last = await _engine(reports.get(batch=True))
        except UploadError as error:
            log.debug("the last reports to %s: %s", name, error)
        try:
            await self._take(last)
            # Only now: what a worker reported before is told before.
            for arrived in self._brought:
                await self._note(arrived)
        except UploadError as error:
            self._give_up(error)

    async def _follow(self, futures: Iterable[Future[Any]], reports: Queue) -> None:
        async with anyio.create_task_group() as beside:
            over = anyio.Event()
            beside.start_soon(self._listen, reports, over, beside.cancel_scope)
            async with anyio.create_task_group() as group:
                for future in futures:
                    group.start_soon(self._settle, future, beside.cancel_scope)
            # Not cancelled: reports that are on their way would be lost.
            over.set()

    async def _listen(self, reports: Queue, over: anyio.Event, scope: anyio.CancelScope) -> None:
        """Take the workers' reports and tell how far all are, until that is over or the upload is paused."""
        try:
            while not over.is_set() and self._gate.is_open:
                await self._take(await _engine(reports.get(batch=True)))
                self._feed.publish(self._state.progress(anyio.current_time()))
                await self._check_links()
                with anyio.move_on_after(PROGRESS_PERIOD):
                    await over.wait()
        except UploadError as error:
            self._give_up(error)
        if not over.is_set():
            self._was_paused = self._failure is None
            scope.cancel()

    async def _check_links(self) -> None:
        """Raise LinksExpired where they died while no worker was there, who would say so."""
        life, now = self.links.life, self._resources.now()
        dead = life is not None and self.links.spent(now) >= life.seconds
        if dead and not await _engine(self._client.nthreads()):
            raise LinksExpired("no worker came before the links died", file_id=self._plan.file_id)

    async def _take(self, reports: Iterable[bytes]) -> None:
        for report in reports:
            facts, under_way = pickle.loads(report)  # written by `Crew`, as Dask's own results are
            for fact in facts:
                if isinstance(fact, Arrived):
                    await self._note(fact)
                else:
                    self._feed.publish(fact)
            for index, size in under_way.items():
                self._state.moved(index, size)

    async def _note(self, arrived: Arrived) -> None:
        """Note that a part is there: in the journal first, and told once."""
        self._receipts.append(arrived.receipt)
        if self._state.complete(arrived.receipt.number):
            await self._record.note(arrived.receipt)
            self._feed.publish(arrived.fact)

    async def _settle(self, future: Future[Any], scope: anyio.CancelScope) -> None:
        """Wait for a lot. The first failure ends all others."""
        try:
            outcome = await _outcome(future)
            self._brought += outcome.arrived
            if outcome.error is not None:
                self.is_spoiled = outcome.is_spoiled
                raise outcome.error
        except UploadError as error:
            self._give_up(error)
            scope.cancel()

    def _give_up(self, error: UploadError) -> None:
        # Kept aside and not raised into the group: its siblings end by the scope, and the caller gets no group.
        if self._failure is None:
            log.debug("%r is given up: %s", self._plan.name, error)
            self._failure = error


async def _engine(asked: Awaitable[T]) -> T:
    """Wait for the engine.

    Raises:
        UploadError: It could not, or a worker could not: it may be of any kind.
    """
    try:
        return await await_foreign(asked)
    except UploadError:
        raise
    except Exception as error:  # noqa: BLE001  # raised below
        lost = _lost(error)
    # Out here, so that a traceback does not show what the engine said: it may quote a task's arguments.
    raise lost


async def _outcome(future: Future[Any]) -> BatchOutcome:
    """Give what became of a lot, or raise an error of ours."""
    error = await _engine(future.exception())
    if future.status == "cancelled":
        raise UploadError("the cluster dropped the parts: it was restarted or closed, or somebody has cancelled them")
    if error is None:
        outcome: BatchOutcome = await _engine(future)
        return outcome
    raise error if isinstance(error, UploadError) else _lost(error)


def _lost(error: BaseException) -> UploadError:
    """Say that the cluster failed; its own words only where they are known to hold nothing of a task's arguments."""
    reason = str(error) if isinstance(error, KilledWorker | ImportError) else type(error).__name__
    return UploadError(f"the cluster could not send the parts: {reason}")
