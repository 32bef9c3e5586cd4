"""Measure how many small files are uploaded in a second, and the cost of one part and of one event.

The server plays Frame.io and S3 in C (native/sink.c), because the fake of `aioframeio_upload.testing` is written in
Python and slower than the client (`--server fake` shows it). API pacing is off: with the documented five creates a
second, 1,000 files would take 200 s with any client. Over TLS the clients trust certifi's bundle and our CA, because a
real client loads a bundle too (the SDK does for each file). The SDK gets a pool of threads; `--sdk-threads` finds its
best number.

`--folder` measures something else, with this library alone and against the fake, which can list: how the memory of
`upload_folder` grows with the number of files. `many_small.py --folder --files 100000 --runs 1 --warm-up 0` takes about
a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import certifi

from .harness import contenders
from .harness.measure import Contender, Run, interleave, warn_of_noise
from .harness.record import print_table, write_record
from .harness.stage import SINK, WORK, Sink, make_source, sink
from .harness.words import many, parser, show_size, size

IN_FLIGHT = 8
"""The default of `Limits.parts`."""
LISTENERS = 32
"""Listeners of one upload: so many that the events are most of the cost."""


def make_files(count: int, length: int) -> Path:
    """Return a folder with that many files; an earlier run's is used again."""
    folder = WORK / f"small-{count}-{length}"
    if not folder.exists() or len(list(folder.iterdir())) != count:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"frame-{number:06d}.dpx").write_bytes(os.urandom(length))
    return folder


