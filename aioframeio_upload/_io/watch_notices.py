"""Listen to the system's reports of changes in a folder, through `watchfiles`, which an extra installs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from importlib import import_module
from typing import Any, Protocol

from .files import in_thread
from .log import log

STEP, GROUP = 200, 1000
"""Milliseconds: how often watchfiles looks whether something was reported, or whether to stop; and how long it collects
reports at most before it returns them. Short compared to any time in which a file may settle."""

INSTALL = "pip install 'aioframeio-upload[watch]'"

POLLS = 30_000
"""Milliseconds between two of watchfiles' own readings, to which it resorts where the kernel has no reports at all
(gVisor, some containers). Ours come first; it would read everything continuously by default."""

MOST_REPORTS = 50_000
"""Paths that are held until they are looked at; if there are more, the whole folder is read instead."""


class Notices(Protocol):
    """Reports of changes. They are hints: what is true is looked up."""

    def take(self) -> tuple[frozenset[str], bool]:
        """Return the paths that were reported since the last call, relative to the root, and whether some were lost."""
        ...

    async def close(self) -> None:
        """Stop listening."""
        ...


class OpenNotices(Protocol):
    """Begin to listen."""

    async def __call__(self, root: str, threads: Executor, on_news: Callable[[], None], /) -> Notices | None:
        """Return the reports, or None if there are none; `on_news` is called on the loop when something came in."""
        ...


class WatchfilesNotices:
    """The reports of one folder. A thread waits for them, until `close`."""

    def __init__(self, watcher: Any, root: str, threads: Executor, on_news: Callable[[], None]) -> None:
        self._watcher = watcher
        self._root = root
        self._on_news = on_news
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._paths: set[str] = set()
        self._is_lossy = False
        self._thread = in_thread(threads, self._listen)

    def take(self) -> tuple[frozenset[str], bool]:
        """Return the paths that were reported since the last call, and whether some were lost."""
        taken = frozenset(self._paths), self._is_lossy
        self._paths, self._is_lossy = set(), False
        return taken

    async def close(self) -> None:
        """Stop listening; takes `STEP` at most."""
        self._stop.set()
        await asyncio.wait([self._thread])

    def _listen(self) -> None:
        try:
            while (found := self._watcher.watch(GROUP, STEP, 0, self._stop)) not in ("stop", "signal"):
                if isinstance(found, set):
                    self._hand_over({relative for _, path in found if (relative := self._relative(path))})
        except Exception as error:  # noqa: BLE001  # watchfiles' own type, or PyO3's panic; any means the same
            # For example a name that is no text: watchfiles 1.3 ends with "Unable to decode path".
            log.debug("the system's reports of changes in %r have ended: %s", self._root, error)
            self._hand_over(None)
        finally:
            self._watcher.close()

    def _relative(self, path: str) -> str:
        below = os.path.relpath(path, self._root) if path != self._root else ""
        return "" if below.startswith(os.pardir) else below.replace(os.sep, "/")

    def _hand_over(self, paths: set[str] | None) -> None:
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(self._note, paths)

    def _note(self, paths: set[str] | None) -> None:
        if paths is None or len(self._paths) + len(paths) > MOST_REPORTS:
            self._paths, self._is_lossy = set(), True
        else:
            self._paths |= paths
        self._on_news()


async def open_notices(root: str, threads: Executor, on_news: Callable[[], None]) -> Notices | None:
    """Listen to the system's reports of changes in a folder and in all folders below it.

    Returns:
        The reports; None if `watchfiles` is not installed, if the environment variable `WATCHFILES_FORCE_POLLING` is
        set (watchfiles has defined it), or if the system cannot report, for example because there are more folders than
        `fs.inotify.max_user_watches`.
    """
    if os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() not in ("", "0", "false", "disable", "disabled"):
        return None
    opening = threads.submit(_open, root)
    try:
        opened = await asyncio.wrap_future(opening)
    except asyncio.CancelledError:
        # Called in the thread: the loop may be closed before the thread has ended.
        opening.add_done_callback(_close_late)
        raise
    if opened is None:
        return None
    watcher, real = opened
    return WatchfilesNotices(watcher, real, threads, on_news)


def _open(root: str) -> tuple[Any, str] | None:
    try:
        native = import_module("watchfiles._rust_notify")
    except ImportError:
        log.info("%r is read at intervals; for the system's reports of changes: %s", root, INSTALL)
        return None
    # With links resolved, as macOS reports them.
    real = os.path.realpath(root)
    try:
        # Without its own polling, which would read every file three times a second and keep it in memory.
        return native.RustNotify([real], False, False, POLLS, True, True), real
    except Exception as error:  # noqa: BLE001  # OSError or its own type, depending on the system
        log.warning("%r is read at intervals: the system cannot report changes in it: %s", root, error)
        return None


def _close_late(opening: Future[tuple[Any, str] | None]) -> None:
    if not opening.cancelled() and opening.exception() is None and (opened := opening.result()) is not None:
        opened[0].close()
