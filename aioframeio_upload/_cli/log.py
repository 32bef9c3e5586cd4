"""Show the library's log with `--verbose`."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .output import complain


class LinesOnStderr(logging.Handler):
    """Write records in a thread: whoever reads stderr may be slow, and the event loop must not wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._let_go = threading.Event()
        self._let_go.set()
        self._thread = threading.Thread(target=self._write, name="aioframeio-upload-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, as one line, and a line more for each of a traceback."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  as every handler of `logging`: a record that is wrong breaks no upload
            self.handleError(record)
            return
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        self._lines.put(level + message)
        if record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                self._lines.put("    " + line)

    def hold(self) -> None:
        """Write nothing until `let_go`: something is drawn, and stderr may be the same terminal."""
        self._let_go.clear()

    def let_go(self) -> None:
        """Write what was held."""
        self._let_go.set()

    def close(self) -> None:
        """Write what is queued, unless stderr takes nothing."""
        super().close()
        self._lines.put(None)
        self.let_go()
        self._thread.join(1.0)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            self._let_go.wait()
            complain(line)


def show_log(*, verbose: bool) -> LinesOnStderr:
    """Show the log from now on, on the handler that is returned; without `verbose` only what a user should know.

    That is its warnings, and at INFO the calls that are made again and that no upload's event tells of.
    """
    log, lines = logging.getLogger("aioframeio_upload"), LinesOnStderr()
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.addHandler(lines)
    log.propagate = False
    return lines


def hide_log(lines: LinesOnStderr) -> None:
    """Write what is still to be written, and nothing further."""
    logging.getLogger("aioframeio_upload").removeHandler(lines)
    lines.close()


@contextmanager
def log_held() -> Iterator[None]:
    """Hold back the lines of the log while inside the block."""
    found = [one for one in logging.getLogger("aioframeio_upload").handlers if isinstance(one, LinesOnStderr)]
    for lines in found:
        lines.hold()
    try:
        yield
    finally:
        for lines in found:
            lines.let_go()
