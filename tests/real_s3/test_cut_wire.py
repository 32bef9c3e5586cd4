"""A cut connection between the library and a real S3 server: the file is complete byte for byte, or one error says why.

Part 2 of three meets the mishap, one part in flight at a time. `Mishap` counts from the part's name in the URL.
The suite has a sample; `python3 run.py wire` tries every mishap at every place.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from random import Random
from typing import Any, Literal

import pytest

from aioframeio_upload import (
    Event,
    Limits,
    PartCompleted,
    PartExhausted,
    PartRejected,
    PartRetrying,
    Plan,
    Progress,
    RetryPolicy,
    Timeouts,
    Uploader,
)
from aioframeio_upload.testing import FakeFrameio
from tests.support.wire import Mishap, Wire

from .presign import S3Server
from .test_library import send_all, sha256, stored

Way = Literal["accept", "up", "down"]

PART = (1 << 20) + 1  # just large enough for the first part to be sent with `Expect`
SIZES = [PART] * 3
BYTES = Random(9).randbytes(sum(SIZES))
SHA256 = hashlib.sha256(BYTES).hexdigest()
STALL = 1.0
ANSWER = 1.5  # not STALL, so that a message shows which of the two expired
PATIENT = 30.0
ONE = Limits(parts=1, api_pacing=False)

# The place of the mishap: the direction, and how many bytes pass after the part's name.
PLACES: dict[str, tuple[Way, int]] = {
    "as the request begins": ("up", 0),  # as in a keep-alive race: the server has just closed
    "in the headers": ("up", 300),
    "in the first bytes": ("up", 2000),
    "in the middle": ("up", PART // 2),
    "in the last bytes": ("up", PART + 300),
    "before the answer": ("down", 0),
    "in the answer": ("down", 20),
}
BREAKS = ("reset", "close", "half_close", "black_hole", "stall")
SAMPLE = {("reset", place) for place in PLACES} | {
    ("close", "in the answer"),
    ("half_close", "in the middle"),
    ("half_close", "before the answer"),
    ("black_hole", "in the middle"),
    ("stall", "before the answer"),
}
EVERY = {
    (do, place)
    for do in BREAKS
    for place in PLACES
    # Half a header followed by a FIN is answered with 400; see the test below.
    if (do, place) not in {("half_close", "as the request begins"), ("half_close", "in the headers")}
}
MATRIX = [
    pytest.param(do, *PLACES[place], id=f"{do} {place}", marks=pytest.mark.slow if do == "stall" else ())
    for do, place in sorted(EVERY if os.environ.get("WIRE") == "every" else SAMPLE)
]
BROKEN = {
    "the connection broke",
    "the connection broke (ECONNRESET)",
    "the connection broke (EPIPE)",
    "the server closed the connection without an answer",
    "the answer broke off",
}


def settings(do: str = "", **more: Any) -> dict[str, Any]:
    """Return settings with quick retries, one part in flight, and short timeouts where no byte will come."""
    if do in ("black_hole", "stall"):
        timeouts = Timeouts(stall=STALL, answer=ANSWER, confirm=0)
    else:
        timeouts = Timeouts(stall=PATIENT, confirm=0)
    return {"retry": RetryPolicy(base=0.01, cap=0.05), "limits": ONE, "timeouts": timeouts} | more


async def upload(fake: FakeFrameio, response: dict[str, Any], do: str = "", **more: Any) -> list[Event]:
    """Upload through the proxy without the confirmation, and return the events and the result."""
    plan = Plan.from_response(response, account_id=fake.account_id)
    async with Uploader(fake.token, base_url=fake.url, **settings(do, **more)) as uploader:
        running = uploader.execute(plan, BYTES)
        events = [event async for event in running]
        await running
        return events


def assert_told_once(events: list[Event]) -> None:
    """Each part was reported as completed once, and progress never ran backwards or beyond the total."""
    assert sorted(event.number for event in events if isinstance(event, PartCompleted)) == [1, 2, 3]
    bars = [event for event in events if isinstance(event, Progress)]
    assert [bar.bytes_uploaded for bar in bars] == sorted(bar.bytes_uploaded for bar in bars)
    assert (bars[-1].bytes_uploaded, bars[-1].bytes_confirmed, bars[-1].parts_completed) == (len(BYTES), len(BYTES), 3)


@pytest.mark.parametrize(("do", "way", "after"), MATRIX)
async def test_after_one_mishap_the_part_is_sent_again(
    s3_server: S3Server, fake_frameio: FakeFrameio, wire: Wire, do: Any, way: Way, after: int
) -> None:
    mishap = Mishap(do=do, way=way, after=after, mark=b"part_2?")
    wire.mishaps = [mishap]
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    events = await upload(fake_frameio, response, do)
    assert wire.hits(mishap) == 1
    assert [(event.number, event.attempt) for event in events if isinstance(event, PartRetrying)] == [(2, 1)]
    assert_told_once(events)
    assert await sha256(s3_server, response) == SHA256
    if do != "stall":  # a stalled end reads nothing, and so does not see the other end close
        async with asyncio.timeout(5):
            await wire.until(lambda wire: wire.open == 0)


@pytest.mark.parametrize(("do", "way", "after"), MATRIX)
async def test_after_repeated_mishaps_one_error_says_what_happened(
    s3_server: S3Server, wire: Wire, do: Any, way: Way, after: int
) -> None:
    mishap = Mishap(do=do, way=way, after=after, mark=b"part_2?", times=None)
    wire.mishaps = [mishap]
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    async with Uploader("t", **settings(do, retry=RetryPolicy(attempts=2, base=0.01, cap=0.05))) as uploader:
        with pytest.raises(PartExhausted) as caught:
            await send_all(uploader, response, BYTES)
    words = caught.value.problem.partition("the last: ")[2]
    if do == "stall" and way == "up" and after < PART:
        assert words == f"no byte moved for {STALL:g} s"
    elif do in ("black_hole", "stall"):
        # TCP has acknowledged every byte, so only the answer is missing.
        assert words == f"no answer came within {ANSWER:g} s of the last byte"
    elif do == "half_close" and way == "up":
        # rclone answers to the truncated body, and that can be read.
        assert (caught.value.status, caught.value.code) == (500, "InternalError")
    else:
        assert words in BROKEN
        assert caught.value.status is None
    assert (caught.value.number, caught.value.attempts) == (2, 2)
    assert wire.hits(mishap) >= 2  # a discarded request with `Expect` is one more
    first, second, third = await stored(s3_server, response)
    # If the answer was lost, the part is stored; no stored part is truncated.
    assert (first, third) == (PART, None)
    assert second == PART if way == "down" else second is None


@pytest.mark.parametrize("after", [0, 300])
async def test_headers_that_end_in_the_middle_are_refused_by_the_server(
    s3_server: S3Server, wire: Wire, after: int
) -> None:
    wire.mishaps = [Mishap(do="half_close", after=after, mark=b"part_2?")]
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    async with Uploader("t", **settings()) as uploader:
        with pytest.raises(PartRejected, match=r"^part 2, attempt 1: 400"):
            await send_all(uploader, response, BYTES)
    assert await stored(s3_server, response) == [PART, None, None]


@pytest.mark.parametrize("do", ["reset", "close", "black_hole", pytest.param("stall", marks=pytest.mark.slow)])
async def test_a_connection_that_ends_as_it_is_made_is_replaced(
    s3_server: S3Server, fake_frameio: FakeFrameio, wire: Wire, do: Any
) -> None:
    """It is the first part's, which sends `Expect`; the same attempt continues without it, so no retry is published."""
    mishap = Mishap(do=do, way="accept")
    wire.mishaps = [mishap]
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    events = await upload(fake_frameio, response, do)
    retried = [event.number for event in events if isinstance(event, PartRetrying)]
    assert retried == []
    assert wire.hits(mishap) == 1
    assert_told_once(events)
    assert await sha256(s3_server, response) == SHA256


