"""Grant slots to parts, and adapt their number to what the parts in flight move.

A new slot opens its connection when its part begins, not ahead of need: the others fill the link meanwhile, and even
where the number grows most, connections that were opened early gained less than the noise (docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any, NamedTuple, Protocol

from .._core.concurrency import Concurrency, Reason, Sample
from .._core.failures import AttemptFailure, FailureKind, is_throttle
from .._core.model import Receipt
from .._core.stragglers import MOST_RACES, SPACING, Flight, Stragglers
from .congestion import PartConnections
from .fair_limiter import FairLimiter
from .log import log
from .tcp_state import TcpState, read_tcp_state

PERIOD = 0.1
"""Seconds between two samples while parts are in flight. A sample of 64 connections takes a fifth of a millisecond."""


STARVED = 0.2
"""Share of a connection's busy time in which the receiver's window was full: then the receiver limits it."""

AVOID = 600.0
"""Seconds for which a connection to an address that was slow is the last choice."""

OTHER_PATH = 3.0
"""Times the least round trip of all connections: one with a longer one goes elsewhere."""


class Path(NamedTuple):
    """What the kernel knows of the way that a connection goes; seconds."""

    least: float
    """The least round trip."""
    now: float
    """The present round trip."""
    is_starved: bool


class Sending(Protocol):
    """A part in flight."""

    @property
    def sent(self) -> int:
        """Bytes that have left."""
        ...

    @property
    def transport(self) -> asyncio.WriteTransport | None:
        """The connection; None before there is one."""
        ...

    @property
    def is_held(self) -> bool:
        """Whether a pause of its upload holds it, or a caller's pool that has no connection for it."""
        ...


