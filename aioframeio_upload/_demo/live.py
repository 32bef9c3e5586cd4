"""The demo's displays and its final report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .._cli.format import escape
from .story import Cell, DemoState

GLYPHS = {Cell.WAITING: "·", Cell.DONE: "█", Cell.HEALED: "█", Cell.SENDING: "▒", Cell.AGAIN: "!"}
ASCII_GLYPHS = {Cell.WAITING: ".", Cell.DONE: "#", Cell.HEALED: "#", Cell.SENDING: ">", Cell.AGAIN: "!"}
STYLES = {
    Cell.WAITING: "dim",
    Cell.DONE: "green",
    Cell.HEALED: "yellow",
    Cell.SENDING: "cyan",
    Cell.AGAIN: "bold red",
}
URGENCY = {cell: rank for rank, cell in enumerate((Cell.DONE, Cell.HEALED, Cell.WAITING, Cell.SENDING, Cell.AGAIN))}
"""Which state a cell shows that stands for several parts: the highest."""

ROWS = 4
NOTES = 6
MARGIN = 2


class LiveDisplay:
    """The state of every part, drawn over and over by a thread of Rich's: a terminal that hangs holds up no upload."""

    def __init__(self, story: DemoState, console: Console) -> None:
        self._live = Live(_Picture(story), console=console, refresh_per_second=12)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._live.start, True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # With a last drawing.
        await asyncio.to_thread(self._live.stop)

    async def show(self, _line: str | None) -> None:
        """Nothing: the next drawing shows the story as it is."""


class PlainDisplay:
    """Lines for a log or a pipe: the plan, every retry, and how far it is at each tenth or ten seconds."""

    STEP = 0.1
    PERIOD = 10.0

    def __init__(self, story: DemoState, console: Console) -> None:
        self._story = story
        self._console = console
        self._planned = False
        self._share = 0.0
        self._told_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def show(self, line: str | None) -> None:
        """Print the line, and before it what else there is to say."""
        for told in (*self._steps(), line):
            if told is not None:
                await asyncio.to_thread(self._console.print, Text(escape(told)), soft_wrap=True)

    def _steps(self) -> Iterator[str]:
        story, now = self._story, asyncio.get_running_loop().time()
        if not self._planned and story.cells:
            self._planned = True
            self._told_at = now
            yield headline(story)
        share = story.sent / story.size if story.size else 0.0
        due = share - self._share >= self.STEP or share == 1 or now - self._told_at >= self.PERIOD
        if due and share > self._share:
            self._share, self._told_at = share, now
            yield f"{share:4.0%}  {how_far(story)}"


class _Picture:
    """The story as Rich draws it, at whatever size the terminal has at that moment."""

    def __init__(self, story: DemoState) -> None:
        self._story = story

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        story, width = self._story, max(20, options.max_width - 2 * MARGIN)
        glyphs = ASCII_GLYPHS if options.ascii_only else GLYPHS
        cells = list(story.cells)
        lines: list[RenderableType] = [Text(""), Text(headline(story), style="bold")]
        if cells:
            lines += ["", *_rows(cells, width, glyphs), _legend(cells, width, glyphs), "", _bar(story, width)]
        notes = story.notes[-NOTES:]
        lines += [""] * bool(notes) + [
            Text(note, style="yellow" if note.startswith("again") else "green") for note in notes
        ]
        for line in lines:
            drawn = Text(line) if isinstance(line, str) else line
            if isinstance(drawn, Text):
                drawn = Text.assemble(" " * MARGIN, drawn, no_wrap=True, overflow="ellipsis")
                drawn.plain = escape(drawn.plain)
            yield drawn


def _rows(cells: list[Cell], width: int, glyphs: dict[Cell, str]) -> Iterator[Text]:
    each = _parts_a_cell(cells, width)
    drawn = [max(cells[at : at + each], key=URGENCY.__getitem__) for at in range(0, len(cells), each)]
    for at in range(0, len(drawn), width):
        yield Text.assemble(*((glyphs[cell], STYLES[cell]) for cell in drawn[at : at + width]))


def _parts_a_cell(cells: list[Cell], width: int) -> int:
    return -(-len(cells) // (width * ROWS))


def _legend(cells: list[Cell], width: int, glyphs: dict[Cell, str]) -> Text:
    counts = Counter(cells)
    legend = Text()
    for cell in (Cell.DONE, Cell.SENDING, Cell.AGAIN, Cell.WAITING):
        count = counts[cell] + (counts[Cell.HEALED] if cell is Cell.DONE else 0)
        legend.append(glyphs[cell], STYLES[cell])
        legend.append(f" {cell.value} {count}   ", "" if count else "dim")
    each = _parts_a_cell(cells, width)
    return legend.append(f"(a cell is {each} parts)", "dim") if each > 1 else legend


def _bar(story: DemoState, width: int) -> RenderableType:
    table = Table.grid(padding=(0, MARGIN), pad_edge=False)
    table.add_row(
        "",
        ProgressBar(total=story.size, completed=story.sent, width=max(10, min(40, width - 42))),
        Text(f"{story.sent / story.size:4.0%}"),
        Text(how_far(story), no_wrap=True),
    )
    return table


def headline(story: DemoState) -> str:
    """Say what is uploaded."""
    if not story.cells:
        return f"{story.name}: planning"
    count = len(story.cells)
    return f"{story.name}: {decimal(story.size)} in {count} part{'s' * (count > 1)}"


def how_far(story: DemoState) -> str:
    """Say how many bytes have gone, how fast, and how long the rest takes."""
    progress = story.progress
    if progress is None:
        return ""
    if progress.parts_completed == progress.total_parts:
        return f"{decimal(progress.total_bytes)}  all parts have arrived"
    told = f"{decimal(story.sent)}  {decimal(round(progress.bytes_per_second))}/s"
    left = progress.seconds_left
    return told if left is None else f"{told}  {left // 60:.0f}:{left % 60:02.0f} left"


def report(story: DemoState, before: int | None, after: int | None, sent: str, arrived: str | None) -> Iterator[Text]:
    """Say where the time went, and whether what arrived is what was sent."""
    sending = story.sent_at - story.planned_at
    moving = max(sending - story.idle_seconds, 1e-9)
    yield Text("\nWhere the time went", style="bold")
    yield _row("planning", story.planned_at - story.begun_at)
    yield _row("sending", sending, f"{decimal(round(story.size / moving))}/s while bytes moved")
    if story.retries:
        yield _row("  failed attempts", story.failed_seconds, f"{story.retries} of {story.attempts}, beside the others")
        yield _row("  pauses after them", story.pause_seconds, f"{story.idle_seconds:.2f} s with no other part to send")
    yield _row("confirmation", story.ended_at - story.sent_at)
    if before is not None and after is not None:
        yield Text(f"  {'peak memory':<19}{decimal(after):>9}  {decimal(after - before)} more than before the upload")
    yield Text("")
    yield Text(f"sent     {sent}")
    yield Text(f"arrived  {arrived or 'not as a whole'}")
    if sent == arrived:
        yield Text("identical", style="bold green")
    else:
        yield Text("DIFFERENT", style="bold red")


def _row(what: str, seconds: float, remark: str = "") -> Text:
    return Text(f"  {what:<19}{seconds:>7.2f} s  {remark}".rstrip())
