"""Confirm many files with few calls, by reading the listings of their folders."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from typing import Any

import anyio

from .._core.api_schema import read_instant
from .._core.errors import ConfirmationError, UploadError
from .._core.listing import read_remote_file
from .._core.model import Plan, Receipt, UploadedFile
from .._io.frameio_api import LIST_FILES, FrameioApi, Pages
from .._io.session import Session
from .child_failure import ChildFailure
from .confirm import as_file, next_pause, read_status, seconds_for

SLACK = timedelta(minutes=1)
"""Rows that are older than the oldest file that waits are not read. This much older, in case the two clocks differ."""


FIRST_PAUSE = 0.5
"""Seconds between two readings of a folder while files arrive: half of the documented rate is left to other calls."""

MOST_ASKED = 5
"""Files whose own status is read in one round: as many as the documented rate allows in one second."""

OVERDUE = 20.0
"""Seconds after which a file's own status is read: a listing does not show that an upload failed."""

MOST_PAGES = 100
"""Pages of the newest files that are read in a round. What waits is on the first ten, unless others upload too."""

ODD = 5.0
"""The same for a file that is not in the listing, or that was begun before one that has arrived."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A file that is to be confirmed."""

    id: str
    folder_id: str
    begun_at: datetime
    """The service's time just before it was created."""
    since: float
    """When it began to wait, or when its own status was last read."""
    settled: anyio.Event = field(default_factory=anyio.Event)
    media_type: str | None = None
    status: str = "uploaded"
    error: UploadError | None = None
    asked: int = 0
    is_odd: bool = False
    waiting: anyio.CancelScope | None = None
    """The scope that limits the wait. Its deadline moves while the service cannot be reached."""

    def confirm(self, status: str, media_type: str | None) -> None:
        self.status, self.media_type = status, media_type
        self.settled.set()

    def fail(self, error: UploadError) -> None:
        self.error = error
        self.settled.set()


class BatchConfirmer:
    """Confirms the files of one folder upload, which owns it. `run` has to run in a task of its own."""

    def __init__(self, api: FrameioApi, account_id: str, resources: Session) -> None:
        self._api = api
        self._account_id = account_id
        self._resources = resources
        self._waiting: dict[str, dict[str, _Waiting]] = {}
        """By folder ID, then by file ID."""
        self._news = anyio.Event()
        self._latest: datetime | None = None
        """The latest `begun_at` of the files that are confirmed."""

    async def confirm(
        self, plan: Plan, receipts: tuple[Receipt, ...], folder_id: str, begun_at: datetime, *, must: bool
    ) -> UploadedFile:
        """Wait until the service has the file.

        Args:
            plan: The file's plan.
            receipts: The receipts of its parts.
            folder_id: The folder that it is in.
            begun_at: The service's time just before it was created.
            must: Wait even with `Timeouts(confirm=0)`.

        Raises:
            ConfirmationError: It failed there, or took too long; the file is kept.
            ApiError: The service refused, or did not answer.
        """
        seconds = seconds_for(self._resources.timeouts, plan.size, must=must)
        if seconds == 0:
            return await as_file(plan, self._account_id, receipts)
        one = _Waiting(plan.file_id, folder_id, begun_at, time.monotonic())
        self._waiting.setdefault(folder_id, {})[one.id] = one
        self._news.set()
        try:
            with anyio.move_on_after(seconds) as waiting:
                one.waiting = waiting
                await one.settled.wait()
        finally:
            del self._waiting[folder_id][one.id]
            if not self._waiting[folder_id]:
                del self._waiting[folder_id]
        if waiting.cancelled_caught and not one.settled.is_set():
            reason = f"the service did not say within {seconds:g} s that it is complete"
            raise ConfirmationError(reason, file_id=plan.file_id)
        if one.error is not None:
            raise one.error
        self._latest = max(self._latest or begun_at, begun_at)
        return await as_file(plan, self._account_id, receipts, status=one.status, media_type=one.media_type)

    async def run(self) -> None:
        """Read the listings while any file is waiting. Runs until it is cancelled."""
        while True:
            self._news = anyio.Event()
            pause = FIRST_PAUSE
            while self._waiting:
                settled = 0
                for folder_id in tuple(self._waiting):
                    settled += await self._read(folder_id)
                settled += await self._ask()
                await anyio.sleep(pause)
                pause = FIRST_PAUSE if settled else next_pause(pause)
            await self._news.wait()

    async def _read(self, folder_id: str) -> int:
        """Read a folder's newest files as long as one of them waits; return how many were settled."""
        missing = {id: one for id, one in self._waiting.get(folder_id, {}).items() if not one.settled.is_set()}
        asked = tuple(missing.values())
        with ChildFailure(f"the listing of folder {folder_id}") as caught:
            await self._read_pages(folder_id, missing)
        if caught.failure is not None:
            for one in missing.values():
                one.since = -inf  # so that each one's own status is read, whose error says what is wrong
        for one in missing.values():  # moved, deleted or stacked since
            one.is_odd = True
        return sum(one.settled.is_set() for one in asked)

    async def _read_pages(self, folder_id: str, missing: dict[str, _Waiting]) -> None:
        """Settle the files that have arrived, and remove from `missing` those that are listed."""
        oldest = min((one.begun_at for one in missing.values()), default=None)
        pages = Pages(self._api, LIST_FILES, account_id=self._account_id, folder_id=folder_id, sort="created_at_desc")
        for _ in range(MOST_PAGES):
            if not missing or oldest is None:
                break
            rows = await pages.read(self._on_outage)
            for row in rows:
                listed = missing.pop(str(row.get("id")), None) if isinstance(row, dict) else None
                found = read_remote_file(row) if listed is not None else None
                if listed is not None and found is not None and found.has_arrived:
                    listed.confirm(found.status or "uploaded", found.media_type)
            if pages.is_over or _is_before(rows, oldest - SLACK):
                break

    async def _ask(self) -> int:
        """Read the status of files that are overdue; return how many were settled."""
        settled = 0
        for one in self._overdue(time.monotonic()):
            with ChildFailure(f"the status of file {one.id}") as caught:
                status = await read_status(self._api, one.id, self._account_id, self._on_outage)
                one.asked, one.since = one.asked + 1, time.monotonic()
                if status.failed:
                    reason = "the service says that the upload failed"
                    one.fail(ConfirmationError(reason, file_id=one.id, failed=True))
                elif status.complete:
                    one.confirm("uploaded", status.media_type)
            if caught.failure is not None:
                one.fail(caught.failure)
                continue
            settled += one.settled.is_set()
        return settled

    def _on_outage(self, lost: float) -> None:
        """Extend every wait by the time in which the service could not be reached."""
        for one in (one for some in self._waiting.values() for one in some.values()):
            if one.waiting is not None:
                one.waiting.deadline += lost

    def _overdue(self, now: float) -> list[_Waiting]:
        found = []
        for one in (one for some in self._waiting.values() for one in some.values()):
            is_odd = one.is_odd or (self._latest is not None and one.begun_at < self._latest)
            if not one.settled.is_set() and now - one.since > (ODD if is_odd else OVERDUE) * 2**one.asked:
                found.append(one)
        return sorted(found, key=lambda one: one.since)[:MOST_ASKED]


def _is_before(rows: list[Any], instant: datetime) -> bool:
    """Return whether the last row of a page is older than `instant`."""
    last = read_instant(rows[-1].get("created_at")) if rows and isinstance(rows[-1], dict) else None
    return last is not None and last < instant
