"""A fake of Adobe's login service (IMS): it checks PKCE, redirects and expiry, and rotates refresh tokens."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from aiohttp import web

from ._exchange import Exchange
from ._faults import Faults
from ._observe import Observer

Json = dict[str, Any]

# Adobe's documentation and the SDK 4.0.0 name the same three paths.
PATHS = {"/ims/authorize/v2": "authorize", "/ims/token/v3": "token", "/ims/revoke": "revoke"}

# Adobe, "User Authentication Credentials API Reference": access tokens expire in 24 hours, refresh tokens in 14 days.
DAY = 86_400
CODE_LIFETIME = 300.0


class ImsRefusalError(Exception):
    """A request that IMS refuses, with the error code of RFC 6749, 5.2."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.status = status


@dataclass(slots=True)
class _Code:
    """An authorization code: whom it was issued to, and the challenge that the verifier must fit."""

    client_id: str
    redirect_uri: str
    challenge: str | None
    scopes: frozenset[str]
    expires_at: float
    family: str | None = None
    """The login that came of it; set once it was used."""


@dataclass(slots=True)
class _Refresh:
    """A refresh token; it can be used once."""

    client_id: str
    family: str
    expires_at: float
    is_used: bool = False


@dataclass(slots=True, eq=False)
class FakeIms:
    """Adobe's login service, on the fake's own address: set `FRAMEIO_IMS_URL` to `FakeFrameio.url`.

    Whoever opens the address for signing in is redirected at once, as if a person had agreed. A refresh token is used
    once: the second use ends that login, its access tokens too, as RFC 9700 (4.14.2) recommends. Real IMS documents
    that a refresh returns a new refresh token; whether the old one stays valid is not documented.

    Attributes:
        client_id: A public client (a single-page or native app), which must use PKCE.
        web_client_id: A confidential client (a web app).
        web_client_secret: Its secret.
        redirect_uris: A regular expression for the redirects that are accepted.
        lifetime: Seconds for which access tokens are valid.
        refresh_lifetime: Seconds for which refresh tokens are valid.
        refreshes: Whether refresh tokens are issued at all. Adobe's guide says that single-page and native apps get
            none.
        rotates: Whether a refresh token can be used once only.
        consents: Whether the person agrees; False: the redirect says `access_denied`.
        asked: The forms that were posted to the token endpoint.
        revoked: How many tokens were revoked.
        reused: How often a refresh token was used again after it had been replaced.
    """

    observer: Observer
    faults: Faults
    clock: Callable[[], datetime]
    client_id: str = "fake-single-page-app"
    web_client_id: str = "fake-web-app"
    web_client_secret: str = field(default_factory=lambda: "web-secret-" + secrets.token_hex(16), repr=False)
    redirect_uris: str = r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?/.*|adobe\+\w+://.*"
    lifetime: float = DAY - 1
    refresh_lifetime: float = 14 * DAY
    refreshes: bool = True
    rotates: bool = True
    consents: bool = True
    asked: list[dict[str, str]] = field(default_factory=list, repr=False)
    revoked: int = 0
    reused: int = 0
    _codes: dict[str, _Code] = field(default_factory=dict, repr=False)
    _access: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    """The login and the end of each access token."""
    _refresh: dict[str, _Refresh] = field(default_factory=dict, repr=False)

    def accepts(self, token: str) -> bool:
        """Return whether an access token was issued here and is still valid."""
        _, end = self._access.get(token, ("", 0.0))
        return self._now() < end

    @property
    def valid_tokens(self) -> tuple[str, ...]:
        """The access tokens that are valid now."""
        return tuple(token for token in self._access if self.accepts(token))

    def secrets(self) -> tuple[str, ...]:
        """Return every credential that was issued, and the web app's secret, for a search through what was written."""
        return (*self._codes, *self._access, *self._refresh, self.web_client_secret)

    def _now(self) -> float:
        return self.clock().timestamp()

    async def serve(self, exchange: Exchange, operation: str) -> web.Response:
        """Answer one request, or apply a fault on "authorize", "token" or "revoke".

        Raises:
            AnsweredError: A fault answered before the body was read.
            NoAnswerError: The connection ended.
        """
        await exchange.begin()
        raw = bytearray()
        while block := await exchange.block():
            raw += block
        exchange.armed = self.faults.strike(operation, None, None)
        instead = await exchange.interrupt()
        if instead is not None:
            return instead
        query = dict(parse_qsl(exchange.request.raw_path.partition("?")[2], keep_blank_values=True))
        try:
            if operation == "authorize":
                response = self._authorize(query)
            else:
                if exchange.request.method != "POST":
                    raise ImsRefusalError("invalid_request", "use POST", 405)
                form = dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
                form = query | _basic(exchange.request.headers.get("Authorization", "")) | form
                response = _answer(200, self._token(form) if operation == "token" else self._revoke(form))
        except ImsRefusalError as refused:
            response = _answer(refused.status, {"error": refused.code, "error_description": refused.description})
        self.observer.changed()
        exchange.lose_answer()
        return response

    # -- signing in ----------------------------------------------------------------------------------------------------

    def _authorize(self, query: Mapping[str, str]) -> web.Response:
        client_id, redirect = query.get("client_id", ""), query.get("redirect_uri", "")
        # Before these two are known to be right, nobody is redirected (RFC 6749, 4.1.2.1).
        if client_id not in (self.client_id, self.web_client_id):
            raise ImsRefusalError("invalid_client", "unknown client_id")
        if not re.fullmatch(self.redirect_uris, redirect):
            raise ImsRefusalError("invalid_request", "redirect_uri does not match the pattern of this client")
        answer = {"state": query["state"]} if "state" in query else {}
        challenge = query.get("code_challenge")
        if query.get("response_type") != "code":
            answer |= {"error": "unsupported_response_type"}
        elif client_id == self.client_id and (challenge is None or query.get("code_challenge_method") != "S256"):
            answer |= {"error": "invalid_request", "error_description": "PKCE with S256 is required"}
        elif not self.consents:
            answer |= {"error": "access_denied"}
        else:
            code = "code-" + secrets.token_hex(24)
            scopes = frozenset(re.split(r"[ ,]+", query.get("scope", "")))
            self._codes[code] = _Code(client_id, redirect, challenge, scopes, self._now() + CODE_LIFETIME)
            answer = {"code": code} | answer
        mark = "&" if "?" in redirect else "?"
        return web.Response(status=302, headers={"Location": f"{redirect}{mark}{urlencode(answer)}"})

    def _token(self, form: Mapping[str, str]) -> Json:
        self.asked.append(dict(form))
        client_id, kind = self._client(form), form.get("grant_type")
        if kind == "authorization_code":
            return self._redeem(client_id, form)
        if kind == "refresh_token":
            return self._renew(client_id, form)
        if kind == "client_credentials" and client_id == self.web_client_id:
            return self._issue(client_id, secrets.token_hex(8), with_refresh=False)
        raise ImsRefusalError("unsupported_grant_type", "unknown grant_type")

    def _client(self, form: Mapping[str, str]) -> str:
        client_id = form.get("client_id", "")
        if client_id == self.client_id and "client_secret" not in form:
            return client_id
        given = form.get("client_secret", "").encode()
        if client_id == self.web_client_id and secrets.compare_digest(given, self.web_client_secret.encode()):
            return client_id
        raise ImsRefusalError("invalid_client", "unknown client_id, or a wrong client_secret", 401)

    def _redeem(self, client_id: str, form: Mapping[str, str]) -> Json:
        code = self._codes.get(form.get("code", ""))
        if code is None or code.client_id != client_id:
            raise ImsRefusalError("invalid_grant", "unknown code")
        if code.family is not None:
            self._end(code.family)
            raise ImsRefusalError("invalid_grant", "the code was used before")
        if self._now() >= code.expires_at:
            raise ImsRefusalError("invalid_grant", "the code has expired")
        if form.get("redirect_uri", code.redirect_uri) != code.redirect_uri:
            raise ImsRefusalError("invalid_grant", "redirect_uri differs from the one of the code")
        if code.challenge is not None:
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code.challenge:
                raise ImsRefusalError("invalid_grant", "code_verifier does not fit code_challenge")
        code.family = secrets.token_hex(8)
        return self._issue(client_id, code.family, with_refresh="offline_access" in code.scopes)

    def _renew(self, client_id: str, form: Mapping[str, str]) -> Json:
        refresh = self._refresh.get(form.get("refresh_token", ""))
        if refresh is None or refresh.client_id != client_id:
            raise ImsRefusalError("invalid_grant", "unknown refresh_token")
        if refresh.is_used and self.rotates:
            self.reused += 1
            self._end(refresh.family)
            raise ImsRefusalError("invalid_grant", "the refresh_token was used before")
        if self._now() >= refresh.expires_at:
            raise ImsRefusalError("invalid_grant", "the refresh_token has expired")
        refresh.is_used = True
        return self._issue(client_id, refresh.family, with_refresh=self.rotates)

    def _issue(self, client_id: str, family: str, *, with_refresh: bool) -> Json:
        access = "access-" + secrets.token_hex(24)
        self._access[access] = family, self._now() + self.lifetime
        answer: Json = {"access_token": access, "token_type": "bearer", "expires_in": self.lifetime}
        if with_refresh and self.refreshes:
            token = "refresh-" + secrets.token_hex(24)
            self._refresh[token] = _Refresh(client_id, family, self._now() + self.refresh_lifetime)
            answer["refresh_token"] = token
        return answer

    # -- the end of a login --------------------------------------------------------------------------------------------

    def _revoke(self, form: Mapping[str, str]) -> Json:
        token = form.get("token", "")
        self._client(form)
        # RFC 7009, 2.2: an unknown token is no error.
        if (refresh := self._refresh.get(token)) is not None:
            self._end(refresh.family)
        self.revoked += token in self._access or refresh is not None
        self._access.pop(token, None)
        return {}

    def _end(self, family: str) -> None:
        """End a login: none of its tokens is valid any more."""
        self._refresh = {name: one for name, one in self._refresh.items() if one.family != family}
        for token, (of, _) in tuple(self._access.items()):
            if of == family:
                self._access[token] = of, 0.0


def _basic(header: str) -> dict[str, str]:
    """Return the client's ID and secret from `Authorization: Basic` (RFC 6749, 2.3.1)."""
    scheme, _, word = header.partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        name, _, secret = base64.b64decode(word, validate=True).decode().partition(":")
    except ValueError:
        return {}
    return {"client_id": unquote(name), "client_secret": unquote(secret)}


def _answer(status: int, document: Json) -> web.Response:
    response = web.Response(status=status, body=json.dumps(document).encode())
    response.headers["Content-Type"] = "application/json"
    response.headers["Cache-Control"] = "no-store"
    return response
