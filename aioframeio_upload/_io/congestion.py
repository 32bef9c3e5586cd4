"""Choose the TCP congestion control of the connections that carry parts (Linux; elsewhere without effect).

A connection gets it when a part begins on it, whoever made it: also those of a caller's connector, and those to a
proxy. Linux lets it be changed while a connection is open, so that the parts under way gain too; one of 1.9 GB may be
under way for an hour. A program may choose what `net.ipv4.tcp_allowed_congestion_control` lists. Everything else is
refused by the kernel, and then the system's stays, silently.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from .._core.congestion import BbrDecision, PathLook
from .log import log
from .tcp_state import TcpState, read_tcp_state

PERIOD = 0.25
"""Seconds between two looks at the connections. A look costs two microseconds for each."""

BUSY = 0.5
"""The share of the time below which a connection was not busy, and above which the receiver limited it."""

BBR = "bbr"

OPTION = getattr(socket, "TCP_CONGESTION", None)
"""Socket option, on Linux only."""

NAME_SIZE = 16
"""Bytes of a name, with the zero at its end (`TCP_CA_NAME_MAX`)."""

REFUSED = {errno.ENOENT, errno.EPERM, errno.EACCES, errno.ENOPROTOOPT, errno.EINVAL, errno.EOPNOTSUPP}
"""The kernel does not have the algorithm, does not allow it, or does not know the option (as in gVisor). Any other
error is about the connection, as when it is closed."""


@dataclass(slots=True, eq=False)
class Watched:
    """One connection that carries parts, or did."""

    sock: Any
    before: TcpState | None
    """What the kernel knew at the previous look."""
    is_sending: bool = True
    """Whether a part's bytes are being written. Afterwards the kernel may still have megabytes of them."""
    usual: str | None = None
    """The congestion control that BBR has replaced, if it has."""


@dataclass(slots=True, eq=False)
class HostConnections:
    """The connections to one host that carry parts. Owned by `PartConnections`."""

    host: str
    owner: PartConnections
    decision: BbrDecision = field(default_factory=BbrDecision)
    watched: dict[asyncio.BaseTransport, Watched] = field(default_factory=dict)
    """Until the transport is closed: then its file descriptor may belong to another connection."""
    least_round_trip: float = float("inf")

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """Note that a part begins on a connection."""
        sock = transport.get_extra_info("socket")
        if OPTION is None or sock is None or self.owner.setting == "system":
            return
        if self.owner.setting != "auto":
            self.owner.choose(sock, self.owner.setting)
            return
        self._forget_closed()
        one = self.watched.setdefault(transport, Watched(sock, None))
        one.is_sending = True
        self._apply(one)
        self.owner.look_later()
        one.before = one.before or read_tcp_state(sock)

    def end(self, transport: asyncio.BaseTransport) -> None:
        """Note that a part was written, or that its attempt has ended."""
        if (one := self.watched.get(transport)) is not None:
            one.is_sending = False

    @property
    def is_sending(self) -> bool:
        """Whether any connection sends a part."""
        return any(one.is_sending for one in self.watched.values())

    def rest(self) -> None:
        """Note that there are no looks for a while."""
        self._forget_closed()
        for one in self.watched.values():
            one.before = None

    def look(self, now: float, seconds: float) -> None:
        """Look at the connections, and change their congestion control if that is called for."""
        self._forget_closed()
        was_bbr = self.decision.is_bbr
        found = self._look(now, seconds)
        if found is None or self.decision.observe(found) is was_bbr:
            return
        changed = sum(self._apply(one) for one in self.watched.values())
        if changed:
            log.info(
                "%d connections to %s use %s from now on (round trip %.0f ms, %.2f %% of the bytes sent again)",
                changed,
                self.host,
                "BBR" if self.decision.is_bbr else "the system's congestion control",
                found.round_trip * 1e3,
                100 * found.resent / max(found.sent, 1),
            )

    def _look(self, now: float, seconds: float) -> PathLook | None:
        pairs, sending = [], []
        for one in self.watched.values():
            before, one.before = one.before, read_tcp_state(one.sock)
            if before is not None and one.before is not None:
                pairs.append((before, one.before))
                if one.is_sending:
                    sending.append((before, one.before))
        if not sending:
            return None
        self.least_round_trip = min(self.least_round_trip, *(after.least_round_trip for _, after in pairs))
        busy = sum(after.busy - before.busy for before, after in sending)
        starved = sum(after.limited_by_receiver - before.limited_by_receiver for before, after in sending)
        return PathLook(
            now=now,
            seconds=seconds,
            sent=sum(after.sent - before.sent for before, after in pairs),
            resent=sum(after.resent - before.resent for before, after in pairs),
            acked=sum(after.acked - before.acked for before, after in pairs),
            round_trip=fmean(after.round_trip for _, after in sending),
            least_round_trip=self.least_round_trip,
            sending=len(sending),
            is_waiting_for_us=busy < BUSY * seconds * len(sending) or starved > BUSY * busy,
        )

    def _apply(self, one: Watched) -> bool:
        """Set the congestion control that was decided for a connection, and return whether that changed it."""
        if self.decision.is_bbr and one.usual is None:
            usual = chosen(one.sock)
            if usual is not None and usual != BBR and self.owner.choose(one.sock, BBR):
                one.usual = usual
                return True
        elif not self.decision.is_bbr and one.usual is not None:
            usual, one.usual = one.usual, None
            return self.owner.choose(one.sock, usual)
        return False

    def _forget_closed(self) -> None:
        for transport in [transport for transport in self.watched if transport.is_closing()]:
            del self.watched[transport]


class PartConnections:
    """The connections that carry parts, over all uploads of an Uploader. Owned by its `Session`.

    Args:
        setting: `Limits.congestion`.
        is_limited: Whether there is a bandwidth limit. Then `"auto"` changes nothing: the program is what limits.
    """

    def __init__(self, setting: str, *, is_limited: bool = False) -> None:
        self.setting: str = "system" if setting == "auto" and is_limited else setting
        self._can_try: bool | None = None
        """Whether the kernel allows BBR and it is not the system's; None before that was asked."""
        self._hosts: dict[str, HostConnections] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._looked_at = 0.0

    def to(self, host: str) -> HostConnections:
        """Return the connections to a host."""
        return self._hosts.setdefault(host, HostConnections(host, self))

    @property
    def is_pending(self) -> bool:
        """Whether BBR is being tried, or may be tried soon."""
        if self.setting != "auto" or not self._hosts:
            return False
        now = asyncio.get_running_loop().time()
        if not any(host.decision.is_pending(now) for host in self._hosts.values()):
            return False
        if self._can_try is None:
            self._can_try = can_replace(BBR)
        return self._can_try

    def look_later(self) -> None:
        """Look at the connections periodically, as long as there are any."""
        if self._looking is None and self.setting == "auto":
            loop = asyncio.get_running_loop()
            self._looked_at = loop.time()
            self._looking = loop.call_later(PERIOD, self._look)

    def _look(self) -> None:
        self._looking = None
        now = asyncio.get_running_loop().time()
        seconds, self._looked_at = now - self._looked_at, now
        for host in self._hosts.values():
            host.look(now, seconds)
        if any(host.is_sending for host in self._hosts.values()):
            self.look_later()
        else:
            for host in self._hosts.values():
                host.rest()

    def choose(self, sock: Any, name: str) -> bool:
        """Set a connection's congestion control, and return whether the kernel allows that."""
        try:
            sock.setsockopt(socket.IPPROTO_TCP, OPTION, name.encode("ascii"))
        except OSError as error:
            if error.errno in REFUSED:
                log.debug("the kernel does not allow the congestion control %r: %s", name, error.strerror)
                self.setting = "system"
            return False
        return True

    def close(self) -> None:
        """Stop looking."""
        self._hosts.clear()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None


def chosen(sock: Any) -> str | None:
    """Return a connection's congestion control; None if it is closed, or the system has no such choice."""
    if OPTION is None:
        return None
    try:
        found: bytes = sock.getsockopt(socket.IPPROTO_TCP, OPTION, NAME_SIZE)
    except (OSError, ValueError):
        return None
    return found.partition(b"\0")[0].decode("ascii", "replace")


def can_replace(name: str) -> bool:
    """Return whether the kernel lets this program use an algorithm, and new connections do not use it anyway."""
    if OPTION is None:
        return False
    try:
        with socket.socket() as asked:
            if chosen(asked) == name:
                return False
            asked.setsockopt(socket.IPPROTO_TCP, OPTION, name.encode("ascii"))
    except OSError:
        return False
    return True
