"""The order in which the files of a folder are sent, so that neither the link nor the API idles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

BIG = 32 << 20
"""Bytes from which on a file keeps the line busy for longer than its creation takes, on any line."""


class LocalFile(NamedTuple):
    """A file of the tree, as the walk found it; a hundred thousand of them are kept, so it is small."""

    path: str
    """Relative to the root, with `/`."""
    size: int
    modified_ns: int

    @property
    def name(self) -> str:
        """Its name."""
        return self.path.rpartition("/")[2]


def folder_of(file: LocalFile) -> str:
    """Give the path of a file's folder; empty for the root."""
    return file.path.rpartition("/")[0]


class FileQueue:
    """What is still to be sent.

    The big files begin at once, the biggest first, so that the last minute is not one big file. They take half of the
    places: small ones, which need creations and hardly any line, go beside them, folder by folder.
    """

    def __init__(self, files: Iterable[LocalFile]) -> None:
        small: list[LocalFile] = []
        big: list[LocalFile] = []
        for file in files:
            (big if file.size >= BIG else small).append(file)
        self._small = deque(small)
        self._big = deque(sorted(big, key=lambda file: -file.size))

    def __len__(self) -> int:
        return len(self._small) + len(self._big)

    def take(self, big_under_way: int, places: int) -> LocalFile:
        """Give the next one.

        Args:
            big_under_way: How many big files are being sent.
            places: How many files may be.
        """
        if self._big and (not self._small or big_under_way < max(1, places // 2)):
            return self._big.popleft()
        return self._small.popleft()
