"""A TCP proxy that goes wrong on request: between the library and a real server, on a wire that a test can cut.

    async with Wire("127.0.0.1", server_port) as wire:
        wire.mishaps = [Mishap("reset", mark=b"part_2", after=100_000)]
        ...
        await wire.until(lambda wire: wire.hits(wire.mishaps[0]) == 1)

It forwards bytes and knows no HTTP; all that it is told may be changed while connections are open.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

CHUNK = 1 << 16
LINE = 64
"""Chunks that are on their way in one direction while it is delayed: 4 MiB."""

LINGER_NOT = struct.pack("ii", 1, 0)
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """One thing that happens to a connection, as soon as one byte more than `after` wants to pass.

    * "reset": an RST to both ends; "close": a FIN to both, what still comes is swallowed.
    * "half_close": a FIN in this direction only; the other goes on.
    * "black_hole": everything is swallowed, both ways, and nothing is said; the connection stays open.
    * "stall": nothing is read any more, both ways, so that TCP backs up.
    """

    do: Literal["reset", "close", "half_close", "black_hole", "stall"]
    way: Literal["accept", "up", "down"] = "up"
    """Up is towards the server; "accept": before anything passes."""
    after: int = 0
    """Bytes in this direction that still pass, counted from the mark."""
    mark: bytes | None = None
    """What the client has to send first, as a part's name in its URL; None: it counts from the connection's begin."""
    times: int | None = 1
    """How many connections it strikes; None: every one, for ever."""


@dataclass(slots=True)
class Way:
    """One direction of all connections."""

    delay: float = 0.0
    """Seconds that a byte is on its way."""
    rate: float | None = None
    """Bytes a second on each connection; None: as many as go."""
    passed: int = 0
    """Bytes that were read."""


@dataclass(slots=True, eq=False)
class Link:
    """One connection: two pairs of streams."""

    client: Stream
    server: Stream | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    passed: Counter[str] = field(default_factory=Counter)
    tail: bytes = b""
    since: dict[Mishap, dict[str, int]] = field(default_factory=dict)
    """Where in both directions each mishap's mark was seen last."""
    state: str = ""
    """What has struck it."""

    def reset(self) -> None:
        """Break it: an RST to both ends."""
        for _, writer in filter(None, (self.client, self.server)):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            writer.transport.abort()


class Wire:
    """A proxy on a port of its own; an async context manager.

    Args:
        host: Where the server is.
        port: Where the server is.
        ssl: End TLS here with this context; the server is spoken to in plain text.
    """

    def __init__(self, host: str, port: int, *, ssl: ssl.SSLContext | None = None) -> None:
        self._target = (host, port)
        self._ssl = ssl
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._hits: Counter[Mishap] = Counter()
        self._changed = asyncio.Event()
        self.mishaps: list[Mishap] = []
        self.up, self.down = Way(), Way()
        self.port = 0
        self.connections = 0
        """How many were accepted, ever."""

    @property
    def url(self) -> str:
        """Where the client goes instead of the server's own address."""
        return f"{'https' if self._ssl else 'http'}://{self._target[0]}:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._links)

    def hits(self, mishap: Mishap) -> int:
        """How often it has struck."""
        return self._hits[mishap]

    async def until(self, happened: Callable[[Wire], bool]) -> None:
        """Wait until this is so; asked again whenever a byte has passed or a connection has begun or ended."""
        while not happened(self):
            await self._changed.wait()

    async def __aenter__(self) -> Wire:
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()
        async with asyncio.timeout(5):
            await self.until(lambda wire: not wire._links)

    async def restore(self) -> None:
        """Listen (again), and let nothing go wrong from now on; what was struck stays struck."""
        self.mishaps = []
        for way in (self.up, self.down):
            way.delay, way.rate = 0.0, None
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, self._target[0], self.port, limit=CHUNK, ssl=self._ssl
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no connection any more; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self) -> None:
        """Break every connection that is open now."""
        for link in self._links:
            link.reset()
            for task in link.tasks:
                task.cancel()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link((reader, writer))
        self._links.add(link)
        self.connections += 1
        self._tell()
        try:
            self._strike(link, self._due(link, "accept", 1)[1], writer)
            if link.state in ("", "black_hole", "half_close"):
                link.server = await asyncio.open_connection(*self._target, limit=CHUNK)
                await self._run(link, self._pump(link, "up"), self._pump(link, "down"))
            elif link.state == "stall":
                await self._run(link, asyncio.Event().wait())
        finally:
            link.reset() if link.state == "reset" else self._hang_up(link)
            self._links.discard(link)
            self._tell()

    @staticmethod
    async def _run(link: Link, *pumps: object) -> None: ...
