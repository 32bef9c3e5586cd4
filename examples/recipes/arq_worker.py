"""arq: upload files as jobs of a worker. `arq arq_worker.WorkerSettings`, with Redis.

Elsewhere: `await (await create_pool(RedisSettings())).enqueue_job("deliver", "/mnt/takes/take-07.mov")`.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from arq.connections import RedisSettings

from aioframeio_upload import Uploader

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")


async def startup(ctx: dict[str, Any]) -> None:
    """Open one Uploader for all jobs of the worker, and resume what an earlier one was sending."""
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    uploader = Uploader(token, account_id=account, base_url=URL, journal=os.environ.get("JOURNAL"))
    ctx["uploader"] = await uploader.__aenter__()
    if "JOURNAL" in os.environ:
        await uploader.resume_pending()


async def shutdown(ctx: dict[str, Any]) -> None:
    """End running uploads within 20 seconds; with a journal, the next worker continues the others."""
    uploader: Uploader = ctx["uploader"]
    await uploader.shutdown(grace=20)
    await uploader.__aexit__(None, None, None)


async def deliver(ctx: dict[str, Any], path: str) -> str | None:
    """Upload a file, and return its link. arq cancels a job after `job_timeout`, and that ends the upload."""
    uploader: Uploader = ctx["uploader"]
    file = await uploader.upload(path, folder_id=os.environ["FRAMEIO_FOLDER"], conflict="skip")
    return file.view_url


class WorkerSettings:
    """What the worker runs."""

    functions: ClassVar = [deliver]
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://localhost"))
    job_timeout = 24 * 3600
    max_tries = 1  # the library retries; a job that is run again starts over without a journal
