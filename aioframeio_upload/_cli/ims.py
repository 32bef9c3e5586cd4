"""Call Adobe's login service (IMS) by Frame.io's SDK, and tell a refusal from a service that cannot be reached.

The SDK's classes that block are used, in a thread: renewing a login is one step under a lock, which a cancelled task
must not leave half done. What the SDK raises is replaced, and raised outside the `except` block, because its frames
hold the tokens.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._core.redact import HIDDEN, Secret, address_of, redact
from .oauth import Tokens, is_refusal, tokens_of_answer

if TYPE_CHECKING:
    import httpx
    from frameio.auth import SPAAuth, WebAppAuth

    from .login_store import Login

DEFAULT_URL = "https://ims-na1.adobelogin.com"

TIMEOUT = 10.0
"""Seconds for each step of a call (connect, read, write); the SDK tries three times."""


LONG_WORD = re.compile(r"\S{24,}")


class ImsRefused(Exception):
    """IMS says no: repeating the call is useless, the person must log in again."""


class ImsUnavailable(Exception):
    """IMS was not reached, or did not answer as itself: the same call may work later."""

    def __init__(self, reason: str, *, was_reached: bool) -> None:
        super().__init__(reason)
        self.was_reached = was_reached
        """Whether something answered. If not, the whole network may be down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The client that logs in, as it is registered at Adobe."""

    id: str
    secret: Secret[str | None]
    """Of a web app, which proves itself by it. The others use PKCE."""
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """The beginning of a login."""

    address: str
    """Where the person agrees. It contains the `state` and the PKCE challenge, but nothing that fits them."""
    verifier: Secret[str | None]
    """Proves that who redeems the code is who asked for it (RFC 7636); None for a web app."""


class Ims:
    """Adobe's login service, or another one with the same paths.

    Args:
        url: Its URL.
        proxy: The proxy for it, or None.
        context: A TLS context, or None for the usual certificates.
    """

    def __init__(self, url: str, proxy: Secret[str | None], context: ssl.SSLContext | None) -> None:
        self._url = url
        self._proxy = proxy
        self._context = context
        self._host = address_of(url)

    def begin(self, client: Client, state: Secret[str]) -> SignIn:
        """Return where the person logs in. Nothing is called."""
        from frameio.auth import AuthorizationUrlResult

        with self._auth(client) as auth:
            found = auth.get_authorization_url(state.reveal())
        if isinstance(found, AuthorizationUrlResult):
            return SignIn(found.url, Secret(found.code_verifier))
        return SignIn(found, Secret(None))

    def redeem(self, client: Client, code: Secret[str], verifier: Secret[str | None], now: float) -> Tokens:
        """Exchange an authorization code for tokens.

        Args:
            client: The client of the request.
            code: What the browser brought.
            verifier: The one of the request.
            now: Seconds since 1970.

        Raises:
            ImsRefused: The code, the verifier or the client is not accepted.
            ImsUnavailable: It may be another time.
        """
        with self._auth(client) as auth:
            # A web app has no verifier: its `exchange_code` takes the code alone.
            proof = Secret([one for one in (code.reveal(), verifier.reveal()) if one is not None])
            answer = self._call(lambda: auth.exchange_code(*proof.reveal()), client)
        return self._tokens(answer, now, None)

    def renew(self, login: Login, now: float) -> Tokens:
        """Exchange the refresh token for new tokens. It may be usable only once, so they must be kept.

        Raises:
            ImsRefused: The login no longer holds.
            ImsUnavailable: It may be another time.
        """
        client = Client(id=login.client_id, secret=login.client_secret, redirect_uri=login.redirect_uri)
        with self._auth(client) as auth:
            auth.import_tokens({"refresh_token": login.tokens.refresh.reveal()})
            answer = self._call(auth.refresh, client, login.tokens)
        return self._tokens(answer, now, login.tokens)

    def revoke(self, login: Login) -> bool:
        """End the tokens, and return whether IMS confirmed that for each."""
        client = Client(id=login.client_id, secret=login.client_secret, redirect_uri=login.redirect_uri)
        confirmed: list[bool] = []

        def note(response: httpx.Response) -> None:
            confirmed.append(response.status_code == 200)

        # The SDK logs a failed call instead of raising it, so the answers are counted here.
        with self._auth(client, note) as auth:
            auth.import_tokens(
                {"access_token": login.tokens.access.reveal(), "refresh_token": login.tokens.refresh.reveal()}
            )
            auth.revoke()
        return confirmed == [True] * (1 + login.tokens.is_renewable)

    @contextmanager
    def _auth(
        self, client: Client, note: Callable[[httpx.Response], None] | None = None
    ) -> Iterator[SPAAuth | WebAppAuth]:
        import httpx
        from frameio.auth import SPAAuth, WebAppAuth

        verify = self._context if self._context is not None else True
        hooks = {"response": [] if note is None else [note]}
        with httpx.Client(
            proxy=self._proxy.reveal(), verify=verify, trust_env=False, timeout=TIMEOUT, event_hooks=hooks
        ) as http:
            usual: dict[str, Any] = {
                "client_id": client.id,
                "redirect_uri": client.redirect_uri,
                "ims_base_url": self._url,
                "http_client": http,
            }
            if client.secret.reveal() is None:
                yield SPAAuth(**usual)
            else:
                yield WebAppAuth(**usual, client_secret=client.secret.reveal() or "")

    def _call(self, call: Callable[[], dict[str, Any]], client: Client, tokens: Tokens | None = None) -> Secret[Any]:
        """Call the token endpoint and return its answer; an error of the SDK is raised as one of ours."""
        import httpx
        from frameio.auth import AuthenticationError, FrameioAuthError, NetworkError, TokenExpiredError

        was_reached, code, words = True, "", ""
        try:
            return Secret(call())
        except TokenExpiredError as error:
            code, words = "invalid_grant", str(error)
        except AuthenticationError as error:
            code, words = str(error.error_code), f"{error.error_code} {error.error_description or ''}"
        except (NetworkError, httpx.TransportError):
            was_reached = False
        except FrameioAuthError as error:  # it asks for fewer calls
            code, words = "slow_down", str(error)
        except (httpx.HTTPError, AttributeError, TypeError):
            # SDK 4.0.0 takes every JSON document that comes with an error status for an object.
            code, words = "invalid_response", "the answer is not that of a login service"
        known = [client.secret.reveal() or ""]
        if tokens is not None:
            known += [tokens.access.reveal(), tokens.refresh.reveal() or ""]
        # Adobe's tokens and codes have hundreds of characters; an answer may quote one that is not known here.
        words = LONG_WORD.sub(HIDDEN, redact(words, tokens=known, limit=200)).strip()
        del known, call
        raise self._failure(code, words, was_reached=was_reached)

    def _failure(self, code: str, words: str, *, was_reached: bool) -> ImsRefused | ImsUnavailable:
        if not was_reached:
            return ImsUnavailable(f"no connection to {self._host}", was_reached=False)
        if is_refusal(code):
            return ImsRefused(words)
        return ImsUnavailable(f"{self._host} answered: {words}", was_reached=True)

    def _tokens(self, answer: Secret[Any], now: float, before: Tokens | None) -> Tokens:
        found = tokens_of_answer(answer.reveal(), now, before)
        if found is None:
            raise ImsUnavailable(f"{self._host} answered without a usable token", was_reached=True)
        return found
