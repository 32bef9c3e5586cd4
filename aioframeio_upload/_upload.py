"""`Upload` and `FolderUpload`, the handles a program holds, and the registry of those that run."""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import warnings
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast
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
from ._core.public import public
from ._engine.child_failure import unwrapped
from ._engine.cleanup import wait_uncancelled
from ._engine.control import CancelReason, UploadControl
from ._engine.event_log import EventLog, FolderEventLog
from ._engine.owner_loop import OwnerLoop, running_loop
from ._engine.request import UploadRequest
from ._engine.resume import JournalSession
from ._io.files import printable
from ._io.foreign import is_being_cancelled
from ._io.session import Session

log = logging.getLogger("aioframeio_upload")

R = TypeVar("R")
E_contra = TypeVar("E_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class State(enum.Enum):
    """How far an upload is. Its handle alone moves it, downwards in this order."""

    NEW = "not started"
    STARTED = "started"
    """It has a task, which has not taken its first step."""
    RUNNING = "running"
    STOPPING = "stopping"
    """Its task was cancelled, and cleans up."""
    SUCCEEDED = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Delivery(Protocol[E_contra, R_co]):
    """Carry out an upload: called in its task, when it starts."""

    def __call__(self, events: E_contra, control: UploadControl, /) -> Awaitable[R_co]:
        """Return what is to be awaited for the result."""
        ...


class BaseUpload(Coroutine[Any, Any, R]):
    """Start, stop, watch and await one upload: what `Upload` and `FolderUpload` share.

    Subclasses say how their last event is made.
    """

    def __init__(  # settings and collaborators, to become a record
        self,
        name: str,
        deliver: Callable[[], Awaitable[R]],
        events: EventLog,
        control: UploadControl,
        registry: UploadRegistry,
    ) -> None:
        self.name = name
        """Its name at Frame.io."""
        self._deliver = deliver
        self._events = events
        self._control = control
        self._registry = registry
        self._state = State.NEW
        self._task: asyncio.Task[R] | None = None
        self._outcome: tuple[R] | None = None
        """The result, once there is one; in a tuple, because it may be anything."""
        self._error: BaseException | None = None
        self._waiters = 0
        self._seen = False
        """Whether somebody was told the error. One that nobody was told is raised by the Uploader, or logged."""
        self._used = False
        # Each task that was made of it drives a wait of its own.
        self._driven: WeakKeyDictionary[asyncio.Task[Any] | None, Coroutine[Any, Any, R]] = WeakKeyDictionary()

    @abstractmethod
    def _completed(self, result: R) -> Event:
        """Return the last event of an upload that succeeded."""

    def _failed(self, error: BaseException) -> Event:
        """Return the last event of an upload that failed."""
        return UploadFailed(error if isinstance(error, UploadError) else _unexpected(error))

    # -- its state ---------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress | None:
        """The latest progress; None before it is planned."""
        return self._events.progress

    @property
    def done(self) -> bool:
        """Whether it has ended: with a result, an error or a cancellation."""
        return self._state.is_final

    @property
    def result(self) -> R:
        """The result.

        Raises:
            UploadError: The upload's own error; `UploadCancelled` however it was cancelled; or it has not ended.
        """
        if not self.done:
            raise UploadError(f"the upload of {self.name!r} has not ended")
        self._seen = True
        if self._outcome is None:
            raise self._error or UploadCancelled(f"the upload of {self.name!r} was cancelled")
        return self._outcome[0]

    def __repr__(self) -> str:
        shown = {State.STARTED: State.RUNNING, State.STOPPING: State.RUNNING, State.CANCELLED: State.FAILED}
        return f"<{type(self).__name__} {self.name!r} {shown.get(self._state, self._state).value}>"

    # -- starting and stopping ---------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it in a task that the Uploader owns, and return it. Starting it again does nothing.

        Raises:
            RuntimeError: The Uploader is not entered, or was left or shut down, or lives on another event loop; or none
                runs here.
        """
        self._used = True
        if not self.done:
            self._registry.home.check()
        if self._state is State.NEW:
            loop = running_loop()
            self._registry.check_open()
            self._state = State.STARTED
            self._task = loop.create_task(self._run(), name=f"upload {self.name}")
            self._registry.add(self, RunningUpload(self._task, self._stop, self._take_error))
            self._task.add_done_callback(self._finish)
        return self

    def cancel(self) -> None:
        """Stop it for good; awaiters get `UploadCancelled`, and a file that lacks bytes is deleted at Frame.io.

        A file whose parts have all arrived is kept, and one of `execute(receipts=...)`, which is the caller's.
        Cancelling an upload that has ended does nothing.

        Raises:
            RuntimeError: As for `start`; this and `pause` and `resume` belong to the Uploader's thread and loop.
        """
        if self.done:
            return
        self._registry.home.check_thread()
        self._control.cancel(CancelReason.CANCEL_CALLED)
        if self._state is State.NEW:
            self._end_unstarted()
        else:
            self._stop()

    def pause(self) -> None:
        """Send no more bytes, inside a part too, until `resume()`; nothing is lost, and it counts as no retry.

        S3 drops a silent connection after 20 to 30 s. So after 15 s the attempts under way are given up, their slots go
        to other uploads, and their parts are sent again after `resume()`. What the kernel has buffered still goes out.
        """
        self._registry.home.check_thread()
        self._control.pause.close()

    def resume(self) -> None:
        """Go on after `pause()`."""
        self._registry.home.check_thread()
        self._control.pause.open()

    def _stop(self) -> None:
        """Cancel the task as its owner would."""
        # Once: anyio cancels by level, and a second cancellation would interrupt the clean-up after the first.
        if self._task is None or self._state not in (State.STARTED, State.RUNNING):
            return
        self._control.cancel(CancelReason.TASK_CANCELLED)
        if self._state is State.RUNNING:
            self._task.cancel()
        else:  # a task that is cancelled before its first step never takes it, not even to clean up
            self._task.get_loop().call_soon(self._task.cancel)
        self._state = State.STOPPING

    async def _run(self) -> R:
        if self._state is State.STARTED:
            self._state = State.RUNNING
        try:
            return await self._deliver()
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            # The last check, after those that know what was cancelled. Awaiters of this upload were not cancelled
            # either, and a task group would take a `CancelledError` for a normal end.
            reason = "was stopped by a cancellation that nobody sent to it"
            raise UploadError(f"the upload of {self.name!r} {reason}") from error

    def _finish(self, task: asyncio.Task[R]) -> None:
        """Record how the task ended. It is the task's first done callback, so it runs before any awaiter does."""
        self._release()
        if task.cancelled():
            # Already recorded, unless the task was cancelled from outside, as `asyncio.run` does at its end.
            self._control.cancel(CancelReason.TASK_CANCELLED)
            self._seen = True
            self._end(State.CANCELLED, UploadCancelled(f"the upload of {self.name!r} was cancelled"))
        elif (error := task.exception()) is not None:
            self._end(State.FAILED, unwrapped(error))
        else:
            self._outcome = (task.result(),)
            self._state = State.SUCCEEDED
            self._events.end(self._completed(*self._outcome))

    def _end_unstarted(self) -> None:
        self._seen = True
        self._end(State.CANCELLED, UploadCancelled(f"the upload of {self.name!r} was cancelled before it began"))

    def _end(self, state: State, error: BaseException) -> None:
        self._state, self._error = state, error
        self._events.end(self._failed(error))

    def _release(self) -> None:
        self._registry.remove(self)

    def _take_error(self) -> BaseException | None:
        """Return the error if nobody was told it or is about to be; from now on somebody was."""
        if self._error is None or self._seen or self._waiters:
            return None
        self._seen = True
        return self._error

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def _wait(self) -> R:
        self.start()
        if self._task is not None and not self.done:
            self._waiters += 1
            try:
                # Not `await task`: an awaiter that anyio cancels would pass on one cancellation after another.
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
        if self._state is State.CANCELLED and not self._control.is_discarded:
            raise asyncio.CancelledError
        return self.result

    async def _stopped(self) -> None:
        """Stop it and wait for its end, which the deadline of its clean-up bounds."""
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
            self._registry.home.check()
            await self._stopped()
            self._seen = True

    def __aiter__(self) -> AsyncIterator[Event]:
        self.start()
        return self._events.listen()

    # -- the coroutine protocol, for `create_task`, `gather`, `wait_for` and `TaskGroup` -----------------------------

    def send(self, value: Any) -> Any:
        """Run to the next suspension, as a coroutine does; `asyncio.Task` calls this."""
        if not self.done:
            self._registry.home.check()
        return self._drive(self._wait).send(value)

    def throw(self, *exception: Any) -> Any:
        """Raise inside, as in a coroutine; `asyncio.Task` cancels so, also before the first `send`."""
        task = asyncio.current_task()
        if task in self._driven:
            return self._driven[task].throw(*exception)
        if not self.done:
            self._registry.home.check()
        if self._state is State.NEW:
            self._control.cancel(CancelReason.TASK_CANCELLED)
            self._end_unstarted()
        # A coroutine that has not begun would raise at once, and leave a running upload behind.
        error = exception[0] if isinstance(exception[0], BaseException) else exception[0](*exception[1:2])
        return self._drive(lambda: self._give_up(error)).send(None)

    def _drive(self, begin: Callable[[], Coroutine[Any, Any, R]]) -> Coroutine[Any, Any, R]:
        """Return the wait of the task that drives this; `begin` makes its first one."""
        task = asyncio.current_task()
        if task not in self._driven:
            self._driven[task] = begin()
        return self._driven[task]

    async def _give_up(self, error: BaseException) -> R:
        self._seen = True
        await self._stopped()
        raise error

    def close(self) -> None:
        """Close it, as a coroutine; an upload that runs is stopped."""
        self._used = True
        for driven in tuple(self._driven.values()):
            driven.close()

    def __del__(self) -> None:
        if getattr(self, "_state", None) is State.NEW and not self._used:
            warnings.warn(f"the upload of {self.name!r} was never awaited", RuntimeWarning, source=self, stacklevel=2)
        elif self._error is not None and not self._seen:
            log.error("the upload of %r failed, and nobody saw it: %s", self.name, self._error)


def _unexpected(error: BaseException) -> UploadError:
    return UploadError(f"unexpected: {type(error).__name__}")


@public
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

    def __init__(  # settings and collaborators, to become a record
        self,
        request: UploadRequest,
        deliver: Delivery[EventLog, UploadedFile],
        registry: UploadRegistry,
        record: JournalSession | None,
    ) -> None:
        events, control = EventLog(), UploadControl()
        events.file_id = request.file_id
        super().__init__(printable(request.name), lambda: deliver(events, control), events, control, registry)
        self._record = record
        self.source: str | os.PathLike[str] | None = None
        """The path, as it was given; of `resume_pending()`, as it was recorded; None for anything but a path."""
        if isinstance(request.source, str | os.PathLike):
            self.source = request.source
        self.folder_id: str | None = request.folder_id
        """The folder it goes into; None for a plan that does not contain it."""

    def _release(self) -> None:
        super()._release()
        if self._record is not None:  # here too, because an upload may be cancelled before its job's first step
            self._record.release_later()

    def _completed(self, result: UploadedFile) -> Event:
        return UploadCompleted(result)

    @property
    def file_id(self) -> str | None:
        """The file at Frame.io; None before it is planned.

        Known from the start for `resume_pending()` and `execute()`. It becomes another one where the upload begins
        anew, which `UploadReplanned` tells.
        """
        return self._events.file_id

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


@public
class FolderUpload(BaseUpload[FolderResult]):
    """The upload of a folder. Used as an `Upload` is, and as lazy; its events are those of the folder and its files.

    A file that fails stops no other: at the end `FolderUploadError`, whose `result` names them all, is raised where the
    upload is awaited, and the last event is `FolderCompleted` all the same. A listener that comes late is told
    `FolderPlanned`, the failures and the end: what was done is in the result, and memory does not grow with the files.
    """

    def __init__(  # settings and collaborators, to become a record
        self,
        name: str,
        deliver: Delivery[FolderEventLog, FolderResult],
        registry: UploadRegistry,
        *,
        source: str | os.PathLike[str],
        folder_id: str,
    ) -> None:
        events, control = FolderEventLog(), UploadControl()
        super().__init__(name, lambda: deliver(events, control), events, control, registry)
        self.source = source
        """The folder's path, as it was given."""
        self.folder_id = folder_id
        """The folder at Frame.io that was given; `FolderCreated` names those that are made in it."""

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


@dataclass(frozen=True, slots=True, eq=False)
class RunningUpload:
    """What the registry needs of an upload that runs. The upload makes it: these are no public methods of a handle."""

    task: asyncio.Task[Any]
    stop: Callable[[], None]
    """Cancels the task as its owner would; once."""
    take_error: Callable[[], BaseException | None]
    """Returns the error if nobody was told it, and then counts as being told."""


class UploadRegistry:
    """The uploads that were started and have not ended. Owned by the Uploader; it alone keeps them alive."""

    def __init__(self) -> None:
        self._running: dict[BaseUpload[Any], RunningUpload] = {}
        self.home: OwnerLoop = OwnerLoop()
        self._calls: dict[anyio.CancelScope, asyncio.Future[None]] = {}
        """Verbs that run in tasks of the caller's, and what is set when each has ended."""
        self.closed_because: str | None = "the Uploader is not entered: use `async with`"
        """Why no upload can be started, if none can."""

    @property
    def uploads(self) -> tuple[Upload | FolderUpload, ...]:
        """The uploads that run, in the order in which they were started."""
        return cast("tuple[Upload | FolderUpload, ...]", tuple(self._running))  # it has these two subclasses only

    def check_open(self) -> None:
        """Raise RuntimeError unless an upload can be started."""
        self.home.check()
        if self.closed_because is not None:
            raise RuntimeError(self.closed_because)

    def add(self, upload: BaseUpload[Any], running: RunningUpload) -> None:
        """Keep an upload that starts."""
        self._running[upload] = running

    def remove(self, upload: BaseUpload[Any]) -> None:
        """Forget an upload that has ended: nothing refers to it any more."""
        self._running.pop(upload, None)

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
        awaited: dict[BaseUpload[Any], RunningUpload] = {}
        while self._running or self._calls:
            awaited |= self._running
            await asyncio.wait(self._ends())
        errors = [error for running in awaited.values() if (error := running.take_error()) is not None]
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
            for running in tuple(self._running.values()):
                running.stop()
            for scope in tuple(self._calls):
                scope.cancel()
            await wait_uncancelled(ends)

    def _ends(self) -> list[asyncio.Future[Any]]:
        return [*(running.task for running in self._running.values()), *self._calls.values()]

    def statistics(self, resources: Session) -> Statistics:
        """Tell what is going on at this moment."""
        slots = resources.part_slots.statistics()
        progress = [upload.progress for upload in self._running]
        return Statistics(
            slots=int(slots.total_tokens),
            in_flight=slots.borrowed_tokens,
            waiting=slots.tasks_waiting,
            uploads=len(self._running),
            bytes_per_second=sum(latest.bytes_per_second for latest in progress if latest is not None),
            retries=resources.retries,
        )
