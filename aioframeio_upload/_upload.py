"""What a program holds of an upload: the handle of one file, and that of a folder."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from ._core.events import Event, UploadCompleted, UploadPlanned
from ._core.folders import FolderCompleted, FolderPlanned, FolderResult, FolderUploadError
from ._core.model import UploadedFile
from ._feed import Feed, FolderFeed
from ._handle import Handle
from ._home import Home
from ._io.gate import Gate
from ._io.kinds import Source


class Upload(Handle[UploadedFile]):
    """One upload. Lazy: nothing happens until it is awaited, entered, iterated or started.

    * `await upload` gives the `UploadedFile` or raises; any number of times, the same each time.
    * `async with upload:` starts it; leaving the block waits for its end and raises its error, leaving by an exception
      cancels it.
    * `async for event in upload:` tells every fact from the first on, and the latest `Progress` between them. Breaking
      out of the loop stops nothing; after a failure the last event is `UploadFailed`, and nothing is raised here.
    * `upload.start()` returns at once; the Uploader owns the task.

    As with an `asyncio.Task`, cancelling who awaits it cancels the upload: `asyncio.shield` where that is not wanted.
    Within a second of a cancellation nothing of it is running and every file is closed. It is a
    `collections.abc.Coroutine`, so `asyncio.gather`, `wait_for` and `TaskGroup.create_task` take it.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[Feed, Gate], Awaitable[UploadedFile]],
        home: Home,
        adopt: Callable[[Any], None],
        release: Callable[[Any], None],
        *,
        source: Source,
        folder_id: str | None,
        file_id: str | None = None,
    ) -> None:
        feed, gate = Feed(), Gate()
        feed.recorded_id = file_id
        super().__init__(name, lambda: deliver(feed, gate), feed, gate, home, adopt, release)
        self.source: str | os.PathLike[str] | None = source if isinstance(source, str | os.PathLike) else None
        """The path, as it was given; of `resume_pending()`, as it was recorded; None for anything but a path."""
        self.folder_id = folder_id
        """Where to; None where a plan that was given does not tell."""

    def _completed(self, result: UploadedFile) -> Event:
        return UploadCompleted(result)

    @property
    def file_id(self) -> str | None:
        """The file at Frame.io; None before it is planned.

        Known from the start for `resume_pending()` and `execute()`. It becomes another one where the upload begins
        anew, which `UploadReplanned` tells.
        """
        return self._feed.file_id

    async def planned(self) -> UploadPlanned | None:
        """Start it, and wait until the file exists at Frame.io; what a web handler answers 202 with.

        Cancelling this wait does not cancel the upload.

        Returns:
            The file's id and link, or None where nothing had to be uploaded.

        Raises:
            UploadError: The upload failed before.
        """
        async for event in self:
            if isinstance(event, UploadPlanned):
                return event
        _ = self.result
        return None


class FolderUpload(Handle[FolderResult]):
    """The upload of a folder. Used as an `Upload` is, and as lazy; its events are those of the folder and its files.

    A file that fails stops no other: at the end `FolderUploadError`, whose `result` names them all, is raised where the
    upload is awaited, and the last event is `FolderCompleted` all the same. A listener that comes late is told
    `FolderPlanned`, the failures and the end: what was done is in the result, and memory does not grow with the files.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[FolderFeed, Gate], Awaitable[FolderResult]],
        home: Home,
        adopt: Callable[[Any], None],
        release: Callable[[Any], None],
        *,
        source: str | os.PathLike[str],
        folder_id: str,
    ) -> None:
        feed, gate = FolderFeed(), Gate()
        super().__init__(name, lambda: deliver(feed, gate), feed, gate, home, adopt, release)
        self.source = source
        """The folder's path, as it was given."""
        self.folder_id = folder_id
        """The folder at Frame.io that was given; `FolderCreated` tells those that are made in it."""

    def _completed(self, result: FolderResult) -> Event:
        return FolderCompleted(result)

    def _failed(self, error: BaseException) -> Event:
        return FolderCompleted(error.result) if isinstance(error, FolderUploadError) else super()._failed(error)

    async def planned(self) -> FolderPlanned:
        """Start it, and wait until the tree was walked and the folder exists at Frame.io.

        Cancelling this wait does not cancel the upload.

        Raises:
            UploadError: The upload failed before.
        """
        async for event in self:
            if isinstance(event, FolderPlanned):
                return event
        _ = self.result
        raise AssertionError("a folder's upload ended well before it was planned")
