"""aiohttp's ways of telling that the wire failed, in words of ours: its own hold the URL, which is a credential."""

from __future__ import annotations

import errno
import ssl

import aiohttp

FAILURES = (aiohttp.ClientError, OSError, TimeoutError)
"""Everything that a request can raise because of the network. (`asyncio.TimeoutError` is `TimeoutError`.)"""


class Lost(aiohttp.ClientConnectionError):
    """A connection broke under a request; in words of ours."""


class Misrouted(aiohttp.InvalidURL):
    """There is no way to a host as it was asked for, as with a proxy that is none; in words of ours."""


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


def never_sent(error: BaseException) -> bool:
    """Say whether the request surely did not reach the server: there was no connection to send it on."""
    return isinstance(
        error,
        aiohttp.ClientConnectorError
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientHttpProxyError
        | aiohttp.InvalidURL,
    )


def unreachable(error: BaseException) -> bool:
    """Say whether there was no connection, as when a link is down; a proxy that refuses is there."""
    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def untrusted(error: BaseException) -> bool:
    """Say whether the server's certificate was refused: that is no accident, and does not pass."""
    return isinstance(error, aiohttp.ClientConnectorCertificateError)


def describe(error: BaseException) -> str:
    """Say what happened, without any word that came with the exception."""
    if isinstance(error, Lost | Misrouted):
        return str(error)
    return next((words for kinds, words in _WORDS if isinstance(error, kinds)), "the request failed") + _errno(error)


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
    (aiohttp.ClientConnectorCertificateError, "the server's certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, "the TLS handshake failed"),
    (aiohttp.ClientProxyConnectionError, "the proxy could not be reached"),
    (aiohttp.ClientHttpProxyError, "the proxy refused"),
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (aiohttp.ClientConnectorError, "no connection"),
    (aiohttp.ServerTimeoutError, "no answer in time"),
    (aiohttp.ServerDisconnectedError, "the server closed the connection without an answer"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.ClientResponseError, "the answer was not HTTP"),
    (aiohttp.InvalidURL, "the URL is not valid"),
    (aiohttp.ClientConnectionError, "the connection broke"),
    (TimeoutError, "no answer in time"),
    (OSError, "the connection broke"),
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
