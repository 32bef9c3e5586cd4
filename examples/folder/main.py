"""Upload a folder and print the result of each file; to a fake Frame.io if FRAMEIO_TOKEN is not set."""

from __future__ import annotations

import asyncio
import os
import sys

from aioframeio_upload import FileCompleted, FileFailed, FolderPlanned, FolderUploadError, Uploader, UploadError
from aioframeio_upload.testing import FakeFrameio


async def upload(uploader: Uploader, root: str, patterns: list[str], folder_id: str) -> None:
    """Upload the folder; files that are already there are skipped, and one that fails does not stop the others."""
    folder = uploader.upload_folder(root, folder_id=folder_id, include=patterns, exclude=["*.tmp"])
    async for event in folder:
        match event:
            case FolderPlanned(files=files, folders=folders, total_bytes=size):
                print(f"{files} files of {size} bytes in {folders} folders")
            case FileCompleted(path=path):
                print(f"  {path}")
            case FileFailed(path=path, error=error):
                print(f"  {path} failed: {error}")
    result = await folder
    print(f"{len(result.files)} sent, {len(result.skipped)} there before")


async def main(root: str, patterns: list[str]) -> None:
    """Upload to Frame.io, or to the fake."""
    if token := os.environ.get("FRAMEIO_TOKEN"):
        base_url = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
        async with Uploader(token, account_id=os.environ["FRAMEIO_ACCOUNT_ID"], base_url=base_url) as uploader:
            await upload(uploader, root, patterns, os.environ["FRAMEIO_FOLDER"])
        return
    print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io, and then once more.")
    async with FakeFrameio() as fake, Uploader(fake.token, account_id=fake.account_id, base_url=fake.url) as uploader:
        for _ in range(2):
            await upload(uploader, root, patterns, fake.folder_id)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: main.py FOLDER [PATTERN ...]")
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2:]))
    except FolderUploadError as error:
        sys.exit(f"{len(error.result.failures)} files failed")
    except UploadError as error:
        sys.exit(f"error: {error}")
