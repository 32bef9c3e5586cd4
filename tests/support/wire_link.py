"""One connection through the proxy of `wire`: its two ends, and the bytes on their way between them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.wire import Mishap, Wire

WITH_AN_RST = struct.pack("ii", 1, 0)
LINE = 4 << 20
"""Bytes that can be on their way in one direction before TCP backs up."""
MARK = 80
"""Bytes; no mark is longer."""


class Link:
    """One connection: an end at the client, an end at the server, and the bytes on their way between them."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.client, self.server = End(self, "up"), End(self, "down")
        self.client.other, self.server.other = self.server, self.client
        self._connecting: asyncio.Task[None] | None = None
        self._came = {"accept": 0, "up": 0, "down": 0}
        self._tail = b""
        self._since: dict[Mishap, dict[str, int]] = {}
        """The bytes that had arrived in each direction when a mishap's mark was last seen."""
        self._swallows: set[str] = set()

    def began(self) -> None:
        self.wire.link_began(self)
        self.client.hold("no server yet")
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            if self.wire.ssl is not None:
                await self.client.speak_tls(self.wire.ssl)
            await asyncio.get_running_loop().create_connection(lambda: self.server, *self.wire.target)
        except OSError:
            return
        finally:
            if not self.server.is_open:
                self.ended(self.client, None)
        self.client.deliver()
        mishap = self._strikes("accept", 1)[1]
        if mishap is not None:
            self._strike(mishap)
        self.client.release("no server yet")

    def came(self, way: str, data: bytes) -> None:
        """Forward bytes, or let their mishap strike."""
        if way == "up":
            self._look_for_marks(data)
        count, mishap = self._strikes(way, len(data))
        self._came[way] += len(data)
        end = self.client if way == "up" else self.server
        if count and way not in self._swallows:
            end.pass_on(data[:count])
        if mishap is not None:
            self._strike(mishap)

    def came_to_an_end(self, way: str) -> None:
        """Forward that no more bytes come from one end."""
        if way not in self._swallows:
            (self.client if way == "up" else self.server).pass_on(b"")
        elif self._is_dead and way == "up":
            self.reset()

    def ended(self, end: End, error: BaseException | None) -> None:
        if end is self.client and (error is not None or self.server.transport is None or self._is_dead):
            self.reset()
        elif not self._is_dead:
            end.other.reset() if error is not None else end.other.transport.close()
        if not any(one.is_open for one in (self.client, self.server)):
            self.wire.link_ended(self)

    @property
    def _is_dead(self) -> bool:
        return len(self._swallows) == 2

    def reset(self) -> None:
        """Reset both ends."""
        if self._connecting is not None:
            self._connecting.cancel()
        for end in (self.client, self.server):
            end.reset()

    def _look_for_marks(self, data: bytes) -> None:
        text, begin = self._tail + data, self._came["up"] - len(self._tail)
        for mishap in self.wire.mishaps:
            at = text.rfind(mishap.mark) if mishap.mark else -1
            if mishap.mark and at >= 0:
                since = self._came | {"up": begin + at + len(mishap.mark)}
                if self._since.get(mishap, {}).get("up") != since["up"]:
                    self._since[mishap] = since
        self._tail = text[-MARK:]

    def _strikes(self, way: str, size: int) -> tuple[int, Mishap | None]:
        """Return how many of the next bytes pass, and which mishap strikes then."""
        nowhere = {"accept": 0, "up": 0, "down": 0}
        for mishap in self.wire.mishaps:
            since = self._since.get(mishap) if mishap.mark else nowhere
            if mishap.way == way and since and (mishap.times is None or self.wire.hits(mishap) < mishap.times):
                count = max(since[way] + mishap.after - self._came[way], 0)
                if count < size:
                    return count, mishap
        return size, None

    def _strike(self, mishap: Mishap) -> None:
        if mishap.do == "reset":
            self.reset()
        elif mishap.do == "stall":
            self.client.hold("stalled")
            self.server.hold("stalled")
        elif mishap.do == "half_close":
            self._swallows.add(mishap.way)
            (self.client if mishap.way == "up" else self.server).pass_on(b"")
        else:
            if mishap.do == "close":
                self.client.pass_on(b"")
                self.server.pass_on(b"")
            self._swallows |= {"up", "down"}
        self.wire.take(mishap)


