"""Displays for pipes and logs: plain lines, JSON lines, or links alone."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from .. import Event, Progress
from .output import complain, say, say_json
from .upload_view import UploadView, sized

STEP = 0.1
PERIOD = 10.0
"""A line of progress at each tenth, and after so many seconds: a log is to be read, and to show that it lives."""


def how_far(progress: Progress, *, briefly: bool = False) -> str:
    """Tell bytes, rate and time left; briefly, not of how many bytes."""
    total = "" if briefly else f" of {sized(progress.total_bytes)}"
    told = f"{sized(progress.bytes_uploaded)}{total}  {sized(progress.bytes_per_second)}/s"
    left = progress.seconds_left
    return told if left is None else f"{told}  {left // 60:.0f}:{left % 60:02.0f} left"


class Display(ABC):
    """What all displays are: entered, told each event, left."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    async def tell(self, item: UploadView, event: Event) -> None:
        """Tell an event."""


class LinesDisplay(Display):
    """Lines on stdout; complaints go to stderr at once."""

    _write = staticmethod(say)

    async def tell(self, item: UploadView, event: Event) -> None:
        """Write the lines that this event makes."""
        line, complaint = item.hear(event)
        lines = self._lines(item, event, line)
        item.links.clear()
        for told in lines:
            # In a thread: whoever reads this may be slow, and the uploads are not to wait for it.
            await asyncio.to_thread(self._write, told)
        if complaint is not None:
            await asyncio.to_thread(complain, complaint)

    @abstractmethod
    def _lines(self, item: UploadView, event: Event, line: str | None) -> list[str]:
        """Give the lines for stdout that this event makes."""


class PlainDisplay(LinesDisplay):
    """Lines for a log or a pipe."""

    def __init__(self) -> None:
        self._told: dict[UploadView, tuple[float, float]] = {}
        """The share of the last line of progress, and when that was."""

    def _lines(self, item: UploadView, event: Event, line: str | None) -> list[str]:
        if isinstance(event, Progress):
            line = self._progress(item, event)
        return [] if line is None else [line]

    def _progress(self, item: UploadView, event: Progress) -> str | None:
        share, now = event.bytes_uploaded / max(1, event.total_bytes), time.monotonic()
        before, at = self._told.setdefault(item, (0.0, now))
        if share <= before or (share - before < STEP and now - at < PERIOD):
            return None
        self._told[item] = share, now
        files = f"  {event.parts_completed} of {event.total_parts} files" if item.is_folder else ""
        return f"{item.label}: {share:4.0%}  {how_far(event)}{files}"


class JsonDisplay(LinesDisplay):
    """The events as lines of JSON, each with the `source` that it is about."""

    _write = staticmethod(say_json)

    def _lines(self, item: UploadView, event: Event, line: str | None) -> list[str]:
        return [json.dumps({"source": item.label, **event.to_dict()}, allow_nan=False)]


class QuietDisplay(LinesDisplay):
    """The links of the files that are there, a line each, for the next program."""

    def _lines(self, item: UploadView, event: Event, line: str | None) -> list[str]:
        return item.links.copy()
