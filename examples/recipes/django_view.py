"""Django: send the files of a form to Frame.io from an async view. `uvicorn django_view:app`.

Django has no hook for the start of a server, so a few lines around its ASGI application open the Uploader.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from aioframeio_upload import SourceError, Uploader, UploadError

URL = os.environ.get("FRAMEIO_BASE_URL", "https://api.frame.io")
log = logging.getLogger("uvicorn.error")

if not settings.configured:  # a project has its own settings module
    settings.configure(ROOT_URLCONF=__name__, SECRET_KEY=os.urandom(16).hex(), ALLOWED_HOSTS=["*"])
    django.setup()


class Server:
    """The ASGI application: Django's, and an Uploader from the start of the server to its end."""

    def __init__(self) -> None:
        self.django = get_asgi_application()
        self.uploader: Uploader | None = None

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer a request, or the server's lifespan."""
        if scope["type"] != "lifespan":
            await self.django(scope, receive, send)
            return
        await receive()  # lifespan.startup
        token, account = os.environ["FRAMEIO_TOKEN"], os.environ["FRAMEIO_ACCOUNT_ID"]
        async with Uploader(token, account_id=account, base_url=URL) as self.uploader:
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            await self.uploader.shutdown(grace=20)
        await send({"type": "lifespan.shutdown.complete"})


@csrf_exempt  # for the recipe; a page of yours has the token in its form
async def takes(request: HttpRequest) -> JsonResponse:
    """Send all files of the form at once; Django has spooled them."""
    uploader = app.uploader
    assert uploader is not None

    async def deliver(take: UploadedFile[bytes]) -> dict[str, Any]:
        assert take.file is not None
        try:
            file = await uploader.upload(take.file, folder_id=os.environ["FRAMEIO_FOLDER"], name=take.name)
        except (UploadError, ValueError) as error:  # ValueError: its name cannot be used
            log.error("%s: %s", take.name, error)  # its text is not for the browser
            return {"name": take.name, "status": 400 if isinstance(error, SourceError | ValueError) else 502}
        return {"name": file.name, "size": file.size, "link": file.view_url, "status": 201}

    # Reading the form parses it, which blocks.
    files = await asyncio.to_thread(lambda: request.FILES.getlist("takes"))
    results = await asyncio.gather(*map(deliver, files))
    return JsonResponse(results, safe=False, status=max((one["status"] for one in results), default=400))


urlpatterns = [path("takes", takes)]
app = Server()
