"""An attempt in which no byte moves, whichever side hangs, is aborted and repeated; an answer may take longer.

That a slow attempt is not aborted is tested by `test_a_slow_part_is_not_a_stalled_one`, in test_traps.py.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioframeio_upload import (
    Event,
    Limits,
    PartExhausted,
    PartRetrying,
    RetryPolicy,
    SourceError,
    Timeouts,
    UploadedFile,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk, reached, sha256, some_bytes, uploader_on
from tests.support.seen import puts, watched

STALL = 0.4
"""Seconds; even a busy machine takes less for a part of SMALL bytes."""

SMALL = 1 << 16
CONTENT = some_bytes(3 * SMALL - 7)
REAL_PREAD: Callable[[int, int, int], bytes] = getattr(os, "pread", None)  # type: ignore[assignment]
BIG = 16 << 20
"""More bytes than the kernel buffers for a connection on loopback."""


@pytest.fixture
async def fake() -> AsyncIterator[FakeFrameio]:
    async with FakeFrameio(rate_limits=False, part_size=SMALL) as fake:
        yield fake


WAYS = {
    "reads nothing of the body": Fault(number=1, do="stall"),
    "stops reading in the middle": Fault(number=1, do="stall", after=10_000),
    "never answers": Fault(number=1, do="hold"),
}


def what_was_told(events: list[Event]) -> list[str]:
    return [str(event.error) for event in events if isinstance(event, PartRetrying)]


@pytest.mark.parametrize("fault", WAYS.values(), ids=WAYS)
async def test_a_hanging_server_is_abandoned_and_the_part_sent_again(fake: FakeFrameio, fault: Fault) -> None:
    fake.add_fault(fault)
    async with uploader_on(fake, timeouts=Timeouts(stall=STALL, answer=STALL)) as uploader:
        events, file = await watched(uploader, fake, CONTENT)
        assert isinstance(file, UploadedFile)
        assert uploader.statistics().retries == len(what_was_told(events)) >= 1
    assert fake.hits(fault) == 1
    # The kernel accepts all of a small part, so it is the answer that does not arrive.
    assert any(
        f"part 1, attempt 1: {words}" in what_was_told(events)
        for words in ("no byte moved for 0.4 s", "no answer came within 0.4 s of the last byte")
    )
    assert fake.files[0].sha256 == sha256(CONTENT)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 100_000])
async def test_a_body_that_the_socket_does_not_accept_is_noticed(after: int) -> None:
    """aiohttp has no time limit for writing: more than the kernel buffers would hang for ever."""
    content = bytes(BIG)
    stuck = Fault(do="stall", after=after)
    async with FakeFrameio(rate_limits=False, part_size=BIG, faults=[stuck]) as fake:
        async with uploader_on(fake, timeouts=Timeouts(stall=1.5)) as uploader:
            upload = uploader.upload(content, name="a", folder_id=fake.folder_id).start()
            await reached(fake, stuck)
            await upload
        assert puts(fake)[1] >= 2
        assert fake.files[0].sha256 == sha256(content)


async def test_a_server_that_always_hangs_uses_up_the_attempts(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(number=2, do="hold", times=None))
    policy = RetryPolicy(attempts=2, base=0.01, cap=0.01)
    async with uploader_on(fake, retry=policy, timeouts=Timeouts(answer=1.5)) as uploader:
        _, error = await watched(uploader, fake, CONTENT)
    assert type(error) is PartExhausted
    assert (error.number, error.attempts, error.status) == (2, 2, None)
    assert "no answer came within 1.5 s of the last byte" in str(error.__cause__)
    assert puts(fake)[2] == 2
    assert (fake.files, len(fake.deleted)) == ((), 1)


@pytest.mark.parametrize("size", [SMALL, 4 << 20], ids=["small", "more than the kernel buffers"])
async def test_an_answer_may_take_longer_than_a_stall_and_the_part_is_sent_once(size: int) -> None:
    """A proxy that buffers has received every byte and forwards them slowly."""
    content, held = some_bytes(size), Fault(do="hold")
    async with FakeFrameio(rate_limits=False, part_size=size, faults=[held]) as fake:
        async with uploader_on(fake, timeouts=Timeouts(stall=STALL, answer=60)) as uploader:
            upload = uploader.upload(content, name="a", folder_id=fake.folder_id).start()
            await reached(fake, held)
            with pytest.raises(TimeoutError):  # not a sleep: it must not end in this time
                await asyncio.wait_for(asyncio.shield(upload), 3 * STALL)
            fake.release()
            await upload
            assert uploader.statistics().retries == 0
        assert puts(fake) == {1: 1}
        assert fake.files[0].sha256 == sha256(content)


def test_the_time_for_an_answer_is_long_by_default_and_grows_with_the_part() -> None:
    assert Timeouts().answer_for(0) == 10 * Timeouts().stall
    assert Timeouts().answer_for(64 << 20) > Timeouts().answer_for(1 << 20) > 300
    assert Timeouts(answer=7).answer_for(64 << 20) == 7
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="answer"):
            Timeouts(answer=wrong)


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="there the system tells what was not acknowledged")
async def test_bytes_in_the_kernels_buffer_do_not_count_as_sent() -> None:
    """A peer that stops reading stalls the part, although the kernel has taken the whole body."""
    content, stuck = some_bytes(1 << 20), Fault(do="stall", after=1000)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        if probe.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 4 << 20:
            pytest.skip("the kernel gives no buffer that is so large")

    def roomy(address: Any) -> socket.socket:
        sock = socket.socket(address[0], socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        return sock

    async with FakeFrameio(rate_limits=False, part_size=1 << 20, faults=[stuck]) as fake:
        connector = aiohttp.TCPConnector(socket_factory=roomy)
        async with (
            asyncio.timeout(30),
            aiohttp.ClientSession(connector=connector) as session,
            uploader_on(fake, session=session, timeouts=Timeouts(stall=1, answer=600)) as uploader,
        ):
            events, file = await watched(uploader, fake, content)
        assert isinstance(file, UploadedFile)
        assert what_was_told(events)[0] == "part 1, attempt 1: no byte moved for 1 s"
        fake.release()


class HangingFile(io.BytesIO):
    """A file object whose first read of a part's bytes hangs until it is released."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.let_go = threading.Event()
        self.hung = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.let_go.is_set():
            self.hung += 1
            self.let_go.wait(20)
        return super().read(size)


