"""The files of a tree, found in one go and off the loop: what is there, what is wanted, what cannot be looked at."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from .._core.api_schema import is_text
from .._core.errors import SourceChanged, SourceError
from .._core.file_queue import LocalFile, folder_of
from .._core.patterns import Matcher, Patterns, ambiguous, is_left_out
from .files import in_thread, printable
from .source_kinds import NO_TEXT
from .tree_path import TreePath


@dataclass(slots=True)
class Tree:
    """What a walk found; a path is relative to the root, with `/`, and empty for the root."""

    root: str
    files: list[LocalFile] = field(default_factory=list)
    """Folder by folder, by name."""
    size: int = 0
    """Of all of them together."""
    folders: list[str] = field(default_factory=list)
    """Those that are to be there, parents before children."""
    failures: list[tuple[str, SourceError]] = field(default_factory=list)
    """What could not be looked at."""
    bare: frozenset[str] = frozenset()
    """The folders that lead to no file that holds anything."""
    look_alikes: frozenset[str] = frozenset()
    """Files and folders of which another one has the same name but for the way it is encoded."""

    def path(self, relative: str) -> str:
        """Return where a file is."""
        return os.path.join(self.root, *relative.split("/"))

    def file(self, relative: str) -> TreePath:
        """Return where a file is, to be opened through the folders that were walked and no others."""
        return TreePath(self.root, relative)


async def walk(root: str, wanted: Patterns, executor: Executor) -> Tree:
    """Walk a tree; a cancellation ends the thread at its next folder.

    Names that begin with a dot, what systems make for themselves, and links to folders are left out; links to files
    are followed. A folder that `exclude` matches is not walked.

    Raises:
        SourceError: The root is missing, no folder, or unreadable.
    """
    stopped = threading.Event()
    try:
        return await in_thread(executor, _walk, root, wanted.matcher(), bool(wanted.include), stopped)
    finally:
        stopped.set()


def _walk(root: str, matcher: Matcher, is_picky: bool, stopped: threading.Event) -> Tree:
    tree = Tree(root)
    # A folder, and whether it was included as a whole. The last is walked first: folder by folder, by name.
    waiting = [("", not is_picky)]
    while waiting and not stopped.is_set():
        folder, is_whole = waiting.pop()
        try:
            inside = sorted(_entries(tree.path(folder) if folder else root), key=lambda entry: entry.name)
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "is no path"
            away = isinstance(error, OSError) and not isinstance(error, NotADirectoryError)
            failure = SourceError(reason, path=printable(tree.path(folder) if folder else root), away=away)
            if not folder:
                raise failure from error
            tree.failures.append((folder, failure))
            continue
        tree.folders.append(folder)
        waiting.extend(reversed(_sort_out(inside, folder, is_whole, matcher, tree)))
    tree.size = sum(file.size for file in tree.files)
    tree.bare = frozenset(tree.folders) - _leading([file for file in tree.files if file.size])
    if is_picky:  # the others were not asked for
        tree.folders = [folder for folder in tree.folders if folder not in tree.bare]
    tree.look_alikes = ambiguous([*tree.folders, *(file.path for file in tree.files)])
    return tree


def _sort_out(
    inside: list[os.DirEntry[str]], folder: str, is_whole: bool, matcher: Matcher, tree: Tree
) -> list[tuple[str, bool]]:
    """Add the wanted files of a folder to the tree, and return its wanted subfolders, as `_walk` has them waiting."""
    below = []
    for entry in inside:
        path = f"{folder}/{entry.name}" if folder else entry.name
        try:
            # Some file systems do not return the kind with the name (a few of FUSE's): then this asks, and may fail.
            is_folder = entry.is_dir(follow_symlinks=False)
        except OSError as error:
            _tell(tree, path, error.strerror or type(error).__name__, entry, away=True)
            continue
        if is_folder:
            if not is_text(entry.name):
                _tell(tree, path, NO_TEXT, entry)
            elif not matcher.excludes(path + "/"):
                below.append((path, is_whole or matcher.includes(path + "/")))
        elif not matcher.excludes(path) and (is_whole or matcher.includes(path)):
            _look_at(entry, path, tree)
    return below


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        for entry in found:
            # A link to a folder may lead out of the tree, or back into it.
            if not is_left_out(entry.name) and not _is_link_to_folder(entry):
                yield entry


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    # Windows' junctions are links to folders that are none to `is_symlink`; Python knows them from 3.12 on.
    is_junction = getattr(entry, "is_junction", None)
    if not entry.is_symlink() and not (is_junction is not None and is_junction()):
        return False
    try:
        return entry.is_dir()
    except OSError:
        return False  # it leads nowhere that can be seen: told where it is looked at


def _look_at(entry: os.DirEntry[str], path: str, tree: Tree) -> None:
    try:
        found = entry.stat()
    except OSError as error:
        _tell(tree, path, error.strerror or type(error).__name__, entry, away=True)
        return
    if not stat.S_ISREG(found.st_mode):
        _tell(tree, path, "is not a regular file", entry)
    elif not is_text(entry.name):
        _tell(tree, path, NO_TEXT, entry)
    else:
        tree.files.append(LocalFile(path, found.st_size, found.st_mtime_ns))


def _tell(tree: Tree, path: str, reason: str, entry: os.DirEntry[str], *, away: bool = False) -> None:
    tree.failures.append((printable(path), SourceError(reason, path=printable(entry.path), away=away)))


def _leading(files: list[LocalFile]) -> set[str]:
    """Give the folders that lead to a file."""
    leading = {""} if files else set()
    for file in files:
        folder = folder_of(file)
        while folder and folder not in leading:
            leading.add(folder)
            folder = folder.rpartition("/")[0]
    return leading


async def check_unchanged(path: str | TreePath, file: LocalFile, executor: Executor) -> None:
    """Raise if a file is not any more what the walk found: it is to be sent as planned, or not at all.

    Raises:
        SourceError: It has gone, or cannot be looked at.
        SourceChanged: It is another size, was written to, or a folder on the way is a link now.
    """
    told = printable(os.fspath(path))
    try:
        now = await in_thread(executor, path.stat if isinstance(path, TreePath) else partial(os.stat, path))
    except OSError as error:
        raise SourceError(error.strerror or type(error).__name__, path=told, away=True) from error
    if (now.st_size, now.st_mtime_ns) != (file.size, file.modified_ns):
        raise SourceChanged("changed since the folder was walked", path=told)
