"""Run clean-up steps that a cancellation cannot interrupt, all within the one deadline of a cancelled upload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from math import isinf
from typing import Any, TypeVar

import anyio

from .._io.files import reason_of
from .._io.foreign import await_foreign
from .._io.log import log
from .._io.sources import OpenSource
from .control import CancelReason, UploadControl

T = TypeVar("T")

CLOSE_STREAM = 5.0
"""Seconds in which a generator has to run its `finally`, which may wait for a process that it started."""

LAST_STEP = 0.1
"""Seconds that it has in any case, even if the deletion of the file has used up the time of a cancelled upload: a task
that is cancelled at once would not even begin to close it."""


async def run_shielded(step: Coroutine[Any, Any, T], control: UploadControl, seconds: Callable[[], float]) -> T | None:
    """Run a step to its end, even if the caller is cancelled meanwhile.

    The step gets a task of its own: anyio's shield holds back the cancellations of anyio's scopes only, and
    `asyncio.shield` abandons the step instead of waiting for it.

    Args:
        step: What to run.
        control: Notes a cancellation of the caller, which starts the deadline that all clean-up steps draw from.
        seconds: Returns how long the step may take from now on. Called at the start, and again after a cancellation.

    Returns:
        The step's result, or None if its time was over and it was cancelled.

    Raises:
        CancelledError: The caller was cancelled; raised after the step has ended. The step's own result is dropped.
    """
    task = asyncio.get_running_loop().create_task(step)
    task.add_done_callback(_retrieve)
    timer = _Timer(task)
    timer.start(seconds())
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        control.cancel(CancelReason.TASK_CANCELLED)
        timer.start(seconds())
        await wait_uncancelled([task])
        raise
    finally:
        timer.stop()
    return None if timer.is_over and task.cancelled() else task.result()


async def close_generator(found: OpenSource, name: str, control: UploadControl) -> None:
    """Close the caller's generator if it was not read to its end; what it raises meanwhile is logged.

    Args:
        found: The source of an upload that has ended.
        name: The upload, for the log.
        control: Has the deadline of a cancelled upload.
    """
    generator = found.unfinished
    if generator is None:
        return
    step = _closed(generator, name)
    if not await run_shielded(step, control, lambda: max(LAST_STEP, control.seconds_left(CLOSE_STREAM))):
        log.warning("%s: the generator did not end in time after the upload, and was cancelled", name)


async def _closed(generator: AsyncGenerator[Any], name: str) -> bool:
    try:
        await await_foreign(generator.aclose())
    except Exception as error:  # noqa: BLE001  # a caller's generator may raise anything; the upload has ended
        log.warning("%s: the generator failed when it was closed: %s", name, reason_of(error))
    return True


def _retrieve(task: asyncio.Task[Any]) -> None:
    # Else asyncio logs an error that is dropped because the caller was cancelled.
    if not task.cancelled():
        task.exception()


class _Timer:
    """Cancels a task when its time is over."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self._handle: asyncio.TimerHandle | None = None
        self.is_over = False

    def start(self, seconds: float) -> None:
        self.stop()
        if not isinf(seconds):
            self._handle = asyncio.get_running_loop().call_later(seconds, self._end)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _end(self) -> None:
        self.is_over = True
        self._task.cancel()


async def wait_uncancelled(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all are done; a cancellation meanwhile is raised only then.

    For tasks whose own steps are bounded: this wait has no limit.
    """
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not all(task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
