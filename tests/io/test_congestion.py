"""Connections that carry parts get the congestion control that was asked for, and the system's where it is refused."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from aioframeio_upload import Limits
from aioframeio_upload._core.congestion import HOLD, BbrDecision, Stage
from aioframeio_upload._io.congestion import HostConnections, PartConnections, can_replace, chosen
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_both_loops, sha256, some_bytes, uploader_on

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a program choose")

DATA = some_bytes(2 * PART + 1)


def allowed(name: str) -> bool:
    if not hasattr(socket, "TCP_CONGESTION"):  # it is asked where the tests are collected, on every system
        return False
    with socket.socket() as made:
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        except OSError:
            return False
    return True


def systems() -> str | None:
    with socket.socket() as made:
        return chosen(made)


@asynccontextmanager
async def connected(congestion: str | None = None) -> AsyncIterator[tuple[asyncio.BaseTransport, socket.socket]]:
    """Connect to a server on loopback, and yield the client's transport and socket."""
    made = socket.socket()
    if congestion is not None:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    made.setblocking(False)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        await asyncio.get_running_loop().sock_connect(made, server.sockets[0].getsockname())
        _, writer = await asyncio.open_connection(sock=made)
        try:
            yield writer.transport, made
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def used_by_parts(fake: FakeFrameio, congestion: str) -> set[str | None]:
    """Upload over a connector that keeps its sockets, and return the congestion controls that they had at the end."""
    sockets: list[socket.socket] = []

    def make_socket(address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        sockets.append(made)
        return made

    connector = aiohttp.TCPConnector(socket_factory=make_socket)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        uploader_on(fake, session=session, limits=Limits(congestion=congestion)) as uploader,
    ):
        await uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)
        # Closed ones are None: what is left are those of the API and of the parts.
        found = {chosen(one) for one in sockets} - {None}
    assert fake.files[-1].sha256 == sha256(DATA)
    return found


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("name", ["reno", "cubic", "bbr"])
async def test_a_named_algorithm_is_used_also_on_a_callers_connections(fake: FakeFrameio, name: str) -> None:
    if not allowed(name):
        pytest.skip(f"{name} is not available here")
    assert name in await used_by_parts(fake, name)


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("name", ["system", "auto", "no-such-thing"])
async def test_the_systems_stays_on_a_near_path_and_where_another_is_refused(fake: FakeFrameio, name: str) -> None:
    assert await used_by_parts(fake, name) == {systems()}


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_a_bandwidth_limit_and_a_named_algorithm_go_together(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=Limits(congestion="reno", bandwidth=100_000_000)) as uploader:
        await uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)
    assert fake.files[-1].sha256 == sha256(DATA)


@pytest.mark.skipif(not allowed("bbr"), reason="BBR is not available here")
@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_connections_of_a_path_that_needs_it_get_bbr_and_later_the_systems_again() -> None:
    owner = PartConnections("auto")
    host = owner.to("s3.example:443")
    host.decision = BbrDecision(stage=Stage.USING)
    async with connected("reno") as (transport, sock):
        host.begin(transport)
        assert chosen(sock) == "bbr"
        host.end(transport)
        host.begin(transport)  # the next part on the same connection
        now = asyncio.get_running_loop().time()
        host.decision.since = now - HOLD
        host.look(now, 0.25)
        assert chosen(sock) == "reno"
        host.end(transport)
        transport.close()
        host.look(now, 0.25)
        assert not host.watched
    owner.close()


@pytest.mark.skipif(not allowed("bbr"), reason="BBR is not available here")
async def test_where_bbr_is_the_systems_nothing_is_changed_or_changed_back() -> None:
    owner = PartConnections("auto")
    host = HostConnections("s3.example:443", owner, BbrDecision(stage=Stage.USING, since=-HOLD))
    async with connected("bbr") as (transport, sock):
        host.begin(transport)
        host.look(0.0, 0.25)
        assert not host.decision.is_bbr
        assert chosen(sock) == "bbr"
    owner.close()


def test_whether_an_algorithm_can_replace_the_systems_is_asked_of_the_kernel() -> None:
    assert not can_replace("no-such-thing")
    assert not can_replace(systems() or "cubic"), "it is the system's"
    assert can_replace("bbr") is (allowed("bbr") and systems() != "bbr")


async def test_a_trial_is_pending_only_where_the_kernel_allows_it() -> None:
    for setting, expected in [("auto", can_replace("bbr")), ("system", False), ("reno", False)]:
        owner = PartConnections(setting)
        assert not owner.is_pending
        owner.to("s3.example:443").decision = BbrDecision(stage=Stage.TRYING)
        assert owner.is_pending is expected
        owner.close()


async def test_a_refusal_is_remembered_so_that_the_kernel_is_asked_once() -> None:
    owner = PartConnections("no-such-thing")
    async with connected() as (transport, sock):
        owner.to("s3.example:443").begin(transport)
        assert owner.setting == "system"
        assert chosen(sock) == systems()


async def test_a_closed_connection_is_no_refusal() -> None:
    owner = PartConnections("reno")
    async with connected() as (transport, sock):
        transport.close()
        sock.close()
        owner.to("s3.example:443").begin(transport)
        assert owner.setting == "reno"
        assert chosen(sock) is None


def test_with_a_bandwidth_limit_auto_changes_nothing() -> None:
    assert PartConnections("auto", is_limited=True).setting == "system"
    assert PartConnections("bbr", is_limited=True).setting == "bbr"


@pytest.mark.parametrize("name", ["", "BBR", "a" * 16, "bb r", "bbr\0", "bbr\n"])
def test_what_is_no_name_of_an_algorithm_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="congestion"):
        Limits(congestion=name)
