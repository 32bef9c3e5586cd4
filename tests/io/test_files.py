"""Files are opened and closed off the loop, and a cancellation leaves none open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import aiofiles
import pytest

from aioframeio_upload import SourceError
from aioframeio_upload._io.files import SharedFile, opened
from tests.conftest import on_disk, open_files, other_tasks


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def test_a_file_whose_opening_was_cancelled_half_way_is_closed_as_soon_as_it_is_open(
    make_file: Callable[..., Path], tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    path, gate = make_file(10), threading.Event()
    executor.submit(gate.wait)  # the only thread is busy: the opening cannot go on
    task = asyncio.create_task(opened(aiofiles.open(path, "rb", executor=executor)))
    await asyncio.wait([task], timeout=0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    opening = other_tasks()
    gate.set()
    (done,), _ = await asyncio.wait(opening, timeout=5)
    assert done.result().raw.closed
    assert open_files(tmp_path) == []


class Gate:
    """A buffer that blocks when it is written to."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __len__(self) -> int:
        return 4

    def __setitem__(self, where: slice, block: bytes) -> None:
        self.reached.set()
        assert self.opened.wait(5)


def test_a_descriptor_is_closed_when_its_last_reader_is_done(make_file: Callable[..., Path]) -> None:
    raw: Any = make_file(10).open("rb", buffering=0)
    file, gate = SharedFile(raw, owner=raw), Gate()
    with ThreadPoolExecutor(1) as executor:
        reading = executor.submit(file.fill, 0, cast(memoryview, gate))
        assert gate.reached.wait(5)
        file.close()
        assert not raw.closed
        with pytest.raises(SourceError, match="was closed"):
            file.fill(0, memoryview(bytearray(4)))
        assert not file.peek(0, memoryview(bytearray(4)))
        gate.opened.set()
        reading.result(5)
    assert raw.closed


def test_a_callers_file_is_never_closed(make_file: Callable[..., Path]) -> None:
    with on_disk(make_file(10).open, "rb") as raw:
        file = SharedFile(raw)
        file.close()
        assert not raw.closed
