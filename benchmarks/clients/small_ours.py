"""Upload many small files at the same time with `Uploader.upload`, with any number of listeners to their events."""

from __future__ import annotations

import asyncio
import ssl
import time

from aioframeio_upload import Limits, Progress, Timeouts, Upload, Uploader

from .meter import Meter
from .small_job import SmallJob


async def listen(upload: Upload) -> int:
    """Receive all events of an upload, and return their number without `Progress`."""
    return sum([1 async for event in upload if not isinstance(event, Progress)])


async def send(job: SmallJob) -> None:
    """Upload every file once."""
    context = ssl.create_default_context(cafile=job.ca) if job.ca else None
    paths = job.paths()
    meter, loop = Meter(), time.thread_time()
    async with Uploader(
        job.token,
        account_id=job.account_id,
        base_url=job.base,
        limits=Limits(parts=job.workers, files=2 * job.workers, api_pacing=False),
        timeouts=Timeouts() if job.confirm else Timeouts(confirm=0),
        checksum=job.checksum,
        ssl=context,
    ) as uploader:
        uploads = [uploader.upload(path, folder_id=job.folder_id) for path in paths]
        listening = [asyncio.create_task(listen(upload)) for upload in uploads for _ in range(job.listeners)]
        files = await asyncio.gather(*uploads)
        delivered = sum(await asyncio.gather(*listening))
    parts = sum(len(file.etags) for file in files)
    meter.finish(files=len(files), parts=parts, delivered=delivered, loop=time.thread_time() - loop)


if __name__ == "__main__":
    asyncio.run(send(SmallJob.from_argument()))
