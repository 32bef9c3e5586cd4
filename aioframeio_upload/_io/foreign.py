"""Await the caller's code (token callables, streams, file objects) and turn its stray cancellations into errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class ForeignCancellation(Exception):  # never leaves the library: every caller converts it
    """Foreign code raised a `CancelledError` that nobody sent to the task awaiting it."""

    def __init__(self) -> None:
        super().__init__("what it waited for was cancelled")


def is_being_cancelled() -> bool:
    """Return whether the current task is being cancelled, which includes anyio's scopes and `asyncio.timeout`."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def await_foreign(awaitable: Awaitable[T]) -> T:
    """Await foreign code, and raise an error if it ends in a cancellation that is not the current task's.

    Applications often share one task, for a token or for a producer of bytes. If somebody cancels that task, its
    `CancelledError` reaches everybody who awaits it. Passed on, it would look as if our own task had been cancelled,
    which task groups treat as a normal end.

    Raises:
        ForeignCancellation: The awaitable was cancelled by somebody else.
    """
    try:
        return await awaitable
    except asyncio.CancelledError as error:
        if is_being_cancelled():
            raise
        raise ForeignCancellation from error