class HangingDisk:
    """A disk on which the first read hangs until it is released."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.hung = 0

    def preadv(self, *_: Any) -> int:
        raise BlockingIOError  # nothing is in the page cache

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        if not self.let_go.is_set():
            self.hung += 1
            self.let_go.wait(20)
        return REAL_PREAD(descriptor, size, offset)


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="neither macOS before 11 nor Windows has preadv")
async def test_a_hanging_read_is_abandoned_and_repeated(
    fake: FakeFrameio, make_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = make_file(SMALL), HangingDisk()
    with on_disk(lambda: path.open("rb")) as source:
        monkeypatch.setattr(os, "preadv", disk.preadv)
        monkeypatch.setattr(os, "pread", disk.pread)
        async with uploader_on(fake, timeouts=Timeouts(stall=1.5)) as uploader:
            upload = uploader.upload(source, name="a", folder_id=fake.folder_id)
            failed = []
            async for event in upload:
                if isinstance(event, PartRetrying):
                    failed.append(event)
                    disk.let_go.set()
            await upload
    assert disk.hung == 1, "no second read is begun beside one that hangs"
    assert "no byte moved" in str(failed[0].error)
    assert fake.files[0].sha256 == sha256(path)


async def test_a_source_that_always_hangs_fails_and_blocks_no_thread_of_others(
    fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    source, healthy = HangingFile(CONTENT[:SMALL]), make_file(2 * SMALL)
    limits = Limits(parts=1, api_pacing=False)
    async with uploader_on(fake, limits=limits, timeouts=Timeouts(stall=1.5)) as uploader:
        try:
            with pytest.raises(SourceError, match="does not answer"):
                await uploader.upload(source, name="a", folder_id=fake.folder_id)
            assert source.hung == 1, "no second read is begun beside one that hangs"
            await uploader.upload(healthy, folder_id=fake.folder_id)
        finally:
            source.let_go.set()
    assert ([file.sha256 for file in fake.files], len(fake.deleted)) == ([sha256(healthy)], 1)


class DeadMount:
    """A mount on which asking for a file's size and time of change hangs once it has died."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def stat(self, path: Any, **options: Any) -> os.stat_result:
        if self.path is not None and path == str(self.path):
            self.asked.set()
            self.let_go.wait(60)
        return REAL_STAT(path, **options)


REAL_STAT = os.stat


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadMount]:
    mount = DeadMount()
    monkeypatch.setattr(os, "stat", mount.stat)
    yield mount
    mount.let_go.set()


async def test_a_file_on_a_dead_mount_is_an_error_and_nothing_is_created(
    fake: FakeFrameio, mount: DeadMount, make_file: Callable[..., Path]
) -> None:
    mount.path = make_file(SMALL)
    async with uploader_on(fake, timeouts=Timeouts(stall=STALL)) as uploader:
        with pytest.raises(SourceError, match=r"take\.mov: does not answer"):
            await uploader.upload(mount.path, folder_id=fake.folder_id)
        mount.let_go.set()
    assert (fake.files, fake.deleted) == ((), ())


async def test_a_mount_that_dies_between_two_parts_ends_its_upload_in_time(
    fake: FakeFrameio, mount: DeadMount, make_file: Callable[..., Path]
) -> None:
    path = make_file(3 * SMALL)
    fake.add_fault(held := Fault(do="hold"))
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False), timeouts=Timeouts(stall=2)) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, held)
        mount.path = path
        fake.release(held)
        with pytest.raises(SourceError, match="does not answer"):
            await upload
        mount.let_go.set()
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_waiting_for_a_source_takes_no_slot_from_others(
    fake: FakeFrameio, mount: DeadMount, make_file: Callable[..., Path]
) -> None:
    path, other = make_file(3 * SMALL), make_file(2 * SMALL, "b.mov")
    fake.add_fault(held := Fault(do="hold"))
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False), timeouts=Timeouts(stall=60)) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, held)
        mount.path = path
        fake.release(held)
        assert await asyncio.to_thread(mount.asked.wait, 20)
        async with asyncio.timeout(20):
            await uploader.upload(other, folder_id=fake.folder_id)
        assert not upload.done
        mount.let_go.set()
        await upload
    assert {file.sha256 for file in fake.files} == {sha256(path), sha256(other)}
