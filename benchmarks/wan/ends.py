"""Run the two ends of the simulated WAN: the uploading client and the sink, each a process in its namespace.

`__main__.py` starts both. They share a clock, `CLOCK_MONOTONIC`, so that sent and arrived bytes can be compared.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import resource
import socket
import ssl
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import anyio

from aioframeio_upload import Limits, Plan, Progress, Timeouts, Uploader

PERIOD = 0.02
"""Seconds between two of the sink's samples."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
GONE = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection of the server that accepts PUTs, counts their bytes and answers 200."""

    received = 0
    connections = 0

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        Sink.connections += 1

    def data_received(self, data: bytes) -> None:
        if self._left == 0:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head = b""
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            if head.startswith(b"DELETE") or length is None:
                self._transport.write(GONE)
                return
            self._left = int(length[1])
            if re.search(rb"^expect: *100-continue", head, re.IGNORECASE | re.MULTILINE):
                self._transport.write(CONTINUE)
        # A client waits for the answer before its next request, so `data` contains nothing of that.
        Sink.received += len(data)
        self._left -= len(data)
        if self._left == 0:
            self._transport.write(OK)


async def serve(host: str, port: int, certificate: str | None) -> None:
    """Serve until stdin ends; answer each line of it with the counts since the previous line, as JSON."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, host, port, ssl=context, backlog=256)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    samples: list[tuple[float, int]] = []

    async def sample() -> None:
        while True:
            samples.append((time.monotonic(), Sink.received))
            await asyncio.sleep(PERIOD)

    sampling = asyncio.create_task(sample())
    print("ready", flush=True)
    while await lines.readline():
        counts = {
            "received": Sink.received,
            "connections": Sink.connections,
            "samples": samples,
            "sink_cpu_waited": waited(),
        }
        print(json.dumps(counts), flush=True)
        samples.clear()
        Sink.received = Sink.connections = 0
    sampling.cancel()
    server.close()


async def upload(asked: dict[str, Any]) -> dict[str, Any]:
    """Upload the file once, or as much of it as `cap` seconds allow."""
    size, part = asked["size"], asked["part_size"]
    slices = [min(part, size - offset) for offset in range(0, size, part)]
    links = [{"size": one, "url": f"{asked['url']}/part_{number}"} for number, one in enumerate(slices, 1)]
    plan = Plan.from_response({"id": "file", "name": "film", "file_size": size, "upload_urls": links})
    context = ssl.create_default_context(cafile=asked["ca"]) if asked["ca"] else None
    limits = Limits() if asked["in_flight"] is None else Limits(parts=asked["in_flight"])
    session = None if asked["lowat"] is None else session_with_lowat(asked["lowat"])
    progress: list[tuple[float, int]] = []
    # Without confirmation, because only the PUTs are measured.
    uploader = Uploader(
        "token", account_id="account", base_url=asked["url"], limits=limits, timeouts=Timeouts(confirm=0), ssl=context,
        session=session,
    )  # fmt: skip
    async with uploader:
        before = tcp_counters()
        began_at = time.monotonic()
        running = uploader.execute(plan, Path(asked["source"]))
        with anyio.move_on_after(asked["cap"]):
            async for event in running:
                if isinstance(event, Progress):
                    progress.append((time.monotonic(), event.bytes_uploaded))  # noqa: PERF401  # kept when capped
        ended_at = time.monotonic()
        after = tcp_counters()
        complete = running.done
        if complete:
            _ = running.result
        running.cancel()
        retries = uploader.statistics().retries
    if session is not None:
        await session.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "limits_parts": limits.parts,
        "began_at": began_at,
        "ended_at": ended_at,
        "complete": complete,
        "retries": retries,
        "segments": after["OutSegs"] - before["OutSegs"],
        "retransmitted": after["RetransSegs"] - before["RetransSegs"],
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "cpu_waited": waited(),
        "progress": progress,
    }


def session_with_lowat(size: int) -> aiohttp.ClientSession:
    """Return a session whose sockets are writable only while fewer than `size` bytes in them are unsent."""

    def make_socket(address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)
        return made

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4, socket_factory=make_socket)
    )


def waited() -> float:
    """Return the seconds in which the loop's thread was ready to run and had no core, because of other programs."""
    return int(Path("/proc/self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9


def tcp_counters() -> dict[str, int]:
    """Return the TCP counters of this namespace."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Tcp:")
    return dict(zip(names[1:], map(int, values[1:]), strict=True))


def main(role: str, words: str) -> None:
    """Run one end; its job is in `words` and its result on stdout, both as JSON."""
    asked = json.loads(words)
    # A capped upload is cancelled, and there is no service here that could delete its file: that would be a warning.
    logging.getLogger("aioframeio_upload").setLevel(logging.ERROR)
    # With real-time priority, neither end waits for a core because of other programs: the link is measured. Where that
    # is not permitted, `cpu_waited` shows the disturbance.
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    if role == "sink":
        asyncio.run(serve(**asked))
    else:
        print(json.dumps(asyncio.run(upload(asked))))
