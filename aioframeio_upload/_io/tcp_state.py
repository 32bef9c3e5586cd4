"""Read what the kernel knows about a TCP connection: round trips, and bytes that were sent again (Linux)."""

from __future__ import annotations

import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

_RTT, _ACKED, _MIN_RTT = 68, 120, 148
_BUSY, _SENT = 168, 200
"""Offsets in `struct tcp_info`; a field of the same size follows each of the last two."""

SIZE = 216
"""Bytes of `struct tcp_info` (`linux/tcp.h`) up to the last field that is read. Fields are only ever added at its end,
and the kernel returns as many bytes as it has: Linux 4.19 was the first that counts the bytes that were sent again."""

HIGHEST = 300_000_000
"""Microseconds. A round trip above this is no measurement. `tcpi_min_rtt` is 2**32 - 1 before the first one."""


@dataclass(frozen=True, slots=True)
class TcpState:
    """The state of one connection. The counters begin at 0 when it is made."""

    round_trip: float
    """Seconds, smoothed by the kernel."""
    least_round_trip: float
    """Seconds; the least of the last minutes: without the queues that the path had since."""
    sent: int
    """Bytes, including those that were sent again."""
    resent: int
    """Bytes that were sent again."""
    acked: int
    """Bytes that the peer has acknowledged."""
    busy: float
    """Seconds in which something was on its way or waited to be sent."""
    limited_by_receiver: float
    """Seconds of these in which the peer's window was full."""


def read_tcp_state(sock: Any) -> TcpState | None:
    """Return what the kernel knows about a connection.

    None on other systems than Linux, on kernels before 4.19, for a socket that is closed or no TCP socket, and before
    the first round trip was measured.
    """
    if sys.platform != "linux" or sock is None:
        return None
    try:
        return parse_tcp_state(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE))
    except (OSError, ValueError):  # closed, or not TCP
        return None


def parse_tcp_state(found: bytes) -> TcpState | None:
    """Return the fields of a `struct tcp_info`; None if it is too short or has no measured round trip."""
    if len(found) < SIZE:
        return None
    (rtt,) = struct.unpack_from("=I", found, _RTT)
    (least,) = struct.unpack_from("=I", found, _MIN_RTT)
    if not 0 < rtt <= HIGHEST:
        return None
    (acked,) = struct.unpack_from("=Q", found, _ACKED)
    busy, receiver = struct.unpack_from("=QQ", found, _BUSY)
    sent, resent = struct.unpack_from("=QQ", found, _SENT)
    return TcpState(
        round_trip=rtt / 1e6,
        least_round_trip=(least if 0 < least <= HIGHEST else rtt) / 1e6,
        sent=sent,
        resent=min(resent, sent),
        acked=acked,
        busy=busy / 1e6,
        limited_by_receiver=min(receiver, busy) / 1e6,
    )
