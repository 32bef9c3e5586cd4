"""Choose the proxy of each request: a fixed one, or the one that the caller's function returns."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from yarl import URL

from .._core.hosts import is_host
from .._core.redact import Secret
from .http_errors import Misrouted

Proxy: TypeAlias = str | Callable[[str], str | None] | None
"""A proxy's URL; or a callable that gets `scheme://host[:port]` of each request and returns a URL, or None for a direct
connection. API and S3 are different hosts, and `NO_PROXY` may name only one of them. It runs on the event loop.
"""


class Proxies:
    """The proxy setting of an Uploader. It holds credentials, and its `repr` shows none.

    Raises:
        ValueError: The URL is not that of an HTTP proxy; the message does not quote it.
    """

    def __init__(self, given: Secret[Any]) -> None:
        self._given = given
        if not callable(given.reveal()) and (reason := _refusal(given)) is not None:
            raise ValueError(f"proxy {reason}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @property
    def given(self) -> Secret[Any]:
        """The setting itself: a URL, a callable or None."""
        return self._given

    def route_to(self, url: URL, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the keyword arguments for aiohttp that route a request with these headers.

        Raises:
            Misrouted: The callable failed, or returned something that is not the URL of an HTTP proxy.
        """
        chosen = self._given
        if callable(choose := chosen.reveal()):
            failure: str | None = None
            try:
                chosen = Secret(choose(str(url.origin())))
            except Exception as error:  # noqa: BLE001  # the caller's code; its message may contain a password
                failure = type(error).__name__
            if failure is not None:
                raise Misrouted(f"the proxy callable raised {failure} for {url.host}")
            if (reason := _refusal(chosen)) is not None:
                raise Misrouted(f"the proxy for {url.host} {reason}")
        if chosen.reveal() is None:
            return {"proxy": None, "headers": headers}
        proxy = URL(str(chosen.reveal()))
        if proxy.raw_user is None:
            return {"proxy": proxy, "headers": headers}
        # Encoded here from the percent-decoded bytes (usually UTF-8): aiohttp encodes logins as Latin-1, which cannot
        # represent most letters, such as "Ę".
        login = (unquote_to_bytes(text or "") for text in (proxy.raw_user, proxy.raw_password))
        authorization = {"Proxy-Authorization": "Basic " + b64encode(b":".join(login)).decode()}
        route = {"proxy": proxy.with_user(None)}
        # For https it is sent with CONNECT only: within the tunnel, the server would receive it.
        if url.scheme == "https":
            return {**route, "proxy_headers": authorization, "headers": headers}
        return {**route, "headers": {**headers, **authorization}}


def _refusal(given: Secret[Any]) -> str | None:
    """Return why a value is not the URL of an HTTP proxy, without quoting it; None if it is one, or None itself."""
    if given.reveal() is None:
        return None
    expected = "must be a URL such as http://proxy.example:3128"
    if not isinstance(given.reveal(), str | URL):
        return f"{expected}, not {type(given.reveal()).__name__}"
    scheme = str(given.reveal()).partition("://")[0].lower()
    if scheme.startswith("socks"):
        return f"{expected}: SOCKS is not supported"
    try:
        found = Secret(URL(str(given.reveal())))
    except ValueError:
        return expected
    if found.reveal().scheme not in ("http", "https") or not is_host(found.reveal().raw_host):
        return expected
    if b":" in unquote_to_bytes(found.reveal().raw_user or ""):
        return "has a user name with a colon in it, which HTTP's Basic authentication does not allow"
    return None
