"""What does one run in a process of its own take: seconds, CPU seconds and memory?"""

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
"""Seconds after which a run that hangs is killed, and the benchmark fails; of a run that is one transfer."""


class RunFailed(Exception):
    """A measured program ended badly."""


@dataclass(frozen=True)
class Contender:
    """A program to be measured; it prints a line of JSON with `seconds`, `cpu` and `memory`, or nothing at all."""

    name: str
    command: Sequence[str]
    size: int
    """Bytes that it sends."""
    cores: frozenset[int] = frozenset(CLIENT)
    environment: dict[str, str] = field(default_factory=dict)
    peer: int | None = None
    """The process that it sends to: its work is part of the run, all other work is noise."""


@dataclass(frozen=True)
class Run:
    """What one run took."""

    seconds: float
    """Of the transfer, connecting included; of the whole process where that tells nothing of itself."""
    cpu: float
    """Seconds of user and system time, in the same span."""
    memory: int
    """Bytes: the process's peak (VmHWM)."""
    process_cpu: float
    """Seconds of user and system time of the whole process: an interpreter's start and its imports too."""
    noise: float
    """Cores that were busy with something else meanwhile, the kernel included: a run on a quiet machine has about 0."""
    told: dict[str, Any] = field(default_factory=dict)
    """Whatever else the program said."""


def run_once(contender: Contender, deadline: float = DEADLINE) -> Run:
    """Run a program on its cores, and wait for it."""
    environment = os.environ | {"NO_PROXY": "*", "no_proxy": "*"} | contender.environment
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        began, busy = time.monotonic(), _busy() - _used_by(contender.peer)
        process = subprocess.Popen(
            list(contender.command),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            env=environment,
            preexec_fn=partial(os.sched_setaffinity, 0, contender.cores),
        )
        status, used, memory = _wait(process, deadline)
        seconds, busy = time.monotonic() - began, _busy() - _used_by(contender.peer) - busy
        said.seek(0)
        complained.seek(0)
        if status != 0:
            reason = complained.read().decode(errors="replace")[-2000:]
            raise RunFailed(f"{contender.name} ended with {status}: {reason}")
        lines = said.read().decode().splitlines()
    told = json.loads(lines[-1]) if lines else {}
    cpu = used.ru_utime + used.ru_stime
    return Run(
        seconds=told.pop("seconds", seconds),
        cpu=told.pop("cpu", cpu),
        memory=told.pop("memory", memory),
        process_cpu=cpu,
        noise=round(max(0.0, busy - cpu) / seconds, 2),
        told=told,
    )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> tuple[int, Any, int]:
    """Wait, looking at the peak of its memory now and then: a process that has ended has none."""
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
    """Give a process's VmHWM in bytes; 0 where it has ended."""
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
    """Give the CPU seconds that the whole machine has worked, stolen time included."""
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
    """Measure A B C A B C …, so that what else the machine does meets all of them alike; the first rounds are dropped.

    Args:
        contenders: What is compared.
        runs: Rounds that count.
        warm_up: Rounds that do not.
        before: Called before each run: makes the cache cold, checks the file.
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
    """The medians of some runs, and how far they spread."""

    mib_per_second: float
    slowest: float
    fastest: float
    cpu_per_gib: float
    memory_mib: float
    noise: float


def summarize(runs: Sequence[Run], size: int) -> Summary:
    """Take the medians."""
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
    """Say so if the machine was not alone with the runs."""
    most = max(noise)
    if most > 0.15:
        print(f"not a quiet machine: up to {most:.1f} cores did something else; read the ratios, and those with care")
