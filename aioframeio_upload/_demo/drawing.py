"""Draw the state of every part of the demo's upload, in order, above the command line's line of progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from .._cli.format import escape, format_count
from .._cli.live_display import progress_table
from .state import Cell, DemoState

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
"""The state that a cell shows if it stands for several parts: the one with the highest rank."""

MAX_ROWS = 4
"""Rows of cells: with the lines below them, and as many printed lines, they fit a terminal of 24 rows."""


class DemoDrawing:
    """The state as a Rich renderable, for the width that the terminal has at the moment."""

    def __init__(self, state: DemoState) -> None:
        self._state = state

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state, width = self._state, options.max_width
        # Read once: the event loop may change it while this thread draws.
        cells, progress = list(state.cells), state.progress
        if not cells:
            yield Text(escape(f"{state.label}: planning"), no_wrap=True, overflow="ellipsis")
            return
        glyphs = ASCII_GLYPHS if options.ascii_only else GLYPHS
        yield from part_rows(cells, width, glyphs)
        yield part_counts(cells, width, glyphs)
        if progress is not None:
            yield Text("")
            yield progress_table([(state.label, progress)], width)


def part_rows(cells: list[Cell], width: int, glyphs: dict[Cell, str]) -> Iterator[Text]:
    """Yield rows of glyphs, one for each part, or for several if there are more parts than fit."""
    each = _parts_per_cell(cells, width)
    drawn = [max(cells[at : at + each], key=URGENCY.__getitem__) for at in range(0, len(cells), each)]
    for at in range(0, len(drawn), width):
        yield Text.assemble(*((glyphs[cell], STYLES[cell]) for cell in drawn[at : at + width]), no_wrap=True)


def part_counts(cells: list[Cell], width: int, glyphs: dict[Cell, str]) -> Text:
    """Return the number of parts in each state, which is the legend of the rows as well."""
    counts = Counter(cells)
    counts[Cell.DONE] += counts[Cell.HEALED]
    text = Text(no_wrap=True, overflow="ellipsis")
    for cell in (Cell.DONE, Cell.SENDING, Cell.AGAIN, Cell.WAITING):
        text.append(glyphs[cell], STYLES[cell])
        text.append(f" {cell.value} {counts[cell]}   ", "" if counts[cell] else "dim")
    each = _parts_per_cell(cells, width)
    return text.append(f"(a cell is {format_count(each, 'part')})", "dim") if each > 1 else text


def _parts_per_cell(cells: list[Cell], width: int) -> int:
    return -(-len(cells) // (width * MAX_ROWS))
