"""Act on a TCP connection below HTTP: reset it, half-close it, stop reading from it, notice that its peer has left."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# struct linger: two ints, on Windows two unsigned shorts.
LINGER_OFF_AT_ONCE = struct.pack("HH" if sys.platform == "win32" else "ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """Abort the connection with an RST: unsent bytes are dropped, and the peer gets ECONNRESET."""
    # On a duplicate, because uvloop's socket object refuses setsockopt; the option applies to the socket itself.
    with socket.fromfd(_descriptor(transport), socket.AF_INET, socket.SOCK_STREAM) as duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF_AT_ONCE)
    transport.abort()


def end(transport: asyncio.Transport) -> None:
    """Send a FIN and continue reading; a TLS connection cannot be half-closed and is closed completely."""
    if transport.can_write_eof():
        transport.write_eof()
    else:
        transport.close()


@contextmanager
def not_reading(transport: asyncio.Transport) -> Iterator[None]:
    """Read nothing in this context, so that TCP's flow control stops the sender."""
    reading = transport.is_reading()
    if reading:
        transport.pause_reading()
    try:
        yield
    finally:
        # If aiohttp had paused reading before, because of its own buffer, it resumes it itself.
        if reading and not transport.is_closing():
            transport.resume_reading()


@contextmanager
def noticing_hangup(transport: asyncio.Transport) -> Iterator[None]:
    """Abort the transport when its peer leaves, even while reading is paused.

    A transport does not notice the end of its connection while reading is paused. On Linux, an epoll for EPOLLRDHUP
    alone, which is watched by the loop, does; on other systems this does nothing.
    """
    if sys.platform != "linux":
        yield
        return
    loop = asyncio.get_running_loop()
    # The duplicate keeps the registration valid if the transport closes its descriptor first.
    duplicate = os.dup(_descriptor(transport))
    watch = select.epoll()
    watch.register(duplicate, select.EPOLLRDHUP)

    def left() -> None:
        loop.remove_reader(watch.fileno())
        transport.abort()

    loop.add_reader(watch.fileno(), left)
    try:
        yield
    finally:
        loop.remove_reader(watch.fileno())
        watch.close()
        os.close(duplicate)


def _descriptor(transport: asyncio.Transport) -> int:
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor
