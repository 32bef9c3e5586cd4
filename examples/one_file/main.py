"""Upload one file and print what happens; to a fake Frame.io if FRAMEIO_TOKEN is not set."""

from __future__ import annotations

import asyncio
import os
import sys

from aioframeio_upload import PartCompleted, PartRetrying, Uploader, UploadError, UploadPlanned
from aioframeio_upload.testing import FakeFrameio


async def upload(uploader: Uploader, path: str, folder_id: str) -> None:
    """Upload the file, and print its parts as they arrive."""
    async with uploader.upload(path, folder_id=folder_id) as upload:
        async for event in upload:
            match event:
                case UploadPlanned(name=name, total_bytes=size, total_parts=parts):
                    print(f"{name}: {size} bytes in {parts} part(s)")
                case PartRetrying(delay=delay, error=error):
                    print(f"again in {delay:.1f} s: {error}")
                case PartCompleted(number=number, seconds=seconds):
                    print(f"part {number} arrived in {seconds:.2f} s")
    print(f"done: {upload.result.view_url}")


async def main(path: str) -> None:
    """Upload to Frame.io, or to the fake."""
    if token := os.environ.get("FRAMEIO_TOKEN"):
        base_url = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
        async with Uploader(token, account_id=os.environ["FRAMEIO_ACCOUNT_ID"], base_url=base_url) as uploader:
            await upload(uploader, path, os.environ["FRAMEIO_FOLDER"])
        return
    print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io.")
    async with FakeFrameio() as fake:
        async with Uploader(fake.token, account_id=fake.account_id, base_url=fake.url) as uploader:
            await upload(uploader, path, fake.folder_id)
        (file,) = fake.files
        print(f"sha256 of what arrived: {file.sha256}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: main.py PATH")
    try:
        asyncio.run(main(sys.argv[1]))
    except UploadError as error:
        sys.exit(f"error: {error}")
