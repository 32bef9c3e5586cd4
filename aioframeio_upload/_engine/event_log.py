"""Keep an upload's events: facts in order, for late listeners too, and the latest progress."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol
from weakref import WeakSet

from .._core.events import Event, FileFailed, FolderPlanned, Progress, UploadPlanned, UploadReplanned


class EventSink(Protocol):
    """Accept the events of an upload: all that an object needs which publishes events and does not read them."""

    def publish(self, event: Event) -> None:
        """Publish an event. It never waits for a listener."""
        ...


class PartEventSink(EventSink, Protocol):
    """Accept the events of what sends parts. A new plan of the same file continues where the last progress was."""

    @property
    def bar(self) -> tuple[int, int]:
        """The bytes that the latest progress reported as uploaded, and how many of them an earlier run had sent."""
        ...


class EventLog(PartEventSink):
    """The events of one upload. Only the upload writes it; any number of listeners read it."""

    def __init__(self) -> None:
        self.facts: list[Event] = []
        self.progress: Progress | None = None
        self.ended: bool = False
        self.file_id: str | None = None
        """The file at Frame.io, once it is known; the latest one, if the upload began anew.

        Set from outside only before anything is planned: to the file of an earlier run, or of a given plan.
        """
        self.progress_after: int = 0
        """How many facts came before the latest progress."""
        self.progress_count: int = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def bar(self) -> tuple[int, int]:
        """The bytes that the latest progress reported as uploaded, and how many of them an earlier run had sent."""
        return (0, 0) if self.progress is None else (self.progress.bytes_uploaded, self.progress.bytes_before)

    def publish(self, event: Event) -> None:
        """Append an event and wake the listeners. It never waits for one."""
        if self.ended:
            return  # a folder that another upload waits for too is still being made
        if isinstance(event, Progress):
            self.progress = event
            self.progress_after = len(self.facts)
            self.progress_count += 1
        else:
            if isinstance(event, UploadPlanned | UploadReplanned):
                self.file_id = event.file_id
            self.facts.append(event)
        self._wake()

    def end(self, last: Event | None) -> None:
        """Append the last fact, if there is one; nothing comes after it."""
        if last is not None:
            self.facts.append(last)
        self.ended = True
        self._wake()

    async def news(self) -> None:
        """Wait until an event is published."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def listen(self) -> AsyncIterator[Event]:
        """Return an iterator over every fact from the first on, with the latest progress between them."""
        return _Listener(self)


class _Listener(AsyncIterator[Event]):
    """The position of one reader. Not an async generator: after a `break`, closing a generator needs a task."""

    def __init__(self, feed: EventLog) -> None:
        self._feed = feed
        self._facts_read = 0
        self._progress_read = 0

    async def __anext__(self) -> Event:
        feed = self._feed
        while True:
            if (
                feed.progress is not None
                and self._progress_read != feed.progress_count
                and feed.progress_after <= self._facts_read
            ):
                self._progress_read = feed.progress_count
                return feed.progress
            if self._facts_read < len(feed.facts):
                self._facts_read += 1
                return feed.facts[self._facts_read - 1]
            if feed.ended:
                raise StopAsyncIteration
            await feed.news()


class FolderEventLog(EventLog):
    """The events of a folder. A listener gets every fact from then on; a late one, those that are kept.

    The plan, the failures and the end are kept, so that memory does not grow with the files. What a listener has not
    read yet is held by that listener alone.

    Args:
        keeps_failures: Whether failures are kept: not where files are tried again for days.
    """

    def __init__(self, *, keeps_failures: bool = True) -> None:
        super().__init__()
        self._kept = FolderPlanned | FileFailed if keeps_failures else FolderPlanned
        self._has_last = False
        self._listeners: WeakSet[_FolderListener] = WeakSet()

    def publish(self, event: Event) -> None:
        """Hand an event to the listeners. It never waits for one."""
        if self.ended:
            return  # as above
        if isinstance(event, Progress):
            self.progress = event
            self.progress_count += 1
        else:
            self._append(event, keep=isinstance(event, self._kept))
        self._wake()

    def end(self, last: Event | None) -> None:
        """Append the last fact, if there is one."""
        if last is not None:
            self._has_last = True
            self._append(last, keep=True)
        self.ended = True
        self._wake()

    @property
    def last_facts(self) -> int:
        """How many facts come after the last progress."""
        return int(self._has_last)

    def _append(self, fact: Event, *, keep: bool) -> None:
        if keep:
            self.facts.append(fact)
        for listener in self._listeners:
            listener.unread.append(fact)

    def listen(self) -> AsyncIterator[Event]:
        """Return an iterator over the facts that are kept and those to come, with the latest progress between them."""
        listener = _FolderListener(self)
        self._listeners.add(listener)
        return listener


class _FolderListener(AsyncIterator[Event]):
    def __init__(self, feed: FolderEventLog) -> None:
        self._feed = feed
        self._progress_read = 0
        self.unread: deque[Event] = deque(feed.facts)

    async def __anext__(self) -> Event:
        feed = self._feed
        while True:
            # The last progress comes before the last fact; any other, after the facts that are waiting.
            if len(self.unread) > feed.last_facts:
                return self.unread.popleft()
            if feed.progress is not None and self._progress_read != feed.progress_count:
                self._progress_read = feed.progress_count
                return feed.progress
            if self.unread:
                return self.unread.popleft()
            if feed.ended:
                raise StopAsyncIteration
            await feed.news()
