"""Write to the terminal: the only module that does, so that no control character gets there.

Nothing else of it touches stdout or stderr (a test looks). Drawings go through `drawing_console`: Rich makes the escape
sequences there, and what it draws is made of `shown` words.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from .format import shown

if TYPE_CHECKING:
    from rich.console import Console

LAST_WORDS = 1.0
"""Seconds for what is said after a signal: the terminal may take nothing any more."""


def say(line: str) -> None:
    """Write a line to stdout."""
    _write(line, sys.stdout)


def complain(line: str) -> None:
    """Write a line to stderr."""
    _write(line, sys.stderr)


def say_json(line: str) -> None:
    """Write a line of JSON to stdout."""
    _write(line.replace("\x7f", "\\u007f"), sys.stdout)  # the one control character that `json` leaves as it is


def _write(line: str, stream: TextIO) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(shown(line).encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def within(seconds: float, write: Callable[[], None]) -> None:
    """Write, but go on after so many seconds where that hangs."""
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(seconds)


def is_terminal() -> bool:
    """Return whether stdout can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def drawing_console() -> Console:
    """Return what Rich draws on."""
    from rich.console import Console

    class Screen(Console):
        def show_cursor(self, show: bool = True) -> bool:
            """Leave the cursor as it is: one that was hidden would stay so where the process is killed."""
            return False

    return Screen(highlight=False, markup=False, emoji=False)


class Lasting(io.FileIO):
    """A descriptor to write to, whose failures are kept and not raised: only the display is lost with it."""

    lost: OSError | None = None
    """Why nothing is written any more."""

    def write(self, data: Any) -> int:
        """Write as much as is taken; all, where nothing can be written any more."""
        while self.lost is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.lost = error
                break
            if written is not None:
                return written
            # Another program that has this terminal or pipe too has made it non-blocking.
            select.select([], [self.fileno()], [])
        return memoryview(data).nbytes


def lost() -> OSError | None:
    """Return why stdout is lost, or None."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, Lasting) else None


def loss() -> str | None:
    """Return a sentence on what was not shown; None where all of it was, or where its reader did not want more."""
    error = lost()
    if error is None:
        return None
    return f"warning: what was to be shown is lost: stdout: {error.strerror}"


def has_reader() -> bool:
    """Return whether somebody still reads stdout."""
    error = lost()
    return error is None or error.errno != errno.EPIPE


def open_standard_streams() -> None:
    """Make stdin, stdout and stderr usable, whatever state the caller left them in. For the start of the process.

    A descriptor that is closed would be given to the next file that is opened, perhaps a journal, which everything that
    writes to stdout or stderr would then damage.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  it stays open
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)


def _lasting(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None and sys.platform == "win32" and stream.isatty():
        return stream  # a console takes UTF-16 by calls of its own
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Lasting(number, "w", closefd=False)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )
