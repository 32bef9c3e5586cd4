"""Log once that a host cannot be reached, which is otherwise waited for in silence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .._core.failures import FailureKind
from .log import log

CALM = 60.0
"""Seconds without a failed connection, after which another one is news although answers came in between: on a poor
network single connections fail again and again. No shorter than `RetryPolicy.cap` and `Timeouts.connect` together."""


@dataclass(slots=True)
class _Host:
    """What is known of one host."""

    failed_at: float
    """When a connection to it failed last."""
    is_away: bool = True
    """Whether it has not answered since."""


class Outages:
    """The hosts to which connections have failed. Owned by the session.

    Args:
        patience: Seconds for which they are waited for; 0: they are not, and nothing is logged.
        clock: Returns the time.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._hosts: dict[str, _Host] = {}

    def note(self, host: str, kind: FailureKind | None, words: str = "") -> None:
        """Record the outcome of an attempt; log a warning for the first one of an outage that found no connection.

        Args:
            host: The host and its port, without path, query and password.
            kind: How the attempt failed; None if it did not.
            words: Why there was no connection.
        """
        known = self._hosts.get(host)
        if kind is not FailureKind.UNREACHABLE:
            if known is not None:
                known.is_away = False
            return
        now = self._clock()
        is_news = known is None or (not known.is_away and now - known.failed_at > CALM)
        if is_news and self._patience:
            named = words if host in words else f"{host}: {words}"
            log.warning("%s; waiting for it, for up to %g s", named, self._patience)
        self._hosts[host] = _Host(now)
