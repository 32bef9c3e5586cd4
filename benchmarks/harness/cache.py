"""Fill and empty the page cache for a file, and measure how much of the file it holds."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

MIB = 1 << 20


def warm(paths: Iterable[Path]) -> None:
    """Read the files once, so that the page cache holds them."""
    for path in paths:
        with path.open("rb", buffering=0) as file:
            block = bytearray(4 * MIB)
            while file.readinto(block):
                pass


def cool(paths: Iterable[Path]) -> None:
    """Ask the kernel to drop the files' pages, after a sync: it keeps pages that are not on the disk yet."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def resident(path: Path) -> float:
    """Return the fraction of a file that is in the page cache, by mincore(2)."""
    size = path.stat().st_size
    if size == 0:
        return 1.0
    libc = ctypes.CDLL(None, use_errno=True)
    pages = -(-size // mmap.PAGESIZE)
    marks = (ctypes.c_ubyte * pages)()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as view:
        start = ctypes.c_char.from_buffer(view)
        done = libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), marks)
        del start  # a mapping cannot be closed while something points into it
    if done != 0:
        raise OSError(ctypes.get_errno(), "mincore", str(path))
    return sum(mark & 1 for mark in bytes(marks)) / pages
