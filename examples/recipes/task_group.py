"""asyncio.TaskGroup: upload each file as soon as it is rendered. `python task_group.py take-07.mov take-08.mov`.

The first failure cancels the other uploads and the rendering; files that are complete stay.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

from aioframeio_upload import UploadedFile, Uploader

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")


async def render(source: str) -> Path:
    """Stand for a program that writes a file."""
    made = Path(source).with_suffix(".rendered")
    await asyncio.to_thread(shutil.copyfile, source, made)
    return made


async def publish(*sources: str) -> list[UploadedFile]:
    """Render one file after the other, and upload each while the next one is rendered."""
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    async with Uploader(token, account_id=account, base_url=URL) as uploader, asyncio.TaskGroup() as group:
        tasks = [
            # An Upload is a coroutine, so a task group takes it as it is.
            group.create_task(uploader.upload(await render(source), folder_id=os.environ["FRAMEIO_FOLDER"]))
            for source in sources
        ]
    return [task.result() for task in tasks]


if __name__ == "__main__":
    print(*(file.view_url for file in asyncio.run(publish(*sys.argv[1:]))), sep="\n")
