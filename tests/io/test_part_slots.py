"""Slots are given to parts, and what the parts in flight move is sampled while there are any."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from aioframeio_upload._core.failures import AttemptFailure, FailureKind
from aioframeio_upload._io.congestion import PartConnections
from aioframeio_upload._io.part_slots import PartSlots, Path, is_starved, queue_of
from aioframeio_upload._io.tcp_state import TcpState

MB = 10**6


class Body:
    """A part in flight, on a connection or on none."""

    def __init__(self, transport: asyncio.WriteTransport | None = None) -> None:
        self.sent = 0
        self.transport = transport
        self.is_held = False


@pytest.fixture
async def slots() -> AsyncIterator[PartSlots]:
    found = PartSlots(64, adaptive=True, unacknowledged=lambda sock: 0, slow={}, connections=PartConnections("system"))
    yield found
    found.close()


def test_the_queue_is_what_a_round_trip_takes_beyond_the_least_one() -> None:
    assert queue_of([]) == (0.0, None)
    least, queue = queue_of([Path(0.04, 0.05, False), Path(0.06, 0.09, False)])  # the second began in a full queue
    assert least == 0.04
    assert queue == pytest.approx(0.03)


def test_a_connection_to_another_place_has_its_own_least_round_trip() -> None:
    assert queue_of([Path(0.02, 0.02, False), Path(0.15, 0.16, False)])[1] == pytest.approx(0.005)


def test_late_acknowledgements_of_a_receiver_that_is_slow_are_no_queue() -> None:
    assert queue_of([Path(0.04, 0.09, True), Path(0.04, 0.04, False)])[1] == 0
    before = TcpState(0.04, 0.04, 0, 0, 0, busy=1.0, limited_by_receiver=0.5)
    assert is_starved(before, TcpState(0.04, 0.04, 0, 0, 0, busy=2.0, limited_by_receiver=1.0))
    assert not is_starved(before, TcpState(0.04, 0.04, 0, 0, 0, busy=2.0, limited_by_receiver=0.5))


async def test_the_first_part_decides_by_its_size_how_many_begin(slots: PartSlots) -> None:
    await slots.acquire("a", 1900 * MB)
    assert slots.limiter.total == 2


async def test_a_small_first_part_lets_eight_begin(slots: PartSlots) -> None:
    await slots.acquire("a", MB)
    assert slots.limiter.total == 8


async def test_bytes_count_once_where_the_kernel_tells_nothing(slots: PartSlots) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()  # not TCP: there is no TCP_INFO
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    body = Body(transport)
    with theirs, slots.sending(body, MB):
        for sent in (1000, 5000, 5000):
            body.sent = sent
            slots._sample()  # the timer's call, without its time
        assert slots._moved == 5000
    assert slots._moved == 5000
    transport.close()


async def test_a_connection_that_is_closed_tells_nothing_and_breaks_nothing(slots: PartSlots) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    with theirs, slots.sending(Body(transport), MB):
        transport.abort()
        slots._sample()


async def test_a_refused_part_lowers_the_number_and_frees_nothing_that_is_held(slots: PartSlots) -> None:
    for number in range(8):
        await slots.acquire(number, MB)
    body = Body()
    with slots.sending(body, MB) as ended:
        ended(AttemptFailure(FailureKind.REFUSED, "busy", status=503, code="SlowDown"))
    assert slots.limiter.total < 8
    assert slots.limiter.in_use == 8
    assert slots.reason == "backing off"
