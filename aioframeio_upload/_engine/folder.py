"""Upload a folder: a source of local files, and the pipeline that sends them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import anyio

from .._core.dry_run import DryRunFile, DryRunFolder, folder_record
from .._core.errors import AuthenticationError, NotFound, UploadError
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
from .._core.folder_state import FolderCounts, FolderState, UnderWay
from .._core.journal import SentFile, find_sent_as
from .._core.listing import SKIPPING, STACKING, Compare, Conflict, RemoteFile, find_below
from .._core.model import Plan, Receipt, UploadedFile
from .._core.patterns import Patterns
from .._io.files import ReadThreads, in_thread
from .._io.frameio_api import FrameioApi
from .._io.session import Session
from .._io.tree_path import TreePath
from .._io.walk import LeftOut, Tree, check_unchanged, walk
from .child_failure import ChildFailure
from .confirm_batch import BatchConfirmer
from .conflict import (
    Evidence,
    Found,
    Sought,
    asking,
    compare,
    find_elsewhere,
    find_there,
    known_checksums,
    skip_result,
    stack,
)
from .content import SourceReader, opened
from .control import UploadControl
from .event_log import EventLog, EventSink, FolderEventLog
from .job import UploadJob, open_record
from .parts import PROGRESS_PERIOD
from .quota import RoomCheck
from .remote_folders import RemoteFolders
from .request import UploadRequest
from .resume import NullJournalSession

log = logging.getLogger("aioframeio_upload")

# The task groups of this module are asyncio's; those inside the upload of one file are anyio's. In anyio 4.16, a scope
# of a child task that is left while the group is cancelled adds its pending uncancellations to the group's scope
# (`CancelScope.__exit__`), whose host is another task. `cancelling()` of the folder's task then falls to 0 although it
# was cancelled, and its `CancelledError` cannot be told from a stray one any more (`is_being_cancelled`).

UNSETTLED = 1000
"""Files that may be sent and not yet confirmed: three minutes' worth at five creates a second. Each of them is a task
until then; a file that waits for its turn is not."""


Foresee: TypeAlias = Callable[[DryRunFile], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRequest:
    """One folder upload as the caller described it."""

    root: str
    name: str | None
    """Of the folder that the root becomes; None to put its contents into `folder_id` itself."""
    folder_id: str
    account_id: str
    wanted: Patterns
    conflict: Conflict
    compare: Compare = "auto"


# -- where the files come from -----------------------------------------------------------------------------------------


class FileSource(Protocol):
    """The local files to send, one at a time. A walk ends; a source that watches a folder may wait for the next file.

    It holds what is still to be sent, and nothing of what was.
    """

    async def wait(self) -> bool:
        """Wait until there may be a next file; return False after the last one. The caller holds no slot meanwhile."""
        ...

    async def next_file(self, big_in_flight: int, places: int) -> LocalFile | None:
        """Return the next file, or None if there is none now.

        Args:
            big_in_flight: How many files of `BIG` bytes or more are being sent.
            places: How many files may be sent at a time.
        """
        ...

    def open_path(self, file: LocalFile) -> TreePath:
        """Return the path by which a file is opened."""
        ...

    def has_look_alike(self, file: LocalFile) -> bool:
        """Return whether another file's name differs from this one's only in Unicode normalization."""
        ...

    def comparison(self, file: LocalFile) -> Comparison:
        """Return how a file is compared with what is at Frame.io."""
        ...

    def note_compared(self, file: LocalFile) -> bool:
        """Note that a file was looked for in its folder's listing; return whether the listing is needed no more."""
        ...

    async def look_again(self, file: LocalFile) -> bool:
        """Return whether a file is still what was found; False if it is no failure that it is not.

        Raises:
            SourceError: It has changed, or it is missing.
        """
        ...

    async def end(
        self, file: LocalFile, failure: UploadError | None, file_id: str | None, crc64nvme: str | None
    ) -> None:
        """Note that a file has arrived or was skipped, or why it failed; the end of its turn.

        Args:
            file: The file.
            failure: Why it failed.
            file_id: What was created for it at Frame.io, if anything; after a failure it may be there or not.
            crc64nvme: The checksum of its content, if it has arrived or was skipped, and that is known.
        """
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a file is compared with what is at Frame.io."""

    skips: bool
    """Whether it is not sent if it is there already."""
    stacks: bool
    """Whether it is stacked on the file of its name."""
    by_time: bool = True
    """Whether a file of its name and size that is newer counts as the same. Otherwise only one that the journal, or
    `known`, says it was sent as."""
    known: str | None = None
    """The ID of a file that an earlier attempt may have finished, with the same content; None if there is none."""
    crc64nvme: str | None = None
    """The checksum of what was sent of it in this run, if only its change time differs since: if it has that content,
    nothing has happened. Otherwise None."""
    anywhere: bool = False
    """Whether the file that the journal knows counts wherever it is: somebody may have moved, renamed or stacked it."""
    since: float | None = None
    """The listing has to be read after this time (`anyio.current_time`); None if any will do."""


class WalkedFiles:
    """The files of a tree that was walked; the source of `upload_folder`."""

    def __init__(
        self, tree: Tree, queue: FileQueue, to_compare: Counter[str], conflict: Conflict, threads: ReadThreads
    ) -> None:
        self._tree = tree
        self._queue = queue
        self._threads = threads
        self._comparison = Comparison(skips=conflict in SKIPPING, stacks=conflict in STACKING)
        self._to_compare = to_compare
        """For each folder: the files that have not been looked for in its listing."""

    async def wait(self) -> bool:
        """Return whether a file is left."""
        return bool(self._queue)

    async def next_file(self, big_in_flight: int, places: int) -> LocalFile | None:
        """Return the next file in the queue's order."""
        return self._queue.take(big_in_flight, places) if self._queue else None

    def open_path(self, file: LocalFile) -> TreePath:
        """Return the path of a file, through the folders that were walked and no others."""
        return self._tree.file(file.path)

    def has_look_alike(self, file: LocalFile) -> bool:
        """Return whether another file's name differs from this one's only in Unicode normalization."""
        return file.path in self._tree.look_alikes

    def comparison(self, file: LocalFile) -> Comparison:
        """Return the comparison that `conflict` asks for."""
        return self._comparison

    def note_compared(self, file: LocalFile) -> bool:
        """Count a file; return whether it was the last of its folder."""
        folder = folder_of(file)
        self._to_compare[folder] -= 1
        return not self._to_compare[folder]

    async def look_again(self, file: LocalFile) -> bool:
        """Check that a file is what the walk found, so that it is sent as planned or not at all."""
        path, threads = self.open_path(file), self._threads
        await threads.answer(lambda: check_unchanged(path, file, threads), os.fspath(path))
        return True

    async def end(
        self, file: LocalFile, failure: UploadError | None, file_id: str | None, crc64nvme: str | None
    ) -> None:
        """Do nothing: each file has one turn."""


