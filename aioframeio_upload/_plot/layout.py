"""Lay out a timeline: uploads as blocks of rows that fit on a page, and the ticks of the time axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate

from .model import Bar, BarOutcome, Track, UploadHistory

MAX_ROWS = 48
"""Rows of a picture, including the line of text above each block: 12 inches in all, about a page."""

MAX_KEYED_ROWS = 40
"""Parts of a file, or files of a folder, that have a row each; if there are more, they share rows."""

RESOLUTION = 1500
"""Neighbouring bars of one outcome are merged if together they are shorter than the whole time divided by this.

The picture is 1500 pixels wide as a PNG (10 inches at 150 dpi), so they would fall into one pixel.
"""

COLUMNS = 240
"""Points of the line that shows how many attempts ran: a few for each millimetre."""

TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
"""Seconds between two ticks, up to a day."""


@dataclass(frozen=True, slots=True)
class PictureBlock:
    """The rows of one upload, or of all uploads together."""

    tracks: tuple[Track, ...]
    keys: tuple[int | str, ...]
    """The part or the file of each row; empty if rows are shared."""
    rows: tuple[tuple[Bar, ...], ...]
    at_once: int
    """The highest number of attempts that ran at the same time."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The content of a timeline, ready to be drawn."""

    blocks: tuple[PictureBlock, ...]
    span: float
    """Seconds."""
    left_out: int
    """Attempts for which there was no row."""
    in_flight: tuple[float, ...] = ()
    """The mean number of attempts that ran, in COLUMNS intervals of equal length; of files in a folder."""

    @property
    def rows(self) -> int:
        """The number of rows, including the line of text above each block."""
        return sum(1 + len(block.rows) for block in self.blocks)

    @property
    def outcomes(self) -> set[BarOutcome]:
        """The outcomes that occur in the picture."""
        return {bar.outcome for block in self.blocks for row in block.rows for bar in row}


def compose(history: UploadHistory) -> Picture:
    """Return the layout that shows the most detail and fits.

    It has a row for each part; or rows that the parts of an upload share; or rows that all uploads share.
    """
    known = [(track, sorted([*track.bars, *track.open_bars(history.span)], key=_times)) for track in history.tracks]
    blocks = [_by_key(track, bars) for track, bars in known]
    if sum(1 + len(block.rows) for block in blocks) > MAX_ROWS:
        blocks = [_by_lane((track,), bars) for track, bars in known]
    if sum(1 + len(block.rows) for block in blocks) > MAX_ROWS:
        every = sorted((bar for _, bars in known for bar in bars), key=_times)
        blocks = [_by_lane(history.tracks, every)]
    left_out = sum(len(row) for block in blocks for row in block.rows[MAX_ROWS - 1 :])
    shortest = history.span / RESOLUTION
    shown = [
        PictureBlock(
            block.tracks,
            block.keys,
            tuple(_merged(row, shortest) for row in block.rows[: MAX_ROWS - 1]),
            block.at_once,
        )
        for block in blocks
    ]
    return Picture(
        tuple(shown), history.span, left_out, mean_in_flight([bar for _, bars in known for bar in bars], history.span)
    )


def mean_in_flight(bars: Iterable[Bar], span: float) -> tuple[float, ...]:
    """Return how many attempts ran on average, in COLUMNS intervals of the time from 0 to `span`."""
    if not span:
        return ()
    width = span / COLUMNS
    # Of each interval, what is added to it alone, and from it on: one step for a bar, however long it is.
    alone, onward = [0.0] * (COLUMNS + 1), [0] * (COLUMNS + 1)
    for bar in bars:
        first, last = (min(int(at / width), COLUMNS - 1) for at in (bar.began, bar.ended))
        if first == last:
            alone[first] += (bar.ended - bar.began) / width
            continue
        alone[first] += first + 1 - bar.began / width
        alone[last] += bar.ended / width - last
        onward[first + 1] += 1
        onward[last] -= 1
    return tuple(map(sum, zip(alone[:COLUMNS], accumulate(onward[:COLUMNS]), strict=True)))


def _times(bar: Bar) -> tuple[float, float]:
    return bar.began, bar.ended


def _by_key(track: Track, bars: Sequence[Bar]) -> PictureBlock:
    rows: dict[int | str, list[Bar]] = {}
    for bar in bars:
        rows.setdefault(bar.key, []).append(bar)
    shared = _by_lane((track,), bars)
    if len(rows) > MAX_KEYED_ROWS:
        return shared
    # Parts in the order of their numbers, files in the order in which they began.
    keys = sorted(rows, key=lambda key: key if isinstance(key, int) else 0)
    return PictureBlock((track,), tuple(keys), tuple(tuple(rows[key]) for key in keys), shared.at_once)


def _by_lane(tracks: tuple[Track, ...], bars: Iterable[Bar]) -> PictureBlock:
    """Return a block that puts each bar, in order of begin, into the first free row.

    The number of rows is then the number of bars that ran at the same time.
    """
    rows: list[list[Bar]] = []
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    for bar in bars:
        while busy and busy[0][0] <= bar.began:
            heappush(free, heappop(busy)[1])
        if not free:
            heappush(free, len(rows))
            rows.append([])
        row = heappop(free)
        rows[row].append(bar)
        heappush(busy, (bar.ended, row))
    return PictureBlock(tracks, (), tuple(map(tuple, rows)), len(rows))


def _merged(row: Sequence[Bar], shortest: float) -> tuple[Bar, ...]:
    """Return the row with neighbours of one outcome merged, as long as the result is shorter than `shortest`."""
    merged: list[Bar] = []
    for bar in row:
        last = merged[-1] if merged else None
        if last is not None and last.outcome == bar.outcome and bar.ended - last.began < shortest:
            merged[-1] = Bar(last.key, last.attempt, last.began, max(last.ended, bar.ended), bar.outcome)
        else:
            merged.append(bar)
    return tuple(merged)


def ticks(span: float, most: int = 10) -> list[float]:
    """Return the instants of the ticks of the time axis, `most` + 1 at most."""
    step = next((step for step in TICK_STEPS if span / step <= most), span / most)
    return [number * step for number in range(int(span / step + 1e-9) + 1)]


def format_clock(seconds: float) -> str:
    """Return an instant as text: `0.5 s`, `12 s`, `2:30`, `1:02:30`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
