"""Handle SIGINT, SIGTERM and SIGHUP: the first stops cleanly, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

ENDED_BY: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
"""The signals that stop the work, each with the word for it."""

if sys.platform != "win32":
    ENDED_BY[signal.SIGHUP] = "hung up"  # the terminal was closed

IDLE = 0.5
"""Seconds within which the idle threads of a pool that was shut down end, on a busy machine too."""


def status_of(number: int) -> int:
    """Return the exit status of a program that was stopped by this signal, as shells count."""
    return 128 + number


def end_by_signals() -> None:
    """Let Ctrl-C end the process as it ends a program in C: at once and without a traceback, even inside an import."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # ignored in the background of some shells
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Signals:
    """Hear the signals while inside the block.

    After the first one the system's own handling is back, so the next one ends the process, whatever its threads wait
    for and however far the interpreter is with its end. Python runs no handler while the main thread is stuck in a
    call, and notes two signals that come within a few milliseconds as one. So a thread counts them too, by the bytes
    that the interpreter writes for each at once, and ends the process at the second one.

    Handlers can be set in the main thread only; in any other the block does nothing.

    Args:
        stop: Called at the first signal, between any two steps of the main thread's code.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.first: int | None = None
        """The signal that came first."""
        self._stop = stop
        self._before: dict[int, Any] = {}
        self._hook: Callable[[sys.UnraisableHookArgs], Any] | None = None
        """`sys.unraisablehook` as it was before."""
        self._wakeup: tuple[int, int] | None = None
        """Our end of the pipe that the interpreter writes to, and where it wrote to before."""

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        # What is ignored stays so: `nohup` ignores SIGHUP, and a shell may ignore SIGINT for what it runs with `&`.
        heard = [number for number in ENDED_BY if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        if sys.platform != "win32":  # there asyncio's loop needs the interpreter's bytes itself
            self._count(frozenset(heard))
        self._hook, sys.unraisablehook = sys.unraisablehook, self._note_unraisable
        for number in heard:
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.first is not None:
            return  # the process is ending, and the next signal is to end it at once
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._hook is not None:
            sys.unraisablehook = self._hook
        if self._wakeup is not None:
            writing, before = self._wakeup
            signal.set_wakeup_fd(before)
            os.close(writing)  # ends the thread

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        for heard in self._before:
            signal.signal(heard, signal.SIG_DFL)
        if self.first is None:
            self.first = number
            self._stop()

    def _note_unraisable(self, found: sys.UnraisableHookArgs) -> None:
        """End the process at a second signal that the interpreter noted before it called `_hear` for the first.

        CPython (`Modules/signalmodule.c`, bpo-43406) finds no handler for it any more, and would print a traceback that
        says "ignored due to race condition".
        """
        if self.first is not None and isinstance(found.exc_value, OSError) and "race condition" in str(found.exc_value):
            os._exit(status_of(self.first))
        if self._hook is not None:
            self._hook(found)

    def _count(self, heard: frozenset[int]) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._wakeup = writing, signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(
            target=_end_at_the_second, args=(reading, heard), name="aioframeio-upload-signals", daemon=True
        ).start()


def _end_at_the_second(reading: int, heard: frozenset[int]) -> None:
    count = 0
    while numbers := os.read(reading, 512):
        for number in numbers:
            count += number in heard
            if count == 2:
                os._exit(status_of(number))
    os.close(reading)


def leave(status: int) -> NoReturn:
    """End the process with this status; a thread that hangs in the system is not waited for.

    The interpreter would wait for every thread that is no daemon, and nothing can end one that reads from a dead mount
    or writes to a terminal that takes nothing.
    """
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(IDLE)
            if thread.is_alive():
                os._exit(status)
    sys.exit(status)
