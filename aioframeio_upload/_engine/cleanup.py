"""Bounded clean-up that a cancellation cannot interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import anyio


async def wait_uncancelled(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all are done, for what is bounded by itself; a cancellation meanwhile is raised after that.

    anyio's shield alone holds off anyio's scopes only.
    """
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not all(task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
