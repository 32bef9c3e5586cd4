"""A page where one drops files: each goes through this server into Frame.io as it comes, and the page shows how far.

Into a fake Frame.io where FRAMEIO_TOKEN is not set.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from aioframeio_upload import SourceError, Upload, Uploader, UploadError, UploadPlanned
from aioframeio_upload.testing import FakeFrameio

PAGE = Path(__file__).with_name("page.html")
GRACE = 20
"""Seconds that what is under way gets when the server is stopped."""
KEPT = 1000
"""Uploads that can still be listened to."""


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Uploader, str]]:
    """Give an Uploader and a folder: those of the environment, or of a fake Frame.io."""
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


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one Uploader for the whole server: its limits are those of all requests together."""
    async with connected() as (app.state.uploader, app.state.folder_id):
        yield
        await app.state.uploader.shutdown(GRACE)


app = FastAPI(lifespan=lifespan)
uploads: dict[str, Upload] = {}
"""By the key that the page chose, so that it can listen before the first answer."""


@app.get("/")
async def page() -> FileResponse:
    """Give the page."""
    return FileResponse(PAGE)


@app.put("/uploads/{key}", status_code=202)
async def receive(key: str, name: str, request: Request) -> JSONResponse:
    """Pass the body on, a part at a time; answer when it has all been taken in, while its last parts still go."""
    if key in uploads:
        raise HTTPException(409, "this key is in use")
    if "content-length" not in request.headers:
        raise HTTPException(411, "Frame.io needs to know the size before the first byte")
    body = Body(request.stream())
    size = int(request.headers["content-length"])
    upload = app.state.uploader.upload(body, folder_id=app.state.folder_id, name=name, size=size)
    remember(key, upload)
    planned: UploadPlanned | None = None
    async for event in upload:
        if isinstance(event, UploadPlanned):
            planned = event
        if planned is not None and body.is_taken:
            return JSONResponse(planned.to_dict(), 202)
    try:
        _ = upload.result
    except UploadError as error:
        return JSONResponse(error.to_dict(), 400 if isinstance(error, SourceError) else 502)
    raise AssertionError("an upload does not end well with its body left")


class Body(AsyncIterator[bytes]):
    """A request's body, which knows whether all of it was read."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self.is_taken = False
        self._stream = stream

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            self.is_taken = True
            raise


def remember(key: str, upload: Upload) -> None:
    """Keep an upload for those who listen, and forget the oldest that has ended."""
    uploads[key] = upload
    if len(uploads) > KEPT:
        oldest = next((old for old, one in uploads.items() if one.done), key)
        del uploads[oldest]


@app.get("/uploads/{key}/events")
async def events(key: str) -> StreamingResponse:
    """Tell what happens to an upload; who comes late, or again, is told every fact from the first."""
    return StreamingResponse(told(key), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def told(key: str) -> AsyncIterator[str]:
    """Give an upload's events as server-sent ones."""
    # A browser whose upload has not begun comes back after so many milliseconds.
    yield "retry: 500\n\n"
    if key in uploads:
        async for event in uploads[key]:
            yield f"data: {json.dumps(event.to_dict())}\n\n"


def settings() -> dict[str, Any]:
    """Where to listen, and how long to wait for requests when the server is stopped."""
    port = int(os.environ.get("PORT", "8000"))
    return {"host": "127.0.0.1", "port": port, "timeout_graceful_shutdown": GRACE}


if __name__ == "__main__":
    uvicorn.run(app, **settings())
