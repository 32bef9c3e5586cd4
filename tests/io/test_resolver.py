"""Connections spread over the addresses of a host, and those that were slow are the last choice."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from aioframeio_upload._core.redact import Secret
from aioframeio_upload._io.http_client import open_http_session, request
from aioframeio_upload._io.resolver import SteeredResolver


class Known(AbstractResolver):
    """Knows three addresses of every host."""

    is_closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=f"192.0.2.{last}", port=port, family=family, proto=0, flags=0)
            for last in (1, 2, 3)
        ]

    async def close(self) -> None:
        self.is_closed = True


async def addresses(slow: dict[str, float]) -> list[str]:
    found = await SteeredResolver(slow, Known()).resolve("s3.example", 443)
    return [one["host"] for one in found]


async def test_slow_addresses_come_last_and_the_others_keep_their_order() -> None:
    assert await addresses({"192.0.2.1": time.monotonic() + 60}) == ["192.0.2.2", "192.0.2.3", "192.0.2.1"]


async def test_after_a_while_an_address_is_as_good_as_the_others() -> None:
    assert await addresses({"192.0.2.1": time.monotonic()}) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


async def test_closing_it_closes_what_it_asks() -> None:
    known = Known()
    await SteeredResolver({}, known).close()
    assert known.is_closed


class Listening(AbstractResolver):
    """Knows the addresses of some servers, under any name."""

    def __init__(self, servers: list[asyncio.Server]) -> None:
        self._names = [server.sockets[0].getsockname() for server in servers]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=own, family=family, proto=0, flags=0)
            for address, own in self._names
        ]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.skipif(sys.platform == "darwin", reason="only 127.0.0.1 is configured there")
async def test_connections_to_a_host_spread_over_its_addresses() -> None:
    reached: list[str] = []
    everybody = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname")[0])
        if len(reached) == 8:
            everybody.set()
        await reader.readuntil(b"\r\n\r\n")
        await everybody.wait()  # answered only then, so that each request needs a connection of its own
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def put(session: aiohttp.ClientSession) -> int:
        async with await request(session, "PUT", Secret(URL("http://s3.example/part")), headers={}) as response:
            return response.status

    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(await asyncio.start_server(serve, f"127.0.0.{last}", 0))
            for last in (1, 2, 3, 4)
        ]
        resolver = SteeredResolver({}, Listening(servers))
        session = await stack.enter_async_context(open_http_session(None, resolver=resolver))
        assert await asyncio.gather(*[put(session) for _ in range(8)]) == [200] * 8
    assert set(reached) == {f"127.0.0.{last}" for last in (1, 2, 3, 4)}
