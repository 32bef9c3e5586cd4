"""Upload a folder: walk it, create its folders, skip or stack, and send its files."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from dataclasses import dataclass, field

import anyio

from .._core.errors import AuthenticationError, UploadError
from .._core.events import (
    EMPTY,
    Event,
    FileStarted,
    FolderCreated,
    FolderPlanned,
    FolderResult,
    FolderUploadError,
    UploadReplanned,
)
from .._core.file_queue import BIG, FileQueue, LocalFile, folder_of
from .._core.folder_state import FolderState
from .._core.listing import Conflict, RemoteFile, find_below, find_same
from .._core.model import Plan, Receipt, UploadedFile
from .._core.patterns import Patterns
from .._io.files import in_thread
from .._io.frameio_api import FrameioApi
from .._io.session import Session
from .._io.walk import Tree, check_unchanged, walk
from .child_failure import ChildFailure
from .confirm_batch import BatchConfirmer
from .conflict import found_there, stack
from .control import UploadControl
from .event_log import EventLog, FolderEventLog
from .job import UploadJob
from .parts import PROGRESS_PERIOD
from .remote_folders import RemoteFolders

log = logging.getLogger("aioframeio_upload")

UNSETTLED = 1000
"""Files that may be sent and not yet confirmed: three minutes' worth at five creates a second. Each of them is a task
until then, and no file is one before its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRequest:
    """What is to be uploaded, and where to."""

    root: str
    name: str | None
    """The folder that the root becomes; None: its contents go into `folder_id` itself."""
    folder_id: str
    account_id: str
    wanted: Patterns
    conflict: Conflict


