"""Measure how well the number of parts in flight adapts to the link: `links.toml` describes the links and the goals.

A run uploads one file over TLS from a client in one network namespace to the C sink in another (`wan/network.py`
describes what is between them). Runs of the variants are interleaved: fixed numbers of parts in flight, the default,
and the official SDK. `costs.py` describes the measures. A run that takes longer than its link's `cap_seconds` is ended.

Needs root, iproute2, a C compiler with OpenSSL's headers and, for loss, nftables. All links take less than 40 minutes.
`--link TEXT` measures those whose name contains the text, `--study` those that show what BBR does to others.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import trustme

from ..harness.contenders import ours
from ..harness.measure import Run, run_once
from ..harness.native import Missing, built
from ..harness.record import RESULTS, print_table, write_record
from ..harness.stage import make_source, sink
from ..harness.words import parser
from ..wan.__main__ import busy_seconds, ended_in_order
from ..wan.network import SERVER, Child, Wan, build, open_wan, sweep, why_not
from .costs import Observed, cost_table, goal_table, measures_of, rows_of
from .rows import Link, Rates, Variant, read_links

HEAD_START = 3.0
"""Seconds for which the foreign flow has the link to itself: slow start is over."""
SDK_WORKERS = 5
"""The SDK's default."""


class NativeSink(Child):
    """The C sink in a namespace; its first line is its port instead of "ready"."""

    def __init__(self, namespace: str, *options: str) -> None:
        super().__init__(
            ["ip", "netns", "exec", namespace, str(built("sink")), "--samples", "--host", SERVER, *options]
        )
        assert self._process.stdout is not None
        self.port: int = json.loads(self._process.stdout.readline())["port"]
        real_time(self._process.pid)

    def __enter__(self) -> NativeSink:
        return self


def real_time(pid: int) -> None:
    """Let a process never wait for a core because of other programs, where that is permitted: the link is measured."""
    with suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


