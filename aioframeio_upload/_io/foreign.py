"""Await code that is not ours: token callables, streams, file objects. Its cancellations are errors, not our end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class ForeignCancellation(Exception):  # never raised out of the library: its callers make an error of it
    """Foreign code ended in a `CancelledError` that nobody sent to the task that awaits it."""

    def __init__(self) -> None:
        super().__init__("what it waited for was cancelled")


def is_being_cancelled() -> bool:
    """Return whether somebody cancels the current task; anyio's scopes and `asyncio.timeout` do it that way, too."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def await_foreign(awaitable: Awaitable[T]) -> T:
    """Await foreign code, and raise an error where it ends in a cancellation that is not ours.

    Callers often share one task, for a token or for a producer of bytes, and somebody cancels it. Its `CancelledError`
    then reaches everybody who awaits it. Passed on, it would look as if our own task was cancelled, and task groups
    take that for an end in good order.

    Raises:
        ForeignCancellation: As said.
    """
    try:
        return await awaitable
    except asyncio.CancelledError as error:
        if is_being_cancelled():
            raise
        raise ForeignCancellation from error
