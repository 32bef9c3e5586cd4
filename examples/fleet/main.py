"""Upload one file from several processes, or from the machines of a Dask cluster.

It starts four processes, unless DASK_SCHEDULER has the address of a running cluster. The file goes to a fake Frame.io
if FRAMEIO_TOKEN is not set.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from distributed import Client, LocalCluster

from aioframeio_upload import PartRetrying, Progress, Uploader, UploadError, UploadPlanned
from aioframeio_upload.dask import upload_file
from aioframeio_upload.testing import FakeFrameio


async def upload(client: Client, uploader: Uploader, path: str, folder_id: str) -> None:
    """Upload the file, and print the progress of all workers together."""
    workers = len(await client.nthreads())
    tenths = 0
    async with upload_file(client, path, uploader=uploader, folder_id=folder_id) as upload:
        async for event in upload:
            match event:
                case UploadPlanned(name=name, total_bytes=size, total_parts=parts):
                    print(f"{name}: {size} bytes in {parts} part(s), {workers} workers")
                case PartRetrying(delay=delay, error=error):
                    print(f"again in {delay:.1f} s: {error}")
                case Progress(bytes_uploaded=sent, total_bytes=size) if 10 * sent // size > tenths:
                    tenths = 10 * sent // size
                    print(f"{tenths}0 %")
    print(f"done: {upload.result.view_url}")


async def main(path: str) -> None:
    """Upload to Frame.io, or to the fake."""
    async with AsyncExitStack() as stack:
        where = os.environ.get("DASK_SCHEDULER") or await stack.enter_async_context(
            LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address="127.0.0.1:0", asynchronous=True)
        )
        client = await stack.enter_async_context(Client(where, asynchronous=True))
        if token := os.environ.get("FRAMEIO_TOKEN"):
            account, base_url = (
                os.environ["FRAMEIO_ACCOUNT_ID"],
                os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io"),
            )
            uploader = await stack.enter_async_context(Uploader(token, account_id=account, base_url=base_url))
            await upload(client, uploader, path, os.environ["FRAMEIO_FOLDER"])
            return
        print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io.")
        fake = await stack.enter_async_context(FakeFrameio(part_size=1 << 20))
        uploader = await stack.enter_async_context(Uploader(fake.token, account_id=fake.account_id, base_url=fake.url))
        await upload(client, uploader, path, fake.folder_id)
        (file,) = fake.files
        print(f"sha256 of what arrived: {file.sha256}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: main.py PATH")
    try:
        asyncio.run(main(sys.argv[1]))
    except UploadError as error:
        sys.exit(f"error: {error}")
