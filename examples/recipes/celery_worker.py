"""Celery: upload files from its synchronous tasks. `celery -A celery_worker worker --pool threads`.

A thread of each worker process runs one event loop with one Uploader; the tasks hand their work to it, and wait.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from celery import Celery
from celery.signals import worker_init, worker_process_init, worker_process_shutdown, worker_shutdown

from aioframeio_upload import Uploader

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")

app = Celery("takes", broker=os.environ.get("BROKER_URL", "memory://"))


class Loop:
    """The event loop of this process, and its Uploader."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._uploader: Uploader | None = None

    def open(self, **_: Any) -> None:
        """Start the loop. With the pool `prefork` Celery calls this in each child, where a loop survives."""
        if self._portal is None:
            token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
            self._portal = self._stack.enter_context(start_blocking_portal())
            uploader = self._portal.call(lambda: Uploader(token, account_id=account, base_url=URL))
            self._uploader = self._stack.enter_context(self._portal.wrap_async_context_manager(uploader))

    def close(self, **_: Any) -> None:
        """End running uploads within 20 seconds, and then the loop."""
        if self._portal is not None and self._uploader is not None:
            self._portal.call(self._uploader.shutdown, 20)
        self._stack.close()
        self._portal = self._uploader = None

    def deliver(self, path: str) -> str | None:
        """Upload a file; called in the thread of a task."""
        if self._portal is None:
            raise RuntimeError("the worker has not started")
        return self._portal.call(self._deliver, path)

    async def _deliver(self, path: str) -> str | None:
        assert self._uploader is not None
        file = await self._uploader.upload(path, folder_id=os.environ["FRAMEIO_FOLDER"])
        return file.view_url


loop = Loop()
if os.environ.get("CELERY_POOL", "threads") == "prefork":  # a fork does not copy the thread of the loop
    worker_process_init.connect(loop.open)
    worker_process_shutdown.connect(loop.close)
else:
    worker_init.connect(loop.open)
    worker_shutdown.connect(loop.close)


@app.task
def deliver(path: str) -> str | None:
    """Upload a file, and return its link."""
    return loop.deliver(path)
