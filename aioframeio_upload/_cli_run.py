"""How a command ends: its exit status, its complaints in a line each, and what is said after a Ctrl-C or a SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer

from ._cli_words import Usage, read_rate, shown

if TYPE_CHECKING:
    from . import Limits

P = ParamSpec("P")

INTERRUPTED = 130
TERMINATED = 143
"""128 + SIGINT, and + SIGTERM, as shells count."""


def usable(command: Callable[P, None]) -> Callable[P, None]:
    """Make what cannot be done as asked a line on stderr and exit status 2."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Usage as error:
            complain(str(error), 2)

    return run


def complain(text: str, status: int) -> NoReturn:
    """End with a line on stderr."""
    typer.echo(f"error: {shown(text)}", err=True)
    raise typer.Exit(status)


def finish(work: Callable[[], Coroutine[Any, Any, int]], left_off: Callable[[], str] = lambda: "") -> NoReturn:
    """Run it, and end with its exit status; where it was stopped, with the words for what it left."""
    import asyncio

    from . import UploadError

    try:
        status = asyncio.run(_until_terminated(work))
    except KeyboardInterrupt:
        status = INTERRUPTED
    except UploadError as error:
        from ._cli_item import worded

        complain(worded(error), 1)
    ended_by = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}.get(status)
    if ended_by is not None:
        left = left_off()
        typer.echo(ended_by + (f"; {left}" if left else ""), err=True)
    raise typer.Exit(status)


async def _until_terminated(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Do the work; a SIGTERM, as a container's stop sends, cancels it as asyncio lets a Ctrl-C do; a next one kills."""
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    is_told = False
    loop = asyncio.get_running_loop()

    def stop() -> None:
        nonlocal is_told
        # A thread may hang that the program's end waits for: on a pipe that nobody reads, on a disk.
        loop.remove_signal_handler(signal.SIGTERM)
        if not task.cancelling():
            is_told = task.cancel()

    with suppress(NotImplementedError):  # Windows has no SIGTERM that a program hears of
        loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        return await work()
    except asyncio.CancelledError:
        if not is_told:
            raise
        return TERMINATED


def limits_of(parts: int | None, bandwidth: str | None) -> Limits:
    """Give the limits that were asked for, and the library's own for the others.

    Raises:
        Usage: One of them cannot be.
    """
    from . import Limits

    asked: dict[str, int] = {}
    if parts is not None:
        asked["parts"] = parts
    if bandwidth is not None:
        asked["bandwidth"] = read_rate(bandwidth)
    try:
        return Limits(**asked)  # type: ignore[arg-type]  # its other field is a bool
    except ValueError as error:
        raise Usage(str(error)) from None


def the_journal(path: Path | None, none: bool) -> Path | None:
    """Give the journal's path; None where there is to be none.

    Raises:
        Usage: Both were asked for.
    """
    from ._cli_settings import default_journal

    if none and path is not None:
        raise Usage("--journal and --no-journal exclude each other")
    return None if none else path or default_journal()
