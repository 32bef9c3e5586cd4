"""The lifetime of presigned links, and the service's clock.

Three clocks are in play: that of whoever signed the links (`X-Amz-Date`), the API's (`Date`), and ours, which only goes
forward and knows no date. They are never compared with one another: only time that passed on one and the same clock
counts, and S3, whose clock decides, is asked where that leaves a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MARGIN = timedelta(seconds=60)
"""S3 checks a link when the request arrives and lets a PUT under way go on: so much must be left when a part begins,
for the way there and for the service's clock, which tells whole seconds."""


@dataclass(frozen=True, slots=True)
class LinkLifetime:
    """Of the links of a plan: the first that dies counts."""

    signed_at: datetime
    expires_at: datetime

    @property
    def seconds(self) -> float:
        """How long they live in all."""
        return (self.expires_at - self.signed_at).total_seconds()

    @property
    def margin(self) -> float:
        """Seconds that must be left when a part begins; half of a short life, or its links would never be used."""
        return min(MARGIN.total_seconds(), self.seconds / 2)


@dataclass(frozen=True, slots=True)
class Now:
    """The time, by each clock that can be read."""

    monotonic: float
    """Ours, in seconds. It may stand still while the machine sleeps (Linux, macOS)."""
    service: datetime | None
    """The API's; None before an answer has told it. The local date does not stand in for it: it may be years off."""


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a plan in force, and since when they are known."""

    life: LinkLifetime | None
    """None where the links do not tell."""
    known_since: float
    """By our own clock: when this process received them, or took up a plan that came from elsewhere."""
    received_at: datetime | None
    """When the service sent them, by the API's clock."""
    is_own: bool
    """Whether this process received them at `known_since`; otherwise they are older than that."""

    def spent(self, now: Now) -> float:
        """Return the seconds for which they have lived at least, by the clock that saw more of them."""
        passed = now.monotonic - self.known_since
        if self.received_at is not None and now.service is not None:
            passed = max(passed, (now.service - self.received_at).total_seconds())
        return passed

    def left(self, now: Now) -> float | None:
        """Return the seconds until they die, negative afterwards; None where they do not tell.

        Of links that this process received, our own clock alone tells: one wrong `Date` must not cost what has arrived.
        After a sleep it tells too little, and S3 refuses the next part, which costs one request.
        """
        if self.life is None:
            return None
        return self.life.seconds - (now.monotonic - self.known_since if self.is_own else self.spent(now))

    def may_begin(self, now: Now) -> bool:
        """Return whether a part may begin. Links received a moment ago may always be tried."""
        left = self.left(now)
        return self.life is None or left is None or left > self.life.margin

    def are_new(self, now: Now) -> bool:
        """Return whether they were received a moment ago."""
        moment = MARGIN.total_seconds() if self.life is None else self.life.margin
        return self.is_own and self.spent(now) < moment


class Arrivals:
    """The plans that this process received within the last moment, by our own clock."""

    def __init__(self) -> None:
        self._received: dict[str, float] = {}
        """In the order in which they came."""

    def note(self, file_id: str, monotonic: float) -> None:
        """Note a plan that just arrived, and forget those that are no longer new."""
        while self._received and monotonic - next(iter(self._received.values())) >= MARGIN.total_seconds():
            del self._received[next(iter(self._received))]
        self._received[file_id] = monotonic

    def find(self, file_id: str) -> float | None:
        """Return when a plan arrived; None if it came from elsewhere, or is not new."""
        return self._received.get(file_id)


_SIGNED_AT = re.compile(r"[?&]X-Amz-Date=(\d{8}T\d{6}Z)(?=&|$)")
_LIVES_FOR = re.compile(r"[?&]X-Amz-Expires=(\d{1,9})(?=&|$)")
"""S3 allows seven days at most; a longer number would overflow a date before it meant anything."""


def link_lifetime(urls: Iterable[str]) -> LinkLifetime | None:
    """Read how long presigned URLs live; None where none of them tells."""
    # Ten thousand links of a plan tell the same: their words are compared before they are read.
    words = {
        (signed_at[1], seconds[1])
        for url in urls
        if (signed_at := _SIGNED_AT.search(url)) and (seconds := _LIVES_FOR.search(url))
    }
    lives = [life for told in words if (life := _read(*told)) is not None]
    return min(lives, key=lambda life: life.expires_at, default=None)


def _read(signed_at: str, seconds: str) -> LinkLifetime | None:
    try:
        instant = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return LinkLifetime(instant, instant + timedelta(seconds=int(seconds)))
    except (ValueError, OverflowError):
        return None


REPLANS = 3
"""New plans for one upload. Each one sends the file from its start again: where links of a day die under a file four
times, it does not get through, and where they die sooner files would be made and removed without end."""


def why_not_replaced(links: Links, now: Now, *, replaced: int, has_sent: bool, size: int, rate: float) -> str | None:
    """Return why new links would not help, or None if they may.

    Args:
        links: Those that died.
        now: The time.
        replaced: How often this upload has got new links before.
        has_sent: Whether S3 took a part under these links.
        size: The file's.
        rate: Bytes per second, as measured; 0 where nothing was.
    """
    if replaced >= REPLANS:
        return f"this upload's links have died {replaced + 1} times"
    if links.are_new(now):
        # S3 would say so of new ones too. Only where they do not tell how long they live, and S3 took one of them
        # just now, may they have been as short-lived as that.
        may_help = links.life is None and has_sent
        return None if may_help else "the links were just issued: the clocks of S3 and of the service differ"
    usable = [] if links.life is None else [links.life.seconds - links.life.margin]
    if links.is_own:
        # They may live for less than they say: with the credentials they were signed with (`ExpiredToken`).
        usable.append(links.spent(now))
    if usable and is_hopeless(size, rate, min(usable)):
        return f"at {rate:.0f} bytes/s the file takes longer than new links would live"
    return None


def is_hopeless(size: int, bytes_per_second: float, seconds: float) -> bool:
    """Return whether a file takes longer than links can be used, at the rate that was measured."""
    return bytes_per_second > 0 and size / bytes_per_second > seconds


class ServiceClock:
    """The service's time, from the `Date` of its answers and a clock of ours that only goes forward."""

    def __init__(self) -> None:
        self._known: tuple[datetime, float] | None = None

    def observe(self, date: str, monotonic: float) -> None:
        """Read an answer's `Date`; one that is none, or of no time that we live in, tells nothing."""
        try:
            told = parsedate_to_datetime(date)
        except (ValueError, TypeError, IndexError, OverflowError):
            return
        if not 1990 <= told.year < 2990:  # a time to which nothing could be added would overflow later
            return
        self._known = told if told.tzinfo else told.replace(tzinfo=UTC), monotonic

    def now(self, monotonic: float) -> datetime | None:
        """Return the service's time; None while it has told none."""
        if self._known is None:
            return None
        told, at = self._known
        return told + timedelta(seconds=monotonic - at)