@dataclass(frozen=True)
class Stage:
    """The settings that all runs share."""

    folder: Path
    delay: Path

    @classmethod
    def prepare(cls, folder: Path) -> Stage:
        """Compile the programs and create the sink's certificate."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        authority.issue_cert(SERVER).private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        built("sink")
        return cls(folder, build(folder))

    def film(self, size: int) -> Path:
        """Return a file of that size, all zeros."""
        path = self.folder / f"film-{size}"
        with path.open("wb") as film:
            film.truncate(size)
        return path

    def run(self, link: Link, variant: Variant) -> dict[str, Any]:
        """Upload once over a link of its own, and return the measures."""
        pem = str(self.folder / "server.pem")
        with ExitStack() as stack:
            wan = stack.enter_context(open_wan(link.way, self.delay, beside=link.beside))
            server = stack.enter_context(NativeSink(wan.server, "--cert", pem, "--key", pem, *link.sink_options()))
            flow = None
            if wan.other is not None:
                flow = stack.enter_context(NativeSink(wan.server))
                stack.enter_context(Child([*inside(wan.other), "-m", "benchmarks.links", "flow", str(flow.port)]))
                time.sleep(HEAD_START)  # the flow is to be in its steady state; nothing tells when it is
            counters, busy, started = tcp_counters(wan.client), busy_seconds(), time.monotonic()
            with changing(wan, link) as changes:
                sent = self.send(wan, link, variant, server.port)
            share = (busy_seconds() - busy) / (time.monotonic() - started) / (os.cpu_count() or 1)
            after = tcp_counters(wan.client)
            arrived, beside = server.ask(), flow.ask() if flow is not None else None
            cable = wan.cable.ask()
        rates = Rates(((0.0, link.rate), *changes))
        found = measures_of(
            Observed(sent.pop("began"), sent.pop("ended"), sent.pop("complete"), link.size, arrived, rates, beside)
        )
        segments, resent = (after[name] - counters[name] for name in ("OutSegs", "RetransSegs"))
        return {
            "link": link.name,
            "variant": str(variant),
            **found,
            **sent,
            "segments": segments,
            # OutSegs does not include what is sent again (RFC 4022).
            "retransmitted": resent / max(segments + resent, 1),
            "cable": cable[0],
            # Of the whole machine: near 1, something else was running.
            "cpu_busy": share,
        }

    def send(self, wan: Wan, link: Link, variant: Variant, port: int) -> dict[str, Any]:
        """Run the client; it and the sink have the same clock."""
        url, ca = f"https://{SERVER}:{port}", str(self.folder / "ca.pem")
        job = {"source": str(self.film(link.size)), "size": link.size, "part_size": link.part_size, "ca": ca}
        if variant.parts != "sdk":
            asked = {**job, "url": url, "cap": link.cap_seconds, **asdict(variant)}
            command = [*inside(wan.client), "-m", "benchmarks.links.client", json.dumps(asked)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=link.cap_seconds + 60)
            found: dict[str, Any] = json.loads(done.stdout)
            return found
        job = {**job, "base": url, "file": job["source"], "in_flight": SDK_WORKERS}
        del job["source"]
        command = [*inside(wan.client), "-m", "benchmarks.clients.sdk", json.dumps(job)]
        environment = os.environ | {"SSL_CERT_FILE": ca, "NO_PROXY": "*"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            real_time(process.pid)
            began = time.monotonic()
            try:
                line, _ = process.communicate(timeout=link.cap_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                return {"began": began, "ended": time.monotonic(), "complete": False}
        ended = time.monotonic()
        if process.returncode != 0:
            # It gives a part up after three attempts, as where the server refuses it.
            return {"began": began, "ended": ended, "complete": False, "failed": True}
        told = json.loads(line)
        used = {"cpu_seconds": told["cpu"], "memory": told["memory"]}
        return {"began": ended - told["seconds"], "ended": ended, "complete": True, **used}


def inside(namespace: str) -> list[str]:
    """Return the beginning of a command that runs Python in a namespace."""
    return ["ip", "netns", "exec", namespace, sys.executable]


def tcp_counters(namespace: str) -> dict[str, int]:
    """Return the TCP counters of a namespace."""
    command = ["ip", "netns", "exec", namespace, "cat", "/proc/net/snmp"]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    names, values = (line.split() for line in text.splitlines() if line[:4] == "Tcp:")
    return dict(zip(names[1:], map(int, values[1:]), strict=True))


@contextmanager
def changing(wan: Wan, link: Link) -> Iterator[list[tuple[float, float]]]:
    """Change the rate of the link as its description says; yield the list of the changes and their instants."""
    changes: list[tuple[float, float]] = []
    over = threading.Event()
    began = time.monotonic()

    def change() -> None:
        for at, rate in link.changes:
            if over.wait(began + at - time.monotonic()):
                return
            wan.set_rate(rate)
            changes.append((time.monotonic(), rate))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield changes
    finally:
        over.set()
        thread.join()


def flow(port: int) -> None:
    """Be the foreign flow: one connection of CUBIC that sends until stdin ends."""
    real_time(0)
    with socket.create_connection((SERVER, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        connection.sendall(b"PUT /flow HTTP/1.1\r\nContent-Length: 1000000000000000\r\n\r\n")
        print("ready", flush=True)
        threading.Thread(target=send_zeros, args=(connection,), daemon=True).start()
        sys.stdin.read()


def send_zeros(connection: socket.socket) -> None:
    """Send zeros until the connection is closed."""
    block = bytes(1 << 18)
    with suppress(OSError):
        while True:
            connection.sendall(block)


def measure(stage: Stage, links: Sequence[Link], rounds: int | None) -> Iterator[dict[str, Any]]:
    """Run the variants of all links, interleaved: each round begins with another variant."""
    for link in links:
        turns = link.rounds if rounds is None else rounds
        for turn in range(turns):
            print(f"{link.name}, round {turn + 1} of {turns}", flush=True)
            first = turn * len(link.variants) // turns
            for variant in (*link.variants[first:], *link.variants[:first]):
                if variant.parts == "sdk" and variant.congestion is None and not has_sdk():
                    continue
                found = stage.run(link, variant) if link.rate else run_loopback(link, variant)
                capped = "" if found["complete"] else ", stopped"
                cost = "" if found["cost"] is None else f"{found['cost']:.3f}, "
                print(
                    f"  {variant}: {cost}{found['rate'] / 1e6:.1f} MB/s, {found['seconds']:.1f} s{capped}", flush=True
                )
                yield found


def has_sdk() -> bool:
    """Return whether the official SDK is installed."""
    return (
        subprocess.run([sys.executable, "-c", "import frameio.upload"], capture_output=True, check=False).returncode
        == 0
    )


def run_loopback(link: Link, variant: Variant) -> dict[str, Any]:
    """Upload once over loopback, where the client's core is the bottleneck."""
    source = make_source(link.size, link.part_size)
    with sink(tls=True) as server:
        client = ours(server, source, None if variant.parts == "auto" else int(variant.parts))
        run: Run = run_once(client)
    return {
        "link": link.name,
        "variant": str(variant),
        "complete": True,
        "cost": None,
        "rate": link.size / run.seconds,
        "seconds": run.seconds,
        "cpu_seconds": run.cpu,
        "memory": run.memory,
        "cpu_busy": run.noise,
    }


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    options = parser(__doc__, runs=0)
    options.set_defaults(warm_up=0)
    options.add_argument("--link", action="append", default=[], help="only links whose name contains this text")
    options.add_argument(
        "--variant", action="append", default=[], help="only this variant, also where it is not listed"
    )
    options.add_argument(
        "--skip", action="append", default=[], help="not this variant; with --add, to measure it later"
    )
    options.add_argument("--study", action="store_true", help="the links that show what BBR does to others")
    options.add_argument("--size", type=int, help="bytes of the file, instead of each link's own")
    options.add_argument("--add", action="store_true", help="to the runs that the JSON file has already")
    options.add_argument("--list", action="store_true", help="the names of the links")
    return options.parse_args(words)


