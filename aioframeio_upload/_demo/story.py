"""The demo's state: what the events have reported of each part."""

from __future__ import annotations

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
from .._cli.format import format_api_retry


class Cell(Enum):
    """What is shown of a part."""

    WAITING = "waiting"
    DONE = "done"
    HEALED = "healed"
    """Done, and not at the first attempt."""
    SENDING = "sending"
    AGAIN = "again"
    """An attempt failed, and the next one is awaited."""


class DemoState:
    """One upload as its listener has seen it. Written to by the listener; a display may read it from its thread."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.cells: list[Cell] = []
        """One a part."""
        self.notes: list[str] = []
        """The retries and what became of them, in order."""
        self.progress: Progress | None = None
        self.size = 0
        self.confirmed = 0
        """Bytes of the parts that arrived."""
        self.attempts = 0
        self.retries = 0
        self.begun_at = self.planned_at = self.sent_at = self.ended_at = now
        self.failed_seconds = 0.0
        """Of all attempts that failed; they ran beside others."""
        self.pause_seconds = 0.0
        """Between them and the next attempts."""
        self.idle_seconds = 0.0
        """In which nothing was being sent, because all that was left were parts in such a pause."""
        self._started_at: dict[int, float] = {}
        """Of the attempts under way, by the number of their part."""
        self._idle_since: float | None = None

    @property
    def sent(self) -> int:
        """How many bytes have gone; the latest progress may be older than the latest part."""
        return max(self.confirmed, self.progress.bytes_uploaded if self.progress else 0)

    def tell(self, event: Event, now: float) -> str | None:
        """Take in an event, and give what is to be said of it."""
        match event:
            case Progress():
                self.progress = event
            case UploadPlanned():
                self.planned_at = self.sent_at = self.ended_at = now
                self.size = event.total_bytes
                self.cells = [Cell.WAITING] * event.total_parts
            case PartStarted():
                self._start(event, now)
            case PartRetrying():
                return self._retry(event, now)
            case ApiRetrying(delay=delay, error=error):
                return self._note(format_api_retry(delay, error))
            case PartCompleted():
                return self._complete(event, now)
            case UploadCompleted() | UploadFailed():
                self.ended_at = now
        return None

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
        return self._note(f"again in {event.delay:.1f} s: {event.error}")

    def _complete(self, event: PartCompleted, now: float) -> str | None:
        self.sent_at = now
        self.confirmed += event.size
        self.cells[event.number - 1] = Cell.DONE if event.attempt == 1 else Cell.HEALED
        self._started_at.pop(event.number, None)
        if not self._started_at:
            self._idle_since = now
        return None if event.attempt == 1 else self._note(f"part {event.number} arrived, attempt {event.attempt}")

    def _note(self, line: str) -> str:
        self.notes.append(line)
        return line
