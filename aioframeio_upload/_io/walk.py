"""Walk a local tree in a thread: find the wanted files, their folders, and what cannot be read."""

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
from .tree_path import MOUNT_POINT, TreePath

ON_WINDOWS = os.name == "nt"


@dataclass(slots=True)
class Tree:
    """The result of a walk. Paths are relative to the root, with `/`; that of the root is empty."""

    root: str
    files: list[LocalFile] = field(default_factory=list)
    """Folder by folder, sorted by name."""
    size: int = 0
    """Total bytes of all files."""
    folders: list[str] = field(default_factory=list)
    """The folders to create, parents before children."""
    failures: list[tuple[str, SourceError]] = field(default_factory=list)
    """Paths that could not be read, and why."""
    bare: frozenset[str] = frozenset()
    """Folders without any non-empty file below them."""
    look_alikes: frozenset[str] = frozenset()
    """Files and folders whose names differ from another one's only in Unicode normalization."""

    def path(self, relative: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.root, *relative.split("/"))

    def file(self, relative: str) -> TreePath:
        """Return the path of a file, which opens it without following links to folders."""
        return TreePath(self.root, relative)


async def walk(root: str, wanted: Patterns, executor: Executor) -> Tree:
    """Walk a tree in a thread; a cancellation ends the thread at its next folder.

    Names that begin with a dot, files that systems create for themselves, and links to folders are left out; links to
    files are followed. A folder that `exclude` matches is not walked.

    Raises:
        SourceError: The root is missing, not a folder, or unreadable.
    """
    stopped = threading.Event()
    try:
        return await in_thread(executor, _walk, root, wanted.matcher(), bool(wanted.include), stopped)
    finally:
        stopped.set()


def _walk(root: str, matcher: Matcher, is_picky: bool, stopped: threading.Event) -> Tree:
    tree = Tree(root)
    # Folders, and whether `include` covers all of each. A stack: the last one is walked first, in the order of names.
    waiting = [("", not is_picky)]
    while waiting and not stopped.is_set():
        folder, is_whole = waiting.pop()
        try:
            below = read_folder(tree, folder, is_whole, matcher)
        except SourceError as failure:
            if not folder:
                raise
            tree.failures.append((folder, failure))
            continue
        tree.folders.append(folder)
        waiting.extend(reversed(below))
    tree.size = sum(file.size for file in tree.files)
    tree.bare = frozenset(tree.folders) - _leading([file for file in tree.files if file.size])
    if is_picky:  # with `include`, folders without a matching file are not wanted
        tree.folders = [folder for folder in tree.folders if folder not in tree.bare]
    tree.look_alikes = ambiguous([*tree.folders, *(file.path for file in tree.files)])
    return tree


def read_folder(tree: Tree, folder: str, is_whole: bool, matcher: Matcher) -> list[tuple[str, bool]]:
    """Add the wanted files of one folder to the tree; return its wanted subfolders, each with its own `is_whole`.

    Args:
        tree: Gets the files and the failures.
        folder: Path relative to the tree's root; empty for the root.
        is_whole: Whether `include` covers everything in the folder.
        matcher: The patterns.

    Raises:
        SourceError: The folder is missing, not a folder, or unreadable.
    """
    path = tree.path(folder) if folder else tree.root
    try:
        inside = sorted(_entries(path), key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "is not a valid path"
        away = isinstance(error, OSError) and not isinstance(error, NotADirectoryError)
        raise SourceError(reason, path=printable(path), away=away) from error
    return _sort_out(inside, folder, is_whole, matcher, tree)


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
            _add_failure(tree, path, error.strerror or type(error).__name__, entry, away=True)
            continue
        if is_folder:
            if not is_text(entry.name):
                _add_failure(tree, path, NO_TEXT, entry)
            elif not matcher.excludes(path + "/"):
                below.append((path, is_whole or matcher.includes(path + "/")))
        elif not matcher.excludes(path) and (is_whole or matcher.includes(path)):
            _look_at(entry, path, tree)
    return below


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        for entry in found:
            # A link to a folder may lead out of the tree, or back into it in an endless loop.
            if not is_left_out(entry.name) and not _is_link_to_folder(entry):
                yield entry


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return (entry.is_symlink() or (ON_WINDOWS and _is_junction(entry))) and entry.is_dir()
    except OSError:
        return False  # a dangling link; `_look_at` reports it


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is Windows' other kind of link. (`DirEntry.is_junction` is new in Python 3.12.)"""
    return getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0) == MOUNT_POINT


def _look_at(entry: os.DirEntry[str], path: str, tree: Tree) -> None:
    try:
        # A listing of NTFS may have an outdated size and time, of a file with another name or one that is being written
        # to (Python's documentation of `os.DirEntry.stat`). `check_unchanged` would take that for a change.
        found = os.stat(entry.path) if ON_WINDOWS else entry.stat()
    except OSError as error:
        _add_failure(tree, path, error.strerror or type(error).__name__, entry, away=True)
        return
    if not stat.S_ISREG(found.st_mode):
        _add_failure(tree, path, "is not a regular file", entry)
    elif not is_text(entry.name):
        _add_failure(tree, path, NO_TEXT, entry)
    else:
        tree.files.append(LocalFile(path, found.st_size, found.st_mtime_ns))


def _add_failure(tree: Tree, path: str, reason: str, entry: os.DirEntry[str], *, away: bool = False) -> None:
    tree.failures.append((printable(path), SourceError(reason, path=printable(entry.path), away=away)))


def _leading(files: list[LocalFile]) -> set[str]:
    """Return every folder that contains one of the files, directly or not."""
    leading = {""} if files else set()
    for file in files:
        folder = folder_of(file)
        while folder and folder not in leading:
            leading.add(folder)
            folder = folder.rpartition("/")[0]
    return leading


async def check_unchanged(path: str | TreePath, file: LocalFile, executor: Executor) -> None:
    """Check that a file is still what the walk found, so that it is sent as planned or not at all.

    Raises:
        SourceError: It is missing, or its status cannot be read.
        SourceChanged: Its size or modification time changed, or a folder on the way has become a link.
    """
    shown = printable(os.fspath(path))
    try:
        now = await in_thread(executor, path.stat if isinstance(path, TreePath) else partial(os.stat, path))
    except OSError as error:
        raise SourceError(error.strerror or type(error).__name__, path=shown, away=True) from error
    if (now.st_size, now.st_mtime_ns) != (file.size, file.modified_ns):
        raise SourceChanged("changed since the folder was walked", path=shown)
