"""Write a file as a whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, or replace the one that is there; that one is left as it is until the new one is on the disk.

    The new one is written beside it under a name that nobody can guess, and only if nothing is there by that name: in a
    folder that others may write to, a link planted there would lead the content, or the loss of a file, elsewhere. It
    gets the permissions of the one that it replaces.

    Raises:
        OSError: It cannot be written.
    """
    unfinished = path.with_name(f".{secrets.token_hex(16)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(unfinished, flags, _mode_of(path))
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # After a crash of the machine there would otherwise be an empty file in place of the one before.
            os.fsync(descriptor)
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def _mode_of(path: Path) -> int:
    try:
        found = os.lstat(path)
    except OSError:
        return 0o666
    return stat.S_IMODE(found.st_mode) & 0o777 if stat.S_ISREG(found.st_mode) else 0o666
