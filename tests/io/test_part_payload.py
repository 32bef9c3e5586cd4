"""Test the hot loop: where blocks are read, whose memory they are in, and how often it yields."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiofiles
import anyio
import anyio.to_thread
import pytest

from aioframeio_upload import Limits, Plan, SourceChanged, Uploader
from aioframeio_upload._core.checksums import MD5
from aioframeio_upload._core.model import Part
from aioframeio_upload._io import buffers as blocks
from aioframeio_upload._io import part_payload as body
from aioframeio_upload._io import session as resources
from aioframeio_upload._io.buffers import AHEAD, ROUNDS, BufferPool, WriteTurns
from aioframeio_upload._io.files import FilePartReader, ReadThreads, SharedFile, opened
from aioframeio_upload._io.sources import MemorySource
from aioframeio_upload.testing import FakeFrameio

linux = pytest.mark.skipif(sys.platform != "linux", reason="RWF_NOWAIT is Linux's")


class CountingExecutor(ThreadPoolExecutor):
    """An executor that counts its jobs."""

    jobs = 0

    def submit(self, *arguments: Any, **keywords: Any) -> Future[Any]:
        self.jobs += 1
        return super().submit(*arguments, **keywords)


@pytest.fixture
def executor() -> Iterator[CountingExecutor]:
    with CountingExecutor(2) as executor:
        yield executor


@pytest.fixture
def content() -> bytes:
    return os.urandom(3 * 1024 * 1024 + 17)


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "take.mov"
    path.write_bytes(content)
    return path


def evict(path: Path) -> None:
    """Write a file out and drop its pages from the cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


async def open_file(path: Path, executor: ThreadPoolExecutor) -> SharedFile:
    return await opened(aiofiles.open(path, "rb", executor=executor), str(path))


@linux
async def test_pages_in_the_cache_are_read_on_the_loop_without_a_thread(
    path: Path, content: bytes, executor: CountingExecutor
) -> None:
    file = await open_file(path, executor)
    jobs = executor.jobs
    block = FilePartReader(file, 1000, executor).peek(24, memoryview(bytearray(4096)))
    file.close()
    assert block is not None
    assert bytes(block) == content[1024 : 1024 + 4096]
    assert executor.jobs == jobs


@linux
async def test_cold_pages_are_read_in_a_thread(path: Path, content: bytes, executor: CountingExecutor) -> None:
    await anyio.to_thread.run_sync(evict, path)
    file = await open_file(path, executor)
    lent, buffer = FilePartReader(file, 0, executor), memoryview(bytearray(1 << 18))
    assert lent.peek(1 << 20, buffer) is None
    jobs = executor.jobs
    block = await lent.read(1 << 20, buffer)
    file.close()
    assert executor.jobs == jobs + 1
    assert bytes(block) == content[1 << 20 : (1 << 20) + (1 << 18)]


@linux
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no tmpfs to write to")
async def test_a_file_system_that_refuses_the_flag_is_read_in_a_thread(
    content: bytes, executor: CountingExecutor
) -> None:
    path = Path("/dev/shm") / f"aioframeio-upload-{os.getpid()}"
    await anyio.Path(path).write_bytes(content)
    try:
        file = await open_file(path, executor)
        lent, buffer = FilePartReader(file, 0, executor), memoryview(bytearray(4096))
        if lent.peek(0, buffer) is None:  # newer kernels serve it, and then nothing is to be shown
            jobs = executor.jobs
            assert bytes(await lent.read(7, buffer)) == content[7 : 7 + 4096]
            assert executor.jobs == jobs + 1
        file.close()
    finally:
        await anyio.Path(path).unlink()


@pytest.mark.parametrize("missing", ["RWF_NOWAIT", "preadv", "pread"])
async def test_an_upload_is_identical_on_a_system_without_the_call(
    missing: str, monkeypatch: pytest.MonkeyPatch, path: Path, content: bytes, fake: FakeFrameio, uploader: Uploader
) -> None:
    monkeypatch.delattr(os, missing, raising=False)
    if missing == "preadv":  # macOS has preadv without the flag; a system without the call has neither
        monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    await uploader.upload(path, folder_id=fake.folder_id)
    assert fake.files[0].sha256 == hashlib.sha256(content).hexdigest()


async def test_an_upload_of_a_cold_file_is_identical(
    path: Path, content: bytes, fake: FakeFrameio, uploader: Uploader
) -> None:
    if sys.platform == "linux":
        await anyio.to_thread.run_sync(evict, path)
    await uploader.upload(path, folder_id=fake.folder_id)
    assert fake.files[0].sha256 == hashlib.sha256(content).hexdigest()


async def test_a_file_that_became_shorter_is_an_error_and_is_not_sent_short(
    path: Path, executor: CountingExecutor
) -> None:
    file = await open_file(path, executor)
    await anyio.to_thread.run_sync(os.truncate, path, 5000)
    lent, buffer = FilePartReader(file, 4096, executor), memoryview(bytearray(4096))
    assert lent.peek(0, buffer) is None
    with pytest.raises(SourceChanged, match="ends 3192 bytes early"):
        await lent.read(0, buffer)
    file.close()


async def test_bytes_of_the_caller_are_sent_without_a_copy(content: bytes) -> None:
    source = MemorySource(memoryview(content))
    async with source.lend(Part(2, 4096, 8192, "https://s3/2?x")) as lent:
        block = lent.peek(10, memoryview(bytearray(100)))
    assert block is not None
    assert block.obj is content
    assert bytes(block) == content[4106:4206]


