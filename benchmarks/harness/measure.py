"""Measure one run of a program: its seconds, CPU seconds and memory."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from .stage import CLIENT, MIB

DEADLINE = 900.0
"""Seconds after which a run of one transfer counts as hanging: it is killed, and the benchmark fails."""


class RunFailed(Exception):
    """A measured program failed."""


@dataclass(frozen=True)
class Contender:
    """A program to measure. It prints a line of JSON with `seconds`, `cpu` and `memory`, or nothing at all."""

    name: str
    command: Sequence[str]
    size: int
    """Bytes that it sends."""
    cores: frozenset[int] = frozenset(CLIENT)
    environment: dict[str, str] = field(default_factory=dict)
    peer: int | None = None
    """The process that it sends to. Its work is part of the run; all other work of the machine is noise."""


@dataclass(frozen=True)
class Run:
    """The measurements of one run."""

    seconds: float
    """The duration of the transfer, including connecting; of the whole process if the program prints nothing."""
    cpu: float
    """Seconds of user and system time in the same period."""
    memory: int
    """The peak of the process in bytes (VmHWM)."""
    process_cpu: float
    """Seconds of user and system time of the whole process, including the interpreter's start and imports."""
    noise: float
    """Cores that were busy with something else, including the kernel: about 0 on a quiet machine."""
    told: dict[str, Any] = field(default_factory=dict)
    """The other fields of the line that the program printed. The name is part of the records in `results/`."""


def run_once(contender: Contender, deadline: float = DEADLINE) -> Run:
    """Run a program on its cores, and wait until it ends."""
    environment = os.environ | {"NO_PROXY": "*", "no_proxy": "*"} | contender.environment
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        began, busy = time.monotonic(), _busy() - _used_by(contender.peer)
        process = subprocess.Popen(
            list(contender.command),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            preexec_fn=partial(os.sched_setaffinity, 0, contender.cores),
        )
        status, used, memory = _wait(process, deadline)
        seconds, busy = time.monotonic() - began, _busy() - _used_by(contender.peer) - busy
        stdout.seek(0)
        stderr.seek(0)
        if status != 0:
            reason = stderr.read().decode(errors="replace")[-2000:]
            raise RunFailed(f"{contender.name} ended with {status}: {reason}")
        lines = stdout.read().decode().splitlines()
    printed = json.loads(lines[-1]) if lines else {}
    cpu = used.ru_utime + used.ru_stime
    return Run(
        seconds=printed.pop("seconds", seconds),
        cpu=printed.pop("cpu", cpu),
        memory=printed.pop("memory", memory),
        process_cpu=cpu,
        noise=round(max(0.0, busy - cpu) / seconds, 2),
        told=printed,
    )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> tuple[int, Any, int]:
    """Wait for the end of a process, and read its peak memory periodically: a process that has ended has none."""
    memory, deadline = 0, time.monotonic() + seconds
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used, memory
        memory = max(memory, peak_memory(process.pid))
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.02)


def peak_memory(pid: int) -> int:
    """Return a process's VmHWM in bytes; 0 if the process has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


TICKS = os.sysconf("SC_CLK_TCK")


def _busy() -> float:
    """Return the CPU seconds that the whole machine was busy, including stolen time."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _waiting, *others = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(others)) / TICKS


def _used_by(pid: int | None) -> float:
    if pid is None:
        return 0.0
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def interleave(
    contenders: Sequence[Contender], runs: int, *, warm_up: int = 1, before: Callable[[Contender], None] | None = None
) -> dict[str, list[Run]]:
    """Run A B C A B C …, so that other work of the machine affects all of them equally.

    Args:
        contenders: The programs to compare.
        runs: Rounds that count.
        warm_up: Rounds before them that do not count.
        before: Called before each run; it may empty the cache and check the file.
    """
    measured: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(-warm_up, runs):
        for contender in contenders:
            if before is not None:
                before(contender)
            run = run_once(contender)
            if number >= 0:
                measured[contender.name].append(run)
    return measured


@dataclass(frozen=True)
class Summary:
    """The medians of some runs, and their spread."""

    mib_per_second: float
    slowest: float
    fastest: float
    cpu_per_gib: float
    memory_mib: float
    noise: float


def summarize(runs: Sequence[Run], size: int) -> Summary:
    """Return the medians of some runs, of which each sent `size` bytes."""
    rates = [size / MIB / run.seconds for run in runs]
    return Summary(
        mib_per_second=median(rates),
        slowest=min(rates),
        fastest=max(rates),
        cpu_per_gib=median(run.cpu for run in runs) / (size / (1024 * MIB)),
        memory_mib=median(run.memory for run in runs) / MIB,
        noise=median(run.noise for run in runs),
    )


def warn_of_noise(noise: Iterable[float]) -> None:
    """Print a warning if the machine was busy with something else during the runs."""
    most = max(noise)
    if most > 0.15:
        print(f"not a quiet machine: up to {most:.1f} cores did something else; read the ratios, and those with care")
