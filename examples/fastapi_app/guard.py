"""Refuse requests that a page of another site sends, and tell the browser what this page may do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = os.environ.get("HOSTS", "127.0.0.1,localhost").split(",")
"""The host names of this server. It refuses others: a foreign page can point its own name at this machine (DNS
rebinding), and would then have the same origin."""

HEADERS = {
    "Cache-Control": "no-cache",
    # Whatever a file name or an answer of Frame.io contains, no other script runs, no text becomes markup, no other
    # server is contacted, and no other site shows this page in a frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def is_foreign(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a page of another site has sent a request, by the rules of Go's `http.CrossOriginProtection`.

    A program that is no browser sends neither header, and cannot be made to act for somebody else.
    """
    site, mode, origin = (headers.get(name) for name in ("sec-fetch-site", "sec-fetch-mode", "origin"))
    if site is not None:  # by every browser since 2023, to https and to this machine
        is_link = method == "GET" and mode == "navigate"
        return site not in ("same-origin", "none") and not is_link
    # The scheme is not compared: a proxy in front may receive https and forward http.
    return origin is not None and method not in ("GET", "HEAD") and urlsplit(origin).netloc != headers.get("host")


class Guard:
    """Answer 403 to requests from other sites; add the security headers to all answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                for name, value in HEADERS.items():
                    MutableHeaders(scope=message).setdefault(name, value)
            await send(message)

        refusal = PlainTextResponse("requests from other sites are refused", 403)
        app = refusal if is_foreign(scope["method"], Headers(scope=scope)) else self.app
        await app(scope, receive, send_with_headers)
