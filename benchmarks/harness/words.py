"""Read sizes and lists from the command line, and create the parser that all benchmarks share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def size(text: str) -> int:
    """Return the number of bytes of `32MiB`, `2GiB` or a plain number."""
    match = re.fullmatch(r"(\d+)\s*(kib|mib|gib|)", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 32MiB")
    return int(match[1]) * UNITS[match[2]]


def show_size(number: int) -> str:
    """Return a size as text, in the largest unit that divides it."""
    for unit in ("GiB", "MiB", "KiB"):
        if number >= UNITS[unit.lower()] and number % UNITS[unit.lower()] == 0:
            return f"{number // UNITS[unit.lower()]} {unit}"
    return f"{number} B"


def many(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Return a function that reads a list with commas."""
    return lambda text: [read(word) for word in text.split(",")]


def parser(description: str | None, *, runs: int) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--runs", type=int, default=runs, help=f"interleaved rounds that count (default {runs})")
    made.add_argument("--warm-up", type=int, default=1, help="rounds before them that do not count (default 1)")
    made.add_argument("--output", type=Path, help="the JSON file (default: benchmarks/results/<name>.json)")
    made.add_argument("--quick", action="store_true", help="one cell only, for a first impression")
    return made
