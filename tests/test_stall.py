"""An attempt in which no byte moves, whichever side hangs, is aborted and made again; a slow one is left alone."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import AddrInfoType
from conftest import reached, sha256, some_bytes, uploader_on
from seen import puts, watched

from aioframeio_upload import (
    Event,
    PartCompleted,
    PartExhausted,
    PartRetrying,
    RetryPolicy,
    Timeouts,
    UploadedFile,
)
from aioframeio_upload.testing import FakeFrameio, Fault

STALL = 0.4
"""Seconds; a busy machine takes less for a part of SMALL bytes."""

SMALL = 1 << 16
CONTENT = some_bytes(3 * SMALL - 7)
BIG = 16 << 20
"""More than the kernel buffers of a connection hold on loopback."""


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
async def test_a_server_that_hangs_is_left_and_the_part_sent_again(fake: FakeFrameio, fault: Fault) -> None:
    fake.add_fault(fault)
    async with uploader_on(fake, timeouts=Timeouts(stall=STALL)) as uploader:
        events, file = await watched(uploader, fake, CONTENT)
        assert isinstance(file, UploadedFile)
        assert uploader.statistics().retries == len(what_was_told(events)) >= 1
    assert fake.hits(fault) == 1
    assert "part 1, attempt 1: no byte moved for 0.4 s" in what_was_told(events)
    assert fake.files[0].sha256 == sha256(CONTENT)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 100_000])
async def test_a_body_that_the_socket_takes_no_more_of_is_noticed(after: int) -> None:
    """Aiohttp has no time limit for writing: more than the kernel buffers would hang for ever."""
    content = bytes(BIG)
    stuck = Fault(do="stall", after=after)
    async with FakeFrameio(rate_limits=False, part_size=BIG, faults=[stuck]) as fake:
        async with uploader_on(fake, timeouts=Timeouts(stall=1.5)) as uploader:
            upload = uploader.upload(content, name="a", folder_id=fake.folder_id).start()
            await reached(fake, stuck)
            await upload
        assert puts(fake)[1] >= 2
        assert fake.files[0].sha256 == sha256(content)


async def test_a_server_that_hangs_for_ever_uses_up_the_attempts(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(number=2, do="hold", times=None))
    policy = RetryPolicy(attempts=2, base=0.01, cap=0.01)
    async with uploader_on(fake, retry=policy, timeouts=Timeouts(stall=STALL)) as uploader:
        _, error = await watched(uploader, fake, CONTENT)
    assert type(error) is PartExhausted
    assert (error.number, error.attempts, error.status) == (2, 2, None)
    assert "no byte moved" in str(error.__cause__)
    assert puts(fake)[2] == 2
    assert (fake.files, len(fake.deleted)) == ((), 1)


class HangingFile(io.BytesIO):
    """A file object whose first read of a part's bytes hangs until it is let go."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.let_go = threading.Event()
        self.hung = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.let_go.is_set():
            self.hung += 1
            self.let_go.wait(20)
        return super().read(size)


async def test_a_source_whose_read_hangs_is_left_and_read_again(fake: FakeFrameio) -> None:
    source = HangingFile(CONTENT)
    async with uploader_on(fake, timeouts=Timeouts(stall=STALL)) as uploader:
        upload = uploader.upload(source, name="a", folder_id=fake.folder_id)
        failed = []
        async for event in upload:
            if isinstance(event, PartRetrying):
                failed.append(event)
                source.let_go.set()
        await upload
    assert source.hung == 1, "reads of one object do not run side by side"
    assert {event.number for event in failed} <= {1, 2, 3}
    assert "no byte moved" in str(failed[0].error)
    assert fake.files[0].sha256 == sha256(CONTENT)


def small_buffer(address: AddrInfoType) -> socket.socket:
    """A socket whose kernel holds little, so that what was sent is soon received."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    made.setblocking(False)
    return made


@pytest.mark.slow
async def test_a_trickling_server_is_slow_and_not_stalled() -> None:
    """The attempt takes longer than `Timeouts.stall`, but a block passes now and then."""
    content, stall = bytes(6 << 20), 0.8
    slow = Fault(do="trickle", rate=4 << 20)
    connector = aiohttp.TCPConnector(socket_factory=small_buffer)
    async with (
        FakeFrameio(rate_limits=False, part_size=len(content), faults=[slow]) as fake,
        aiohttp.ClientSession(connector=connector) as session,
        uploader_on(fake, timeouts=Timeouts(stall=stall), session=session) as uploader,
    ):
        upload = uploader.upload(content, name="a", folder_id=fake.folder_id)
        await upload
        (seconds,) = [event.seconds async for event in upload if isinstance(event, PartCompleted)]
        assert seconds > stall
        assert uploader.statistics().retries == 0
        assert puts(fake) == {1: 1}
        assert fake.files[0].sha256 == sha256(content)
