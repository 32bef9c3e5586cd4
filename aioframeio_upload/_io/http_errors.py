"""Describe aiohttp's failures in our own words: its messages contain the URL, which is a credential."""

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
"""Everything that a request can raise because of the network. (`asyncio.TimeoutError` is `TimeoutError`; a resolver
raises UnicodeError for a name that it cannot encode.)"""

UNTRUSTED = "the server's certificate is not trusted"
"""The command line adds to this sentence which option helps."""

NO_COMMON_TLS = frozenset(
    {
        *("WRONG_VERSION_NUMBER", "WRONG_SSL_VERSION", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST"),  # not TLS at all
        *("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW"),
        *("NO_CIPHERS_AVAILABLE", "NO_SHARED_CIPHER", "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
        *("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE"),
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)
"""OpenSSL's reasons (`sslerr.h`) for a handshake that fails in the same way each time. Others, such as an end of file,
are those of a server that restarts."""

PROXY_FINDS_NONE = (502, 503, 504)
"""What a proxy answers a CONNECT with where its own link is down, or the name is not found (Squid: 503)."""

PROXY_MAY_TAKE_IT_LATER = (408, 429)


class Lost(aiohttp.ClientConnectionError):
    """A connection broke under a request; in words of ours."""


class Misrouted(aiohttp.InvalidURL):
    """There is no way to a host as it was asked for, as with a proxy that is none; in words of ours."""


@asynccontextmanager
async def cancelled_by_us_alone() -> AsyncIterator[None]:
    """Make a broken connection of a cancellation that nobody sent to the current task.

    A caller's connector shares its look-ups among requests, and may ask a resolver of the caller's.
    """
    try:
        yield
        return
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
    raise Lost("what the connection waited for was cancelled")


async def send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET or DELETE again by itself after a disconnect (a middleware for a request).

    Every attempt is ours: counted, paced and told. It would repeat a `ClientOSError` or `ServerDisconnectedError`.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        words = describe(error)
    raise Lost(words)


def kind_of(error: BaseException) -> FailureKind:
    """Classify a failure; what becomes of each kind is in the table of faults, for parts and API calls alike."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ServerFingerprintMismatch):
        return FailureKind.UNTRUSTED
    if _is_misconfigured(error):
        return FailureKind.MISCONFIGURED
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return FailureKind.UNREACHABLE if error.status in PROXY_FINDS_NONE else FailureKind.LOST
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return FailureKind.UNREACHABLE
    return FailureKind.LOST


def _is_misconfigured(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return 400 <= error.status < 500 and error.status not in PROXY_MAY_TAKE_IT_LATER
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return _tls_reason(error) in NO_COMMON_TLS
    return isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError | UnicodeError)


def _tls_reason(error: BaseException) -> str | None:
    """Return OpenSSL's word for why a handshake failed, a constant such as `WRONG_VERSION_NUMBER`."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorSSLError) else error.__cause__
    return cause.reason if isinstance(cause, ssl.SSLError) else None


def describe(error: BaseException, host: str | None = None) -> str:
    """Return what happened, without any word that came with the exception.

    Args:
        error: What the request raised.
        host: The host that was asked, to tell a URL of ours that is not valid from a proxy's.
    """
    if isinstance(error, Lost | Misrouted):
        return str(error)
    if isinstance(error, aiohttp.InvalidURL):
        its = error.url.raw_host if isinstance(error.url, URL) else str(error.url)
        return f"the URL of host {host} is not valid" if host and its == host else "the proxy's URL is not valid"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused ({error.status})"
    words = next((words for kinds, words in _WORDS if isinstance(error, kinds)), "the request failed")
    if isinstance(error, aiohttp.ClientConnectorSSLError) and (reason := _tls_reason(error)):
        return f"{words} ({reason})"
    return words + _errno(error)


def _errno(error: BaseException) -> str:
    # OpenSSL's numbers are no errno: its 1 would read as EPERM.
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError) or isinstance(error.__cause__, ssl.SSLError):
        return ""
    # The resolver's (EAI_…) are negative and none either.
    name = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    return f" ({name})" if name else ""


# Narrow before wide: aiohttp's classes inherit from one another.
_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "the host's name could not be resolved"),
    (aiohttp.ClientConnectorCertificateError, UNTRUSTED),
    (aiohttp.ClientConnectorSSLError, "the TLS handshake failed"),
    (aiohttp.ClientProxyConnectionError, "the proxy could not be reached"),
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (aiohttp.ClientConnectorError, "no connection"),
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
    """Read an answer's body to its end; None where it is longer than `limit`."""
    pieces, length = [], 0
    async for piece in response.content.iter_any():
        length += len(piece)
        if length > limit:
            return None
        pieces.append(piece)
    return b"".join(pieces)