class PartSlots:
    """The slots for parts of all uploads of an Uploader. Owned by its `Session`.

    While parts are in flight, a timer samples what they move; an idle Uploader has neither timer nor task.

    Args:
        limit: The most slots.
        adaptive: Whether the rate decides on their number.
        unacknowledged: Returns how many bytes of a socket the other end does not have yet, where the kernel tells.
        slow: Gets the addresses of stragglers, and until when others are better.
        connections: Their congestion control.
        bandwidth: Bytes per second that all parts may send together; None for no limit.
    """

    def __init__(
        self,
        limit: int,
        *,
        adaptive: bool,
        unacknowledged: Callable[[Any], int],
        slow: dict[str, float],
        connections: PartConnections,
        bandwidth: int | None = None,
    ) -> None:
        self._control = Concurrency(limit, adaptive, bandwidth)
        self._connections = connections
        self._unacknowledged = unacknowledged
        self._flying: dict[Sending, Flight] = {}
        self._stragglers = Stragglers()
        self._races = 0
        """Second attempts that run or wait for a slot."""
        self._compared_at = 0.0
        self._slow = slow
        """Addresses that were slow, and until when others come first."""
        self._moved = 0
        """Bytes that the other ends have acknowledged."""
        self._resent = 0
        """Bytes that were sent again."""
        self._states: dict[asyncio.WriteTransport, TcpState] = {}
        """Of each connection, as of the last look: the kernel counts from its beginning. By transport, because a file
        descriptor may belong to another connection later."""
        self._timer: asyncio.TimerHandle | None = None
        self.limiter: FairLimiter = FairLimiter(self._control.slots)
        self.spooled: FairLimiter = FairLimiter(self.wanted, limit)
        """Places for spooled parts of streams: as many as can be sent, and one for each stream, up to the limit. A part
        has its place while it comes from its source, which may be a slow client of a web server."""

    @property
    def wanted(self) -> int:
        """How many parts should be ready to be sent: with a fixed number, as many; otherwise one more than there are
        slots, which shows that more could be sent."""
        return self._control.slots + 1 if self._control.adaptive else self._control.limit

    @property
    def reason(self) -> Reason:
        """Why there are as many slots as there are."""
        return self._control.reason

    @property
    def rate(self) -> float:
        """Bytes per second that all parts together moved in the last second; 0 while none is in flight."""
        return self._control.rate if self._flying else 0.0

    async def acquire(self, upload: Hashable, size: int) -> None:
        """Wait for a slot.

        Args:
            upload: Who asks; slots are shared fairly between uploads.
            size: Bytes of the part.
        """
        if not self._flying:
            self._sample(size)  # the first one: it decides how many begin
        await self.limiter.acquire(upload)

    def is_straggler(self, part: Sending) -> bool:
        """Return whether a part in flight is far behind the others."""
        flight = self._flying.get(part)
        return flight is not None and flight.is_straggler

    def begin_race(self) -> bool:
        """Return whether one more second attempt may begin; if so, `end_race` must follow."""
        if self._races >= MOST_RACES:
            return False
        self._races += 1
        return True

    def end_race(self) -> None:
        """Note that a second attempt has ended."""
        self._races -= 1

    def release(self, upload: Hashable) -> None:
        """Return a slot."""
        self.limiter.release(upload)

    @contextmanager
    def sending(self, part: Sending, size: int) -> Iterator[Callable[[Receipt | AttemptFailure], None]]:
        """Count a part as in flight.

        Yields:
            A function that notes how the attempt ended.
        """
        begun_at = time.monotonic()
        flight = self._flying[part] = Flight(size, begun_at)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._tick)

        def ended(outcome: Receipt | AttemptFailure) -> None:
            self._note(outcome, begun_at)
            if isinstance(outcome, Receipt):
                self._stragglers.completed(flight, time.monotonic())

        try:
            yield ended
        finally:
            self._count(part)
            del self._flying[part]
            if flight.is_straggler and part.transport is not None:
                part.transport.abort()  # aiohttp takes no connection from its pool that is closed
            if not self._flying:
                self._forget_closed()

    def close(self) -> None:
        """Stop sampling."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note(self, outcome: Receipt | AttemptFailure, begun_at: float) -> None:
        now, in_flight = time.monotonic(), len(self._flying)
        before = self._control.slots
        if isinstance(outcome, Receipt):
            self._control.completed()
        elif is_throttle(outcome):
            self._control.refused(now, begun_at, in_flight)
            if self._control.slots < before:
                log.debug("S3 is overloaded: %d parts in flight from now on", self._control.slots)
        elif outcome.kind in (FailureKind.LOST, FailureKind.STALLED):
            self._control.lost(now, begun_at, in_flight)
            if self._control.slots < before:
                log.debug("connections fail: %d parts in flight from now on", self._control.slots)
        self._apply()

    def _tick(self) -> None:
        self._timer = None
        if self._flying:
            self._sample()
            self._compare()
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._tick)

    def _sample(self, first: int = 0) -> None:
        paths = self._look()
        was_backing_off = self._control.reason == "backing off"
        flying = len(self._flying)
        trip, queue = queue_of(paths)
        self._control.observe(
            Sample(
                now=time.monotonic(),
                moved=self._moved,
                in_flight=flying,
                waiting=self.limiter.waiting,
                part_size=sum(flight.size for flight in self._flying.values()) // flying if flying else first,
                round_trip=trip,
                queue=queue,
                resent=self._resent,
                awaits_congestion=self._connections.is_pending,
            )
        )
        if was_backing_off and self._control.reason != "backing off":
            log.debug("S3 is quiet again: %d parts in flight from now on", self._control.slots)
        self._apply()

    def _compare(self) -> None:
        """Look for stragglers."""
        now = time.monotonic()
        if now - self._compared_at < SPACING:
            return
        self._compared_at = now
        for part, flight in self._flying.items():
            flight.is_held = part.is_held
            flight.is_sent = part.sent >= flight.size and flight.moved >= flight.size
        is_idle = not self.limiter.waiting and self.limiter.in_use < self.limiter.total
        self._stragglers.look(now, list(self._flying.values()), is_idle=is_idle)
        for part, flight in self._flying.items():
            if flight.is_straggler and (address := address_of(part.transport)) is not None:
                self._slow[address] = now + AVOID

    def _apply(self) -> None:
        # One part more while an upload has none: parts of a large file may take an hour each.
        extra = self._control.spare if self.limiter.has_new() else 0
        self.limiter.total = self._control.slots + extra
        self.spooled.total = self.wanted

    def _look(self) -> list[Path]:
        """Count what was acknowledged since the last look, and return what the kernel knows of the paths."""
        self._forget_closed()
        return [path for path in map(self._count, self._flying) if path is not None]

    def _forget_closed(self) -> None:
        for transport in [transport for transport in self._states if transport.is_closing()]:
            del self._states[transport]

    def _count(self, part: Sending) -> Path | None:
        transport = part.transport
        if transport is None or transport.is_closing():  # asyncio's TLS transport has no socket once it is closed
            return None
        sock = transport.get_extra_info("socket")
        state = read_tcp_state(sock)
        if state is not None:
            before = self._states.get(transport)
            moved = max(0, state.acked - (before.acked if before is not None else 0))
            self._moved += moved
            self._flying[part].moved += moved
            self._resent += max(0, state.resent - (before.resent if before is not None else 0))
            self._states[transport] = state
            return Path(state.least_round_trip, state.round_trip, before is not None and is_starved(before, state))
        # Elsewhere the attempt counts what it wrote, and some systems tell what the kernel still has of it.
        flight = self._flying[part]
        moved = max(flight.moved, part.sent - self._unacknowledged(sock))
        self._moved += moved - flight.moved
        flight.moved = moved
        return None


def address_of(transport: asyncio.WriteTransport | None) -> str | None:
    """Return the address that a connection goes to."""
    peer = None if transport is None or transport.is_closing() else transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else None


def is_starved(before: TcpState, now: TcpState) -> bool:
    """Return whether the receiver limits a connection. Its acknowledgements may come late, which is no queue."""
    return now.limited_by_receiver - before.limited_by_receiver > STARVED * (now.busy - before.busy)


def queue_of(paths: Sequence[Path]) -> tuple[float, float | None]:
    """Return the least round trip of some connections, and the mean time that packets wait in queues; None if unknown.

    A connection that began while the queue was full has not seen the path without it, so it is compared with the least
    of all, unless it goes so much farther that it must be another path.
    """
    if not paths:
        return 0.0, None
    least = min(path.least for path in paths)
    waits = (path.now - (least if path.least <= OTHER_PATH * least else path.least) for path in paths)
    return least, fmean(0.0 if path.is_starved else max(0.0, wait) for path, wait in zip(paths, waits, strict=True))
