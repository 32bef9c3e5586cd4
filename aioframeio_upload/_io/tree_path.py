"""A file of a tree that was walked, opened without following a link to a folder: the walk followed none either."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from .._core.errors import SourceChanged

CAN_HOLD = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether each folder on the way can be opened by itself, inside the one before. Not on Windows: there the folders are
looked at one after the other, and one that is swapped between that look and the opening is not noticed."""


class TreePath(os.PathLike[str]):
    """A file below a root. To everybody but `open` and `stat` it is a path like any other.

    Whoever may write into a folder that is uploaded could replace a folder in it by a link after the walk, and so have
    any file sent that the uploading user can read. The root is the caller's, and may be a link; a link to a file is
    followed, as it was by the walk.
    """

    __slots__ = ("_names", "_root")

    def __init__(self, root: str, relative: str) -> None:
        self._root = root
        self._names = relative.split("/")

    def __fspath__(self) -> str:
        return os.path.join(self._root, *self._names)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {os.fspath(self)!r}>"

    def open(self, _: str, flags: int) -> int:
        """Open the file; an `opener` for `open()`.

        Raises:
            SourceChanged: A folder on the way is a link now.
            OSError: It cannot be opened.
        """
        with self._folder() as (name, folder):
            return os.open(name, flags, dir_fd=folder)

    def stat(self) -> os.stat_result:
        """Look at the file. Raises as `open` does."""
        with self._folder() as (name, folder):
            return os.stat(name, dir_fd=folder)

    @contextmanager
    def _folder(self) -> Iterator[tuple[str, int | None]]:
        """Give the file's name and the open folder that it is in; the whole path and None where none can be opened."""
        *folders, name = self._names
        if not CAN_HOLD:
            self._look(folders)
            yield os.fspath(self), None
            return
        held = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for index, folder in enumerate(folders, 1):
                try:
                    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
                except OSError:
                    # ELOOP, ENOTDIR or EMLINK, as the system likes: so it is asked.
                    if stat.S_ISLNK(os.stat(folder, dir_fd=held, follow_symlinks=False).st_mode):
                        raise self._changed(folders[:index]) from None
                    raise
                os.close(held)
                held = inside
            yield name, held
        finally:
            os.close(held)

    def _look(self, folders: list[str]) -> None:
        path = self._root
        for index, folder in enumerate(folders, 1):
            path = os.path.join(path, folder)
            found = os.lstat(path)
            # A junction is no link to `S_ISLNK`, and leads elsewhere all the same.
            if stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == MOUNT_POINT:
                raise self._changed(folders[:index])

    def _changed(self, folders: list[str]) -> SourceChanged:
        where = "/".join(folders)
        return SourceChanged(
            f"its folder {where!r} became a link after the walk, and is not followed", path=os.fspath(self)
        )


MOUNT_POINT: int = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)
"""Windows' tag of junctions and of volumes that are mounted into a folder."""
