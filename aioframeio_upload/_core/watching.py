"""Decide which files of a watched folder are ready to be sent, what has changed, and when to look again."""

from __future__ import annotations

import enum
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf
from typing import NamedTuple

from .file_queue import LocalFile

# -- names of files that are being written -----------------------------------------------------------------------------

TEMPORARY_SUFFIXES = (
    # Browsers: Chrome, Edge, Firefox, Opera, Safari (a folder until it is complete).
    *(".crdownload", ".partial", ".part", ".opdownload", ".download"),
    # rclone (`--partial-suffix`, by default .partial), WinSCP, Aspera, aria2, lftp and others.
    *(".filepart", ".aspx", ".aspera-ckpt", ".aria2", ".lftp-pget-status"),
    # Renderers and applications that write under a temporary name and rename: Nuke, Adobe's, Office, …
    *(".tmp", ".temp"),
)
"""In lower case. rsync's and Syncthing's temporary names begin with a dot, which no folder upload sends."""

TEMPORARY_NAMES = re.compile(
    # TextEdit and other programs on macOS save into "<name>.sb-<hex>-<letters>" and then replace the file
    # (`-[NSFileManager replaceItemAtURL:…]`); "(A Document Being Saved By TextEdit)" is the folder for it on another
    # volume. Office's lock files begin with "~$".
    r".*\.sb-[0-9a-f]{8}-[A-Za-z0-9]{6}|\(A Document Being Saved [Bb]y .*\)|~\$.*",
    re.DOTALL,
)


def is_temporary(name: str) -> bool:
    """Return whether programs use names like this for files that they are still writing, and rename afterwards."""
    return name.lower().endswith(TEMPORARY_SUFFIXES) or TEMPORARY_NAMES.fullmatch(name) is not None


# -- settings ----------------------------------------------------------------------------------------------------------


def check_settle(settle: float) -> float:
    """Return the seconds for which a file has to stay unchanged.

    Raises:
        ValueError: It is negative or not finite.
    """
    if not 0 <= settle < inf:
        raise ValueError("settle must be a number of seconds, 0 or more")
    return float(settle)


# -- when to look again ------------------------------------------------------------------------------------------------

FIRST_RETRY, LAST_RETRY = 30.0, 1800.0
"""Seconds before a file that failed is tried again; doubled after each further failure, up to the second number."""


MOST_CHANGE_PAUSE = 60.0
"""Seconds after which a file is sent again at most that changed while it was sent, again and again."""


def change_pause(settle: float, changes: int) -> float:
    """Return the seconds before a file is sent again that has changed while it was sent so often in a row.

    Each attempt creates a file at Frame.io and deletes it. Where `settle` is shorter than the pauses of the program
    that writes, the attempts would follow each other without a pause.
    """
    return max(settle, min(MOST_CHANGE_PAUSE, 2.0 ** min(changes, 32)))


def retry_pause(failures: int) -> float:
    """Return the seconds until a file that has failed so often in a row is tried again."""
    return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 32))


POLLS_AT_MOST, POLLS_AT_LEAST = 0.5, 5.0
"""Seconds between two readings of a folder without notifications, of which none is missed for longer than `settle`."""

SAFETY_NET = 30.0
"""Seconds between two readings of a folder with notifications. They are hints: a system drops them when its queue is
full (inotify's has 16384 places), and some file systems do not report what another computer has written."""

