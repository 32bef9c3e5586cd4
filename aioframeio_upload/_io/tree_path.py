"""Open a file of a walked tree without following links to folders, just as the walk did not follow them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from .._core.errors import SourceChanged

CAN_HOLD = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether each folder of a path can be opened relative to its parent. Not on Windows: there the folders are only
checked one after the other, so a folder that is replaced between the check and the opening is not noticed."""


MOUNT_POINT: int = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)
"""Windows' reparse tag of junctions, and of volumes that are mounted into a folder."""


class TreePath(os.PathLike[str]):
    """A file below a root: a path like any other, except that its `open` and `stat` do not follow links to folders.

    Whoever can write to an uploaded folder could replace a folder in it by a link after the walk, and so have any file
    sent that the uploading user can read. The root belongs to the caller and may be a link; links to files are
    followed, as the walk did.
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
            SourceChanged: A folder on the way has become a link.
            OSError: The file cannot be opened.
        """
        with self._folder() as (name, folder):
            return os.open(name, flags, dir_fd=folder)

    def stat(self) -> os.stat_result:
        """Return the file's status; raises as `open` does."""
        with self._folder() as (name, folder):
            return os.stat(name, dir_fd=folder)

    @contextmanager
    def _folder(self) -> Iterator[tuple[str, int | None]]:
        """Yield the file's name and a descriptor of its folder; without `CAN_HOLD`, the whole path and None."""
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
                    # Depending on the system, a link causes ELOOP, ENOTDIR or EMLINK, so its type is checked instead.
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
            # For `S_ISLNK` a junction is not a link, although it leads elsewhere as well.
            if stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == MOUNT_POINT:
                raise self._changed(folders[:index])

    def _changed(self, folders: list[str]) -> SourceChanged:
        where = "/".join(folders)
        return SourceChanged(
            f"its folder {where!r} became a link after the walk, and is not followed",
            path=os.fspath(self),
            advice="put the folder itself in its place, then upload it again",
        )
