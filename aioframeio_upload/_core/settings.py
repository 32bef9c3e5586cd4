"""Define the public settings; each default is defined here only, with its reason."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from math import inf
from types import NoneType
from typing import Any, Literal, get_args

from .public import public

CONGESTION_NAME = re.compile(r"[a-z0-9_-]{1,15}")
"""Names of TCP congestion controls. Linux has room for 15 characters (`TCP_CA_NAME_MAX`)."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


_TYPES: dict[Any, tuple[str, Callable[[object], bool]]] = {
    int: ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    bool: ("True or False", lambda value: isinstance(value, bool)),
    str: ("a text", lambda value: isinstance(value, str)),
    NoneType: ("None", lambda value: value is None),
    Literal["auto"]: ('"auto"', lambda value: value == "auto"),
}
"""The types in the annotations of settings: what each is called, and whether a value has it."""


def _check_types(settings: Limits | Timeouts | RetryPolicy) -> None:
    """Raise TypeError for the first field whose value is not of a type in its annotation."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        types = [_TYPES[kind] for kind in get_args(field.type) or (field.type,)]  # `public` has resolved them
        if not any(fits(value) for _, fits in types):
            words = " or ".join(words for words, _ in types)
            raise TypeError(f"{type(settings).__name__}.{field.name} must be {words}, not {reprlib.repr(value)}")


@public
@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that all uploads of an `Uploader` share."""

    parts: int | Literal["auto"] = "auto"
    """Part requests in flight. `"auto"` looks for the fewest, from 1 to `max_parts`, that the link's rate needs: more
    while they gain, fewer at once while S3 refuses. A number fixes it, except that S3 gets fewer while it refuses."""

    max_parts: int = 64
    """The most that `"auto"` uses; without effect on a number. A link of 150 ms that loses one packet in a thousand
    uses as many; more would mean more links that age and more connections."""

    files: int = 16
    """Files created but not completely sent. Twice eight, so that creating a small file overlaps with sending others;
    more would only let links age. Files that wait for confirmation do not count."""

    congestion: str = "auto"
    """TCP congestion control of the connections that send parts, on Linux; elsewhere, and where the kernel refuses,
    without effect. `"system"`: the system's. A name such as `"bbr"`: that one, if
    `net.ipv4.tcp_allowed_congestion_control` lists it. `"auto"`: the system's, and BBR where a long path loses packets
    although its queue is empty, as long as the rate is higher with it."""

    bandwidth: int | None = None
    """Bytes per second; None for no limit. A small limit also reduces the number of parts in flight, so that each part
    still sends a block every ten seconds: S3 drops a connection after 20 to 30 silent seconds."""

    api_pacing: bool = True
    """Keep to the rates that Frame.io documents for each operation, instead of provoking 429 answers."""

    def __post_init__(self) -> None:
        _check_types(self)
        _require(self.bandwidth is None or self.bandwidth >= 1024, "Limits.bandwidth must be at least 1024 bytes/s")
        _require(self.parts == "auto" or self.parts >= 1, 'Limits.parts must be at least 1, or "auto"')
        _require(self.max_parts >= 1, "Limits.max_parts must be at least 1")
        _require(CONGESTION_NAME.fullmatch(self.congestion) is not None, "Limits.congestion is no name of an algorithm")
        _require(self.files >= 1, "Limits.files must be at least 1")


def most_parts(limits: Limits) -> int:
    """Return the most parts that may ever be in flight."""
    return limits.max_parts if limits.parts == "auto" else limits.parts


@public
@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits in seconds."""

    connect: float = 30.0
    """For a TCP connection to one address."""

    api: float = 60.0
    """For a whole API call; the official SDK has the same default."""

    stall: float = 30.0
    """Until a part's next byte moves, whichever side hangs, and for opening and checking a source. S3 itself drops a
    silent connection after 20 to 30 s."""

    answer: float | None = None
    """For S3's response once the other end has the last byte of a part. None: ten times `stall`, plus a second for each
    128 KiB of the part. A scanning or buffering proxy accepts the bytes at the speed of the local network and forwards
    them at that of the uplink, and nothing moves here meanwhile; a retry would only load the uplink more. A peer that
    is gone is still noticed within about `stall`, by TCP keep-alive."""

    confirm: float | None = None
    """For the service to assemble the parts. None for 300 s plus 60 s for each 100 GB; 0 for not waiting at all."""

    pool: float = 600.0
    """For a connection of a caller's `session=` to become free, while other requests use all that its connector's
    `limit` or `limit_per_host` allows. That wait is not the network's fault, and counts as nothing else: not towards
    the other time limits here, and not as an attempt. As long as `RetryPolicy.patience`."""

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("connect", "api", "stall", "pool"):
            _require(0 < getattr(self, name) < inf, f"Timeouts.{name} must be more than 0, and finite")
        _require(self.answer is None or 0 < self.answer < inf, "Timeouts.answer must be more than 0, and finite")
        _require(self.confirm is None or 0 <= self.confirm < inf, "Timeouts.confirm must be 0 or more, and finite")

    def answer_for(self, size: int) -> float:
        """Return the timeout for S3's response to a part of `size` bytes."""
        return 10 * self.stall + size / (1 << 17) if self.answer is None else self.answer

    def confirm_for(self, size: int) -> float:
        """Return the timeout for the confirmation of a file of `size` bytes."""
        return 300 + 60 * size / 100e9 if self.confirm is None else self.confirm


@public
@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and after which delay parts and API calls are retried."""

    attempts: int = 8
    """Attempts in total. With the defaults below they take half a minute on average, which is how long Frame.io's guide
    asks clients to wait after a 5xx."""

    base: float = 0.5
    """Seconds. The delay before attempt `n + 1` is random between 0 and `base * 2 ** (n - 1)` (full jitter)."""

    cap: float = 30.0
    """Seconds. Upper bound of that range."""

    patience: float = 600.0
    """Seconds. A part or an API call that finds no connection uses up no attempt until nothing has been acknowledged,
    or the call has not been answered, for this long. Networks fail and come back; ten minutes outlast a router's
    restart. A 429 uses up no attempt either, as long as this process gets other calls of that operation through within
    this time: many processes may share the limits of one user."""

    def __post_init__(self) -> None:
        _check_types(self)
        _require(self.attempts >= 1, "RetryPolicy.attempts must be at least 1")
        _require(0 <= self.base <= self.cap < inf, "RetryPolicy needs 0 <= base <= cap, both finite")
        _require(0 <= self.patience < inf, "RetryPolicy.patience must be 0 or more, and finite")
