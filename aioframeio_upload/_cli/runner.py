"""Run a command: exit status, error lines, Ctrl-C and SIGTERM."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer

from .format import Usage, read_rate
from .output import LAST_WORDS, complain, has_reader, loss, within
from .signals import ENDED_BY, status_of

if TYPE_CHECKING:
    from .. import Limits, Timeouts

P = ParamSpec("P")


class Verbosity:
    """Whether the library's log was asked for, before the command or after it. Owned by the options."""

    asked = False


def usable(command: Callable[P, None]) -> Callable[P, None]:
    """Make what cannot be done as asked a line on stderr and exit status 2."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Usage as error:
            fail(str(error), 2)

    return run


def fail(text: str, status: int) -> NoReturn:
    """End with a line on stderr."""
    complain(f"error: {text}")
    raise typer.Exit(status)


def finish(
    work: Callable[[], Coroutine[Any, Any, int]], left_off: Callable[[], str] = lambda: "", *, shows: bool = False
) -> NoReturn:
    """Run a command's work, and end with its exit status.

    Args:
        work: The command; it returns its exit status.
        left_off: What is said of what it left where a signal stopped it.
        shows: Whether what it writes to stdout is all that it is for. Of any other command, such as an upload, a full
            disk or a reader that is gone costs the display alone.
    """
    from .. import UploadError
    from .log import hide_log, show_log
    from .loop import Stopped, run

    log = show_log(verbose=Verbosity.asked)
    failed = None
    try:
        status = run(work)
    except Stopped as stopped:
        left = left_off()
        words = ENDED_BY[stopped.by] + (f"; {left}" if left else "")
        within(LAST_WORDS, lambda: complain(words))
        raise typer.Exit(status_of(stopped.by)) from None
    except UploadError as error:
        from .upload_view import worded

        status, failed = 1, worded(error)
    finally:
        hide_log(log)
    if failed is not None:
        fail(failed, status)
    lost = loss()
    if lost is not None and (has_reader() or not shows):
        complain(lost)
    raise typer.Exit(max(status, 1) if lost is not None and shows else status)


def limits_of(parts: int | None, bandwidth: str | None) -> Limits:
    """Give the limits that were asked for, and the library's own for the others.

    Raises:
        Usage: One of them cannot be.
    """
    from .. import Limits

    asked: dict[str, int] = {}
    if parts is not None:
        asked["parts"] = parts
    if bandwidth is not None:
        asked["bandwidth"] = read_rate(bandwidth)
    try:
        return Limits(**asked)  # type: ignore[arg-type]  # its other field is a bool
    except ValueError as error:
        raise Usage(str(error)) from None


def timeouts_of(stall: float | None) -> Timeouts:
    """Return the timeouts that were asked for, and the library's own for the others.

    Raises:
        Usage: One of them cannot be.
    """
    from .. import Timeouts

    try:
        return Timeouts() if stall is None else Timeouts(stall=stall)
    except ValueError:
        raise Usage("--timeout takes a number of seconds, more than 0") from None


def the_journal(path: Path | None, none: bool, *, needed: bool = True) -> Path | None:
    """Return the journal's path; None where there is to be none, or where there can be none and it is not needed.

    Raises:
        Usage: Both were asked for; or the path is none of a file; or there can be none.
    """
    from .. import Journal
    from .options import default_journal

    if none and path is not None:
        raise Usage("--journal and --no-journal exclude each other")
    if path is not None:
        try:
            Journal(path)
        except ValueError as error:
            raise Usage(f"--journal: {error}") from None
    if none or path is not None:
        return path
    try:
        return default_journal()
    except Usage as error:
        if needed:
            raise
        complain(f"nothing is recorded: {error}")
        return None
