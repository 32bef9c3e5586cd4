"""A TCP proxy that fails on request: a connection between the library and a real server that a test can cut.

    async with Wire("127.0.0.1", server_port) as wire:
        wire.mishaps = [Mishap(do="reset", mark=b"part_2", after=100_000)]
        ...
        await wire.until(lambda wire: wire.open == 0)

It forwards bytes and knows no HTTP; all its settings may be changed while connections are open.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from tests.support.wire_link import Link

RECEIVED = 1 << 17
"""Bytes that the kernel accepts from a client before the proxy has read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """One failure of a connection, as soon as one byte more than `after` is to be forwarded.

    * "reset": an RST to both ends.
    * "close": a FIN to both ends; what arrives later is discarded.
    * "half_close": a FIN in this direction only; the other one continues.
    * "black_hole": everything is discarded, in both directions; the connection stays open.
    * "stall": nothing more is read, in both directions, so that TCP backs up.
    """

    do: Literal["reset", "close", "half_close", "black_hole", "stall"]
    way: Literal["accept", "up", "down"] = "up"
    """Up is towards the server; "accept": before anything passes."""
    after: int = 0
    """Bytes in this direction that pass after the mark."""
    mark: bytes | None = None
    """What the client has to send first, as a part's name in its URL; None: it counts from the connection's begin."""
    times: int | None = 1
    """How often it strikes; None: for ever."""


@dataclass(slots=True)
class Way:
    """One direction of all connections."""

    delay: float = 0.0
    """The delay of each byte, in seconds."""
    rate: float | None = None
    """Bytes a second on each connection; None: as many as go."""
    passed: int = 0
    """Number of bytes that were forwarded."""


class Wire:
    """A proxy on its own port; an async context manager.

    Args:
        host: The host of the server.
        port: The port of the server.
        ssl: End TLS here with this context; the server gets plain text.
    """

    def __init__(self, host: str, port: int, *, ssl: ssl.SSLContext | None = None) -> None:
        self.target = (host, port)
        self.ssl = ssl
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._hits: Counter[Mishap] = Counter()
        self._changed = asyncio.Event()
        self.mishaps: list[Mishap] = []
        self.ways = {"up": Way(), "down": Way()}
        self.port = 0
        self.connections = 0
        """The number of connections that were ever accepted."""

    @property
    def url(self) -> str:
        """The URL at which clients reach the server through the proxy."""
        return f"{'https' if self.ssl else 'http'}://{self.target[0]}:{self.port}"

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._links)

    def hits(self, mishap: Mishap) -> int:
        """How often a mishap has struck."""
        return self._hits[mishap]

    async def until(self, happened: Callable[[Wire], bool]) -> None:
        """Wait until the condition holds; it is checked at each byte, mishap and end of a connection."""
        while not happened(self):
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()
        async with asyncio.timeout(5):
            await self.until(lambda wire: wire.open == 0)

    async def restore(self) -> None:
        """Listen (again) and let nothing fail from now on; connections that were struck stay as they are."""
        self.mishaps = []
        for way in self.ways.values():
            way.delay, way.rate = 0.0, None
        if self._server is None:
            loop = asyncio.get_running_loop()
            link = lambda: Link(self).client  # noqa: E731  # a factory of one expression
            self._server = await loop.create_server(link, self.target[0], self.port)
            self.port = self._server.sockets[0].getsockname()[1]
            # Bytes on their way wait here, where they can be cut, and not in the kernel.
            self._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)

    def refuse(self) -> None:
        """Accept no more connections; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self) -> None:
        """Send an RST to both ends of every open connection."""
        for link in tuple(self._links):
            link.reset()

    def link_began(self, link: Link) -> None:
        self._links.add(link)
        self.connections += 1
        self.tell()

    def link_ended(self, link: Link) -> None:
        self._links.discard(link)
        self.tell()

    def take(self, mishap: Mishap) -> None:
        """Count a hit."""
        self._hits[mishap] += 1
        self.tell()

    def tell(self) -> None:
        """Make the waiters check their conditions."""
        self._changed.set()
        self._changed = asyncio.Event()
