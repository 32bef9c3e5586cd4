"""The live display on a terminal."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .. import Event, Progress
from .display import Display, how_far
from .format import shown
from .log import log_held
from .output import LAST_WORDS, complain, drawing_console
from .upload_view import UploadView

MOST_LINES = 8
"""Files that are shown at once; the others are counted."""

LONGEST_BAR, SHORTEST_BAR = 24, 8
SHORTEST_NAME = 12

USUAL, USUAL_BRIEF = len("999.9 MB of 999.9 MB  999.9 MB/s  599:59 left"), len("999.9 MB  999.9 MB/s  599:59 left")
"""Columns that are kept for what is told beside a bar, so that the bar does not jump with every digit."""


class LiveDisplay(Display):
    """Drawn over and over by a thread of Rich's; what is said of ends and retries stands above, and stays."""

    def __init__(self, items: list[UploadView]) -> None:
        self._console = drawing_console()
        self._live = Live(_Picture(items), console=self._console, refresh_per_second=10, transient=True)
        self._complaints: list[str] = []
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
            # Once all is to stop, a terminal that takes nothing is not waited for: the uploads still run until then.
            await asyncio.wait([leaving], timeout=None if error is None else LAST_WORDS)
        finally:
            self._log.__exit__(kind, error, traceback)

    def _leave(self) -> None:
        self._live.stop()
        # Not before: while it draws, stderr may be the same terminal.
        for complaint in self._complaints:
            complain(complaint)

    async def tell(self, item: UploadView, event: Event) -> None:
        """Say what there is to say above the drawing."""
        line, complaint = item.hear(event)
        item.links.clear()
        if complaint is not None:
            self._complaints.append(complaint)
        if line is not None:
            await asyncio.to_thread(self._console.print, Text(shown(line)), soft_wrap=True)


class _Picture:
    """The items as Rich draws them, at whatever size the terminal has at that moment."""

    def __init__(self, items: list[UploadView]) -> None:
        self._items = items

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        running = [item for item in self._items if item.upload.progress is not None and not item.upload.done]
        ended = sum(item.upload.done for item in self._items)
        if running:
            told = [(item.label, item.upload.progress) for item in running[:MOST_LINES]]
            yield drawn([(label, progress) for label, progress in told if progress is not None], options.max_width)
            yield Text("")
            yield _parts(running[0], options)
        waiting = len(self._items) - ended - min(len(running), MOST_LINES)
        if waiting or not running:
            yield Text(f"{ended} of {len(self._items)} done, {waiting} more under way", style="dim")


def drawn(rows: list[tuple[str, Progress]], width: int) -> Table:
    """Draw a line a file into that many columns: from 60 on, percent, rate and time left are always seen."""
    words = [how_far(progress) for _, progress in rows]
    beside = max(USUAL, *map(len, words)) + len("100%") + 3
    if width - beside < SHORTEST_BAR + SHORTEST_NAME:
        words = [how_far(progress, briefly=True) for _, progress in rows]
        beside = max(USUAL_BRIEF, *map(len, words)) + len("100%") + 3
    # A name has two thirds of what is left over.
    bar = max(SHORTEST_BAR, min(LONGEST_BAR, (width - beside) // 3))
    table = Table.grid(padding=(0, 1))
    table.add_column(max_width=max(1, width - beside - bar), no_wrap=True, overflow="ellipsis")
    for _ in range(3):
        table.add_column(no_wrap=True)
    for (label, progress), told in zip(rows, words, strict=True):
        table.add_row(
            Text(shown(label), no_wrap=True, overflow="ellipsis"),
            ProgressBar(total=max(1, progress.total_bytes), completed=progress.bytes_uploaded, width=bar),
            f"{progress.bytes_uploaded / max(1, progress.total_bytes):4.0%}",
            Text(told, no_wrap=True),
        )
    return table


def _parts(item: UploadView, options: ConsoleOptions) -> Text:
    """The parts of the current file by their state, not by their place; of a folder, its files."""
    progress = item.upload.progress
    if item.is_folder or not item.parts:
        done, total = (progress.parts_completed, progress.total_parts) if progress is not None else (0, 0)
        return Text(f"{done} of {total} files", style="dim")
    done, sending, again = len(item.done) + item.parts_before, len(item.sending), len(item.again)
    waiting = max(0, item.parts - done - sending - again)
    text = Text(no_wrap=True, overflow="ellipsis")
    glyphs = "#>!." if options.ascii_only else "█▒!·"
    scale = max(1.0, item.parts / max(8, options.max_width - 46))
    counts = (done, sending, again, waiting)
    for glyph, count, style in zip(glyphs, counts, ("green", "cyan", "bold red", "dim"), strict=True):
        text.append(glyph * (max(1, int(count / scale)) if count else 0), style)
    return text.append(f"  {done} of {item.parts} parts, {sending} sending" + f", {again} again" * bool(again))
