"""Addresses that were slow are the last choice."""

from __future__ import annotations

import socket
import time

from aiohttp.abc import AbstractResolver, ResolveResult

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
