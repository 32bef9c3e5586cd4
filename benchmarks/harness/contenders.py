"""Define the clients that are compared: ours, the official SDK, curl, libcurl and the C floor, with the same parts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .measure import Contender
from .native import Missing, built
from .stage import CLIENT, CORES, MIB, WORK, Sink, Source

EVERY_CORE = frozenset(CORES)
ONE_CORE = frozenset(CLIENT)


def ours(
    sink: Sink,
    source: Source,
    in_flight: int | None,
    *,
    name: str = "ours",
    checksum: str = "auto",
    stated: Sequence[dict[str, str]] = (),
    loop: str = "asyncio",
    tick: float = 0.0,
    cores: frozenset[int] = ONE_CORE,
) -> Contender:
    """Return `Uploader.send_parts` as a contender; the sink states `stated` of each part (`Source.statements`).

    `in_flight` is None for the library's default.
    """
    checks = {"checksum": checksum, "stated": list(stated)}
    job = _job(sink, source, in_flight) | checks | {"loop": loop, "tick": tick}
    return Contender(name, python_client("ours", job), source.size, cores, peer=sink.pid)


def sdk(sink: Sink, source: Source, in_flight: int, *, cores: frozenset[int] = ONE_CORE) -> Contender:
    """Return the official SDK's uploader as a contender."""
    trust = {"SSL_CERT_FILE": str(sink.ca)} if sink.ca else {}
    return Contender(
        "frameio SDK", python_client("sdk", _job(sink, source, in_flight)), source.size, cores, trust, sink.pid
    )


def md5(sink: Sink, source: Source, *, cores: frozenset[int] = EVERY_CORE) -> Contender:
    """Return MD5 alone, in one thread, as a contender."""
    return Contender("MD5 alone", python_client("md5", _job(sink, source, 1)), source.size, cores, peer=sink.pid)


def native(name: str, sink: Sink, source: Source, in_flight: int) -> Contender:
    """Return one of the C programs, `floor` or `libcurl`, as a contender.

    Raises:
        Missing: It cannot be built here.
    """
    command = [str(built(name)), "--port", str(sink.port), "--file", str(source.path), "--size", str(source.size)]
    command += ["--part-size", str(source.part_size), "--in-flight", str(in_flight)]
    if sink.ca:
        command += ["--ca", str(sink.ca)]
    title = {"floor": "C floor", "libcurl": "libcurl"}[name]
    return Contender(title, command, source.size, peer=sink.pid)


def curl(sink: Sink, source: Source, in_flight: int) -> Contender:
    """Return the tool curl as a contender. It cannot send a slice, so that each part is a separate file.

    Raises:
        Missing: It is not installed.
    """
    tool = shutil.which("curl")
    if tool is None:
        raise Missing("curl --parallel: no curl (Debian, Ubuntu: apt-get install curl)")
    lines = []
    for number, path in enumerate(source.part_files(), 1):
        lines += [f'upload-file = "{path}"', f'url = "{sink.base}/part/{number}"']
    settings = WORK / "curl.conf"
    settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [tool, "--disable", "--parallel", "--parallel-immediate", "--parallel-max", str(in_flight), "--silent"]
    command += ["--show-error", "--fail", "--http1.1", "--header", "Expect:", "--header", "x-amz-acl: private"]
    command += ["--header", "Content-Type: application/octet-stream"]
    if sink.ca:
        command += ["--cacert", str(sink.ca)]
    return Contender("curl --parallel", [*command, "--config", str(settings)], source.size, peer=sink.pid)


def present(makers: list[Callable[[], Contender]]) -> tuple[list[Contender], list[str]]:
    """Return the contenders that this machine can run, and the reasons why it cannot run the others."""
    found, missing = [], []
    for make in makers:
        try:
            found.append(make())
        except Missing as reason:
            missing.append(str(reason))
    return found, missing


def sdk_memory(source: Source, in_flight: int) -> int:
    """Return how many bytes the SDK will hold: a part for each worker, a copy while it joins pieces, its imports."""
    return source.part_size * (min(in_flight, len(source.lengths)) + 2) + 200 * MIB


def python_client(client: str, job: dict[str, Any]) -> list[str]:
    """Return the command that runs one of `benchmarks.clients`."""
    return [sys.executable, "-m", f"benchmarks.clients.{client}", json.dumps(job)]


def _job(sink: Sink, source: Source, in_flight: int | None) -> dict[str, object]:
    return {
        "base": sink.base,
        "ca": str(sink.ca) if sink.ca else None,
        "file": str(source.path),
        "size": source.size,
        "part_size": source.part_size,
        "in_flight": in_flight,
    }
