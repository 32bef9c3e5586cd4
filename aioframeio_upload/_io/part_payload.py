"""The body of one PUT: a part's bytes in blocks, from the page cache or the disk to the socket.

This is the hot loop (`benchmarks.throughput` measures it):

* a block that the page cache has is read on the event loop, which saves a thread switch for each block;
* blocks are read into buffers that are reused, and passed on as views: only OpenSSL copies them;
* one payload writes at a time, for about a millisecond, and then yields, so that the host application stays
  responsive;
* time is measured by `perf_counter`: until Python 3.13 `monotonic` advances on Windows in steps of 16 ms;
* a CRC is computed on the loop, of the block that was just sent: 5 microseconds for 256 KiB. An MD5 takes 400, so it
  is computed in a thread; the loop waits for it only when the buffers run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from functools import partial
from typing import Any

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.payload import Payload

from .._core.errors import SourceError
from .buffers import MIN_BLOCK, BufferPool
from .congestion import HostConnections
from .files import PartReader
from .flow_control import BandwidthLimiter, PauseGate, StallGuard
from .part_digests import PartDigests

if sys.platform == "linux":
    import fcntl
    import termios

TURN = 0.001
"""Seconds that one payload may write before it yields. A turn of 0.7 ms costs some 5 % of the speed; one of 2 ms makes
everything else in the loop wait twice as long. (2026-11-23, `benchmarks.loop_lag`)"""

SLOW = 0.2
"""A block that takes longer than SLOW seconds is followed by one of half its size, down to MIN_BLOCK bytes. So a slow
link shows progress, and does not look stalled as long as it moves 16 KiB in `Timeouts.stall`."""

UNSENT = 1 << 17
"""Bytes that the kernel may buffer unsent for a connection that is not fast. By default it buffers up to 4 MiB (Linux,
tcp_wmem). At 64 kB/s those take a minute after the last block was written, which is longer than `Timeouts.stall`, and
makes `bytes_uploaded` and pauses inexact. The limit costs nothing on a link (200 Mbit/s, 40 ms: 1.04 of the time that
the bytes need, 1.08 without it: `benchmarks.wan`), but a tenth of the speed over TLS on loopback (970 to 1092)."""

FAST = 0.02
"""Seconds. A connection that takes a block in less time is fast: it moves more than 13 MB/s."""


class PartPayload(Payload):
    """The body of one PUT, of known length. Owned by one attempt; sent once."""

    # aiohttp need not close it: the file belongs to the source.
    _autoclose = True
    # aiohttp resends a PUT once by itself after a disconnect, unless the payload says that it cannot be replayed
    # (client.py, `retry_persistent_connection`). Attempts are ours: counted, delayed and reported.
    _consumed = True

    def __init__(  # noqa: PLR0913  # collaborators with different owners; only `PutAttempt` calls it
        self,
        lent: PartReader,
        size: int,
        content_type: str,
        blocks: BufferPool,
        digests: PartDigests,
        gate: PauseGate,
        bandwidth: BandwidthLimiter,
        guard: StallGuard,
        connections: HostConnections,
    ) -> None:
        super().__init__(None, content_type=content_type)
        self._size = self._length = size
        self._lent = lent
        self._blocks = blocks
        self._digests = digests
        self._gate = gate
        self._bandwidth = bandwidth
        self._guard = guard
        self._connections = connections
        self._block_size = blocks.size
        self._buffer: memoryview | None = None
        self._block: memoryview | None = None
        """The block that was read and that the kernel does not have yet: in the buffer, or in the caller's memory."""
        self._began = 0.0
        self._unhashed: list[tuple[memoryview, memoryview]] = []
        """Buffers, and the blocks in them, that were sent in this turn and are not hashed yet."""
        self.begun = False
        """Whether aiohttp asked for the body: with `Expect`, only after `100 Continue`."""
        self.sent = 0
        """Bytes that the kernel has taken."""
        self.transport: asyncio.WriteTransport | None = None
        """The connection, once there is one."""
        self.source_error: SourceError | None = None
        """Kept here, because aiohttp turns what a payload raises into a connection error."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Raise a TypeError: a part is not text, and is never in memory as a whole."""
        raise TypeError("a part's bytes are streamed")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the whole body. `content_length` is what `size` announced, so nothing has to be cut."""
        assert isinstance(writer, StreamWriter)
        self.begun = True
        self._guard.moved()
        transport = writer.transport
        if transport is None:
            return  # closed meanwhile; aiohttp raises that
        _keep_nothing_unsent(transport)
        self._connections.begin(transport)
        self.transport = transport
        try:
            while self.sent < self._length:
                await self._prepare()
                await self._blocks.turns.mine()
                unsent = await self._write_for_a_turn(writer, transport)
                self._have_hashed()
                if unsent:
                    await writer.drain()
                    if time.perf_counter() - self._began > FAST:
                        _keep_little_unsent(transport)
                    self._passed()
                    self._have_hashed()
                else:
                    await asyncio.sleep(0)
            sock = transport.get_extra_info("socket")
            _notice_a_dead_peer(sock, self._guard.stall)
            self._guard.written(partial(unacknowledged, sock))
        except BaseException:
            # A connection with half a body cannot be reused, and close() would wait for a peer that may never read.
            transport.abort()
            raise
        finally:
            self._connections.end(transport)
            self._have_hashed()
            if self._buffer is not None:
                self._blocks.lost()

    async def _prepare(self) -> None:
        """Make the next block ready to write. All waiting happens here, outside of a write turn."""
        if self._block is None:
            if not self._peek():
                if self._buffer is None:
                    self._buffer = await self._blocks.take()
                if not self._peek():
                    await self._read(self._buffer)
            assert self._block is not None
            delay = self._bandwidth.reserve(len(self._block))
            if delay > 0:
                self._guard.throttled(delay)
                await asyncio.sleep(delay)
                self._guard.moved()
        # Last, because a pause may have begun during the waits above.
        if not self._gate.is_open:
            self._guard.paused()
            await self._gate.passed()
            self._guard.moved()

    async def _read(self, buffer: memoryview) -> None:
        try:
            self._block = await self._lent.read(self.sent, self._room(buffer))
        except SourceError as error:
            self.source_error = error
            raise

    def _peek(self) -> bool:
        """Make the next block ready if that needs no waiting, and return whether there is one."""
        if self.sent == self._length:
            return False
        if self._buffer is None:
            self._buffer = self._blocks.take_now()
        if self._buffer is not None:
            self._block = self._lent.peek(self.sent, self._room(self._buffer))
        return self._block is not None

    def _room(self, buffer: memoryview) -> memoryview:
        return buffer[: min(self._block_size, self._length - self.sent)]

    async def _write_for_a_turn(self, writer: StreamWriter, transport: asyncio.WriteTransport) -> bool:
        """Write until the turn is over; return whether a rest of the last block is still to be drained."""
        began = time.perf_counter()
        while self._block is not None and self._gate.is_open:
            self._began = time.perf_counter()
            await writer.write(self._block, drain=False)
            if transport.get_write_buffer_size():
                return True
            self._passed()
            now = time.perf_counter()
            # The estimate for the next block is the time that this one took.
            if self._bandwidth.is_limited or now + (now - self._began) - began > TURN or not self._peek():
                break
        return False

    def _passed(self) -> None:
        """Note that the kernel has the block."""
        assert self._buffer is not None
        assert self._block is not None
        self.sent += len(self._block)
        for digest in self._digests.fast:
            digest.update(self._block)
        if self._digests.slow:
            self._unhashed.append((self._buffer, self._block))
        else:
            self._blocks.give_back(self._buffer)
        self._buffer = self._block = None
        self._guard.moved()
        if time.perf_counter() - self._began > SLOW:
            self._block_size = max(self._block_size // 2, MIN_BLOCK)
        else:
            self._block_size = self._blocks.size

    def _have_hashed(self) -> None:
        if self._unhashed:
            self._blocks.hash(self._unhashed, self._digests.slow)
            self._unhashed = []


def _keep_nothing_unsent(transport: Any) -> None:
    """Make `drain()` wait until the kernel has the whole block.

    What is counted as sent has then left the process, and the buffer can be reused: from Python 3.12 on the transport
    keeps the view that it was given. Over TLS a limit of 0 would block asyncio's SSL protocol for ever, because it
    compares with >=.
    """
    tls = transport.get_extra_info("sslcontext") is not None
    transport.set_write_buffer_limits(high=1 if tls else 0, low=0)


def _keep_little_unsent(transport: Any) -> None:
    """Limit the kernel's buffer of unsent bytes to UNSENT, on systems that can (Linux, macOS)."""
    option, sock = getattr(socket, "TCP_NOTSENT_LOWAT", None), transport.get_extra_info("socket")
    if option is not None and sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT)


