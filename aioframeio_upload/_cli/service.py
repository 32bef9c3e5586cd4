"""Connect the command line to Frame.io: the login, the proxy of each host, and an Uploader with both."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .. import Uploader
from .._core.redact import Secret


class ProxyOfHost:
    """Choose the proxy of a host: the one of the option for every host, or the one that the environment names for it.

    Called with a URL of the host. The API, S3 and the login are different hosts, and `NO_PROXY` may name any of them.
    """

    def __init__(self, option: str | None) -> None:
        self._option = Secret(option)
        # Read once: on macOS and Windows this asks for the system's settings.
        self._environment = Secret(getproxies())
        self._direct: dict[str, bool] = {}

    def __call__(self, url: str) -> str | None:
        """Return the URL of a proxy, or None for a direct connection."""
        if self._option.reveal() is not None:
            return _with_scheme(self._option.reveal())
        found = urlsplit(url)
        # As urllib does: HTTPS_PROXY, else ALL_PROXY; NO_PROXY names a host with or without its port.
        proxy = _with_scheme(self._environment.reveal().get(found.scheme) or self._environment.reveal().get("all"))
        if proxy is None or self._is_direct(found.netloc.rpartition("@")[2]):
            return None
        return proxy

    def _is_direct(self, host: str) -> bool:
        # Kept: on Windows and macOS `proxy_bypass` may look the host up, which blocks the loop, here at each request.
        if host not in self._direct:
            self._direct[host] = bool(proxy_bypass(host))
        return self._direct[host]


def _with_scheme(proxy: str | None) -> str | None:
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The address of Frame.io, the login and the account."""

    login: Secret[Mapping[str, str]]
    """The environment variables of the login."""
    account_id: str | None
    base_url: str
    proxy: ProxyOfHost
    ssl: ssl.SSLContext | None

    @asynccontextmanager
    async def token(self) -> AsyncIterator[Secret[Any]]:
        """Yield the token, or a callable that fetches one; hidden in a `Secret`."""
        login = self.login
        if login.reveal().get("FRAMEIO_TOKEN"):
            yield Secret(login.reveal()["FRAMEIO_TOKEN"])
            return
        import httpx
        from frameio.auth import AsyncServerToServerAuth

        verify = self.ssl if self.ssl is not None else True
        ims = login.reveal().get("FRAMEIO_IMS_URL") or "https://ims-na1.adobelogin.com"
        async with httpx.AsyncClient(proxy=self.proxy(ims), verify=verify, trust_env=False) as http:
            auth = AsyncServerToServerAuth(
                client_id=login.reveal()["FRAMEIO_CLIENT_ID"],
                client_secret=login.reveal()["FRAMEIO_CLIENT_SECRET"],
                ims_base_url=ims,
                http_client=http,
            )
            yield Secret(auth.get_token)

    @asynccontextmanager
    async def uploader(self, **settings: Any) -> AsyncIterator[Uploader]:
        """Yield an Uploader with these settings."""
        async with (
            self.token() as token,
            Uploader(
                token.reveal(),
                account_id=self.account_id,
                base_url=self.base_url,
                proxy=self.proxy,
                ssl=self.ssl,
                **settings,
            ) as uploader,
        ):
            yield uploader
