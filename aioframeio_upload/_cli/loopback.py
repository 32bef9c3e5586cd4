"""Listen on this machine for the browser that comes back from the login."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from .login_store import LoginError
from .oauth import Loopback

ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EINVAL}
"""Errors of `bind` on a machine without IPv6, or without IPv4."""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>aioframeio-upload</title>
<meta name="viewport" content="width=device-width"><style>body{{font:1.1rem system-ui;margin:4rem auto;max-width:32rem;
padding:0 1rem;color-scheme:light dark}}</style><h1>{title}</h1><p>{text}</p></html>"""

DONE = "Back to the terminal", "It says whether the login succeeded. This page can be closed."
FOREIGN = "Not this login", "This answer does not belong to the login that is waiting in the terminal, and was ignored."

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the page's own address contains the code
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@asynccontextmanager
async def listening(where: Loopback, take: Callable[[str], bool]) -> AsyncIterator[None]:
    """Serve the redirect's address inside the block.

    Args:
        where: Where to listen.
        take: Called with the path and query of each request for the redirect; returns whether it is this login's.

    Raises:
        LoginError: The port is in use, or cannot be listened on.
    """

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.method != "GET":
            return _page(405, FOREIGN)
        # Not `request.path`, which is decoded: the answer is parsed once, by `read_answer`.
        if request.raw_path.partition("?")[0] != where.path or not _is_local(request.host):
            return _page(404, FOREIGN)
        return _page(200, DONE) if take(request.raw_path) else _page(400, FOREIGN)

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=2.0)
    await runner.setup()
    try:
        found = 0
        for host in where.hosts:
            found += await _listen(runner, host, where.port)
        if not found:
            raise LoginError(f"no address of localhost can be listened on for {where.path}")
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.ServerRunner, host: str, port: int) -> bool:
    """Listen on one address; return False if this machine does not have it."""
    trouble = ""
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        if error.errno in ABSENT:
            return False
        # Listening on the other address of localhost only would let the other program read the answer.
        in_use = error.errno == errno.EADDRINUSE or getattr(error, "winerror", None) == 10048
        trouble = "is in use by another program" if in_use else f"cannot be listened on ({error.strerror})"
    if trouble:
        raise LoginError(f"port {port} {trouble}: end that, or give another --redirect-uri that Adobe knows")
    return True


def _is_local(host: str) -> bool:
    """Return whether a `Host` header names this machine, and not a name that was made to point here (DNS rebinding)."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return name.lower() in ("localhost", "127.0.0.1", "[::1]")


def _page(status: int, words: tuple[str, str]) -> web.Response:
    title, text = words
    return web.Response(
        status=status, text=PAGE.format(title=title, text=text), content_type="text/html", headers=HEADERS
    )
