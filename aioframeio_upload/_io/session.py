"""The resources that all uploads of an Uploader share: the HTTP session, slots, threads, buffers and settings."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import anyio
from yarl import URL

from .._core.checksums import HostChecksums, load
from .._core.concurrency import FIRST
from .._core.instrumentation import NO_INSTRUMENTATION, Instrumentation
from .._core.listing import Clocks
from .._core.model import ChecksumMode, Part
from .._core.presigned import Arrivals, Links, Now, ServiceClock, link_lifetime
from .._core.redact import Secret
from .._core.settings import Limits, RetryPolicy, Timeouts, most_parts
from .buffers import SILENCE, BufferPool, block_for
from .congestion import PartConnections
from .files import ReadThreads, in_thread
from .flow_control import BandwidthLimiter
from .http_client import open_http_session
from .http_errors import Misrouted
from .journal import AsyncJournal
from .outages import Outages
from .part_payload import unacknowledged
from .part_slots import PartSlots
from .proxies import Proxies
from .resolver import SteeredResolver
from .spool import Spool

API_CALLS = 32
"""API calls in flight at the same time. The documented rates are five a second or less for each operation, so even if
the service takes seconds to answer, it can be called as often as it allows. Without a bound, a slow service would get a
connection for every upload that waits for its confirmation, and some systems allow a process only 256 open files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploaderSettings:
    """The arguments of an Uploader that its uploads need. Shows no credentials."""

    limits: Limits = Limits()  # noqa: RUF009  # frozen, so instances can share it
    timeouts: Timeouts = Timeouts()  # noqa: RUF009  # frozen
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009  # frozen
    checksum: ChecksumMode = "auto"
    proxies: Proxies = field(default_factory=lambda: Proxies(Secret(None)))
    session: aiohttp.ClientSession | None = None
    """The caller's, of which only the connector is used."""
    ssl: ssl.SSLContext | None = None
    spool_dir: str | os.PathLike[str] | None = None
    traces: tuple[aiohttp.TraceConfig, ...] = ()
    """Further hooks of the HTTP session."""
    telemetry: Instrumentation = NO_INSTRUMENTATION

    def portable(self) -> UploaderSettings:
        """Return the settings that another process can use: a connection, a TLS context and a folder stay here."""
        return replace(self, session=None, ssl=None, spool_dir=None, traces=())


