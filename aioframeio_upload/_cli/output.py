"""Write to stdout and stderr, with control characters escaped and lost streams tolerated.

No other module of the command line or the demo writes to them, and a test checks that. Live displays use
`open_console`: Rich makes the escape sequences there, and the displays pass it escaped text only.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from .format import escape

if TYPE_CHECKING:
    from rich.console import Console

FINAL_WRITE_TIMEOUT = 1.0
"""Seconds for the last line after a signal: the terminal may be stopped, or gone."""


def write_line(line: str) -> None:
    """Write a line to stdout."""
    _write(line, sys.stdout)


def write_error(line: str) -> None:
    """Write a line to stderr."""
    _write(line, sys.stderr)


def write_json(line: str) -> None:
    """Write a line of JSON to stdout."""
    _write(line.replace("\x7f", "\\u007f"), sys.stdout)  # the only control character that `json` does not escape


def _write(line: str, stream: TextIO) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(escape(line).encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def write_within(seconds: float, write: Callable[[], None]) -> None:
    """Call `write` in a thread, and return after this time even if it hangs."""
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(seconds)


def is_terminal() -> bool:
    """Return whether stdout is a terminal that a live display can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def is_error_terminal() -> bool:
    """Return whether stderr is a terminal, which is then taken for the one on which stdout is."""
    return sys.stderr.isatty()


def can_ask() -> bool:
    """Return whether a person can be asked something: stdin and stderr are a terminal in whose foreground this is.

    Questions are written to stderr, so that stdout has only what was asked for.
    """
    from .typed_lines import has_person

    return sys.stderr.isatty() and has_person()


def has_hyperlinks(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal shows hyperlinks (OSC 8), as far as its variables say; `FORCE_HYPERLINK` decides.

    No terminal can be asked. The variables are those of the npm package `supports-hyperlinks`, whose `FORCE_HYPERLINK`
    other programs obey, too; the versions are not compared, as all are older than five years.
    """
    forced = environment.get("FORCE_HYPERLINK")
    if forced is not None:
        return forced not in ("", "0", "false")
    if environment.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm", "vscode", "ghostty"):
        return True
    if environment.get("TERM") in ("xterm-kitty", "alacritty", "foot", "xterm-ghostty"):
        return True
    return any(environment.get(name) for name in ("WT_SESSION", "VTE_VERSION", "KONSOLE_VERSION", "DOMTERM"))


def is_plain_link(link: str) -> bool:
    """Return whether a link can be part of an escape sequence: nothing in it could end that."""
    return link.startswith("https://") and link.isascii() and link.isprintable()


def open_console() -> Console:
    """Return a Rich console on stdout, for live displays."""
    from rich.console import Console

    class Screen(Console):
        def show_cursor(self, show: bool = True) -> bool:
            """Do nothing: a hidden cursor would stay hidden if the process is killed."""
            return False

    return Screen(highlight=False, markup=False, emoji=False)


class TolerantFile(io.FileIO):
    """A stream that keeps its first failed write instead of raising it, and drops later data. Uploads continue."""

    error: OSError | None = None
    """The failed write."""

    def write(self, data: Any) -> int:
        """Write what the stream accepts; after an error, pretend to have written it all."""
        while self.error is None:
            try:
                written = super().write(data)
                if written is not None:
                    return written
                # Another program with the same terminal or pipe has made it non-blocking. (Windows can wait for sockets
                # only, and raises here.)
                select.select([], [self.fileno()], [])
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def stdout_error() -> OSError | None:
    """Return the error that ended the output to stdout, or None."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, TolerantFile) else None


def lost_output_warning() -> str | None:
    """Return a warning if output to stdout was lost, else None."""
    error = stdout_error()
    return None if error is None else f"warning: output was lost: stdout: {error.strerror}"


def has_reader() -> bool:
    """Return whether stdout still has a reader: its error, if there is one, is not a closed pipe."""
    error = stdout_error()
    return error is None or error.errno != errno.EPIPE


def open_standard_streams() -> None:
    """Make stdin, stdout and stderr usable at the start of the process, even if the caller closed them.

    A closed descriptor's number would go to the next file that is opened, such as the journal, and whatever writes to
    stdout or stderr would then damage it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # stays open
    sys.stdout, sys.stderr = _tolerant(sys.stdout, 1), _tolerant(sys.stderr, 2)


def _tolerant(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None and sys.platform == "win32" and stream.isatty():
        return stream  # a Windows console is written to in UTF-16, by calls of its own
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(TolerantFile(number, "w", closefd=False)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )
