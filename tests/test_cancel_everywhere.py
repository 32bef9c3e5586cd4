"""An upload that is cancelled at any of its suspension points stops within a second and leaves what it should."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import on_both_loops, on_disk, open_files, some_bytes, uploader_on
from suspensions import Suspensions

from aioframeio_upload import (
    Limits,
    PartCompleted,
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

SIZE = 2 * PART


class OwnError(Exception):
    """Raised by a caller's block."""


# -- ways to cancel ----------------------------------------------------------------------------------------------------
# Each uses the upload, says what cancels it (`arm`), and returns when the upload was cancelled so. It raises what it
# should not have seen; where the upload came to its end first, it returns too.

Arm = Callable[[Callable[[], object]], None]
Way = Callable[[Upload, Uploader, Arm], Awaitable[None]]


async def by_cancel(upload: Upload, uploader: Uploader, arm: Arm) -> None:
    arm(upload.cancel)
    try:
        await upload
    except UploadCancelled:
        return


async def by_its_task(upload: Upload, uploader: Uploader, arm: Arm) -> None:
    task = asyncio.create_task(upload)
    arm(task.cancel)
    await asyncio.wait([task])
    assert task.cancelled() or task.result()


async def by_an_exception_in_its_block(upload: Upload, uploader: Uploader, arm: Arm) -> None:
    leave = asyncio.Event()
    arm(leave.set)
    try:
        async with upload:
            waiting = asyncio.ensure_future(leave.wait())
            await asyncio.wait([waiting, asyncio.ensure_future(anext_end(upload))], return_when="FIRST_COMPLETED")
            raise OwnError
    except OwnError:
        leave.set()
        await waiting


async def anext_end(upload: Upload) -> None:
    async for _ in upload:
        pass


async def by_a_timeout(upload: Upload, uploader: Uploader, arm: Arm) -> None:
    try:
        async with asyncio.timeout(None) as timeout:
            arm(lambda: timeout.reschedule(0))
            await upload
            arm(lambda: None)
    except TimeoutError:
        return


async def by_an_anyio_scope(upload: Upload, uploader: Uploader, arm: Arm) -> None:
    with anyio.CancelScope() as scope:
        arm(scope.cancel)
        await upload
    assert scope.cancelled_caught == (upload.progress is None or not isinstance(upload._file, object))


async def by_shutdown(upload: Upload, uploader: Uploader, arm: Arm) -> None:
    stopping: list[asyncio.Task[None]] = []
    upload.start()
    arm(lambda: stopping.append(asyncio.create_task(uploader.shutdown(0))))
    try:
        await upload
    except asyncio.CancelledError:
        assert stopping
    await asyncio.gather(*stopping)