def choose(given: argparse.Namespace, links: Sequence[Link]) -> list[Link]:
    """Return the links that the command line asks for, with the variants that it asks for."""
    if given.quick:
        given.runs, given.link, given.variant = 1, ["40 ms, no loss"], given.variant or ["auto", "8"]
    chosen = [link for link in links if link.study == given.study or given.link]
    if given.link:
        chosen = [link for link in links if any(text in link.name for text in given.link)]
        exact = [link for link in links if link.name in given.link]
        chosen = exact if len(exact) == len(given.link) else chosen
    asked = tuple(map(Variant.read, given.variant))
    return [
        replace(
            link,
            size=given.size or link.size,
            variants=tuple(one for one in asked or link.variants if str(one) not in given.skip),
        )
        for link in chosen
    ]


def main(words: Sequence[str]) -> None:
    """Measure, print the tables and write the record."""
    given, known = parse(words), read_links()
    links = choose(given, known)
    if given.list or not links:
        print(*(f"{link.name}{' (study)' if link.study else ''}" for link in known), sep="\n")
        return
    if (reason := why_not()) is not None:
        print(f"links: left out: {reason}")
        return
    sweep()
    output = given.output or RESULTS / ("links_study.json" if given.study else "links.json")
    runs: list[dict[str, Any]] = []
    commands = ""
    if given.add and output.exists():
        before = json.loads(output.read_text(encoding="utf-8"))
        runs += [one for row in before["rows"] for one in row["runs"]]
        commands = before["command"] + "; "
    rows: list[dict[str, Any]] = []
    with ended_in_order(), tempfile.TemporaryDirectory() as folder:
        try:
            stage = Stage.prepare(Path(folder))
        except Missing as missing:
            print(f"links: left out: {missing}")
            return
        try:
            for found in measure(stage, links, given.runs or None):
                runs.append(found)  # kept one by one, also if a later one fails
        finally:
            # Also after Ctrl-C or a failure: the finished runs are recorded.
            rows = rows_of(runs)
            if rows:
                write_record(output.stem, rows, path=output, before=commands)
    print()
    print_table(*cost_table(rows))
    print()
    print_table(*goal_table(known, rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["flow"]:
        flow(int(sys.argv[2]))
    else:
        main(sys.argv[1:])
