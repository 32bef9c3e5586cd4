"""The handle of one upload: it is awaited, entered, iterated or started, as often and by as many as like."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

from ._core.errors import UploadCancelled, UploadError
from ._core.events import Event, Progress, UploadCompleted, UploadFailed, UploadPlanned
from ._core.model import UploadedFile
from ._feed import Feed
from ._io.gate import Gate
from ._shielded import wait_out

log = logging.getLogger("aioframeio_upload")


class Upload(Coroutine[Any, Any, UploadedFile]):
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
        adopt: Callable[[Upload], None],
        release: Callable[[Upload], None],
    ) -> None:
        self.name = name
        """The file's name at Frame.io."""
        self._deliver = deliver
        self._adopt = adopt
        self._release = release
        self._feed = Feed()
        self._gate = Gate()
        self._task: asyncio.Task[UploadedFile] | None = None
        self._file: UploadedFile | None = None
        self._error: BaseException | None = None
        self._was_cancelled = False
        """By its task, so that who awaits it gets CancelledError."""
        self._cancel_asked = False
        self._stopping = False
        self._waiters = 0
        self._seen = False
        self._used = False
        # Each task that was made of it drives a wait of its own.
        self._driven: WeakKeyDictionary[asyncio.Task[Any] | None, Coroutine[Any, Any, UploadedFile]] = (
            WeakKeyDictionary()
        )

    # -- what it is doing --------------------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress | None:
        """The latest progress; None before the file is planned."""
        return self._feed.progress

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self._feed.ended

    @property
    def file_id(self) -> str | None:
        """The file at Frame.io; None before it is planned."""
        return self._feed.file_id

    @property
    def result(self) -> UploadedFile:
        """The file.

        Raises:
            UploadError: The upload's own error; `UploadCancelled` however it was cancelled; or it still runs.
        """
        if not self.done:
            raise UploadError(f"the upload of {self.name!r} has not ended")
        self._seen = True
        if self._file is None:
            raise self._error or UploadCancelled(f"the upload of {self.name!r} was cancelled")
        return self._file

    def __repr__(self) -> str:
        state = "not started" if self._task is None and not self.done else "running"
        if self.done:
            state = "done" if self._file is not None else "failed"
        return f"<Upload {self.name!r} {state}>"

    # -- starting and stopping ---------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it, in a task that the Uploader owns, and give it back. Starting it again does nothing.

        Raises:
            RuntimeError: The Uploader is not entered, or was left or shut down; or no event loop runs here.
        """
        self._used = True
        if self._task is None and not self.done:
            loop = asyncio.get_running_loop()
            self._adopt(self)
            self._task = loop.create_task(self._run(), name=f"upload {self.name}")
            self._task.add_done_callback(self._finish)
        return self

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

    def cancel(self) -> None:
        """Stop it for good; the placeholder is deleted, and who awaits it gets `UploadCancelled`.

        A file whose parts have all arrived is kept. Cancelling an upload that has ended does nothing.
        """
        if self.done:
            return
        self._cancel_asked = self._gate.given_up = True
        if self._task is None:
            self._end_unstarted()
        else:
            self._stop()

    def pause(self) -> None:
        """Send no more bytes, inside a part too, until `resume()`; nothing is lost, and it counts as no retry.

        S3 drops a silent connection after 20 to 30 s. So after 15 s the parts under way are given up, their slots go to
        other uploads, and they are sent again on resuming. What the kernel has buffered still goes out.
        """
        self._gate.close()

    def resume(self) -> None:
        """Go on after `pause()`."""
        self._gate.open()

    def _stop(self) -> None:
        # Once: anyio cancels by level, and a second cancellation would break into the clean-up after the first.
        if self._task is not None and not self._stopping:
            self._stopping = True
            self._task.cancel()

    async def _run(self) -> UploadedFile:
        return await self._deliver(self._feed, self._gate)

    def _finish(self, task: asyncio.Task[UploadedFile]) -> None:
        """Note how the task ended; its first done callback, so it runs before anybody who waits for the task."""
        self._release(self)
        if task.cancelled():
            self._was_cancelled = not self._cancel_asked
            self._error = UploadCancelled(f"the upload of {self.name!r} was cancelled")
        else:
            self._error = _unwrapped(task.exception())
        if self._error is None:
            self._file = task.result()
            self._feed.end(UploadCompleted(self._file))
        else:
            self._seen = self._seen or task.cancelled()
            self._feed.end(UploadFailed(_as_upload_error(self._error)))

    def _end_unstarted(self) -> None:
        self._seen = True
        self._error = UploadCancelled(f"the upload of {self.name!r} was cancelled before it began")
        self._feed.end(UploadFailed(_as_upload_error(self._error)))

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def _wait(self) -> UploadedFile:
        self.start()
        if self._task is not None:
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
            await wait_out([self._task])

    def __await__(self) -> Generator[Any, Any, UploadedFile]:
        return self._wait().__await__()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self._wait()
        else:
            await self._stopped()
            self._seen = True

    def __aiter__(self) -> AsyncIterator[Event]:
        self.start()
        return self._feed.listen()

    # -- as a coroutine, for create_task and its kin -----------------------------------------------------------------

    def send(self, value: Any) -> Any:
        """Run on, as a coroutine does; `asyncio.Task` calls this."""
        return self._drive(self._wait).send(value)

    def throw(self, *exception: Any) -> Any:
        """Raise inside, as in a coroutine; `asyncio.Task` cancels so, also before the first `send`."""
        task = asyncio.current_task()
        if task in self._driven:
            return self._driven[task].throw(*exception)
        if self._task is None and not self.done:
            self._was_cancelled = True
            self._end_unstarted()
        # A coroutine that has not begun would raise at once, and a running upload would run on.
        error = exception[0] if isinstance(exception[0], BaseException) else exception[0](*exception[1:2])
        return self._drive(lambda: self._give_up(error)).send(None)

    def _drive(self, begin: Callable[[], Coroutine[Any, Any, UploadedFile]]) -> Coroutine[Any, Any, UploadedFile]:
        """Give the wait of the task that drives this; its first one, or one that it began before."""
        task = asyncio.current_task()
        if task not in self._driven:
            self._driven[task] = begin()
        return self._driven[task]

    async def _give_up(self, error: BaseException) -> UploadedFile:
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


def _unwrapped(error: BaseException | None) -> BaseException | None:
    """The one error in a group of one: callers should not need `except*`."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _as_upload_error(error: BaseException) -> UploadError:
    return error if isinstance(error, UploadError) else UploadError(f"unexpected: {type(error).__name__}")
