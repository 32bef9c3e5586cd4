"""What every test gets: both loops, debug mode, and an error for whatever blocks the loop."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

# Debug mode finds coroutines never awaited, calls from the wrong thread and slow callbacks.
DEBUG_ASYNCIO = ("asyncio", {"debug": True})
UVLOOP = ("asyncio", {"debug": True, "use_uvloop": True})


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return DEBUG_ASYNCIO


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raise a BlockingError where code called from a coroutine blocks the event loop."""
    with blockbuster_ctx() as detector:
        yield detector


def on_both_loops() -> list[Any]:
    """Parameters for `anyio_backend`: asyncio's own loop, and uvloop where there is one."""
    loops = [pytest.param(DEBUG_ASYNCIO, id="asyncio")]
    if sys.platform != "win32":
        loops.append(pytest.param(UVLOOP, id="uvloop"))
    return loops
