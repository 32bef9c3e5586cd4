"""Measure how much faster more hosts send a file: Dask workers in network namespaces, each on a link of 100 Mbit/s.

    host 1 [tc tbf] --veth--.
    host 2 [tc tbf] --veth--+-- hub: the service, the scheduler, and the program that uploads
    ...                     '

Each round uploads the same file with 1, 2 and 4 hosts (`--hosts`). The time is that of `upload_file`, including
planning, the start of the workers' tasks and the confirmation. It does not include what a cluster does once: a small
file is uploaded before, so that every worker has imported its modules (four hosts on one machine would do that one
after the other). The service is a sink that answers four requests and stores nothing, so that the links are the
bottleneck and not this machine, on which everything runs.

Needs root and iproute2.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from distributed import Client

from aioframeio_upload import Uploader
from aioframeio_upload.dask import upload_file

from .harness.record import print_table, write_record
from .harness.words import many, parser, show_size, size
from .wan.network import MTU, PREFIX, SEGMENT, Child, run, sweep

HUB = "198.18.0.1"
"""An address of RFC 2544's range for benchmarks, as in `wan/network.py`."""
SERVICE, SCHEDULER = 8080, 8786
MOST_HOSTS = 4


@contextmanager
def open_links(rate: float) -> Iterator[tuple[str, list[str]]]:
    """Build the hub and its hosts, and yield the names of their namespaces; remove them at the end."""
    hub, *hosts = (f"{PREFIX}-{os.getpid()}-{end}" for end in ("hub", *range(MOST_HOSTS)))
    with ExitStack() as stack:
        for name in (hub, *hosts):
            stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True, check=False)
            run(f"ip netns add {name}")
            run(f"ip -n {name} link set lo up")
        run(f"ip -n {hub} address add {HUB}/32 dev lo")
        run(f"ip netns exec {hub} sysctl -qw net.ipv4.ip_forward=1")
        for number, host in enumerate(hosts, 1):
            here, there = f"198.18.{number}.2", f"198.18.{number}.1"
            run(f"ip -n {host} link add wan type veth peer name host{number} netns {hub}")
            for name, device, address in ((host, "wan", here), (hub, f"host{number}", there)):
                run(f"ip -n {name} address add {address}/30 dev {device}")
                run(f"ip -n {name} link set {device} up mtu {MTU}")
            run(f"ip -n {host} route add default via {there}")
            # Segments of up to 64 KiB (GSO) enter the bucket as a whole, so it must be larger than one of them.
            run(f"tc -n {host} qdisc add dev wan root tbf rate {rate:.0f}bit burst 128kb latency 50ms")
        yield hub, hosts


def inside(namespace: str, *words: str) -> list[str]:
    """Return the command that runs Python in a namespace."""
    return ["ip", "netns", "exec", namespace, sys.executable, *words]


