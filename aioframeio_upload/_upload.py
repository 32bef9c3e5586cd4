"""Define `Upload`, `FolderUpload` and `FolderWatch`, the handles of an upload, and the registry of the running ones."""

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

from ._core.errors import UploadCancelled, UploadError, noted
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
from ._engine.watch import WatchControl
from ._io.files import printable
from ._io.foreign import is_being_cancelled
from ._io.session import Session

log = logging.getLogger("aioframeio_upload")

R = TypeVar("R")
E_contra = TypeVar("E_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class State(enum.Enum):
    """The state of an upload. Only its handle changes it, always to a later one in this order."""

    NEW = "not started"
    STARTED = "started"
    """It has a task, which has not run its first step yet."""
    RUNNING = "running"
    STOPPING = "stopping"
    """Its task was cancelled and is cleaning up."""
    SUCCEEDED = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the state cannot change any more."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Delivery(Protocol[E_contra, R_co]):
    """Carry out an upload: called in its task, when it starts."""

    def __call__(self, events: E_contra, control: UploadControl, /) -> Awaitable[R_co]:
        """Return an awaitable of the result."""
        ...


class BaseUpload(Coroutine[Any, Any, R]):
    """Start, stop, watch and await one upload: the common base of `Upload`, `FolderUpload` and `FolderWatch`.

    Subclasses make the last event.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[], Awaitable[R]],
        events: EventLog,
        control: UploadControl,
        registry: UploadRegistry,
    ) -> None:
        self.name = name
        """Its name at Frame.io."""
        self._shown = name
        """What the note of its error names: the path as it was passed, else the name."""
        self._deliver = deliver
        self._events = events
        self._control = control
        self._registry = registry
        self._state = State.NEW
        self._task: asyncio.Task[R] | None = None
        self._outcome: tuple[R] | None = None
        """The result, in a tuple because the result itself may be None; None before the end."""
        self._error: BaseException | None = None
        self._waiters = 0
        self._seen = False
        """Whether the error was raised to somebody. If not, the Uploader raises it, or it is logged."""
        self._used = False
        # Each task that runs this object as its coroutine has its own wait.
        self._driven: WeakKeyDictionary[asyncio.Task[Any] | None, Coroutine[Any, Any, R]] = WeakKeyDictionary()

    @abstractmethod
    def _completed(self, result: R) -> Event | None:
        """Return the last event of an upload that succeeded; None if it has none."""

    def _failed(self, error: BaseException) -> Event:
        """Return the last event of an upload that failed."""
        return UploadFailed(error if isinstance(error, UploadError) else _unexpected(error))

    # -- state -----------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress | None:
        """The latest progress; None before the upload is planned."""
        return self._events.progress

    @property
    def done(self) -> bool:
        """Whether it has ended, with a result, an error or a cancellation."""
        return self._state.is_final

    @property
    def result(self) -> R:
        """The result.

        Raises:
            UploadError: The error that the upload ended with, or it has not ended. `UploadCancelled` if it was
                cancelled in any way.
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
        """Start the upload in a task that the Uploader owns, and return `self`. Starting it again does nothing.

        Raises:
            RuntimeError: The Uploader was not entered, was left or shut down, or belongs to another event loop; or no
                event loop is running.
        """
        self._used = True
        if not self.done:
            self._registry.home.check()
        if self._state is State.NEW:
            loop = running_loop()
            self._registry.check_open()
            self._state = State.STARTED
            self._task = loop.create_task(self._run(), name=f"upload {self.name}")
            self._registry.add(self, RunningUpload(self._task, self._finish_soon, self._stop, self._take_error))
            self._task.add_done_callback(self._finish)
        return self

    def cancel(self) -> None:
        """Stop the upload for good. Awaiters get `UploadCancelled`, and an incomplete file is deleted at Frame.io.

        A file whose parts have all arrived is kept. So is the file of `execute(receipts=...)`, which belongs to the
        caller. Cancelling an upload that has ended does nothing.

        Raises:
            RuntimeError: Called from another thread or event loop than the Uploader's, as with `pause` and `resume`.
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
        """Stop sending bytes, even in the middle of a part, until `resume()`. A pause does not count as a retry.

        S3 drops a silent connection after 20 to 30 s. So after 15 s the attempts in flight are given up, their slots go
        to other uploads, and their parts are sent again after `resume()`. Bytes that the kernel has buffered are still
        sent.
        """
        self._registry.home.check_thread()
        self._control.pause.close()

    def resume(self) -> None:
        """Continue after `pause()`."""
        self._registry.home.check_thread()
        self._control.pause.open()

    def _finish_soon(self) -> None:
        """End when what was begun is finished: what an upload does anyway."""

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
            # `_stop` has cancelled it, or somebody else has. anyio's scopes call `Task.uncancel`. Where one of them
            # ends at the same moment, the count that `is_being_cancelled` reads may be zero: seen with anyio 4.16, in
            # one of some fifty runs in which a fleet's upload was cancelled on a busy machine.
            if self._state is State.STOPPING or is_being_cancelled():
                raise
            # Code nearer to the cancelled call reports it more precisely; this is the fallback. The awaiters of this
            # upload were not cancelled, and a task group would take a `CancelledError` for a normal end.
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
            found = unwrapped(error)
            self._end(State.FAILED, noted(found, self._shown) if isinstance(found, UploadError) else found)
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
        """Return the error and mark it as seen; None if it was seen, or if an awaiter is about to get it."""
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
                # Not `await task`: anyio cancels an awaiter repeatedly, and each cancellation would reach the task.
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
        """Stop it and wait until it has ended; the deadline of its clean-up bounds this."""
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
        """Run to the next suspension, as a coroutine does. `asyncio.Task` calls this."""
        if not self.done:
            self._registry.home.check()
        return self._drive(self._wait).send(value)

    def throw(self, *exception: Any) -> Any:
        """Raise an exception inside, as in a coroutine. `asyncio.Task` cancels so, even before the first `send`."""
        task = asyncio.current_task()
        if task in self._driven:
            return self._driven[task].throw(*exception)
        if not self.done:
            self._registry.home.check()
        if self._state is State.NEW:
            self._control.cancel(CancelReason.TASK_CANCELLED)
            self._end_unstarted()
        # A coroutine that has not begun would raise at once, without stopping the running upload.
        error = exception[0] if isinstance(exception[0], BaseException) else exception[0](*exception[1:2])
        return self._drive(lambda: self._give_up(error)).send(None)

    def _drive(self, begin: Callable[[], Coroutine[Any, Any, R]]) -> Coroutine[Any, Any, R]:
        """Return the wait of the current task. `begin` creates it on the first call."""
        task = asyncio.current_task()
        if task not in self._driven:
            self._driven[task] = begin()
        return self._driven[task]

    async def _give_up(self, error: BaseException) -> R:
        self._seen = True
        await self._stopped()
        raise error

    def close(self) -> None:
        """Close it, as a coroutine. A running upload is stopped."""
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
    """An upload. Lazy: nothing happens until it is awaited, entered, iterated or started.

    * `await upload` returns the `UploadedFile` or raises the error. It can be awaited any number of times.
    * `async with upload:` starts it. Leaving the block waits until it has ended and raises its error; leaving it by an
      exception cancels the upload.
    * `async for event in upload:` yields every event from the first one, and the latest `Progress` in between. Breaking
      out of the loop does not stop the upload. After a failure the last event is `UploadFailed`; the loop does not
      raise.
    * `upload.start()` returns at once; the Uploader owns the task.

    As with an `asyncio.Task`, cancelling a task that awaits the upload cancels the upload; use `asyncio.shield` to
    prevent that. Within a second of a cancellation nothing of the upload runs any more and every file is closed. An
    upload is a `collections.abc.Coroutine`, so `asyncio.gather`, `wait_for` and `TaskGroup.create_task` accept it.
    """

    def __init__(
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
        """The path as it was passed, or as it was recorded for `resume_pending()`; None for other sources."""
        if isinstance(request.source, str | os.PathLike):
            self.source = request.source
            self._shown = printable(os.fspath(request.source))
        self.folder_id: str | None = request.folder_id
        """ID of the target folder; None for a plan that does not contain it, and for the link of a project."""

    def _release(self) -> None:
        super()._release()
        if self._record is not None:  # here too, because an upload may be cancelled before its job's first step
            self._record.release_later()

    def _completed(self, result: UploadedFile) -> Event:
        return UploadCompleted(result)

    @property
    def file_id(self) -> str | None:
        """ID of the file at Frame.io; None before the upload is planned.

        Known from the start for `resume_pending()` and `execute()`. It changes if the upload starts again with a new
        file, which `UploadReplanned` reports.
        """
        return self._events.file_id

    async def planned(self) -> UploadPlanned | None:
        """Start the upload and wait until the file exists at Frame.io, for example to answer a web request with 202.

        Cancelling this wait does not cancel the upload.

        Returns:
            The file's ID and link, or None if nothing had to be uploaded.

        Raises:
            UploadError: The upload failed before that.
        """
        async for event in self:
            if isinstance(event, UploadPlanned):
                return event
        _ = self.result
        return None


@public
class FolderUpload(BaseUpload[FolderResult]):
    """The upload of a folder. Used like an `Upload`, and as lazy; its events are about the folder and its files.

    If a file fails, the others continue. At the end `FolderUploadError` is raised where the upload is awaited, and its
    `result` lists the files; the last event is `FolderCompleted` in any case. A listener that starts late gets
    `FolderPlanned`, the failures and the end only. All other files are in the result, and memory does not grow with
    their number.
    """

    def __init__(
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
        """Path of the folder, as it was passed."""
        self._shown = printable(os.fspath(source))
        self.folder_id = folder_id
        """ID of the target folder; `FolderCreated` reports the folders that are created in it."""

    def _completed(self, result: FolderResult) -> Event:
        return FolderCompleted(result)

    def _failed(self, error: BaseException) -> Event:
        return FolderCompleted(error.result) if isinstance(error, FolderUploadError) else super()._failed(error)

    async def planned(self) -> FolderPlanned:
        """Start the upload and wait until the tree was walked and the folder exists at Frame.io.

        Cancelling this wait does not cancel the upload.

        Raises:
            UploadError: The upload failed before that.
        """
        async for event in self:
            if isinstance(event, FolderPlanned):
                return event
        _ = self.result
        raise AssertionError("a folder's upload succeeded before it was planned")


@public
class FolderWatch(BaseUpload[None]):
    """The watch of a folder: what is in it is uploaded, and then what comes into it, until it is stopped.

    Used like an `Upload`, and as lazy. It ends well by `stop()`, which finishes what was begun, or when its
    `async with` block or that of the Uploader is left; `await watch` then returns None. `cancel()` and a cancellation
    end it as they end an upload. It ends with an error if the folder or the target is missing at the start, or if the
    service refuses the token; anything else is a failure of one file, which is tried again.

    Its events are `FolderCreated`, `FileStarted`, `FileCompleted`, `FileSkipped`, `FileFailed`, `ApiRetrying` and
    `Progress`. A listener gets what happens from its start on; nothing is kept, so that memory does not grow with what
    was sent. The `Progress` counts everything since the start, and its totals grow with the files that come.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[FolderEventLog, WatchControl], Awaitable[None]],
        registry: UploadRegistry,
        *,
        source: str | os.PathLike[str],
        folder_id: str,
    ) -> None:
        events, control = FolderEventLog(keeps_failures=False), WatchControl()
        super().__init__(name, lambda: deliver(events, control), events, control, registry)
        self._watch_control = control
        self.source = source
        """Path of the folder, as it was passed."""
        self._shown = printable(os.fspath(source))
        self.folder_id = folder_id
        """ID of the target folder."""

    def stop(self) -> None:
        """Begin no further file, and end when those that were begun have arrived or failed; a pause ends.

        Files that wait for their turn are left alone: the next watch of the folder finds them. Stopping a watch that
        has not started lets it end at once when it does; stopping it again does nothing.

        Raises:
            RuntimeError: Called from another thread or event loop than the Uploader's.
        """
        self._registry.home.check_thread()
        self._watch_control.stop()

    def _finish_soon(self) -> None:
        self._watch_control.stop()

    def _completed(self, result: None) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and not self.done:
            self.stop()
        await super().__aexit__(kind, error, traceback)


