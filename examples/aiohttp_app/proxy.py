"""Forward the body of a PUT to Frame.io; to a fake one if FRAMEIO_TOKEN is not set."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web

from aioframeio_upload import RateLimited, SourceError, UploadCancelled, Uploader, UploadError
from aioframeio_upload.testing import FakeFrameio

log = logging.getLogger("aiohttp.server")
GRACE = 20.0
"""Seconds for running uploads when the server is stopped."""
UPLOADER = web.AppKey("uploader", Uploader)
FOLDER = web.AppKey("folder", str)


async def frameio(app: web.Application) -> AsyncIterator[None]:
    """Open one Uploader for the whole server: its limits hold for all requests together."""
    if token := os.environ.get("FRAMEIO_TOKEN"):
        base_url = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
        async with Uploader(token, account_id=os.environ["FRAMEIO_ACCOUNT_ID"], base_url=base_url) as uploader:
            app[UPLOADER], app[FOLDER] = uploader, os.environ["FRAMEIO_FOLDER"]
            yield
        return
    print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io.")
    async with (
        FakeFrameio() as fake,
        Uploader(fake.token, account_id=fake.account_id, base_url=fake.url) as uploader,
    ):
        app[UPLOADER], app[FOLDER] = uploader, fake.folder_id
        yield


async def stop(app: web.Application) -> None:
    """Give running uploads their time, and end the rest: aiohttp reads no more of their bodies."""
    await app[UPLOADER].shutdown(GRACE)


async def put(request: web.Request) -> web.Response:
    """Answer when the file is complete at Frame.io.

    If the client disconnects in the middle of the body, its file is deleted; after the body, the upload goes on.
    """
    size, name = request.content_length, request.match_info["name"]
    if size is None:
        raise web.HTTPLengthRequired
    try:
        upload = request.app[UPLOADER].upload(request.content, size=size, name=name, folder_id=request.app[FOLDER])
        async for _ in upload:  # `await upload` would raise CancelledError where `stop` has ended it
            pass
        file = upload.result
    except (UploadError, ValueError) as error:
        log.error("%s: %s", name, error)  # its text is not for whoever sends the file
        status = status_of(error)
        return web.json_response({"message": status.phrase}, status=status)
    return web.json_response({"id": file.id, "size": file.size, "view_url": file.view_url}, status=201)


def status_of(error: UploadError | ValueError) -> HTTPStatus:
    """Return what to answer; docs/how-to/web-application.md has more of them."""
    if isinstance(error, UploadCancelled | RateLimited) or (isinstance(error, SourceError) and error.is_away):
        return HTTPStatus.SERVICE_UNAVAILABLE  # this server is being stopped, or Frame.io is busy
    return HTTPStatus.BAD_REQUEST if isinstance(error, SourceError | ValueError) else HTTPStatus.BAD_GATEWAY


app = web.Application()
app.cleanup_ctx.append(frameio)
app.on_shutdown.append(stop)  # while handlers still run, so that they can answer
app.router.add_put("/takes/{name}", put)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
