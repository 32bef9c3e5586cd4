"""What many wait for, found once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ._core.errors import UploadError

V = TypeVar("V")


class Once(Generic[V]):
    """The answers to questions, each asked once however many ask; a refusal is an answer, too."""

    def __init__(self, find: Callable[[str], Awaitable[V]]) -> None:
        self._find = find
        self._answers: dict[str, V | UploadError] = {}
        self._asking: dict[str, asyncio.Event] = {}

    async def get(self, key: str) -> V:
        """Give the answer.

        Raises:
            UploadError: It was refused; the same error each time.
        """
        while key not in self._answers:
            if key in self._asking:
                await self._asking[key].wait()  # and look again: who asked may have been cancelled
                continue
            asked = self._asking[key] = asyncio.Event()
            try:
                self._answers[key] = await self._find(key)
            except UploadError as error:
                self._answers[key] = error
            finally:
                del self._asking[key]
                asked.set()
        answer = self._answers[key]
        if isinstance(answer, UploadError):
            raise answer.with_traceback(None)  # or it would grow by each who asks
        return answer
