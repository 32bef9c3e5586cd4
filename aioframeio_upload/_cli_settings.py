"""How Frame.io is reached: token, account, proxy and certificates, from the environment and the options."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from . import Uploader
from ._cli_words import Usage

MISSING_LOGIN = (
    "no token: set FRAMEIO_TOKEN, or FRAMEIO_CLIENT_ID and FRAMEIO_CLIENT_SECRET for jobs that outlive a token."
    " Not as an argument: every user of this machine could read it"
)
NO_ACCOUNT = "no account: set FRAMEIO_ACCOUNT_ID or give --account; `aioframeio-upload find` shows yours"
BAD_BASE_URL = "FRAMEIO_BASE_URL must be http(s)://host"
NO_SDK = "FRAMEIO_CLIENT_ID needs Frame.io's SDK: pip install 'aioframeio-upload[sdk]'"
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What other programs read; OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where Frame.io is, and as whom it is asked."""

    environment: Mapping[str, str] = field(repr=False)
    account_id: str | None
    base_url: str
    proxy: str | None = field(repr=False)
    ssl: ssl.SSLContext | None

    @asynccontextmanager
    async def token(self) -> AsyncIterator[Any]:
        """Give the token, or what fetches one whenever it is asked."""
        own = self.environment.get("FRAMEIO_TOKEN")
        if own:
            yield own
            return
        import httpx
        from frameio.auth import AsyncServerToServerAuth

        verify = self.ssl if self.ssl is not None else True
        async with httpx.AsyncClient(proxy=self.proxy, verify=verify, trust_env=False) as http:
            login = AsyncServerToServerAuth(
                client_id=self.environment["FRAMEIO_CLIENT_ID"],
                client_secret=self.environment["FRAMEIO_CLIENT_SECRET"],
                ims_base_url=self.environment.get("FRAMEIO_IMS_URL") or "https://ims-na1.adobelogin.com",
                http_client=http,
            )
            yield login.get_token

    @asynccontextmanager
    async def uploader(self, **settings: Any) -> AsyncIterator[Uploader]:
        """Give an Uploader with these settings."""
        async with (
            self.token() as token,
            Uploader(
                token,
                account_id=self.account_id,
                base_url=self.base_url,
                proxy=self.proxy,
                ssl=self.ssl,
                **settings,
            ) as uploader,
        ):
            yield uploader


def read_service(
    account: str | None, proxy: str | None, ca: Path | None, *, needs_account: bool = True, needs_token: bool = True
) -> Service:
    """Read the environment, of which the options are preferred.

    Raises:
        Usage: Something is missing, or cannot be used.
    """
    environment = dict(os.environ)
    if not needs_token:
        environment["FRAMEIO_TOKEN"] = environment.get("FRAMEIO_TOKEN") or "not-asked-for"
    if not environment.get("FRAMEIO_TOKEN"):
        if not (environment.get("FRAMEIO_CLIENT_ID") and environment.get("FRAMEIO_CLIENT_SECRET")):
            raise Usage(MISSING_LOGIN)
        _check_sdk()
    account = account or environment.get("FRAMEIO_ACCOUNT_ID") or None
    if needs_account and account is None:
        raise Usage(NO_ACCOUNT)
    base_url = environment.get("FRAMEIO_BASE_URL") or "https://api.frame.io"
    _check_base_url(base_url)
    return Service(
        environment=environment,
        account_id=account,
        base_url=base_url,
        proxy=read_proxy(proxy, base_url),
        ssl=_read_ca(ca, environment),
    )


def _check_base_url(base_url: str) -> None:
    try:
        base = urlsplit(base_url)
        _ = base.port  # raises where it is none
    except ValueError:
        raise Usage(BAD_BASE_URL) from None
    if base.scheme not in ("http", "https") or not base.hostname or base.username is not None or base.query:
        raise Usage(BAD_BASE_URL)


def _check_sdk() -> None:
    try:
        import frameio.auth  # noqa: F401
    except ModuleNotFoundError:
        raise Usage(NO_SDK) from None


def read_proxy(option: str | None, base_url: str) -> str | None:
    """Give the proxy: the option's, or what HTTPS_PROXY, ALL_PROXY and NO_PROXY say of the API's host.

    Raises:
        Usage: It is no HTTP proxy; its URL, which may hold a password, is not shown.
    """
    base = urlsplit(base_url)
    proxy = option
    if proxy is None and not proxy_bypass(base.hostname or ""):
        usual = getproxies()
        proxy = usual.get(base.scheme) or usual.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https") or not urlsplit(proxy).hostname:
        raise Usage("the proxy (--proxy, HTTPS_PROXY or ALL_PROXY) must be an http:// or https:// URL")
    return proxy


def _read_ca(option: Path | None, environment: Mapping[str, str]) -> ssl.SSLContext | None:
    path = str(option) if option else next((environment[name] for name in CA_VARIABLES if environment.get(name)), None)
    if path is None:
        return None
    try:
        # Beside the system's own: parts may go past the proxy that inspects the rest.
        context = ssl.create_default_context()
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(path)
    except OSError as error:
        raise Usage(f"{path}: no certificates can be read there: {error.strerror or error}") from None
    return context


def default_journal() -> Path:
    """Give the journal of this user: with it, the same command again goes on."""
    import platformdirs

    return platformdirs.user_state_path("aioframeio-upload", appauthor=False) / "uploads.sqlite3"
