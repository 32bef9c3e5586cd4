"""Record the measurements with machine and versions, as JSON from which a table can be made years later."""

from __future__ import annotations

import json
import os
import platform
import ssl
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def write_record(
    name: str, rows: Sequence[dict[str, Any]], *, left_out: Sequence[str] = (), path: Path | None, before: str = ""
) -> Path:
    """Write a record as JSON, and return its path.

    Args:
        name: The name of the benchmark.
        rows: The results.
        left_out: What was not measured, and why.
        path: The file; None for `<name>.json` in `benchmarks/results/`.
        before: The commands that measured earlier rows, if any.
    """
    target = path or RESULTS / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "benchmark": name,
        "command": before + " ".join(["python", "-m", _program(), *(_relative(word) for word in sys.argv[1:])]),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": _machine(),
        "versions": _versions(),
        "left_out": list(left_out),
        "rows": list(rows),
    }
    target.write_text(json.dumps(record, indent=1, default=_plain) + "\n", encoding="utf-8")
    print(f"\nwritten to {_relative(str(target))}")
    return target


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(type(value).__name__)


def _program() -> str:
    """Return the name by which this program is run with `-m`."""
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec is not None else "?"


def _relative(word: str) -> str:
    """Return an absolute path relative to the repository, or its last component: other paths are private."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _machine() -> dict[str, Any]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 1024**3, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        # Above 2, on two cores, more than the client and the sink was running: only the ratios are meaningful.
        "load_average": [round(one, 2) for one in os.getloadavg()],
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION}
    for package in ("aioframeio-upload", "aiohttp", "aiofiles", "anyio", "frameio", "httpx", "uvloop"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    for tool in ("curl", "cc"):
        try:
            stdout = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
            found[tool] = stdout.splitlines()[0] if stdout else "absent"
        except FileNotFoundError:
            found[tool] = "absent"
    return found


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, with text aligned to the left and numbers to the right."""
    texts = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(heads), *texts]) for column in range(len(heads))]
    print("  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)))
    for row, line in zip(rows, texts, strict=True):
        aligned = [
            text.ljust(width) if isinstance(cell, str) else text.rjust(width)
            for cell, text, width in zip(row, line, widths, strict=True)
        ]
        print("  ".join(aligned))
