"""Await the caller's code (token callables, streams, file objects), and classify what it raises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

OWN_FAULTS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    ReferenceError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
)
"""What Python raises where a program or its data is wrong: trying again without a change does not help."""


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


def is_away(error: BaseException) -> bool:
    """Return whether an exception of the caller's stream or file object means that it could not be reached.

    An OSError alone would not do: libraries derive what they raise for a lost connection from `Exception` itself
    (`starlette.requests.ClientDisconnect`, `httpx.ReadError`, `aiohttp.ClientPayloadError`, `anyio.EndOfStream`), and
    asyncio from `EOFError` (`IncompleteReadError`). So it is the errors of a program or its data that are recognised,
    by Python's own hierarchy, and everything else is a source that cannot be read at the moment. An OSError always is,
    because some derive from ValueError too (`ssl.SSLCertVerificationError`).
    """
    return all(isinstance(one, OSError) or not isinstance(one, OWN_FAULTS) for one in each_of(error))


def each_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group, or the exception itself: a stream may read in a task group of its own."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from each_of(one)
    else:
        yield error
