"""A page where one drops files: each goes through this server into Frame.io as it comes, and the page shows how far.

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
from pathlib import Path
from typing import Annotated
from uuid import UUID

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from kept import Dropped, Kept, left_behind
from starlette.requests import ClientDisconnect

from aioframeio_upload import (
    ApiError,
    IntegrityError,
    LinksExpired,
    PartCompleted,
    PartRejected,
    SourceError,
    Upload,
    UploadCancelled,
    UploadCompleted,
    Uploader,
    UploadError,
    UploadFailed,
)
from aioframeio_upload.testing import FakeFrameio

PAGE = Path(__file__).with_name("page.html")
GRACE = float(os.environ.get("GRACE", "20"))
"""Seconds that what is under way gets when the server is stopped; what is not there then is gone on with later."""

log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def settings() -> AsyncIterator[Mapping[str, str]]:
    """Give the environment, or what it would say of a fake Frame.io."""
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
    """Hold one Uploader for the whole server: its limits are those of all requests together."""
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


app = FastAPI(lifespan=lifespan)
uploads: dict[UUID, Upload | None] = {}
"""What is under way, by the key that the page chose; None until it is planned."""


@app.get("/")
async def page() -> FileResponse:
    """Give the page."""
    return FileResponse(PAGE)


@app.put("/uploads/{key}", status_code=202)
async def receive(key: UUID, file: Annotated[Dropped, Query()], request: Request) -> JSONResponse:
    """Pass the missing bytes on, a part at a time; answer when all are taken in, while the last parts still go."""
    if key in uploads:
        raise HTTPException(409, "it is being sent")
    uploads[key] = None
    is_taken = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield piece
        is_taken.set()

    try:
        upload = await begin(key, file, body(), request.headers.get("content-length"))
        planned = await upload.planned()
        async for _ in upload:
            if is_taken.is_set():
                break
        else:
            _ = upload.result
    except UploadError as error:
        status = 503 if is_interrupted(error) else 400 if isinstance(error, SourceError) else 502
        return JSONResponse(error.to_dict(), status)
    finally:
        if key in uploads and uploads[key] is None:
            del uploads[key]
    assert planned is not None  # as it is of a file that is skipped
    return JSONResponse(planned.to_dict(), 202)


async def begin(key: UUID, file: Dropped, body: AsyncIterator[bytes], length: str | None) -> Upload:
    """Start the upload: by what is kept of it, or by a new plan."""
    uploader: Uploader = app.state.uploader
    path = app.state.kept / f"{key}.upload"
    kept = await asyncio.to_thread(Kept.find, path)
    if kept is not None and kept.file != file:
        await forget(kept)
        kept = None
    if length != str(sum(size for _, size in kept.missing) if kept else file.size):
        raise HTTPException(409, "these are not the bytes that are missing")
    if kept is None:
        plan = await uploader.plan(body, folder_id=app.state.folder_id, name=file.name, size=file.size)
        kept = Kept(path, file, plan)
        await asyncio.to_thread(kept.begin)
    try:
        uploads[key] = upload = uploader.execute(kept.plan, body, receipts=kept.receipts).start()
    except RuntimeError:
        raise HTTPException(503, "the server is being stopped") from None
    app.state.tasks.create_task(follow(key, kept, upload))
    return upload


async def follow(key: UUID, kept: Kept, upload: Upload) -> None:
    """Keep the receipt of each part that arrives, and the end."""
    try:
        async with upload:
            async for event in upload:
                if isinstance(event, PartCompleted):
                    await asyncio.to_thread(kept.note, event)
        await asyncio.to_thread(kept.finish, UploadCompleted(upload.result))
    except (LinksExpired, PartRejected, IntegrityError) as error:
        log.warning("%s: %s", upload.name, error)
        await forget(kept)
    except (UploadError, OSError) as error:
        log.warning("%s can be gone on with: %s", upload.name, error)
    finally:
        del uploads[key]


async def forget(kept: Kept) -> None:
    """Forget an upload that nobody can go on with, and delete its unfinished file."""
    kept.path.unlink(missing_ok=True)
    try:
        if kept.missing:
            await app.state.uploader.delete(kept.plan.file_id)
    except ApiError as error:
        log.warning("%s stays without its bytes: %s", kept.plan.view_url, error)


def is_interrupted(error: UploadError) -> bool:
    """Say whether the server was stopped or the browser has gone, so that nothing is wrong with the upload."""
    return isinstance(error, UploadCancelled) or isinstance(error.__cause__, ClientDisconnect)


@app.get("/uploads/{key}/events")
async def events(key: UUID, file: Annotated[Dropped, Query()]) -> StreamingResponse:
    """Tell what happens to an upload; who comes late, or again, is told every fact from the first."""
    return StreamingResponse(told(key, file), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def told(key: UUID, file: Dropped) -> AsyncIterator[str]:
    """Give an upload's events as server-sent ones; where nobody sends it, what of it is missing."""
    # The browser comes back so many milliseconds after these have ended.
    yield "retry: 500\n\n"
    path: Path = app.state.kept / f"{key}.upload"
    if (upload := uploads.get(key)) is not None:
        async for event in upload:
            if not (isinstance(event, UploadFailed) and is_interrupted(event.error)):
                yield f"data: {json.dumps(event.to_dict())}\n\n"
    elif (end := path.with_suffix(".uploaded")).exists():
        yield f"data: {end.read_text(encoding='utf-8')}\n\n"
    else:
        kept = await asyncio.to_thread(Kept.find, path)
        missing = kept.missing if kept is not None and kept.file == file else [(0, file.size)]
        yield f"event: missing\ndata: {json.dumps(missing)}\n\n"


class Server(uvicorn.Server):
    """Ends what is under way before it waits for the requests that bring it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await app.state.uploader.shutdown(GRACE)
        await super().shutdown(sockets)


if __name__ == "__main__":
    Server(uvicorn.Config(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=5)).run()
