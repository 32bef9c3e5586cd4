"""Draw the progress bars on a terminal while the uploads run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.style import Style
from rich.table import Table
from rich.text import Text

from .. import Event, Progress
from .format import escape, format_count, format_progress, format_seconds_left
from .line_display import Display, EventView
from .log import log_held
from .output import FINAL_WRITE_TIMEOUT, has_hyperlinks, is_error_terminal, is_plain_link, open_console, write_error
from .upload_view import UploadView, WatchView

MAX_LINES = 8
"""Files that have a line at the same time; the others are counted."""

LONGEST_BAR, SHORTEST_BAR = 24, 8
SHORTEST_NAME = 10

WIDTH, BRIEF_WIDTH = len("999.9 MB of 999.9 MB  999.9 MB/s  599:59 left"), len("999.9 MB  999.9 MB/s  599:59 left")
LEFT_WIDTH = len("599:59 left")
"""Columns reserved beside a bar for bytes, rate and time left, so that the bar does not move with every digit."""


class LiveDisplay(Display):
    """A drawing that a thread of Rich refreshes, below the lines about retries and finished files, which stay.

    Args:
        drawing: Rendered anew at each refresh.
        transient: Whether the drawing disappears at the end.
        keeps_errors: Whether errors are printed when the drawing has ended, below everything else. A command without
            an end of its own prints them when they happen.
    """

    def __init__(self, drawing: RenderableType, *, transient: bool = True, keeps_errors: bool = True) -> None:
        self._console = open_console()
        self._has_hyperlinks = has_hyperlinks(os.environ)
        self._keeps_errors = keeps_errors
        self._has_errors_above = is_error_terminal()
        self._live = Live(
            drawing,
            console=self._console,
            refresh_per_second=10,
            transient=transient,
            redirect_stderr=self._has_errors_above,  # Rich would print to stdout what is for a file
        )
        self._errors: list[str] = []
        self._log = log_held()

    async def __aenter__(self) -> Self:
        self._log.__enter__()
        await asyncio.to_thread(self._live.start, True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            leaving = asyncio.ensure_future(asyncio.to_thread(self._leave))
            # When the command stops, do not wait for a blocked terminal: the uploads are stopped only after this.
            await asyncio.wait([leaving], timeout=None if error is None else FINAL_WRITE_TIMEOUT)
        finally:
            self._log.__exit__(kind, error, traceback)

    def _leave(self) -> None:
        self._live.stop()
        # Not earlier: stderr may be the terminal that is being drawn on.
        for error in self._errors:
            write_error(error)

    async def show(self, view: EventView, event: Event) -> None:
        """Print the line for this event above the drawing; an error there too, or when the drawing has ended."""
        line, error = view.update(event)
        links = view.links.copy()
        view.links.clear()
        if error is not None and self._keeps_errors:
            self._errors.append(error)
        elif error is not None and self._has_errors_above:
            await asyncio.to_thread(self._console.print, Text(error), soft_wrap=True)
        elif error is not None:
            await asyncio.to_thread(write_error, error)
        if line is not None:
            await asyncio.to_thread(self._console.print, self._with_hyperlink(line, links), soft_wrap=True)

    def _with_hyperlink(self, line: str, links: list[str]) -> Text:
        """Return a line whose link, which is longer than most terminals are wide, is behind one word if it can be."""
        text = Text(escape(line))
        link = links[-1] if links else ""
        if self._has_hyperlinks and is_plain_link(link) and line.endswith(f"  {link}"):
            text.right_crop(len(link))
            text.append("link", Style(link=link, underline=True))
        return text

    async def warn(self, text: str, record: dict[str, Any]) -> None:
        """Keep a warning until the drawing has ended."""
        self._errors.append(text)


class LineDrawing:
    """One line that changes."""

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = line

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self._line(), no_wrap=True, overflow="ellipsis")


class UploadsDrawing:
    """The views as a Rich renderable, for the width that the terminal has at the moment.

    Args:
        views: The views.
        waits_for: Who must act before the first byte can be sent.
    """

    def __init__(self, views: list[UploadView], waits_for: str = "Frame.io") -> None:
        self._views = views
        self._waits_for = waits_for

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        running = [view for view in self._views if view.upload.progress is not None and not view.upload.done]
        ended = sum(view.upload.done for view in self._views)
        if running:
            rows = [(view.label, view.upload.progress) for view in running[:MAX_LINES]]
            yield progress_table(
                [(label, progress) for label, progress in rows if progress is not None], options.max_width
            )
            yield Text("")
            yield _part_states(running[0], options)
        waiting = len(self._views) - ended - min(len(running), MAX_LINES)
        if waiting or not running:
            waits = "" if running else f", waiting for {self._waits_for}"
            yield Text(f"{ended} of {len(self._views)} done, {waiting} more under way{waits}", style="dim")


class WatchDrawing:
    """The view of a watched folder as a Rich renderable: its progress, or that it waits.

    Args:
        view: The view.
        waits: What it waits for while nothing is to be sent.
    """

    def __init__(self, view: WatchView, waits: str) -> None:
        self._view = view
        self._waits = waits

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view, progress = self._view, self._view.since_idle
        counts = [view.counts]
        if progress is not None and progress.parts_completed < progress.total_parts:
            yield progress_table([(view.label, progress)], options.max_width)
            counts.append(f"{progress.total_parts - progress.parts_completed} waiting or under way")
        else:
            counts.append(f"watching {view.label}: {self._waits}")
        yield Text(escape(", ".join(counts)), style="dim", no_wrap=True, overflow="ellipsis")


def progress_table(rows: list[tuple[str, Progress]], width: int) -> Table:
    """Return a table with a line for each file: with bytes, rate and time left, of which narrow terminals show less."""
    words = [format_progress(progress) for _, progress in rows]
    beside = max(WIDTH, *map(len, words)) + len("100%") + 3
    if width - beside < SHORTEST_BAR + SHORTEST_NAME:
        words = [format_progress(progress, briefly=True) for _, progress in rows]
        beside = max(BRIEF_WIDTH, *map(len, words)) + len("100%") + 3
    if width - beside < SHORTEST_BAR + SHORTEST_NAME:
        lefts = [progress.seconds_left for _, progress in rows]
        words = ["" if left is None else format_seconds_left(left) for left in lefts]
        beside = max(LEFT_WIDTH, *map(len, words)) + len("100%") + 3
    # Two thirds of the remaining columns are for the name.
    bar = max(SHORTEST_BAR, min(LONGEST_BAR, (width - beside) // 3))
    table = Table.grid(padding=(0, 1))
    names = max(1, width - beside - bar)
    table.add_column(max_width=names, no_wrap=True, overflow="ellipsis")
    for _ in range(3):
        table.add_column(no_wrap=True)
    for (label, progress), text in zip(rows, words, strict=True):
        table.add_row(
            Text(shorten(escape(label), names), no_wrap=True, overflow="ellipsis"),
            ProgressBar(total=max(1, progress.total_bytes), completed=progress.bytes_uploaded, width=bar),
            f"{progress.bytes_uploaded / max(1, progress.total_bytes):4.0%}",
            Text(text, no_wrap=True),
        )
    return table


def shorten(path: str, width: int) -> str:
    """Return a path that is too long without its first folders: its last name tells files apart."""
    names = path.rstrip(os.sep).split(os.sep)
    while cell_len(path) > width and len(names) > 1:
        names = names[1:]
        path = os.sep.join(["…", *names])
    return path


def _part_states(view: UploadView, options: ConsoleOptions) -> Text:
    """Return the parts of a file grouped by state, not in order; for a folder, how many files have arrived."""
    progress = view.upload.progress
    if view.is_folder or not view.parts:
        line = "0 files" if progress is None else files_line(progress, view.files_done, compares=view.is_folder)
        return Text(line + _slots(view) * (not line.endswith(COMPARING)), style="dim")
    done, sending, again = len(view.done) + view.parts_before, len(view.sending), len(view.retrying)
    waiting = max(0, view.parts - done - sending - again)
    text = Text(no_wrap=True, overflow="ellipsis")
    glyphs = "#>!." if options.ascii_only else "█▒!·"
    scale = max(1.0, view.parts / max(8, options.max_width - 46))
    counts = (done, sending, again, waiting)
    for glyph, count, style in zip(glyphs, counts, ("green", "cyan", "bold red", "dim"), strict=True):
        text.append(glyph * (max(1, int(count / scale)) if count else 0), style)
    return text.append(
        f"  {done} of {view.parts} parts, {sending} sending" + f", {again} again" * bool(again) + _slots(view)
    )


COMPARING = "; comparing with Frame.io"


def files_line(progress: Progress, shown: int, *, compares: bool) -> str:
    """Return how many files have arrived, and that they are being compared as long as nothing was sent.

    Args:
        progress: Of the folder.
        shown: Files whose lines were shown: `progress` is published only twice a second.
        compares: Whether it is a folder, whose files are compared before they are sent.
    """
    done = min(max(progress.parts_completed, shown), progress.total_parts)
    is_comparing = compares and progress.bytes_uploaded == progress.bytes_before and done < progress.total_parts
    return f"{done} of {format_count(progress.total_parts, 'file')}" + COMPARING * is_comparing


def _slots(view: UploadView) -> str:
    """Return how many parts of all uploads may be in flight, and why."""
    now = view.statistics
    return "" if now is None else f"; {format_count(now.slots, 'slot')}, {now.reason}"
