"""Which upload of a journal is whose: a small file for each, and one lock that tells whether its owner still lives.

A lock of its own for each upload would be an open file for each: a folder of a thousand versions waits an hour and a
half for its stacks, and many systems allow 256 open files. So an upload is taken by a file that only names its owner,
and the owner holds one lock, on one open file, for as long as it has taken anything. The system drops that lock when
the owner's process ends, however that happens, and then everything that it had taken is free.
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
"""What `flock` fails with on a file system, often one of a network, that has no such locks."""


class Claims:
    """What one open journal has taken. Owned by the journal's thread.

    Args:
        journal: The journal's path, for errors.
        place: Its full path, which the claims' names begin with.
    """

    def __init__(self, journal: str, place: str) -> None:
        self._journal = journal
        self._place = place
        self._id = secrets.token_hex(8)
        """The owner's name in the claims. Nobody can make such a file beforehand."""
        self._lock: filelock.BaseFileLock | None = None
        """Held while anything is taken."""
        self._kind: type[filelock.BaseFileLock] | None = None
        """Of lock; None before the first."""
        self._taken: dict[object, str] = {}

    def take(self, key: str, owner: object) -> bool:
        """Take an upload for one owner in this process; return False where another one has it.

        Only while nobody else can do the same: the caller holds the journal's write lock.

        Raises:
            OSError: The claim cannot be written or read.
            JournalError: What is in its place is not this user's.
        """
        path = self._claim(key)
        if key in self._taken.values():
            return False
        if (holder := self._read(path, key)) is not None:
            if holder != self._id and self._is_alive(holder):
                return False
            with contextlib.suppress(FileNotFoundError):  # given up at this moment, which needs no write lock
                os.unlink(path)
        self._hold()
        try:
            self._write(path)
        except BaseException:
            self._let_go()
            raise
        self._taken[owner] = key
        return True

    def release(self, owner: object) -> None:
        """Give up what an owner has taken, if anything."""
        key = self._taken.pop(owner, None)
        if key is not None:
            # Before the lock goes: nobody else can have taken it yet.
            with contextlib.suppress(OSError):
                os.unlink(self._claim(key))
            self._let_go()

    def release_all(self) -> None:
        """Give up everything."""
        for owner in tuple(self._taken):
            self.release(owner)

    @property
    def taken(self) -> int:
        """How many uploads are taken."""
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
        """Return who has taken it: what a claim says, or None where there is no claim."""
        try:
            descriptor = os.open(path, os.O_RDONLY | NO_FOLLOW)
        except FileNotFoundError:
            return None
        except OSError:
            # A symbolic link, or another user's: say so rather than "too many levels of symbolic links".
            self._check(os.lstat(path), path, key)
            raise
        try:
            self._check(os.fstat(descriptor), path, key)
            return os.read(descriptor, 64).decode("ascii", "replace")
        finally:
            os.close(descriptor)

    def _check(self, found: os.stat_result, path: str, key: str) -> None:
        """Check that a claim is this user's.

        Raises:
            JournalError: It is not; the error is about that upload alone.
        """
        try:
            check_file(found, self._journal, os.path.basename(path))
        except JournalError as error:
            raise JournalError(error.reason, path=error.path, file_id=key[:16]) from None

    # -- the owners ------------------------------------------------------------------------------------------------

    def _owner(self, id: str) -> str:
        return f"{self._place}-owner-{id}.lock"

    def _hold(self) -> None:
        """Lock this owner's own file, before the first claim names it."""
        if self._lock is None:
            self._lock = self._locked(self._owner(self._id))
            assert self._lock is not None  # its name is random

    def _let_go(self) -> None:
        if self._lock is not None and not self._taken:
            lock, self._lock = self._lock, None
            _remove(lock)

    def _is_alive(self, id: str) -> bool:
        """Return whether an owner's process still runs, and remove what it left where it does not."""
        if not re.fullmatch("[0-9a-f]{16}", id):
            return False  # its writer was killed before the name was in it
        path = self._owner(id)
        try:
            check_file(os.lstat(path), self._journal)
        except (FileNotFoundError, JournalError):
            return False  # one that is not this user's is no owner's
        lock = self._locked(path)
        if lock is None:
            return True
        _remove(lock)
        return False

    def _locked(self, path: str) -> filelock.BaseFileLock | None:
        """Lock a file, made if there is none; return None where another process, or another lock here, holds it.

        Raises:
            OSError: It cannot be locked.
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
        """Return the kind of lock that the file system has.

        Not left to filelock: it tells by `warnings.warn`, which is an exception where warnings are errors.
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
    # While it is locked: filelock sees that a lock is on a file without a name. Windows removes no open file.
    with contextlib.suppress(OSError):
        os.unlink(lock.lock_file)
    with contextlib.suppress(OSError):
        lock.release()


def _has_flock(folder: str) -> bool:
    """Return whether the file system of a folder has the locks of `flock`."""
    if sys.platform == "win32":
        return True  # its own locks are part of the system
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | NO_FOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in NO_FLOCK
    finally:
        os.close(descriptor)
    return True
