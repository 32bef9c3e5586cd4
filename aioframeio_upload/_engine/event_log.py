"""The event log of an upload: facts in order, kept for late listeners, and the latest progress."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from weakref import WeakSet

from .._core.events import Event, FileFailed, FolderPlanned, Progress, UploadPlanned, UploadReplanned


class EventLog:
    """One upload's events. Written by the upload alone; read by as many listeners as there are."""

    def __init__(self) -> None:
        self.facts: list[Event] = []
        self.progress: Progress | None = None
        self.ended: bool = False
        self.recorded_id: str | None = None
        """The file that an earlier run, or a plan that was given, has made; known before anything is told."""
        self.progress_after: int = 0
        """How many facts came before the latest progress."""
        self.progress_count: int = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def file_id(self) -> str | None:
        """The file at Frame.io, once it is known; the latest one, where it had to be planned anew."""
        planned = (fact for fact in reversed(self.facts) if isinstance(fact, UploadPlanned | UploadReplanned))
        return next((fact.file_id for fact in planned), self.recorded_id)

    @property
    def bar(self) -> tuple[int, int]:
        """How far progress was told, and how much of that an earlier run had sent."""
        return (0, 0) if self.progress is None else (self.progress.bytes_uploaded, self.progress.bytes_before)

    def publish(self, event: Event) -> None:
        """Tell an event; nobody who listens can hold this up."""
        if isinstance(event, Progress):
            self.progress = event
            self.progress_after = len(self.facts)
            self.progress_count += 1
        else:
            self.facts.append(event)
        self._wake()

    def end(self, last: Event) -> None:
        """Tell the last fact."""
        self.facts.append(last)
        self.ended = True
        self._wake()

    async def news(self) -> None:
        """Wait until something is told."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    @property
    def waiting(self) -> int:
        """How many wait for news."""
        return len(self._waiting)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def listen(self) -> AsyncIterator[Event]:
        """Give every fact from the first on, and between them the latest progress."""
        return _Listener(self)


class _Listener(AsyncIterator[Event]):
    """One reader's place. Not an async generator: one that is broken out of needs a task to be closed."""

    def __init__(self, feed: EventLog) -> None:
        self._feed = feed
        self._facts_told = 0
        self._progress_told = 0

    async def __anext__(self) -> Event:
        feed = self._feed
        while True:
            if (
                feed.progress is not None
                and self._progress_told != feed.progress_count
                and feed.progress_after <= self._facts_told
            ):
                self._progress_told = feed.progress_count
                return feed.progress
            if self._facts_told < len(feed.facts):
                self._facts_told += 1
                return feed.facts[self._facts_told - 1]
            if feed.ended:
                raise StopAsyncIteration
            await feed.news()


class FolderEventLog(EventLog):
    """A folder's events. Who listens is told every fact; who comes late, those that are kept.

    Kept are the plan, the failures and the end, so that memory does not grow with the files; what a listener has not
    read yet waits with that listener alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._listeners: WeakSet[_FolderListener] = WeakSet()

    def publish(self, event: Event) -> None:
        """Tell an event; nobody who listens can hold this up."""
        if isinstance(event, Progress):
            self.progress = event
            self.progress_count += 1
        else:
            self._tell(event, keep=isinstance(event, FolderPlanned | FileFailed))
        self._wake()

    def end(self, last: Event) -> None:
        """Tell the last fact."""
        self._tell(last, keep=True)
        self.ended = True
        self._wake()

    def _tell(self, fact: Event, *, keep: bool) -> None:
        if keep:
            self.facts.append(fact)
        for listener in self._listeners:
            listener.unread.append(fact)

    def listen(self) -> AsyncIterator[Event]:
        """Give every fact from now on, after those that are kept; and between them the latest progress."""
        listener = _FolderListener(self)
        self._listeners.add(listener)
        return listener


class _FolderListener(AsyncIterator[Event]):
    def __init__(self, feed: FolderEventLog) -> None:
        self._feed = feed
        self._progress_told = 0
        self.unread: deque[Event] = deque(feed.facts)

    async def __anext__(self) -> Event:
        feed = self._feed
        while True:
            if len(self.unread) > int(
                feed.ended
            ):  # the last progress comes before the end, and any before what follows it
                return self.unread.popleft()
            if feed.progress is not None and self._progress_told != feed.progress_count:
                self._progress_told = feed.progress_count
                return feed.progress
            if self.unread:
                return self.unread.popleft()
            if feed.ended:
                raise StopAsyncIteration
            await feed.news()
