"""The Python blocks of a page of the docs, to be run as a reader would."""

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
"""In a block: a cluster is to run beside it, whose address is the name SCHEDULER."""

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: Path) -> Iterator[Any]:
    """Each Python block, named by the heading that it stands under."""
    # Where the built wheel is tested there is no page, and its module is collected all the same.
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    headings = [(found.start(), found[1]) for found in re.finditer(r"^#+ (.+)$", text, re.MULTILINE)]
    for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        heading = [name for start, name in headings if start < found.start()][-1]
        line = text[: found.start(1)].count("\n")
        marks = [pytest.mark.needs_program] if NEEDS_CLUSTER in found[1] else []
        # Line numbers of the page in a traceback.
        yield pytest.param("\n" * line + found[1], id=f"{heading}:{line}", marks=marks)


def run(block: str, page: Path, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute a block; one that awaits at its top does so in a loop of its own. Its names end up in `names`."""
    # As a module that exists: annotations of `from __future__` kind and dataclasses look it up.
    module = types.ModuleType("page_block")
    module.__dict__.update(names)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ended = types.FunctionType(code, module.__dict__)()
    if inspect.iscoroutine(ended):
        asyncio.run(ended)
    names.update(module.__dict__)
