"""Upload a tree of many small files with `Uploader.upload_folder`, and count the tasks."""

from __future__ import annotations

import asyncio

from aioframeio_upload import FileCompleted, Limits, Uploader

from .meter import Meter
from .small_job import SmallJob


async def send(job: SmallJob) -> None:
    """Upload the folder once, and count the tasks after every 100 files."""
    meter, tasks, done = Meter(), 0, 0
    async with Uploader(
        job.token,
        account_id=job.account_id,
        base_url=job.base,
        limits=Limits(parts=job.workers, files=2 * job.workers, api_pacing=False),
        checksum=job.checksum,
    ) as uploader:
        upload = uploader.upload_folder(job.folder, folder_id=job.folder_id)
        async for event in upload:
            if isinstance(event, FileCompleted):
                done += 1
                if done % 100 == 0:
                    tasks = max(tasks, len(asyncio.all_tasks()))
        result = await upload
    meter.finish(files=len(result.files), tasks=tasks)


if __name__ == "__main__":
    asyncio.run(send(SmallJob.from_argument()))
