"""Send requests with aiohttp itself, without what a host's instrumentation wraps around it, and hide their credentials.

Instrumentation copies the whole URL of a request into a trace, and a part's URL is a credential for a day. It also adds
headers, which a signed request should not have. OpenTelemetry, Sentry and Instana wrap `ClientSession.__init__` to add
a `TraceConfig`, Datadog to replace the connector; Datadog, Elastic and New Relic wrap `ClientSession._request`, New
Relic `ClientRequest.send` too. All of them keep the original as `__wrapped__`. So that what is hooked in elsewhere (a
connector, a resolver that logs, an error tracker that reports variables) sees no credential either, aiohttp gets a URL
without its query, and headers without the token: both are put in when the request is written.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from .._core.redact import Secret
from .._version import __version__

LONGEST_FIELD = 64 << 10
"""Bytes of one header field of a response."""

MOST_FIELDS = 512
"""Header fields of a response."""

KEEPALIVE = 4.0
"""Seconds. S3 drops an idle connection after about five (aws-c-s3, `s3_client.c`), aiohttp after 15; a PUT on a
connection that S3 has dropped is a lost attempt."""

CREDENTIALS = frozenset({"authorization", "proxy-authorization"})
"""Headers that aiohttp does not get."""

# Read once, so that what is installed later without `__wrapped__` is passed by too. Not a subclass of `ClientSession`:
# aiohttp discourages that with a warning.
_INIT: Final[Callable[..., None]] = inspect.unwrap(aiohttp.ClientSession.__init__)
_REQUEST: Final[Callable[..., Awaitable[aiohttp.ClientResponse]]] = inspect.unwrap(
    aiohttp.ClientSession._request  # noqa: SLF001  # `request()` looks this up, and so finds a wrapper
)
_SEND: Final[Callable[..., Awaitable[aiohttp.ClientResponse]]] = inspect.unwrap(aiohttp.ClientRequest.send)


class Stages(Protocol):
    """Gets what happens to a request: its `trace_request_ctx`."""

    def queued(self) -> None:
        """Note that it waits for a connection: others use all that the connector allows."""
        ...

    def admitted(self) -> None:
        """Note that it waits no longer. It may be queued again, if another request was faster."""
        ...

    def sent(self) -> None:
        """Note that its headers have left."""
        ...


def request(  # noqa: PLR0913  # aiohttp's arguments
    session: aiohttp.ClientSession,
    method: str,
    url: Secret[URL],
    *,
    headers: Mapping[str, str],
    proxy_headers: Mapping[str, str] | None = None,
    middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (),
    stages: Stages | None = None,
    **options: Any,
) -> Awaitable[aiohttp.ClientResponse]:
    """Send a request, and return the response to enter, once it is awaited.

    The response, aiohttp's exceptions and trace hooks have the URL without its query, user and password.

    Args:
        session: A session of `open_http_session`.
        method: The method.
        url: The whole URL, already encoded.
        headers: All headers; those of `CREDENTIALS` are hidden.
        proxy_headers: Headers for a proxy's CONNECT; hidden.
        middlewares: aiohttp's middlewares of this request.
        stages: Gets what happens to it.
        **options: Further arguments of `aiohttp.ClientSession.request`.
    """
    hidden = _Hidden(
        Secret(url.reveal().with_user(None)),
        Secret({name: value for name, value in headers.items() if name.lower() in CREDENTIALS}),
        Secret(proxy_headers or {}),
    )
    return _REQUEST(
        session,
        method,
        hidden.url.reveal().with_query(None).with_fragment(None),
        headers={name: value for name, value in headers.items() if name.lower() not in CREDENTIALS},
        middlewares=(*middlewares, hidden),
        trace_request_ctx=stages,
        **options,
    )


class _Hidden:
    """What aiohttp does not get of a request: a client middleware that hands it to the request itself."""

    def __init__(
        self, url: Secret[URL], headers: Secret[Mapping[str, str]], proxy_headers: Secret[Mapping[str, str]]
    ) -> None:
        self.url = url
        self.headers = headers
        self._proxy_headers = proxy_headers

    def __call__(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> Awaitable[aiohttp.ClientResponse]:
        # Not `async`: it would be one more frame of each part that is in flight.
        assert isinstance(request, _Request)
        request.hidden = self
        if self._proxy_headers.reveal():
            # A copy, because aiohttp's own frame holds the original.
            request.proxy_headers = CIMultiDict(request.proxy_headers or {})
            request.proxy_headers.update(self._proxy_headers.reveal())
        return send(request)


class _Request(aiohttp.ClientRequest):
    """A request whose query and credentials are put in while its head is written."""

    hidden: _Hidden

    def _shown(self) -> aiohttp.RequestInfo:
        """Return what the response and exceptions of aiohttp show of the request."""
        return super().request_info._replace(url=self.original_url)

    request_info = property(_shown)  # pyright: ignore[reportIncompatibleMethodOverride]  # overrides a property

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Write the head, and start to write the body."""
        shown = self.url
        self.url = self.hidden.url.reveal()
        self.headers.update(self.hidden.headers.reveal())
        try:
            return await _SEND(self, conn)
        finally:
            self.url = shown
            for name in self.hidden.headers.reveal():
                self.headers.pop(name, None)


def open_http_session(
    shared: aiohttp.ClientSession | None,
    traces: tuple[aiohttp.TraceConfig, ...] = (),
    resolver: AbstractResolver | None = None,
) -> aiohttp.ClientSession:
    """Make the aiohttp session for API and parts; use it with `request` only.

    Only the connector of a caller's session is used (pool, resolver, TLS): its default headers, `auth`, cookies,
    `raise_for_status`, trace configs and timeouts must not affect a signed request, and S3 must not see the token. No
    `trust_env`, because netrc may add an `Authorization` header, which S3 refuses beside a signed query.
    """
    if shared is None:
        connector: aiohttp.BaseConnector | None = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=KEEPALIVE, resolver=resolver
        )
    else:
        connector = shared.connector
    if connector is None:
        raise RuntimeError("the session that was given is closed")
    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(_on_queued)
    trace.on_connection_queued_end.append(_on_admitted)
    trace.on_request_headers_sent.append(_on_headers_sent)
    session = aiohttp.ClientSession.__new__(aiohttp.ClientSession)
    _INIT(
        session,
        connector=connector,
        trace_configs=[trace, *traces],
        connector_owner=shared is None,
        request_class=_Request,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"aioframeio-upload/{__version__}"},
        auto_decompress=True,
        # Limits for responses. aiohttp's defaults (8 KB per line or field, 128 fields) protect servers; gateways and
        # policies add longer and more fields to valid responses.
        max_line_size=LONGEST_FIELD,
        max_field_size=LONGEST_FIELD,
        max_headers=MOST_FIELDS,
        requote_redirect_url=False,
        trust_env=False,
    )
    return session


async def _on_queued(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.queued()


async def _on_admitted(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.admitted()


async def _on_headers_sent(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.sent()
