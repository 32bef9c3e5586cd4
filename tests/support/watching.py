"""A clock and reports of changes that a test sets, for watched folders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from aioframeio_upload import Event, FolderWatch, Progress, Uploader
from aioframeio_upload._core.patterns import patterns
from aioframeio_upload._engine.folder import FolderRequest
from aioframeio_upload._engine.watch import WatchRequest
from aioframeio_upload._io.watch_notices import Notices
from aioframeio_upload.testing import FakeFrameio

TASKS = 2
"""A watch waits for the clock in two tasks: one finds files, one waits until a file is due."""


class SetClock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: dict[asyncio.Future[None], tuple[float, asyncio.Event]] = {}
        self._changed = asyncio.Event()

    def now(self) -> float:
        return self.time

    async def wait(self, news: asyncio.Event, until: float | None) -> None:
        if news.is_set() or (until is not None and until <= self.time):
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[woken] = float("inf") if until is None else until, news
        self._changed.set()
        waiting = asyncio.ensure_future(news.wait())
        either: list[asyncio.Future[Any]] = [woken, waiting]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            del self._sleepers[woken]

    async def idle(self) -> None:
        """Wait until the watch waits for the clock or for news, and for nothing else."""
        async with asyncio.timeout(20):
            while len(self._sleepers) < TASKS or any(
                one.done() or news.is_set() for one, (_, news) in self._sleepers.items()
            ):
                self._changed.clear()
                await self._changed.wait()

    async def advance(self, seconds: float) -> None:
        """Move the clock from one instant that somebody waits for to the next, and wait for what happens each time."""
        end = self.time + seconds
        await self.idle()
        while (first := min(until for until, _ in self._sleepers.values())) <= end:
            self.time = max(self.time, first)
            self.wake()
            await self.idle()
        self.time = end

    def wake(self) -> None:
        """Wake those whose time has come."""
        for woken, (until, _) in self._sleepers.items():
            if until <= self.time and not woken.done():
                woken.set_result(None)


class SetReports:
    """Reports of changes that the test makes; as `OpenNotices`, it opens itself."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.is_lossy = False
        self.opened = 0
        self.is_open = False
        self._on_news: Callable[[], None] = lambda: None

    async def __call__(self, root: str, threads: Executor, on_news: Callable[[], None], /) -> Notices | None:
        self.opened += 1
        self.is_open, self._on_news = True, on_news
        return self

    def report(self, *paths: str, lost: bool = False) -> None:
        """Report changes, as the system does."""
        self.paths |= set(paths)
        self.is_lossy = self.is_lossy or lost
        self._on_news()

    def take(self) -> tuple[frozenset[str], bool]:
        taken = frozenset(self.paths), self.is_lossy
        self.paths, self.is_lossy = set(), False
        return taken

    async def close(self) -> None:
        self.is_open = False


async def no_reports(root: str, threads: Executor, on_news: Callable[[], None], /) -> Notices | None:
    """Report nothing, as a network share."""
    return None


def watched(
    uploader: Uploader,
    fake: FakeFrameio,
    root: Path,
    clock: SetClock,
    open_reports: Any = no_reports,
    *,
    settle: float = 10.0,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    conflict: Any = "skip",
    compare: Any = "auto",
) -> FolderWatch:
    """Return a watch that goes by the test's clock."""
    request = WatchRequest(
        folder=FolderRequest(
            root=str(root),
            name=None,
            folder_id=fake.folder_id,
            account_id=fake.account_id,
            wanted=patterns(include, exclude),
            conflict=conflict,
            compare=compare,
        ),
        settle=settle,
    )
    return uploader._watch(root, request, clock=clock, open_reports=open_reports)


class Seen:
    """The events of a watch, as they come."""

    def __init__(self, watch: FolderWatch) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()
        self._listener = watch.__aiter__()
        self._task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        async for event in self._listener:
            if not isinstance(event, Progress):
                self.events.append(event)
                self._news.set()

    def of(self, kind: type[Any] | tuple[type[Any], ...]) -> list[Any]:
        """Return the events of one kind, or of several."""
        return [event for event in self.events if isinstance(event, kind)]

    def paths(self, kind: type[Any]) -> list[str]:
        """Return the paths of the events of one kind."""
        return [event.path for event in self.of(kind)]

    async def until(self, kind: type[Any] | tuple[type[Any], ...], count: int) -> None:
        """Wait until there are so many events of one kind."""
        async with asyncio.timeout(20):
            while len(self.of(kind)) < count:
                self._news.clear()
                await self._news.wait()

    async def end(self) -> None:
        """Wait until the events have ended."""
        async with asyncio.timeout(20):
            await self._task
