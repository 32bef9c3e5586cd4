"""Every point at which an upload suspends, and an action that is executed at one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

HERE: ContextVar[Suspensions | None] = ContextVar("HERE", default=None)
"""Marks the tasks whose suspensions are counted: set in the upload's task and inherited by its child tasks."""


class Suspensions:
    """A counter of the suspensions of an upload's task and of all tasks that it starts, in one sequence.

    These are the part workers, the tickers, the tasks that open, create and delete, and on Python 3.11 aiohttp's
    writers (from 3.12 on aiohttp starts them eagerly, past any task factory; the rest of an attempt is counted there
    too).
    """

    def __init__(self) -> None:
        self.count = 0
        self.acts: dict[int, Callable[[], object]] = {}
        """Actions by number of the suspension, from 1; executed in the task's own step, before anything else runs."""
        self.was_cancelled = False
        """Whether the upload was still running when it was to be cancelled; set by the action."""
        self.when: dict[str, Callable[[], object]] = {}
        """The action at the first suspension in one of `places`."""
        self.tasks: list[asyncio.Task[Any]] = []
        """The upload's own task first, then those that it started."""
        self.places: set[str] = set()
        """The library's functions that waited, as `UploadJob.run`; as `>confirm` where that one waited itself."""

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count inside this block."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._make_task)
        try:
            yield
        finally:
            loop.set_task_factory(None)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        context = options.pop("context", None) or copy_context()
        if getattr(coroutine, "__qualname__", "") == "BaseUpload._run":
            context.run(HERE.set, self)
        if context.get(HERE) is not self:
            return asyncio.Task(coroutine, loop=loop, context=context, **options)
        task: asyncio.Task[Any] = asyncio.Task(
            _Counted(coroutine, self._suspended), loop=loop, context=context, **options
        )
        self.tasks.append(task)
        return task

    def _suspended(self, coroutine: Any) -> None:
        self.count += 1
        names = list(_waiting(coroutine))
        self.places.update(names, [f">{name}" for name in names[-1:]])
        for place in self.when.keys() & self.places:
            self.when.pop(place)()
        if self.count in self.acts:
            self.acts.pop(self.count)()


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that reports each of its suspensions."""

    def __init__(self, inner: Any, suspended: Callable[[Any], None]) -> None:
        self._inner = inner
        self._suspended = suspended
        self.__name__ = getattr(inner, "__name__", type(inner).__name__)  # aclose() of a generator has none
        self.__qualname__ = getattr(inner, "__qualname__", self.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # anyio reads `cr_suspended` and similar attributes

    def send(self, value: Any) -> Any:
        yielded = self._inner.send(value)
        self._suspended(self._inner)
        return yielded

    def throw(self, *exception: Any) -> Any:
        yielded = self._inner.throw(*exception)
        self._suspended(self._inner)
        return yielded

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("only a task drives it")


def _waiting(coroutine: Any) -> Iterator[str]:
    """Return the library's functions on the stack of a suspended coroutine, the outermost first."""
    while coroutine is not None:
        code = getattr(coroutine, "cr_code", None)
        if code is not None and "aioframeio_upload" in code.co_filename:
            yield code.co_qualname
        coroutine = getattr(coroutine, "cr_await", None)
