"""Draw `docs/architecture.svg` from the package's imports and its layers: `python docs/make_architecture.py`.

The layers are those of the import-linter contract in pyproject.toml, which `python3 run.py lint` enforces; the
imports are read by grimp, import-linter's own reader. So the picture cannot disagree with what is enforced.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE = "aioframeio_upload"

LINE = 18
"""Pixels from one module to the next."""
GAP = 44
"""Pixels above each layer, for its title."""
ARCS, NAMES, WIDTH = 260, 170, 1120
"""Pixels for the arcs, for the names, and for the whole picture."""

PURPOSES = {
    "__main__": ("the entry point", "#a15c00"),
    "_cli": ("the command line and the demo, on public names only", "#a15c00"),
    "dask": ("public add-ons", "#b3262b"),
    "_uploader": ("what a program holds: the Uploader, its uploads, and what is behind the add-ons", "#1b6ca8"),
    "_engine": ("_engine: asyncio orchestration, what happens in which order", "#0b7285"),
    "_io": ("_io: touches the world, one module for each thing it touches", "#1b7f4f"),
    "_core": ("_core: pure decisions and records; no asyncio, no files, no clock", "#8e3aa8"),
}
"""A title and a colour for each layer, by the first package of the layer."""


@dataclass(frozen=True)
class Module:
    """A module and its place in the picture."""

    name: str
    purpose: str
    color: str
    y: int


def picture() -> str:
    """Return the picture as SVG."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # grimp finds the package as an import would
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True)
    found: dict[str, Module] = {}
    titles = []
    y = 0
    for title, color, names in layers(graph):
        y += GAP
        titles.append(heading(title, color, y))
        for name in names:
            found[name] = Module(name, purpose_of(name), color, y)
            y += LINE
    arcs = [arc(found[above], found[below]) for above in found for below in imported(graph, above) if below in found]
    height = max(module.y for module in found.values()) + LINE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' font-family="system-ui, sans-serif" font-size="11.5">',
            "<!-- Written by docs/make_architecture.py: change it there. -->",
            f"<title>{len(found)} modules and {len(arcs)} imports, each of which points down</title>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            '<g fill="none" stroke-opacity="0.3">',
            *arcs,
            "</g>",
            *titles,
            *(label(module) for module in found.values()),
            "</svg>\n",
        ]
    )


def layers(graph: grimp.ImportGraph) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each layer of the contract, from the top down: its title, its colour, its modules in import order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["type"] == "layers")
    for layer in contract["layers"]:
        packages = re.split(r"\s*[:|]\s*", layer)
        if packages[0] not in PURPOSES:
            continue  # `_version` has one line
        title, color = PURPOSES[packages[0]]
        roots = [f"{PACKAGE}.{package}" for package in packages]
        members = {
            module
            for module in graph.modules
            if any(module == root or module.startswith(f"{root}.") for root in roots) and not is_package(module)
        }
        yield title, color, in_order(graph, members)


def in_order(graph: grimp.ImportGraph, members: set[str]) -> list[str]:
    """Return modules so that each stands above those that it imports, alphabetically where that leaves a choice."""
    sorter = TopologicalSorter({name: set(graph.find_modules_that_directly_import(name)) & members for name in members})
    sorter.prepare()
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += ready
        sorter.done(*ready)
    return ordered


def imported(graph: grimp.ImportGraph, name: str) -> list[str]:
    """Return the modules that a module imports."""
    return sorted(graph.find_modules_directly_imported_by(name))


def path_of(name: str) -> Path:
    """Return the file of a module."""
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_package(name: str) -> bool:
    """Return whether a name is that of a package, whose own file is empty."""
    return path_of(name).name == "__init__.py"


def purpose_of(name: str) -> str:
    """Return the first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path_of(name).read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].replace("`", "").rstrip(":")


def arc(above: Module, below: Module) -> str:
    """Draw an import, from a module down to another one; the farther, the wider."""
    out = ARCS - round(22 + (below.y - above.y) * 0.18)
    return f'<path d="M{ARCS} {above.y}C{out} {above.y} {out} {below.y} {ARCS} {below.y}" stroke="{above.color}"/>'


def label(module: Module) -> str:
    """Draw a module: a dot, its name, its purpose."""
    name = re.sub(r"^(_engine|_io|_core)\.", "", module.name.removeprefix(f"{PACKAGE}."))
    return (
        f'<circle cx="{ARCS}" cy="{module.y}" r="3" fill="{module.color}"/>'
        f'<text x="{ARCS + 10}" y="{module.y + 4}" fill="{module.color}" font-family="ui-monospace, monospace">'
        f"{escape(name)}</text>"
        f'<text x="{ARCS + NAMES}" y="{module.y + 4}" fill="#333">{escape(module.purpose)}</text>'
    )


def heading(title: str, color: str, y: int) -> str:
    """Draw a layer's title above its first module."""
    return f'<text x="{ARCS + 10}" y="{y - 18}" fill="{color}" font-size="14" font-weight="600">{escape(title)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
