"""Look up the addresses of hosts, with those that were slow at the end."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class SteeredResolver(AbstractResolver):
    """aiohttp's resolver, with the addresses of slow connections last. S3 names several servers for each host.

    Args:
        slow: The slow addresses, and until when they are avoided (`time.monotonic`). Owned by `PartSlots`.
    """

    def __init__(self, slow: Mapping[str, float], resolver: AbstractResolver | None = None) -> None:
        self._slow = slow
        self._resolver = aiohttp.DefaultResolver() if resolver is None else resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        now = time.monotonic()
        found = await self._resolver.resolve(host, port, family)
        return sorted(found, key=lambda one: self._slow.get(one["host"], 0.0) > now)

    async def close(self) -> None:
        """Close aiohttp's resolver."""
        await self._resolver.close()