def _notice_a_dead_peer(sock: Any, seconds: float) -> None:
    """Make the kernel probe a connection while its answer is awaited, and break it about `seconds` after its peer died.

    The wait may last many minutes. Without keep-alive probes (RFC 9293, 3.8.4) a peer that is gone, as when a NAT drops
    the connection, looks like a slow one. TCP_USER_TIMEOUT is no alternative: Linux applies it to a closed window too,
    and a proxy that reads slowly is alive. A connection that is reused keeps the probes.
    """
    if sock is None:
        return
    probe = min(max(1, round(seconds / 4)), 32767)
    # macOS has another name for the first option. On systems without them the default stays: two hours.
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    wanted = (
        (idle, 2 * probe),
        (getattr(socket, "TCP_KEEPINTVL", None), probe),
        (getattr(socket, "TCP_KEEPCNT", None), 2),
    )
    with contextlib.suppress(OSError):  # the connection just broke, which the answer will show
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in wanted:
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


SO_NWRITE = 0x1024
"""Socket option of macOS (`sys/socket.h`): bytes that the peer has not acknowledged. Python has no name for it."""


def unacknowledged(sock: Any) -> int:
    """Return how many bytes the kernel has that the peer has not acknowledged; 0 on systems that do not tell."""
    if sock is None:
        return 0
    try:
        if sys.platform == "linux":  # tcp(7): SIOCOUTQ, which has the number of TIOCOUTQ
            return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        if sys.platform == "darwin":
            return int(sock.getsockopt(socket.SOL_SOCKET, SO_NWRITE))
    except (OSError, ValueError):  # the socket is closed
        pass
    return 0
