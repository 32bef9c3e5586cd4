"""Make each folder once, however many uploads and calls of an Uploader find it missing at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio

from .._core.errors import UploadError

Place: TypeAlias = tuple[str, str, str]
"""A folder to be: its account, its parent, and its name."""

REMEMBERED = 4096
"""Folders whose making is remembered. Listings of a folder's upload are as old as the upload, and do not show what
another one has made since."""

STOPPING = 5.0
"""Seconds for a request that nobody waits for to end, once it is cancelled."""


@dataclass(slots=True, eq=False)
class _Making:
    """One folder that is being made. Owned by those who wait for it: the last one to go ends it."""

    task: asyncio.Task[str]
    waiting: int = 0
    is_claimed: bool = False
    """Whether one of them counts the folder as its own."""


class MadeFolders:
    """The folders that an Uploader makes, and has made. Owned by its `FrameioApi`.

    The service takes equal names, so that whoever looks and then makes could make a second folder meanwhile.
    """

    def __init__(self) -> None:
        self._making: dict[Place, _Making] = {}
        self._made: dict[Place, tuple[str, float]] = {}
        """The ID of each folder, and when it was made; the oldest first."""

    async def make(
        self, place: Place, make: Callable[[], Coroutine[Any, Any, str]], *, looked_at: float | None
    ) -> tuple[str, bool]:
        """Return the ID of a folder that was missing, and whether it is new and the caller the first to get it.

        The request goes on as long as anybody waits for it: a caller that is cancelled costs the others nothing.

        Args:
            place: Which folder.
            make: Makes it.
            looked_at: When the caller saw that it is missing (`anyio.current_time`). What was made since counts; what
                was made before has been deleted. None: the parent itself is new, so that anything in it counts.

        Raises:
            UploadError: It could not be made; for all who wait, the same.
        """
        made = self._made.get(place)
        if made is not None and (looked_at is None or made[1] >= looked_at):
            return made[0], False
        making = self._making.get(place)
        if making is None:
            making = self._making[place] = _Making(asyncio.create_task(self._run(place, make)))
        making.waiting += 1
        try:
            folder_id = await asyncio.shield(making.task)
        except UploadError as error:
            error.__traceback__ = None  # otherwise each caller would lengthen the traceback
            raise
        finally:
            making.waiting -= 1
            if not making.waiting:
                del self._making[place]
                await _stop(making.task)
        is_new, making.is_claimed = not making.is_claimed, True
        return folder_id, is_new

    async def _run(self, place: Place, make: Callable[[], Coroutine[Any, Any, str]]) -> str:
        folder_id = await make()
        self._made.pop(place, None)
        self._made[place] = folder_id, anyio.current_time()
        while len(self._made) > REMEMBERED:
            del self._made[next(iter(self._made))]
        return folder_id


async def _stop(task: asyncio.Task[str]) -> None:
    """Cancel a task that nobody waits for any more, and read how it ended."""
    if not task.done():
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task], timeout=STOPPING)
    if task.done() and not task.cancelled():
        task.exception()