# -- one file ----------------------------------------------------------------------------------------------------------


class _FileEventLog(EventLog):
    """The events of one file of a folder. Nobody listens to them, so a new beginning is logged."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def publish(self, event: Event) -> None:
        """Append an event; log it if a user should know."""
        super().publish(event)
        if isinstance(event, UploadReplanned):
            log.info("%r begins anew: %s", self._path, event.reason)


class _FileSlot:
    """One of `Limits.files`, held for a file from its turn until its last byte is sent.

    The pipeline acquires it, so that no more files are begun than can be sent; the file's job enters it and leaves it.
    """

    def __init__(self, slots: anyio.Semaphore) -> None:
        self._slots = slots
        self._is_held = False

    async def acquire(self) -> None:
        await self._slots.acquire()
        self._is_held = True

    def release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._slots.release()

    async def __aenter__(self) -> None:
        if not self._is_held:
            await self.acquire()

    async def __aexit__(self, *error: object) -> None:
        self.release()


class _Sending:
    """A file from its turn until its last byte is sent."""

    def __init__(self, file: LocalFile, slot: _FileSlot) -> None:
        self.file = file
        self.slot = slot
        self.events: EventLog = _FileEventLog(file.path)
        """Only its progress is read."""
        self.crc64nvme: str | None = None
        """The checksum of its content, once that is known."""


class FilePipeline:
    """Sends the files of a source, at most `Limits.files` at a time; each is a task until the service has it.

    Args:
        request: What the folder upload was asked for.
        source: Where the files come from.
        folders: The folders at Frame.io.
        state: Counts the files. Owned by the folder's job.
        events: Gets the events of the files.
        control: The folder's pause and cancellation.
        session: The limits and slots.
        api: The calls.
        room: Checked before the first file is sent; None for a source whose total size is not known.
        foresee: For a dry run: gets what would be done with each file that is not skipped. Nothing is sent then.
    """

    def __init__(  # noqa: PLR0913  # collaborators that have different owners
        self,
        request: FolderRequest,
        source: FileSource,
        folders: RemoteFolders,
        state: FolderCounts,
        events: EventSink,
        control: UploadControl,
        session: Session,
        api: FrameioApi,
        *,
        room: RoomCheck | None = None,
        foresee: Foresee | None = None,
    ) -> None:
        self._room = room
        self._foresee = foresee
        self._request = request
        self._source = source
        self._folders = folders
        self._state = state
        self._events = events
        self._control = control
        self._session = session
        self._api = api
        self._confirmer = BatchConfirmer(api, request.account_id, session)
        self._sending: set[_Sending] = set()
        self._unsettled = anyio.Semaphore(UNSETTLED, fast_acquire=True)
        self._turns = 0
        """Files that have begun and not ended, also those that only wait for their confirmation."""
        self._refused: AuthenticationError | None = None
        """Why the service refused the token; after that nothing further is tried."""

    @property
    def is_sending(self) -> bool:
        """Whether a file is being sent."""
        return bool(self._sending)

    async def run(self) -> None:
        """Send every file of the source, and wait until each was confirmed or has failed."""
        async with asyncio.TaskGroup() as beside:
            confirming = beside.create_task(self._confirmer.run())
            async with asyncio.TaskGroup() as group:
                await self._start_files(group)
            confirming.cancel()

    async def _start_files(self, group: asyncio.TaskGroup) -> None:
        parent = asyncio.current_task()
        while await self._source.wait():
            slot = _FileSlot(self._session.file_slots)
            await self._unsettled.acquire()
            await self._control.pause.passed()
            await slot.acquire()
            try:
                big = sum(sending.file.size >= BIG for sending in self._sending)
                file = await self._source.next_file(big, self._session.limits.files)
            except BaseException:
                slot.release()
                raise
            if file is None:
                slot.release()
                self._unsettled.release()
                continue
            sending = _Sending(file, slot)
            self._sending.add(sending)
            group.create_task(self._see_to_the_end(sending, parent), name=f"upload {file.path}")

    async def _see_to_the_end(self, sending: _Sending, parent: asyncio.Task[Any] | None) -> None:
        """Upload one file. However it ends, the other files go on."""
        path = sending.file.path
        self._turns += 1
        try:
            with ChildFailure(path, parent) as caught:
                await self._upload(sending)
            with ChildFailure(path, parent) as caught_ending:
                await self._source.end(sending.file, caught.failure, sending.events.file_id, sending.crc64nvme)
            failure = caught.failure or caught_ending.failure
            if failure is not None:
                self.fail(path, failure)
        finally:
            self._turns -= 1
            self._sending.discard(sending)
            sending.slot.release()
            self._unsettled.release()

    async def _upload(self, sending: _Sending) -> None:
        request, file = self._request, sending.file
        self.check_welcome()
        if not file.size:
            self._events.publish(self._state.skip(file.path, 0, EMPTY))
            return
        session, crc64nvme = self._session, self._source.comparison(file).crc64nvme
        reader = SourceReader(lambda: opened(self._source.open_path(file), session), session)
        if crc64nvme is not None and (await reader.read()).crc64nvme == crc64nvme:
            sending.crc64nvme = crc64nvme
            return
        folder = await self._folders.place(folder_of(file))
        job_request = self._file_request(file, folder.id)
        record = await open_record(job_request, self._session)
        record.only_reads = self._foresee is not None
        found, base = await self._compare(sending, record, reader)
        doubt = found.reason if found.same is None else None
        if found.same is not None:
            there = await skip_result(
                found.same, record, file.size, account_id=request.account_id, folder_id=folder.id, reason=found.reason
            )
            if there is not None:
                self._events.publish(self._state.skip(file.path, file.size, there.reason or "", there))
                return
        if not self._control.pause.is_open:
            sending.slot.release()  # other uploads can use it meanwhile
            await self._control.pause.passed()
            await sending.slot.acquire()
        if not await self._source.look_again(file):
            return
        if self._foresee is not None:
            would = await self._job(sending, job_request, record, base).dry_run()
            stacked_on = None if base is None else base.id
            self._foresee(replace(would, path=file.path, stacked_on=stacked_on, reason=would.reason or doubt))
            return
        if self._room is not None:
            await self._room.once()
        self._events.publish(FileStarted(file.path, file.size))
        job = self._job(sending, job_request, record, base)
        arrived = replace(await job.run(), reason=doubt)
        sending.crc64nvme = arrived.crc64nvme
        self._events.publish(self._state.complete(file.path, arrived))

    def _job(
        self, sending: _Sending, request: UploadRequest, record: NullJournalSession, base: RemoteFile | None
    ) -> UploadJob:
        return UploadJob(
            request=request,
            feed=sending.events,
            control=UploadControl(self._control),
            resources=self._session,
            api=self._api,
            settle=self._settlement(sending, request.folder_id or "", base),
            slot=sending.slot,
            record=record,
        )

    async def _compare(
        self, sending: _Sending, record: NullJournalSession, reader: SourceReader
    ) -> tuple[Found, RemoteFile | None]:
        """Return what there is of a file, and the remote file that it is to be stacked on."""
        file = sending.file
        how, session, account_id = self._source.comparison(file), self._session, self._request.account_id
        if not how.skips and not how.stacks:
            return Found(), None
        # Before the listing: the file that an earlier run began is neither a duplicate nor below itself in a stack.
        own = await record.file_id() if how.stacks else None
        listing = await self._folders.listing(folder_of(file), since=how.since)
        exact = self._source.has_look_alike(file)
        sent: tuple[SentFile, ...] = ()
        if how.skips and (how.anywhere or listing.namesakes(file.name, exact=exact)):
            sent = await record.sent()
        sent_as = find_sent_as(sent, record.path, file.size, file.modified_ns)
        tried = frozenset[str]() if how.known is None else frozenset({how.known})
        known = frozenset[str]() if sent_as is None else frozenset({sent_as.file_id})
        is_unchanged = sent_as is not None and sent_as.is_unchanged(file.changed_ns)
        evidence = Evidence(
            sent=sent,
            record=record,
            reader=reader,
            ask=asking(self._request.compare, self._api, session, account_id),
        )
        sought = Sought(
            name=file.name,
            size=file.size,
            modified_ns=file.modified_ns,
            exact=exact,
            but=own,
            known=known | tried,
            unchanged=tried | (known if is_unchanged else frozenset[str]()),
            by_time=how.by_time,
        )
        found = await find_there(listing, sought, session.clocks(), evidence) if how.skips else Found()
        if found.same is None and sent_as is not None and how.anywhere:
            found = await self._compare_elsewhere(sent_as.file_id, sought, evidence, found)
        if found.same is not None:
            sending.crc64nvme = reader.crc64nvme or next(iter(known_checksums(found.same, evidence)), None)
        base = None
        if how.stacks and found.same is None:
            base = find_below([*listing.namesakes(file.name, exact=exact, but=own), *found.others])
        if self._source.note_compared(file):
            listing.files.clear()
        return found, base

    async def _compare_elsewhere(self, file_id: str, sought: Sought, evidence: Evidence, found: Found) -> Found:
        if any(one.id == file_id for one in found.others):
            return found  # it was in its folder, with another content
        elsewhere = await find_elsewhere(self._api, file_id, self._request.account_id)
        if elsewhere is None:
            return found
        with contextlib.suppress(NotFound):  # deleted meanwhile
            is_same, reason = await compare(elsewhere, sought, evidence)
            if is_same:
                return replace(found, same=elsewhere, reason=reason)
        return found

    def _file_request(self, file: LocalFile, folder_id: str) -> UploadRequest:
        return UploadRequest(
            source=self._source.open_path(file),
            size=file.size,
            name=file.name,
            folder_id=folder_id,
            account_id=self._request.account_id,
            conflict=self._request.conflict,
        )

    def _settlement(
        self, sending: _Sending, folder_id: str, base: RemoteFile | None
    ) -> Callable[[Plan, tuple[Receipt, ...]], Awaitable[UploadedFile]]:
        begun_at = self._session.service_now()

        async def settle(plan: Plan, receipts: tuple[Receipt, ...]) -> UploadedFile:
            if sending in self._sending:  # not again after parts were sent a second time
                self._state.send(sending.file.size, sending.events.bar[1])
                self._sending.discard(sending)
            file = await self._confirmer.confirm(plan, receipts, folder_id, begun_at, must=base is not None)
            if base is not None:
                await stack(self._api, file, base)
            return file

        return settle

    def check_welcome(self) -> None:
        """Raise the error of a token that the service refused."""
        if self._refused is not None:
            raise self._refused.with_traceback(None)

    def fail(self, path: str, error: UploadError) -> None:
        """Count and publish the failure of a file or folder."""
        if isinstance(error, AuthenticationError) and error.status == 401:  # else the token callable failed
            self._refused = error
        self._events.publish(self._state.fail(path, error))

    def publish_progress(self) -> None:
        """Publish the progress of the whole folder."""
        known = [sending.events.progress for sending in self._sending]
        parts = [progress for progress in known if progress is not None]
        under_way = UnderWay(
            files=self._turns,
            size=sum(sending.file.size for sending in self._sending),
            uploaded=sum(progress.bytes_uploaded for progress in parts),
            confirmed=sum(progress.bytes_confirmed for progress in parts),
            before=sum(progress.bytes_before for progress in parts),
        )
        self._events.publish(self._state.progress(under_way, anyio.current_time()))


# -- the folder --------------------------------------------------------------------------------------------------------


async def deliver_folder(
    request: FolderRequest, events: FolderEventLog, control: UploadControl, session: Session, api: FrameioApi
) -> FolderResult:
    """Upload every file of a tree.

    Raises:
        SourceError: The root cannot be walked.
        ApiError: The root's folder cannot be found or created.
        FolderUploadError: Some files failed; all others were uploaded.
    """
    return await (await _plan_folder(request, events, control, session, api)).run()


async def foresee_folder(request: FolderRequest, session: Session, api: FrameioApi) -> DryRunFolder:
    """Return what `deliver_folder` would do: the same walk and the same comparisons, and nothing is created or sent.

    Args:
        request: With an empty `folder_id` for a folder that does not exist yet.
        session: The limits and slots.
        api: The calls.

    Raises:
        SourceError: The root cannot be walked.
        ApiError: The root's folder cannot be looked for.
    """
    files: list[DryRunFile] = []
    job = await _plan_folder(request, FolderEventLog(), UploadControl(), session, api, files.append)
    try:
        result = await job.run()
    except FolderUploadError as error:
        result = error.result
    return folder_record(files, result, job.left_out, job.planned)


async def _plan_folder(
    request: FolderRequest,
    events: FolderEventLog,
    control: UploadControl,
    session: Session,
    api: FrameioApi,
    foresee: Foresee | None = None,
) -> FolderJob:
    left_out = LeftOut(request.wanted)
    tree = await walk(request.root, request.wanted, session.executor, left_out)
    # In a thread, as the walk is: with a hundred thousand files each of these takes a tenth of a second.
    queue, to_compare, empty = await in_thread(session.executor, _sort, tree.files)
    return FolderJob(request, tree, queue, to_compare, empty, left_out, events, control, session, api, foresee)


def _sort(files: list[LocalFile]) -> tuple[FileQueue, Counter[str], list[str]]:
    """Return the queue of the files that have bytes, their number for each folder, and the paths of the empty files."""
    sent = [file for file in files if file.size]
    return FileQueue(sent), Counter(map(folder_of, sent)), [file.path for file in files if not file.size]


class _CreatedFolders(EventSink):
    """Record the folders that are made, and publish them after `FolderPlanned`, which is the first event.

    The root's own folder is made before that: a web handler that answers 202 with the plan relies on it.
    """

    def __init__(self, events: EventSink, state: FolderState) -> None:
        self._events = events
        self._state = state
        self._held: list[Event] | None = []
        """What waits for `release`; None after it."""

    def publish(self, event: Event) -> None:
        """Publish an event, or hold it back until `release`."""
        if self._held is not None:
            self._held.append(event)
        else:
            self._events.publish(self._state.create(event) if isinstance(event, FolderCreated) else event)

    def release(self) -> None:
        """Publish what was held back; hold nothing from now on."""
        held, self._held = self._held or [], None
        for event in held:
            self.publish(event)


class FolderJob:
    """The upload of one tree. Runs once, as one task: it creates the folders while the pipeline sends the files."""

    def __init__(  # noqa: PLR0913  # collaborators that have different owners
        self,
        request: FolderRequest,
        tree: Tree,
        queue: FileQueue,
        to_compare: Counter[str],
        empty: list[str],
        left_out: LeftOut,
        events: FolderEventLog,
        control: UploadControl,
        session: Session,
        api: FrameioApi,
        foresee: Foresee | None = None,
    ) -> None:
        self._request = request
        self._tree = tree
        self._events = events
        self._empty = empty
        """Paths of the empty files, which Frame.io does not accept."""
        self.left_out = left_out.paths
        size, count = tree.size, len(tree.files) + len(tree.failures)
        self._state = FolderState(count, size, anyio.current_time())
        folders = sum(bool(path or request.name) for path in tree.folders)
        self.planned = FolderPlanned(count, folders, size, left_out.count, left_out.unmatched())
        tree.files.clear()  # for memory: from here on only the queue refers to a file, until its turn
        self._created = _CreatedFolders(events, self._state)
        self._folders = RemoteFolders(
            api,
            account_id=request.account_id,
            folder_id=request.folder_id,
            name=request.name,
            only="folder" if request.conflict == "create" else None,
            exact=tree.look_alikes,
            events=self._created,
            makes=foresee is None,
        )
        files = WalkedFiles(tree, queue, to_compare, request.conflict, session.executor)
        room = RoomCheck(api, request.account_id, request.root, self._state)
        self._pipeline = FilePipeline(
            request, files, self._folders, self._state, events, control, session, api, room=room, foresee=foresee
        )

    async def run(self) -> FolderResult:
        """Upload everything; see `deliver_folder`."""
        # The root's folder comes before the plan: a web handler answers 202 with the plan, and the folder is there.
        with ChildFailure(f"the folder {self._request.name!r}") as caught:
            if self._tree.folders:
                await self._folders.place("")
        if caught.failure is not None:
            raise caught.failure
        self._events.publish(self.planned)
        for one in self.left_out:
            self._events.publish(one)
        self._created.release()
        for path, failure in self._tree.failures:
            self._pipeline.fail(path, failure)
        for path in self._empty:
            self._events.publish(self._state.skip(path, 0, EMPTY))
        async with asyncio.TaskGroup() as beside:
            ticking = beside.create_task(self._tick())
            async with asyncio.TaskGroup() as group:
                group.create_task(self._make_folders(asyncio.current_task()))
                await self._pipeline.run()
            ticking.cancel()
        self._pipeline.publish_progress()
        result = self._state.result()
        if result.failures:
            raise FolderUploadError(result)
        return result

    async def _make_folders(self, parent: asyncio.Task[Any] | None) -> None:
        """Create every folder, parents first, also those without files; files wait for their own folder only."""
        for path in self._tree.folders:
            with ChildFailure(path, parent) as caught:
                self._pipeline.check_welcome()
                await self._folders.place(path)
            # Each file in the folder reports the error for itself.
            if caught.failure is not None and path in self._tree.bare:
                self._pipeline.fail(path, caught.failure)

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(PROGRESS_PERIOD)
            last = self._events.progress
            if self._pipeline.is_sending or last is None or last.parts_completed != self._state.done:
                self._pipeline.publish_progress()
