"""Find out in a thread which files of a watched folder were not sent yet, or have changed since."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from unicodedata import normalize

from .._core.api_schema import is_text
from .._core.errors import SourceChanged, SourceError
from .._core.patterns import Matcher, Patterns, ambiguous, is_left_out
from .._core.watching import Stamp, is_network_system, is_temporary
from .._core.words import CHECK_PATH, advise_on_file
from .sent_files import Sent, SentFiles
from .tree_path import MOUNT_POINT, TreePath
from .walk import Tree, read_folder

CHUNK = 500
"""Files in one step of a scan: few enough that the event loop notes them within a millisecond."""


@dataclass(slots=True)
class Findings:
    """What one step has found."""

    changes: list[tuple[str, Stamp | None]] = field(default_factory=list)
    """Files that are to be sent, and what they are; None for a file or folder that is gone."""
    failures: list[tuple[str, SourceError]] = field(default_factory=list)
    """What cannot be read, and why."""


class Inspection(NamedTuple):
    """What a file is when its turn has come."""

    stamp: Stamp | None
    """None if it is gone, or is no regular file any more."""
    changed_ns: int | None
    """Its change time."""
    sent: Sent | None
    """What it was when it was sent earlier."""
    has_look_alike: bool
    """Whether another file's name differs from this one's only in Unicode normalization."""


class RootId(NamedTuple):
    """What tells one folder from another that is later found under its path: a disk was unplugged, or mounted."""

    device: int
    inode: int


class FolderScanner:
    """Reads one folder and everything in it. Every method uses the disk.

    Args:
        root: Path of the folder.
        wanted: The caller's patterns.
        sent: What needs no attention while it stays as it is.
    """

    def __init__(self, root: str, wanted: Patterns, sent: SentFiles) -> None:
        self._root = root
        self._matcher: Matcher = wanted.matcher()
        self._is_picky = bool(wanted.include)
        self._sent = sent
        self._stopped = threading.Event()
        self.look_alikes: set[str] = set()
        """Folders whose names differ from another one's only in Unicode normalization. Written by the scan's thread."""

    def stop(self) -> None:
        """Let a running scan end at its next folder."""
        self._stopped.set()

    def identify(self) -> RootId:
        """Return which folder is at the root's path now.

        Raises:
            SourceError: There is none, or it cannot be reached.
        """
        try:
            found = os.stat(self._root)
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "is not a valid path"
            advice = advise_on_file(error) or CHECK_PATH
            raise SourceError(reason, path=self._root, away=True, advice=advice) from error
        if not stat.S_ISDIR(found.st_mode):
            raise SourceError("is not a folder", path=self._root, advice=CHECK_PATH)
        return RootId(found.st_dev, found.st_ino)

    def is_shared(self) -> bool:
        """Return whether other computers may write to the folder, which the system does not report."""
        if sys.platform == "win32":
            return _is_network_drive(self._root)
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
                return is_network_system(mounts.read(), os.path.realpath(self._root))
        except OSError:
            return False  # not Linux

    def scan(self) -> Iterator[Findings]:
        """Find everything that was not sent as it is now, step by step.

        Raises:
            SourceError: The root itself cannot be read.
        """
        return self._scan_below("", not self._is_picky)

    def look(self, paths: Iterable[str]) -> Iterator[Findings]:
        """Find out what the files and folders at these paths are now, step by step."""
        findings = Findings()
        for path in paths:
            for more in self._look_at(path):
                findings.changes += more.changes
                findings.failures += more.failures
                if len(findings.changes) >= CHUNK:
                    yield findings
                    findings = Findings()
        yield findings

    def inspect(self, path: str) -> Inspection:
        """Return what a file is now, by its own status, which a folder's listing may lag behind.

        Windows copies size and time into the folder's entry only when a file is closed (Microsoft, `FindFirstFile`).

        Raises:
            SourceError: Its status cannot be read.
        """
        try:
            found = self._stat(path)
            stamp = None if found is None else Stamp(found.st_size, found.st_mtime_ns)
            changed_ns = None if found is None else found.st_ctime_ns
            return Inspection(stamp, changed_ns, self._sent.find(path), self._has_look_alike(path))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            whole = os.path.join(self._root, path)
            raise SourceError(reason, path=whole, away=True, advice=advise_on_file(error)) from error

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            found = TreePath(self._root, path).stat()
        except (SourceChanged, FileNotFoundError, NotADirectoryError):
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def _has_look_alike(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if name.isascii():
            return False
        own = os.path.join(self._root, *path.split("/"))
        for form in ("NFC", "NFD"):
            other = os.path.join(self._root, *folder.split("/"), normalize(form, name))
            # macOS finds a file by any form of its name.
            if other != own and os.path.lexists(other) and not os.path.samefile(own, other):
                return True
        return False

    def _look_at(self, path: str) -> Iterator[Findings]:
        names = path.split("/")
        if not all(map(is_text, names)) or any(is_left_out(name) or is_temporary(name) for name in names):
            return
        is_whole = not self._is_picky
        for end in range(1, len(names)):
            folder = "/".join(names[:end]) + "/"
            if self._matcher.excludes(folder):
                return
            is_whole = is_whole or self._matcher.includes(folder)
        try:
            found = TreePath(self._root, path).stat()
            is_link = _is_link(os.path.join(self._root, *names))
        except (FileNotFoundError, NotADirectoryError):
            yield Findings([(path, None)])
            return
        except (SourceChanged, OSError):
            return  # in a folder that is a link; or the next scan reports what is wrong
        if stat.S_ISDIR(found.st_mode):
            if not is_link and not self._matcher.excludes(path + "/"):
                yield from self._scan_below(path, is_whole or self._matcher.includes(path + "/"))
        elif stat.S_ISREG(found.st_mode) and not self._matcher.excludes(path):
            stamp, sent = Stamp(found.st_size, found.st_mtime_ns), self._sent.find(path)
            is_sent = sent is not None and sent.is_same(stamp, found.st_ctime_ns)
            if (is_whole or self._matcher.includes(path)) and not is_sent:
                yield Findings([(path, stamp)])

    def _scan_below(self, start: str, is_whole: bool) -> Iterator[Findings]:
        waiting = [(start, is_whole)]
        while waiting and not self._stopped.is_set():
            folder, whole = waiting.pop()
            tree = Tree(self._root)
            try:
                below = read_folder(tree, folder, whole, self._matcher)
            except SourceError as failure:
                if not folder:
                    raise
                if self._is_there(folder):
                    yield Findings(failures=[(folder, failure)])
                continue
            self.look_alikes |= ambiguous(path for path, _ in below)
            waiting.extend((path, part) for path, part in reversed(below) if not is_temporary(_name(path)))
            yield from self._new_in(folder, tree)

    def _new_in(self, folder: str, tree: Tree) -> Iterator[Findings]:
        known = self._sent.in_folder(folder)
        # A file may vanish between the listing and its status; that is no failure.
        failures = [one for one in tree.failures if not is_temporary(_name(one[0])) and self._is_there(one[0])]
        changes: list[tuple[str, Stamp | None]] = []
        for file in tree.files:
            stamp = Stamp(file.size, file.modified_ns)
            sent = known.get(file.name)
            if (sent is None or not sent.is_same(stamp, file.changed_ns)) and not is_temporary(file.name):
                changes.append((file.path, stamp))
        for start in range(0, max(1, len(changes)), CHUNK):
            yield Findings(changes[start : start + CHUNK], failures)
            failures = []

    def _is_there(self, path: str) -> bool:
        # A name that is no text cannot be asked for by its printable form.
        return "\\x" in path or os.path.lexists(os.path.join(self._root, *path.split("/")))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _is_link(path: str) -> bool:
    found = os.lstat(path)
    return stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == MOUNT_POINT


def _is_network_drive(path: str) -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    drive = os.path.splitdrive(os.path.realpath(path))[0]
    is_unc = drive.startswith("\\\\")
    return is_unc or ctypes.windll.kernel32.GetDriveTypeW(drive + "\\") == 4  # DRIVE_REMOTE
