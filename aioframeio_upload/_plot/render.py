"""Draw a timeline as SVG or PNG with matplotlib's objects, without its global state."""

from __future__ import annotations

import io
import re
from itertools import count
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

from .layout import Picture, PictureBlock, clock, ticks
from .model import Bar, BarOutcome, Rates, Track, UploadHistory

INK = "#7d8590"
"""Legible on white and on near-black alike, as are the bars: the ground is the page's own."""

COLORS: dict[BarOutcome, str] = {"done": "#3f8fd2", "again": "#e08a2e", "failed": "#d9534f", "stopped": "#9aa3ad"}
WORDS: dict[BarOutcome, str] = {
    "done": "arrived",
    "again": "failed, tried again",
    "failed": "given up",
    "stopped": "stopped or under way",
}
FONT = "DejaVu Sans"
"""Comes with matplotlib, so that the picture is the same everywhere."""

WIDTH = 10.0
ROW = 0.2
"""Inches; bars of many parts are thinner than this where fewer rows would make them thick."""

LEAST_ROWS = 6
BELOW = 2.6
"""Inches for what is not rows: title, legend and throughput."""

THICK = 0.74
THIN = 400.0
"""A bar is drawn at least as wide as one of so many pieces of the whole time, or it could not be seen."""

MARK: dict[str, Any] = {"marker": "X", "markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.8}
"""With an edge of its own: it stands on bars of any colour, and on any ground."""

LONGEST = 96
"""Characters of a line above an upload's rows, and of a title."""


def draw(course: UploadHistory, picture: Picture, form: str) -> bytes:
    """Give the picture in this format, `svg` or `png`."""
    rows = max(picture.rows, LEAST_ROWS)
    figure = Figure(figsize=(WIDTH, ROW * rows + BELOW), layout="constrained", facecolor="none")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [ROW * rows, BELOW / 2]})
    span = picture.span or 1.0
    for axes in (above, below):
        axes.set_facecolor("none")
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=INK, labelsize=8, length=0)
        axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    _rows(above, picture, span)
    _rates(below, course.rates)
    below.set_xlim(-span / 200, span * 1.005)
    instants = ticks(span)
    below.set_xticks(instants, [clock(instant) for instant in instants], fontfamily=FONT)
    above.tick_params(labelbottom=False)
    _words(figure, above, course, picture)
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
    return _steady(file.getvalue()) if form == "svg" else file.getvalue()


def _rows(axes: Axes, picture: Picture, span: float) -> None:
    """Draw the blocks, from the top down: a line of words each, then its rows."""
    line = 0
    labels: dict[int, str] = {}
    boxes: dict[BarOutcome, list[Any]] = {}
    marks: dict[BarOutcome, list[tuple[float, int]]] = {}
    for block in picture.blocks:
        _say(axes, 0, line, _head(block), va="center", fontsize=8.5, color=INK)
        line += 1
        for number, row in enumerate(block.rows):
            if block.keys:
                labels[line] = _label(block.keys[number])
            for bar in row:
                boxes.setdefault(bar.outcome, []).append(_box(bar, line, span))
                if bar.outcome in ("again", "failed"):
                    marks.setdefault(bar.outcome, []).append((bar.ended, line))
            line += 1
    for outcome, corners in boxes.items():
        # One path for all of a colour: twenty thousand bars are a megabyte of SVG so, and several otherwise.
        path = Path.make_compound_path(*(Path(one, closed=True) for one in corners))
        axes.add_patch(PathPatch(path, facecolor=COLORS[outcome], linewidth=0))
    for outcome, places in marks.items():
        xs, ys = [x for x, _ in places], [y for _, y in places]
        axes.plot(xs, ys, color=COLORS[outcome], linestyle="none", clip_on=False, **MARK)
    axes.set_ylim(max(line, LEAST_ROWS) - 0.4, -0.6)
    axes.set_yticks(list(labels), list(labels.values()), fontfamily=FONT, parse_math=False)


def _box(bar: Bar, line: int, span: float) -> list[tuple[float, float]]:
    # A hair is left free at the end, or bars that follow each other at once would look like one.
    right = max(bar.ended - span / 1000, bar.began + span / THIN)
    top, bottom = line - THICK / 2, line + THICK / 2
    return [(bar.began, top), (right, top), (right, bottom), (bar.began, bottom), (bar.began, top)]


def _rates(axes: Axes, rates: Rates) -> None:
    edges = [number * rates.width for number in range(len(rates.bins) + 1)]
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4) if rates.bins else NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter(unit="B/s"))
    axes.grid(axis="y", color=INK, alpha=0.25, linewidth=0.6)
    if rates.bins:
        speeds = [moved / rates.width for moved in rates.bins]
        axes.stairs(speeds, edges, fill=True, color=COLORS["done"], alpha=0.55, linewidth=0)
    axes.set_ylim(bottom=0)


