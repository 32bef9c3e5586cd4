"""When part links die, and whether a file can be sent before; every instant is the service's, not our clock's."""

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
class Lifetime:
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

    def left(self, now: datetime) -> float:
        """Seconds until they die; negative afterwards."""
        return (self.expires_at - now).total_seconds()

    def is_good(self, now: datetime) -> bool:
        """Say whether a part may begin."""
        return self.left(now) > self.margin

    def is_fresh(self, now: datetime) -> bool:
        """Say whether they were issued a moment ago: refused as expired all the same, new ones would be so too."""
        return (now - self.signed_at).total_seconds() < self.margin


_SIGNED_AT = re.compile(r"[?&]X-Amz-Date=(\d{8}T\d{6}Z)(?=&|$)")
_LIVES_FOR = re.compile(r"[?&]X-Amz-Expires=(\d{1,9})(?=&|$)")
"""S3 allows seven days at most; a longer number would overflow a date before it meant anything."""


def lifetime(urls: Iterable[str]) -> Lifetime | None:
    """Read how long presigned URLs live; None where none of them tells."""
    # Ten thousand links of a plan tell the same: their words are compared before they are read.
    words = {
        (signed_at[1], seconds[1])
        for url in urls
        if (signed_at := _SIGNED_AT.search(url)) and (seconds := _LIVES_FOR.search(url))
    }
    lives = [life for told in words if (life := _read(*told)) is not None]
    return min(lives, key=lambda life: life.expires_at, default=None)


def _read(signed_at: str, seconds: str) -> Lifetime | None:
    try:
        instant = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return Lifetime(instant, instant + timedelta(seconds=int(seconds)))
    except (ValueError, OverflowError):
        return None


def is_hopeless(size: int, bytes_per_second: float, life: Lifetime | None) -> bool:
    """Say whether a file is longer under way than new links would live, at the rate that was measured."""
    return life is not None and bytes_per_second > 0 and size / bytes_per_second > life.seconds - life.margin


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

    def now(self, monotonic: float, local: datetime) -> datetime:
        """Give the service's time; ours while it has told none."""
        if self._known is None:
            return local
        told, at = self._known
        return told + timedelta(seconds=monotonic - at)
