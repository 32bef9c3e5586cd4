"""Writes `docs/architecture.svg` from the house's storeys and its imports: `python docs/make_architecture.py`.

Both are what tests/test_house.py holds the package to; so this needs what the tests need.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

PICTURE = Path(__file__).resolve().with_name("architecture.svg")

sys.path.append(str(PICTURE.parent.parent / "tests"))
from test_house import OURS, PACKAGE, STOREYS, imported, parse, room_named, room_of  # noqa: E402

LINE = 18
"""Pixels from one room to the next."""
GAP = 44
"""Above each wing, for its name."""
ARCS, NAMES, WIDTH = 260, 140, 1120
"""Pixels for the arcs, for the names, and for all."""
FAKE = "testing/"


@dataclass(frozen=True)
class Wing:
    """Rooms that belong together."""

    name: str
    color: str
    starts: tuple[str, ...]
    """What its rooms' names begin with; the first wing that fits has the room."""


WINGS = (
    Wing("the command line and the demo: on public names only", "#a15c00", ("__main__", "_cli", "_demo")),
    Wing("testing: the fake Frame.io and S3, which import nothing of the library", "#5f6b76", (FAKE,)),
    Wing("_core: decides, and touches nothing of the world", "#8e3aa8", ("_core/",)),
    Wing("_io: touches the world, one thing of it in each room", "#1b7f4f", ("_io/",)),
    Wing("the flow: what a program calls, and what follows from it", "#1b6ca8", ("",)),
)


@dataclass(frozen=True)
class Room:
    """A module at its height in the picture; all of the fake is one."""

    name: str
    wing: Wing
    idea: str
    y: int


def picture() -> str:
    """Give the whole picture."""
    found = rooms()
    arcs = [arc(above, below) for above, below in imports(found)]
    labels = [label(room) for room in found.values()]
    wings = [title(next(members)) for _, members in groupby(found.values(), key=lambda room: room.wing)]
    height = max(room.y for room in found.values()) + LINE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' font-family="system-ui, sans-serif" font-size="11.5">',
            "<!-- Written by docs/make_architecture.py: change it there. -->",
            f"<title>{len(found)} rooms and {len(arcs)} imports, each of which leads down</title>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            '<g fill="none" stroke-opacity="0.3">',
            *arcs,
            "</g>",
            *wings,
            *labels,
            "</svg>\n",
        ]
    )


def rooms() -> dict[str, Room]:
    """Give every room by its name, from the roof down; those of one storey, too, stand one under the other."""
    ideas = {room_of(path): idea_of(path) for path in OURS}
    # The packages' own files are empty, but for the one that shows the public names.
    names = [name for name in STOREYS.split() if name != "_version" and not name.endswith("/__init__")]
    ideas[FAKE] = idea_of(PACKAGE / "testing" / "__init__.py")
    found: dict[str, Room] = {}
    y, above = 0, None
    for name in [*names, FAKE]:
        wing = next(wing for wing in WINGS if name.startswith(wing.starts))
        y += LINE if wing is above else GAP
        above = wing
        found[name] = Room(name, wing, ideas[name], y)
    return found


def idea_of(path: Path) -> str:
    """Give the one idea that a module begins with."""
    return (ast.get_docstring(parse(path)) or "").split("\n")[0].replace("`", "").rstrip(":")


def imports(found: dict[str, Room]) -> Iterator[tuple[Room, Room]]:
    """Give who imports whom, each pair once."""
    for path in OURS:
        above = found.get(room_of(path))
        if above is None:
            continue
        names = {room for room in map(room_named, imported(path)) if room is not None}
        for name in sorted({FAKE if name.startswith(FAKE) else name for name in names} & found.keys()):
            yield above, found[name]


def arc(above: Room, below: Room) -> str:
    """Draw an import, from a room down to another one; the farther, the wider."""
    out = ARCS - round(22 + (below.y - above.y) * 0.21)
    return f'<path d="M{ARCS} {above.y}C{out} {above.y} {out} {below.y} {ARCS} {below.y}" stroke="{above.wing.color}"/>'


def label(room: Room) -> str:
    """Draw a room: a dot, its name, its idea."""
    name = room.name.rpartition("/")[2] or room.name
    return (
        f'<circle cx="{ARCS}" cy="{room.y}" r="3" fill="{room.wing.color}"/>'
        f'<text x="{ARCS + 10}" y="{room.y + 4}" fill="{room.wing.color}" font-family="ui-monospace, monospace">'
        f"{escape(name)}</text>"
        f'<text x="{ARCS + NAMES}" y="{room.y + 4}" fill="#333">{escape(room.idea)}</text>'
    )


def title(first: Room) -> str:
    """Draw a wing's name above its first room."""
    return (
        f'<text x="{ARCS + 10}" y="{first.y - 18}" fill="{first.wing.color}" font-size="14" font-weight="600">'
        f"{escape(first.wing.name)}</text>"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
