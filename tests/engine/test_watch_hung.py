"""A watched folder on a file system that does not answer takes one thread, and can be stopped."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import SourceError
from aioframeio_upload._core.patterns import patterns
from aioframeio_upload._engine.folder import FolderRequest
from aioframeio_upload._engine.watch import WatchControl, WatchedFiles
from aioframeio_upload._io.files import ReadThreads
from tests.support.watching import SetClock


async def test_a_mount_that_does_not_answer_is_asked_by_one_thread_and_more_and_more_rarely_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, asked, real = threading.Event(), set[Any](), os.stat

    def stat(path: Any, *rest: Any, **more: Any) -> os.stat_result:
        if path == str(tmp_path):
            answer.wait(20)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "stat", stat)
    clock, threads = SetClock(), ReadThreads(2, 0.01)
    request = FolderRequest(
        root=str(tmp_path), name=None, folder_id="f", account_id="a", wanted=patterns((), ()), conflict="skip"
    )
    files = WatchedFiles(request, 10.0, WatchControl(), threads, clock)
    try:
        for seconds, expected in ((0, 1), (5, 1), (50, 1), (5, 2), (60, 2), (59, 2), (1, 3), (239, 3), (1, 4)):
            clock.time += seconds
            with pytest.raises(SourceError, match="does not answer"):
                await files.check()
            asked.add(files._asked)
            assert len(asked) == expected
    finally:
        answer.set()
        await asyncio.wait(asked)
        threads.shutdown(wait=False)
    assert all(one.exception() is None for one in asked), "they have all answered in the end"
