"""The pages of the docs and their code blocks, to run them as a reader would."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NEEDS_CLUSTER = "from distributed import"
"""In a block: it needs a cluster whose address is the name SCHEDULER."""

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
AGENTS = ROOT / "AGENTS.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
SITE = [
    README,
    AGENTS,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *DOCS,
    *sorted((ROOT / "examples").glob("*/*.md")),
]
"""Every page of the site."""


def text_of(page: Path) -> str:
    """Return the text of a page; empty where the built wheel is tested, which has no pages but collects their tests."""
    return page.read_text(encoding="utf-8") if page.exists() else ""


def fences(text: str) -> Iterator[re.Match[str]]:
    """Yield each fenced block: its language and its content."""
    return re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[Any]:
    """Yield each Python block, named by the heading above it."""
    text = text_of(page)
    headings = [(found.start(), found[1]) for found in re.finditer(r"^#+ (.+)$", text, re.MULTILINE)]
    for found in fences(text):
        if found[1] == "python":
            heading = [name for start, name in headings if start < found.start()][-1]
            line = text[: found.start(2)].count("\n")
            marks = [pytest.mark.needs_program] if NEEDS_CLUSTER in found[2] else []
            # Tracebacks then show the line numbers of the page.
            yield pytest.param("\n" * line + found[2], id=f"{heading}:{line}", marks=marks)


def promise_of(page: Path, block: str) -> str | None:
    """Return the output that a page promises for a block, as a regular expression, if it promises any."""
    after = text_of(page).split(f"```python\n{block.lstrip()}```\n", 1)[1]
    found = re.match(r"\nIt prints[^\n]*:\n\n```text\n(.*?)```\n", after, re.DOTALL)
    # A line of `…` stands for zero or more lines.
    return found and ".*".join(map(re.escape, found[1].split("…\n")))


def commands(page: Path) -> Iterator[str]:
    """Yield each line of a shell block, without its comment."""
    for found in fences(text_of(page)):
        if found[1] in ("", "sh"):
            yield from (line.partition(" #")[0].strip() for line in found[2].splitlines())


def run(block: str, page: Path, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute a block, in an event loop if it has `await` at its top level. Its names are left in `names`."""
    # In sys.modules, because dataclasses and postponed annotations look up the module there.
    module = types.ModuleType("page_block")
    module.__dict__.update(names)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ended = types.FunctionType(code, module.__dict__)()
    if inspect.iscoroutine(ended):
        asyncio.run(ended)
    names.update(module.__dict__)
