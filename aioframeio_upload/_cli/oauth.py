"""Decide about a login (pure): read the redirect's answer, and when tokens are used, renewed or given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import parse_qsl, urlsplit

from .._core.redact import Secret, redact

# -- the redirect ------------------------------------------------------------------------------------------------------

DEFAULT_REDIRECT = "http://localhost:8477/callback"
"""Any free port would do for us, but Adobe compares the address with the one that was registered."""

LOCALHOST = ("127.0.0.1", "::1")
"""What browsers take `localhost` for. They try one, then the other, so both must be ours."""


class ForeignAnswer(Exception):
    """An address that does not belong to this login: another address, another `state`, or none."""


class LoginRefused(Exception):
    """The answer of this login says no; the message is Adobe's word for the reason."""


class Loopback(NamedTuple):
    """Where to listen for the browser."""

    hosts: tuple[str, ...]
    port: int
    path: str


def check_redirect(uri: str) -> str | None:
    """Return what is wrong with a redirect URI, if anything. Its query or fragment could collide with the answer's."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is not a valid URI"
    if not parts.scheme or not uri.isascii() or not uri.isprintable() or " " in uri:
        return "it is not a valid URI"
    if parts.fragment or parts.query or parts.username is not None:
        return "it must not have a user, a query or a fragment"
    if parts.scheme == "http" and host not in ("localhost", *LOCALHOST):
        return "http is for localhost only: anyone on the network path could read the answer"
    if parts.scheme in ("http", "https") and not host:
        return "it has no host"
    return None


def loopback_of(uri: str) -> Loopback | None:
    """Return where to listen for a redirect; None if the browser's address must be pasted.

    An address with https on localhost is one of those: there is no certificate that browsers would trust.
    """
    parts = urlsplit(uri)
    if parts.scheme != "http":
        return None
    host = parts.hostname or ""
    return Loopback(LOCALHOST if host == "localhost" else (host,), parts.port or 80, parts.path or "/")


def read_answer(address: str, redirect_uri: str, state: Secret[str]) -> Secret[str]:
    """Return the authorization code in the address that the browser was sent to.

    Args:
        address: The whole address, or only its path and query.
        redirect_uri: The one of the request.
        state: The one of the request.

    Raises:
        ForeignAnswer: It does not answer this request: somebody else may have made it (RFC 6749, 10.12).
        LoginRefused: It does, and says no.
    """
    text, wanted = address.strip(), urlsplit(redirect_uri)
    if "://" not in text.partition("?")[0] and not text.startswith("/"):
        text = f"{wanted.scheme}://{text}"  # some browsers hide the scheme
    try:
        found = urlsplit(text)
    except ValueError:
        raise ForeignAnswer("this is not an address") from None
    if found.scheme or found.netloc:
        is_ours = _origin_and_path(found) == _origin_and_path(wanted)
    else:
        is_ours = (found.path or "/") == (wanted.path or "/")
    if not is_ours:
        raise ForeignAnswer("this is not the address that the browser ends at")
    # Adobe documents `response_mode=query` as the default for a code, and a fragment as the alternative.
    pairs = parse_qsl(found.query or found.fragment, keep_blank_values=True)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ForeignAnswer("the address names something twice")  # RFC 6749, 3.1: not more than once
    if not compare_digest(fields.get("state", "").encode(), state.reveal().encode()):
        raise ForeignAnswer("the address is of another login")
    if "error" in fields:
        words = " ".join(filter(None, (fields["error"], fields.get("error_description"))))
        raise LoginRefused(redact(words, tokens=[state.reveal()], limit=300))
    if not fields.get("code"):
        raise ForeignAnswer("the address has no code")
    return Secret(fields["code"])


def _origin_and_path(parts: Any) -> tuple[str, str, int | None, str]:
    try:
        port = parts.port
    except ValueError:
        port = -1
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme.lower(), (parts.hostname or ""), port if port is not None else default, parts.path or "/"


# -- the tokens --------------------------------------------------------------------------------------------------------

DEFAULT_LIFETIME = 86_400.0
"""Seconds; Adobe documents 24 hours."""

REFRESH_LIFETIME = 14 * 86_400.0
"""Seconds that Adobe documents as the default for a refresh token. Its answers do not contain the time."""

EARLIEST_RENEWAL = 1800.0
"""Seconds before the end at which a token is renewed, so that an outage of half an hour interrupts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a login gave: the tokens, and when the access token ends on this machine's clock."""

    access: Secret[str]
    refresh: Secret[str | None]
    issued_at: float
    """Seconds since 1970, on this machine's clock."""
    lifetime: float
    """Seconds for which the access token is valid."""

    @property
    def expires_at(self) -> float:
        """When the access token ends, in seconds since 1970."""
        return self.issued_at + self.lifetime

    @property
    def is_renewable(self) -> bool:
        """Whether there is a refresh token."""
        return self.refresh.reveal() is not None

    def to_document(self) -> dict[str, Any]:
        """Return the fields as JSON types, to be kept. They are credentials."""
        return {
            "access_token": self.access.reveal(),
            "refresh_token": self.refresh.reveal(),
            "issued_at": self.issued_at,
            "lifetime": self.lifetime,
        }


