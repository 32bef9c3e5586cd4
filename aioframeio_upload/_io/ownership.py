"""Prove that a file of the journal is a regular file, this user's, and nobody else's to read or to write.

A journal holds part links, which are credentials, and paths that a resume reads and uploads: who can write to it, or to
what SQLite reads beside it, chooses what is uploaded and where to. Windows has no owners and modes of this kind; there
only the type of a file is checked, and the folder's access control list decides.
"""

from __future__ import annotations

import os
import stat

from .._core.errors import JournalError

OTHERS_READ = 0o077
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""For `os.open`: no symbolic link, and no waiting for the other end of a FIFO. Windows has none of the three."""


def check_file(found: os.stat_result, journal: str, name: str = "") -> None:
    """Check what `os.lstat` or `os.fstat` tells of the journal, or of a file beside it.

    Args:
        found: What was told.
        journal: The journal's path, for the error.
        name: The file beside it; empty for the journal itself.

    Raises:
        JournalError: It is no regular file, has a second name, belongs to another user, or others may write to it.
    """
    reason = _objection(found)
    if reason is None:
        return
    raise JournalError(f"{name}, which belongs to it, {reason}" if name else reason, path=journal)


def _objection(found: os.stat_result) -> str | None:
    """Return what is wrong with a file, if anything."""
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link; name the file itself, or remove the link if it is not yours"
    if stat.S_ISDIR(found.st_mode):
        return "is no file, but a folder; name a file in it"
    if not stat.S_ISREG(found.st_mode):
        return "is no file"
    if not hasattr(os, "geteuid"):
        return None
    if found.st_uid != os.geteuid():
        return "belongs to another user"
    # Through another name it would get another WAL; and a link to any file of ours can be planted as a WAL, which
    # SQLite would overwrite (not where `fs.protected_hardlinks` is on; macOS has no such thing).
    if found.st_nlink > 1:
        return "is a hard link to a file that has another name, too; make it a copy"
    if others_may_write(found):
        return f"may be written to by other users (mode {stat.S_IMODE(found.st_mode):o}); if they did not, chmod 600"
    return None


def hide(path: str) -> None:
    """Let only the owner read a file; one that is not there is left alone.

    Raises:
        OSError: Its mode cannot be changed.
        JournalError: Its mode does not change, as on file systems that have none.
    """
    if not hasattr(os, "geteuid"):
        return
    try:
        # Not `open` and `fchmod`: closing a descriptor of the journal or its -shm drops the POSIX locks that another
        # Uploader of this process has on them.
        if not os.lstat(path).st_mode & OTHERS_READ:
            return
        os.chmod(path, 0o600)
        mode = stat.S_IMODE(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if mode & OTHERS_READ:
        raise JournalError(f"can be read by others (mode {mode:o}), and its mode cannot be changed", path=path)


def folder_warning(folder: str) -> str | None:
    """Return why a folder is not safe for a journal: others may put files into it; None where it is.

    Raises:
        OSError: It cannot be looked at.
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
    """Return whether the mode lets anybody else write.

    Not those of a group that is this user's alone: where each user has one, the usual umask is 002 (`pam_umask` of
    Debian and Red Hat), and every folder is writable by it.
    """
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_private_group(found.st_gid)


def _is_private_group(gid: int) -> bool:
    """Return whether a group is this user's own: of the user's name, and without other members."""
    import grp
    import pwd

    if gid != os.getegid():
        return False
    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}
