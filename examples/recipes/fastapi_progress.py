"""FastAPI: forward the body of a PUT, show its progress by server-sent events, cancel it. `python fastapi_progress.py`.

The page chooses a key for each attempt (`crypto.randomUUID()`), so it can listen while it sends the body.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse

from aioframeio_upload import Limits, Progress, SourceError, Upload, UploadCancelled, Uploader, UploadError

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
EVERY = 0.5  # seconds between two events of a stream; the library makes up to some tens of `Progress` a second
GRACE = 20.0  # seconds that running uploads get when the server is stopped
KEPT = 600.0  # seconds for which an upload that has ended is kept for a page that has not heard of its end

log = logging.getLogger("uvicorn.error")
uploads: dict[UUID, Upload] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """Open one Uploader for the whole server. A slow client holds one of `Limits.files` while its body arrives."""
    token, account, limits = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"], Limits(files=64)
    app.state.is_stopping = False
    async with Uploader(token, account_id=account, base_url=URL, limits=limits) as app.state.uploader:
        yield
        await stop()


async def stop() -> None:
    """Give running uploads their time, and stop the rest."""
    app.state.is_stopping = True
    await app.state.uploader.shutdown(GRACE)


app = FastAPI(lifespan=lifespan)


def row(upload: Upload) -> dict[str, Any]:
    """Return what a browser may know of an upload: no text of an error, but the status that fits it."""
    sent = {"sent": upload.progress.bytes_uploaded if upload.progress is not None else 0}
    if not upload.done:
        return {"state": "sending", **sent}
    try:
        return {"state": "done", "link": upload.result.view_url, **sent}
    except UploadCancelled:
        state, status = ("stopped", 503) if app.state.is_stopping else ("cancelled", 409)
    except UploadError as error:  # the other statuses are in docs/how-to/web-application.md
        state, status = "failed", 400 if isinstance(error, SourceError) else 502
    return {"state": state, "status": status, **sent}


@app.put("/uploads/{key}/{name}")
async def receive(key: UUID, name: str, request: Request) -> JSONResponse:
    """Forward the body, and answer when the upload has ended. A browser that leaves after the body stops nothing."""
    if "content-length" not in request.headers:
        raise HTTPException(411)
    if key in uploads:
        raise HTTPException(409)
    uploader: Uploader = app.state.uploader
    size = int(request.headers["content-length"])
    try:
        upload = uploader.upload(request.stream(), folder_id=os.environ["FRAMEIO_FOLDER"], name=name, size=size).start()
    except ValueError:  # a name that cannot be used
        raise HTTPException(400) from None
    uploads[key] = upload
    async for _ in upload:  # `await upload` would raise CancelledError where `shutdown()` has stopped it
        pass
    try:
        log.info("%s: %s", name, upload.result.view_url)
    except UploadError as error:
        log.error("%s: %s", name, error)  # nobody else does while the upload is kept
    asyncio.get_running_loop().call_later(KEPT, uploads.pop, key, None)
    shown = row(upload)
    return JSONResponse({"id": str(key), **shown}, shown.get("status", 201))


def found(key: UUID) -> Upload:
    """Return an upload, or answer 404: its end was heard, or another process has it."""
    if key not in uploads:
        raise HTTPException(404)
    return uploads[key]


@app.get("/uploads/{key}/events")
async def events(key: UUID) -> StreamingResponse:
    """Stream the state of an upload while it is sent, and how it ends; the page then closes its EventSource."""
    upload = found(key)

    async def lines() -> AsyncIterator[str]:
        async for event in upload:
            if isinstance(event, Progress):
                yield f"data: {json.dumps(row(upload))}\n\n"
                await asyncio.sleep(EVERY)  # Progress is not queued: the next one is the latest
        yield f"data: {json.dumps(row(upload))}\n\n"
        uploads.pop(key, None)

    # A proxy that collects an answer before it forwards it would hold back every event.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


@app.delete("/uploads/{key}")
async def cancel(key: UUID) -> dict[str, Any]:
    """Cancel an upload, and return how it has ended: it may have been complete."""
    upload = found(key)
    upload.cancel()
    async for _ in upload:
        pass
    return row(upload)


class Server(uvicorn.Server):
    """Stop the uploads first: uvicorn waits for streams of events, which end with their uploads."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await stop()
        await super().shutdown(sockets)


if __name__ == "__main__":
    Server(uvicorn.Config(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=5)).run()
