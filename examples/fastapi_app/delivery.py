"""Carry one file from the browser to Frame.io: through the spool, as it arrives, in as many attempts as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from folders import Folders
from kept import Kept
from spool import Pieces, Spool
from starlette.requests import ClientDisconnect

from aioframeio_upload import (
    Event,
    IntegrityError,
    LinksExpired,
    NotFound,
    PartCompleted,
    PartRejected,
    PartRetrying,
    Plan,
    SourceError,
    Upload,
    UploadCancelled,
    UploadCompleted,
    Uploader,
    UploadError,
    UploadFailed,
)

HOPELESS = (LinksExpired, NotFound, PartRejected, IntegrityError)
"""Errors after which the parts that have arrived cannot be used."""

State = Literal["waiting", "receiving", "sending", "paused", "done", "failed", "cancelled"]

STOPPING = "the server is being stopped: send what is missing to the next one"

log = logging.getLogger("uvicorn.error")


WHY: dict[State, str] = {
    "waiting": "it was stopped: send what is missing",
    "receiving": "another request sends it",
    "sending": "every byte was received",
    "paused": "it is paused",
    "done": "it has arrived",
    "failed": "it has failed: let it wait for another attempt",
    "cancelled": "it was cancelled",
}
"""Why a request with bytes is refused, or has ended early, by the state of its upload."""


class Busy(Exception):
    """The request does not fit the state of the upload; its text says why."""


@dataclass(frozen=True)
class Service:
    """What all uploads share."""

    uploader: Uploader
    folders: Folders
    tasks: asyncio.TaskGroup
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is being stopped: no upload begins any more."""


