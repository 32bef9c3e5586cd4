"""Run a session of the noxfile with nothing but Python and pip: `python3 run.py tests`.

nox is installed into the virtual environment `.nox/run`, which the first run creates and later runs use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
HOME = ROOT / ".nox" / "run"
NEEDS = "nox>=2026.2"
OLDEST = (3, 11)
USAGE = "usage: python3 run.py SESSION... [-- ARGUMENTS for pytest, the demo or the benchmarks]"


class CannotPrepare(Exception):
    """This Python cannot create the environment; the message says what to install."""


def main(arguments: list[str]) -> int:
    """Run the named sessions, or list them if none is named."""
    if sys.version_info < OLDEST:
        print(f"This project needs Python {OLDEST[0]}.{OLDEST[1]} or newer; this is {sys.version.split()[0]}.")
        return 2
    try:
        python = prepared()
    except CannotPrepare as reason:
        print(reason)
        return 2
    nox = [str(python), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py")]
    if not arguments or arguments[0] in ("-h", "--help", "-l", "--list"):
        print(USAGE, flush=True)
        return call([*nox, "--list"])
    return call([*nox, "-s", *arguments])


def prepared() -> Path:
    """Return the Python that has nox. Create its environment if there is none, or if it was made for another Python."""
    python = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = HOME / "ready"
    # An environment breaks when its Python is replaced or its folder moves, so both are part of the match.
    wanted = f"{NEEDS}\n{sys.version}\n{sys.base_prefix}\n{HOME}\n"
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted and python.exists():
        return python
    print(f"Preparing {HOME.relative_to(ROOT)} (only this once) ...", file=sys.stderr, flush=True)
    shutil.rmtree(HOME, ignore_errors=True)
    if not (made_with_pip(python) or made_by_outer_pip(python)):
        raise CannotPrepare(
            "run.py could not create its virtual environment: unless pip gives another reason above, install "
            "Python's venv package (Debian, Ubuntu: apt-get install python3-venv) or pip 22.3 or newer."
        )
    ready.write_text(wanted, encoding="utf-8")
    return python


def made_with_pip(python: Path) -> bool:
    """Create the environment with Python's own pip; return False if ensurepip is missing, as on a minimal Debian."""
    # In a child process, because Debian's venv prints a page of advice and exits if ensurepip is missing.
    made = subprocess.run([sys.executable, "-m", "venv", str(HOME)], capture_output=True, check=False)
    return made.returncode == 0 and call([str(python), "-m", "pip", *install_nox()]) == 0


def made_by_outer_pip(python: Path) -> bool:
    """Create it without pip, and let this Python's pip install into it, which PEP 668 allows."""
    bare = subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(HOME)], check=False)
    if bare.returncode != 0:
        return False
    return call([sys.executable, "-m", "pip", "--python", str(python), *install_nox()]) == 0


def install_nox() -> list[str]:
    """Return pip's arguments to install nox and print errors only."""
    return ["install", "--quiet", "--disable-pip-version-check", NEEDS]


def call(command: list[str]) -> int:
    """Run a command on this terminal. The command itself handles Ctrl-C."""
    with subprocess.Popen(command, cwd=ROOT) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
