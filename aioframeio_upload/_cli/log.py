"""Show the library's log with `--verbose`."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .output import write_error


class StderrLog(logging.Handler):
    """Write log records to stderr in a thread: its reader may be slow, and the event loop must not wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._may_write = threading.Event()
        self._may_write.set()
        self._thread = threading.Thread(target=self._write, name="aioframeio-upload-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record as one line, followed by the lines of its traceback."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  # as `logging` itself does: a malformed record must break no upload
            self.handleError(record)
            return
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        self._lines.put(level + message)
        if record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                self._lines.put("    " + line)

    def pause(self) -> None:
        """Write nothing until `resume`: a live display is drawn, and stderr may be the same terminal."""
        self._may_write.clear()

    def resume(self) -> None:
        """Write what was held back."""
        self._may_write.set()

    def close(self) -> None:
        """Write what is queued; give up after a second if stderr blocks."""
        super().close()
        self._lines.put(None)
        self.resume()
        self._thread.join(1.0)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            self._may_write.wait()
            write_error(line)


def show_log(*, verbose: bool) -> StderrLog:
    """Show the library's log on stderr and return its handler.

    Without `verbose` that is the warnings, and at INFO the API calls that are retried outside an upload: for these
    there is no event.
    """
    log, handler = logging.getLogger("aioframeio_upload"), StderrLog()
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.addHandler(handler)
    log.propagate = False
    # Frame.io's SDK logs what it raises as well; without a handler, logging would print that to stderr.
    logging.getLogger("frameio").addHandler(logging.NullHandler())
    return handler


def hide_log(handler: StderrLog) -> None:
    """Remove the handler, write what it still holds, and leave the logger as it was: a program may call a command."""
    log = logging.getLogger("aioframeio_upload")
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)
    log.propagate = True
    handler.close()


@contextmanager
def log_held() -> Iterator[None]:
    """Hold back the lines of the log inside the block."""
    found = [one for one in logging.getLogger("aioframeio_upload").handlers if isinstance(one, StderrLog)]
    for handler in found:
        handler.pause()
    try:
        yield
    finally:
        for handler in found:
            handler.resume()
