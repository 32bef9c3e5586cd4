"""Where do the runs take place: which cores, which files, which sink, which certificate?"""

from __future__ import annotations

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

from .native import built

WORK = Path(os.environ.get("BENCH_DIR", Path(__file__).resolve().parent.parent / ".work"))
"""On a disk, not in memory: tmpfs refuses RWF_NOWAIT and has no cold cache."""

MIB = 1 << 20
CORES = sorted(os.sched_getaffinity(0))
CLIENT = {CORES[0]}
SINK = {CORES[-1]}
"""With one core only they share it; the record says how many there are."""


@dataclass(frozen=True)
class Sink:
    """A sink that runs."""

    port: int
    ca: Path | None
    """What to trust; None: plain HTTP."""
    pid: int

    @property
    def base(self) -> str:
        """The URL that part numbers are appended to; none for a sink that is not there."""
        if not self.port:
            return ""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"


@contextmanager
def sink(
    *, tls: bool, cores: set[int] | None = None, api_part_size: int | None = None, etag: str | None = None
) -> Iterator[Sink]:
    """Run the C sink; it ends with its stdin. `etag` is what every part is answered with whose URL names none."""
    with TemporaryDirectory() as folder:
        command = [str(built("sink"))]
        ca = make_certificate(Path(folder)) if tls else None
        if ca is not None:
            command += ["--cert", str(ca.with_name("chain.pem")), "--key", str(ca.with_name("chain.pem"))]
        if api_part_size is not None:
            command += ["--part-size", str(api_part_size)]
        if etag is not None:
            command += ["--etag", etag]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            os.sched_setaffinity(process.pid, cores or SINK)
            assert process.stdout is not None
            try:
                yield Sink(json.loads(process.stdout.readline())["port"], ca, process.pid)
            finally:
                process.terminate()


def make_certificate(folder: Path) -> Path:
    """Write a chain with its key (`chain.pem`) for loopback, and give the path of the CA that signed it."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(folder / "chain.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"


@dataclass(frozen=True)
class Source:
    """A file to be sent, whole and (for tools that cannot send a slice) as one file a part."""

    path: Path
    size: int
    part_size: int

    @property
    def lengths(self) -> list[int]:
        """The sizes of its parts."""
        whole, rest = divmod(self.size, self.part_size)
        return [self.part_size] * whole + ([rest] if rest else [])

    def part_files(self) -> list[Path]:
        """Give a file for each part, cutting the whole one up where that was not done yet."""
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

    def md5s(self) -> list[str]:
        """Hash each part, for the sink to answer with; not on the clock."""
        found = []
        with self.path.open("rb") as whole:
            for size in self.lengths:
                digest, left = hashlib.md5(usedforsecurity=False), size
                while left:
                    block = whole.read(min(MIB, left))
                    digest.update(block)
                    left -= len(block)
                found.append(digest.hexdigest())
        return found


def make_source(size: int, part_size: int, *, sparse: bool = False) -> Source:
    """Give a file of that size, made now unless an earlier run left it."""
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{'sparse' if sparse else 'source'}-{size}"
    if not path.exists() or path.stat().st_size != size:
        # One after the other on the disk: a file of each size that was ever asked for would fill it.
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
    """Remove every file that was made to be sent."""
    shutil.rmtree(WORK, ignore_errors=True)
