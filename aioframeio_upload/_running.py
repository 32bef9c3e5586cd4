"""The uploads that were started: kept alive, waited for, stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from ._core.errors import UploadCancelled
from ._core.model import Statistics
from ._home import Home, running_loop
from ._io.resources import Resources
from ._shielded import wait_out
from ._upload import FolderUpload, Upload


class Running:
    """The uploads that were started and have not ended. Owned by the Uploader; it alone keeps them alive."""

    def __init__(self) -> None:
        self.uploads: set[Upload | FolderUpload] = set()
        self.home = Home()
        self._calls: dict[anyio.CancelScope, asyncio.Future[None]] = {}
        """Verbs that run in tasks of the caller's, and what is set when each has ended."""
        self.closed_because: str | None = "the Uploader is not entered: use `async with`"
        """Why no upload can be started, if none can."""

    def adopt(self, upload: Upload | FolderUpload) -> None:
        """Take an upload in, as it starts."""
        self.home.check()
        if self.closed_because is not None:
            raise RuntimeError(self.closed_because)
        self.uploads.add(upload)

    def release(self, upload: Upload | FolderUpload) -> None:
        """Let go of one that has ended: a finished upload is not referenced."""
        self.uploads.discard(upload)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Run a verb in a task of the caller's, so that leaving or a shutdown waits for it or stops it.

        Raises:
            UploadCancelled: It was stopped.
        """
        ended: asyncio.Future[None] = running_loop().create_future()
        scope = anyio.CancelScope()
        self._calls[scope] = ended
        try:
            with scope:
                yield
        finally:
            del self._calls[scope]
            ended.set_result(None)
        if scope.cancelled_caught:
            raise UploadCancelled(self.closed_because or "the Uploader was left") from None

    async def finish(self) -> None:
        """Wait for all, and raise the errors that nobody has seen or is about to."""
        awaited: set[Upload | FolderUpload] = set()
        while self.uploads or self._calls:
            awaited |= self.uploads
            await asyncio.wait(self._ends())
        errors = []
        for upload in awaited:
            if upload._error is not None and not upload._seen and not upload._waiters:
                upload._seen = True
                errors.append(upload._error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("uploads failed", errors)

    async def stop(self, grace: float) -> None:
        """Let them go on for `grace` seconds, then stop them as cancelled tasks."""
        try:
            if self._ends() and grace > 0:
                await asyncio.wait(self._ends(), timeout=grace)
        finally:  # at once, where the wait itself is cancelled
            ends = self._ends()
            for upload in tuple(self.uploads):
                upload._stop()
            for scope in tuple(self._calls):
                scope.cancel()
            await wait_out(ends)

    def _ends(self) -> list[asyncio.Future[Any]]:
        tasks = [upload._task for upload in self.uploads if upload._task is not None]
        return [*tasks, *self._calls.values()]

    def statistics(self, resources: Resources) -> Statistics:
        """Tell what is going on at this moment."""
        slots = resources.part_slots.statistics()
        progress = [upload.progress for upload in self.uploads]
        return Statistics(
            slots=int(slots.total_tokens),
            in_flight=slots.borrowed_tokens,
            waiting=slots.tasks_waiting,
            uploads=len(self.uploads),
            bytes_per_second=sum(latest.bytes_per_second for latest in progress if latest is not None),
            retries=resources.retries,
        )
