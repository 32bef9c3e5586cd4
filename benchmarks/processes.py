"""Measure many processes that upload for one user: how well they share the rate at which Frame.io creates files.

The service is the fake of `aioframeio_upload.testing`, which keeps the documented rates with the bucket that Frame.io's
guide describes. It runs in this process; each process that uploads has an `Uploader` of its own and sends files of
1 KiB, all begun at once, so that the creations are the bottleneck. The ideal is the time that the bucket needs to grant
all creations: five at once, then five a second. Every process has imported everything before the first one begins.

A scene with a plus has a client of another make too, which creates files at half the documented rate and does not slow
down; then the ideal is the time at the other half.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from aioframeio_upload import ApiRetrying, Uploader, UploadError
from aioframeio_upload.testing import FakeFrameio

from .harness.record import print_table, write_record
from .harness.words import many, parser

RATE, BURST = 5, 5
"""Creations a second that Frame.io documents, and how many it grants at once."""

SCENES = {
    "1x200": (1, 200, False),
    "4x40": (4, 40, False),
    "12x20": (12, 20, False),
    "32x8": (32, 8, False),
    "4x20+": (4, 20, True),
}
"""Processes, uploads of each, and whether another client takes half of the rate."""
FOREIGN = RATE / 2
"""Creations a second of the other client."""

LONGEST = 600.0
"""Seconds after which a round counts as hanging."""


async def upload(given: dict[str, Any]) -> dict[str, Any]:
    """Upload files at once, as one of the processes; return its seconds and what failed."""
    failed: Counter[str] = Counter()
    refused: Counter[str] = Counter()

    async def one(number: int) -> float:
        handle = uploader.upload(bytes(1024), folder_id=given["folder_id"], name=f"{given['process']}-{number}.bin")
        try:
            async with handle as running:
                async for event in running:
                    if isinstance(event, ApiRetrying) and event.error.status == 429:
                        refused[event.operation] += 1
        except UploadError as error:
            failed[type(error).__name__] += 1
        return time.monotonic() - began

    async with Uploader(given["token"], account_id=given["account_id"], base_url=given["url"]) as uploader:
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        began = time.monotonic()
        ends = await asyncio.gather(*(one(number) for number in range(given["files"])))
    return {"seconds": max(ends), "first": min(ends), "failed": dict(failed), "refused": dict(refused)}


async def go_on_creating(fake: FakeFrameio) -> None:
    """Create files at a constant rate, whatever the service answers, as a client that knows of no other does."""
    url = f"{fake.url}/v4/accounts/{fake.account_id}/folders/{fake.folder_id}/files/local_upload"
    headers = {"Authorization": f"Bearer {fake.token}"}
    loop = asyncio.get_running_loop()
    due = loop.time()
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            async with session.post(url, json={"data": {"name": "foreign.bin", "file_size": 1}}) as answer:
                await answer.read()
            due += 1 / FOREIGN
            await asyncio.sleep(max(0.0, due - loop.time()))


@asynccontextmanager
async def background(fake: FakeFrameio, *, is_wanted: bool) -> AsyncIterator[None]:
    """Run the other client during the block, if it is wanted."""
    if not is_wanted:
        yield
        return
    task = asyncio.create_task(go_on_creating(fake))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def measure(processes: int, files: int, *, foreign: bool) -> dict[str, Any]:
    """Start the processes, let them begin together, and return what one round took."""
    async with FakeFrameio(store=False) as fake:
        whole = {"url": fake.url, "token": fake.token, "account_id": fake.account_id, "folder_id": fake.folder_id}
        children = []
        for process in range(processes):
            job = json.dumps({**whole, "files": files, "process": process})
            children.append(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "benchmarks.processes", "upload", job),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
            )
        try:
            async with asyncio.timeout(LONGEST):
                for child in children:
                    assert child.stdout is not None
                    await child.stdout.readline()
                async with background(fake, is_wanted=foreign):
                    outputs = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
        finally:
            for child in children:
                if child.returncode is None:
                    child.kill()
    # The other client's refusals are not ours, so ours are counted by the processes.
    reports = [json.loads(output.splitlines()[-1]) for output, _ in outputs]
    return summary_of(reports, processes * files, RATE - FOREIGN if foreign else RATE)


def summary_of(reports: Sequence[dict[str, Any]], creations: int, rate: float) -> dict[str, Any]:
    """Return the numbers of one round."""
    seconds = [one["seconds"] for one in reports]
    failed: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    for one in reports:
        failed.update(one["failed"])
        refusals.update(one["refused"])
    return {
        "seconds": max(seconds),
        "to_ideal": max(seconds) / ((creations - BURST) / rate),
        "failed": sum(failed.values()),
        "errors": dict(failed),
        "refused_creations": refusals["create_local_upload"] / creations,
        "refusals": dict(refusals),
        "slowest_to_fastest": max(seconds) / min(seconds),
        "processes": sorted(round(one, 1) for one in seconds),
    }


def main(words: Sequence[str]) -> None:
    """Measure, print the table and write the record."""
    options = parser(__doc__, runs=1)
    options.set_defaults(warm_up=0)
    options.add_argument("--scenes", type=many(str), default=list(SCENES), help=f"of {', '.join(SCENES)}")
    given = options.parse_args(words)
    rows: list[dict[str, Any]] = []
    for scene in given.scenes if not given.quick else ["4x20+"]:
        processes, files, foreign = SCENES[scene]
        runs = []
        for turn in range(given.runs):
            runs.append(asyncio.run(measure(processes, files, foreign=foreign)))
            print(f"{scene}, round {turn + 1} of {given.runs}: {runs[-1]}", flush=True)
        keys = ("seconds", "to_ideal", "failed", "refused_creations", "slowest_to_fastest")
        summary = {key: statistics.median(one[key] for one in runs) for key in keys}
        cell = {"processes": processes, "files": files, "foreign": foreign}
        rows.append({"cell": cell, "summary": summary, "runs": runs})
    write_record("processes", rows, path=given.output)
    heads = ["processes", "uploads each", "of ideal", "failed", "refusals a creation", "slowest of fastest"]
    shown: list[list[object]] = []
    for row in rows:
        cell, one = row["cell"], row["summary"]
        numbers = (one[key] for key in ("to_ideal", "failed", "refused_creations", "slowest_to_fastest"))
        shown.append([cell["processes"], cell["files"], *numbers])
    print_table(heads, shown)


if __name__ == "__main__":
    match sys.argv[1:2]:
        case ["upload"]:
            print(json.dumps(asyncio.run(upload(json.loads(sys.argv[2])))))
        case _:
            main(sys.argv[1:])
