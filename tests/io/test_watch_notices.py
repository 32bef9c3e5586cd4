"""The system's reports of changes: hints, which may be missing, late or lost."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload._io import watch_notices
from aioframeio_upload._io.watch_notices import Notices, WatchfilesNotices, open_notices
from tests.conftest import on_disk


class News:
    """What was reported so far."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.paths: set[str] = set()
        self.is_lossy = False

    async def until(self, notices: Notices, path: str | None) -> None:
        """Wait until a path is reported, or with None until reports were lost."""
        async with asyncio.timeout(20):
            while not (path in self.paths if path is not None else self.is_lossy):
                await self.came.wait()
                self.came.clear()
                paths, is_lossy = notices.take()
                self.paths |= paths
                self.is_lossy |= is_lossy


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPoolExecutor]:
    threads = ThreadPoolExecutor(thread_name_prefix="aioframeio-upload")
    yield threads
    threads.shutdown(wait=False)


@pytest.fixture
async def news() -> News:
    return News()


async def test_changes_are_reported_by_their_paths_below_the_root(
    tmp_path: Path, threads: ThreadPoolExecutor, news: News
) -> None:
    root = tmp_path / "in"
    on_disk(root.mkdir)
    link = tmp_path / "link"
    on_disk(os.symlink, root, link) if sys.platform != "win32" else on_disk(link.mkdir)
    notices = await open_notices(str(link), threads, news.came.set)
    assert notices is not None
    place = link if sys.platform == "win32" else root
    on_disk((place / "a.mov").write_bytes, b"a")
    await news.until(notices, "a.mov")
    on_disk((place / "sub").mkdir)
    await news.until(notices, "sub")
    on_disk(os.rename, place / "a.mov", place / "b.mov")
    await news.until(notices, "b.mov")
    on_disk((place / "b.mov").unlink)
    await notices.close()
    assert not any(path.startswith("/") for path in news.paths)


@pytest.mark.skipif(sys.platform != "linux", reason="its names are bytes")
async def test_reports_that_end_with_an_error_count_as_lost(
    tmp_path: Path, threads: ThreadPoolExecutor, news: News
) -> None:
    notices = await open_notices(str(tmp_path), threads, news.came.set)
    assert notices is not None
    on_disk((tmp_path / os.fsdecode(b"caf\xe9.mov")).write_bytes, b"a")
    await news.until(notices, None)
    await notices.close()


async def test_too_many_reports_are_dropped_and_count_as_lost(
    tmp_path: Path, threads: ThreadPoolExecutor, news: News, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_notices, "MOST_REPORTS", 10)
    notices = await open_notices(str(tmp_path), threads, news.came.set)
    assert isinstance(notices, WatchfilesNotices)
    notices._note({str(number) for number in range(9)})
    notices._note({"9", "10"})
    assert notices.take() == (frozenset(), True)
    notices._note({"a"})
    assert notices.take() == (frozenset({"a"}), False)
    await notices.close()


async def test_where_the_system_cannot_report_there_is_a_warning_and_no_reports(
    tmp_path: Path,
    threads: ThreadPoolExecutor,
    news: News,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("No space left on device (os error 28)")  # as with too few `fs.inotify.max_user_watches`

    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", refuse)
    assert await open_notices(str(tmp_path), threads, news.came.set) is None
    assert "the system cannot report changes in it: No space left" in caplog.text


async def test_a_root_that_vanished_before_it_is_listened_to_is_no_error(
    tmp_path: Path, threads: ThreadPoolExecutor, news: News
) -> None:
    notices = await open_notices(str(tmp_path / "nowhere"), threads, news.came.set)
    if notices is not None:
        await notices.close()


@pytest.mark.parametrize(("value", "expected"), [("1", None), ("true", None), ("false", Notices), ("", Notices)])
async def test_polling_can_be_forced_by_the_variable_of_watchfiles(
    tmp_path: Path,
    threads: ThreadPoolExecutor,
    news: News,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    expected: object,
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", value)
    notices = await open_notices(str(tmp_path), threads, news.came.set)
    assert (notices is None) == (expected is None)
    if notices is not None:
        await notices.close()


def test_what_opens_only_after_the_loop_is_closed_is_closed_too(tmp_path: Path) -> None:
    """`no_descriptor_left_behind` looks."""
    is_closed = threading.Event()

    class SlowThreads(ThreadPoolExecutor):
        def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
            return super().submit(lambda: is_closed.wait(20) and function(*arguments, **named))

    async def open_and_cancel() -> None:
        task = asyncio.ensure_future(open_notices(str(tmp_path), pool, lambda: None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with SlowThreads(1) as pool:
        asyncio.run(open_and_cancel())
        is_closed.set()


async def test_a_cancellation_while_it_opens_leaves_nothing(
    tmp_path: Path, threads: ThreadPoolExecutor, news: News
) -> None:
    task = asyncio.ensure_future(open_notices(str(tmp_path), threads, news.came.set))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
