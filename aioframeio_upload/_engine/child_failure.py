"""Keep the failure of one file among many from ending the others."""

from __future__ import annotations

import asyncio
import traceback
from types import TracebackType
from typing import Any, Self

from .._core.errors import UploadError
from .._core.redact import one_line, redact
from .._io.foreign import is_being_cancelled
from .._io.log import Lines, log


class ChildFailure:
    """Catches the exception of one of many tasks, so that the others go on: `with ChildFailure(path) as caught:`.

    A `CancelledError` although nobody cancelled this task came from foreign code; if it was raised, a task group would
    take the file for done. An unexpected exception is logged with its traceback. A cancellation of this task, and what
    ends the process, is not caught.

    Args:
        what: The file or step, for the log.
        parent: The task that owns the `asyncio.TaskGroup`, if this is a child task. Then a cancellation is passed on
            only if the parent is cancelled too; one of the child alone (a program may cancel any task that
            `asyncio.all_tasks()` returns) is caught as its failure.
    """

    def __init__(self, what: str, parent: asyncio.Task[Any] | None = None) -> None:
        self._what = what
        self._parent = parent
        self.failure: UploadError | None = None
        """None if nothing was caught."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        found = unwrapped(error)
        if isinstance(found, UploadError):
            self.failure = found
        elif isinstance(found, asyncio.CancelledError) and not self._is_passed_on():
            self.failure = UploadError("was stopped by a cancellation that nobody sent to it")
            _uncancel()
        elif isinstance(found, Exception):
            self.failure = _unexpected(found, self._what)
        return self.failure is not None

    def _is_passed_on(self) -> bool:
        """Return whether a cancellation is meant for the whole upload."""
        if self._parent is None:
            return is_being_cancelled()
        # Also when a sibling's error ends the group: it cancels its parent before any child runs again.
        return self._parent.cancelling() > 0


def _uncancel() -> None:
    """Clear a cancellation request that was caught, so that later steps of this task do not see it."""
    task = asyncio.current_task()
    while task is not None and task.cancelling() > 0:
        task.uncancel()


def unwrapped(error: BaseException) -> BaseException:
    """Return the only error of a group; callers should not need `except*`."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _unexpected(error: Exception, what: str) -> UploadError:
    kind = type(error).__name__
    # Without the message: it may quote a presigned link, and so may that of its cause.
    lines = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    log.error("%s: unexpected %s: %s%s", what, kind, redact(str(error)), Lines(f"\n{lines}"))
    failure = UploadError(f"unexpected: {kind}")
    if not _may_quote_links(error):
        failure.__cause__ = error
    return failure


def _may_quote_links(error: BaseException | None) -> bool:
    """Return whether the text of an exception or of one of its causes may contain a link or a token."""
    while error is not None:
        text = str(error)
        is_clean = redact(text, limit=len(text) * 10 + 1) == one_line(text)
        if not is_clean or type(error).__module__.partition(".")[0] in ("aiohttp", "yarl"):
            return True
        error = error.__cause__ or error.__context__
    return False
