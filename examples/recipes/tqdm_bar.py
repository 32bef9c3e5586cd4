"""tqdm: one bar for all files. `python tqdm_bar.py take-07.mov take-08.mov`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from tqdm import tqdm

from aioframeio_upload import Progress, UploadedFile, Uploader

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")


async def uploaded(*paths: str) -> list[UploadedFile]:
    """Upload files, and return them. The bar grows by what each progress adds to the one before."""
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    sizes = await asyncio.gather(*(asyncio.to_thread(os.path.getsize, path) for path in paths))
    # Its own lock, which holds for several processes too, would be made on the event loop.
    tqdm.set_lock(threading.RLock())  # pyright: ignore[reportUnknownMemberType]  # types-tqdm has no type for it
    with tqdm(total=sum(sizes), unit="B", unit_scale=True) as bar:
        async with Uploader(token, account_id=account, base_url=URL) as uploader:

            async def one(path: str) -> UploadedFile:
                seen = 0
                upload = uploader.upload(path, folder_id=os.environ["FRAMEIO_FOLDER"])
                async for event in upload:
                    if isinstance(event, Progress):
                        bar.update(event.bytes_uploaded - seen)
                        seen = event.bytes_uploaded
                return await upload

            return list(await asyncio.gather(*map(one, paths)))


if __name__ == "__main__":
    print(*(file.view_url for file in asyncio.run(uploaded(*sys.argv[1:]))), sep="\n")
