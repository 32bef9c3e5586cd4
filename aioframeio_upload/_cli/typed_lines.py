"""Read what a person types or pastes, without holding up the event loop or the end of the process."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from .._core.redact import Secret

LONGEST = 1 << 16
"""Characters of a line."""

Line = Secret[str | None]


def has_person() -> bool:
    """Return whether somebody can answer: stdin is the terminal, and this command is in its foreground."""
    if not sys.stdin.isatty():
        return False
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(0) == os.getpgrp()  # a job in the background would be stopped by reading
    except OSError:
        return True  # it is not our controlling terminal, and so has no foreground


@asynccontextmanager
async def typed_lines(*, hidden: bool = False) -> AsyncIterator[asyncio.Queue[Line]]:
    """Yield a queue of the lines that arrive on stdin; at its end, one that is None.

    Args:
        hidden: Do not show what is typed, and accept more than the terminal's longest line: macOS cuts at 1,024
            characters, and the address that a browser ends at may have more.
    """
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Line]()

    def put(line: Line) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(queue.put_nowait, line)

    wake, stop = os.pipe()
    # Not sys.stdin: a daemon thread that holds its lock aborts the interpreter at exit.
    thread = threading.Thread(target=_read, args=(wake, put), name="aioframeio-upload-stdin", daemon=True)
    with _hidden() if hidden else _shown():
        thread.start()
        try:
            yield queue
        finally:
            os.close(stop)


def _read(wake: int, put: Callable[[Line], None]) -> None:
    pending = bytearray()
    try:
        while True:
            if sys.platform != "win32":  # there, the thread ends with its next line
                ready, _, _ = select.select([0, wake], [], [])
                if wake in ready:
                    return
            block = os.read(0, 4096)
            pending += block
            while (end := _end_of_line(pending)) >= 0:
                put(Secret(_text(pending[:end])))
                del pending[: end + 1]
            if not block or len(pending) > LONGEST:
                if pending:
                    put(Secret(_text(pending)))
                put(Secret(None))
                return
    except OSError:
        put(Secret(None))  # the terminal is gone
    finally:
        os.close(wake)


def _end_of_line(pending: bytearray) -> int:
    found = [at for at in (pending.find(b"\n"), pending.find(b"\r")) if at >= 0]
    return min(found, default=-1)


def _text(line: bytearray) -> str:
    kept = bytearray()
    for byte in line:
        if byte in (0x08, 0x7F):  # a terminal that passes keys on as they are leaves erasing to us
            del kept[-1:]
        else:
            kept.append(byte)
    return kept.decode("utf-8", "replace")


@contextmanager
def _shown() -> Iterator[None]:
    yield


@contextmanager
def _hidden() -> Iterator[None]:
    """Switch off echo and line editing of the terminal inside the block; Ctrl-C still works."""
    if sys.platform == "win32" or not has_person():
        yield
        return
    import termios

    before = termios.tcgetattr(0)
    quiet = termios.tcgetattr(0)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 1, 0
    termios.tcsetattr(0, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)
