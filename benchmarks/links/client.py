"""Upload one file with the library, from a namespace: the client of `benchmarks.links`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import ssl
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from aioframeio_upload import Limits, Plan, Timeouts, Uploader

from ..wan.ends import waited

PERIOD = 0.2
"""Seconds between two looks at the statistics."""


async def upload(asked: dict[str, Any]) -> dict[str, Any]:
    """Upload the file once, or as much of it as `cap` seconds allow."""
    size, part = asked["size"], asked["part_size"]
    slices = [min(part, size - offset) for offset in range(0, size, part)]
    links = [{"size": one, "url": f"{asked['url']}/part/{number}"} for number, one in enumerate(slices, 1)]
    plan = Plan.from_response({"id": "file", "name": "film", "file_size": size, "upload_urls": links})
    context = ssl.create_default_context(cafile=asked["ca"])
    settings: dict[str, Any] = {} if asked["parts"] == "auto" else {"parts": int(asked["parts"])}
    if asked["congestion"] is not None:
        settings["congestion"] = asked["congestion"]
    looks: list[list[object]] = []
    # Without confirmation, because only the PUTs are measured.
    async with Uploader(
        "token", account_id="account", base_url=asked["url"], limits=Limits(**settings), timeouts=Timeouts(confirm=0),
        ssl=context,
    ) as uploader:  # fmt: skip
        began = time.monotonic()
        running = uploader.execute(plan, Path(asked["source"])).start()

        async def look() -> None:
            while True:
                now = uploader.statistics()
                why = str(getattr(now, "reason", ""))
                looks.append([round(time.monotonic() - began, 2), now.slots, now.in_flight, why])
                await anyio.sleep(PERIOD)

        looking = asyncio.create_task(look())
        with anyio.move_on_after(asked["cap"]):
            # Shielded, because a cancellation of the wait would cancel the upload, which is then an error.
            await asyncio.wait([asyncio.ensure_future(asyncio.shield(_finished(running)))])
        ended = time.monotonic()
        looking.cancel()
        complete = running.done
        if complete:
            _ = running.result
        running.cancel()
        retries = uploader.statistics().retries
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "began": began,
        "ended": ended,
        "complete": complete,
        "retries": retries,
        "looks": looks,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss * 1024,
        "cpu_waited": waited(),
    }


async def _finished(running: Any) -> None:
    async for _ in running:
        pass


def main(words: str) -> None:
    """Run the client; its job is in `words` and its result on stdout, both as JSON."""
    # A capped upload is cancelled, and there is no service here that could delete its file: that would be a warning.
    logging.getLogger("aioframeio_upload").setLevel(logging.ERROR)
    # With real-time priority, it never waits for a core because of other programs: the link is measured.
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    print(json.dumps(asyncio.run(upload(json.loads(words)))))


if __name__ == "__main__":
    main(sys.argv[1])
