"""Watch a folder: a source of files that have settled, for the pipeline that sends folders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import anyio

from .._core.backoff import may_pass
from .._core.errors import ApiError, AuthenticationError, SourceChanged, SourceError, UploadError
from .._core.events import FileFailed
from .._core.file_queue import LocalFile
from .._core.folder_state import WatchState
from .._core.listing import STACKING, Conflict
from .._core.watching import Readiness, Stamp, WaitingFiles, local_file, scan_pause
from .._io.files import ReadThreads, in_thread
from .._io.frameio_api import FrameioApi
from .._io.sent_files import Sent, SentFiles
from .._io.session import Session
from .._io.tree_path import TreePath
from .._io.watch_notices import Notices, OpenNotices, open_notices
from .._io.watch_scan import Findings, FolderScanner, RootId
from .child_failure import ChildFailure
from .control import UploadControl
from .event_log import EventSink, FolderEventLog
from .folder import Comparison, FilePipeline, FolderRequest
from .parts import PROGRESS_PERIOD
from .remote_folders import RemoteFolders

log = logging.getLogger("aioframeio_upload")

ROOT_CHECK = 5.0
"""Seconds between two checks whether the folder is still the same one: a disk may be unplugged, and another mounted."""

CLOSING = 5.0
"""Seconds to wait for a thread at the end; one that is stuck on a dead mount, or waits behind such ones, is left."""

ASK_AGAIN, LONGEST_ASK = 60.0, 3600.0
"""Seconds after which a folder that does not answer is asked about in another thread: the path may lead to another
mount by then. Doubled each time, up to the second number, because a stuck thread stays until the mount answers."""

LISTING_AGE = 600.0
"""Seconds for which a listing of a remote folder is used, because others may put files there too."""

LISTINGS = 64
"""Listings of remote folders that are kept. A file is looked for in its folder's, and files come folder by folder."""


MOST_TRIED = 10_000
"""Files that failed whose attempts are remembered; of a file that was deleted since, nobody says so."""


class Tried(NamedTuple):
    """An attempt at a file that failed."""

    stamp: Stamp
    """What the file was."""
    file_id: str | None
    """What was created for it at Frame.io. It may be there or not, and may be complete."""
    at: float
    """When it failed (`anyio.current_time`)."""


class Clock(Protocol):
    """The time, and a way to wait for it. Tests have one that they set."""

    def now(self) -> float:
        """Return seconds that run forward evenly."""
        ...

    async def wait(self, news: asyncio.Event, until: float | None) -> None:
        """Wait until the event is set, or until that time; None for the event alone."""
        ...


class LoopClock:
    """The event loop's clock."""

    def now(self) -> float:
        """Return the loop's time."""
        return asyncio.get_running_loop().time()

    async def wait(self, news: asyncio.Event, until: float | None) -> None:
        """Wait until the event is set, or until that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await news.wait()


class WatchControl(UploadControl):
    """The pause, the cancellation and the end of one watch."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()
        """Set when a file may be ready, or when nothing more is to be begun."""
        self.is_stopped = False

    def stop(self) -> None:
        """Let nothing more begin. What has begun is finished, after a pause too."""
        self.is_stopped = True
        self.pause.open()
        self.news.set()


