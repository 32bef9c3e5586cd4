"""What all uploads of an Uploader share: the HTTP session, slots, threads, buffers and settings."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
from yarl import URL

from .._core.checksums import EtagTrust
from .._core.concurrency import Slots
from .._core.listing import Clocks
from .._core.model import Part
from .._core.presigned import Arrivals, Links, Now, ServiceClock, link_lifetime
from .._core.settings import Limits, RetryPolicy, Timeouts
from .._version import __version__
from .buffers import SILENCE, BufferPool, block_for
from .files import ReadThreads
from .flow_control import BandwidthLimiter
from .http_errors import Misrouted
from .journal import AsyncJournal
from .log import log
from .proxies import Proxies
from .spool import Spool

LONGEST_FIELD = 64 << 10
"""Bytes of one header field of an answer."""

MOST_FIELDS = 512
"""Header fields of an answer."""

KEEPALIVE = 4.0
"""Seconds. S3 drops an idle connection after about five (aws-c-s3, s3_client.c); aiohttp keeps it for 15, and a PUT
on a dead connection is a lost attempt."""

API_CALLS = 32
"""API calls under way at the same time. The documented rates are five a second or less for each operation, so a service
that takes seconds to answer is still asked as often as it allows. Without a bound, a slow one would have a connection
for every upload that waits for its confirmation, and some systems allow a process 256 open files."""


@dataclass(slots=True, kw_only=True)
class Session:
    """Made when the Uploader is entered, closed when it is left; only the Uploader does either."""

    session: aiohttp.ClientSession
    """Own, or on the connector of a caller's; requests take it from `session_for`."""
    executor: ReadThreads
    spool: Spool
    blocks: BufferPool
    limits: Limits
    timeouts: Timeouts
    retry: RetryPolicy
    check_etags: bool
    proxies: Proxies
    ssl: ssl.SSLContext | None
    part_slots: anyio.CapacityLimiter
    slots: Slots
    """How many of them there may be."""
    bandwidth: BandwidthLimiter
    clock: ServiceClock
    arrivals: Arrivals
    file_slots: anyio.Semaphore
    api_slots: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(API_CALLS))
    """For API calls under way: each has a connection, and so an open file, and a thousand uploads may ask at once."""
    journal: AsyncJournal | None = None
    """Opened by the Uploader, which alone can wait for it."""
    etags: EtagTrust = field(default_factory=EtagTrust)
    expectless: set[str] = field(default_factory=set)
    """Hosts that do not answer `Expect: 100-continue`, or a proxy in between does not."""
    spare: aiohttp.ClientSession | None = None
    """Of our own, for cleaning up after a caller's session was closed."""
    retries: int = 0
    """Part attempts that failed and were made again."""

    def clocks(self) -> Clocks:
        """Return the service's time and ours."""
        local = datetime.now(UTC)
        return Clocks(self.now().service or local, local)

    def now(self) -> Now:
        """Return the time, by our own clock and by the service's."""
        monotonic = time.monotonic()
        return Now(monotonic, self.clock.now(monotonic))

    def session_for(self, *, cleaning: bool = False) -> aiohttp.ClientSession:
        """Return the session for the next request.

        Args:
            cleaning: It removes what an upload has left. Where the caller has closed the session that was given, this
                alone goes over a connection of our own: nothing else may bypass a caller's resolver, pool and TLS.

        Raises:
            Misrouted: The caller has closed the session that was given.
        """
        if not self.session.closed:
            return self.session
        if not cleaning:
            raise Misrouted("the aiohttp session that was given to the Uploader is closed; close it after the Uploader")
        if self.spare is None:
            self.spare = open_http_session(None)
        return self.spare

    def service_now(self) -> datetime:
        """Give the service's time; ours while it has told none."""
        return self.now().service or datetime.now(UTC)

    def links(self, file_id: str, parts: Iterable[Part], received_at: datetime | None = None) -> Links:
        """Return what is known of the links of a plan that is taken up now."""
        own = self.arrivals.find(file_id)
        since = time.monotonic() if own is None else own
        life = link_lifetime(part.url for part in parts)
        if life is not None and life.seconds < 1:
            life = None  # S3 signs for a second at least: such links tell nothing, and S3 decides
        return Links(life, since, received_at, is_own=own is not None)

    def throttled(self) -> None:
        """Use fewer part slots for a while: S3 asked for it."""
        before = self.part_slots.total_tokens
        self.part_slots.total_tokens = self.slots.throttled(time.monotonic())
        if self.part_slots.total_tokens < before:
            log.debug("S3 is overloaded: %d parts in flight from now on", self.part_slots.total_tokens)

    def recover(self) -> None:
        """Take back part slots that were given up, if there was quiet for long enough."""
        before = self.part_slots.total_tokens
        self.part_slots.total_tokens = self.slots.at(time.monotonic())
        if self.part_slots.total_tokens > before:
            log.debug("S3 is quiet again: %d parts in flight from now on", self.part_slots.total_tokens)

    async def close(self) -> None:
        """Close what was opened; a read that hangs in its thread is left to end by itself."""
        try:
            with anyio.CancelScope(shield=True):
                await self.session.close()
                if self.spare is not None:
                    await self.spare.close()
                if self.journal is not None:
                    await self.journal.close()
        finally:
            self.executor.shutdown(wait=False, cancel_futures=True)
            self.blocks.close()

    def route_to(self, url: URL, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments of a request with these headers that say how to reach a server.

        Raises:
            Misrouted: There is no way, because of the proxy that was chosen.
        """
        return {**self.proxies.route_to(url, headers), "ssl": self.ssl if self.ssl is not None else True}


def open_session(
    *,
    limits: Limits,
    timeouts: Timeouts,
    retry: RetryPolicy,
    check_etags: bool,
    session: aiohttp.ClientSession | None,
    proxies: Proxies,
    ssl: ssl.SSLContext | None,
    spool_dir: str | os.PathLike[str] | None,
) -> Session:
    """Make what the uploads share; called on the loop that they run on."""
    own = open_http_session(session)
    slots = slots_within(limits, own.connector)
    return Session(
        session=own,
        # So many that the parts of one source that does not answer leave enough for others to be opened.
        executor=ReadThreads(limits.files + limits.parts, timeouts.stall),
        spool=Spool(spool_dir, limits.parts),
        blocks=BufferPool(limits.parts, limits.bandwidth),
        limits=limits,
        timeouts=timeouts,
        retry=retry,
        check_etags=check_etags,
        proxies=proxies,
        ssl=ssl,
        part_slots=anyio.CapacityLimiter(slots),
        slots=Slots(slots, slots),
        bandwidth=BandwidthLimiter(limits.bandwidth),
        clock=ServiceClock(),
        arrivals=Arrivals(),
        file_slots=anyio.Semaphore(limits.files),
    )


def open_http_session(shared: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
    """Make the session for API and parts.

    Of a caller's session only the connector is taken (pool, resolver, TLS): its default headers, `auth`, cookies,
    `raise_for_status` and timeouts must not reach a signed request, nor the token S3. No `trust_env`: netrc may add an
    `Authorization` header, which S3 refuses beside a signed query.
    """
    connector = shared.connector if shared is not None else aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)
    if connector is None:
        raise RuntimeError("the session that was given is closed")
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_tell_headers_sent)
    return aiohttp.ClientSession(
        connector=connector,
        trace_configs=[trace],
        connector_owner=shared is None,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"aioframeio-upload/{__version__}"},
        auto_decompress=True,
        # Of an answer: aiohttp's own 8 KB for a line or a field, and 128 fields, are a server's defence. Gateways and
        # policies put longer ones into good answers.
        max_line_size=LONGEST_FIELD,
        max_field_size=LONGEST_FIELD,
        max_headers=MOST_FIELDS,
        requote_redirect_url=False,
        trust_env=False,
    )


async def _tell_headers_sent(session: aiohttp.ClientSession, context: SimpleNamespace, told: object) -> None:
    """Tell what a request gave as its `trace_request_ctx` that its headers have left."""
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.sent()


def slots_within(limits: Limits, connector: aiohttp.BaseConnector | None) -> int:
    """Give the part slots: fewer than a caller's connector has connections, or parts would stall in its queue and keep
    the API's calls out; and no more than can move a block within SILENCE under `Limits.bandwidth`."""
    bounds = (getattr(connector, name, 0) for name in ("limit", "limit_per_host"))
    found = [max(1, bound - 1) for bound in bounds if bound]
    if limits.bandwidth is not None:
        found.append(max(1, int(limits.bandwidth * SILENCE / block_for(limits.bandwidth))))
    return min([limits.parts, *found])
