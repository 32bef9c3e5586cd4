"""Send the parts of a plan from the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
from collections.abc import Awaitable, Collection, Iterable
from dataclasses import replace
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
from .._core.settings import most_parts
from .._core.words import advise_on_file
from .._engine.control import CLEAN_UP
from .._engine.event_log import PartEventSink
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
"""Retries of a batch by Dask, perhaps on another worker, after all attempts of one worker have failed."""

EMPTY_ROUNDS = 3
"""Rounds in a row without a sent part, after which the upload fails. A worker may close just as it gets a batch, but
that does not happen repeatedly."""

MOST_REPORTS = 1000
"""Reports that wait at the scheduler. If nobody reads them any more, the workers wait."""

STOPPING = 10.0
"""Seconds for all workers to stop."""

STOPPING_WHEN_CANCELLED = CLEAN_UP / 2
"""The same after a cancellation. It is the first step of the clean-up, and the deletion of the placeholder, which gets
the rest of that time, comes after it. A share and not `UploadControl.seconds_left`, because a `PartSender` gets the
pause only."""


class DaskPartSender:
    """Send the parts of one plan from a cluster. Owned by one upload; runs once.

    It works in rounds: a plugin on every worker, a task for each batch, and a queue for the workers' reports. There is
    one round, unless the upload is paused or a worker retires.
    """

    def __init__(  # noqa: PLR0913  # the arguments of `PartSenderFactory`, and the client
        self,
        client: Client,
        plan: Plan,
        source: OpenSource,
        resources: Session,
        feed: PartEventSink,
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
        """The parts of finished batches, because the report about one may have been lost with its worker."""
        high_water, before = feed.bar
        self._state = BatchState(plan, anyio.current_time(), high_water, (receipt.number for receipt in done), before)
        self._failure: UploadError | None = None
        self._was_paused = False
        """In the current round, or the last one."""
        self.links: Links = resources.links(plan.file_id, plan.parts, plan.received_at)
        self._sent_earlier = len(self._state.done)
        self.is_spoiled = False

    @property
    def is_whole(self) -> bool:
        """Whether every part was acknowledged and none arrived damaged."""
        return self._state.is_whole and not self.is_spoiled

    @property
    def has_sent(self) -> bool:
        """Whether S3 acknowledged a part under these links."""
        return len(self._state.done) > self._sent_earlier

    @property
    def bytes_per_second(self) -> float:
        """The bytes sent, divided by the time without pauses."""
        return self._state.meter.mean_rate(self._state.sent)

    async def run(self) -> tuple[Receipt, ...]:
        """Send every part and return the receipts in the order of the parts. The first part that fails ends all.

        Raises:
            PartError: A part could not be sent.
            LinksExpired: The links have expired.
            SourceError: A worker cannot read the source, or sees another version of it.
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
        """Send the missing parts until all have arrived, one has failed, or the upload is paused."""
        self._was_paused = False
        threads = await _from_dask(self._client.nthreads())
        batches = cut(self._plan, self._state.done, tuple(threads.values()), most_parts(self._resources.limits))
        self._state.begin(batches)
        reports = await _from_dask(Queue(name, client=self._client, maxsize=MOST_REPORTS))
        futures: list[Future[Any]] = []
        seconds = STOPPING_WHEN_CANCELLED
        try:
            await self._open(await self._plugin(name))
            futures = [self._submit(batch, name) for batch in batches]
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

    async def _plugin(self, name: str) -> UploadWorkerPlugin:
        fingerprint = await self._source.fingerprint()
        resources = self._resources
        assert fingerprint is not None  # it is a path
        assert self._source.path is not None
        try:
            path: str = await in_thread(resources.executor, os.path.abspath, self._source.path)
        except OSError as error:  # a relative path, and no working directory any more
            raise SourceError(
                reason_of(error), path=self._source.path, away=True, advice=advise_on_file(error)
            ) from error
        return UploadWorkerPlugin(name, path, fingerprint, resources.settings.portable())

    def _submit(self, batch: PartBatch, name: str) -> Future[Any]:
        batch = replace(batch, trace=self._resources.settings.telemetry.carry())
        return self._client.submit(send_batch, batch, name, key=f"{name}-{batch.index}", pure=False, retries=RETRIES)

    async def _open(self, plugin: UploadWorkerPlugin) -> None:
        try:
            await _from_dask(self._client.register_plugin(plugin))
            return
        except UploadError as error:  # if a worker was lost meanwhile, the second call leaves it out
            log.debug("%s: %s", plugin.name, error)
        await _from_dask(self._client.register_plugin(plugin))

    async def _stop(self, name: str, futures: list[Future[Any]], reports: Queue) -> None:
        """Stop the workers and read their last reports."""
        last: list[bytes] = []
        try:
            await _from_dask(self._client.cancel(futures, force=True))
            await _from_dask(self._client.unregister_worker_plugin(name))
        except UploadError as error:  # a worker was lost meanwhile; all parts may have arrived
            log.debug("stopping %s: %s", name, error)
        try:
            last = await _from_dask(reports.get(batch=True))
        except UploadError as error:
            log.debug("the last reports to %s: %s", name, error)
        try:
            await self._take(last)
            # After the reports, so that the events keep the order in which a worker reported them.
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
            # Not cancelled, because reports in transit would be lost.
            over.set()

    async def _listen(self, reports: Queue, over: anyio.Event, scope: anyio.CancelScope) -> None:
        """Read the workers' reports and publish progress, until `over` is set or the upload is paused."""
        try:
            while not over.is_set() and self._gate.is_open:
                await self._take(await _from_dask(reports.get(batch=True)))
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
        """Raise LinksExpired if the links have expired while there is no worker that would report it."""
        life, now = self.links.life, self._resources.now()
        dead = life is not None and self.links.spent(now) >= life.seconds
        if dead and not await _from_dask(self._client.nthreads()):
            raise LinksExpired("no worker came before the links expired", file_id=self._plan.file_id)

    async def _take(self, reports: Iterable[bytes]) -> None:
        for report in reports:
            facts, under_way = pickle.loads(report)  # by `UploadWorkerPlugin`; Dask unpickles results as well
            for fact in facts:
                if isinstance(fact, Arrived):
                    await self._note(fact)
                else:
                    self._feed.publish(fact)
            for index, size in under_way.items():
                self._state.moved(index, size)

    async def _note(self, arrived: Arrived) -> None:
        """Record that a part has arrived: once, and in the journal before the event."""
        self._receipts.append(arrived.receipt)
        if self._state.complete(arrived.receipt.number):
            await self._record.note(arrived.receipt)
            self._feed.publish(arrived.fact)

    async def _settle(self, future: Future[Any], scope: anyio.CancelScope) -> None:
        """Wait for a batch. The first failure ends all others."""
        try:
            outcome = await outcome_of(future)
            self._brought += outcome.arrived
            if outcome.error is not None:
                self.is_spoiled = self.is_spoiled or outcome.is_spoiled
                raise outcome.error
        except UploadError as error:
            self._give_up(error)
            scope.cancel()

    def _give_up(self, error: UploadError) -> None:
        # Not raised in the task group: the scope ends the siblings, and the caller gets no `ExceptionGroup`.
        if self._failure is None:
            log.debug("%r failed: %s", self._plan.name, error)
            self._failure = error


