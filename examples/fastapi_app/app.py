"""Serve a page to drop files on: each is forwarded to Frame.io as it arrives, and the page shows its progress.

Into a fake Frame.io where FRAMEIO_TOKEN is not set.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import UUID

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from kept import HOPELESS, Dropped, Kept, left_behind, missing_of, take_end
from page import HEADERS, HOSTS, PAGE

from aioframeio_upload import (
    PartCompleted,
    SourceError,
    Upload,
    UploadCancelled,
    UploadCompleted,
    Uploader,
    UploadError,
    UploadFailed,
)
from aioframeio_upload.testing import FakeFrameio

GRACE = float(os.environ.get("GRACE", "20"))
"""Seconds for running uploads when the server is stopped; what is missing then is sent later."""

log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def settings() -> AsyncIterator[Mapping[str, str]]:
    """Yield the settings of the environment, or those of a fake Frame.io."""
    if os.environ.get("FRAMEIO_TOKEN"):
        yield os.environ
        return
    print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io.")
    with tempfile.TemporaryDirectory() as folder:
        async with FakeFrameio() as fake:
            account = {"FRAMEIO_TOKEN": fake.token, "FRAMEIO_ACCOUNT_ID": fake.account_id, "FRAMEIO_BASE_URL": fake.url}
            yield account | {"FRAMEIO_FOLDER": fake.folder_id, "STATE": folder}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one Uploader for the whole server: its limits hold for all requests together."""
    state = app.state
    async with settings() as found:
        token, account, url = found["FRAMEIO_TOKEN"], found["FRAMEIO_ACCOUNT_ID"], found.get("FRAMEIO_BASE_URL")
        state.folder_id, state.kept = found["FRAMEIO_FOLDER"], Path(found.get("STATE", "unfinished"))
        async with (
            Uploader(token, account_id=account, base_url=url or "https://api.frame.io") as state.uploader,
            asyncio.TaskGroup() as state.tasks,
        ):
            for old in await asyncio.to_thread(left_behind, state.kept):
                await forget(old)
            yield
            await state.uploader.shutdown(GRACE)


@dataclass
class Sending:
    """A running upload: its file, its upload as soon as it is planned, and whether the whole body was received."""

    file: Dropped
    upload: Upload | None = None
    is_taken: bool = False


app = FastAPI(lifespan=lifespan)
app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
uploads: dict[UUID, Sending] = {}
"""Running uploads, by the key that the page chose."""


@app.get("/")
async def page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE, headers=HEADERS)


@app.put("/uploads/{key}", status_code=202)
async def receive(key: UUID, file: Annotated[Dropped, Query()], request: Request) -> JSONResponse:
    """Forward the missing bytes, a part at a time; answer when all are received, before all are sent."""
    if (length := request.headers.get("content-length")) is None:
        raise HTTPException(411, "the body has no Content-Length")
    if key in uploads:
        raise HTTPException(409, "it is being sent")
    sending = uploads[key] = Sending(file)

    async def body() -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield piece
        sending.is_taken = True

    try:
        upload = await begin(key, sending, body(), length)
        planned = await upload.planned()
        async for _ in upload:
            if sending.is_taken:
                break
        if not sending.is_taken:
            _ = upload.result
    except UploadError as error:
        status = 503 if isinstance(error, UploadCancelled) else 400 if isinstance(error, SourceError) else 502
        return JSONResponse(error.to_dict(), status)
    finally:
        if sending.upload is None:
            del uploads[key]
    assert planned is not None  # it is None only for a skipped file
    return JSONResponse(planned.to_dict(), 202)


async def begin(key: UUID, sending: Sending, body: AsyncIterator[bytes], length: str) -> Upload:
    """Start the upload, with the stored plan or a new one."""
    uploader: Uploader = app.state.uploader
    path, file = app.state.kept / f"{key}.upload", sending.file
    kept = await asyncio.to_thread(Kept.find, path)
    if kept is not None and kept.file != file:
        await forget(kept)
        kept = None
    if length != str(sum(size for _, size in kept.missing) if kept else file.size):
        raise HTTPException(409, "these are not the bytes that are missing: ask again")
    if kept is None:
        try:
            plan = await uploader.plan(body, folder_id=app.state.folder_id, name=file.name, size=file.size)
        except ValueError as error:  # the name is invalid
            raise HTTPException(422, str(error)) from None
        kept = Kept(path, file, plan)
        try:
            await asyncio.to_thread(kept.begin)
        except OSError as error:
            await forget(kept)
            raise HTTPException(507, f"no record of it can be kept: {error.strerror}") from None
    try:
        upload = sending.upload = uploader.execute(kept.plan, body, receipts=kept.receipts).start()
    except RuntimeError:
        raise HTTPException(503, "the server is being stopped") from None
    app.state.tasks.create_task(follow(key, kept, sending, upload))
    return upload


async def follow(key: UUID, kept: Kept, sending: Sending, upload: Upload) -> None:
    """Store the receipt of each part, and the end; a failure only if the request has been answered already."""
    try:
        async with upload:
            async for event in upload:
                if isinstance(event, PartCompleted):
                    await asyncio.to_thread(kept.note, event)
        await asyncio.to_thread(kept.end, UploadCompleted(upload.result))
    except UploadError as error:
        log.warning("%s: %s", upload.name, error)
        if isinstance(error, HOPELESS):
            await forget(kept, is_useless=True)
        if sending.is_taken and not isinstance(error, UploadCancelled):
            await asyncio.to_thread(kept.end, UploadFailed(error))
    finally:
        del uploads[key]


async def forget(kept: Kept, *, is_useless: bool = False) -> None:
    """Forget an upload, and delete its file if it lacks a part or cannot be used."""
    await asyncio.to_thread(kept.forget)
    try:
        if is_useless or kept.missing:
            await app.state.uploader.delete(kept.plan.file_id)
    except UploadError as error:
        log.warning("%s is left behind: %s", kept.plan.view_url, error)


@app.get("/uploads/{key}/events")
async def events(key: UUID, file: Annotated[Dropped, Query()]) -> StreamingResponse:
    """Stream the events of an upload; a late or reconnected browser gets every event from the first."""
    return StreamingResponse(stream(key, file), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def stream(key: UUID, file: Dropped) -> AsyncIterator[str]:
    """Yield an upload's events as server-sent events; if it does not run, how it ended or what is missing."""
    # The browser reconnects this many milliseconds after the stream has ended.
    yield "retry: 500\n\n"
    path: Path = app.state.kept / f"{key}.upload"
    if (sending := uploads.get(key)) is not None:
        # Nothing is reported of another file under this key: the page retries until that upload has ended.
        if sending.upload is not None and sending.file == file:
            async for event in sending.upload:
                if not isinstance(event, UploadFailed):  # reported once: by the answer, or as the stored end
                    yield f"data: {json.dumps(event.to_dict())}\n\n"
    elif (end := await asyncio.to_thread(take_end, path, file)) is not None:
        yield f"data: {end}\n\n"
    else:
        missing = await asyncio.to_thread(missing_of, path, file)
        yield f"event: missing\ndata: {json.dumps(missing)}\n\n"


class Server(uvicorn.Server):
    """Stop running uploads before waiting for the requests that send them."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await app.state.uploader.shutdown(GRACE)
        await super().shutdown(sockets)


if __name__ == "__main__":
    Server(uvicorn.Config(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=5)).run()