class WatchedFiles:
    """The files of a watched folder that have settled; the source of `watch_folder`.

    `run` finds them, in a task beside the pipeline. Only what waits or is being sent is in memory.
    """

    def __init__(
        self, request: FolderRequest, settle: float, control: WatchControl, threads: ReadThreads, clock: Clock
    ) -> None:
        self._root = request.root
        self._conflict: Conflict = request.conflict
        self._settle = settle
        self._control = control
        self._threads = threads
        self._clock = clock
        self.waiting = WaitingFiles(settle)
        self._sent = SentFiles()
        self._scanner = FolderScanner(request.root, request.wanted, self._sent)
        self.on_refused: Callable[[], None] = lambda: None
        """Called when the service has refused a call of a file, for good as it seemed."""
        self._reports = asyncio.Event()
        """Set when the system has reported changes."""
        self._earlier: dict[str, Sent] = {}
        """For each file that is being sent, what it was when it was sent before. Files without are not in it."""
        self._tried: dict[str, Tried] = {}
        """For files that failed: what their last attempt may have left at Frame.io. `MOST_TRIED` at most."""
        self._look_alikes: set[str] = set()
        """Those of the files that are being sent that have one."""
        self._taken_back: set[str] = set()
        """Those whose turn ended because they changed or vanished before they were sent."""
        self._asked: asyncio.Future[RootId] | None = None
        """The latest question which folder is there; it may not have been answered yet."""
        self._ask_again_at = self._ask_pause = 0.0
        self._told: dict[str, str] = {}
        """Why each path that cannot be read cannot be read, so that it is reported once."""

    @property
    def look_alike_folders(self) -> Container[str]:
        """The folders whose names differ from another one's only in Unicode normalization."""
        return self._scanner.look_alikes

    async def check(self) -> None:
        """Raise SourceError unless there is a folder that can be read."""
        await self._identify()

    # -- for the pipeline --------------------------------------------------------------------------------------------

    async def wait(self) -> bool:
        """Wait until a file is due; return False once the watch is stopped."""
        while not self._control.is_stopped:
            self._control.news.clear()
            due_at = self.waiting.due_at()
            if due_at is not None and due_at <= self._clock.now():
                return True
            await self._clock.wait(self._control.news, due_at)
        return False

    async def next_file(self, big_in_flight: int, places: int) -> LocalFile | None:
        """Return the next file that is due and has not changed since it began to settle; None if there is none."""
        while not self._control.is_stopped and (path := self.waiting.take(self._clock.now())) is not None:
            file = await self._inspect(path)
            if file is not None:
                return file
        return None

    async def _inspect(self, path: str) -> LocalFile | None:
        try:
            found = await self._threads.ask(self._scanner.inspect, path, path=path)
        except SourceError as error:
            log.debug("%r cannot be looked at: %s", path, error)
            self.waiting.end(path, self._clock.now(), failed=True)
            return None
        if self.waiting.judge(path, found.stamp, self._clock.now()) is not Readiness.READY or found.stamp is None:
            return None
        # Noted by a scan that began before it was sent.
        if found.sent is not None and found.sent.is_same(found.stamp, found.changed_ns):
            self.waiting.end(path, self._clock.now(), failed=False)
            return None
        if found.sent is not None:
            self._earlier[path] = found.sent
        if found.has_look_alike:
            self._look_alikes.add(path)
        return local_file(path, found.stamp, found.changed_ns)

    def open_path(self, file: LocalFile) -> TreePath:
        """Return the path of a file, which opens it without following links to folders."""
        return TreePath(self._root, file.path)

    def has_look_alike(self, file: LocalFile) -> bool:
        """Return whether another file's name differs from this one's only in Unicode normalization."""
        return file.path in self._look_alikes

    def comparison(self, file: LocalFile) -> Comparison:
        """Return how a file is compared with what is at Frame.io.

        A file that this watch has not sent may have been sent by an earlier one, so it is looked for, whatever
        `conflict` is: a program that is killed and started again must send nothing twice. One that it has sent has
        changed since, and is not compared by the times of two clocks. One whose last attempt failed may be there all
        the same: the listing may be older than that, and only the confirmation may have failed.
        """
        earlier, tried = self._earlier.get(file.path), self._tried.get(file.path)
        if tried is not None and tried.stamp != (file.size, file.modified_ns):
            tried = None
        is_touched = earlier is not None and earlier.stamp == (file.size, file.modified_ns)
        return Comparison(
            skips=True,
            stacks=self._conflict in STACKING,
            by_time=earlier is None,
            known=None if tried is None else tried.file_id,
            crc64nvme=earlier.crc64nvme if earlier is not None and is_touched else None,
            anywhere=True,
            since=max((one.at for one in (earlier, tried) if one is not None), default=None),
        )

    def note_compared(self, file: LocalFile) -> bool:
        """Return False: more files may come into any folder."""
        return False

    async def look_again(self, file: LocalFile) -> bool:
        """Return whether a file is what it was when it was ready; one that is not settles again."""
        found = await self._threads.ask(self._scanner.inspect, file.path, path=file.path)
        if found.stamp is not None and found.stamp == (file.size, file.modified_ns):
            return True
        self._taken_back.add(file.path)
        if found.stamp is not None:
            self.waiting.note(file.path, found.stamp, self._clock.now())
        return False

    async def end(
        self, file: LocalFile, failure: UploadError | None, file_id: str | None, crc64nvme: str | None
    ) -> None:
        """Remember what was sent; let what failed wait for its next turn."""
        path, stamp = file.path, Stamp(file.size, file.modified_ns)
        earlier = self._earlier.pop(path, None)
        self._look_alikes.discard(path)
        self._tried.pop(path, None)
        try:
            if path in self._taken_back:
                self._taken_back.discard(path)
            elif failure is None:
                # By the clock that notes when a listing was read.
                sent = Sent(stamp, anyio.current_time(), file.changed_ns, crc64nvme)
                if earlier is not None and (earlier.stamp, earlier.crc64nvme) == (stamp, crc64nvme):
                    sent = sent._replace(compared=earlier.compared + 1)
                await in_thread(self._threads, self._sent.add, path, sent)
            elif not isinstance(failure, SourceChanged):
                self._note_tried(path, Tried(stamp, file_id, anyio.current_time()))
        finally:
            has_changed = isinstance(failure, SourceChanged)
            self.waiting.end(path, self._clock.now(), failed=failure is not None, changed=has_changed)
        if isinstance(failure, AuthenticationError) and failure.status == 401:
            self._control.stop()  # nothing can be sent any more; the job raises the error
        elif isinstance(failure, ApiError) and not may_pass(failure.status):
            self.on_refused()
        self._control.news.set()

    def _note_tried(self, path: str, tried: Tried) -> None:
        self._tried[path] = tried
        if len(self._tried) > MOST_TRIED:
            del self._tried[next(iter(self._tried))]

    # -- finding the files -------------------------------------------------------------------------------------------

    async def run(self, events: EventSink, open_reports: OpenNotices) -> None:
        """Find the files until it is cancelled; wait where the folder is away, and begin anew when it is back."""
        try:
            is_back = False
            while True:
                root = await self._await_root()
                if is_back:
                    log.warning("%r is there again", self._root)
                reports = await open_reports(self._root, self._threads, self._reports.set)
                try:
                    is_back = await self._follow(root, reports, events)
                finally:
                    if reports is not None:
                        await reports.close()
                if is_back:
                    # Whatever waited may be on another disk now.
                    self.waiting.clear()
        finally:
            self._scanner.stop()
            await asyncio.wait([in_thread(self._threads, self._sent.close)], timeout=CLOSING)

    async def _await_root(self) -> RootId:
        """Return which folder is there; wait as long as there is none."""
        is_told = False
        while True:
            try:
                return await self._identify()
            except SourceError as error:
                if not is_told:
                    log.warning("%r cannot be watched until it is back: %s", self._root, error)
                    is_told = True
            await self._pause(self._clock.now() + ROOT_CHECK)

    async def _identify(self) -> RootId:
        """Return which folder is there.

        One thread at a time asks, also after it did not answer in time: a dead mount would otherwise take one more
        thread of the pool with each check.

        Raises:
            SourceError: There is none, or the file system does not answer.
        """
        now = self._clock.now()
        asked = self._asked
        if asked is None or asked.done() or now >= self._ask_again_at:
            pause = ASK_AGAIN if asked is None or asked.done() else min(LONGEST_ASK, 2 * self._ask_pause)
            self._ask_pause, self._ask_again_at = pause, now + pause
            asked = self._asked = in_thread(self._threads, self._scanner.identify)
            asked.add_done_callback(_retrieve)
        answer = asked
        return await self._threads.bounded(lambda: asyncio.shield(answer), self._root)

    async def _follow(self, root: RootId, reports: Notices | None, events: EventSink) -> bool:
        """Read the folder, and what is reported of it; return whether it has become another one, or is away."""
        try:
            is_shared = await self._threads.ask(self._scanner.is_shared, path=self._root)
        except SourceError as error:
            log.debug("%r does not answer: %s", self._root, error)
            return True
        while True:
            began, has_lost = self._clock.now(), False
            try:
                failures = await self._apply(self._scanner.scan())
            except SourceError as error:
                log.debug("%r cannot be read: %s", self._root, error)
                return True
            if not await self._is_still(root):
                return True
            self._tell(failures, events)
            is_reported = reports is not None and not is_shared
            pause = scan_pause(self._settle, self._clock.now() - began, notified=is_reported)
            next_at = self._clock.now() + pause
            while self._clock.now() < next_at:
                await self._pause(min(next_at, self._clock.now() + ROOT_CHECK))
                if not await self._is_still(root):
                    return True
                if reports is None:
                    continue
                paths, is_lossy = reports.take()
                await self._apply(self._scanner.look(paths))
                if is_lossy and not has_lost:
                    has_lost = True
                    # Not at once: what ended the reports may end the next ones as well.
                    next_at = min(next_at, self._clock.now() + scan_pause(self._settle, 0.0, notified=False))
            if has_lost:
                return False

    async def _pause(self, until: float) -> None:
        await self._clock.wait(self._reports, until)
        self._reports.clear()  # before they are taken, so that none is missed

    async def _is_still(self, root: RootId) -> bool:
        try:
            return await self._identify() == root
        except SourceError:
            return False

    async def _apply(self, steps: Iterator[Findings]) -> list[tuple[str, SourceError]]:
        """Note what a scan finds, step by step; return what could not be read."""
        failures: list[tuple[str, SourceError]] = []
        while (findings := await in_thread(self._threads, _next_findings, steps)) is not None:
            now = self._clock.now()
            for path, stamp in findings.changes:
                if stamp is not None:
                    self.waiting.note(path, stamp, now)
            for _ in self.waiting.drop(path for path, stamp in findings.changes if stamp is None):
                await asyncio.sleep(0)
            failures += findings.failures
            if findings.changes:
                self._control.news.set()
        return failures

    def _tell(self, failures: list[tuple[str, SourceError]], events: EventSink) -> None:
        """Publish what cannot be read, once for each reason."""
        found = {path: str(failure) for path, failure in failures}
        for path, failure in failures:
            if self._told.get(path) != found[path]:
                events.publish(FileFailed(path, failure))
        self._told = found