@dataclass(frozen=True, slots=True, eq=False)
class RunningUpload:
    """The access of the registry to a running upload, made by the upload. These are not public methods of a handle."""

    task: asyncio.Task[Any]
    finish: Callable[[], None]
    """Lets it end as soon as what was begun is finished."""
    stop: Callable[[], None]
    """Cancels the task as its owner would. Further calls do nothing."""
    take_error: Callable[[], BaseException | None]
    """Returns the error, which then counts as seen; None if it was seen before."""


class UploadRegistry:
    """The uploads that were started and have not ended. Owned by the Uploader; only this keeps them alive."""

    def __init__(self) -> None:
        self._running: dict[BaseUpload[Any], RunningUpload] = {}
        self.home: OwnerLoop = OwnerLoop()
        self._calls: dict[anyio.CancelScope, asyncio.Future[None]] = {}
        """Calls that run in the caller's tasks; the future of each is set when the call has ended."""
        self.closed_because: str | None = "the Uploader is not entered: use `async with`"
        """Why no upload can be started; None if one can."""

    @property
    def uploads(self) -> tuple[Upload | FolderUpload | FolderWatch, ...]:
        """The running uploads, in the order in which they were started."""
        return cast("tuple[Upload | FolderUpload | FolderWatch, ...]", tuple(self._running))  # all of its subclasses

    def check_open(self) -> None:
        """Raise RuntimeError unless an upload can be started."""
        self.home.check()
        if self.closed_because is not None:
            raise RuntimeError(self.closed_because)

    def add(self, upload: BaseUpload[Any], running: RunningUpload) -> None:
        """Add an upload that starts."""
        self._running[upload] = running

    def remove(self, upload: BaseUpload[Any]) -> None:
        """Remove an upload that has ended, so that nothing refers to it any more."""
        self._running.pop(upload, None)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Register a call that runs in the caller's task, so that leaving or a shutdown waits for it or stops it.

        Raises:
            UploadCancelled: The call was stopped.
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
        """Wait for all, and raise the errors that nobody has seen and no awaiter is about to get."""
        awaited: dict[BaseUpload[Any], RunningUpload] = {}
        while self._running or self._calls:
            for upload, running in self._running.items():
                if upload not in awaited:
                    running.finish()
            awaited |= self._running
            await asyncio.wait(self._ends())
        errors = [error for running in awaited.values() if (error := running.take_error()) is not None]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("uploads failed", errors)

    async def stop(self, grace: float) -> None:
        """Let all continue for `grace` seconds, then stop them as cancelled tasks."""
        for running in tuple(self._running.values()):
            running.finish()
        try:
            if self._ends() and grace > 0:
                await asyncio.wait(self._ends(), timeout=grace)
        finally:  # also if the wait itself is cancelled, and then at once
            ends = self._ends()
            for running in tuple(self._running.values()):
                running.stop()
            for scope in tuple(self._calls):
                scope.cancel()
            await wait_uncancelled(ends)

    def _ends(self) -> list[asyncio.Future[Any]]:
        return [*(running.task for running in self._running.values()), *self._calls.values()]

    def statistics(self, resources: Session) -> Statistics:
        """Return a snapshot of what the Uploader is doing."""
        slots = resources.part_slots
        progress = [upload.progress for upload in self._running]
        return Statistics(
            slots=slots.limiter.total,
            in_flight=slots.limiter.in_use,
            waiting=slots.limiter.waiting,
            reason=slots.reason,
            uploads=len(self._running),
            bytes_per_second=sum(latest.bytes_per_second for latest in progress if latest is not None),
            retries=resources.retries,
        )
