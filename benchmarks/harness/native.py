"""Compile the C programs, and report what is missing for those that do not compile (`python -m benchmarks.build`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent / "native"
BUILD = NATIVE / "build"
LIBRARIES = {"sink": ["ssl", "crypto"], "floor": ["ssl", "crypto"], "libcurl": ["curl"]}
PACKAGES = {"ssl": "libssl-dev", "curl": "libcurl4-openssl-dev"}


class Missing(Exception):
    """A program needs something that this machine lacks; the message says what to install."""


def built(name: str) -> Path:
    """Return the path of a C program. It is compiled first, unless it is newer than its sources.

    Raises:
        Missing: There is no compiler, or the headers of a library are missing.
    """
    program = BUILD / name
    sources = [NATIVE / f"{name}.c", NATIVE / "common.h"]
    if program.exists() and program.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Missing(f"{name}: no C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev)")
    BUILD.mkdir(exist_ok=True)
    # Compiled into another folder and renamed: another process may be running the program, or compiling it too.
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        fresh = Path(folder) / name
        flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
        libraries = [f"-l{library}" for library in LIBRARIES[name]]
        done = subprocess.run(
            [compiler, *flags, str(sources[0]), "-o", str(fresh), *libraries],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Missing(f"{name}: {_reason(name, done.stderr)}")
        fresh.replace(program)
    return program


def _reason(name: str, stderr: str) -> str:
    for library in LIBRARIES[name]:
        absent = f"{'openssl' if library == 'ssl' else library}/" in stderr and "No such file" in stderr
        if library in PACKAGES and (absent or f"cannot find -l{library}" in stderr):
            return f"the headers of {library} are missing (Debian, Ubuntu: apt-get install {PACKAGES[library]})"
    return f"does not compile here:\n{stderr}"