def read_tokens(document: Any) -> Tokens | None:
    """Return kept tokens; None if the document is not what `to_document` returned."""
    if not isinstance(document, Mapping):
        return None
    access, refresh = document.get("access_token"), document.get("refresh_token")
    issued_at, lifetime = document.get("issued_at"), document.get("lifetime")
    if not _is_token(access) or (refresh is not None and not _is_token(refresh)):
        return None
    if not _is_time(issued_at) or not _is_time(lifetime):
        return None
    return Tokens(access=Secret(access), refresh=Secret(refresh), issued_at=float(issued_at), lifetime=float(lifetime))


def tokens_of_answer(answer: Any, now: float, before: Tokens | None = None) -> Tokens | None:
    """Return the tokens of an answer of the token endpoint; None if it contains no usable token.

    Args:
        answer: The JSON document.
        now: The time when the request was sent: the token is not older than that.
        before: The tokens that were renewed. Their refresh token is kept if the answer has none (RFC 6749, 6).
    """
    if not isinstance(answer, Mapping) or not _is_token(answer.get("access_token")):
        return None
    refresh = answer.get("refresh_token")
    if not _is_token(refresh):
        refresh = None if before is None else before.refresh.reveal()
    lifetime = answer.get("expires_in")
    seconds = float(lifetime) if _is_time(lifetime) and lifetime > 0 else DEFAULT_LIFETIME
    return Tokens(access=Secret(answer["access_token"]), refresh=Secret(refresh), issued_at=now, lifetime=seconds)


def _is_token(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable() and " " not in value


def _is_time(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


class Next(Enum):
    """What to do with a token before a call."""

    USE = "use it"
    RENEW = "renew it; until that succeeds, it can still be used"
    RENEW_FIRST = "renew it, it has ended"
    LOG_IN = "it has ended and cannot be renewed"


def next_step(tokens: Tokens, now: float, elapsed: float = 0.0) -> Next:
    """Decide whether a token is used or renewed.

    Args:
        tokens: The tokens.
        now: Seconds since 1970, on the clock that `issued_at` was read from. It may have been set since.
        elapsed: Seconds for which this process has had the token, on a clock that nobody sets.
    """
    # The age on either clock counts: one may have been set back, the other may not run while the machine sleeps.
    # A token from the future says that the clock was set back since; how old the token is, is then unknown.
    age = max(now - tokens.issued_at, elapsed)
    is_doubtful = now < tokens.issued_at - MAX_STEP
    left = tokens.lifetime - age
    if left <= 0:
        return Next.RENEW_FIRST if tokens.is_renewable else Next.LOG_IN
    if tokens.is_renewable and (is_doubtful or left < min(tokens.lifetime / 4, EARLIEST_RENEWAL)):
        return Next.RENEW
    return Next.USE


MAX_STEP = 300.0
"""Seconds by which a clock may be corrected without a doubt about the age of a token."""

PASSING = frozenset({"server_error", "temporarily_unavailable", "slow_down", "invalid_response", "refresh_failed"})
"""Error codes that say nothing about the login; the last two are the SDK's, for an answer that is no token."""


def is_refusal(code: str) -> bool:
    """Return whether an error code of the token endpoint says that the login no longer holds.

    The SDK makes `http_<status>` of an answer that is not IMS's JSON, such as that of a proxy or a hotel's login page.
    """
    return code not in PASSING and not code.startswith("http_")
