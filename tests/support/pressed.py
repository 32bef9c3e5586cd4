"""A program on its own pseudo-terminal, in which a test can press Ctrl-C."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

OWN_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Make stdin the controlling terminal of this process group, and execute the program. A SIGHUP is not ignored, even if
the tests run under `nohup`."""

HANG = 40.0
"""Seconds after which a program that got two signals is considered to hang."""


class Terminal:
    """A terminal with a program in it; leaving the block ends both.

    Args:
        command: The program with its arguments.
        environment: Its complete environment.
        folder: Its working folder.
        is_read: Whether its output is read; otherwise the terminal is full from the beginning.
    """

    def __init__(
        self, command: list[str], environment: Mapping[str, str], folder: Path, *, is_read: bool = True
    ) -> None:
        import pty

        self._leader, follower = pty.openpty()
        self._read = bytearray()
        self._news = threading.Condition()
        self._over, self._end = os.pipe()
        self._reader = threading.Thread(target=self._take if is_read else self._leave, daemon=True)
        if not is_read:
            fill(follower)
        self._reader.start()
        self.program = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", OWN_TERMINAL, *command],
            env=dict(environment) | {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"},
            cwd=folder,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.program.kill()
        self.program.wait()
        self._close()

    def _close(self) -> None:
        """Close the terminal once no thread reads it: a read in progress would keep it open."""
        if self._leader >= 0:
            os.close(self._end)
            self._reader.join()
            os.close(self._over)
            os.close(self._leader)
            self._leader = -1

    def _leave(self) -> None:
        """Read nothing."""

    def _take(self) -> None:
        while True:
            ready, _, _ = select.select([self._leader, self._over], [], [])
            try:
                block = os.read(self._leader, 65536) if self._leader in ready else b""
            except OSError:  # Linux raises EIO when the other end is closed
                block = b""
            with self._news:
                self._read += block
                self._news.notify_all()
            if not block:
                return

    @property
    def written(self) -> str:
        """Return what the program has written."""
        return self._read.decode("utf-8", "replace")

    def wait_for(self, word: str) -> None:
        """Wait until the program has written a text.

        Raises:
            TimeoutError: It did not write it in time.
        """
        with self._news:
            if not self._news.wait_for(lambda: word in self.written, HANG):
                raise TimeoutError(self.written)

    def hang_up(self) -> int:
        """Close the terminal, as if its window was closed or the connection lost; return the exit status."""
        self._close()
        return self.program.wait(HANG)

    def send(self, number: signal.Signals, times: int, spacing: float) -> int:
        """Send a signal a number of times and return the exit status; SIGINT is sent as a key press.

        Raises:
            subprocess.TimeoutExpired: The program does not end.
        """
        for press in range(times):
            if press:
                time.sleep(spacing)  # the interval between the signals is what is tested
            if number is signal.SIGINT:
                os.write(self._leader, b"\x03")
            elif self.program.poll() is None:
                self.program.send_signal(number)
        status = self.program.wait(HANG)
        self._reader.join(HANG)
        return status


def fill(terminal: int) -> None:
    """Write into a terminal that nobody reads until it accepts nothing more."""
    os.set_blocking(terminal, False)
    try:
        while True:
            os.write(terminal, b"." * 512)
    except BlockingIOError:
        os.set_blocking(terminal, True)


def read_to_end(descriptor: int) -> Iterator[bytes]:
    """Yield what arrives at a terminal until its other end is closed."""
    while True:
        try:
            block = os.read(descriptor, 65536)
        except OSError:  # Linux raises EIO when the other end is closed
            return
        if not block:
            return
        yield block
