"""Serve a page to drop files and folders on: they are forwarded to Frame.io as they arrive, and the page shows how.

Into a fake Frame.io where FRAMEIO_TOKEN is not set.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import uvicorn
from board import Board
from delivery import STOPPING, WHY, Busy, Delivery, Service
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from folders import Folders
from frameio import AsyncFrameio
from guard import HOSTS, Guard
from kept import Dropped

from aioframeio_upload import SourceError, Uploader
from aioframeio_upload.opentelemetry import Telemetry
from aioframeio_upload.testing import FakeFrameio

GRACE = float(os.environ.get("GRACE", "20"))
"""Seconds for running uploads when the server is stopped; what is missing then is sent later."""

STATIC = Path(__file__).with_name("static")

HOUR = 3600.0
DAY = 24 * HOUR
"""Seconds. Part links expire after a day, so an upload that nobody has continued for so long is useless."""


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
    async with settings() as found:
        token, account, url = found["FRAMEIO_TOKEN"], found["FRAMEIO_ACCOUNT_ID"], found.get("FRAMEIO_BASE_URL")
        url = url or "https://api.frame.io"
        folders = Folders(AsyncFrameio(token=token, base_url=url), account, found["FRAMEIO_FOLDER"])
        async with (
            # With an SDK of OpenTelemetry's, the span of a request is the parent of its upload's; else nothing happens.
            Uploader(token, account_id=account, base_url=url, telemetry=Telemetry()) as uploader,
            asyncio.TaskGroup() as tasks,
        ):
            board = app.state.board = Board(Path(found.get("STATE", "unfinished")), Service(uploader, folders, tasks))
            await board.open()
            sweeping = tasks.create_task(sweep(board))
            yield
            sweeping.cancel()
            await stop()


async def sweep(board: Board) -> None:
    """Forget, every hour, what nobody has continued for a day."""
    while True:
        await board.sweep(time.time() - DAY)
        await asyncio.sleep(HOUR)


async def stop() -> None:
    """Let running uploads continue for `GRACE` seconds; what is missing then is sent after the next start."""
    board: Board = app.state.board
    board.service.stopping.set()
    board.close()
    await board.service.uploader.shutdown(GRACE)


app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
app.add_middleware(Guard)
app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
app.mount("/static", StaticFiles(directory=STATIC))


@app.get("/")
async def page() -> FileResponse:
    """Return the page."""
    return FileResponse(STATIC / "page.html")


@app.put("/lists/{name}")
async def accept(name: UUID, files: Annotated[list[Dropped], Body(max_length=1000)]) -> list[UUID]:
    """Record dropped files before their bytes come, and return the key of each."""
    board: Board = app.state.board
    try:
        return await board.accept(name, files)
    except OSError as error:
        raise HTTPException(507, f"the server cannot record them: {error.strerror}") from None


@app.get("/lists/{name}/events")
async def events(name: UUID) -> StreamingResponse:
    """Stream the rows of a list, now and whenever they change."""
    board: Board = app.state.board
    # A proxy that collects an answer before it forwards it would hold back every event.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(board.watch(name), media_type="text/event-stream", headers=headers)


def found(name: UUID, key: UUID) -> Delivery:
    """Return an upload, or answer 404."""
    board: Board = app.state.board
    delivery = board.find(name, key)
    if delivery is None:
        raise HTTPException(404, "there is no such upload")
    return delivery


@app.put("/lists/{name}/{key}")
async def receive(name: UUID, key: UUID, request: Request) -> JSONResponse:
    """Forward the missing bytes, a part at a time; answer when all are received, before all are sent."""
    delivery = found(name, key)
    length = request.headers.get("content-length")
    if length is None:
        raise HTTPException(411, "the body has no Content-Length")
    try:
        delivery.begin(request.stream(), int(length))
    except Busy as busy:
        return JSONResponse({**delivery.row(), "reason": str(busy)}, 503 if delivery.is_stopping else 409)
    await delivery.settled()
    if app.state.board.find(name, key) is not delivery:
        raise HTTPException(410, "it was removed")
    status, reason = outcome_of(delivery)
    return JSONResponse({**delivery.row(), "reason": reason}, status)


def outcome_of(delivery: Delivery) -> tuple[int, str]:
    """Return the status that fits the end of an attempt, and the reason for it."""
    state, error = delivery.state, delivery.error
    if state in ("paused", "cancelled"):
        return 409, WHY[state]
    if error is not None:
        return 400 if isinstance(error, SourceError) else 507 if isinstance(error, OSError) else 502, WHY["failed"]
    if state in ("sending", "done"):
        return 202, WHY[state]
    return 503, STOPPING if delivery.is_stopping else WHY[state]


@app.patch("/lists/{name}/{key}")
async def change(
    name: UUID, key: UUID, state: Annotated[Literal["waiting", "paused", "cancelled"], Body(embed=True)]
) -> dict[str, Any]:
    """Pause an upload, cancel it, or let it go on."""
    delivery = found(name, key)
    await delivery.wish(state)
    return delivery.row()


@app.delete("/lists/{name}/{key}", status_code=204)
async def remove(name: UUID, key: UUID) -> None:
    """Remove an upload from its list; cancel it if it is not complete."""
    board: Board = app.state.board
    await board.remove(name, key)


class Server(uvicorn.Server):
    """Stop running uploads before waiting for the requests that send them."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await stop()
        await super().shutdown(sockets)


if __name__ == "__main__":
    host, port = os.environ.get("LISTEN", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    Server(uvicorn.Config(app, host=host, port=port, timeout_graceful_shutdown=5)).run()
