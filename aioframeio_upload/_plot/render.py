"""Draw a timeline as SVG or PNG with matplotlib's objects; its global state (`pyplot`) is not touched."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

from .layout import Picture, PictureBlock, format_clock, ticks
from .model import Bar, BarOutcome, Rates, Track, UploadHistory

INK = "#7d8590"
"""Legible on white and on nearly black, as are the colours of the bars: the picture has no background."""

COLORS: dict[BarOutcome, str] = {"done": "#3f8fd2", "again": "#e08a2e", "failed": "#d9534f", "stopped": "#9aa3ad"}
WORDS: dict[BarOutcome, str] = {
    "done": "arrived",
    "again": "failed, tried again",
    "failed": "given up",
    "stopped": "stopped or under way",
}
FONT = "DejaVu Sans"
"""Comes with matplotlib, so that the picture is the same on every machine."""

WIDTH = 10.0
"""Inches."""

ROW_HEIGHT = 0.2
"""Inches."""

MIN_ROWS = 6
"""The height of a picture with fewer rows: one with a single bar would be too flat for its axes."""

OTHER_HEIGHT = 2.6
"""Inches for all but the rows: title, legend and throughput."""

BAR_HEIGHT = 0.74
"""Of a row; the rest is the gap between two bars."""

MIN_BAR = 1 / 400
"""The width of the shortest bar as a fraction of the whole time; a shorter one would be invisible."""

BAR_GAP = 1 / 1000
"""The gap after a bar as a fraction of the whole time; bars without a gap would look like one."""

DPI = 150

MARK: dict[str, Any] = {"marker": "X", "markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.8}
"""The edge makes it visible on bars of any colour, and on any background."""

LONGEST_LINE = 96
"""Characters that fit the width of the picture."""

COUNTS_LENGTH = 36
"""Characters of a line that are kept for the counts after an upload's name."""


def draw(history: UploadHistory, picture: Picture, form: str) -> bytes:
    """Return the picture as the content of a file in the format `svg` or `png`."""
    rows = ROW_HEIGHT * max(picture.rows, MIN_ROWS)
    figure = Figure(figsize=(WIDTH, rows + OTHER_HEIGHT), layout="constrained", facecolor="none")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [rows, OTHER_HEIGHT / 2]})
    span = picture.span or 1.0
    for axes in (above, below):
        axes.set_facecolor("none")
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=INK, labelsize=8, length=0)
        axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    _draw_rows(above, picture, span)
    _draw_rates(below, history.rates)
    _draw_in_flight(below.twinx(), picture)
    below.set_xlim(-span / 200, span * 1.005)
    instants = ticks(span)
    below.set_xticks(instants, [format_clock(instant) for instant in instants], fontfamily=FONT)
    above.tick_params(labelbottom=False)
    _draw_title(above, history, picture)
    _draw_legend(figure, picture)
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=DPI, metadata={"Date": None} if form == "svg" else None)
    return _with_stable_ids(file.getvalue()) if form == "svg" else file.getvalue()


def _draw_rows(axes: Axes, picture: Picture, span: float) -> None:
    """Draw the blocks from top to bottom: a line of text for each, then its rows."""
    line = 0
    labels: dict[int, str] = {}
    boxes: dict[BarOutcome, list[Any]] = {}
    marks: dict[BarOutcome, list[tuple[float, int]]] = {}
    for block in picture.blocks:
        _draw_text(axes, 0, line, _describe_block(block), va="center", fontsize=8.5, color=INK)
        line += 1
        for number, row in enumerate(block.rows):
            if block.keys:
                labels[line] = _row_label(block.keys[number])
            for bar in row:
                boxes.setdefault(bar.outcome, []).append(_outline(bar, line, span))
                if bar.outcome in ("again", "failed"):
                    marks.setdefault(bar.outcome, []).append((bar.ended, line))
            line += 1
    # An attempt that was cancelled for a second one is below it.
    for outcome, corners in sorted(boxes.items(), key=lambda one: one[0] != "stopped"):
        # One path for all bars of a colour: 20,000 bars are then 1 MB of SVG instead of several.
        path = Path.make_compound_path(*(Path(one, closed=True) for one in corners))
        axes.add_patch(PathPatch(path, facecolor=COLORS[outcome], linewidth=0))
    for outcome, places in marks.items():
        xs, ys = [x for x, _ in places], [y for _, y in places]
        axes.plot(xs, ys, color=COLORS[outcome], linestyle="none", clip_on=False, **MARK)
    axes.set_ylim(max(line, MIN_ROWS) - 0.4, -0.6)
    axes.set_yticks(list(labels), list(labels.values()), fontfamily=FONT, parse_math=False)


def _outline(bar: Bar, line: int, span: float) -> list[tuple[float, float]]:
    right = max(bar.ended - span * BAR_GAP, bar.began + span * MIN_BAR)
    top, bottom = line - BAR_HEIGHT / 2, line + BAR_HEIGHT / 2
    return [(bar.began, top), (right, top), (right, bottom), (bar.began, bottom), (bar.began, top)]


