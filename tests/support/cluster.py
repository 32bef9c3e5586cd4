"""A Dask cluster as separate programs: a scheduler, and workers that are processes and can be killed.

As a program: `python -m tests.support.cluster WORKERS` prints the scheduler's address and runs until stdin is closed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from blockbuster import BlockBuster
from distributed import LocalCluster


def main(workers: int) -> None:
    settings: dict[str, Any] = {"threads_per_worker": 2, "processes": True, "dashboard_address": "127.0.0.1:0"}
    if "DASK_LOGGING__DISTRIBUTED" in os.environ:
        settings["silence_logs"] = False
    cluster: Any
    with LocalCluster(n_workers=workers, host="127.0.0.1", **settings) as cluster:
        sys.stdout.write(f"{cluster.scheduler_address}\n")
        sys.stdout.flush()
        sys.stdin.read()


@contextmanager
def cluster_of(workers: int, folder: Path) -> Iterator[str]:
    """Run a cluster whose programs work in a folder, and yield the scheduler's address."""
    with program_of(workers, folder) as (_, address):
        yield address


@contextmanager
def program_of(
    workers: int, folder: Path, log: Path | None = None, **settings: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a cluster; yield the scheduler program and its address. `settings` are added to its environment."""
    command = [sys.executable, str(Path(__file__).resolve()), str(workers)]
    environment = os.environ | settings
    with ExitStack() as stack:
        told = None if log is None else stack.enter_context(log.open("wb"))
        program = stack.enter_context(
            subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
            )
        )
        assert program.stdout is not None
        try:
            yield program, program.stdout.readline().strip()
        finally:
            program.communicate(timeout=30)


def may_block(blockbuster: BlockBuster) -> None:
    """Allow the blocking calls that Dask makes when a client starts: it inspects the machine and its packages."""
    for function in blockbuster.functions.values():
        function.can_block_in("distributed/versions.py", {"get_versions"})


if __name__ == "__main__":
    main(int(sys.argv[1]))