class End(asyncio.Protocol):
    """One end of a connection: bytes that arrive here leave at the other end."""

    other: End

    def __init__(self, link: Link, way: str) -> None:
        self._link = link
        self._way = way
        self._held: set[str] = set()
        self._line: deque[tuple[float, bytes]] = deque()
        self._length = 0
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = {"in": False, "out": False}
        self.transport: Any = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.is_open = transport, True
        if self._way == "up":
            self._link.began()
        elif self._held:
            self.transport.pause_reading()

    async def speak_tls(self, context: ssl.SSLContext) -> None:
        """Do a server's TLS handshake. In `create_server`, a failed handshake would be an error of the loop."""
        loop = asyncio.get_running_loop()
        try:
            self.transport = await loop.start_tls(self.transport, self, context, server_side=True)
        except BaseException:
            self.is_open = False  # nothing else reports it
            raise
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._link.came(self._way, data)

    def eof_received(self) -> bool:
        self._link.came_to_an_end(self._way)
        self._end("in")
        return self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._link.ended(self, exc)

    def pause_writing(self) -> None:
        self.other.hold("the other end is slow")

    def resume_writing(self) -> None:
        self.other.release("the other end is slow")

    def hold(self, reason: str) -> None:
        """Stop reading, for one more reason."""
        if not self._held and self.is_open:
            self.transport.pause_reading()
        self._held.add(reason)

    def release(self, reason: str) -> None:
        self._held.discard(reason)
        if not self._held and self.is_open:
            self.transport.resume_reading()

    def pass_on(self, data: bytes) -> None:
        """Schedule bytes, or the end, to be written at the other end: now, or after the delay."""
        way = self._link.wire.ways[self._way]
        now = asyncio.get_running_loop().time()
        step = len(data) if way.rate is None else max(int(way.rate / 20), 1)
        for start in range(0, len(data) or 1, step or 1):
            piece = data[start : start + step]
            due = max(now + way.delay, self._free_at)
            self._free_at = due + (len(piece) / way.rate if way.rate else 0.0)
            self._line.append((due, piece))
            self._length += len(piece)
        self.deliver()

    def deliver(self) -> None:
        """Write what is due at the other end, once that is connected."""
        loop, way = asyncio.get_running_loop(), self._link.wire.ways[self._way]
        # asyncio hands over what comes with the end of a TLS handshake at once, before there is a server.
        is_connected = self.other.transport is not None
        while self._line and is_connected and self._line[0][0] <= loop.time():
            piece = self._line.popleft()[1]
            self._length -= len(piece)
            way.passed += len(piece)
            self.other.write(piece)
        self._link.wire.tell()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._line[0][0], self.deliver) if self._line and is_connected else None
        full = self._length > (LINE if way.rate is None else way.rate / 10)
        (self.hold if full else self.release)("the line is full")

    def write(self, data: bytes) -> None:
        """Send bytes, or the end."""
        if self.transport.is_closing():
            return
        if data:
            self.transport.write(data)
        elif self.transport.can_write_eof():
            self.transport.write_eof()
            self._end("out")
        else:
            self.transport.close()

    def _end(self, direction: str) -> None:
        """Close once both directions have ended."""
        self._has_ended[direction] = True
        if all(self._has_ended.values()):
            self.transport.close()

    def reset(self) -> None:
        """Send an RST."""
        if self.is_open:
            sock = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it was closed meanwhile
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, WITH_AN_RST)
            self.transport.abort()