def _words(figure: Figure, axes: Axes, course: UploadHistory, picture: Picture) -> None:
    lines = [_title(course, picture)]
    again = sum(course.reasons.values())
    if again:
        reasons = ", ".join(f"{reason} ({number})" for reason, number in course.reasons.most_common(3))
        more = ", …" if len(course.reasons) > 3 else ""
        times = "once" if again == 1 else f"{again:,} times"
        lines.append(f"tried again {times}: {reasons}{more}")
    if course.forgotten + picture.left_out:
        lines.append(f"{course.forgotten + picture.left_out:,} more attempts are not drawn")
    axes.set_title(
        "\n".join(_clean(one) for one in lines),
        loc="left",
        fontsize=9.5,
        color=INK,
        parse_math=False,
        fontfamily=FONT,
        linespacing=1.5,
    )
    shown: list[Any] = [
        Line2D([], [], color=COLORS[outcome], linestyle="none", **MARK)
        if outcome in ("again", "failed")
        else Patch(facecolor=COLORS[outcome])
        for outcome in COLORS
        if outcome in picture.outcomes
    ]
    names = [WORDS[outcome] for outcome in COLORS if outcome in picture.outcomes]
    if shown:
        figure.legend(
            shown,
            names,
            loc="outside lower right",
            ncols=len(shown),
            frameon=False,
            labelcolor=INK,
            prop={"family": FONT, "size": 8},
        )


def _title(course: UploadHistory, picture: Picture) -> str:
    moved = sum(course.rates.bins)
    rate = f", {_bytes(moved / picture.span)}/s" if picture.span else ""
    return f"{_bytes(moved)} sent in {clock(picture.span)}{rate}"


def _head(block: PictureBlock) -> str:
    """Say what the rows below are about."""
    at_once = f"at most {block.at_once} at once" if block.rows and not block.keys else ""
    if len(block.tracks) == 1:
        return ", ".join(one for one in (_told(block.tracks[0]), at_once) if one)
    ends = [track.end for track in block.tracks]
    failed = sum(end not in (None, "done", "there before") for end in ends)
    words = [f"{len(ends):,} uploads together", at_once]
    words += [f"{ends.count('there before'):,} there before"] * ("there before" in ends)
    words += [f"{failed:,} failed"] * bool(failed) + [f"{ends.count(None):,} not ended"] * (None in ends)
    return ", ".join(one for one in words if one)


def _told(track: Track) -> str:
    words = []
    if track.count:
        what = "file" if track.is_folder else "part"
        words.append(f"{_bytes(track.size)} in {track.count:,} {what}{'s' * (track.count != 1)}")
    if track.bytes_before:
        words.append(f"{_bytes(track.bytes_before)} sent before")
    if track.anew:
        words.append(f"begun anew {track.anew} times" if track.anew > 1 else "begun anew")
    if track.skipped:
        words.append(f"{track.skipped:,} there before")
    if track.empty:
        words.append(f"{track.empty:,} empty")
    if track.failures:
        words.append(f"{track.failures:,} failed")
    if track.end is None:
        words.append("not ended")
    elif track.end == "there before":
        words.append("there before")
    elif track.end != "done":
        words.append(f"failed: {track.end}")
    return f"{_short(track.name or 'upload', LONGEST - 36)}: {', '.join(words) or 'done'}"


def _bytes(number: float) -> str:
    return EngFormatter(unit="B", places=1 if number >= 1000 else 0)(number)


def _label(key: int | str) -> str:
    return f"part {key}" if isinstance(key, int) else _clean(_short(key, 28))


def _short(text: str, most: int) -> str:
    """Leave out the middle: both ends of a path tell more."""
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 1]}…{text[-half:]}"


def _clean(text: str) -> str:
    """Replace what the font lacks: matplotlib would warn of each."""
    known = get_font(findfont(FONT)).get_charmap()
    return "".join(one if one.isprintable() and ord(one) in known else "\N{REPLACEMENT CHARACTER}" for one in text)


def _say(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    # A `$` in a file's name is none of mathematics.
    axes.text(x, y, _clean(text), parse_math=False, fontfamily=FONT, **how)


ID = re.compile(rb"\b[hpm][0-9a-f]{10}\b")
"""What matplotlib calls shapes within an SVG: random, unless a setting of the whole process is changed."""


def _steady(content: bytes) -> bytes:
    """Name the shapes in the order in which they are met, so that the same picture is the same file."""
    names: dict[bytes, bytes] = {}
    numbers = count(1)
    return ID.sub(lambda found: names.get(found[0]) or names.setdefault(found[0], b"shape%d" % next(numbers)), content)
