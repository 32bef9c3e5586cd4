"""`Upload` and `FolderUpload`, the handles a program holds, and the registry of those that run."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import anyio

from ._core.errors import UploadCancelled, UploadError
from ._core.events import (
    Event,
    FolderCompleted,
    FolderPlanned,
    FolderResult,
    FolderUploadError,
    Progress,
    UploadCompleted,
    UploadFailed,
    UploadPlanned,
)
from ._core.model import Statistics, UploadedFile
from ._engine.child_failure import unwrapped
from ._engine.cleanup import wait_uncancelled
from ._engine.control import CancelReason, UploadControl
from ._engine.event_log import EventLog, FolderEventLog
from ._engine.owner_loop import OwnerLoop, running_loop
from ._io.foreign import is_being_cancelled
from ._io.session import Session
from ._io.source_kinds import Source

log = logging.getLogger("aioframeio_upload")

R = TypeVar("R")


class BaseUpload(Coroutine[Any, Any, R]):
    """What an `Upload` and a `FolderUpload` have in common; each says what it gives, and how it tells its end."""

    def __init__(  # noqa: PLR0913  # settings and collaborators, to become a record
        self,
        name: str,
        deliver: Callable[[], Awaitable[R]],
        feed: EventLog,
        control: UploadControl,
        home: OwnerLoop,
        adopt: Callable[[Any], None],
        release: Callable[[Any], None],
    ) -> None:
        self.name = name
        """Its name at Frame.io."""
        self._deliver = deliver
        self._home = home
        self._adopt = adopt
        self._release = release
        self._feed = feed
        self._control = control
        self._task: asyncio.Task[R] | None = None
        self._outcome: tuple[R] | None = None
        """What it gave, once it did; in a tuple, for it may be anything."""
        self._error: BaseException | None = None
        self._was_cancelled = False
        """By its task, so that who awaits it gets CancelledError."""
        self._cancel_asked = False
        self._stopping = False
        self._begun = False
        self._waiters = 0
        self._seen = False
        self._used = False
        # Each task that was made of it drives a wait of its own.
        self._driven: WeakKeyDictionary[asyncio.Task[Any] | None, Coroutine[Any, Any, R]] = WeakKeyDictionary()

    @abstractmethod
    def _completed(self, result: R) -> Event:
        """Give the last event of a good end."""

    def _failed(self, error: BaseException) -> Event:
        """Give the last event of a bad end."""
        return UploadFailed(error if isinstance(error, UploadError) else _unexpected(error))

    # -- what it is doing --------------------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress | None:
        """The latest progress; None before it is planned."""
        return self._feed.progress

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self._feed.ended

    @property
    def result(self) -> R:
        """What it gave.

        Raises:
            UploadError: The upload's own error; `UploadCancelled` however it was cancelled; or it still runs.
        """
        if not self.done:
            raise UploadError(f"the upload of {self.name!r} has not ended")
        self._seen = True
        if self._outcome is None:
            raise self._error or UploadCancelled(f"the upload of {self.name!r} was cancelled")
        return self._outcome[0]

    def __repr__(self) -> str:
        state = "not started" if self._task is None and not self.done else "running"
        if self.done:
            state = "done" if self._outcome is not None else "failed"
        return f"<{type(self).__name__} {self.name!r} {state}>"

    # -- starting and stopping ---------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it, in a task that the Uploader owns, and give it back. Starting it again does nothing.

        Raises:
            RuntimeError: The Uploader is not entered, or was left or shut down, or lives on another event loop; or none
                runs here.
        """
        self._used = True
        if not self.done:
            self._home.check()
        if self._task is None and not self.done:
            loop = running_loop()
            self._adopt(self)
            self._task = loop.create_task(self._run(), name=f"upload {self.name}")
            self._task.add_done_callback(self._finish)
        return self

    def cancel(self) -> None:
        """Stop it for good; who awaits it gets `UploadCancelled`, and what lacks bytes is deleted at Frame.io.

        A file whose parts have all arrived is kept, and one of `execute(receipts=...)`, which is the caller's.
        Cancelling an upload that has ended does nothing.

        Raises:
            RuntimeError: As for `start`; this and `pause` and `resume` belong to the Uploader's thread and loop.
        """
        if self.done:
            return
        self._home.check_thread()
        self._cancel_asked = True
        self._control.cancel(CancelReason.CANCEL_CALLED)
        if self._task is None:
            self._end_unstarted()
        else:
            self._stop()

    def pause(self) -> None:
        """Send no more bytes, inside a part too, until `resume()`; nothing is lost, and it counts as no retry.

        S3 drops a silent connection after 20 to 30 s. So after 15 s the parts under way are given up, their slots go to
        other uploads, and they are sent again on resuming. What the kernel has buffered still goes out.
        """
        self._home.check_thread()
        self._control.pause.close()

    def resume(self) -> None:
        """Go on after `pause()`."""
        self._home.check_thread()
        self._control.pause.open()

    def _stop(self) -> None:
        # Once: anyio cancels by level, and a second cancellation would break into the clean-up after the first.
        if self._task is not None and not self._stopping:
            self._stopping = True
            self._control.cancel(CancelReason.TASK_CANCELLED)
            if self._begun:
                self._task.cancel()
            else:  # a task that is cancelled before its first step takes none, not even to clean up
                self._task.get_loop().call_soon(self._task.cancel)

    async def _run(self) -> R:
        self._begun = True
        try:
            return await self._deliver()
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            # The last net, below those that know what was cancelled. Whoever awaits this upload was not cancelled
            # either, and a task group would take it for done.
            reason = "was stopped by a cancellation that nobody sent to it"
            raise UploadError(f"the upload of {self.name!r} {reason}") from error

    def _finish(self, task: asyncio.Task[R]) -> None:
        """Note how the task ended; its first done callback, so it runs before anybody who waits for the task."""
        self._release(self)
        if task.cancelled():
            self._was_cancelled = not self._cancel_asked
            self._error = UploadCancelled(f"the upload of {self.name!r} was cancelled")
        else:
            error = task.exception()
            self._error = None if error is None else unwrapped(error)
        if self._error is None:
            self._outcome = (task.result(),)
            self._feed.end(self._completed(*self._outcome))
        else:
            self._seen = self._seen or task.cancelled()
            self._feed.end(self._failed(self._error))

    def _end_unstarted(self) -> None:
        self._seen = True
        self._error = UploadCancelled(f"the upload of {self.name!r} was cancelled before it began")
        self._feed.end(self._failed(self._error))

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def _wait(self) -> R:
        self.start()
        if self._task is not None and not self.done:
            self._waiters += 1
            try:
                # Not `await task`: a waiter that anyio cancels would pass on one cancellation after another.
                await asyncio.wait([self._task])
            except asyncio.CancelledError:
                self._seen = True
                await self._stopped()
                raise
            except GeneratorExit:
                self._stop()
                raise
            finally:
                self._waiters -= 1
        self._seen = True
        if self._was_cancelled:
            raise asyncio.CancelledError
        return self.result

    async def _stopped(self) -> None:
        """Stop it and wait until it is; that is bounded by the deadlines of its clean-up."""
        self._stop()
        if self._task is not None:
            await wait_uncancelled([self._task])

    def __await__(self) -> Generator[Any, Any, R]:
        return self._wait().__await__()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self._wait()
        else:
            self._home.check()
            await self._stopped()
            self._seen = True

    def __aiter__(self) -> AsyncIterator[Event]:
        self.start()
        return self._feed.listen()

    # -- as a coroutine, for create_task and its kin -----------------------------------------------------------------

    def send(self, value: Any) -> Any:
        """Run on, as a coroutine does; `asyncio.Task` calls this."""
        if not self.done:
            self._home.check()
        return self._drive(self._wait).send(value)

    def throw(self, *exception: Any) -> Any:
        """Raise inside, as in a coroutine; `asyncio.Task` cancels so, also before the first `send`."""
        task = asyncio.current_task()
        if task in self._driven:
            return self._driven[task].throw(*exception)
        if not self.done:
            self._home.check()
        if self._task is None and not self.done:
            self._was_cancelled = True
            self._end_unstarted()
        # A coroutine that has not begun would raise at once, and a running upload would run on.
        error = exception[0] if isinstance(exception[0], BaseException) else exception[0](*exception[1:2])
        return self._drive(lambda: self._give_up(error)).send(None)

    def _drive(self, begin: Callable[[], Coroutine[Any, Any, R]]) -> Coroutine[Any, Any, R]:
        """Give the wait of the task that drives this; its first one, or one that it began before."""
        task = asyncio.current_task()
        if task not in self._driven:
            self._driven[task] = begin()
        return self._driven[task]

    async def _give_up(self, error: BaseException) -> R:
        self._seen = True
        await self._stopped()
        raise error

    def close(self) -> None:
        """Give it up, as a coroutine; an upload that runs is stopped."""
        self._used = True
        for driven in tuple(self._driven.values()):
            driven.close()

    def __del__(self) -> None:
        if getattr(self, "_task", None) is None and not self._used and not self._feed.ended:
            warnings.warn(f"the upload of {self.name!r} was never awaited", RuntimeWarning, source=self, stacklevel=2)
        elif self._error is not None and not self._seen:
            log.error("the upload of %r failed, and nobody saw it: %s", self.name, self._error)