@contextmanager
def server(kind: str, *, tls: bool, part_size: int) -> Iterator[tuple[Sink, dict[str, Any]]]:
    """Run the sink or the fake, and yield it with the fields of the client's job that it determines."""
    if kind == "sink":
        with sink(tls=tls, api_part_size=part_size) as target:
            yield target, {"base": target.base, "ca": str(bundle_of(target.ca)) if target.ca else None}
        return
    command = [sys.executable, "-m", "aioframeio_upload.testing", "--no-rate-limits", "--no-store"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        os.sched_setaffinity(process.pid, SINK)
        assert process.stdout is not None
        try:
            account = json.loads(process.stdout.readline())
            yield Sink(0, None, process.pid), {"base": account.pop("url"), **account}
        finally:
            process.terminate()


def make_tree(count: int, length: int) -> Path:
    """Return a folder with that many files, a thousand in each of its folders; an earlier run's is used again."""
    folder = WORK / f"tree-{count}-{length}"
    if not folder.exists():
        making = folder.with_name(folder.name + ".part")
        shutil.rmtree(making, ignore_errors=True)
        for number in range(count):
            inside = making / f"{number // 1000:04d}"
            inside.mkdir(parents=True, exist_ok=True)
            (inside / f"frame-{number:06d}.dpx").write_bytes(os.urandom(length))
        making.rename(folder)
    return folder


def bundle_of(ca: Path) -> Path:
    """Write certifi's bundle with our CA added, and return its path."""
    bundle = ca.with_name("bundle.pem")
    bundle.write_text(certifi.contents() + ca.read_text(encoding="utf-8"), encoding="utf-8")
    return bundle


def client(name: str, program: str, target: Sink, job: dict[str, Any], size: int) -> Contender:
    """Return one of the clients for small files."""
    trust = {"SSL_CERT_FILE": job["ca"]} if job.get("ca") else {}
    command = contenders.python_client(program, job)
    return Contender(name, command, size, environment=trust, peer=target.pid)


def files_a_second(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Upload all files with each client, print the table, and return the rows of the record."""
    folder = make_files(options.files, options.size)
    total = options.files * options.size
    with server(options.server, tls=not options.plain, part_size=1 << 20) as (target, known):
        job = {"folder": str(folder), "workers": IN_FLIGHT, **known}
        compared = [
            client("ours", "small_ours", target, job, total),
            client("ours, unchecked", "small_ours", target, job | {"checksum": "off"}, total),
            client("ours, not confirmed", "small_ours", target, job | {"confirm": False}, total),
        ]
        compared += [
            client(f"frameio SDK, {threads} threads", "small_sdk", target, job | {"workers": threads}, total)
            for threads in options.sdk_threads
        ]
        runs = interleave(compared, options.runs, warm_up=options.warm_up)
    rates = {name: median(options.files / run.seconds for run in some) for name, some in runs.items()}
    cpu = {name: median(run.cpu for run in some) * 1000 / options.files for name, some in runs.items()}
    wire = "plain" if options.plain else "TLS"
    print(f"\n{options.files} files of {show_size(options.size)}, {wire}, {options.server}")
    lines = [(name, round(rates[name]), cpu[name], rates["ours"] / rates[name]) for name in rates]
    print_table(("", "files/s", "CPU ms a file", "ours ÷ it"), lines)
    warn_of_noise(median(run.noise for run in some) for some in runs.values())
    cell = {"question": "files", "tls": not options.plain, "files": options.files, "size": options.size}
    return [
        {
            "cell": cell | {"server": options.server},
            "client": name,
            "summary": {
                "files_per_second": rates[name],
                "cpu_ms_a_file": cpu[name],
                "ours_to_it": rates["ours"] / rates[name],
                "noise": median(run.noise for run in runs[name]),
            },
            "runs": runs[name],
        }
        for name in rates
    ]


def memory_of_a_folder(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Upload a tree, and one with a tenth of the files: the difference of the peaks is the cost of the other files."""
    counts = [max(1, options.files // 10), options.files]
    runs: dict[int, list[Run]] = {}
    for count in counts:
        with server("fake", tls=False, part_size=1 << 20) as (target, known):
            job = {"folder": str(make_tree(count, options.size)), "workers": IN_FLIGHT, **known}
            compared = [client("ours", "small_folder", target, job, count * options.size)]
            runs[count] = interleave(compared, options.runs, warm_up=options.warm_up)["ours"]
    peak = {count: median(run.memory for run in some) for count, some in runs.items()}
    tasks = {count: max(run.told["tasks"] for run in some) for count, some in runs.items()}
    print(f"\na folder of files of {show_size(options.size)}, plain, fake")
    rates = {count: median(count / run.seconds for run in some) for count, some in runs.items()}
    lines = [(str(count), peak[count] / (1 << 20), tasks[count], round(rates[count])) for count in counts]
    print_table(("files", "VmHWM MiB", "most tasks", "files/s"), lines)
    more = counts[1] - counts[0]
    if more:
        print(f"a file adds {(peak[counts[1]] - peak[counts[0]]) / more:.0f} bytes to the peak")
    return [
        {
            "cell": {"question": "a folder", "files": count, "size": options.size},
            "client": "ours",
            "summary": {
                "memory_mib": peak[count] / (1 << 20),
                "tasks": tasks[count],
                "files_per_second": rates[count],
                "noise": median(run.noise for run in runs[count]),
            },
            "runs": runs[count],
        }
        for count in counts
    ]


def cost_of_a_part(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Send one file in very many tiny parts, so that the bytes cost next to nothing."""
    source = make_source(options.parts * 1024, 1024)
    with sink(tls=False) as target:
        compared = [contenders.ours(target, source, IN_FLIGHT), contenders.sdk(target, source, IN_FLIGHT)]
        runs = interleave(compared, options.runs, warm_up=options.warm_up)
    count: int = options.parts
    return show_costs("a part", runs, dict.fromkeys(runs, count), options)


def cost_of_an_event(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Upload a file of many tiny parts with and without listeners; the difference is the cost of the events."""
    folder = make_files(1, options.parts * 1024 // 2)
    with server("sink", tls=False, part_size=1024) as (target, known):
        job = {"folder": str(folder), "workers": IN_FLIGHT, **known}
        compared = [
            client(str(number), "small_ours", target, job | {"listeners": number}, options.parts * 1024 // 2)
            for number in (0, LISTENERS)
        ]
        runs = interleave(compared, options.runs, warm_up=options.warm_up)
    unheard, heard = runs["0"], runs[str(LISTENERS)]
    extra = [
        replace(one, seconds=one.seconds - other.seconds, cpu=one.cpu - other.cpu)
        for one, other in zip(heard, unheard, strict=True)
    ]
    delivered = int(heard[0].told["delivered"])
    return show_costs("an event, for each listener", {"ours": extra}, {"ours": delivered}, options)


def show_costs(
    what: str, runs: dict[str, list[Run]], counts: dict[str, int], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Print the cost of one part or event, and return the rows of the record."""
    costs = {name: median(run.cpu for run in some) / counts[name] * 1e6 for name, some in runs.items()}
    print(f"\nCPU microseconds {what}")
    print_table(("", "µs", "of"), [(name, round(cost, 1), counts[name]) for name, cost in costs.items()])
    cell = {"question": what, "parts": options.parts, "in_flight": IN_FLIGHT}
    return [
        {"cell": cell, "client": name, "summary": {"cpu_us": costs[name], "of": counts[name]}, "runs": runs[name]}
        for name in runs
    ]


def main() -> None:
    """Measure files, parts and events, or the memory of a folder; write the record."""
    options = parser(__doc__, runs=3)
    options.add_argument("--files", type=int, default=1000)
    options.add_argument("--size", type=size, default=100 << 10, help="of a file (default 100KiB)")
    options.add_argument("--parts", type=int, default=2000, help="for the cost of one (default 2000)")
    options.add_argument("--sdk-threads", type=many(int), default=[1, 8], help="e.g. 1,8")
    options.add_argument("--server", choices=["sink", "fake"], default="sink")
    options.add_argument("--folder", action="store_true", help="the memory of a folder's upload, and nothing else")
    options.add_argument("--plain", action="store_true", help="plain HTTP (default: TLS; the fake is always plain)")
    given = options.parse_args()
    given.plain = given.plain or given.server == "fake"
    if given.quick:
        given.files, given.sdk_threads = min(given.files, 200), given.sdk_threads[-1:]
    if given.folder:
        write_record("many_small_folder", memory_of_a_folder(given), path=given.output)
        return
    rows = [*files_a_second(given), *cost_of_a_part(given), *cost_of_an_event(given)]
    write_record("many_small", rows, path=given.output)


if __name__ == "__main__":
    main()
