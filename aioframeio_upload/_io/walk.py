"""Walk a local tree in a thread: find the wanted files, their folders, and what cannot be read."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from .._core.api_schema import is_text
from .._core.errors import SourceChanged, SourceError
from .._core.events import FileLeftOut
from .._core.file_queue import LocalFile, folder_of
from .._core.patterns import (
    Matcher,
    Patterns,
    PatternUse,
    UnmatchedPattern,
    ambiguous,
    is_left_out,
    why_left_out,
)
from .._core.words import CHECK_PATH, LEAVE_OUT, RENAME, advise_on_file
from .files import in_thread, printable
from .source_kinds import NO_TEXT
from .tree_path import MOUNT_POINT, TreePath

ON_WINDOWS = os.name == "nt"


MOST_LEFT_OUT = 10_000
"""Paths that are kept of what a walk leaves out: 2 MB. A tree may have a million files that no pattern wants."""

LINK = "it is a link to a folder"
NOT_INCLUDED = "no pattern of include matches it"


class NothingNoted:
    """What a walk leaves out, where nobody asks for it."""

    def see(self, path: str) -> None:
        """Note a path about which the patterns decide, a folder's with a `/` at its end."""

    def leave_always(self, entry: os.DirEntry[str], path: str) -> None:
        """Note an entry that is left out whatever the patterns are."""

    def exclude(self, path: str) -> None:
        """Note a path that `exclude` matches, a folder's with a `/` at its end."""

    def not_include(self, path: str) -> None:
        """Note a file that no pattern of `include` matches."""


class LeftOut(NothingNoted):
    """What one walk leaves out, and which patterns have matched nothing. Used by the thread of the walk."""

    def __init__(self, wanted: Patterns) -> None:
        self._wanted = wanted
        self._use = PatternUse(wanted)
        self.paths: list[FileLeftOut] = []
        """The first of them."""
        self.count = 0

    def see(self, path: str) -> None:
        """Note a path about which the patterns decide, a folder's with a `/` at its end."""
        self._use.note(path)

    def leave_always(self, entry: os.DirEntry[str], path: str) -> None:
        """Note an entry that is left out whatever the patterns are."""
        try:
            slash = "/" * entry.is_dir()
        except OSError:
            slash = ""
        self._use.note(path + slash, is_left_out=True)
        self._add(path + slash, why_left_out(entry.name) or LINK)

    def exclude(self, path: str) -> None:
        """Note a path that `exclude` matches, a folder's with a `/` at its end."""
        is_kept = len(self.paths) < MOST_LEFT_OUT  # finding the pattern costs a few matches
        self._add(path, f"excluded by {self._wanted.excluding(path)!r}" if is_kept else "")

    def not_include(self, path: str) -> None:
        """Note a file that no pattern of `include` matches."""
        self._add(path, NOT_INCLUDED)

    def _add(self, path: str, reason: str) -> None:
        self.count += 1
        if len(self.paths) < MOST_LEFT_OUT:
            self.paths.append(FileLeftOut(printable(path), reason))

    def unmatched(self) -> tuple[UnmatchedPattern, ...]:
        """Return the patterns that have matched nothing."""
        return self._use.unmatched()


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
    left_out: NothingNoted = field(default_factory=NothingNoted)
    """Notes what is left out."""

    def path(self, relative: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.root, *relative.split("/"))

    def file(self, relative: str) -> TreePath:
        """Return the path of a file, which opens it without following links to folders."""
        return TreePath(self.root, relative)


async def walk(
    root: str,
    wanted: Patterns,
    executor: Executor,
    left_out: NothingNoted = NothingNoted(),  # noqa: B008  # stateless
) -> Tree:
    """Walk a tree in a thread; a cancellation ends the thread at its next folder.

    Names that begin with a dot, files that systems create for themselves, and links to folders are left out; links to
    files are followed. A folder that `exclude` matches is not walked.

    Raises:
        SourceError: The root is missing, not a folder, or unreadable.
    """
    stopped = threading.Event()
    try:
        return await in_thread(executor, _walk, root, wanted, left_out, stopped)
    finally:
        stopped.set()


def _walk(root: str, wanted: Patterns, left_out: NothingNoted, stopped: threading.Event) -> Tree:
    tree, matcher, is_picky = Tree(root, left_out=left_out), wanted.matcher(), bool(wanted.include)
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
        with os.scandir(path) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "is not a valid path"
        away = isinstance(error, OSError) and not isinstance(error, NotADirectoryError)
        advice = advise_on_file(error) or CHECK_PATH
        raise SourceError(reason, path=printable(path), away=away, advice=advice) from error
    return _sort_out(inside, folder, is_whole, matcher, tree)


def _sort_out(
    inside: list[os.DirEntry[str]], folder: str, is_whole: bool, matcher: Matcher, tree: Tree
) -> list[tuple[str, bool]]:
    """Add the wanted files of a folder to the tree, and return its wanted subfolders, as `_walk` has them waiting."""
    below, left_out = [], tree.left_out
    for entry in inside:
        path = f"{folder}/{entry.name}" if folder else entry.name
        # A link to a folder may lead out of the tree, or back into it in an endless loop.
        if is_left_out(entry.name) or _is_link_to_folder(entry):
            left_out.leave_always(entry, path)
            continue
        try:
            # Some file systems do not return the kind with the name (a few of FUSE's): then this asks, and may fail.
            is_folder = entry.is_dir(follow_symlinks=False)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            _add_failure(tree, path, reason, advise_on_file(error), entry, away=True)
            continue
        key = path + "/" * is_folder
        left_out.see(key)
        if is_folder and not is_text(entry.name):
            _add_failure(tree, path, NO_TEXT, RENAME, entry)
        elif matcher.excludes(key):
            left_out.exclude(key)
        elif is_folder:
            below.append((path, is_whole or matcher.includes(key)))
        elif is_whole or matcher.includes(path):
            _look_at(entry, path, tree)
        else:
            left_out.not_include(path)
    return below


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
        reason = error.strerror or type(error).__name__
        _add_failure(tree, path, reason, advise_on_file(error), entry, away=True)
        return
    if not stat.S_ISREG(found.st_mode):
        _add_failure(tree, path, "is not a regular file", LEAVE_OUT, entry)
    elif not is_text(entry.name):
        _add_failure(tree, path, NO_TEXT, RENAME, entry)
    else:
        tree.files.append(LocalFile(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def _add_failure(
    tree: Tree, path: str, reason: str, advice: str, entry: os.DirEntry[str], *, away: bool = False
) -> None:
    error = SourceError(reason, path=printable(entry.path), away=away, advice=advice)
    tree.failures.append((printable(path), error))


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
        reason = error.strerror or type(error).__name__
        raise SourceError(reason, path=shown, away=True, advice=advise_on_file(error)) from error
    if (now.st_size, now.st_mtime_ns) != (file.size, file.modified_ns):
        raise SourceChanged("changed since the folder was walked", path=shown)
