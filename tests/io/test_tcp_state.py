"""What the kernel knows about a connection is read where it has it, and nothing is made up elsewhere."""

from __future__ import annotations

import ctypes
import socket
import sys
from collections.abc import Iterator
from ctypes import c_uint8, c_uint32, c_uint64

import pytest

from aioframeio_upload._io.tcp_state import SIZE, TcpState, parse_tcp_state, read_tcp_state

linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO has this layout on Linux only")


class Kernel(ctypes.Structure):
    """`struct tcp_info` of `linux/tcp.h` up to the last field that is read, as the compiler would lay it out."""

    _fields_ = (
        *((f"byte{number}", c_uint8) for number in range(8)),
        *((f"before{number}", c_uint32) for number in range(15)),
        ("rtt", c_uint32),
        *((f"between{number}", c_uint32) for number in range(8)),
        *((name, c_uint64) for name in ("pacing_rate", "max_pacing_rate", "bytes_acked", "bytes_received")),
        *((name, c_uint32) for name in ("segs_out", "segs_in", "notsent_bytes", "min_rtt")),
        *((name, c_uint32) for name in ("data_segs_in", "data_segs_out")),
        *((name, c_uint64) for name in ("delivery_rate", "busy_time", "rwnd_limited", "sndbuf_limited")),
        *((name, c_uint32) for name in ("delivered", "delivered_ce")),
        *((name, c_uint64) for name in ("bytes_sent", "bytes_retrans")),
    )


def kernel(**fields: int) -> bytes:
    usual = {"rtt": 150_000, "min_rtt": 140_000, "bytes_acked": 3, "bytes_sent": 5, "bytes_retrans": 2}
    return bytes(Kernel(**usual | {"busy_time": 7_000_000, "rwnd_limited": 1_000_000} | fields))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        peer, _ = server.accept()
        with peer:
            yield client, peer


def test_the_fields_are_where_the_kernel_puts_them() -> None:
    assert ctypes.sizeof(Kernel) == SIZE
    assert parse_tcp_state(kernel()) == TcpState(0.15, 0.14, 5, 2, 3, 7.0, 1.0)


def test_a_newer_kernel_with_more_fields_is_read_too() -> None:
    assert parse_tcp_state(kernel() + bytes(64)) == parse_tcp_state(kernel())


def test_an_older_kernel_without_the_last_fields_tells_nothing() -> None:
    assert parse_tcp_state(kernel()[:-8]) is None
    assert parse_tcp_state(b"") is None


def test_before_the_first_round_trip_there_is_nothing_to_tell() -> None:
    assert parse_tcp_state(kernel(rtt=0)) is None
    assert parse_tcp_state(kernel(rtt=2**32 - 1)) is None


def test_an_unknown_least_round_trip_is_the_smoothed_one() -> None:
    found = parse_tcp_state(kernel(min_rtt=2**32 - 1))
    assert found is not None
    assert found.least_round_trip == 0.15


def test_no_more_was_sent_again_than_sent() -> None:
    found = parse_tcp_state(kernel(bytes_retrans=10))
    assert found is not None
    assert found.resent == found.sent == 5


@linux
def test_a_real_connection_tells_what_was_sent_and_acknowledged(pair: tuple[socket.socket, socket.socket]) -> None:
    client, peer = pair
    client.sendall(bytes(50_000))
    left = 50_000
    while left:
        left -= len(peer.recv(left))
    peer.sendall(b"x")
    assert client.recv(1) == b"x"  # its ACK came with this answer at the latest
    found = read_tcp_state(client)
    assert found is not None
    # The kernel counts the SYN as one byte that was acknowledged.
    assert found.acked in {50_000, 50_001}
    assert found.sent >= 50_000
    assert 0 < found.least_round_trip <= found.round_trip * 2
    assert found.resent < found.sent


@linux
def test_other_sockets_tell_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    client.close()
    assert read_tcp_state(client) is None
    assert read_tcp_state(None) is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert read_tcp_state(datagrams) is None
    with socket.socket() as unconnected:
        assert read_tcp_state(unconnected) is None