class Delivery:
    """An upload: what of it is here, what is at Frame.io, and the task that sends it, if one does.

    Args:
        changed: Called whenever `row()` has changed.
    """

    def __init__(self, key: UUID, kept: Kept, service: Service, changed: Callable[[], None]) -> None:
        self.key = key
        self.kept = kept
        self.task: asyncio.Task[None] | None = None
        self.taken = asyncio.Event()
        """Set when the server has every byte, or the attempt has ended."""
        self.error: Exception | None = None
        """Why the last attempt has failed; None if it was stopped."""
        self._service = service
        self._changed = changed
        self._spool = Spool(kept.path.with_suffix(".parts"))
        self._upload: Upload | None = None
        self._is_stopped = False
        self._retrying = ""
        self._awaited = 0
        """Bytes of the body that have not been received yet."""
        self._received = 0
        """Bytes that are here or at Frame.io."""
        # One request at a time changes what the user wants.
        self._wishing = asyncio.Lock()

    def find_parts(self) -> None:
        """Find the parts that an earlier server has received; it may have been killed before it deleted one."""
        self._spool.find()
        for number in self._spool.numbers & self.kept.receipts.keys():
            self._spool.drop(number)
        self._received = self.kept.file.size - sum(size for _, size in self.missing)

    # -- what the page shows ---------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where it stands."""
        if self.task is not None:
            return "sending" if self.taken.is_set() else "receiving"
        if self.kept.end is None:
            return "paused" if self.kept.is_paused else "waiting"
        if self.kept.end["event"] == "UploadCompleted":
            return "done"
        return "cancelled" if self.kept.end["error"]["type"] == "UploadCancelled" else "failed"

    @property
    def is_stopping(self) -> bool:
        """Whether the server is being stopped, so that no attempt begins any more."""
        return self._service.stopping.is_set()

    @property
    def missing(self) -> list[tuple[int, int]]:
        """Offset and size of each range that only the browser has."""
        kept = self.kept
        if self.state == "done":
            return []
        if kept.plan is None:
            return [(0, kept.file.size)]
        ranges: list[tuple[int, int]] = []
        for part in kept.plan.parts:
            if part.number not in kept.receipts and part.number not in self._spool.numbers:
                offset, size = ranges[-1] if ranges else (0, 0)
                if ranges and offset + size == part.offset:
                    ranges[-1] = offset, size + part.size
                else:
                    ranges.append((part.offset, part.size))
        return ranges

    def row(self) -> dict[str, Any]:
        """Return what the page shows of it."""
        kept, state, error = self.kept, self.state, None
        progress = self._upload.progress if self._upload is not None else None
        sent = sum(receipt.size for receipt in kept.receipts.values())
        if state == "failed" and kept.end is not None:
            error = kept.end["error"]["message"]
        return {
            "key": str(self.key),
            **kept.file.model_dump(),
            "state": state,
            "received": kept.file.size if state == "done" else self._received,
            "sent": kept.file.size if state == "done" else max(sent, progress.bytes_uploaded if progress else 0),
            "rate": progress.bytes_per_second if progress else 0,
            "left": progress.seconds_left if progress else None,
            "note": self._retrying,
            "error": error,
            "link": kept.end["file"]["view_url"] if state == "done" and kept.end is not None else None,
            # Only where the page needs it: a large file has thousands of parts.
            "missing": self.missing if self.task is None else [],
        }

    # -- sending ---------------------------------------------------------------------------------------------------

    def begin(self, body: AsyncIterator[bytes] | None = None, length: int = 0) -> None:
        """Start to send what is missing: from the spool, and from a body that has exactly the other bytes.

        Raises:
            Busy: It is being sent, these are not the missing bytes, or the server is being stopped.
        """
        if self.is_stopping:
            raise Busy(STOPPING)
        if self.state != "waiting":
            raise Busy(WHY[self.state])
        missing = sum(size for _, size in self.missing)
        if length != missing:
            raise Busy(f"{missing} bytes are missing, and the body has {length}")
        self.taken.clear()
        if self.kept.plan is not None and not length:
            self.taken.set()
        self.error, self._is_stopped, self._awaited = None, False, length
        self.task = self._service.tasks.create_task(self._run(body))
        self.task.add_done_callback(self._ended)
        self._changed()

    async def settled(self) -> None:
        """Wait until every byte was received, or the attempt has ended and what the user wanted is recorded."""
        await self.taken.wait()
        async with self._wishing:
            pass

    async def _run(self, body: AsyncIterator[bytes] | None) -> None:
        try:
            plan = self.kept.plan or await self._planned()
            if self._is_stopped or self.is_stopping:
                return
            receipts = tuple(self.kept.receipts.values())
            self._upload = self._service.uploader.execute(plan, self._bytes(plan, body), receipts=receipts)
            async with self._upload as upload:
                async for event in upload:
                    await self._see(event)
            with reported():
                await asyncio.to_thread(self.kept.clear, UploadCompleted(upload.result).to_dict())
            await asyncio.to_thread(self._spool.clear)
        except (UploadError, OSError) as error:
            # Paused, cancelled, or the browser has gone: what is here and at Frame.io is kept for the next attempt.
            if not self._is_stopped and not isinstance(error, UploadCancelled):
                await self._fail(error)

    def _ended(self, _: asyncio.Task[None]) -> None:
        # A callback and no `finally`: a task that is cancelled before its first step never runs.
        self.task = self._upload = None
        self._retrying = ""
        self._received = self.kept.file.size - sum(size for _, size in self.missing)
        self.taken.set()
        self._changed()

    async def _planned(self) -> Plan:
        """Create the file at Frame.io, in its folder, and record the plan before the first byte is sent."""
        file, service = self.kept.file, self._service
        try:
            folder_id = await service.folders.find(file.folder)
            plan = await service.uploader.plan(nothing(), folder_id=folder_id, name=file.name, size=file.size)
        except ValueError as error:
            raise SourceError(str(error)) from None
        except NotFound:
            service.folders.forget()
            raise
        try:
            await asyncio.to_thread(self.kept.begin, plan)
        except OSError:
            await self._forget()
            raise
        return plan

    async def _bytes(self, plan: Plan, body: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
        """Yield the bytes of the parts that Frame.io lacks, in order, from the spool or the body."""
        pieces = Pieces(body or nothing())
        try:
            for part in plan.parts:
                if part.number in self.kept.receipts:
                    continue
                if part.number in self._spool.numbers:
                    async for block in self._spool.read(part):
                        yield block
                else:
                    async for block in self._spool.receive(part, pieces):
                        self._received += len(block)
                        self._awaited -= len(block)
                        if not self._awaited:
                            self.taken.set()
                        self._changed()
                        yield block
        except ClientDisconnect:
            self._is_stopped = True
            raise
        except OSError as error:
            raise SourceError(f"the server cannot store it: {error.strerror}") from None

    async def _see(self, event: Event) -> None:
        """Record the receipt of a part; note a retry for the page."""
        if isinstance(event, PartCompleted):
            self._retrying = ""
            with reported():
                await asyncio.to_thread(self.kept.note, event)
                await asyncio.to_thread(self._spool.drop, event.number)
        elif isinstance(event, PartRetrying):
            self._retrying = f"part {event.number} again in {event.delay:.1f} s"
        self._changed()

    async def _fail(self, error: UploadError | OSError) -> None:
        """Record a failure, for the page and for the next attempt."""
        self.error = error
        log.warning("%s: %s", self.kept.file.name, error)
        if isinstance(error, HOPELESS):
            await self._forget()
        told = error if isinstance(error, UploadError) else UploadError(f"no record can be kept: {error.strerror}")
        with reported():
            await asyncio.to_thread(self.kept.finish, UploadFailed(told).to_dict())

    # -- what the user wants ---------------------------------------------------------------------------------------

    async def wish(self, wanted: Literal["waiting", "paused", "cancelled"]) -> None:
        """Pause it, cancel it, or let it go on: after a pause, a failure, a cancellation, or with another request."""
        async with self._wishing:
            if wanted == "waiting":
                if self.state == "receiving":  # from a page that has gone, unnoticed while Frame.io is the slower side
                    await self._stop()
                if self.state in ("paused", "failed", "cancelled"):
                    await asyncio.to_thread(self.kept.pause, False)
                if self.state == "waiting":
                    self.go_on()
            elif wanted == "paused":
                if self.state in ("waiting", "receiving", "sending"):
                    await asyncio.to_thread(self.kept.pause, True)
                    await self._stop()
            elif self.state != "cancelled":
                await self._stop()
                if self.state != "done":
                    await self._forget()
                    ended = UploadFailed(UploadCancelled("cancelled")).to_dict()
                    await asyncio.to_thread(self.kept.clear, ended)
            self._changed()

    def go_on(self) -> None:
        """Continue without the browser, if nothing is missing here."""
        if self.kept.plan is not None and not self.missing:
            with suppress(Busy):
                self.begin()

    async def remove(self) -> None:
        """Stop it and delete everything that is kept of it; a file of which a part is missing, at Frame.io too."""
        async with self._wishing:
            await self._stop()
            plan = self.kept.plan
            if plan is not None and len(self.kept.receipts) < len(plan.parts):
                await self._forget()
            await asyncio.to_thread(self._spool.clear)
            with reported():
                await asyncio.to_thread(self.kept.path.unlink, missing_ok=True)

    async def _stop(self) -> None:
        """Stop sending. Parts that are under way are sent again later, from the spool."""
        self._is_stopped = True
        if self._upload is not None:
            self._upload.cancel()
        elif self.task is not None:
            self.task.cancel()
        if self.task is not None:
            await asyncio.wait([self.task])

    async def _forget(self) -> None:
        """Delete the unfinished file at Frame.io and here."""
        plan = self.kept.plan
        with reported():
            await asyncio.to_thread(self.kept.clear)
        await asyncio.to_thread(self._spool.clear)
        self._received = 0
        if plan is not None:
            try:
                await self._service.uploader.delete(plan.file_id)
            except UploadError as error:
                log.warning("%s is left behind: %s", plan.view_url, error)


async def nothing() -> AsyncIterator[bytes]:
    """Yield no byte."""
    return
    yield


@contextmanager
def reported() -> Iterator[None]:
    """Report a record that cannot be written, and go on: what it says is then done again after a restart."""
    try:
        yield
    except OSError as error:
        log.error("%s", error)
