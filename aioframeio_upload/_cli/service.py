"""Connect the command line to Frame.io: the login, the proxy of each host, and an Uploader with both."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .. import Uploader
from .._core.redact import Secret
from .output import write_error

if TYPE_CHECKING:
    from .ims import Ims
    from .login_store import Login, LoginStore


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
    state: Path | None = None
    """This user's state folder, with the login that `login` has kept and the remembered account; None if there is no
    place for one."""
    needs_account: bool = False
    """Whether an Uploader without an account is of no use to the command."""
    has_chosen: bool = False
    """Whether the account was given as an option, so that it is remembered."""

    @property
    def token_variable(self) -> str | None:
        """The environment variables that the token comes from; None if it comes from the kept login."""
        found = self.login.reveal()
        if found.get("FRAMEIO_TOKEN"):
            return "FRAMEIO_TOKEN"
        both = {"FRAMEIO_CLIENT_ID", "FRAMEIO_CLIENT_SECRET"}
        return "FRAMEIO_CLIENT_ID and FRAMEIO_CLIENT_SECRET" if both <= found.keys() else None

    @property
    def store(self) -> LoginStore:
        """Where the login of this user is kept.

        Raises:
            LoginError: There is no place for it.
        """
        from .login_store import LoginError, LoginStore

        if self.state is None:
            raise LoginError("there is no home folder to keep a login in: set HOME")
        return LoginStore(self.state, lambda words: write_error(f"warning: {words}"))

    def with_stored_login(self) -> Service:
        """Return the same service with the kept login, whatever the environment says."""
        return replace(self, login=Secret({}))

    @property
    def ims_url(self) -> str:
        """The URL of the login service."""
        from .ims import DEFAULT_URL

        return self.login.reveal().get("FRAMEIO_IMS_URL") or DEFAULT_URL

    def ims(self, url: str) -> Ims:
        """Return the login service at a URL, reached by the proxy for its host."""
        from .ims import Ims

        return Ims(url, Secret(self.proxy(url)), self.ssl)

    @asynccontextmanager
    async def token(self) -> AsyncIterator[Secret[Any]]:
        """Yield the token, or a callable that fetches one; hidden in a `Secret`.

        Raises:
            LoginError: The kept login cannot be used.
        """
        login = self.login
        if login.reveal().get("FRAMEIO_TOKEN"):
            yield Secret(login.reveal()["FRAMEIO_TOKEN"])
            return
        if self.token_variable is None:
            async with self._stored_token() as token:
                yield token
            return
        import httpx
        from frameio.auth import AsyncServerToServerAuth

        verify = self.ssl if self.ssl is not None else True
        ims = self.ims_url
        async with httpx.AsyncClient(proxy=self.proxy(ims), verify=verify, trust_env=False) as http:
            auth = AsyncServerToServerAuth(
                client_id=login.reveal()["FRAMEIO_CLIENT_ID"],
                client_secret=login.reveal()["FRAMEIO_CLIENT_SECRET"],
                ims_base_url=ims,
                http_client=http,
            )
            yield Secret(auth.get_token)

    @asynccontextmanager
    async def _stored_token(self) -> AsyncIterator[Secret[Any]]:
        from .stored_login import StoredLogin, load_login

        store = self.store
        login = await asyncio.to_thread(load_login, store, self.base_url)
        kept = StoredLogin(store, login, self._ims_of)
        try:
            yield Secret(kept.get_token)
        finally:
            await kept.settle()

    def _ims_of(self, login: Login) -> Ims:
        return self.ims(login.ims_url)

    @asynccontextmanager
    async def uploader(self, **settings: Any) -> AsyncIterator[Uploader]:
        """Yield an Uploader with these settings.

        A command that shows the account, or makes several Uploaders, calls `with_account` itself before.
        """
        account_id = self.account_id
        if account_id is None and self.needs_account:
            from .account import with_account

            account_id = (await with_account(self)).account_id
        async with (
            self.token() as token,
            Uploader(
                token.reveal(),
                account_id=account_id,
                base_url=self.base_url,
                proxy=self.proxy,
                ssl=self.ssl,
                **settings,
            ) as uploader,
        ):
            yield uploader