def _retrieve(asked: asyncio.Future[RootId]) -> None:
    """Retrieve the error of a question that nobody waits for any more, so that asyncio does not report it."""
    if not asked.cancelled():
        asked.exception()


def _next_findings(steps: Iterator[Findings]) -> Findings | None:
    return next(steps, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """One watch as the caller described it."""

    folder: FolderRequest
    settle: float


async def deliver_watched(  # noqa: PLR0913  # collaborators that have different owners
    request: WatchRequest,
    events: FolderEventLog,
    control: WatchControl,
    session: Session,
    api: FrameioApi,
    *,
    clock: Clock | None = None,
    open_reports: OpenNotices = open_notices,
) -> None:
    """Upload what is in a folder and what comes into it, until `control` is stopped.

    Raises:
        SourceError: There is no such folder at the start.
        ApiError: The service refused the target folder at the start, or the token at any time.
    """
    files = WatchedFiles(request.folder, request.settle, control, session.executor, clock or LoopClock())
    await WatchJob(request.folder, files, events, session, api, control).run(open_reports)


class WatchJob:
    """One watch. Runs once, as one task: one task finds the files, the pipeline sends them."""

    def __init__(  # collaborators that have different owners
        self,
        request: FolderRequest,
        files: WatchedFiles,
        events: FolderEventLog,
        session: Session,
        api: FrameioApi,
        control: WatchControl,
    ) -> None:
        self._files = files
        self._events = events
        self._state = WatchState(files.waiting, anyio.current_time())
        self._folders = RemoteFolders(
            api,
            account_id=request.account_id,
            folder_id=request.folder_id,
            name=None,
            only=None,
            exact=files.look_alike_folders,
            events=events,
            listings=LISTINGS,
            listing_age=LISTING_AGE,
        )
        files.on_refused = self._folders.forget
        self._pipeline = FilePipeline(request, files, self._folders, self._state, events, control, session, api)

    async def run(self, open_reports: OpenNotices) -> None:
        """Watch the folder; see `deliver_watched`."""
        await self._files.check()
        await self._check_target()
        async with asyncio.TaskGroup() as beside:
            finding = beside.create_task(self._files.run(self._events, open_reports))
            ticking = beside.create_task(self._tick())
            await self._pipeline.run()
            finding.cancel()
            ticking.cancel()
        self._pipeline.publish_progress()
        self._pipeline.check_welcome()

    async def _check_target(self) -> None:
        """Raise what the service says against the target folder; a failure that may pass is left to the files."""
        with ChildFailure("the target folder") as caught:
            await self._folders.listing("")
        failure = caught.failure
        if failure is not None and not (isinstance(failure, ApiError) and may_pass(failure.status)):
            raise failure

    async def _tick(self) -> None:
        told = (-1, -1)
        while True:
            await anyio.sleep(PROGRESS_PERIOD)
            known = self._state.done, len(self._files.waiting)
            if self._pipeline.is_sending or known != told:
                self._pipeline.publish_progress()
            if not self._pipeline.is_sending:
                self._state.rest(anyio.current_time())
            told = known
