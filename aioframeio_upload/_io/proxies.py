"""The proxy of each host: the one that was given, or the one that a callable chooses."""

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
"""A proxy's URL; or a callable that is given `scheme://host[:port]` of each request, and returns one, or None for none.

API and S3 are different hosts, and `NO_PROXY` may name one of them only. The callable runs on the event loop.
"""


class Proxies:
    """Where each request goes through. Holds credentials, and shows none.

    Raises:
        ValueError: The URL that was given is not one of an HTTP proxy; it is not shown.
    """

    def __init__(self, given: Secret[Any]) -> None:
        self._given = given
        if not callable(given.reveal()) and (reason := _refusal(given)) is not None:
            raise ValueError(f"proxy {reason}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @property
    def given(self) -> Secret[Any]:
        """What was given: a URL or a callable."""
        return self._given

    def route_to(self, url: URL, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments of a request with these headers that say which proxy it takes.

        Raises:
            Misrouted: The callable fails, or what it returns is not the URL of an HTTP proxy.
        """
        chosen = self._given
        if callable(choose := chosen.reveal()):
            failure: str | None = None
            try:
                chosen = Secret(choose(str(url.origin())))
            except Exception as error:  # noqa: BLE001  # the caller's own code; its words may hold a password
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
        # As bytes, mostly UTF-8: aiohttp would encode the text in Latin-1, which has no "Ę".
        words = (unquote_to_bytes(word or "") for word in (proxy.raw_user, proxy.raw_password))
        login = {"Proxy-Authorization": "Basic " + b64encode(b":".join(words)).decode()}
        way = {"proxy": proxy.with_user(None)}
        # Through a tunnel it goes with CONNECT only, to the proxy.
        if url.scheme == "https":
            return {**way, "proxy_headers": login, "headers": headers}
        return {**way, "headers": {**headers, **login}}


def _refusal(given: Secret[Any]) -> str | None:
    """Return why this is not the URL of an HTTP proxy, without showing it; None where it is one, or none at all."""
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
