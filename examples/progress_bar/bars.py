"""Upload files with a bar for each, and one for all; to a fake Frame.io if FRAMEIO_TOKEN is not set."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from aioframeio_upload import PartRetrying, Uploader, UploadError, UploadPlanned
from aioframeio_upload import Progress as Sent
from aioframeio_upload.testing import FakeFrameio


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Uploader, str]]:
    """Yield an Uploader and a folder: those of the environment, or of a fake Frame.io."""
    if token := os.environ.get("FRAMEIO_TOKEN"):
        base_url = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
        async with Uploader(token, account_id=os.environ["FRAMEIO_ACCOUNT_ID"], base_url=base_url) as uploader:
            yield uploader, os.environ["FRAMEIO_FOLDER"]
        return
    print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io.")
    async with (
        FakeFrameio() as fake,
        Uploader(fake.token, account_id=fake.account_id, base_url=fake.url) as uploader,
    ):
        yield uploader, fake.folder_id
        for file in fake.files:
            print(f"sha256 of {file.name}: {file.sha256}")


async def show(uploader: Uploader, path: str, folder_id: str, bars: Progress, all_bytes: TaskID | None) -> bool:
    """Upload one file, and draw its bar; return whether it succeeded."""
    bar = bars.add_task(os.path.basename(path), total=None, rate="")
    sent = 0
    try:
        async with uploader.upload(path, folder_id=folder_id) as upload:
            async for event in upload:
                match event:
                    case UploadPlanned(total_bytes=total):
                        bars.update(bar, total=total)
                    case Sent(bytes_uploaded=now, bytes_per_second=rate):
                        bars.update(bar, completed=now, rate=f"{rate / 1e6:.1f} MB/s")
                        if all_bytes is not None:
                            bars.advance(all_bytes, now - sent)
                        sent = now
                    case PartRetrying(number=number, delay=delay, error=error):
                        bars.console.print(f"{path}: part {number} again in {delay:.1f} s: {error}", markup=False)
    except UploadError as error:
        bars.update(bar, rate="failed")
        bars.console.print(f"{path}: {error}", markup=False, soft_wrap=True)
        return False
    bars.console.print(f"{path}: {upload.result.view_url}", markup=False, soft_wrap=True)
    return True


async def main(paths: list[str]) -> int:
    """Upload all files at once: the Uploader's limits hold for all of them together."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[rate]}"))
    async with connected() as (uploader, folder_id):
        with Progress(*columns, TimeRemainingColumn(), console=Console()) as bars:
            sizes = await asyncio.to_thread(lambda: [os.path.getsize(path) for path in paths if os.path.isfile(path)])
            total = bars.add_task("all", total=sum(sizes), rate="") if len(paths) > 1 else None
            shown = await asyncio.gather(*(show(uploader, path, folder_id, bars, total) for path in paths))
    return 0 if all(shown) else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: bars.py PATH…")
    sys.exit(asyncio.run(main(sys.argv[1:])))
