"""Starlette: forward the body of a PUT to Frame.io as it arrives. `uvicorn starlette_put:app`."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aioframeio_upload import SourceError, Uploader, UploadError

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, Uploader], None]:
    """Open one Uploader for the whole server; at the end, give running uploads 20 seconds."""
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    async with Uploader(token, account_id=account, base_url=URL) as uploader:
        yield {"uploader": uploader}
        await uploader.shutdown(grace=20)


async def receive(request: Request) -> JSONResponse:
    """Send the body; nothing of it is kept but the parts in flight."""
    if "content-length" not in request.headers:
        raise HTTPException(411)
    uploader: Uploader = request.state.uploader
    size, name = int(request.headers["content-length"]), request.path_params["name"]
    try:
        file = await uploader.upload(request.stream(), folder_id=os.environ["FRAMEIO_FOLDER"], name=name, size=size)
    except (UploadError, ValueError) as error:
        log.error("%s: %s", name, error)  # its text is not for the browser
        # 400: another length than announced, or a name that cannot be used.
        raise HTTPException(400 if isinstance(error, SourceError | ValueError) else 502) from None
    return JSONResponse({"name": file.name, "size": file.size, "link": file.view_url}, 201)


app = Starlette(routes=[Route("/takes/{name}", receive, methods=["PUT"])], lifespan=lifespan)
