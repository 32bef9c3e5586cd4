"""Prefect: upload what a flow has rendered. `python prefect_flow.py take-07.mov take-08.mov`."""

from __future__ import annotations

import asyncio
import os
import sys

from prefect import flow, get_run_logger, task

from aioframeio_upload import PartRetrying, Uploader

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")


@task
async def deliver(paths: list[str]) -> list[str]:
    """Upload all files under one limit, and return their ids. Retries are the library's, so the task has none."""
    logger = get_run_logger()
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    async with Uploader(token, account_id=account, base_url=URL) as uploader:

        async def one(path: str) -> str:
            upload = uploader.upload(path, folder_id=os.environ["FRAMEIO_FOLDER"])
            async for event in upload:
                if isinstance(event, PartRetrying):
                    logger.warning("%s: part %s again in %.1f s: %s", path, event.number, event.delay, event.error)
            return (await upload).id

        return list(await asyncio.gather(*map(one, paths)))


@flow
async def publish(paths: list[str]) -> list[str]:
    """Run the tasks of a delivery; rendering would come first."""
    return await deliver(paths)


if __name__ == "__main__":
    print(*asyncio.run(publish(sys.argv[1:])), sep="\n")
