"""Measure how many parts in flight fill a long link: 200 Mbit/s at 40 and 150 ms, with and without loss.

The result is the default of `Limits.parts`. A run uploads one file over TLS from a client in one network namespace to a
sink in another; `network.py` describes the link between them. The cost of a run is its wall time from `execute` to the
last answer, including connecting, TLS and slow start, divided by the time that the bytes of the file alone take at the
rate of the link: of 200 Mbit/s of IP packets 24.1 MB/s are payload of TCP, 1448 bytes of every 1500. The overhead of
TLS and HTTP is part of the cost. A run that takes longer than `--cap` is stopped, and its cost is that of the bytes
that have arrived.

Needs root, iproute2, a C compiler and, for loss, nftables. All runs take about an hour; `--default` measures only the
library's default, without and with TCP_NOTSENT_LOWAT.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import trustme

from ..harness.record import RESULTS, print_table, write_record
from ..harness.words import many, parser, size
from . import ends
from .costs import WITHIN, Variant, cells_of, choose, cost_of, cost_table, detail_table, rows_of
from .network import SERVER, Child, Wan, Way, build, open_wan, sweep, why_not

PORT = 8443
LOWAT = 128 * 1024
"""Bytes for TCP_NOTSENT_LOWAT; the kernel's default is no limit."""


@dataclass(frozen=True)
class Stage:
    """The settings that all runs share."""

    folder: Path
    size: int
    part_size: int
    cap: float
    tls: bool

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{SERVER}:{PORT}"

    def prepare(self) -> None:
        """Create the file to send, and the certificate of the sink."""
        with (self.folder / "film").open("wb") as film:
            film.truncate(self.size)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        authority.issue_cert(SERVER).private_key_and_cert_chain_pem.write_to_path(self.folder / "server.pem")

    def run(self, wan: Wan, way: Way, variant: Variant) -> dict[str, Any]:
        """Upload the file once, and return the cost."""
        certificate = str(self.folder / "server.pem") if self.tls else None
        sink = {"host": SERVER, "port": PORT, "certificate": certificate}
        client = {
            "url": self.url,
            "ca": str(self.folder / "ca.pem") if self.tls else None,
            "source": str(self.folder / "film"),
            "size": self.size,
            "part_size": self.part_size,
            "cap": self.cap,
            **asdict(variant),
        }
        with Child(inside(wan.server, "sink", sink)) as server:
            wan.cable.ask()
            busy, began_at = busy_seconds(), time.monotonic()
            command = inside(wan.client, "client", client)
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=self.cap + 60)
            share = (busy_seconds() - busy) / (time.monotonic() - began_at) / (os.cpu_count() or 1)
            cost = cost_of(json.loads(done.stdout), server.ask(), way.goodput)
        return {
            "way": asdict(way),
            "variant": asdict(variant),
            "size": self.size,
            "part_size": self.part_size,
            "tls": self.tls,
            **cost,
            "cable": wan.cable.ask()[0],
            # Of the whole machine: near 1, something else was running.
            "cpu_busy": share,
        }


def inside(namespace: str, role: str, asked: dict[str, Any]) -> list[str]:
    """Return the command that runs one end of the link in its namespace."""
    return ["ip", "netns", "exec", namespace, sys.executable, "-m", "benchmarks.wan", role, json.dumps(asked)]


def busy_seconds() -> float:
    """Return the CPU seconds that this machine was busy: all states but idle and waiting for a disk."""
    words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    return sum(int(word) for place, word in enumerate(words) if place not in (3, 4)) / os.sysconf("SC_CLK_TCK")