@pytest.mark.parametrize("number", [1, 3])
async def test_an_answer_that_is_lost_costs_one_more_attempt_for_the_first_and_the_last_part_too(
    s3_server: S3Server, fake_frameio: FakeFrameio, wire: Wire, number: int
) -> None:
    """The answer to the first part begins with the 100 Continue, 25 bytes."""
    lost = Mishap(do="reset", way="down", after=25 if number == 1 else 0, mark=b"part_%d?" % number)
    wire.mishaps = [lost]
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    events = await upload(fake_frameio, response)
    assert [(event.number, event.attempt) for event in events if isinstance(event, PartRetrying)] == [(number, 1)]
    assert_told_once(events)
    # It was sent twice, and no other part was.
    assert len(BYTES) + PART <= wire.ways["up"].passed < len(BYTES) + PART + 16_000
    assert await sha256(s3_server, response) == SHA256


async def test_waiting_for_a_link_that_is_down_uses_up_no_attempt(
    s3_server: S3Server, fake_frameio: FakeFrameio, wire: Wire
) -> None:
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    plan = Plan.from_response(response, account_id=fake_frameio.account_id)
    retry = RetryPolicy(attempts=2, base=0.01, cap=0.05)
    async with Uploader(fake_frameio.token, base_url=fake_frameio.url, **settings(retry=retry)) as uploader:
        running = uploader.execute(plan, BYTES).start()
        await wire.until(lambda wire: wire.ways["up"].passed > PART + PART // 2)
        wire.refuse()
        wire.cut()
        events, unreachable = [], 0
        async for event in running:
            events.append(event)
            if isinstance(event, PartRetrying) and "no connection" in str(event.error):
                unreachable += 1
                if unreachable == 10:
                    await wire.restore()
        await running
    retried = [event for event in events if isinstance(event, PartRetrying)]
    assert unreachable >= 10
    assert {event.number for event in retried} == {2}
    assert {event.attempt for event in retried} == {1, 2}
    assert_told_once(events)
    assert await sha256(s3_server, response) == SHA256


async def test_each_part_is_sent_again_when_every_connection_is_cut_at_once(
    s3_server: S3Server, fake_frameio: FakeFrameio, wire: Wire
) -> None:
    # None of them can be complete by then.
    wire.mishaps = [Mishap(do="stall", after=PART // 2, mark=b"part_%d?" % number) for number in (1, 2, 3)]
    mishaps = wire.mishaps
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    plan = Plan.from_response(response, account_id=fake_frameio.account_id)
    more = settings(limits=Limits(parts=3, api_pacing=False))
    async with Uploader(fake_frameio.token, base_url=fake_frameio.url, **more) as uploader:
        running = uploader.execute(plan, BYTES).start()
        await wire.until(lambda wire: all(wire.hits(mishap) for mishap in mishaps))
        wire.cut()
        events = [event async for event in running]
        await running
    assert sorted(event.number for event in events if isinstance(event, PartRetrying)) == [1, 2, 3]
    assert_told_once(events)
    assert await sha256(s3_server, response) == SHA256


async def test_an_idle_connection_that_was_closed_is_not_used_again(s3_server: S3Server, wire: Wire) -> None:
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    plan = Plan.from_response(response)
    async with Uploader("t", **settings(retry=RetryPolicy(attempts=1))) as uploader:
        await uploader.send_parts(plan, BYTES, [1, 2])
        assert wire.connections == 1
        wire.cut()
        await wire.until(lambda wire: wire.open == 0)
        await uploader.send_parts(plan, BYTES, [3])
        assert uploader.statistics().retries == 0
    assert wire.connections == 2
    assert await sha256(s3_server, response) == SHA256


@pytest.mark.slow
async def test_a_long_round_trip_costs_time_and_no_attempt(
    s3_server: S3Server, fake_frameio: FakeFrameio, wire: Wire
) -> None:
    """A delay of 200 ms in each direction, with a stall limit just above the round trip."""
    for way in wire.ways.values():
        way.delay = 0.2
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    began = asyncio.get_running_loop().time()
    events = await upload(fake_frameio, response, timeouts=Timeouts(stall=2, confirm=0))
    # Three answers and one 100 Continue, one part at a time.
    assert asyncio.get_running_loop().time() - began >= 4 * 0.4
    assert not [event for event in events if isinstance(event, PartRetrying)]
    assert_told_once(events)
    assert await sha256(s3_server, response) == SHA256


@pytest.mark.slow
async def test_a_slow_link_that_moves_is_not_taken_for_a_stalled_one(s3_server: S3Server, wire: Wire) -> None:
    """It takes twice the stall timeout; what the kernels buffer is sent well within that."""
    wire.ways["up"].rate = 6e6
    content = Random(9).randbytes(26 << 20)
    response = s3_server.create_response(len(content), [len(content)], at=wire.url)
    began = asyncio.get_running_loop().time()
    async with Uploader("t", **settings(timeouts=Timeouts(stall=2))) as uploader:
        await send_all(uploader, response, content)
        assert uploader.statistics().retries == 0
    assert asyncio.get_running_loop().time() - began >= 4
    assert await sha256(s3_server, response) == hashlib.sha256(content).hexdigest()
