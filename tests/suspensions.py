"""Every point at which an upload gives the loop back, and something that is done at one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

HERE: ContextVar[Suspensions | None] = ContextVar("HERE", default=None)
"""Whose suspensions are counted: set in the upload's own task, and so in whatever is started from there."""


class Suspensions:
    """Counts the suspensions of an upload's own task and of every task that it starts, over all of them in one order.

    The parts' workers, what ticks, opens and creates, and on Python 3.11 aiohttp's writers (later ones begin eagerly,
    past any task factory).

    Args:
        at: At which suspension `act` is called, from 1; 0: at none.
    """

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.act: Callable[[], object] = lambda: None
        self.acted = False
        self.count = 0
        self.tasks: list[asyncio.Task[Any]] = []
        """The upload's own first, then those that it started."""
        self.places: set[str] = set()
        """The functions of the library that were waiting, each time: `Delivery.run`, `confirm`, ..."""

    def suspended(self, coroutine: Any) -> None:
        """Count; called inside the task's own step, so that what is done there comes before all else."""
        self.count += 1
        self.places |= set(_waiting(coroutine))
        if self.count == self.at:
            self.acted = True
            self.act()

    def factory(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """Make a task; a counted one where it is the upload's, or started by one of those."""
        context = options.pop("context", None) or copy_context()
        if getattr(coroutine, "__qualname__", "") == "Upload._run":
            context.run(HERE.set, self)
        if context.get(HERE) is not self:
            return asyncio.Task(coroutine, loop=loop, context=context, **options)
        task: asyncio.Task[Any] = asyncio.Task(_Counted(coroutine, self), loop=loop, context=context, **options)
        self.tasks.append(task)
        return task

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count in this block."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self.factory)
        try:
            yield
        finally:
            loop.set_task_factory(None)


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells each of its suspensions."""

    def __init__(self, inner: Any, suspensions: Suspensions) -> None:
        self._inner = inner
        self._suspensions = suspensions
        self.__name__ = inner.__name__
        self.__qualname__ = inner.__qualname__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # anyio looks at `cr_suspended` and its kin

    def send(self, value: Any) -> Any:
        yielded = self._inner.send(value)
        self._suspensions.suspended(self._inner)
        return yielded

    def throw(self, *exception: Any) -> Any:
        yielded = self._inner.throw(*exception)
        self._suspensions.suspended(self._inner)
        return yielded

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("driven by a task")


def _waiting(coroutine: Any) -> Iterator[str]:
    """The library's functions on the stack of a suspended coroutine."""
    while coroutine is not None:
        code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "ag_code", None)
        if code is not None and "aioframeio_upload" in code.co_filename:
            yield code.co_qualname
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
