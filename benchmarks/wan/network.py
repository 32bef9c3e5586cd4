"""Build a WAN of three network namespaces, client, router and server, and remove it afterwards.

    client --veth-- router [queue, rate: tc tbf] --TUN, delay.c, TUN-- [loss: nft] server

* The bottleneck is in a router, as in the real world. In the sender's namespace the kernel would see the queue, and
  hold packets back (TCP small queues) instead of losing them.
* The queue holds 50 ms at full rate, first in first out, as an untuned router at an uplink does. That is one
  bandwidth-delay product at 50 ms, so that a single flow of CUBIC can fill the link of 40 ms but not that of 150 ms.
  With an ideal queue, more connections would gain nothing; with a much shorter one, they would gain more.
* Loss is random for each packet that arrives at the server: after the queue, so that a lost packet has used the link,
  and towards the server only. The way back has only the delay.
* With `beside`, another host sends through the same router, on a wire of its own:
    other --veth-- router
* Packets enter the router one by one (`gso_max_segs 1`); otherwise one drop would lose up to 44 of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PREFIX = "aiowan"
NAMESPACES = Path("/var/run/netns")
ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
PROGRAMS = ("ip", "tc", "cc")

# RFC 2544 reserves 198.18.0.0/15 for benchmarks; the namespaces have no route to any other network.
CLIENT, ROUTER_NEAR, ROUTER_FAR, SERVER = "198.18.0.2", "198.18.0.1", "198.18.1.1", "198.18.1.2"
OTHER, ROUTER_BESIDE = "198.18.2.2", "198.18.2.1"

MTU = 1500
SEGMENT = MTU - 20 - 20 - 12  # IP, TCP, and its time stamps, which Linux always sends

# Linux's defaults, set because machines differ: they limit one connection's window, and thereby its rate.
SYSCTLS = {
    "net.ipv4.tcp_wmem": "4096 16384 4194304",
    "net.ipv4.tcp_rmem": "4096 131072 6291456",
    # Otherwise a run would start with the metrics of the previous one.
    "net.ipv4.tcp_no_metrics_save": "1",
}


@dataclass(frozen=True)
class Way:
    """The properties of the link between client and server."""

    rtt: float = 0.04
    loss: float = 0.0
    """The share of packets that are lost on the way to the server."""
    rate: float = 200e6
    """Bits per second of IP packets."""
    queue: float = 0.05
    """Seconds that the bottleneck's queue holds at full rate."""
    congestion: str = "cubic"

    @property
    def goodput(self) -> float:
        """The payload of TCP in bytes per second, without the headers of IP and TCP."""
        return goodput(self.rate)

    def __str__(self) -> str:
        return f"{self.rtt * 1e3:g} ms, loss {self.loss:.2%}, queue {self.queue * 1e3:g} ms, {self.congestion}"


def goodput(rate: float) -> float:
    """Return the payload of TCP in bytes per second of a link with `rate` bits per second of IP packets."""
    return rate / 8 * SEGMENT / MTU