def _draw_rates(axes: Axes, rates: Rates) -> None:
    edges = [number * rates.width for number in range(len(rates.bins) + 1)]
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4) if rates.bins else NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter(unit="B/s"))
    axes.grid(axis="y", color=INK, alpha=0.25, linewidth=0.6)
    if rates.bins:
        speeds = [moved / rates.width for moved in rates.bins]
        axes.stairs(speeds, edges, fill=True, color=COLORS["done"], alpha=0.55, linewidth=0)
    axes.set_ylim(bottom=0)


def _draw_in_flight(axes: Axes, picture: Picture) -> None:
    """Draw how many attempts ran at once, with a scale at the right."""
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True) if picture.in_flight else NullLocator())
    axes.yaxis.set_major_formatter("{x:.0f} at once")
    if picture.in_flight:
        edges = [number * picture.span / len(picture.in_flight) for number in range(len(picture.in_flight) + 1)]
        axes.stairs(picture.in_flight, edges, baseline=None, color=INK, linewidth=1.0)
    axes.set_ylim(bottom=0)


def _draw_title(axes: Axes, history: UploadHistory, picture: Picture) -> None:
    lines = [_describe_total(history, picture)]
    again = sum(history.reasons.values())
    if again:
        reasons = ", ".join(f"{reason} ({number})" for reason, number in history.reasons.most_common(3))
        more = ", …" if len(history.reasons) > 3 else ""
        times = "once" if again == 1 else f"{again:,} times"
        lines.append(f"tried again {times}: {reasons}{more}")
    races = sum(track.races for track in history.tracks)
    if races:
        lines.append(f"sent a second time beside a slow connection: {'once' if races == 1 else f'{races:,} times'}")
    if history.forgotten + picture.left_out:
        lines.append(f"{history.forgotten + picture.left_out:,} more attempts are not drawn")
    axes.set_title(
        "\n".join(_clean(one) for one in lines),
        loc="left",
        fontsize=9.5,
        color=INK,
        parse_math=False,
        fontfamily=FONT,
        linespacing=1.5,
    )


def _draw_legend(figure: Figure, picture: Picture) -> None:
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


def _describe_total(history: UploadHistory, picture: Picture) -> str:
    moved = sum(history.rates.bins)
    rate = f", {_format_bytes(moved / picture.span)}/s" if picture.span else ""
    return f"{_format_bytes(moved)} sent in {format_clock(picture.span)}{rate}"


def _describe_block(block: PictureBlock) -> str:
    """Return the line of text above the rows of a block."""
    at_once = f"at most {block.at_once} at once" if block.rows and not block.keys else ""
    if len(block.tracks) == 1:
        return ", ".join(one for one in (_describe_track(block.tracks[0]), at_once) if one)
    ends = [track.end for track in block.tracks]
    failed = sum(end not in (None, "done", "there before") for end in ends)
    words = [f"{len(ends):,} uploads together", at_once]
    words += [f"{ends.count('there before'):,} there before"] * ("there before" in ends)
    words += [f"{failed:,} failed"] * bool(failed) + [f"{ends.count(None):,} not ended"] * (None in ends)
    return ", ".join(one for one in words if one)


def _describe_track(track: Track) -> str:
    words = []
    if track.count:
        noun = "file" if track.is_folder else "part"
        words.append(f"{_format_bytes(track.size)} in {track.count:,} {noun}{'s' * (track.count != 1)}")
    if track.bytes_before:
        words.append(f"{_format_bytes(track.bytes_before)} sent before")
    if track.replanned:
        words.append(f"begun anew {track.replanned} times" if track.replanned > 1 else "begun anew")
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
    return f"{_shorten(track.name or 'upload', LONGEST_LINE - COUNTS_LENGTH)}: {', '.join(words) or 'done'}"


def _format_bytes(number: float) -> str:
    return EngFormatter(unit="B", places=1 if number >= 1000 else 0)(number)


def _row_label(key: int | str) -> str:
    return f"part {key}" if isinstance(key, int) else _clean(_shorten(key, 28))


def _shorten(text: str, most: int) -> str:
    """Return the text with its middle left out if it is too long: both ends of a path say more."""
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 1]}…{text[-half:]}"


def _clean(text: str) -> str:
    """Return the text with the characters that the font lacks replaced: matplotlib would warn about each."""
    known = get_font(findfont(FONT)).get_charmap()
    return "".join(one if one.isprintable() and ord(one) in known else "\N{REPLACEMENT CHARACTER}" for one in text)


def _draw_text(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    # Without `parse_math`, a `$` in a file's name would begin a formula.
    axes.text(x, y, _clean(text), parse_math=False, fontfamily=FONT, **how)


SHAPE_ID = re.compile(rb"\b[hpm][0-9a-f]{10}\b")
"""The ids of shapes in matplotlib's SVG. They are random unless `rcParams["svg.hashsalt"]` is set, which is global."""


def _with_stable_ids(content: bytes) -> bytes:
    """Return an SVG whose shapes are numbered in order, so that the same picture is always the same file."""
    names: defaultdict[bytes, bytes] = defaultdict(lambda: b"shape%d" % (len(names) + 1))
    return SHAPE_ID.sub(lambda found: names[found[0]], content)
