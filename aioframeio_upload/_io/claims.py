"""Claim uploads of a journal for one process: a small file per upload, and one lock that shows whether its owner lives.

A lock per upload would need an open file per upload: a folder of a thousand versions waits an hour and a half for its
stacks (10 a minute), and many systems allow only 256 open files. So a claim is a file that only names its owner, and
the owner holds one lock, on one open file, while it has any claim. The system releases that lock when the owner's
process ends, however that happens, and all of its claims are void.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import sys

import filelock

from .._core.errors import JournalError
from .ownership import NO_FOLLOW, check_file

log = logging.getLogger("aioframeio_upload")

NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""Errors of `flock` on file systems without such locks, mostly network file systems."""


class Claims:
    """The claims of one open journal. Owned by the journal's thread.

    Args:
        journal: The journal's path, for errors.
        place: Its absolute path, the prefix of the claims' file names.
    """

    def __init__(self, journal: str, place: str) -> None:
        self._journal = journal
        self._place = place
        self._id = secrets.token_hex(8)
        """The owner's name in the claims; random, so that nobody can create its file beforehand."""
        self._lock: filelock.BaseFileLock | None = None
        """Held while there are claims."""
        self._kind: type[filelock.BaseFileLock] | None = None
        """The class of the lock; None before the first."""
        self._taken: dict[object, str] = {}

    def take(self, key: str, owner: object) -> bool:
        """Claim an upload for one owner in this process; return False if another one has it.

        The caller must hold the journal's write lock, so that nobody else does the same at this moment.

        Raises:
            OSError: The claim cannot be written or read.
            JournalError: The file in its place does not belong to this user.
        """
        path = self._claim(key)
        if self.has(key):
            return False
        if (holder := self._read(path, key)) is not None:
            if holder != self._id and self._is_alive(holder):
                return False
            with contextlib.suppress(FileNotFoundError):  # released at this moment, which needs no write lock
                os.unlink(path)
        self._hold()
        try:
            self._write(path)
        except BaseException:
            self._let_go()
            raise
        self._taken[owner] = key
        return True

    def has(self, key: str) -> bool:
        """Return whether an owner in this process has claimed an upload."""
        return key in self._taken.values()

    def release(self, owner: object) -> None:
        """Release an owner's claim, if any."""
        key = self._taken.pop(owner, None)
        if key is not None:
            # Before the lock is released, so that nobody else can have claimed it yet.
            with contextlib.suppress(OSError):
                os.unlink(self._claim(key))
            self._let_go()

    def release_all(self) -> None:
        """Release all claims."""
        for owner in tuple(self._taken):
            self.release(owner)

    @property
    def taken(self) -> int:
        """The number of claims."""
        return len(self._taken)

    # -- the claims ------------------------------------------------------------------------------------------------

    def _claim(self, key: str) -> str:
        return f"{self._place}-{key[:32]}.lock"

    def _write(self, path: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600)
        try:
            os.write(descriptor, self._id.encode())
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def _read(self, path: str, key: str) -> str | None:
        """Return the owner that a claim names, or None if there is no claim."""
        try:
            descriptor = os.open(path, os.O_RDONLY | NO_FOLLOW)
        except FileNotFoundError:
            return None
        except OSError:
            # For a link or another user's file, raise a clearer error than "too many levels of symbolic links".
            self._check(os.lstat(path), path, key)
            raise
        try:
            self._check(os.fstat(descriptor), path, key)
            return os.read(descriptor, 64).decode("ascii", "replace")
        finally:
            os.close(descriptor)

    def _check(self, found: os.stat_result, path: str, key: str) -> None:
        """Check that a claim's file belongs to this user.

        Raises:
            JournalError: It does not; the error is about that upload only.
        """
        try:
            check_file(found, self._journal, os.path.basename(path))
        except JournalError as error:
            raise JournalError(error.reason, path=error.path, file_id=key[:16], advice=error.advice) from None

    # -- the owners ------------------------------------------------------------------------------------------------

    def _owner(self, id: str) -> str:
        return f"{self._place}-owner-{id}.lock"

    def _hold(self) -> None:
        """Lock this owner's file, before the first claim names it."""
        if self._lock is None:
            self._lock = self._locked(self._owner(self._id))
            assert self._lock is not None  # its name is random

    def _let_go(self) -> None:
        if self._lock is not None and not self._taken:
            lock, self._lock = self._lock, None
            _remove(lock)

    def _is_alive(self, id: str) -> bool:
        """Return whether an owner's process still runs; if not, remove its file."""
        if not re.fullmatch("[0-9a-f]{16}", id):
            return False  # the writer of the claim was killed before it wrote its name
        path = self._owner(id)
        try:
            check_file(os.lstat(path), self._journal)
        except (FileNotFoundError, JournalError):
            return False  # a file of another user does not prove an owner
        lock = self._locked(path)
        if lock is None:
            return True
        _remove(lock)
        return False

    def _locked(self, path: str) -> filelock.BaseFileLock | None:
        """Lock a file, creating it if necessary; return None if another process, or another lock here, holds it.

        Raises:
            OSError: The file cannot be locked.
        """
        if self._kind is None:
            self._kind = self._find_kind()
        lock = self._kind(path, timeout=0, mode=0o600, thread_local=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            return None
        return lock

    def _find_kind(self) -> type[filelock.BaseFileLock]:
        """Return the class of lock that the file system supports.

        Not left to filelock, which reports its fallback by `warnings.warn`: an exception where warnings are errors.
        """
        if _has_flock(os.path.dirname(self._place)):
            return filelock.FileLock
        log.warning(
            "journal %s: its file system has no locks (flock); a file with the process's number is used instead,"
            " which other hosts do not understand: better keep the journal on a local disk",
            self._journal,
        )
        return filelock.SoftFileLock


def _remove(lock: filelock.BaseFileLock) -> None:
    """Unlock a file and remove it."""
    # Removed while it is locked: filelock notices if the file that it locked has no name any more. (On Windows an open
    # file cannot be removed.)
    with contextlib.suppress(OSError):
        os.unlink(lock.lock_file)
    with contextlib.suppress(OSError):
        lock.release()


def _has_flock(folder: str) -> bool:
    """Return whether the file system of a folder supports `flock`."""
    if sys.platform == "win32":
        return True  # filelock uses the locks of the system itself
    import fcntl

    # A folder may be a link, as /tmp and /var are on macOS.
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in NO_FLOCK
    finally:
        os.close(descriptor)
    return True
