"""Displays for pipes and logs: plain lines, JSON lines, or links alone."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from .. import Event, Progress
from .format import format_progress
from .output import write_error, write_json, write_line

PROGRESS_STEP = 0.1
PROGRESS_PERIOD = 10.0
"""The interval between two lines of progress: a share of the bytes, and seconds. It keeps logs short."""


class EventView(Protocol):
    """The state of one upload as a display needs it: `UploadView`, and the view of the demo."""

    source: str
    """The path as it was given."""
    label: str
    """What is shown."""
    links: list[str]
    """Links to show; the display removes those it has shown."""

    @property
    def is_folder(self) -> bool:
        """Whether it is the upload of a folder."""
        ...

    def update(self, event: Event) -> tuple[str | None, str | None]:
        """Apply an event; return a line for stdout and a line for stderr, or None for either."""
        ...


class Display(ABC):
    """Show the events of uploads. An async context manager."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    async def show(self, view: EventView, event: Event) -> None:
        """Update the view with an event, and show it."""

    async def warn(self, text: str, record: dict[str, Any]) -> None:
        """Show a warning that is about no single upload.

        Args:
            text: The line for a person.
            record: The fields of its line of JSON.
        """
        await asyncio.to_thread(write_error, text)


class LineDisplay(Display):
    """Write lines to stdout, and errors to stderr at once."""

    _write = staticmethod(write_line)

    async def show(self, view: EventView, event: Event) -> None:
        """Write the lines for this event."""
        line, error = view.update(event)
        lines = self._lines(view, event, line)
        view.links.clear()
        for one in lines:
            # In a thread: the reader may be slow, and the uploads must not wait for it.
            await asyncio.to_thread(self._write, one)
        if error is not None:
            await asyncio.to_thread(write_error, error)

    @abstractmethod
    def _lines(self, view: EventView, event: Event, line: str | None) -> list[str]:
        """Return the lines for stdout; `line` is the view's own text for this event."""


class PlainDisplay(LineDisplay):
    """Write lines for a log or a pipe."""

    def __init__(self) -> None:
        self._last: dict[EventView, tuple[float, float]] = {}
        """The share and the time of the last line of progress."""

    def _lines(self, view: EventView, event: Event, line: str | None) -> list[str]:
        if isinstance(event, Progress):
            line = self._progress(view, event)
        return [] if line is None else [line]

    def _progress(self, view: EventView, event: Progress) -> str | None:
        share, now = event.bytes_uploaded / max(1, event.total_bytes), time.monotonic()
        last_share, last_time = self._last.setdefault(view, (0.0, now))
        if share <= last_share or (share - last_share < PROGRESS_STEP and now - last_time < PROGRESS_PERIOD):
            return None
        self._last[view] = share, now
        files = f"  {event.parts_completed} of {event.total_parts} files" if view.is_folder else ""
        return f"{view.label}: {share:4.0%}  {format_progress(event)}{files}"


class JsonDisplay(LineDisplay):
    """Write each event as a line of JSON, with the path it belongs to as `source`, and the time as `at`."""

    _write = staticmethod(write_json)

    def _lines(self, view: EventView, event: Event, line: str | None) -> list[str]:
        return [json_line(view.source, event.to_dict())]

    async def warn(self, text: str, record: dict[str, Any]) -> None:
        """Write a warning as a line of JSON, and for a person to stderr."""
        await asyncio.to_thread(write_json, json_line(None, record))
        await super().warn(text, record)


def json_line(source: str | None, record: dict[str, Any]) -> str:
    """Return a line of `--json`.

    Args:
        source: The path that it is about, as it was given; None for the whole command.
        record: Its fields.
    """
    return json.dumps({"source": source, "at": datetime.now(UTC).isoformat(), **record}, allow_nan=False)


class QuietDisplay(LineDisplay):
    """Write the link of each file that has arrived, for another program to read."""

    def _lines(self, view: EventView, event: Event, line: str | None) -> list[str]:
        return view.links.copy()
