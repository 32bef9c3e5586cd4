"""What holds bytes back on purpose: one upload's pause, and the bandwidth of all."""

from __future__ import annotations

import asyncio
import time

from .._core.pacing import Bucket

BURST = 0.05
"""Seconds' worth of bytes that may go at once: small against any upload, so that the limit holds from the start."""


class Gate:
    """One upload's pause. Closed and opened by its handle; its bodies and workers wait at it."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()
        self.given_up = False
        """By `Upload.cancel()`: what was sent is not to be gone on with."""

    @property
    def is_open(self) -> bool:
        """Whether bytes may go."""
        return self._opened.is_set()

    def close(self) -> None:
        """Let nothing through from now on."""
        self._opened.clear()

    def open(self) -> None:
        """Let everything through again."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait until it is open."""
        await self._opened.wait()


class Bandwidth:
    """The bytes a second of all uploads of an Uploader together; owned by its resources."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._bucket = None
        if bytes_per_second is not None:
            self._bucket = Bucket.full(bytes_per_second * BURST, BURST, time.monotonic())

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._bucket is not None

    def reserve(self, size: int) -> float:
        """Take bytes and give the seconds until they may go; who asks first goes first."""
        return 0.0 if self._bucket is None else self._bucket.reserve(time.monotonic(), size)
