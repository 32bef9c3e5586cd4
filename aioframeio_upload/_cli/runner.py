"""Run a command: its exit status, its error line, and its end by a signal."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, NoReturn, ParamSpec

import typer

from . import exit_status
from .options import UsageError
from .output import FINAL_WRITE_TIMEOUT, has_reader, lost_output_warning, write_error, write_within
from .signals import SIGNAL_WORDS

P = ParamSpec("P")


class Verbosity:
    """Whether `--verbose` was given, before the command or after it. Set by the options."""

    is_verbose = False


def report_usage_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a `UsageError` of a command into a line on stderr and exit status 2."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except UsageError as error:
            fail(str(error), exit_status.USAGE)

    return run


def fail(text: str, status: int) -> NoReturn:
    """Write an error line to stderr and exit."""
    write_error(f"error: {text}")
    raise typer.Exit(status)


def finish(
    work: Callable[[], Coroutine[Any, Any, int]],
    describe_remains: Callable[[], str] = lambda: "",
    *,
    only_prints: bool = False,
    on_terminate: Callable[[], None] | None = None,
) -> NoReturn:
    """Run a command's coroutine and exit with its status.

    Args:
        work: The command; it returns its exit status.
        describe_remains: Called if a signal stopped the command. Returns what is left, and how to continue.
        only_prints: The command has no purpose but its output, as `find` has. For any other, such as an upload, lost
            output (a full disk, a closed pipe) does not change the exit status.
        on_terminate: Called on the loop at the first SIGTERM, instead of stopping the command: it ends by itself then.
    """
    from .. import UploadError
    from .log import hide_log, show_log
    from .login_store import LoginError
    from .loop import Stopped, run

    log = show_log(verbose=Verbosity.is_verbose)
    failure = None
    try:
        status = run(work, on_terminate)
    except Stopped as stopped:
        remains = describe_remains()
        hide_log(log)  # its thread's lines come before the last one
        words = SIGNAL_WORDS[stopped.by] + (f"; {remains}" if remains else "")
        write_within(FINAL_WRITE_TIMEOUT, lambda: write_error(words))
        raise typer.Exit(exit_status.after_signal(stopped.by)) from None
    except UploadError as error:
        from .format import format_error

        status, failure = exit_status.FAILED, format_error(error)
    except LoginError as error:
        status, failure = exit_status.FAILED, str(error)
    finally:
        hide_log(log)
    if failure is not None:
        fail(failure, status)
    warning = lost_output_warning()
    if warning is not None and (has_reader() or not only_prints):
        write_error(warning)
    raise typer.Exit(max(status, exit_status.FAILED) if warning is not None and only_prints else status)
