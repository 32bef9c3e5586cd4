"""Prepare the place of the runs: the cores, the files, the sink and its certificate."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
from awscrt.checksums import crc64nvme

from .native import built

WORK = Path(os.environ.get("BENCH_DIR", Path(__file__).resolve().parent.parent / ".work"))
"""The folder for the files. It must be on a disk: tmpfs does not support RWF_NOWAIT and has no cold cache."""

MIB = 1 << 20
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
CLIENT = {CORES[0]}
SINK = {CORES[-1]}
"""A different core from the client's, unless there is only one; the record contains the number of cores."""


@dataclass(frozen=True)
class Sink:
    """A running sink."""

    port: int
    ca: Path | None
    """The certificate to trust; None for plain HTTP."""
    pid: int

    @property
    def base(self) -> str:
        """The URL to which part numbers are appended; empty for an idle client without a sink."""
        if not self.port:
            return ""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"


@contextmanager
def sink(
    *,
    tls: bool,
    cores: set[int] | None = None,
    api_part_size: int | None = None,
    etag: str | None = None,
    crc: str | None = None,
) -> Iterator[Sink]:
    """Run the C sink, which ends when its stdin closes.

    Args:
        tls: Whether to use TLS, with a new certificate.
        cores: The cores to run on; by default one.
        api_part_size: Play Frame.io's API too, with parts of this size.
        etag: The ETag for every part whose URL contains none.
        crc: The CRC64NVME, likewise.
    """
    with TemporaryDirectory() as folder:
        command = [str(built("sink"))]
        ca = make_certificate(Path(folder)) if tls else None
        if ca is not None:
            command += ["--cert", str(ca.with_name("chain.pem")), "--key", str(ca.with_name("chain.pem"))]
        if api_part_size is not None:
            command += ["--part-size", str(api_part_size)]
        if etag is not None:
            command += ["--etag", etag]
        if crc is not None:
            command += ["--crc", crc]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            os.sched_setaffinity(process.pid, cores or SINK)
            assert process.stdout is not None
            try:
                yield Sink(json.loads(process.stdout.readline())["port"], ca, process.pid)
            finally:
                process.terminate()


def make_certificate(folder: Path) -> Path:
    """Write a certificate for loopback with its key (`chain.pem`), and return the path of its CA."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(folder / "chain.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"


@dataclass(frozen=True)
class Source:
    """A file to send: as a whole, or as a file for each part for tools that cannot send a slice."""

    path: Path
    size: int
    part_size: int

    @property
    def lengths(self) -> list[int]:
        """The sizes of the parts."""
        whole, rest = divmod(self.size, self.part_size)
        return [self.part_size] * whole + ([rest] if rest else [])

    def part_files(self) -> list[Path]:
        """Return a file for each part; they are created unless they exist."""
        folder = self.path.with_name(f"{self.path.name}-cut-{self.part_size}")
        paths = [folder / f"{number:05d}" for number in range(1, len(self.lengths) + 1)]
        if all(path.exists() and path.stat().st_size == size for path, size in zip(paths, self.lengths, strict=True)):
            return paths
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with self.path.open("rb") as whole:
            for path, size in zip(paths, self.lengths, strict=True):
                with path.open("wb") as part:
                    while part.tell() < size:
                        part.write(whole.read(min(MIB, size - part.tell())))
        os.sync()
        return paths

    def statements(self, *names: str) -> list[dict[str, str]]:
        """Return for each part what the sink states of it: its "md5" (hex), its "crc64nvme" (base64), or both.

        Computing them is not part of the measured time.
        """
        found = []
        with self.path.open("rb") as whole:
            for size in self.lengths:
                md5, crc, left = hashlib.md5(usedforsecurity=False), 0, size
                while left:
                    block = whole.read(min(MIB, left))
                    crc = crc64nvme(block, crc)
                    if "md5" in names:
                        md5.update(block)
                    left -= len(block)
                both = {"md5": md5.hexdigest(), "crc64nvme": base64.b64encode(crc.to_bytes(8, "big")).decode()}
                found.append({name: both[name] for name in names})
        return found


def make_source(size: int, part_size: int, *, sparse: bool = False) -> Source:
    """Return a file of that size; it is created unless it exists."""
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{'sparse' if sparse else 'source'}-{size}"
    if not path.exists() or path.stat().st_size != size:
        # One block, repeated: `journal.py` relies on equal parts.
        block = random.Random(1).randbytes(MIB)
        with path.open("wb") as file:
            if sparse:
                file.truncate(size)
            else:
                for offset in range(0, size, MIB):
                    file.write(block[: size - offset])
                file.flush()
                os.fsync(file.fileno())
    return Source(path, size, part_size)


def discard_sources() -> None:
    """Remove all files that were created to be sent."""
    shutil.rmtree(WORK, ignore_errors=True)
