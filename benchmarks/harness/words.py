"""How are sizes and lists written on a command line?"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def size(text: str) -> int:
    """Read `32MiB`, `2GiB` or a number of bytes."""
    match = re.fullmatch(r"(\d+)\s*(kib|mib|gib|)", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 32MiB")
    return int(match[1]) * UNITS[match[2]]


def show_size(number: int) -> str:
    """Write a size in the largest unit that divides it."""
    for unit in ("GiB", "MiB", "KiB"):
        if number >= UNITS[unit.lower()] and number % UNITS[unit.lower()] == 0:
            return f"{number // UNITS[unit.lower()]} {unit}"
    return f"{number} B"


def many(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Make a reader of a list with commas."""
    return lambda text: [read(word) for word in text.split(",")]


def parser(description: str | None, *, runs: int) -> argparse.ArgumentParser:
    """Make a parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--runs", type=int, default=runs, help=f"interleaved rounds that count (default {runs})")
    made.add_argument("--warm-up", type=int, default=1, help="rounds that do not (default 1)")
    made.add_argument("--output", type=Path, help="the JSON file (default: benchmarks/results/<name>.json)")
    made.add_argument("--quick", action="store_true", help="one cell, for a first look")
    return made
