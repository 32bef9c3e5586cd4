"""Run a command's coroutine in an event loop that ends even if a thread hangs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .. import UploadError
from .signals import Signals


class Stopped(Exception):
    """A signal stopped the command, which has cleaned up."""

    def __init__(self, by: int) -> None:
        super().__init__(by)
        self.by = by


class _Threads(ThreadPoolExecutor):
    """A default executor for the loop that is closed without waiting for its threads, one of which may hang."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)


def run(work: Callable[[], Coroutine[Any, Any, int]], on_terminate: Callable[[], None] | None = None) -> int:
    """Run a command's coroutine in a new loop and return its exit status.

    Args:
        work: The command.
        on_terminate: Called at the first SIGTERM, instead of cancelling the command.

    Raises:
        Stopped: A signal arrived before it ended.
    """
    first: int | None = None

    async def until_stopped() -> int:
        nonlocal first
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.set_default_executor(_Threads(thread_name_prefix="aioframeio-upload-cli"))

        def stop() -> None:
            # Through the loop: the handler may run in the middle of any step, including the loop's own.
            gently = on_terminate if signals.first == signal.SIGTERM else None
            loop.call_soon_threadsafe(gently or task.cancel)

        with Signals(stop) as signals:
            try:
                return await work()
            finally:
                first = signals.first

    # An error after the signal is a consequence of stopping, not a failure to report.
    try:
        return asyncio.run(until_stopped())
    except (asyncio.CancelledError, UploadError):
        if first is None:
            raise
        raise Stopped(first) from None