class _FileFeed(EventLog):
    """The events of one file of a folder, whose listeners are not told them: a new beginning goes to the log."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def publish(self, event: Event) -> None:
        """Keep an event, and log it where a user should know."""
        super().publish(event)
        if isinstance(event, UploadReplanned):
            log.info("%r begins anew: %s", self._path, event.reason)


@dataclass(slots=True, eq=False)
class _Taken:
    """A file whose turn it is, until its last byte is sent."""

    file: LocalFile
    feed: EventLog = field(init=False)
    """Its own events, of which only the progress is looked at."""

    def __post_init__(self) -> None:
        self.feed = _FileFeed(self.file.path)


async def deliver_folder(
    asked: FolderRequest, feed: FolderEventLog, control: UploadControl, resources: Session, api: FrameioApi
) -> FolderResult:
    """Upload every file of a tree.

    Raises:
        SourceError: The root cannot be walked.
        ApiError: The root's folder cannot be found or made.
        FolderUploadError: Some files failed; all others are there.
    """
    tree = await walk(asked.root, asked.wanted, resources.executor)
    # In a thread, as the walk: with a hundred thousand files each of these takes a tenth of a second.
    order, left, empty = await in_thread(resources.executor, _sorted, tree.files)
    return await FolderJob(asked, tree, order, left, empty, feed, control, resources, api).run()


def _sorted(files: list[LocalFile]) -> tuple[FileQueue, Counter[str], list[str]]:
    """Return the order of those that can be sent, how many are in each folder, and which are empty."""
    sent = [file for file in files if file.size]
    return FileQueue(sent), Counter(map(folder_of, sent)), [file.path for file in files if not file.size]


class FolderJob:
    """The upload of one tree. Runs once, as one task; each file under way is another."""

    def __init__(
        self,
        asked: FolderRequest,
        tree: Tree,
        order: FileQueue,
        left: Counter[str],
        empty: list[str],
        feed: FolderEventLog,
        control: UploadControl,
        resources: Session,
        api: FrameioApi,
    ) -> None:
        self._asked = asked
        self._tree = tree
        self._feed = feed
        self._control = control
        self._resources = resources
        self._api = api
        self._order = order
        self._left = left
        """By folder: the files that have not yet looked for their namesakes."""
        self._empty = empty
        """Files that Frame.io does not take."""
        size, count = tree.size, len(tree.files) + len(tree.failures)
        self._state = FolderState(count, size, anyio.current_time())
        self._planned = FolderPlanned(count, len([path for path in tree.folders if path or asked.name]), size)
        tree.files.clear()  # from here on a file is held by the order, until its turn
        self._places = RemoteFolders(
            api,
            account_id=asked.account_id,
            folder_id=asked.folder_id,
            name=asked.name,
            only="folder" if asked.conflict == "create" else None,
            exact=tree.look_alikes,
            told=self._created,
        )
        self._roll = BatchConfirmer(api, asked.account_id, resources)
        self._taken: set[_Taken] = set()
        self._room = asyncio.Semaphore(resources.limits.files)
        """For the files that are taken: more than `Limits.files` would only wait for a place there."""
        self._unsettled = asyncio.Semaphore(UNSETTLED)
        self._is_planned = False
        self._made_early: list[FolderCreated] = []
        """The root's own, kept until the plan was told: that is the first event."""
        self._refused: AuthenticationError | None = None
        """The service does not know us any more: nothing further is tried."""

    async def run(self) -> FolderResult:
        """Upload all; see `deliver_folder`."""
        # Before it is told as planned: whoever was told so may answer 202, and the folder is there.
        with ChildFailure(f"the folder {self._asked.name!r}") as caught:
            if self._tree.folders:
                await self._places.place("")
        if caught.failure is not None:
            raise caught.failure
        self._feed.publish(self._planned)
        self._is_planned = True
        for folder in self._made_early:
            self._created(folder)
        for path, failure in self._tree.failures:
            self._fail(path, failure)
        for path in self._empty:
            self._feed.publish(self._state.skip(path, 0, EMPTY))
        async with asyncio.TaskGroup() as beside:
            aside = [beside.create_task(self._roll.run()), beside.create_task(self._tick())]
            async with asyncio.TaskGroup() as group:
                group.create_task(self._make_folders())
                await self._send(group)
            for task in aside:
                task.cancel()
        self._publish_progress()
        result = self._state.result()
        if result.failures:
            raise FolderUploadError(result)
        return result

    async def _send(self, group: asyncio.TaskGroup) -> None:
        """Begin one file after the other, each when there is room for it."""
        while self._order:
            await self._unsettled.acquire()
            await self._room.acquire()
            await self._control.pause.passed()
            big = sum(taken.file.size >= BIG for taken in self._taken)
            taken = _Taken(self._order.take(big, self._resources.limits.files))
            self._taken.add(taken)
            group.create_task(self._bring(taken))

    async def _make_folders(self) -> None:
        """Make every folder ahead of the files that wait for it, parents before children; those without files, too."""
        for path in self._tree.folders:
            with ChildFailure(path) as caught:
                self._check_welcome()
                await self._places.place(path)
            # A folder's files tell its error, each for itself.
            if caught.failure is not None and path in self._tree.bare:
                self._fail(path, caught.failure)

    async def _bring(self, taken: _Taken) -> None:
        """See one file to its end, whatever that is."""
        path = taken.file.path
        try:
            with ChildFailure(path) as caught:
                await self._deliver(taken)
            if caught.failure is not None:
                self._fail(path, caught.failure)
        finally:
            self._make_room(taken)
            self._unsettled.release()

    async def _deliver(self, taken: _Taken) -> None:
        asked, file = self._asked, taken.file
        self._check_welcome()
        place = await self._places.place(folder_of(file))
        same, below = (None, None) if asked.conflict == "create" else await self._meet(file)
        delivery = self._delivery(taken, place.id, below)
        # What an earlier run has begun itself is gone on with, or the journal would hold it, links included, for ever.
        if same is not None and not await delivery.is_pending(same.id):
            there = found_there(same, size=file.size, account_id=asked.account_id, folder_id=place.id)
            self._feed.publish(self._state.skip(file.path, file.size, f"it is there already, as file {same.id}", there))
            return
        await self._control.pause.passed()  # before it takes one of `Limits.files`, which others could use meanwhile
        path = self._tree.file(file.path)
        threads = self._resources.executor
        await threads.answer(lambda: check_unchanged(path, file, threads), os.fspath(path))
        self._feed.publish(FileStarted(file.path, file.size))
        self._feed.publish(self._state.complete(file.path, await delivery.run()))

    def _delivery(self, taken: _Taken, folder_id: str, below: RemoteFile | None) -> UploadJob:
        asked, file = self._asked, taken.file
        begun_at = self._resources.service_now()

        async def settle(plan: Plan, receipts: tuple[Receipt, ...]) -> UploadedFile:
            if taken in self._taken:  # and not once more, after parts were sent again
                self._state.send(file.size, taken.feed.bar[1])
                self._make_room(taken)
            done = await self._roll.confirm(plan, receipts, folder_id, begun_at, must=below is not None)
            if below is not None:
                await stack(self._api, done, below)
            return done

        return UploadJob(
            source=self._tree.file(file.path),
            size=file.size,
            name=file.name,
            folder_id=folder_id,
            account_id=asked.account_id,
            media_type=None,
            feed=taken.feed,
            control=self._control,
            resources=self._resources,
            api=self._api,
            settle=settle,
            conflict=asked.conflict,
        )

    async def _meet(self, file: LocalFile) -> tuple[RemoteFile | None, RemoteFile | None]:
        """Give the file there that this one would only repeat, or the one that it is to be stacked on."""
        listing = await self._places.listing(folder_of(file))
        there = listing.namesakes(file.name, exact=file.path in self._tree.look_alikes)
        same = below = None
        if self._asked.conflict == "version":
            below = find_below(there)
        elif (same := find_same(there, file.size, file.modified_ns, self._resources.clocks())) is not None:
            listing.remove(same)
        self._left[folder_of(file)] -= 1
        if not self._left[folder_of(file)]:
            listing.files.clear()  # nobody will look for another one
        return same, below

    def _check_welcome(self) -> None:
        if self._refused is not None:
            raise self._refused.with_traceback(None)

    def _fail(self, path: str, error: UploadError) -> None:
        if isinstance(error, AuthenticationError) and error.status == 401:  # not a token callable's hiccup
            self._refused = error
        self._feed.publish(self._state.fail(path, error))

    def _created(self, folder: FolderCreated) -> None:
        if not self._is_planned:
            self._made_early.append(folder)
            return
        self._feed.publish(self._state.create(folder))

    def _make_room(self, taken: _Taken) -> None:
        if taken in self._taken:
            self._taken.remove(taken)
            self._room.release()

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(PROGRESS_PERIOD)
            told = self._feed.progress
            if self._taken or told is None or told.parts_completed != self._state.done:
                self._publish_progress()

    def _publish_progress(self) -> None:
        told = [taken.feed.progress for taken in self._taken if taken.feed.progress is not None]
        uploaded, confirmed = sum(one.bytes_uploaded for one in told), sum(one.bytes_confirmed for one in told)
        before = sum(one.bytes_before for one in told)
        self._feed.publish(self._state.progress(uploaded, confirmed, anyio.current_time(), before))
