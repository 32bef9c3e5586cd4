"""Jupyter: a bar in a cell, drawn by Rich (`pip install rich ipywidgets`).

In a cell, which has an event loop already:

    from jupyter_bars import uploaded
    await uploaded("take-07.mov", "take-08.mov")
"""

from __future__ import annotations

import asyncio
import os

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from aioframeio_upload import Progress, UploadedFile, Uploader

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")


async def uploaded(*paths: str, console: Console | None = None) -> list[UploadedFile]:
    """Upload files with a bar for each, and return them."""
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as bars:
        async with Uploader(token, account_id=account, base_url=URL) as uploader:

            async def one(path: str) -> UploadedFile:
                bar = bars.add_task(os.path.basename(path), total=None)
                upload = uploader.upload(path, folder_id=os.environ["FRAMEIO_FOLDER"])
                async for event in upload:
                    if isinstance(event, Progress):
                        bars.update(bar, completed=event.bytes_uploaded, total=event.total_bytes)
                return await upload

            return list(await asyncio.gather(*map(one, paths)))
