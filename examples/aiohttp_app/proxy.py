"""Forward the body of a PUT to Frame.io; to a fake one if FRAMEIO_TOKEN is not set."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from aiohttp import web

from aioframeio_upload import SourceError, Uploader, UploadError
from aioframeio_upload.testing import FakeFrameio

UPLOADER = web.AppKey("uploader", Uploader)
FOLDER = web.AppKey("folder", str)


async def frameio(app: web.Application) -> AsyncIterator[None]:
    """Open one Uploader for the whole server: its limits hold for all requests together."""
    if token := os.environ.get("FRAMEIO_TOKEN"):
        base_url = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
        async with Uploader(token, account_id=os.environ["FRAMEIO_ACCOUNT_ID"], base_url=base_url) as uploader:
            app[UPLOADER], app[FOLDER] = uploader, os.environ["FRAMEIO_FOLDER"]
            yield
            await uploader.shutdown(grace=20)
        return
    print("FRAMEIO_TOKEN is not set: this goes into a fake Frame.io.")
    async with (
        FakeFrameio() as fake,
        Uploader(fake.token, account_id=fake.account_id, base_url=fake.url) as uploader,
    ):
        app[UPLOADER], app[FOLDER] = uploader, fake.folder_id
        yield


async def put(request: web.Request) -> web.Response:
    """Answer when the file is complete at Frame.io.

    If the client disconnects in the middle of the body, its file is deleted; after the body, the upload goes on.
    """
    if request.content_length is None:
        raise web.HTTPLengthRequired
    try:
        file = await request.app[UPLOADER].upload(
            request.content,
            size=request.content_length,
            name=request.match_info["name"],
            folder_id=request.app[FOLDER],
        )
    except SourceError as error:
        return web.json_response(error.to_dict(), status=400)
    except ValueError as error:  # the name cannot be used
        return web.json_response({"type": "ValueError", "message": str(error)}, status=400)
    except UploadError as error:
        return web.json_response(error.to_dict(), status=502)
    return web.json_response({"id": file.id, "size": file.size, "view_url": file.view_url}, status=201)


app = web.Application()
app.cleanup_ctx.append(frameio)
app.router.add_put("/takes/{name}", put)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
