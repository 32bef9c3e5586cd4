"""Write a file completely or not at all."""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file or replace an existing one, which stays unchanged until the new content is on the disk.

    The content is first written to a new file beside it, whose name cannot be guessed: in a folder that others may
    write to, a link planted under a known name would redirect the content, or overwrite another file. The new file gets
    the permissions of the one that it replaces, or `mode`.

    Raises:
        OSError: The file cannot be written.
    """
    unfinished = path.with_name(f".{secrets.token_hex(16)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(unfinished, flags, _mode_of(path) if mode is None else mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # Without fsync, a crash of the machine could leave an empty file in place of the previous one.
            os.fsync(descriptor)
        _replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


TRIES = 20 if os.name == "nt" else 1
"""Windows refuses to replace a file that another program has open; virus scanners and indexers do that for moments."""

PAUSE = 0.05
"""Seconds between two tries."""


def _replace(unfinished: Path, path: Path) -> None:
    for _ in range(TRIES - 1):
        try:
            os.replace(unfinished, path)
            return
        except PermissionError:
            time.sleep(PAUSE)
    os.replace(unfinished, path)


def _mode_of(path: Path) -> int:
    try:
        found = os.lstat(path)
    except OSError:
        return 0o666
    return stat.S_IMODE(found.st_mode) & 0o777 if stat.S_ISREG(found.st_mode) else 0o666
