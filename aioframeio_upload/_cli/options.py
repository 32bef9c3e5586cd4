"""Read token, account, proxy and certificates from the environment and the options."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .. import Uploader
from .._core.redact import Secret
from .._io.proxies import Proxies
from .format import Usage

MISSING_LOGIN = (
    "no token: set FRAMEIO_TOKEN, or FRAMEIO_CLIENT_ID and FRAMEIO_CLIENT_SECRET for jobs that outlive a token."
    " Not as an argument: every user of this machine could read it"
)
NO_ACCOUNT = "no account: set FRAMEIO_ACCOUNT_ID or give --account; `aioframeio-upload find` shows yours"
BAD_BASE_URL = "FRAMEIO_BASE_URL must be http(s)://host, without user and password, query and fragment"
NO_SDK = "FRAMEIO_CLIENT_ID needs Frame.io's SDK: pip install 'aioframeio-upload[sdk]'"
LOGIN = ("FRAMEIO_TOKEN", "FRAMEIO_CLIENT_ID", "FRAMEIO_CLIENT_SECRET", "FRAMEIO_IMS_URL")
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What other programs read; OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where Frame.io is, and as whom it is asked."""

    login: Secret[Mapping[str, str]]
    """The variables that say who asks."""
    account_id: str | None
    base_url: str
    proxy: ProxyOfHost
    ssl: ssl.SSLContext | None

    @asynccontextmanager
    async def token(self) -> AsyncIterator[Secret[Any]]:
        """Yield the token, or what fetches one whenever it is asked; hidden in a `Secret`."""
        login = self.login
        if login.reveal().get("FRAMEIO_TOKEN"):
            yield Secret(login.reveal()["FRAMEIO_TOKEN"])
            return
        import httpx
        from frameio.auth import AsyncServerToServerAuth

        verify = self.ssl if self.ssl is not None else True
        ims = login.reveal().get("FRAMEIO_IMS_URL") or "https://ims-na1.adobelogin.com"
        async with httpx.AsyncClient(proxy=self.proxy(ims), verify=verify, trust_env=False) as http:
            asking = AsyncServerToServerAuth(
                client_id=login.reveal()["FRAMEIO_CLIENT_ID"],
                client_secret=login.reveal()["FRAMEIO_CLIENT_SECRET"],
                ims_base_url=ims,
                http_client=http,
            )
            yield Secret(asking.get_token)

    @asynccontextmanager
    async def uploader(self, **settings: Any) -> AsyncIterator[Uploader]:
        """Give an Uploader with these settings."""
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


def read_service(
    account: str | None, proxy: str | None, ca: Path | None, *, needs_account: bool = True, needs_token: bool = True
) -> Service:
    """Read the environment, of which the options are preferred.

    Raises:
        Usage: Something is missing, or cannot be used.
    """
    login = Secret({name: os.environ[name] for name in LOGIN if os.environ.get(name)})
    if not needs_token:
        login.reveal().setdefault("FRAMEIO_TOKEN", "not-asked-for")
    if "FRAMEIO_TOKEN" not in login.reveal():
        if not {"FRAMEIO_CLIENT_ID", "FRAMEIO_CLIENT_SECRET"} <= login.reveal().keys():
            raise Usage(MISSING_LOGIN)
        _check_sdk()
    account = account or os.environ.get("FRAMEIO_ACCOUNT_ID") or None
    if needs_account and account is None:
        raise Usage(NO_ACCOUNT)
    base_url = os.environ.get("FRAMEIO_BASE_URL") or "https://api.frame.io"
    _check_base_url(base_url)
    return Service(
        login=login,
        account_id=account,
        base_url=base_url,
        proxy=read_proxy(proxy, base_url),
        ssl=_read_ca(ca),
    )


def _check_base_url(base_url: str) -> None:
    try:
        base = urlsplit(base_url)
        _ = base.port  # raises where it is none
    except ValueError:
        raise Usage(BAD_BASE_URL) from None
    marks = {"?", "#"} & set(base_url)
    if base.scheme not in ("http", "https") or not base.hostname or base.username is not None or marks:
        raise Usage(BAD_BASE_URL)


def _check_sdk() -> None:
    try:
        import frameio.auth  # noqa: F401
    except ModuleNotFoundError:
        raise Usage(NO_SDK) from None


class ProxyOfHost:
    """Chooses the proxy of each host: the option's for every host, or what the environment says of this one.

    Called with a URL of the host: API, S3 and the login are different ones, and `NO_PROXY` may name any of them.
    """

    def __init__(self, option: str | None) -> None:
        self._option = Secret(option)
        # Read once: on macOS and Windows the system's own settings are asked.
        self._usual = Secret(getproxies())

    def __call__(self, url: str) -> str | None:
        """Return a proxy's URL, or None where the host is to be reached directly."""
        if self._option.reveal() is not None:
            return _with_scheme(self._option.reveal())
        found = urlsplit(url)
        # As urllib does it: HTTPS_PROXY, else ALL_PROXY; NO_PROXY by the host, with its port or without.
        if proxy_bypass(found.netloc.rpartition("@")[2]):
            return None
        return _with_scheme(self._usual.reveal().get(found.scheme) or self._usual.reveal().get("all"))


def _with_scheme(proxy: str | None) -> str | None:
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy or None


def read_proxy(option: str | None, base_url: str) -> ProxyOfHost:
    """Return what chooses the proxy of each host.

    Raises:
        Usage: The API's is no HTTP proxy; its URL, which may hold a password, is not shown.
    """
    choose = ProxyOfHost(option)
    del option  # a traceback would show it
    refusal = ""
    try:
        Proxies(Secret(choose(base_url)))
    except ValueError as error:
        refusal = str(error).removeprefix("proxy ")
    if refusal:
        raise Usage(f"the proxy (--proxy, HTTPS_PROXY or ALL_PROXY) {refusal}")
    return choose


def _read_ca(option: Path | None) -> ssl.SSLContext | None:
    path = str(option) if option else next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), None)
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
    """Return the journal of this user: with it, the same command again goes on.

    Raises:
        Usage: This user has no home folder, or none to write to, as in a container that runs under any number.
    """
    import platformdirs

    try:
        folder = platformdirs.user_state_path("aioframeio-upload", appauthor=False)
    except RuntimeError:  # from 4.4 on; before, "~" stays as it is
        folder = Path()
    if not folder.is_absolute():
        raise Usage("there is no home folder to keep a journal in; name one with --journal, or set HOME")
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise Usage(f"no journal can be kept in {folder}: {there} cannot be written to; name one with --journal")
    return folder / "uploads.sqlite3"


def is_there(journal: Path) -> bool:
    """Return whether there is a journal; where that cannot be told, opening it says why."""
    try:
        os.lstat(journal)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
