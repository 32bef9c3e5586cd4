"""Return the token of a kept login, and renew it before it ends: once, however many tasks and processes need it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from .. import AuthenticationError
from .ims import Ims, ImsRefused, ImsUnavailable
from .login_store import Login, LoginBusy, LoginError, LoginStore
from .oauth import Next, next_step

log = logging.getLogger("aioframeio_upload")

PAUSE = 60.0
"""Seconds between attempts to renew a token that can still be used."""

SETTLE_TIMEOUT = 10.0
"""Seconds to wait at the end for a renewal that runs: its new refresh token must be kept, as the old one is used up."""

AGAIN = "log in again: aioframeio-upload login"


class StoredLogin:
    """The login of this user as a token callable. Owned by one command; for one event loop.

    Args:
        store: Where it is kept.
        login: It, as it was loaded.
        ims_of: Returns the login service of a login.
        clock: Returns seconds since 1970.
        monotonic: Returns seconds on a clock that nobody sets.
    """

    def __init__(
        self,
        store: LoginStore,
        login: Login,
        ims_of: Callable[[Login], Ims],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._login = login
        self._ims_of = ims_of
        self._clock = clock
        self._monotonic = monotonic
        self._since = monotonic()
        """When this process got the token, which may have been old by then."""
        self._age_then = max(clock() - login.tokens.issued_at, 0.0)
        self._not_before = 0.0
        """When a token that can still be used is renewed at the earliest."""
        self._renewal: asyncio.Task[None] | None = None
        self._reported = ""
        """Why the last attempt failed, if that was logged."""

    def __repr__(self) -> str:
        return f"<StoredLogin {self._login.client_id}>"

    async def get_token(self) -> str:
        """Return an access token, renewed if it is about to end. If that fails for now, the old one while it lasts.

        Raises:
            AuthenticationError: The login no longer holds; the message says how to log in again.
        """
        step = self._step()
        if step is Next.LOG_IN:
            # Another process may have logged in again meanwhile, which the renewal finds out.
            await self._renew_once()
        elif step is Next.RENEW_FIRST or (step is Next.RENEW and self._monotonic() >= self._not_before):
            await self._renew_once()
        return self._login.tokens.access.reveal()

    async def settle(self) -> None:
        """Wait until a renewal that still runs has kept its tokens; bounded."""
        if self._renewal is not None and not self._renewal.done():
            await asyncio.wait({self._renewal}, timeout=SETTLE_TIMEOUT)
        if self._renewal is not None and self._renewal.done():
            with suppress(AuthenticationError, asyncio.CancelledError):
                self._renewal.result()

    def _step(self) -> Next:
        elapsed = self._monotonic() - self._since + self._age_then
        return next_step(self._login.tokens, self._clock(), elapsed)

    async def _renew_once(self) -> None:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew(), name="renew the login")
        # A cancelled upload must not cancel the renewal, which others wait for and whose result must be kept.
        await asyncio.shield(self._renewal)

    async def _renew(self) -> None:
        trouble, passes = "", True
        try:
            self._adopt(await asyncio.to_thread(self._renew_in_thread))
        except ImsRefused as error:
            trouble, passes = str(error), False
        except ImsUnavailable as error:
            # Without a network the call that needs the token fails as well, and is repeated as the Uploader's retry
            # policy says: so the old token will do, and an outage is judged in one place.
            trouble, passes = str(error), not error.was_reached or self._step() is Next.RENEW
        except LoginBusy as error:
            trouble, passes = str(error), self._step() is Next.RENEW
        except LoginError as error:
            trouble, passes = str(error), False
        if not trouble:
            return
        self._not_before = self._monotonic() + PAUSE
        if not passes and self._step() is not Next.RENEW:
            raise AuthenticationError(f"the login cannot be renewed: {trouble}; {AGAIN}", operation="login")
        self._warn(trouble, "it is tried again" if passes else AGAIN)

    def _warn(self, trouble: str, hint: str) -> None:
        """Log why the login was not renewed; once for the same reason, as every call asks again."""
        if trouble == self._reported:
            return
        self._reported = trouble
        minutes = round((self._login.tokens.expires_at - self._clock()) / 60)
        left = f"its token holds for {minutes} more minutes; " if self._step() is Next.RENEW else ""
        log.warning("the login cannot be renewed: %s; %s%s", trouble, left, hint)

    def _renew_in_thread(self) -> Login:
        """Return the login with a token that can be used: one that another process has renewed, or a new one."""
        with self._store.lock():
            kept = self._store.load()
            if kept is None:
                raise LoginError("somebody has logged out")
            is_same = kept.tokens.access.reveal() == self._login.tokens.access.reveal()
            step = self._step() if is_same else next_step(kept.tokens, self._clock())
            if step is Next.USE:
                return kept
            if step is Next.LOG_IN:
                raise ImsRefused("it has ended, and Adobe gave no refresh token for this client")
            renewed = replace(kept, tokens=self._ims_of(kept).renew(kept, self._clock()))
            reason = ""
            try:
                return self._store.save(renewed)
            except LoginError as error:
                reason = str(error)
            log.warning("the renewed login holds for this command only: %s", reason)
            return renewed

    def _adopt(self, login: Login) -> None:
        self._login = login
        self._since = self._monotonic()
        self._age_then = max(self._clock() - login.tokens.issued_at, 0.0)
        self._not_before = 0.0
        self._reported = ""


def load_login(store: LoginStore, base_url: str) -> Login:
    """Return the kept login for the service at `base_url`. It may block.

    Raises:
        LoginError: There is none, it is for another service, or it cannot be read.
    """
    login = store.load()
    if login is None:
        raise LoginError(f"not logged in; {AGAIN}")
    if login.base_url != base_url:
        raise LoginError(
            f"the login is for {login.base_url}, and FRAMEIO_BASE_URL names {base_url}: its token is not sent there;"
            f" {AGAIN}"
        )
    return login
