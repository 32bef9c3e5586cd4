"""What many wait for, found once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ._core.errors import ApiError, UploadError
from ._core.retry import may_pass

V = TypeVar("V")


class Once(Generic[V]):
    """The answers to questions, each asked once however many ask; a refusal is an answer, too.

    A fault that may pass (no answer, a 5xx, a 429) is told to those who wait, and the next asks again.
    """

    def __init__(self, find: Callable[[str], Awaitable[V]]) -> None:
        self._find = find
        self._answers: dict[str, V | UploadError] = {}
        self._asking: dict[str, asyncio.Future[UploadError | None]] = {}
        """What is being asked, and the passing fault that came of it."""

    async def get(self, key: str) -> V:
        """Give the answer.

        Raises:
            UploadError: It was refused; the same error each time.
        """
        while key not in self._answers:
            if key in self._asking:
                fault = await asyncio.shield(self._asking[key])
                if fault is not None:
                    raise fault.with_traceback(None)
                continue  # and look again: who asked may have been cancelled
            asked = self._asking[key] = asyncio.get_running_loop().create_future()
            passing = None
            try:
                self._answers[key] = await self._find(key)
            except UploadError as error:
                if isinstance(error, ApiError) and may_pass(error.status):
                    passing = error
                    raise
                self._answers[key] = error
            finally:
                del self._asking[key]
                asked.set_result(passing)
        answer = self._answers[key]
        if isinstance(answer, UploadError):
            raise answer.with_traceback(None)  # or it would grow by each who asks
        return answer
