"""Order the files of a folder so that neither the network link nor the API is idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

BIG = 32 << 20
"""Bytes. Sending a file of this size takes longer than creating it at Frame.io, on any link."""


class LocalFile(NamedTuple):
    """A file of the tree, as the walk found it. Small, because a walk may find a hundred thousand."""

    path: str
    """Relative to the root, with `/`."""
    size: int
    modified_ns: int
    changed_ns: int | None = None
    """When its content or status was changed last; None if that is not known."""

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rpartition("/")[2]


def folder_of(file: LocalFile) -> str:
    """Return the path of a file's folder; empty for the root."""
    return file.path.rpartition("/")[0]


class FileQueue:
    """The files that are still to be sent.

    Big files start at once, the biggest first, so that the upload does not end with one big file alone. They use half
    of the slots; small files, which need API calls but little bandwidth, use the rest, folder by folder.
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
        """Remove and return the next file.

        Args:
            big_under_way: Number of big files that are being sent.
            places: Number of files that may be sent at once.
        """
        if self._big and (not self._small or big_under_way < max(1, places // 2)):
            return self._big.popleft()
        return self._small.popleft()
