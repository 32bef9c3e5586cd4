"""aiohttp: send the files of a form to Frame.io while they arrive. `python -m aiohttp.web aiohttp_form:make_app`.

The form has a field `sizes` before the files, a JSON list: Frame.io needs a file's size before its first byte.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import BodyPartReader, web

from aioframeio_upload import SourceError, Uploader, UploadError

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
log = logging.getLogger("aiohttp.server")
UPLOADER = web.AppKey("uploader", Uploader)


async def frameio(app: web.Application) -> AsyncIterator[None]:
    """Open one Uploader for the whole server; at the end, give running uploads 20 seconds."""
    token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
    async with Uploader(token, account_id=account, base_url=URL) as uploader:
        app[UPLOADER] = uploader
        yield
        await uploader.shutdown(grace=20)


async def receive(request: web.Request) -> web.Response:
    """Send one file after the other, as they come over one connection."""
    results: list[dict[str, Any]] = []
    sizes: list[int] = []
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue  # a form within the form
        if part.name == "sizes":
            sizes = json.loads(await part.text())
        elif part.name == "takes":
            if not sizes:
                raise web.HTTPBadRequest(text="the sizes are missing, or come after the files")
            try:
                uploader = request.app[UPLOADER]
                file = await uploader.upload(part, folder_id=os.environ["FRAMEIO_FOLDER"], size=sizes.pop(0))
            except (UploadError, ValueError) as error:
                log.error("%s: %s", part.filename, error)  # its text is not for the browser
                if isinstance(error, SourceError | ValueError):  # empty, of another size, or without a usable name
                    raise web.HTTPBadRequest from None
                raise web.HTTPBadGateway from None
            results.append({"name": file.name, "size": file.size, "link": file.view_url})
    return web.json_response(results, status=201)


def make_app(argv: list[str] | None = None) -> web.Application:
    """Return the application."""
    app = web.Application()
    app.cleanup_ctx.append(frameio)
    app.router.add_post("/takes", receive)
    return app