async def _from_dask(asked: Awaitable[T]) -> T:
    """Await a call of Dask's.

    Raises:
        UploadError: The call failed. Dask raises exceptions of any kind, its own and those of workers.
    """
    try:
        return await await_foreign(asked)
    except UploadError:
        raise
    except Exception as error:  # noqa: BLE001  # replaced by the error that is raised below
        lost = _lost(error)
    # Outside the `except` block, so that a traceback does not show Dask's error, which may quote a task's arguments.
    raise lost


async def outcome_of(future: Future[Any]) -> BatchOutcome:
    """Return the outcome of a batch, or raise an error of this package."""
    error = await _from_dask(future.exception())
    if future.status == "cancelled":
        raise UploadError("the cluster dropped the parts: it was restarted or closed, or somebody has cancelled them")
    if error is None:
        # Not cancelled with us. If distributed (2026.8) is cancelled before it begins to gather a result, it awaits the
        # cancelled task in every later gather of this client, other uploads' and the application's own.
        gathering = asyncio.ensure_future(_from_dask(future))
        gathering.add_done_callback(_retrieve)
        outcome: BatchOutcome = await asyncio.shield(gathering)
        return outcome
    raise error if isinstance(error, UploadError) else _lost(error)


def _retrieve(gathering: asyncio.Task[Any]) -> None:
    # Else asyncio logs an error of a result for which nobody waits any more.
    if not gathering.cancelled():
        gathering.exception()


def _lost(error: BaseException) -> UploadError:
    """Return the error for a failure of the cluster. Quotes only messages that cannot contain a task's arguments."""
    reason = str(error) if isinstance(error, KilledWorker | ImportError) else type(error).__name__
    return UploadError(f"the cluster could not send the parts: {reason}")