@dataclass(slots=True, kw_only=True)
class Session:
    """The shared resources of an Uploader, which alone opens them when entered and closes them when left."""

    session: aiohttp.ClientSession
    """Has its own connector or the caller's. Requests use `session_for` instead."""
    resolver: SteeredResolver
    """Used by a connector of our own; the caller's has another."""
    executor: ReadThreads
    spool: Spool
    blocks: BufferPool
    settings: UploaderSettings
    part_slots: PartSlots
    bandwidth: BandwidthLimiter
    clock: ServiceClock
    arrivals: Arrivals
    outages: Outages
    connections: PartConnections
    file_slots: anyio.Semaphore
    api_slots: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(API_CALLS))
    """Slots for API calls: each call in flight has a connection, and so an open file; a thousand uploads may call at
    once."""
    journal: AsyncJournal | None = None
    """Opened by the Uploader, because opening it has to be awaited."""
    checksums: HostChecksums = field(default_factory=HostChecksums)
    expectless: set[str] = field(default_factory=set)
    """Hosts that, or whose proxies, do not answer `Expect: 100-continue`."""
    spare: aiohttp.ClientSession | None = None
    """A session with a separate connector, for cleaning up after the caller has closed theirs."""
    retries: int = 0
    """Part attempts that failed and were repeated."""

    @property
    def limits(self) -> Limits:
        """The limits of all uploads together."""
        return self.settings.limits

    @property
    def timeouts(self) -> Timeouts:
        """How long to wait."""
        return self.settings.timeouts

    @property
    def retry(self) -> RetryPolicy:
        """How often to try."""
        return self.settings.retry

    def count_retries(self, count: int = 1) -> None:
        """Count part attempts that failed and are made again."""
        self.retries += count
        self.settings.telemetry.retried("part", count)

    def clocks(self) -> Clocks:
        """Return the service's time and the local time."""
        local = datetime.now(UTC)
        return Clocks(self.now().service or local, local)

    def now(self) -> Now:
        """Return the current time on the local monotonic clock and on the service's clock."""
        monotonic = time.monotonic()
        return Now(monotonic, self.clock.now(monotonic))

    def session_for(self, *, cleaning: bool = False) -> aiohttp.ClientSession:
        """Return the session for the next request.

        Args:
            cleaning: The request deletes a placeholder. If the caller has closed their session, only such requests use
                a connection of our own: no other request may bypass the caller's resolver, pool and TLS settings.

        Raises:
            Misrouted: The caller has closed their session.
        """
        if not self.session.closed:
            return self.session
        if not cleaning:
            raise Misrouted("the aiohttp session that was given to the Uploader is closed; close it after the Uploader")
        if self.spare is None:
            self.spare = open_http_session(None)
        return self.spare

    def service_now(self) -> datetime:
        """Return the service's time; before its first answer, the local time."""
        return self.now().service or datetime.now(UTC)

    def links(self, file_id: str, parts: Iterable[Part], received_at: datetime | None = None) -> Links:
        """Return the links of a plan that this process starts to use now."""
        own = self.arrivals.find(file_id)
        since = time.monotonic() if own is None else own
        life = link_lifetime(part.url for part in parts)
        if life is not None and life.seconds < 1:
            life = None  # not a valid `X-Amz-Expires`, which is at least 1; S3 decides about such links
        return Links(life, since, received_at, is_own=own is not None)

    async def close(self) -> None:
        """Close all resources; a read that hangs in its thread is abandoned."""
        self.connections.close()
        try:
            with anyio.CancelScope(shield=True):
                await self.session.close()
                await self.resolver.close()
                if self.spare is not None:
                    await self.spare.close()
                if self.journal is not None:
                    await self.journal.close()
        finally:
            self.part_slots.close()
            self.executor.shutdown(wait=False, cancel_futures=True)
            self.blocks.close()

    def apart(self, url: URL) -> dict[str, Any]:
        """Return the keyword arguments for aiohttp that open a new connection, to an address that is looked up anew.

        The name of the server is what it would be anyway, but it is a part of the pool's key: no connection of the
        usual ones is found under it.
        """
        connector = self.session.connector
        if isinstance(connector, aiohttp.TCPConnector) and url.raw_host and url.port:
            connector.clear_dns_cache(url.raw_host, url.port)
        return {"server_hostname": url.raw_host}

    def route_to(self, url: URL, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the keyword arguments for aiohttp that set proxy, headers and TLS of a request.

        Raises:
            Misrouted: The proxy of that host is not usable.
        """
        return {**self.settings.proxies.route_to(url, headers), "ssl": self.settings.ssl or True}


async def open_session(settings: UploaderSettings) -> Session:
    """Open the shared resources; to be called on the loop that the uploads run on.

    Raises:
        RuntimeError: The caller's session is closed.
    """
    limits = settings.limits
    # So many that the parts of one unresponsive source leave threads for opening others.
    executor = ReadThreads(limits.files + most_parts(limits), settings.timeouts.stall)
    try:
        # Here, so that neither the import of this package nor the first part takes the 30 ms.
        await in_thread(executor, load)
        return _open_session(settings, executor)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise


def _open_session(settings: UploaderSettings, executor: ReadThreads) -> Session:
    limits = settings.limits
    slow: dict[str, float] = {}
    resolver = SteeredResolver(slow)
    own = open_http_session(settings.session, settings.traces, resolver)
    most = slots_within(limits, own.connector)
    connections = PartConnections(limits.congestion, is_limited=limits.bandwidth is not None)
    slots = PartSlots(
        most,
        adaptive=limits.parts == "auto",
        unacknowledged=unacknowledged,
        slow=slow,
        connections=connections,
        bandwidth=limits.bandwidth,
    )
    return Session(
        session=own,
        resolver=resolver,
        executor=executor,
        spool=Spool(settings.spool_dir, slots.spooled),
        blocks=BufferPool(most, limits.bandwidth),
        settings=settings,
        checksums=HostChecksums(settings.checksum),
        part_slots=slots,
        bandwidth=BandwidthLimiter(limits.bandwidth),
        clock=ServiceClock(),
        arrivals=Arrivals(),
        outages=Outages(settings.retry.patience),
        connections=connections,
        file_slots=anyio.Semaphore(limits.files),
    )


def slots_within(limits: Limits, connector: aiohttp.BaseConnector | None) -> int:
    """Return the most part slots there may be.

    They are fewer than the connections of a caller's connector, or parts would stall in its queue and block API calls;
    and no more than can each send a block within SILENCE under `Limits.bandwidth`. Under that limit, `"auto"` uses no
    more than it begins with: the link's queue is empty then, and would seem to call for more.
    """
    bounds = (getattr(connector, name, 0) for name in ("limit", "limit_per_host"))
    found = [max(1, bound - 1) for bound in bounds if bound]
    if limits.bandwidth is not None:
        found.append(max(1, int(limits.bandwidth * SILENCE / block_for(limits.bandwidth))))
        if limits.parts == "auto":
            found.append(FIRST)
    return min([most_parts(limits), *found])
