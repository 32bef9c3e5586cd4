"""Lay out a timeline: uploads as blocks of rows that fit on a page, and the ticks of its axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from .model import Bar, BarOutcome, Track, UploadHistory

MOST_ROWS = 48
"""The lines of one upload above its rows count as well."""

MOST_KEYS = 40
"""Parts of one file, or files of a folder, that get a row each; more share as few rows as they can."""

GRAINS = 1500
"""A bar that is shorter than one of so many pieces of the whole time is not told from its neighbour."""

STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class PictureBlock:
    """The rows of one upload, or of all of them together."""

    tracks: tuple[Track, ...]
    keys: tuple[int | str, ...]
    """What each row is about; none where rows are shared."""
    rows: tuple[tuple[Bar, ...], ...]
    at_once: int
    """The most that was under way at one time."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn."""

    blocks: tuple[PictureBlock, ...]
    span: float
    left_out: int
    """Attempts that found no row."""

    @property
    def rows(self) -> int:
        """How many there are, with one above each block."""
        return sum(1 + len(block.rows) for block in self.blocks)

    @property
    def outcomes(self) -> set[BarOutcome]:
        """What became of the attempts."""
        return {bar.outcome for block in self.blocks for row in block.rows for bar in row}


def compose(course: UploadHistory) -> Picture:
    """Lay it out: a row a part where that fits, else a row for what was sent one after the other, else all together."""
    told = [(track, sorted([*track.bars, *track.open_bars(course.span)], key=_place)) for track in course.tracks]
    blocks = [_by_key(track, bars) for track, bars in told]
    if sum(1 + len(block.rows) for block in blocks) > MOST_ROWS:
        blocks = [_by_lane((track,), bars) for track, bars in told]
    if sum(1 + len(block.rows) for block in blocks) > MOST_ROWS:
        every = sorted((bar for _, bars in told for bar in bars), key=_place)
        blocks = [_by_lane(course.tracks, every)]
    left_out = sum(len(row) for block in blocks for row in block.rows[MOST_ROWS - 1 :])
    grain = course.span / GRAINS
    shown = [
        PictureBlock(
            block.tracks,
            block.keys,
            tuple(_merged(row, grain) for row in block.rows[: MOST_ROWS - 1]),
            block.at_once,
        )
        for block in blocks
    ]
    return Picture(tuple(shown), course.span, left_out)


def _place(bar: Bar) -> tuple[float, float]:
    return bar.began, bar.ended


def _by_key(track: Track, bars: Sequence[Bar]) -> PictureBlock:
    rows: dict[int | str, list[Bar]] = {}
    for bar in bars:
        rows.setdefault(bar.key, []).append(bar)
    shared = _by_lane((track,), bars)
    if len(rows) > MOST_KEYS:
        return shared
    # Parts by their number; files as they began.
    keys = sorted(rows, key=lambda key: key if isinstance(key, int) else 0)
    return PictureBlock((track,), tuple(keys), tuple(tuple(rows[key]) for key in keys), shared.at_once)


def _by_lane(tracks: tuple[Track, ...], bars: Iterable[Bar]) -> PictureBlock:
    """Give each bar the first row that is free: as many rows as were under way at once."""
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


def _merged(row: Sequence[Bar], grain: float) -> tuple[Bar, ...]:
    """Take neighbours of one outcome that are too short to be told apart for one."""
    merged: list[Bar] = []
    for bar in row:
        last = merged[-1] if merged else None
        if last is not None and last.outcome == bar.outcome and bar.ended - last.began < grain:
            merged[-1] = Bar(last.key, last.attempt, last.began, max(last.ended, bar.ended), bar.outcome)
        else:
            merged.append(bar)
    return tuple(merged)


def ticks(span: float, most: int = 10) -> list[float]:
    """Give the instants that are named below."""
    step = next((step for step in STEPS if span / step <= most), span / most)
    return [number * step for number in range(int(span / step + 1e-9) + 1)]


def clock(seconds: float) -> str:
    """Name an instant: `0.5 s`, `12 s`, `2:30`, `1:02:30`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