def _unexpected(error: BaseException) -> UploadError:
    return UploadError(f"unexpected: {type(error).__name__}")


class Upload(BaseUpload[UploadedFile]):
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

    def __init__(  # noqa: PLR0913  # settings and collaborators, to become a record
        self,
        name: str,
        deliver: Callable[[EventLog, UploadControl], Awaitable[UploadedFile]],
        home: OwnerLoop,
        adopt: Callable[[Any], None],
        release: Callable[[Any], None],
        *,
        source: Source,
        folder_id: str | None,
        file_id: str | None = None,
    ) -> None:
        feed, control = EventLog(), UploadControl()
        feed.file_id = file_id
        super().__init__(name, lambda: deliver(feed, control), feed, control, home, adopt, release)
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


class FolderUpload(BaseUpload[FolderResult]):
    """The upload of a folder. Used as an `Upload` is, and as lazy; its events are those of the folder and its files.

    A file that fails stops no other: at the end `FolderUploadError`, whose `result` names them all, is raised where the
    upload is awaited, and the last event is `FolderCompleted` all the same. A listener that comes late is told
    `FolderPlanned`, the failures and the end: what was done is in the result, and memory does not grow with the files.
    """

    def __init__(  # noqa: PLR0913  # settings and collaborators, to become a record
        self,
        name: str,
        deliver: Callable[[FolderEventLog, UploadControl], Awaitable[FolderResult]],
        home: OwnerLoop,
        adopt: Callable[[Any], None],
        release: Callable[[Any], None],
        *,
        source: str | os.PathLike[str],
        folder_id: str,
    ) -> None:
        feed, control = FolderEventLog(), UploadControl()
        super().__init__(name, lambda: deliver(feed, control), feed, control, home, adopt, release)
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


class UploadRegistry:
    """The uploads that were started and have not ended. Owned by the Uploader; it alone keeps them alive."""

    def __init__(self) -> None:
        self.uploads: set[Upload | FolderUpload] = set()
        self.home = OwnerLoop()
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
            await wait_uncancelled(ends)

    def _ends(self) -> list[asyncio.Future[Any]]:
        tasks = [upload._task for upload in self.uploads if upload._task is not None]
        return [*tasks, *self._calls.values()]

    def statistics(self, resources: Session) -> Statistics:
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
