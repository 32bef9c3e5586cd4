"""FastAPI: send each file of a form to Frame.io. `uvicorn fastapi_form:app`."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, UploadFile
from fastapi.responses import JSONResponse

from aioframeio_upload import SourceError, Uploader, UploadError

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """Open one Uploader for the whole server; at the end, give running uploads 20 seconds."""
    async with Uploader(
        os.environ["FRAMEIO_TOKEN"], account_id=os.environ["FRAMEIO_ACCOUNT_ID"], base_url=URL
    ) as app.state.uploader:
        yield
        await app.state.uploader.shutdown(grace=20)


app = FastAPI(lifespan=lifespan)


@app.post("/takes")
async def receive(takes: list[UploadFile], request: Request) -> JSONResponse:
    """Send all files of the form at once; a file that fails does not stop the others."""
    uploader: Uploader = request.app.state.uploader

    async def send(take: UploadFile) -> dict[str, Any]:
        try:
            file = await uploader.upload(take, folder_id=os.environ["FRAMEIO_FOLDER"])
        except (UploadError, ValueError) as error:  # ValueError: it has no name
            log.error("%s: %s", take.filename, error)  # its text is not for the browser
            return {"name": take.filename, "status": 400 if isinstance(error, SourceError | ValueError) else 502}
        return {"name": file.name, "size": file.size, "link": file.view_url, "status": 201}

    results = await asyncio.gather(*map(send, takes))
    return JSONResponse(results, max(one["status"] for one in results))
