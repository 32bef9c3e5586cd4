"""The event loop that an Uploader belongs to; all of it has to be used there."""

from __future__ import annotations

import asyncio
import sys
import threading

ELSEWHERE = (
    "this Uploader was entered on another event loop. Use it and its uploads there; from another thread, by"
    " asyncio.run_coroutine_threadsafe(...) or loop.call_soon_threadsafe(upload.cancel)"
)
NO_LOOP = "no running event loop: an Uploader needs asyncio's"
TRIO = (
    "this is trio: an Uploader needs asyncio. Run it by asyncio.run(...) in a thread of its own, or with trio-asyncio"
)


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        RuntimeError: No loop is running, or trio runs here.
    """
    loop = _loop_here()
    if _is_trio():
        raise RuntimeError(TRIO)
    if loop is None:
        raise RuntimeError(NO_LOOP)
    return loop


def _loop_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _is_trio() -> bool:
    """Return whether the current task is one of trio's; in guest mode, asyncio's loop runs beneath it."""
    # Not imported: who runs trio has it, and nobody else needs it.
    trio = sys.modules.get("trio")
    try:
        return trio is not None and bool(trio.lowlevel.in_trio_task())
    except AttributeError:  # half imported, or too old to be asked
        return False


class OwnerLoop:
    """The event loop of an Uploader. A loop is not thread-safe, and its futures cannot be awaited elsewhere."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def settle(self) -> None:
        """Make the running loop the owner.

        Raises:
            RuntimeError: No loop is running.
        """
        self._loop, self._thread = running_loop(), threading.get_ident()

    def check(self) -> None:
        """Raise RuntimeError unless the owner's loop runs here; before `settle`, any loop.

        Call it before any state is read or changed.
        """
        if running_loop() is not (self._loop or running_loop()):
            raise RuntimeError(ELSEWHERE)

    def check_thread(self) -> None:
        """Do the same for calls that need no running loop: plain code of the loop's thread may make them too."""
        if self._loop is None or (_loop_here() is None and threading.get_ident() == self._thread):
            return
        self.check()
