"""Classify and describe aiohttp's exceptions without their messages, which contain the URL, a credential."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from .._core.failures import FailureKind
from .foreign import is_being_cancelled

FAILURES = (aiohttp.ClientError, OSError, TimeoutError, UnicodeError)
"""All that a request can raise because of the network. (`asyncio.TimeoutError` is `TimeoutError`; a resolver raises
UnicodeError for a name that it cannot encode.)"""

UNTRUSTED = "the server's certificate is not trusted"
"""The command line recognises this text and adds the option that helps."""

NO_COMMON_TLS = frozenset(
    {
        *("WRONG_VERSION_NUMBER", "WRONG_SSL_VERSION", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST"),  # not TLS at all
        *("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW"),
        *("NO_CIPHERS_AVAILABLE", "NO_SHARED_CIPHER", "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
        *("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE"),
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)
"""OpenSSL's reasons (`sslerr.h`) for a handshake that will fail again in the same way. Other reasons, such as an end of
file, occur while a server restarts."""

PROXY_UNREACHABLE = (502, 503, 504)
"""A proxy's answers to CONNECT if its own link is down or the name is not found (Squid: 503)."""

PROXY_MAY_ACCEPT_LATER = (408, 429)
"""The 4xx answers of a proxy that are worth a retry."""


class Lost(aiohttp.ClientConnectionError):
    """A connection broke during a request; the message is our own and contains no URL."""


class Misrouted(aiohttp.InvalidURL):
    """A host cannot be reached as configured, for example by an invalid proxy; the message is our own."""


@asynccontextmanager
async def cancelled_by_us_alone() -> AsyncIterator[None]:
    """Turn a cancellation that nobody sent to the current task into a broken connection.

    A caller's connector shares name look-ups among requests, and may use a resolver of the caller's: a cancellation of
    either reaches every request that waits for it.
    """
    try:
        yield
        return
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
    raise Lost("what the connection waited for was cancelled")


async def send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET or DELETE by itself after a disconnect (a client middleware).

    aiohttp repeats idempotent requests once after a `ClientOSError` or `ServerDisconnectedError`. Every attempt must be
    ours, so that it is counted, paced and published.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        reason = describe(error)
    # Outside the `except` block, so that aiohttp's exception is not chained.
    raise Lost(reason)


def kind_of(error: BaseException) -> FailureKind:
    """Classify an exception, for parts and API calls alike; `_core/failures` decides how each kind is handled."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ServerFingerprintMismatch):
        return FailureKind.UNTRUSTED
    if _is_misconfigured(error):
        return FailureKind.MISCONFIGURED
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return FailureKind.UNREACHABLE if error.status in PROXY_UNREACHABLE else FailureKind.LOST
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return FailureKind.UNREACHABLE
    return FailureKind.LOST


def _is_misconfigured(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return 400 <= error.status < 500 and error.status not in PROXY_MAY_ACCEPT_LATER
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return _tls_reason(error) in NO_COMMON_TLS
    return isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError | UnicodeError)


def _tls_reason(error: BaseException) -> str | None:
    """Return OpenSSL's reason for a failed handshake, a constant such as `WRONG_VERSION_NUMBER`."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorSSLError) else error.__cause__
    return cause.reason if isinstance(cause, ssl.SSLError) else None


def host_of(url: URL) -> str:
    """Return a URL's host, with its port unless that is the usual one: neither is secret, as user and password are."""
    return url.host_port_subcomponent or ""


def describe(error: BaseException, host: str | None = None) -> str:
    """Return a description of an exception that does not quote its message.

    Args:
        error: The exception that the request raised.
        host: The host of the request, as of `host_of`.
    """
    if isinstance(error, Lost | Misrouted):
        return str(error)
    if isinstance(error, aiohttp.InvalidURL):
        its = host_of(error.url) if isinstance(error.url, URL) else str(error.url)
        is_own = host is not None and its in (host, host.rpartition(":")[0])
        return f"the URL of host {host} is not valid" if is_own else "the proxy's URL is not valid"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused ({error.status})"
    text = next((text for kinds, text in _DESCRIPTIONS if isinstance(error, kinds)), "the request failed")
    text = text.format(named=f" {host}" if host else "", to=f" to {host}" if host else "")
    if isinstance(error, aiohttp.ClientConnectorSSLError) and (reason := _tls_reason(error)):
        return f"{text} ({reason})"
    return text + _errno(error)


def describe_pool(connector: aiohttp.BaseConnector | None, seconds: float) -> str:
    """Return what a request waited for that got no connection of a caller's pool."""
    bounds = {name: getattr(connector, name, 0) for name in ("limit", "limit_per_host")}
    words = " and ".join(f"{name}={bound}" for name, bound in bounds.items() if bound)
    return f"no connection of the session's pool ({words or 'limited'}) was free within {seconds:g} s"


def _errno(error: BaseException) -> str:
    # OpenSSL's numbers are not errno values: its 1 would read as EPERM.
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError) or isinstance(error.__cause__, ssl.SSLError):
        return ""
    # The resolver's numbers (EAI_…) are negative, so they are not found here.
    name = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    return f" ({name})" if name else ""


# The first match counts, so subclasses come before their base classes.
_DESCRIPTIONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "the name of the host{named} could not be resolved"),
    (aiohttp.ClientConnectorCertificateError, UNTRUSTED),
    (aiohttp.ClientConnectorSSLError, "the TLS handshake failed"),
    (aiohttp.ClientProxyConnectionError, "the proxy could not be reached"),
    (aiohttp.ConnectionTimeoutError, "no connection{to} in time"),
    (aiohttp.ClientConnectorError, "no connection{to}"),
    (aiohttp.ServerTimeoutError, "no answer in time"),
    (aiohttp.ServerDisconnectedError, "the server closed the connection without an answer"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.ClientResponseError, "the answer was not HTTP"),
    (aiohttp.NonHttpUrlClientError, "the URL is neither http nor https"),
    (aiohttp.ServerFingerprintMismatch, UNTRUSTED),
    (aiohttp.ClientConnectionError, "the connection broke"),
    (TimeoutError, "no answer in time"),
    (OSError, "the connection broke"),
    (UnicodeError, "the host's name is not valid"),
)


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Return the body of a response; None if it is longer than `limit`."""
    pieces, length = [], 0
    async for piece in response.content.iter_any():
        length += len(piece)
        if length > limit:
            return None
        pieces.append(piece)
    return b"".join(pieces)