def measure(
    stage: Stage, ways: Sequence[Way], variants: Sequence[Variant], runs: int, warm_up: int
) -> Generator[dict[str, Any]]:
    """Run all ways and variants, interleaved: each round begins with another variant."""
    delay = build(stage.folder)
    for turn in range(-warm_up, runs):
        first = max(turn, 0) * len(variants) // runs
        for way in ways:
            with open_wan(way, delay) as wan:
                print(f"round {turn + 1} of {runs}: {way}", flush=True)
                for variant in (*variants[first:], *variants[:first]):
                    found = stage.run(wan, way, variant)
                    capped = "" if found["complete"] else ", capped"
                    words = f"{found['seconds']:.1f} s{capped}; waited {found['cpu_waited']:.1f} s for a core"
                    print(f"  {variant}: {found['cost']:.3f} ({words})", flush=True)
                    if turn >= 0:
                        yield found


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    options = parser(__doc__, runs=3)
    # Every run is a new process on a new link: a warm-up would only load Python's files into the page cache.
    options.set_defaults(warm_up=0)
    options.add_argument("--rtt", type=many(float), default=[40, 150], help="milliseconds, e.g. 40,150")
    options.add_argument("--loss", type=many(float), default=[0, 0.01, 0.1, 1], help="percent, e.g. 0,0.1")
    options.add_argument("--queue", type=many(float), default=[50], help="milliseconds that the bottleneck holds")
    options.add_argument("--congestion", type=many(str), default=["cubic"], help="as the kernel calls it: cubic,bbr")
    options.add_argument("--in-flight", type=many(int), default=[1, 2, 4, 8, 16, 32], help="e.g. 4,8")
    options.add_argument("--default", action="store_true", help="only the library's default, and it with NOTSENT_LOWAT")
    options.add_argument("--size", type=size, default=400_000_000, help="of the file (default 400000000)")
    options.add_argument("--part-size", type=size, default=20_000_000, help="(default 20000000)")
    options.add_argument("--cap", type=float, default=30, help="seconds after which a run is ended (default 30)")
    options.add_argument("--plain", action="store_true", help="without TLS")
    options.add_argument("--add", action="store_true", help="to the runs that the JSON file has already")
    given = options.parse_args(words)
    if given.quick:
        given.rtt, given.loss, given.default = [40], [0], True
    return given


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Make a SIGTERM end the benchmark as Ctrl-C does, so that everything is removed."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(words: Sequence[str]) -> None:
    """Measure, print the tables and write the record."""
    given = parse(words)
    if (reason := why_not()) is not None:
        print(f"wan: left out: {reason}")
        return
    sweep()
    ways = [
        Way(rtt=rtt / 1e3, loss=loss / 100, queue=queue / 1e3, congestion=congestion)
        for congestion, queue, loss, rtt in product(given.congestion, given.queue, given.loss, given.rtt)
    ]
    both = [Variant(None), Variant(None, LOWAT)]
    variants = both if given.default else [*map(Variant, given.in_flight)]
    output = given.output or RESULTS / "wan.json"
    runs: list[dict[str, Any]] = []
    commands = ""
    if given.add and output.exists():
        before = json.loads(output.read_text(encoding="utf-8"))
        runs += [one for row in before["rows"] for one in row["runs"]]
        commands = before["command"] + "; "
    with ended_in_order(), tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), given.size, given.part_size, given.cap, not given.plain)
        stage.prepare()
        try:
            with closing(measure(stage, ways, variants, given.runs, given.warm_up)) as measuring:
                for found in measuring:
                    runs.append(found)
        finally:
            # Also after Ctrl-C or a failure: the finished runs are recorded.
            rows = rows_of(cells_of(runs))
            if rows:
                write_record("wan", rows, path=given.output, before=commands)
    print()
    print_table(*cost_table(rows))
    print()
    print_table(*detail_table(rows))
    print(f"\nbest with loss, of those within {WITHIN - 1:.0%} of the best without: {choose(rows)} parts in flight")


if __name__ == "__main__":
    if sys.argv[1:2] in (["client"], ["sink"]):
        ends.main(sys.argv[1], sys.argv[2])
    else:
        main(sys.argv[1:])
