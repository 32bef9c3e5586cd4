"""Handle SIGINT, SIGTERM, SIGHUP and SIGBREAK: the first stops cleanly, the second ends the process at once."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from . import exit_status

WORDS = {
    "SIGINT": "interrupted",
    "SIGTERM": "terminated",  # on Windows raised only by a process in itself
    "SIGHUP": "hung up",  # the terminal was closed
    # Windows: Ctrl-Break, which is also all that one process can send to another (CTRL_BREAK_EVENT); and the console's
    # window was closed, or the user logs off (Microsoft's reference of `signal` and `SetConsoleCtrlHandler`).
    "SIGBREAK": "interrupted",
}


def words_of(signals: object) -> dict[int, str]:
    """Return the words for the signals that a system has, by number."""
    return {getattr(signals, name): word for name, word in WORDS.items() if hasattr(signals, name)}


SIGNAL_WORDS = words_of(signal)
"""The signals that stop a command, each with the word that is printed for it."""

IDLE_THREAD_TIMEOUT = 0.5
"""Seconds in which the idle threads of a closed pool end, on a busy machine too."""


def restore_default_sigint() -> None:
    """Let Ctrl-C end the process at once and without a traceback, even during an import."""
    # Some shells let programs in the background ignore it, and that must stay so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Signals:
    """Handle the signals inside the block.

    The first signal calls `stop` and restores the default handling, so the second ends the process, whatever its
    threads wait for. Python runs no handler while the main thread is blocked in a call, and reports two signals within
    a few milliseconds as one. So a thread counts them as well, by the byte that the interpreter writes for each one to
    its wakeup descriptor (`signal.set_wakeup_fd`), and ends the process at the second.

    Handlers can be set in the main thread only; in any other, the block does nothing.

    Args:
        stop: Called at the first signal, between any two bytecode instructions of the main thread.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._arrived: list[int] = []
        self._stop = stop
        self._previous: dict[int, Any] = {}
        self._hook: Callable[[sys.UnraisableHookArgs], Any] | None = None
        """The previous `sys.unraisablehook`."""
        self._wakeup: tuple[int, int] | None = None
        """The write end of our pipe, and the descriptor that the interpreter wrote to before."""

    @property
    def first(self) -> int | None:
        """The first signal that arrived."""
        return self._arrived[0] if self._arrived else None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        # An ignored signal stays ignored: `nohup` ignores SIGHUP, and a shell may ignore SIGINT for a job with `&`.
        handled = [number for number in SIGNAL_WORDS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        if sys.platform != "win32":  # asyncio's loop there needs the wakeup descriptor for itself
            self._count(frozenset(handled))
        self._hook, sys.unraisablehook = sys.unraisablehook, self._handle_unraisable
        for number in handled:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.first is not None:
            return  # the process is about to end; the next signal must end it at once
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._wakeup is not None:
            writing, before = self._wakeup
            signal.set_wakeup_fd(before)
            os.close(writing)  # ends the thread
        if self._hook is not None:
            sys.unraisablehook = self._hook

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # The handler is interrupted by itself if a second signal arrives now, so the list decides: `append` is atomic.
        self._arrived.append(number)
        if len(self._arrived) > 1:
            os._exit(exit_status.after_signal(number))
        for handled in self._previous:
            signal.signal(handled, signal.SIG_DFL)
        self._stop()

    def _handle_unraisable(self, error: sys.UnraisableHookArgs) -> None:
        """End the process at a signal that the interpreter recorded, but whose handler is gone when it looks for it.

        The system may deliver a signal to any thread, at any moment in `_handle` and `__exit__`. CPython
        (`Modules/signalmodule.c`, bpo-43406) would drop the signal and print a traceback.
        """
        lost = re.fullmatch(r"Signal (\d+) ignored due to race condition", str(error.exc_value))
        if isinstance(error.exc_value, OSError) and lost is not None:
            os._exit(exit_status.after_signal(int(lost[1])))
        if self._hook is not None:
            self._hook(error)

    def _count(self, handled: frozenset[int]) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._wakeup = writing, signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(
            target=_end_at_second_signal, args=(reading, handled), name="aioframeio-upload-signals", daemon=True
        ).start()


def _end_at_second_signal(reading: int, handled: frozenset[int]) -> None:
    count = 0
    while numbers := os.read(reading, 512):
        for number in numbers:
            count += number in handled
            if count == 2:
                os._exit(exit_status.after_signal(number))
    os.close(reading)


def exit_process(status: int) -> NoReturn:
    """End the process with this status, without waiting for a thread that hangs.

    The interpreter would wait for every non-daemon thread, and a thread that reads from a dead mount or writes to a
    stopped terminal cannot be ended.
    """
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(IDLE_THREAD_TIMEOUT)
            if thread.is_alive():
                os._exit(status)
    sys.exit(status)
