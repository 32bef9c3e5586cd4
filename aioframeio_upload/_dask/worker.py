"""Send batches of parts inside a Dask worker, and report them to the upload."""

from __future__ import annotations

import asyncio
import pickle

import anyio
from distributed import Worker, WorkerPlugin, get_worker

from .._core.batches import Arrived, BatchOutcome, PartBatch
from .._core.errors import PartExhausted, SourceChanged, SourceError, UploadError
from .._core.events import Event, PartCompleted, PartRaced, PartRetrying, PartStarted, Progress
from .._core.journal import Fingerprint
from .._core.model import Receipt
from .._engine.event_log import EventLog
from .._engine.parts import PartUploader
from .._engine.resume import NullJournalSession
from .._io.flow_control import PauseGate
from .._io.session import Session, UploaderSettings, open_session
from .._io.sources import OpenSource, open_source

REPORT_PERIOD = 0.25
"""Seconds between two reports of a worker. One scheduler passes on the reports of all workers."""

LAST_REPORT = 1.0
"""Seconds for the last report."""


class UploadWorkerPlugin(WorkerPlugin):
    """The resources that the batches of one upload share on a worker: connections, slots, threads. It has no token.

    Created by the upload's process and copied to every worker of the cluster, where Dask owns it. Batches can be sent
    while it is registered; its teardown stops them and waits until they have stopped.

    Args:
        name: Name of the round, and of the queue for its reports.
        path: Path of the source, the same on every worker.
        fingerprint: Fingerprint of the source.
        settings: The Uploader's settings that can be sent to another process.
    """

    def __init__(self, name: str, path: str, fingerprint: Fingerprint, settings: UploaderSettings) -> None:
        self.name = name
        self._path = path
        self._fingerprint = fingerprint
        self._settings = settings

    async def setup(self, worker: Worker) -> None:
        """Open the shared resources."""
        self._worker = worker
        self._resources: Session = await open_session(self._settings)
        self._facts: list[Arrived | Event] = []
        self._under_way: dict[int, int] = {}
        self._scopes: set[anyio.CancelScope] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._over = asyncio.Event()
        self._reporting = asyncio.create_task(self._report(), name=f"report {self.name}")

    async def teardown(self, worker: Worker) -> None:
        """Stop all batches, send the last report, and close the resources."""
        for scope in self._scopes:
            scope.cancel()
        await self._idle.wait()
        self._over.set()
        await asyncio.wait([self._reporting], timeout=LAST_REPORT)
        self._reporting.cancel()
        await self._resources.close()

    async def send(self, batch: PartBatch) -> BatchOutcome:
        """Send a batch. Return an error that another worker would have too; raise one that Dask is to retry.

        Raises:
            PartExhausted: All attempts that the policy allows have failed on this worker.
        """
        events = _ReportedEvents(self, batch)
        transfer: PartUploader | None = None
        error: UploadError | None = None
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            self._idle.clear()
            try:
                found = await self._open()
                try:
                    transfer = PartUploader(batch, found, self._resources, events, PauseGate(), record=events.record)
                    with self._settings.telemetry.within(batch.trace):
                        await transfer.run()
                finally:
                    found.close()
            except SourceError as seen:
                error = self._here(seen)
            except PartExhausted:
                raise
            except UploadError as failed:
                error = failed
            finally:
                self._scopes.discard(scope)
                if not self._scopes:
                    self._idle.set()
        return BatchOutcome(tuple(events.arrived), error, transfer is not None and transfer.is_spoiled)

    async def _open(self) -> OpenSource:
        found = await open_source(self._path, None, self._resources.executor, self._resources.spool)
        try:
            if await found.fingerprint() != self._fingerprint:
                raise SourceChanged("is another version than was planned", path=self._path)
        except BaseException:
            found.close()
            raise
        return found

    def _here(self, error: SourceError) -> SourceError:
        """Return the error with the address of this worker."""
        reason = str(error).removeprefix(f"{self._path}: ")
        return type(error)(f"on worker {self._worker.address}: {reason}", path=self._path, away=error.is_away)

    def report(self, fact: Arrived | Event) -> None:
        """Add an event to the next report."""
        self._facts.append(fact)

    def moved(self, index: int, size: int) -> None:
        """Add the number of bytes of a batch that are in flight to the next report."""
        self._under_way[index] = size

    async def _report(self) -> None:
        while True:
            with anyio.move_on_after(REPORT_PERIOD):
                await self._over.wait()
            if self._facts or self._under_way:
                report = pickle.dumps((self._facts, self._under_way))
                self._facts, self._under_way = [], {}
                # Over the worker's connection to the scheduler: a `Queue` would open a client on every worker.
                await self._worker.scheduler.queue_put(name=self.name, data=report)
            if self._over.is_set():
                return


class _ReportedEvents(EventLog):
    """The events of a batch, which go into the worker's report."""

    def __init__(self, plugin: UploadWorkerPlugin, batch: PartBatch) -> None:
        super().__init__()
        self._plugin = plugin
        self._batch = batch
        self.record = _Receipts()
        self.arrived: list[Arrived] = []

    def publish(self, event: Event) -> None:
        match event:
            case Progress():
                self._plugin.moved(self._batch.index, event.bytes_uploaded - event.bytes_confirmed)
            case PartCompleted():
                self.arrived.append(Arrived(self.record.noted[event.number], event))
                self._plugin.report(self.arrived[-1])
            case PartStarted() | PartRaced() | PartRetrying():
                self._plugin.report(event)


class _Receipts(NullJournalSession):
    """The receipts of a batch. The upload's own process writes the journal."""

    def __init__(self) -> None:
        self.noted: dict[int, Receipt] = {}

    async def note(self, receipt: Receipt) -> None:
        self.noted[receipt.number] = receipt


async def send_batch(batch: PartBatch, name: str) -> BatchOutcome:
    """Send a batch on this worker. Do nothing if the plugin was unregistered or is not registered yet."""
    plugin = get_worker().plugins.get(name)
    return await plugin.send(batch) if isinstance(plugin, UploadWorkerPlugin) else BatchOutcome()
