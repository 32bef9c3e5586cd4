"""Check that the journal's files are regular files that belong to this user and that nobody else can read or write.

A journal contains part links, which are credentials, and paths that a resume reads and uploads. So whoever can write to
it, or to the files that SQLite reads beside it, controls what is uploaded, and where to. Windows has no such owners and
modes: there only the type of a file is checked, and the access control list of the folder decides.
"""

from __future__ import annotations

import os
import stat

from .._core.errors import JournalError
from .._core.words import NAME_ANOTHER

OTHERS_READ = 0o077

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags for `os.open`: do not follow symbolic links, do not wait for the other end of a FIFO. Windows has none of them.
"""


def check_file(found: os.stat_result, journal: str, name: str = "") -> None:
    """Check the `os.lstat` or `os.fstat` result of the journal or of a file beside it.

    Args:
        found: The result.
        journal: The journal's path, for the error.
        name: The name of the file beside it; empty for the journal itself.

    Raises:
        JournalError: It is not a regular file, has a second name, belongs to another user, or others may write to it.
    """
    objection = _objection(found)
    if objection is None:
        return
    reason, advice = objection
    raise JournalError(f"{name}, which belongs to it, {reason}" if name else reason, path=journal, advice=advice)


def _objection(found: os.stat_result) -> tuple[str, str] | None:
    """Return what is wrong with a file, and what to do about it; None if nothing is."""
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link", "name the file itself, or remove the link if it is not yours"
    if stat.S_ISDIR(found.st_mode):
        return "is a folder", "name a file in it"
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file", NAME_ANOTHER
    if not hasattr(os, "geteuid"):
        return None
    if found.st_uid != os.geteuid():
        return "belongs to another user", NAME_ANOTHER
    # Under its other name the file would have another WAL. And an attacker could plant a hard link to any file of this
    # user as the WAL, which SQLite would overwrite (Linux prevents that with `fs.protected_hardlinks`; macOS does not).
    if found.st_nlink > 1:
        return "is a hard link to a file that has another name too", "make it a copy"
    if others_may_write(found):
        return f"may be written to by other users (mode {stat.S_IMODE(found.st_mode):o})", "if they did not, chmod 600"
    return None


def hide(path: str) -> None:
    """Make a file readable by its owner only; a missing file is ignored.

    Raises:
        OSError: Its mode cannot be changed.
        JournalError: Its mode does not change, as on file systems without modes.
    """
    if not hasattr(os, "geteuid"):
        return
    try:
        # Not `open` and `fchmod`: closing any descriptor of a file drops all POSIX locks that this process has on it,
        # including those of another Uploader's SQLite (sqlite.org, "How To Corrupt", 2.2).
        if not os.lstat(path).st_mode & OTHERS_READ:
            return
        os.chmod(path, 0o600)
        mode = stat.S_IMODE(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if mode & OTHERS_READ:
        reason = f"can be read by others (mode {mode:o}), and its mode cannot be changed"
        raise JournalError(reason, path=path, advice=NAME_ANOTHER)


def folder_warning(folder: str) -> str | None:
    """Return why others could put files into a folder, which makes it unsafe for a journal; None if it is safe.

    Raises:
        OSError: The folder's status cannot be read.
    """
    if not hasattr(os, "geteuid"):
        return None
    found = os.stat(folder)
    mode, owner = stat.S_IMODE(found.st_mode), found.st_uid
    if owner not in (0, os.geteuid()):
        return f"belongs to another user (uid {owner})"
    is_ours_and_sticky = mode & stat.S_ISVTX and owner == os.geteuid()
    if others_may_write(found) and not is_ours_and_sticky:
        return f"may be written to by other users (mode {mode:o})"
    return None


def others_may_write(found: os.stat_result) -> bool:
    """Return whether the mode lets any other user write.

    Write access for a group that consists of this user alone does not count: on systems with user private groups, the
    usual umask is 002 (`pam_umask` of Debian and Red Hat), so that every folder is writable by that group.
    """
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_private_group(found.st_gid)


def _is_private_group(gid: int) -> bool:
    """Return whether a group is the user private group: it has the user's name and no other members."""
    import grp
    import pwd

    if gid != os.getegid():
        return False
    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}