@contextmanager
def background(words: list[str], folder: Path) -> Iterator[None]:
    """Run a program of Dask until the block is left; its output goes to `dask.log`, for the error if it fails."""
    with (folder / "dask.log").open("ab") as output:
        program = subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True)
        try:
            yield
        finally:
            program.terminate()
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def measure(hub: str, hosts: Sequence[str], folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Upload the file once with these hosts."""
    cli = ["-m", "distributed.cli.dask_worker", f"tcp://{HUB}:{SCHEDULER}", "--nthreads", "2", "--no-nanny"]
    with ExitStack() as stack:
        stack.enter_context(Child(inside(hub, "-m", "benchmarks.fleet", "service", json.dumps(asked))))
        scheduler = ["-m", "distributed.cli.dask_scheduler", "--host", HUB, "--port", str(SCHEDULER), "--no-dashboard"]
        stack.enter_context(background(inside(hub, *scheduler), folder))
        for number, host in enumerate(hosts, 1):
            own = [
                "--host",
                f"198.18.{number}.2",
                "--local-directory",
                str(folder / f"worker-{number}"),
                "--no-dashboard",
            ]
            stack.enter_context(background(inside(host, *cli, *own), folder))
        command = inside(hub, "-m", "benchmarks.fleet", "upload", json.dumps(asked | {"hosts": len(hosts)}))
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=600)
        if done.returncode != 0:
            raise RuntimeError((folder / "dask.log").read_text(encoding="utf-8", errors="replace")[-4000:])
        found: dict[str, Any] = json.loads(done.stdout)
        return found


# -- what runs in the namespaces -----------------------------------------------------------------------------------


async def serve(asked: dict[str, Any]) -> None:
    """Play Frame.io and S3: answer with part links, accept the parts, and report the file as complete."""

    async def answer(request: web.Request) -> web.Response:
        if request.method == "PUT":
            async for _ in request.content.iter_any():
                pass
            return web.Response()
        if request.method == "GET":
            return web.json_response({"data": {"upload_complete": True, "upload_failed": False}})
        data = (await request.json())["data"]
        size, part = data["file_size"], asked["part_size"]
        sizes = [min(part, size - offset) for offset in range(0, size, part)]
        links = [{"size": one, "url": f"http://{HUB}:{SERVICE}/{number}"} for number, one in enumerate(sizes, 1)]
        return web.json_response({"data": {**data, "id": "file", "upload_urls": links}}, status=201)

    app = web.Application(client_max_size=1 << 40)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HUB, SERVICE).start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


async def upload(asked: dict[str, Any]) -> dict[str, Any]:
    """Upload the file after all hosts have connected."""
    async with (
        Client(f"tcp://{HUB}:{SCHEDULER}", asynchronous=True, timeout=60) as client,
        Uploader("token", account_id="account", base_url=f"http://{HUB}:{SERVICE}") as uploader,
    ):
        await client.wait_for_workers(asked["hosts"], timeout=120)  # pyright: ignore[reportGeneralTypeIssues]  # a coroutine here
        await upload_file(client, asked["small"], uploader=uploader, folder_id="folder")
        began_at = time.monotonic()
        await upload_file(client, asked["path"], uploader=uploader, folder_id="folder")
        return {"seconds": time.monotonic() - began_at}


# -- the benchmark ---------------------------------------------------------------------------------------------------


def why_not() -> str | None:
    """Return what this machine lacks for the benchmark, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    name = f"{PREFIX}-{os.getpid()}-try"
    try:
        run(f"ip netns add {name}")
        run(f"ip netns del {name}")
        run("tc -V")
    except (RuntimeError, FileNotFoundError) as error:
        return f"network namespaces and tc are needed: {error}"
    return None


def rows_of(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the median for each number of hosts, and its ratio to that of the smallest number."""
    found: dict[int, list[dict[str, Any]]] = {}
    for one in runs:
        found.setdefault(one["hosts"], []).append(one)
    medians = {hosts: statistics.median(one["seconds"] for one in each) for hosts, each in sorted(found.items())}
    alone = medians[min(medians)]
    return [
        {"cell": {"hosts": hosts}, "summary": {"seconds": median, "share": median / alone}, "runs": found[hosts]}
        for hosts, median in medians.items()
    ]


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    options = parser(__doc__, runs=3)
    options.set_defaults(warm_up=0)
    options.add_argument("--hosts", type=many(int), default=[1, 2, 4], help="e.g. 1,2,4")
    options.add_argument("--rate", type=float, default=100e6, help="bits a second of each host's link (default 100e6)")
    options.add_argument("--size", type=size, default=400_000_000, help="of the file (default 400000000)")
    options.add_argument("--part-size", type=size, default=5_000_000, help="(default 5000000)")
    given = options.parse_args(words)
    if given.quick:
        given.hosts, given.size, given.runs = [1, 2], 50_000_000, 1
    return given


def main(words: Sequence[str]) -> None:
    """Measure, print the table and write the record."""
    given = parse(words)
    if (reason := why_not()) is not None:
        print(f"fleet: left out: {reason}")
        return
    sweep()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, open_links(given.rate) as (hub, hosts):
        folder = Path(name)
        with (folder / "film").open("wb") as film:
            film.truncate(given.size)
        with (folder / "small").open("wb") as small:
            small.truncate(MOST_HOSTS * given.part_size)
        asked = {"small": str(folder / "small"), "path": str(folder / "film"), "part_size": given.part_size}
        for turn in range(given.runs):
            for count in given.hosts:
                found = measure(hub, hosts[:count], folder, asked)
                runs.append({"hosts": count, "size": given.size, "rate": given.rate, **found})
                print(f"round {turn + 1} of {given.runs}, {count} hosts: {found['seconds']:.1f} s", flush=True)
    rows = rows_of(runs)
    write_record("fleet", rows, path=given.output)
    least = given.size / (given.rate / 8 * SEGMENT / MTU)
    print(f"\n{show_size(given.size)}; a link alone needs {least:.1f} s for its bytes")
    shown = [[row["cell"]["hosts"], row["summary"]["seconds"], row["summary"]["share"]] for row in rows]
    print_table(["hosts", "seconds", "of one host's"], shown)


if __name__ == "__main__":
    match sys.argv[1:2]:
        case ["service"]:
            asyncio.run(serve(json.loads(sys.argv[2])))
        case ["upload"]:
            print(json.dumps(asyncio.run(upload(json.loads(sys.argv[2])))))
        case _:
            main(sys.argv[1:])
