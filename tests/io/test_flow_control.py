"""Test `Limits.bandwidth`: it holds for all uploads together, and every open connection still moves blocks."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioframeio_upload import Limits, PartStarted, Timeouts, UploadCancelled
from aioframeio_upload._core.token_bucket import TokenBucket
from aioframeio_upload._io import flow_control as gate
from aioframeio_upload._io.buffers import BLOCK, SILENCE, block_for
from aioframeio_upload._io.flow_control import BURST
from aioframeio_upload._io.session import slots_within
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import sha256, some_bytes, uploader_on
from tests.support.seen import puts

RATES = st.integers(1024, 10**10)
PARTS = st.integers(1, 256)


def sent_by(rate: int, bodies: int, seconds: float) -> list[tuple[float, int, int]]:
    """Simulate payloads that share a limit; return the time, the payload and the size of each block."""
    bucket, block = TokenBucket.full(rate * BURST, BURST, 0.0), block_for(rate)
    waiting = [(0.0, number) for number in range(bodies)]
    sent: list[tuple[float, int, int]] = []
    while waiting[0][0] <= seconds and len(sent) < 5000:
        now, number = heapq.heappop(waiting)
        due = now + bucket.reserve(now, block)
        sent.append((due, number, block))
        heapq.heappush(waiting, (due, number))
    return sorted(sent)


# -- the arithmetic ----------------------------------------------------------------------------------------------------


@given(RATES, PARTS, st.floats(1.0, 60.0))
@example(1024, 8, 60.0)
def test_over_a_second_or_more_the_limit_holds_within_five_percent(rate: int, parts: int, seconds: float) -> None:
    bodies = slots_within(Limits(parts=parts, bandwidth=rate), None)
    sent = sent_by(rate, bodies, seconds)
    total = 0
    for due, _, size in sent:
        total += size
        if due >= 1:
            assert total <= 1.05 * rate * due + 1
    last = sent[-1][0]
    assert total >= 0.95 * rate * last - bodies * block_for(rate), "and it is used"


@given(RATES, PARTS)
@example(1024, 8)
@example(16384, 256)
def test_every_open_connection_moves_a_block_every_ten_seconds(rate: int, parts: int) -> None:
    bodies = slots_within(Limits(parts=parts, bandwidth=rate), None)
    assert 1 <= bodies <= parts
    latest = dict.fromkeys(range(bodies), 0.0)
    for due, number, _ in sent_by(rate, bodies, 60.0):
        assert due - latest[number] <= SILENCE + 1e-6
        latest[number] = due


@given(RATES)
def test_a_block_fits_its_buffer_and_the_ten_seconds(rate: int) -> None:
    assert 1 <= block_for(rate) <= BLOCK
    assert block_for(rate) <= rate * SILENCE


def test_slots_shrink_where_the_limit_is_small_and_only_there() -> None:
    slots = {rate: slots_within(Limits(parts=64, bandwidth=rate), None) for rate in (1024, 16384, 10**5, 10**6)}
    assert slots == {1024: 1, 16384: 10, 10**5: 61, 10**6: 64}
    assert slots_within(Limits(parts=64), None) == 64


def test_under_the_limit_the_number_that_adapts_stays_small() -> None:
    assert slots_within(Limits(), None) == 64
    assert slots_within(Limits(bandwidth=10**8), None) == 8
    assert slots_within(Limits(bandwidth=10**8, parts=16), None) == 16


# -- on the wire -------------------------------------------------------------------------------------------------------

RATE = 1 << 20


@pytest.mark.slow
async def test_two_uploads_share_the_limit_and_are_no_faster_than_it(make_file: Callable[..., Path]) -> None:
    size = RATE * 5 // 4
    path, limits = make_file(size), Limits(bandwidth=RATE, api_pacing=False)
    now = asyncio.get_running_loop().time
    async with (
        FakeFrameio(rate_limits=False, part_size=size // 3) as fake,
        uploader_on(fake, limits=limits) as uploader,
    ):
        began = now()
        uploads = [uploader.upload(path, name=name, folder_id=fake.folder_id).start() for name in ("a", "b")]
        await asyncio.wait([asyncio.ensure_future(upload) for upload in uploads], return_when="FIRST_COMPLETED")
        sent = [upload.progress.bytes_uploaded for upload in uploads if upload.progress is not None]
        await asyncio.gather(*uploads)
        elapsed = now() - began
        assert 2 * size / elapsed <= 1.05 * RATE
        assert min(sent) > size / 2, "neither waits for the end of the other"
        assert uploader.statistics().retries == 0
    assert [file.sha256 for file in fake.files] == [sha256(path)] * 2


@pytest.mark.slow
async def test_a_limit_of_less_than_a_small_block_a_second_stalls_nothing() -> None:
    """At 1 KiB/s a block takes ten seconds; a shorter rest takes as long as its bytes need."""
    limits = Limits(bandwidth=1024, api_pacing=False)
    async with (
        FakeFrameio(rate_limits=False) as fake,
        uploader_on(fake, limits=limits, timeouts=Timeouts(stall=3)) as uploader,
    ):
        assert uploader.statistics().slots == 1
        upload = uploader.upload(some_bytes(4000), name="a", folder_id=fake.folder_id)
        await upload
        (begun,) = [event for event in [event async for event in upload] if isinstance(event, PartStarted)]
        assert begun.attempt == 1
        assert uploader.statistics().retries == 0
    assert puts(fake) == {1: 1}
    assert fake.files[0].sha256 == sha256(some_bytes(4000))


async def test_a_pause_under_a_limit_leaves_the_bytes_to_others_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "PAUSE", 0.05)
    limits = Limits(bandwidth=RATE, parts=1, api_pacing=False)
    content, other = some_bytes(RATE // 2), some_bytes(RATE // 8)
    async with FakeFrameio(rate_limits=False) as fake, uploader_on(fake, limits=limits) as uploader:
        paused = uploader.upload(content, name="paused", folder_id=fake.folder_id).start()
        async with asyncio.timeout(20):
            await fake.until(lambda fake: any(0 < seen.bytes_received < len(content) for seen in fake.requests))
            paused.pause()
            await uploader.upload(other, name="other", folder_id=fake.folder_id)
        assert not paused.done
        paused.resume()
        await paused
        assert uploader.statistics().retries == 0
    assert {file.name: file.sha256 for file in fake.files} == {"paused": sha256(content), "other": sha256(other)}


async def test_a_cancel_is_not_held_up_by_a_limit() -> None:
    limits = Limits(bandwidth=1024, api_pacing=False)
    async with FakeFrameio(rate_limits=False) as fake, uploader_on(fake, limits=limits) as uploader:
        upload = uploader.upload(bytes(1 << 20), name="a", folder_id=fake.folder_id).start()
        async for event in upload:
            if isinstance(event, PartStarted):
                break
        upload.cancel()
        async with asyncio.timeout(5):  # its first block is worth ten seconds
            with pytest.raises(UploadCancelled):
                await upload
    assert (fake.files, len(fake.deleted)) == ((), 1)
