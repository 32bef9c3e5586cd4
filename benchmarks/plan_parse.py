"""Measure how long the event loop is blocked while the plan of a huge file is read, and while its first parts begin.

    python -m benchmarks.plan_parse [--parts 10000] [--runs 5]

A server in a second process answers `create` with links as long as S3's (1.5 kB each), and refuses the PUTs of the
first parts, which ends the upload. A ticker measures the longest time between two turns of the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

from aioframeio_upload import Limits, Plan, RetryPolicy, Uploader, UploadError

LINK = 1500
"""Characters of a link whose SigV4 query has a session token, as with temporary credentials."""

PART = 50 << 20
"""Bytes of a part."""

REFUSAL = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


def plan_of(parts: int, origin: str) -> bytes:
    """Return the body of the answer to `create` for a file of that many parts."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={now}&X-Amz-Expires=86400&X-Amz-Security-Token="
    token = "A" * (LINK - len(query) - len(origin) - 80) + "&X-Amz-Signature=" + "0" * 64
    urls = [{"size": PART, "url": f"{origin}/parts/{number:05}?{query}{token}"} for number in range(1, parts + 1)]
    data = {"id": "f", "name": "a.mov", "file_size": parts * PART, "parent_id": "d", "media_type": "video/quicktime"}
    return json.dumps({"data": data | {"upload_urls": urls}}).encode()


async def _serve(parts: int, hostile: bool, ready: Connection) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        body, status = {"POST": (made, 201), "PUT": (REFUSAL, 403), "DELETE": (b"{}", 200)}[head.split()[0]]
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    made = b'{"data": [' + b"[]," * 5_000_000 + b"[]]}" if hostile else plan_of(parts, origin)
    ready.send((origin, len(made)))
    await server.serve_forever()


def _serve_forever(parts: int, hostile: bool, ready: Connection) -> None:
    asyncio.run(_serve(parts, hostile, ready))


class Ticker:
    """A task that measures the longest time between two turns of the loop."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest = max(self.longest, now - before)
            before = now


@asynccontextmanager
async def ticking() -> AsyncIterator[Ticker]:
    ticker = Ticker()
    task = asyncio.create_task(ticker.run())
    await asyncio.sleep(0.1)
    ticker.longest = 0.0
    yield ticker
    task.cancel()


class Zeros:
    """A file object of zeros, of any length."""

    def __init__(self, size: int) -> None:
        self.size, self.at = size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.size - self.at)
        self.at += size
        return bytes(size)


async def measure(origin: str, parts: int) -> dict[str, float]:
    """Return the duration of the planning, and the longest blocks of the loop in milliseconds."""
    size = parts * PART
    limits, retry = Limits(api_pacing=False), RetryPolicy(attempts=1)
    found = {}
    async with Uploader("t", account_id="a", base_url=origin, limits=limits, retry=retry) as uploader:
        async with ticking() as ticker:
            began = time.perf_counter()
            plan: Plan | None = None
            try:
                plan = await uploader.plan(Zeros(size), name="a.mov", folder_id="d", size=size)  # type: ignore[arg-type]
            except UploadError as error:
                sys.stderr.write(f"{error}\n")
            found["plan, seconds"] = time.perf_counter() - began
            found["plan, longest stop in ms"] = ticker.longest * 1000
        if plan is None:
            return found
        async with ticking() as ticker:
            try:
                await uploader.execute(plan, Zeros(size))  # type: ignore[arg-type]
            except UploadError as error:
                if "AccessDenied" not in str(error):
                    raise
            found["first parts, longest stop in ms"] = ticker.longest * 1000
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--hostile", action="store_true", help="15 MB of empty lists instead of a plan")
    asked = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    arguments = asked.parts, asked.hostile, theirs
    server = multiprocessing.get_context("spawn").Process(target=_serve_forever, args=arguments, daemon=True)
    server.start()
    origin, length = ours.recv()
    print(f"{asked.parts} parts, an answer of {length / 1e6:.1f} MB, Python {sys.version.split()[0]}")
    try:
        for _ in range(asked.runs):
            found = asyncio.run(measure(origin, asked.parts))
            print("  ".join(f"{name}: {value:.1f}" for name, value in found.items()))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
