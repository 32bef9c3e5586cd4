"""What can be done to a TCP connection below HTTP: cut it, end it, stop reading it, see its other end leave."""

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
    """Cut the connection with an RST: what was not sent yet is dropped, the other end gets ECONNRESET."""
    # A duplicate, since uvloop's own socket object refuses setsockopt; the option belongs to the socket.
    with socket.fromfd(_descriptor(transport), socket.AF_INET, socket.SOCK_STREAM) as duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF_AT_ONCE)
    transport.abort()


def end(transport: asyncio.Transport) -> None:
    """Send a FIN and go on reading; TLS knows no half-closed connection and is closed wholly."""
    if transport.can_write_eof():
        transport.write_eof()
    else:
        transport.close()


@contextmanager
def not_reading(transport: asyncio.Transport) -> Iterator[None]:
    """Read nothing meanwhile, so that TCP backs up to the sender."""
    reading = transport.is_reading()
    if reading:
        transport.pause_reading()
    try:
        yield
    finally:
        # aiohttp may have paused it before, for its own buffer; then it resumes it itself.
        if reading and not transport.is_closing():
            transport.resume_reading()


@contextmanager
def noticing_hangup(transport: asyncio.Transport) -> Iterator[None]:
    """Abort the transport when the other end leaves, though nothing is read from it meanwhile.

    A transport whose reading is paused does not see the end of its connection. On Linux an epoll that asks for
    EPOLLRDHUP only, itself watched by the loop, does; elsewhere this does nothing.
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