async def test_a_turn_that_is_over_yields_after_each_block(
    monkeypatch: pytest.MonkeyPatch, fake: FakeFrameio, uploader: Uploader, content: bytes
) -> None:
    monkeypatch.setattr(body, "TURN", 0.0)
    monkeypatch.setattr(BufferPool, "size", 4096)
    turns_of_others = 0
    running = uploader.upload(content[: 1 << 20], name="a", folder_id=fake.folder_id).start()
    while not running.done:
        await asyncio.sleep(0)
        turns_of_others += 1
    assert running.result.size == 1 << 20
    assert turns_of_others > (1 << 20) // 4096


async def test_the_md5_of_blocks_that_are_hashed_in_a_thread_is_that_of_the_whole(content: bytes) -> None:
    pool, digest = BufferPool(1), MD5.begin()
    for offset in range(0, len(content), pool.size):
        buffer = await pool.take()
        block = buffer[: min(pool.size, len(content) - offset)]
        block[:] = content[offset : offset + len(block)]
        pool.hash([(buffer, block)], [digest])
    await pool.hashed()
    assert digest.value() == hashlib.md5(content, usedforsecurity=False).hexdigest()
    pool.close()


async def test_no_more_buffers_are_made_than_bodies_and_a_few_ahead() -> None:
    pool = BufferPool(2)
    taken = [pool.take_now() for _ in range(2 + AHEAD)]
    assert all(buffer is not None for buffer in taken)
    assert pool.take_now() is None
    waiting = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert taken[0] is not None
    pool.give_back(taken[0])
    assert await waiting is taken[0]
    pool.close()


async def test_buffers_that_come_back_together_wake_all_who_wait_for_one() -> None:
    pool, digest = BufferPool(0), MD5.begin()
    taken = [await pool.take() for _ in range(AHEAD)]
    waiting = [asyncio.ensure_future(pool.take()) for _ in range(3)]
    await asyncio.sleep(0)
    pool.hash([(buffer, buffer[:1]) for buffer in taken], [digest])
    async with asyncio.timeout(10):
        assert await asyncio.gather(*waiting) == taken[:3]
    pool.close()


async def test_a_buffer_whose_taker_is_cancelled_wakes_the_next_who_waits() -> None:
    pool, digest = BufferPool(0), MD5.begin()
    taken = [await pool.take() for _ in range(AHEAD)]
    waiting = [asyncio.ensure_future(pool.take()) for _ in range(3)]
    await asyncio.sleep(0)
    pool.give_back(taken[0])  # wakes the first, which is cancelled before it runs
    waiting[0].cancel()
    async with asyncio.timeout(10):
        assert await waiting[1] is taken[0]
        pool.hash([(buffer, buffer[:1]) for buffer in taken[1:]], [digest])
        assert await waiting[2] is taken[1]
    assert waiting[0].cancelled()
    pool.close()


async def test_turns_are_served_in_order_and_the_loop_runs_in_between() -> None:
    turns, story = WriteTurns(), []

    async def body(name: str) -> None:
        for _ in range(3):
            await turns.mine()
            story.append(name)
            await asyncio.sleep(0)

    bodies = [asyncio.create_task(body(name)) for name in "abcd"]
    await asyncio.sleep(0)
    bodies[2].cancel()
    while not all(one.done() for one in bodies):
        story.append("-")
        await asyncio.sleep(0)
    told = "".join(story)
    assert told.replace("-", "") == "abd" * 3
    between = re.findall("(?<=[abd])-*(?=[abd])", told)
    assert [len(rounds) > ROUNDS for rounds in between] == [True] * 8, told


@linux
async def test_a_body_that_waited_for_a_buffer_reads_from_the_cache_all_the_same(
    monkeypatch: pytest.MonkeyPatch, fake: FakeFrameio, path: Path
) -> None:
    """With one buffer, it waits until each block is hashed."""
    monkeypatch.setattr(blocks, "AHEAD", 0)
    monkeypatch.setattr(BufferPool, "size", 4096)
    jobs = 0

    class Counting(ReadThreads):
        def submit(self, *arguments: Any, **keywords: Any) -> Future[Any]:
            nonlocal jobs
            jobs += 1
            return super().submit(*arguments, **keywords)

    monkeypatch.setattr(resources, "ReadThreads", Counting)
    one = Limits(parts=1, api_pacing=False)
    async with Uploader(fake.token, account_id=fake.account_id, base_url=fake.url, limits=one) as uploader:
        await uploader.upload(path, folder_id=fake.folder_id)
    assert 0 < jobs < 100, "3 MiB are 768 blocks"


async def test_a_buffer_that_a_broken_connection_may_still_hold_is_replaced_and_not_used_again() -> None:
    pool = BufferPool(1)
    taken = [pool.take_now() for _ in range(1 + AHEAD)]
    pool.lost()
    fresh = pool.take_now()
    assert fresh is not None
    assert all(fresh is not buffer for buffer in taken)
    assert pool.take_now() is None
    pool.close()


async def test_a_payload_whose_hashing_is_slow_waits_for_buffers_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, fake: FakeFrameio, content: bytes
) -> None:
    monkeypatch.setattr(blocks, "AHEAD", 0)
    monkeypatch.setattr(BufferPool, "size", 4096)
    async with Uploader(
        fake.token, account_id=fake.account_id, base_url=fake.url, limits=Limits(parts=2, api_pacing=False)
    ) as uploader:
        plan: Plan = await uploader.plan(content, name="a", folder_id=fake.folder_id)
        await uploader.execute(plan, content)
    assert fake.files[0].sha256 == hashlib.sha256(content).hexdigest()
