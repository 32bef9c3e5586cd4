"""The state of the demo's upload, updated from its events: each part, what to print, and where the time went."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from .. import (
    ApiRetrying,
    Event,
    PartCompleted,
    PartRetrying,
    PartStarted,
    Progress,
    UploadCompleted,
    UploadFailed,
    UploadPlanned,
)
from .._cli.format import format_api_retry, format_count, format_size


class Cell(Enum):
    """The state of a part as it is drawn."""

    WAITING = "waiting"
    DONE = "done"
    HEALED = "healed"
    """Done, and not at the first attempt."""
    SENDING = "sending"
    AGAIN = "again"
    """An attempt failed, and the next one has not begun."""


class DemoState:
    """The `EventView` of one upload. Updated in the event loop; the live display reads it in its own thread.

    Args:
        label: The name of the file.
        clock: A clock that never runs backwards, in seconds.
    """

    is_folder = False

    def __init__(self, label: str, clock: Callable[[], float]) -> None:
        self.source = self.label = label
        self.links: list[str] = []
        """Always empty: the fake has no web pages to link to."""
        self.cells: list[Cell] = []
        """One for each part."""
        self.progress: Progress | None = None
        self.size = 0
        self.attempts = 0
        self.retries = 0
        self.begun_at = self.planned_at = self.sent_at = self.ended_at = clock()
        self.failed_seconds = 0.0
        """The duration of all failed attempts; other attempts ran at the same time."""
        self.pause_seconds = 0.0
        """The delays after failed attempts."""
        self.idle_seconds = 0.0
        """How long nothing was sent, because the only parts left were waiting for such a delay to end."""
        self._clock = clock
        self._started_at: dict[int, float] = {}
        """When the running attempts began, by part number."""
        self._idle_since: float | None = None

    def update(self, event: Event) -> tuple[str | None, None]:
        """Apply an event; return a line for stdout, or None. Errors are raised where the upload is awaited."""
        return self._update(event, self._clock()), None

    def _update(self, event: Event, now: float) -> str | None:
        match event:
            case Progress():
                self.progress = event
            case UploadPlanned():
                return self._plan(event, now)
            case PartStarted():
                self._start(event, now)
            case PartRetrying():
                return self._retry(event, now)
            case ApiRetrying(delay=delay, error=error):
                return format_api_retry(delay, error)
            case PartCompleted():
                return self._complete(event, now)
            case UploadCompleted():
                self.ended_at = now
                return f"100%  all {format_count(len(self.cells), 'part')} have arrived"
            case UploadFailed():
                self.ended_at = now
        return None

    def _plan(self, event: UploadPlanned, now: float) -> str:
        self.planned_at = self.sent_at = self.ended_at = now
        self.size = event.total_bytes
        self.cells = [Cell.WAITING] * event.total_parts
        return f"{self.label}: {format_size(event.total_bytes)} in {format_count(event.total_parts, 'part')}"

    def _start(self, event: PartStarted, now: float) -> None:
        if self._idle_since is not None:
            self.idle_seconds += now - self._idle_since
            self._idle_since = None
        self.attempts += 1
        self.cells[event.number - 1] = Cell.SENDING
        self._started_at[event.number] = now

    def _retry(self, event: PartRetrying, now: float) -> str:
        self.retries += 1
        self.cells[event.number - 1] = Cell.AGAIN
        self.failed_seconds += now - self._started_at.pop(event.number, now)
        self.pause_seconds += event.delay
        if not self._started_at:
            self._idle_since = now
        return f"again in {event.delay:.1f} s: {event.error}"

    def _complete(self, event: PartCompleted, now: float) -> str | None:
        self.sent_at = now
        self.cells[event.number - 1] = Cell.DONE if event.attempt == 1 else Cell.HEALED
        self._started_at.pop(event.number, None)
        if not self._started_at:
            self._idle_since = now
        return None if event.attempt == 1 else f"part {event.number} arrived, attempt {event.attempt}"
