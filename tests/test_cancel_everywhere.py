"""An upload that is cancelled at any of its suspension points stops within a second and leaves what it should."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import on_both_loops, on_disk, open_files, some_bytes, uploader_on
from suspensions import Suspensions

from aioframeio_upload import (
    Event,
    Limits,
    PartCompleted,
    Progress,
    Upload,
    UploadCancelled,
    UploadCompleted,
    Uploader,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
)
from aioframeio_upload.testing import FakeFrameio, Fault

PART = 300_000
"""Bytes: two blocks."""

SECOND = 3.0
"""The promised one, with slack: the machine may be busy."""

Act = Callable[[], object]


class OwnError(Exception):
    """Raised by a caller's block."""


# -- ways to cancel: each says what cancels (`arm`), and raises what the caller sees -----------------------------------


async def by_cancel(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    arm(upload.cancel)
    await upload


async def by_its_task(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    task = asyncio.create_task(upload)
    arm(task.cancel)
    await task


async def by_an_exception_in_its_block(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    leave = asyncio.Event()
    arm(leave.set)
    async with upload:
        upload._feed.end  # noqa: B018
        async for _ in _until(leave, upload):
            pass
        if leave.is_set():
            raise OwnError


async def by_a_timeout(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    async with asyncio.timeout(None) as timeout:
        arm(lambda: timeout.reschedule(0))
        await upload


async def by_an_anyio_scope(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    with anyio.CancelScope() as scope:
        arm(scope.cancel)
        await upload
    if scope.cancelled_caught:
        raise OwnError


async def by_shutdown(upload: Upload, uploader: Uploader, arm: Callable[[Act], None]) -> None:
    stopping: list[asyncio.Task[None]] = []
    arm(lambda: stopping.append(asyncio.create_task(uploader.shutdown(0))))
    try:
        await upload
    finally:
        await asyncio.gather(*stopping)
