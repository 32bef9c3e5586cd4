"""A server that answers with given bytes, for broken HTTP, which the fake cannot produce."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext

TLS = b"\x16"
"""The first byte of a TLS handshake; it is answered at once."""


@dataclass
class Canned:
    """The URL of the server, and the requests that it received."""

    url: str
    answers: list[bytes]
    """The answers in order; the last one is repeated. More may be added while it serves."""
    heads: list[str] = field(default_factory=list)
    """The head of each request, in order."""


@asynccontextmanager
async def canned(*answers: bytes, ssl: SSLContext | None = None) -> AsyncIterator[Canned]:
    """Serve on loopback: each request, read completely, gets the next answer; the last answer is repeated.

    The connection is closed after each answer. With `ssl` the server speaks HTTPS.
    """
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            first = await reader.readexactly(1)
            rest = b"" if first == TLS else await reader.readuntil(b"\r\n\r\n")
            head = (first + rest).decode("latin-1")
            length = re.search(r"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
            left = int(length[1]) if length else 0
            while left and (block := await reader.read(min(left, 1 << 16))):
                left -= len(block)
            seen.heads.append(head)
            writer.write(seen.answers[min(len(seen.heads), len(seen.answers)) - 1])
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ssl)
    seen = Canned(f"http{'s' if ssl else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}", list(answers))
    try:
        yield seen
    finally:
        server.close()
        if serving:
            await asyncio.wait(serving)


def answer(status: int, body: bytes, **headers: str) -> bytes:
    """Return an answer as bytes; a header given as keyword argument replaces the default one."""
    told = {"content_type": "application/json", "content_length": str(len(body)), "connection": "close"} | headers
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
