"""Compute the lifetime of presigned links, with the service's clock.

Three clocks are involved: the signer's (`X-Amz-Date`), the API's (`Date`), and the local monotonic one. They are never
compared with each other: only durations measured on one and the same clock count. S3's own clock decides, so in doubt
a part is simply sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MARGIN = timedelta(seconds=60)
"""Time that must be left when a part begins, for the request to get there and because the API's `Date` has whole
seconds. S3 checks the expiry when the request arrives, and lets a running PUT finish."""


@dataclass(frozen=True, slots=True)
class LinkLifetime:
    """The lifetime of a plan's links: that of the link that expires first."""

    signed_at: datetime
    expires_at: datetime

    @property
    def seconds(self) -> float:
        """Seconds from signing to expiry."""
        return (self.expires_at - self.signed_at).total_seconds()

    @property
    def margin(self) -> float:
        """Seconds that must be left when a part begins; half of a short lifetime, or such links would never be used."""
        return min(MARGIN.total_seconds(), self.seconds / 2)


@dataclass(frozen=True, slots=True)
class Now:
    """The current time on each clock that can be read."""

    monotonic: float
    """The local monotonic clock, in seconds. It may stand still while the machine sleeps (Linux, macOS)."""
    service: datetime | None
    """The API's clock; None before the first answer. The local date is no substitute, because it may be years off."""


@dataclass(frozen=True, slots=True)
class Links:
    """The links of the current plan, and since when they are known."""

    life: LinkLifetime | None
    """None if the links do not contain their lifetime."""
    known_since: float
    """By the monotonic clock: when this process received them, or took over a plan from elsewhere."""
    received_at: datetime | None
    """When the service sent them, by the API's clock."""
    is_own: bool
    """Whether this process received them from the API at `known_since`; otherwise they are older than that."""

    def spent(self, now: Now) -> float:
        """Return the least number of seconds for which the links have existed, by the clock that shows more."""
        passed = now.monotonic - self.known_since
        if self.received_at is not None and now.service is not None:
            passed = max(passed, (now.service - self.received_at).total_seconds())
        return passed

    def left(self, now: Now) -> float | None:
        """Return the seconds until the links expire, negative afterwards; None if the lifetime is unknown.

        For links that this process received, only the monotonic clock counts: a single wrong `Date` must not discard
        parts that have arrived. After a suspend that clock is behind, and S3 refuses the next part, at the cost of one
        request.
        """
        if self.life is None:
            return None
        return self.life.seconds - (now.monotonic - self.known_since if self.is_own else self.spent(now))

    def may_begin(self, now: Now) -> bool:
        """Return whether a part may begin. Links that were received a moment ago are always tried."""
        left = self.left(now)
        return self.life is None or left is None or left > self.life.margin

    def are_new(self, now: Now) -> bool:
        """Return whether the links were received a moment ago."""
        moment = MARGIN.total_seconds() if self.life is None else self.life.margin
        return self.is_own and self.spent(now) < moment


class Arrivals:
    """The plans that this process received within the last `MARGIN`, by the monotonic clock."""

    def __init__(self) -> None:
        self._received: dict[str, float] = {}
        """In the order of arrival."""

    def note(self, file_id: str, monotonic: float) -> None:
        """Record a plan that just arrived, and drop those that are no longer new."""
        while self._received and monotonic - next(iter(self._received.values())) >= MARGIN.total_seconds():
            del self._received[next(iter(self._received))]
        self._received[file_id] = monotonic

    def find(self, file_id: str) -> float | None:
        """Return when a plan arrived; None if it came from elsewhere or is no longer new."""
        return self._received.get(file_id)


_SIGNED_AT = re.compile(r"[?&]X-Amz-Date=([0-9]{8}T[0-9]{6}Z)(?=&|$)")
_LIVES_FOR = re.compile(r"[?&]X-Amz-Expires=0*([0-9]{1,9})(?=&|$)")
"""At most nine digits that count. S3 allows seven days; a longer number would overflow a `datetime`."""


def link_lifetime(urls: Iterable[str]) -> LinkLifetime | None:
    """Read the lifetime of presigned URLs; None if no URL contains it."""
    # A set of the raw texts first: the links of a plan mostly share one, and parsing 10,000 dates would be slow.
    texts = {
        (signed_at[1], seconds[1])
        for url in urls
        if (signed_at := _SIGNED_AT.search(url)) and (seconds := _LIVES_FOR.search(url))
    }
    lives = [life for text in texts if (life := _read(*text)) is not None]
    return min(lives, key=lambda life: life.expires_at, default=None)


def _read(signed_at: str, seconds: str) -> LinkLifetime | None:
    try:
        instant = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return LinkLifetime(instant, instant + timedelta(seconds=int(seconds)))
    except (ValueError, OverflowError):
        return None


REPLANS = 3
"""New plans per upload. Each sends the file from its start again. A file that is not sent within four times a day, the
lifetime of a link, will never arrive; and with shorter lifetimes, files would be created and deleted endlessly."""


CLOCKS_DIFFER = "the links were just issued: the clocks of S3 and of the service differ; try again later"


def why_not_replaced(links: Links, now: Now, *, replaced: int, has_sent: bool, size: int, rate: float) -> str | None:
    """Return why a new plan would not help, or None if it may.

    The API has no call that issues new links for an existing file, so new links mean a new file.

    Args:
        links: The links that expired.
        now: The time.
        replaced: How often this upload has got new links before.
        has_sent: Whether S3 accepted a part under these links.
        size: The size of the file.
        rate: The measured bytes per second; 0 if there is no measurement.
    """
    if replaced >= REPLANS:
        return f"this upload's links have expired {replaced + 1} times: use a faster connection, or send smaller files"
    if links.are_new(now):
        # S3 would refuse new ones as well. The exception: links of unknown lifetime of which S3 just accepted one may
        # really have been that short-lived.
        may_help = links.life is None and has_sent
        return None if may_help else CLOCKS_DIFFER
    usable = [] if links.life is None else [links.life.seconds - links.life.margin]
    if links.is_own:
        # They may expire earlier than they say, together with the credentials that signed them (`ExpiredToken`).
        usable.append(links.spent(now))
    if usable and is_hopeless(size, rate, min(usable)):
        return f"at {rate:.0f} bytes/s the file takes longer than new links would be valid: use a faster connection"
    return None


def is_hopeless(size: int, bytes_per_second: float, seconds: float) -> bool:
    """Return whether sending a file takes longer than links are valid, at the measured rate."""
    return bytes_per_second > 0 and size / bytes_per_second > seconds


class ServiceClock:
    """The service's time, from the `Date` of its answers and the local monotonic clock."""

    def __init__(self) -> None:
        self._known: tuple[datetime, float] | None = None

    def observe(self, date: str, monotonic: float) -> None:
        """Read an answer's `Date`; invalid and implausible ones are ignored."""
        try:
            service = parsedate_to_datetime(date)
        except (ValueError, TypeError, IndexError, OverflowError):
            return
        if not 1990 <= service.year < 2990:  # close to the end of `datetime`'s range, additions would overflow later
            return
        self._known = service if service.tzinfo else service.replace(tzinfo=UTC), monotonic

    def now(self, monotonic: float) -> datetime | None:
        """Return the service's time; None before the first answer."""
        if self._known is None:
            return None
        service, at = self._known
        return service + timedelta(seconds=monotonic - at)
