"""Upload files as jobs of a taskiq worker, with progress; to a fake Frame.io if FRAMEIO_TOKEN is not set."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from taskiq import AsyncBroker, AsyncTaskiqTask, Context, InMemoryBroker, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq.depends.progress_tracker import ProgressTracker

from aioframeio_upload import PartRetrying, Progress, Upload, Uploader
from aioframeio_upload.testing import FakeFrameio


def broker_of_the_environment() -> AsyncBroker:
    """Return a broker that runs the jobs in this process, or one with Redis if REDIS_URL is set."""
    if (url := os.environ.get("REDIS_URL")) is None:
        return InMemoryBroker()
    from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

    return RedisStreamBroker(url).with_result_backend(RedisAsyncResultBackend(url))


broker = broker_of_the_environment()

JOURNAL = os.environ.get("JOURNAL")
"""The journal, so that parts that a killed worker had sent are not sent again."""

PERIOD = 0.5
"""Seconds between two checks of a job."""


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Uploader, str]]:
    """Yield an Uploader and a folder: those of the environment, or of a fake Frame.io."""
    if token := os.environ.get("FRAMEIO_TOKEN"):
        base_url = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
        account = os.environ["FRAMEIO_ACCOUNT_ID"]
        async with Uploader(token, account_id=account, base_url=base_url, journal=JOURNAL) as uploader:
            yield uploader, os.environ["FRAMEIO_FOLDER"]
        return
    print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io.")
    async with (
        FakeFrameio() as fake,
        Uploader(fake.token, account_id=fake.account_id, base_url=fake.url) as uploader,
    ):
        yield uploader, fake.folder_id


# -- the worker --------------------------------------------------------------------------------------------------------


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_uploader(state: TaskiqState) -> None:
    """Open one Uploader for all jobs together, and resume the uploads of an earlier worker."""
    state.stack = AsyncExitStack()
    state.uploader, state.folder_id = await state.stack.enter_async_context(connected())
    pending: tuple[Upload, ...] = await state.uploader.resume_pending() if JOURNAL is not None else ()
    state.resumed = {upload.source: upload for upload in pending}
    for upload in pending:
        print(f"{upload.name} goes on")


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_uploader(state: TaskiqState) -> None:
    """Wait 20 seconds for running uploads, then stop them."""
    await state.uploader.shutdown(grace=20)
    await state.stack.aclose()


@broker.task(task_name="deliver")
async def deliver(
    path: str,
    context: Context = TaskiqDepends(),  # noqa: B008  # taskiq injects dependencies by defaults
    tracker: ProgressTracker[dict[str, Any]] = TaskiqDepends(),  # noqa: B008  # as above
) -> dict[str, Any]:
    """Upload a file, and report the job's progress; a job that is given again repeats nothing."""
    state = context.state
    # A second upload of a file that is being resumed would be a JournalError.
    running: Upload | None = state.resumed.pop(path, None)
    async with running or state.uploader.upload(path, folder_id=state.folder_id, conflict="skip") as upload:
        async for event in upload:
            if isinstance(event, Progress | PartRetrying):
                await tracker.set_progress("UPLOADING", event.to_dict())
    return {"id": upload.result.id, "size": upload.result.size, "view_url": upload.result.view_url}


# -- the client --------------------------------------------------------------------------------------------------------


async def follow(path: str, job: AsyncTaskiqTask[dict[str, Any]]) -> bool:
    """Print a job's progress and its result; return whether it succeeded."""
    while not await job.is_ready():
        progress = await job.get_progress()
        event = progress.meta if progress is not None and progress.meta is not None else {}
        if event.get("event") == "Progress":
            print(f"{path}: {event['bytes_uploaded'] / event['total_bytes']:.0%}")
        await asyncio.sleep(PERIOD)
    result = await job.get_result()
    print(f"{path}: {result.error or result.return_value['view_url']}")
    return not result.is_err


async def main(paths: list[str]) -> int:
    """Submit a job for each file, and wait for all."""
    await broker.startup()
    try:
        jobs = [await deliver.kiq(path) for path in paths]
        went_well = await asyncio.gather(*(follow(path, job) for path, job in zip(paths, jobs, strict=True)))
    finally:
        await broker.shutdown()
    return 0 if all(went_well) else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: jobs.py PATH…")
    # Absolute, as a worker may run in another folder, and the journal has them so.
    sys.exit(asyncio.run(main([os.path.abspath(path) for path in sys.argv[1:]])))
