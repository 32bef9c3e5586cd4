"""The part of a fleet that runs inside a Dask worker: send batches and report."""

from __future__ import annotations

import asyncio
import pickle

import anyio
from distributed import Worker, WorkerPlugin, get_worker

from .._core.batches import Arrived, BatchOutcome, PartBatch
from .._core.errors import PartExhausted, SourceChanged, SourceError, UploadError
from .._core.events import Event, PartCompleted, PartRetrying, PartStarted, Progress
from .._core.journal import Fingerprint
from .._core.model import Receipt
from .._engine.event_log import EventLog
from .._engine.parts import PartUploader
from .._engine.resume import NullJournalSession
from .._io.flow_control import PauseGate
from .._io.session import Session, UploaderSettings, open_session
from .._io.sources import OpenSource, open_source

REPORT_PERIOD = 0.25
"""Seconds between two reports of a worker: all of them go through one scheduler."""

LAST_REPORT = 1.0
"""Seconds that the last report may take."""


class UploadWorkerPlugin(WorkerPlugin):
    """What the lots of one upload on one worker share: connections, slots, threads. It has no token.

    Made where the upload is, and copied to every worker of the cluster; there the engine owns it. While it is there,
    lots can be sent; its teardown stops them and waits until they are.

    Args:
        name: This round's; also of the queue that reports go to.
        path: The source's, the same on every worker.
        fingerprint: The source's.
        settings: The Uploader's, without what cannot travel.
    """

    def __init__(self, name: str, path: str, fingerprint: Fingerprint, settings: UploaderSettings) -> None:
        self.name = name
        self._path = path
        self._fingerprint = fingerprint
        self._settings = settings

    async def setup(self, worker: Worker) -> None:
        """Open what the lots share."""
        self._worker = worker
        self._resources: Session = open_session(self._settings)
        self._facts: list[Arrived | Event] = []
        self._under_way: dict[int, int] = {}
        self._scopes: set[anyio.CancelScope] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._over = asyncio.Event()
        self._reporting = asyncio.create_task(self._report(), name=f"report {self.name}")

    async def teardown(self, worker: Worker) -> None:
        """Stop every lot, tell what was not told yet, close."""
        for scope in self._scopes:
            scope.cancel()
        await self._idle.wait()
        self._over.set()
        await asyncio.wait([self._reporting], timeout=LAST_REPORT)
        self._reporting.cancel()
        await self._resources.close()

    async def send(self, lot: PartBatch) -> BatchOutcome:
        """Send a lot. What no other worker would cure is told; the rest is raised, for the engine to try again.

        Raises:
            PartExhausted: Every attempt that the policy allows was made from here.
        """
        telling = _Telling(self, lot)
        transfer: PartUploader | None = None
        error: UploadError | None = None
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            self._idle.clear()
            try:
                found = await self._open()
                try:
                    transfer = PartUploader(lot, found, self._resources, telling, PauseGate(), record=telling.record)
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
        return BatchOutcome(tuple(telling.arrived), error, transfer is not None and transfer.is_spoiled)

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
        """Say which worker has seen it."""
        reason = str(error).removeprefix(f"{self._path}: ")
        return type(error)(f"on worker {self._worker.address}: {reason}", path=self._path, away=error.is_away)

    def tell(self, fact: Arrived | Event) -> None:
        """Put a fact into the next report."""
        self._facts.append(fact)

    def moved(self, index: int, size: int) -> None:
        """Put how many bytes of a lot are under way into the next report."""
        self._under_way[index] = size

    async def _report(self) -> None:
        while True:
            with anyio.move_on_after(REPORT_PERIOD):
                await self._over.wait()
            if self._facts or self._under_way:
                report = pickle.dumps((self._facts, self._under_way))
                self._facts, self._under_way = [], {}
                # By the worker's own connection to the scheduler: a `Queue` here would open a client on every worker.
                await self._worker.scheduler.queue_put(name=self.name, data=report)
            if self._over.is_set():
                return


class _Telling(EventLog):
    """A lot's events, passed on to the crew's report."""

    def __init__(self, crew: UploadWorkerPlugin, lot: PartBatch) -> None:
        super().__init__()
        self._crew = crew
        self._lot = lot
        self.record = _Receipts()
        self.arrived: list[Arrived] = []

    def publish(self, event: Event) -> None:
        match event:
            case Progress():
                self._crew.moved(self._lot.index, event.bytes_uploaded - event.bytes_confirmed)
            case PartCompleted():
                self.arrived.append(Arrived(self.record.noted[event.number], event))
                self._crew.tell(self.arrived[-1])
            case PartStarted() | PartRetrying():
                self._crew.tell(event)


class _Receipts(NullJournalSession):
    """A lot's receipts; they are recorded where the upload is."""

    def __init__(self) -> None:
        self.noted: dict[int, Receipt] = {}

    async def note(self, receipt: Receipt) -> None:
        self.noted[receipt.number] = receipt


async def send_batch(lot: PartBatch, name: str) -> BatchOutcome:
    """Send a lot from the worker that this runs on; nothing, where the crew was called off or is not there yet."""
    crew = get_worker().plugins.get(name)
    return await crew.send(lot) if isinstance(crew, UploadWorkerPlugin) else BatchOutcome()