class Child:
    """A process that prints "ready", answers each line with a line of JSON, and ends when its stdin closes."""

    def __init__(self, words: list[str]) -> None:
        # In a new process group: Ctrl-C reaches only the benchmark, which then ends its children in order.
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            self.close()
            raise RuntimeError(f"{self._process.args!r} did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ask(self) -> Any:
        """Return the counts since the previous call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("tell\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Close its stdin, and kill it if it does not end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@dataclass(frozen=True)
class Wan:
    """A link that was built."""

    client: str
    """The namespace's name."""
    server: str
    cable: Child
    router: str
    queue: int
    """Bytes that the bottleneck's queue holds."""
    other: str | None = None
    """The namespace of the host beside, if there is one."""

    def set_rate(self, rate: float) -> None:
        """Change the rate of the link, in bits per second. The queue keeps its bytes, as a modem's does."""
        run(f"tc -n {self.router} qdisc {bucket('change', rate, self.queue)}")


def why_not() -> str | None:
    """Return what this machine lacks for a WAN, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt-get install iproute2 gcc libc6-dev)"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    # A container may forbid any of these.
    name = f"{PREFIX}-{os.getpid()}-try"
    tries = (
        f"ip netns add {name}",
        f"ip netns exec {name} sysctl -qw net.ipv4.ip_forward=1",
        f"ip -n {name} link add wan type veth peer name near",
        f"ip -n {name} tuntap add far mode tun",
        f"tc -n {name} qdisc add dev far root tbf rate 1mbit burst 16kb limit 10000",
    )
    try:
        for words in tries:
            run(words)
    except RuntimeError as error:
        return f"not permitted here: {error}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return None


def build(folder: Path) -> Path:
    """Compile the program that delays packets, and return its path."""
    source, program = Path(__file__).parent.parent / "native" / "delay.c", folder / "delay"
    subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
    return program


def sweep() -> None:
    """Remove the namespaces of benchmarks that were killed; their children end when their stdin closes."""
    for name in leftovers():
        if not Path("/proc", name.split("-")[1]).exists():
            subprocess.run(["ip", "netns", "del", name], check=False)


def leftovers() -> list[str]:
    """Return the names of the namespaces of this benchmark, of any process."""
    return sorted(path.name for path in NAMESPACES.glob(f"{PREFIX}-*"))


def bucket(verb: str, rate: float, queue: int) -> str:
    """Return the arguments for `tc qdisc` that make the bottleneck."""
    # A burst of eleven packets at 200 Mbit/s: the timer of the bucket may be 0.5 ms late without reducing the rate.
    burst = max(16384, round(rate / 8 * 0.00066))
    return f"{verb} dev far root tbf rate {rate:.0f}bit burst {burst} limit {queue}"


@contextmanager
def open_wan(way: Way, delay: Path, *, beside: bool = False) -> Iterator[Wan]:
    """Build the link, and remove all of it at the end."""
    client, router, server, other = (f"{PREFIX}-{os.getpid()}-{end}" for end in ("client", "router", "server", "other"))
    senders = [client, other] if beside else [client]
    with ExitStack() as stack:
        for name in (*senders, router, server):
            stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True, check=False)
            run(f"ip netns add {name}")
        one_way = str(round(way.rtt / 2 * 1e6))
        cable = stack.enter_context(
            Child([str(delay), str(NAMESPACES / router), "far", str(NAMESPACES / server), "wan", one_way])
        )
        run(f"ip -n {client} link add wan type veth peer name near netns {router}")
        ends = [
            (client, "wan", CLIENT),
            (router, "near", ROUTER_NEAR),
            (router, "far", ROUTER_FAR),
            (server, "wan", SERVER),
        ]
        if beside:
            run(f"ip -n {other} link add wan type veth peer name beside netns {router}")
            ends += [(other, "wan", OTHER), (router, "beside", ROUTER_BESIDE)]
        for name, device, address in ends:
            run(f"ip -n {name} address add {address}/30 dev {device}")
            # Long enough that only the queue of the bottleneck loses packets.
            run(f"ip -n {name} link set {device} up mtu {MTU} txqueuelen 10000")
        for name, gateway in zip(senders, (ROUTER_NEAR, ROUTER_BESIDE), strict=False):
            run(f"ip -n {name} link set wan gso_max_segs 1")
            run(f"ip -n {name} route add default via {gateway}")
        run(f"ip -n {server} route add default via {ROUTER_FAR}")
        run(f"ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1")
        settings = {**SYSCTLS, "net.ipv4.tcp_congestion_control": way.congestion}
        with allowed(way.congestion):
            for name in (*senders, server):
                run(f"ip netns exec {name} sysctl -qw", *(f"{key}={value}" for key, value in settings.items()))
        queue = round(way.rate / 8 * way.queue)
        run(f"tc -n {router} qdisc {bucket('add', way.rate, queue)}")
        if way.loss:
            drop(server, way.loss)
        yield Wan(client, server, cable, router, queue, other if beside else None)


@contextmanager
def allowed(congestion: str) -> Iterator[None]:
    """Allow the algorithm for all users, and undo that at the end: in a namespace only such ones can be chosen."""
    with ALLOWED.open("r+") as setting:
        # One benchmark at a time: otherwise one could remove what the other still needs.
        fcntl.flock(setting, fcntl.LOCK_EX)
        before = ALLOWED.read_text().split()
        if congestion in before:
            yield
            return
        ALLOWED.write_text(" ".join([*before, congestion]))
        try:
            yield
        finally:
            ALLOWED.write_text(" ".join(before))


def drop(server: str, loss: float) -> None:
    """Drop that share of the packets that arrive at the server."""
    if shutil.which("nft") is None:
        raise RuntimeError("loss needs nft (Debian: apt-get install nftables)")
    run(f"ip netns exec {server} nft add table ip loss")
    run(f"ip netns exec {server} nft add chain ip loss arrive", "{ type filter hook prerouting priority raw; }")
    share = f"numgen random mod 1000000 < {round(loss * 1e6)}"
    run(f"ip netns exec {server} nft add rule ip loss arrive {share} counter drop")


def run(words: str, *more: str) -> None:
    """Run a command; raise RuntimeError with its stderr if it fails."""
    done = subprocess.run([*words.split(), *more], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{words}: {done.stderr.strip()}")
