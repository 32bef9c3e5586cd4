"""A fake of Adobe's login service for programs (IMS), which issues tokens."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from aioframeio_upload.testing import FakeFrameio

SECRET = "s3cret"


class Ims:
    """A login service that issues a new token for each request, which the fake then accepts."""

    def __init__(self, fake: FakeFrameio, lifetime: int) -> None:
        self.url = ""
        self.asked: list[dict[str, str]] = []
        """The forms that were posted."""
        self._fake = fake
        self._lifetime = lifetime
        self._numbers = itertools.count(1)

    async def answer(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(form)
        if form["client_secret"] != SECRET:
            return web.json_response({"error": "invalid_client", "error_description": "unknown"}, status=401)
        token = f"of-ims-{next(self._numbers)}"
        self._fake.tokens.add(token)
        return web.json_response({"access_token": token, "token_type": "bearer", "expires_in": self._lifetime})


@asynccontextmanager
async def serving(fake: FakeFrameio, lifetime: int = 86399) -> AsyncIterator[Ims]:
    """Serve on loopback; the tokens are valid for this many seconds."""
    ims = Ims(fake, lifetime)
    app = web.Application()
    app.router.add_post("/ims/token/v3", ims.answer)
    async with TestServer(app) as server:
        ims.url = str(server.make_url("")).rstrip("/")
        yield ims
