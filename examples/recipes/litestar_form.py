"""Litestar: send the file of a form to Frame.io. `litestar --app litestar_form:app run`."""

# No `from __future__ import annotations`: Litestar reads the annotations when the program runs.
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from litestar import Litestar, Response, post
from litestar.datastructures import State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body

from aioframeio_upload import SourceError, Uploader, UploadError

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
    """Open one Uploader for the whole server; at the end, give running uploads 20 seconds."""
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    async with Uploader(token, account_id=account, base_url=URL) as uploader:
        app.state.uploader = uploader
        yield
        await uploader.shutdown(grace=20)


@post("/takes")
async def receive(
    data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)], state: State
) -> Response[dict[str, Any]]:
    """Send the file, which Litestar has spooled."""
    uploader: Uploader = state.uploader
    try:
        file = await uploader.upload(data.file, folder_id=os.environ["FRAMEIO_FOLDER"], name=data.filename)
    except (UploadError, ValueError) as error:  # ValueError: its name cannot be used
        log.error("%s: %s", data.filename, error)  # its text is not for the browser
        status = 400 if isinstance(error, SourceError | ValueError) else 502
        return Response({"name": data.filename}, status_code=status)
    return Response({"name": file.name, "size": file.size, "link": file.view_url}, status_code=201)


app = Litestar(route_handlers=[receive], lifespan=[lifespan])
