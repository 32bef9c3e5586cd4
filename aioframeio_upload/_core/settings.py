"""The settings: each default in one place, with its reason beside it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


def _require(true: bool, message: str) -> None:
    if not true:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Limits:
    """What all uploads of an `Uploader` may use together."""

    parts: int = 8
    """Part requests in flight. On a link without loss 4 to 32 cost about the same (200 Mbit/s, 40 ms: 1.04 to 1.10 of
    what the bytes alone take); with one packet in a thousand lost, 8 take little more than half the time of 4. More
    would mean more links that age and a longer tail. (`benchmarks/wan.py`, 2026-11-23)"""

    files: int = 16
    """Files created and not yet sent whole. Twice `parts`, so that a small file's creation hides behind the sending of
    others; more would only let links age. Waiting for confirmation does not count."""

    bandwidth: int | None = None
    """Bytes a second; None: as many as the link carries. At small numbers fewer parts are in flight, so that each still
    moves a block every ten seconds: S3 drops a connection that is silent for 20."""

    api_pacing: bool = True
    """Keep to the rates that Frame.io documents for each operation, instead of running into 429."""

    def __post_init__(self) -> None:
        _require(self.bandwidth is None or self.bandwidth >= 1024, "Limits.bandwidth must be at least 1024 bytes/s")
        _require(self.parts >= 1, "Limits.parts must be at least 1")
        _require(self.files >= 1, "Limits.files must be at least 1")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds."""

    connect: float = 30.0
    """For a TCP connection, to one address."""

    api: float = 60.0
    """For a whole API call, the official SDK's own default."""

    stall: float = 30.0
    """For a part's next byte to leave, whichever side hangs, and for a source to be opened and looked at. S3 itself
    gives a silent connection up after 20 to 30 s."""

    answer: float | None = None
    """For S3's answer, once the other end has the last byte of a part. None: ten times `stall`, and a second more for
    each 128 KiB of the part. A proxy that scans or buffers takes the bytes at the speed of the local network and passes
    them on at that of the uplink, and meanwhile nothing moves here; sending them again would only make the uplink
    busier. An other end that is gone is noticed within about `stall` all the same, by TCP's keep-alive."""

    confirm: float | None = None
    """For the service to put the parts together. None: 300 s and 60 s more for each 100 GB. 0: do not wait."""

    def __post_init__(self) -> None:
        for name in ("connect", "api", "stall"):
            _require(0 < getattr(self, name) < inf, f"Timeouts.{name} must be more than 0, and finite")
        _require(self.answer is None or 0 < self.answer < inf, "Timeouts.answer must be more than 0, and finite")
        _require(self.confirm is None or 0 <= self.confirm < inf, "Timeouts.confirm must be 0 or more, and finite")

    def answer_for(self, size: int) -> float:
        """Return the seconds that the answer to a part of `size` bytes may take."""
        return 10 * self.stall + size / (1 << 17) if self.answer is None else self.answer

    def confirm_for(self, size: int) -> float:
        """Give the seconds that a file of `size` bytes may take to be put together."""
        return 300 + 60 * size / 100e9 if self.confirm is None else self.confirm


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how soon again: for parts and API calls alike."""

    attempts: int = 8
    """Tries in all. With the defaults below they spread over half a minute on average, which is what Frame.io asks for
    after a 5xx."""

    base: float = 0.5
    """Seconds: the wait before try `n + 1` is drawn from 0 to `base * 2 ** (n - 1)` (full jitter)."""

    cap: float = 30.0
    """Seconds: no wait is drawn from a wider range."""

    patience: float = 600.0
    """Seconds: a part or an API call that finds no connection uses up no attempt until nothing was acknowledged for so
    long, or the call was not answered. Links drop, and come back; ten minutes outlast a router's restart."""

    def __post_init__(self) -> None:
        _require(self.attempts >= 1, "RetryPolicy.attempts must be at least 1")
        _require(0 <= self.base <= self.cap < inf, "RetryPolicy needs 0 <= base <= cap, and finite ones")
        _require(0 <= self.patience < inf, "RetryPolicy.patience must be 0 or more, and finite")
