"""A pytest plugin that takes from Python what it lacks on Windows, to run the suite without a Windows machine.

`python -P -m pytest -p tests.support.windows_like ...`. It is loaded before the package and the tests, and after the
packages that they use: those decide while they are imported what their system can do.

It is no Windows: paths, the event loop and the file system stay those of the machine. What it shows is code of ours, or
of a test, that uses a function, a module, a constant or a behaviour that is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

THEIRS = (
    *("aiofiles", "aiofiles.os", "aiofiles.tempfile", "aiohttp", "aiohttp.web", "aiohttp.test_utils", "anyio"),
    *("anyio._backends._asyncio", "backoff", "blockbuster", "botocore.session", "filelock", "frameio", "httpx"),
    *("hypothesis", "import_lint", "matplotlib.pyplot", "distributed", "platformdirs", "pytest_timeout", "trustme"),
    *("rich.console", "rich.live", "rich.progress", "typer", "typer.main", "typer.testing", "xdist", "yaml"),
    *("fastapi", "fastapi.testclient", "uvicorn", "taskiq", "multipart", "grimp", "uvloop"),
    *("concurrent.futures.process", "multiprocessing.connection", "pwd", "pty", "tempfile", "urllib.request"),
)
"""Imported before anything is taken away. Some belong to other sessions and may be missing."""

MODULES = frozenset({"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty", "uvloop"})

OF_OS = (
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOATIME", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "RWF_NOWAIT"),
    *("pread", "preadv", "pwrite", "pwritev", "posix_fadvise", "posix_fallocate", "sendfile", "sched_getaffinity"),
    *("chown", "fchmod", "fchown", "getegid", "geteuid", "getgid", "getpgid", "getuid", "killpg", "mkfifo", "mknod"),
    *("setegid", "seteuid", "setgid", "setpgid", "setsid", "setuid", "statvfs", "fork", "openpty", "uname"),
)
OF_SIGNAL = ("SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGSTOP", "SIGUSR1", "SIGUSR2")
# AF_UNIX stays: without it asyncio cannot make its socketpair here.
OF_SOCKET = (
    "MSG_DONTWAIT",
    "SO_REUSEPORT",
    "TCP_CONGESTION",
    "TCP_INFO",
    "TCP_NOTSENT_LOWAT",
    "TCP_USER_TIMEOUT",
)

O_BINARY = 0x8000
"""Without this flag, Windows writes a line feed as two bytes."""


def pretend() -> None:
    """Remove everything, and make the differences in behaviour that can be made."""
    with warnings.catch_warnings(action="ignore"):
        for name in THEIRS:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    sys.platform = "win32"
    sys.meta_path.insert(0, Missing())
    for name in MODULES:
        sys.modules.pop(name, None)
    for place, names in ((os, OF_OS), (signal, OF_SIGNAL), (socket, OF_SOCKET)):
        for name in names:
            vars(place).pop(name, None)
    os.supports_dir_fd.clear()
    os.supports_follow_symlinks.discard(os.chmod)
    signal.SIGBREAK = 21  # type: ignore[attr-defined]
    asyncio.BaseEventLoop.add_signal_handler = not_implemented  # type: ignore[method-assign]
    for method in ("add_reader", "add_writer", "remove_reader", "remove_writer", "add_signal_handler"):
        setattr(asyncio.SelectorEventLoop, method, not_implemented)
    # As on Windows: a file with a name, and a wrapper that removes it.
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # type: ignore[assignment]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    translate_line_feeds()
    keep_open_files()


class Missing:
    """An importer that finds no module that Windows does not have."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise for these modules; leave the others to the next importer."""
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def not_implemented(*_: object, **__: object) -> NoReturn:
    """Raise what asyncio's loop for Windows raises."""
    raise NotImplementedError


def translate_line_feeds() -> None:
    """Make `os.write` write CR LF to descriptors that `os.open` opened without O_BINARY, as Windows does."""
    true_open, true_write, true_close = os.open, os.write, os.close
    as_text: set[int] = set()
    os.O_BINARY = O_BINARY  # type: ignore[attr-defined]
    os.O_TEMPORARY = 0  # type: ignore[attr-defined]

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        assert dir_fd is None, "dir_fd is not available"
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)  # a folder cannot be opened
        descriptor = true_open(path, flags & ~O_BINARY, mode)
        as_text.discard(descriptor)
        if not flags & O_BINARY:
            as_text.add(descriptor)
        return descriptor

    def write(descriptor: int, content: Any) -> int:
        if descriptor not in as_text:
            return true_write(descriptor, content)
        true_write(descriptor, bytes(content).replace(b"\n", b"\r\n"))
        return len(content)

    def close(descriptor: int) -> None:
        as_text.discard(descriptor)
        true_close(descriptor)

    os.open, os.write, os.close = open_, write, close  # type: ignore[assignment]


def keep_open_files() -> None:
    """Refuse to remove or to replace a file that this process has open: Python opens them without FILE_SHARE_DELETE."""

    def guarded(function: Callable[..., Any], which: slice) -> Callable[..., Any]:
        def refuse(*paths: Any, **options: Any) -> Any:
            for path in paths[which]:
                if is_open(path):
                    raise PermissionError(errno.EACCES, "The process cannot access the file", os.fspath(path))
            return function(*paths, **options)

        return refuse

    os.unlink = guarded(os.unlink, slice(0, 1))
    os.remove = guarded(os.remove, slice(0, 1))
    os.replace = guarded(os.replace, slice(0, 2))
    os.rename = guarded(os.rename, slice(0, 2))


def is_open(path: Any) -> bool:
    """Return whether this process has a file open."""
    try:
        wanted = os.lstat(path)
        numbers = os.listdir("/proc/self/fd")
    except (OSError, TypeError, ValueError):
        return False
    if not stat.S_ISREG(wanted.st_mode):
        return False
    for number in numbers:
        with contextlib.suppress(OSError):
            found = os.fstat(int(number))
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Pretend, after pytest has looked at the system for itself and before it imports a test."""
    pretend()


def pytest_report_header(config: pytest.Config) -> str:
    """Write in the report's header what was run."""
    return "without what Python lacks on Windows"