SHARE_POLLED, SHARE_SAFETY = 10.0, 30.0
"""The time between two readings is at least so many times the duration of the last one, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE = 300.0
"""Seconds. A reading may have taken an hour because the share did not answer; the next one may take a second."""


def scan_pause(settle: float, duration: float, *, notified: bool) -> float:
    """Return the seconds until the whole folder is read again.

    Args:
        settle: Seconds for which a file has to stay unchanged.
        duration: Seconds that the last reading took.
        notified: Whether the system reports changes.
    """
    if notified:
        return max(SAFETY_NET, min(LONGEST_PAUSE, SHARE_SAFETY * duration))
    return max(POLLS_AT_MOST, min(settle, POLLS_AT_LEAST), min(LONGEST_PAUSE, SHARE_POLLED * duration))


# -- the files that wait -----------------------------------------------------------------------------------------------


class Stamp(NamedTuple):
    """What tells one content of a file from another: if either differs, the file has changed."""

    size: int
    modified_ns: int


class Readiness(enum.Enum):
    """What a look at a file, when its time has come, has shown."""

    READY = "unchanged for long enough"
    CHANGED = "it changed, and has to settle again"
    GONE = "it is no longer there"


class _Waiting(NamedTuple):
    """A file that waits. Small, because a hundred thousand may be there when a watch begins."""

    stamp: Stamp | None
    """As last seen; None if nobody has looked since it changed."""
    due_at: float
    failures: int = 0
    """How often it failed in a row without having changed."""
    changes: int = 0
    """How often in a row it changed while it was sent."""
    not_before: float = -inf
    """No change makes it due earlier than that."""


class _Begun:
    """A file from its turn until it has arrived or failed."""

    __slots__ = ("later", "stamp", "was")

    def __init__(self, was: _Waiting) -> None:
        self.was = was
        self.stamp = was.stamp
        self.later: _Waiting | None = None
        """What it has become since; it is sent again after this turn."""


STEP = 500
"""Files of one step of `WaitingFiles.drop`: half a millisecond."""


class WaitingFiles:
    """The files that are to be sent when they have not changed for a while, and those that are being sent.

    Owned by one watch. `now` is any clock that runs forward evenly. Modification times, which a file server with
    another clock may have made, are never compared with it: a time is only compared with the same file's earlier one.

    Args:
        settle: Seconds for which size and modification time have to stay the same.
    """

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._files: dict[str, _Waiting] = {}
        self._heap: list[tuple[float, str]] = []
        """When each file is due. An entry whose time differs from the file's is void."""
        self._below: Counter[str] = Counter()
        """How many files wait in each folder and the folders below it, so that a deletion that concerns none costs
        nothing."""
        self._begun: dict[str, _Begun] = {}
        self.size = 0
        """Total bytes of the files that wait, as last seen."""

    def __len__(self) -> int:
        return len(self._files)

    def note(self, path: str, found: Stamp | None, now: float) -> None:
        """Note what a file is now, or with None that it has changed somehow; a change makes it settle anew."""
        begun = self._begun.get(path)
        if begun is None:
            known = self._files.get(path)
            if known is None or found is None or found != known.stamp:
                self._put(path, self._changed(found, now, known))
        elif found is None or found != (begun.later or begun).stamp:
            begun.later = self._changed(found, now, begun.was)

    def _changed(self, found: Stamp | None, now: float, before: _Waiting | None) -> _Waiting:
        due_at = now + self._settle
        if before is None or not before.changes:
            return _Waiting(found, due_at)
        due_at = max(due_at, before.not_before)
        return _Waiting(found, due_at, changes=before.changes, not_before=before.not_before)

    def drop(self, paths: Iterable[str]) -> Iterator[None]:
        """Forget files that wait, and all that wait in a folder; do the next step with each `next()`.

        A step looks at `STEP` files, so that the caller can let others run between two: a hundred thousand may wait.
        """
        folders = {path for path in paths if not self._remove(path) and self._below[path]}
        if not folders:
            return
        waiting = list(self._files)
        for start in range(0, len(waiting), STEP):
            for path in waiting[start : start + STEP]:
                if not folders.isdisjoint(_folders_of(path)):
                    self._remove(path)
            yield

    def clear(self) -> None:
        """Forget all files that wait."""
        self._files.clear()
        self._heap.clear()
        self._below.clear()
        self.size = 0

    def due_at(self) -> float | None:
        """Return when the next file is due; None if none waits."""
        while self._heap and self._is_void(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> str | None:
        """Begin the turn of the first file that is due, and return its path; None if none is due.

        Whoever takes it looks at it, calls `judge`, and if it is ready, `end` when it has arrived or failed.
        """
        due_at = self.due_at()
        if due_at is None or due_at > now:
            return None
        path = heapq.heappop(self._heap)[1]
        one = self._files[path]
        self._remove(path)
        self._begun[path] = _Begun(one)
        return path

    def judge(self, path: str, found: Stamp | None, now: float) -> Readiness:
        """Decide about a file whose turn it is; unless it is ready, its turn ends, and if it changed it settles again.

        Args:
            path: The file.
            found: What it is now; None if it is not there.
            now: The time.
        """
        begun = self._begun[path]
        if found is not None and found == begun.stamp and begun.later is None:
            return Readiness.READY
        del self._begun[path]
        if found is None:
            return Readiness.GONE
        self._put(path, self._changed(found, now, begun.was))
        return Readiness.CHANGED

    def end(self, path: str, now: float, *, failed: bool, changed: bool = False) -> None:
        """End the turn of a file that was ready. It waits again if it has changed since, or if sending it failed.

        Args:
            path: The file.
            now: The time.
            failed: Whether it did not arrive.
            changed: Whether that is because it changed while it was sent.
        """
        begun = self._begun.pop(path)
        if changed:
            changes = begun.was.changes + 1
            due_at = now + change_pause(self._settle, changes)
            found = None if begun.later is None else begun.later.stamp
            self._put(path, _Waiting(found, due_at, changes=changes, not_before=due_at))
        elif begun.later is not None:
            self._put(path, begun.later)
        elif failed:
            failures = begun.was.failures + 1
            self._put(path, _Waiting(begun.stamp, now + retry_pause(failures), failures))

    def _put(self, path: str, one: _Waiting) -> None:
        self._remove(path)
        self._files[path] = one
        self._below.update(_folders_of(path))
        heapq.heappush(self._heap, (one.due_at, path))
        self.size += 0 if one.stamp is None else one.stamp.size

    def _remove(self, path: str) -> bool:
        one = self._files.pop(path, None)
        if one is None:
            return False
        for folder in _folders_of(path):
            self._below[folder] -= 1
            if not self._below[folder]:
                del self._below[folder]
        self.size -= 0 if one.stamp is None else one.stamp.size
        return True

    def _is_void(self, due_at: float, path: str) -> bool:
        one = self._files.get(path)
        return one is None or one.due_at != due_at


def _folders_of(path: str) -> Iterator[str]:
    """Return the folders that a file is in, the nearest first, without the root."""
    while path := path.rpartition("/")[0]:
        yield path


def local_file(path: str, found: Stamp, changed_ns: int | None) -> LocalFile:
    """Return a file as the pipeline takes it."""
    return LocalFile(path, found.size, found.modified_ns, changed_ns)


# -- which paths are watched -------------------------------------------------------------------------------------------

NETWORK_SYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs"),
        *("orangefs", "ocfs2", "gfs2", "9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs", "davfs", "coda"),
    }
)
"""Linux file systems that other computers write to. inotify reports what this computer writes only: inotify(7),
"Limitations and caveats"."""


def is_network_system(mounts: str, path: str) -> bool:
    """Return whether a path is on a file system that other computers may write to.

    Args:
        mounts: The text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
        path: An absolute path without links.
    """
    longest, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if len(columns := fields.split(" ")) < 5 or not rest:
            continue
        place = OCTAL.sub(lambda found: chr(int(found[1], 8)), columns[4])
        below = place.rstrip("/") + "/"
        # A later line covers an earlier one of the same place.
        if (path == place or path.startswith(below)) and len(place) >= longest:
            longest, kind = len(place), rest.split(" ", 1)[0]
    return kind in NETWORK_SYSTEMS or kind.startswith("fuse.")


OCTAL = re.compile(r"\\([0-7]{3})")
"""Blanks and backslashes of a path in `mountinfo`."""
