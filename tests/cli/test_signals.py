"""Ctrl-C, SIGTERM and SIGHUP on a real terminal: once, twice and more, whatever the command waits for.

The suite has a sample; `python3 run.py signals` sends some hundred volleys.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, some_bytes
from tests.support.commands import Program
from tests.support.pressed import HANG, Terminal

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminal", allow_module_level=True)

pytestmark = [
    pytest.mark.needs_program,
    pytest.mark.slow,
    pytest.mark.timeout(2 * HANG),
]

UPLOAD = ("upload", "take.mov", "--folder", "{folder}")

DEAD_MOUNT = """
import os, threading
read = os.preadv
def at_once(descriptor, buffers, offset, flags=0):
    raise BlockingIOError
def never(descriptor, size, offset):
    open("stuck", "w").close()
    threading.Event().wait()
os.preadv, os.pread = at_once, never
"""
"""A sitecustomize.py that lets a file be opened, but never returns from reading it."""


@dataclass(frozen=True)
class Place:
    """The state of a command when the first signal arrives."""

    command: tuple[str, ...]
    fault: Fault
    """A fault that never answers; its first hit shows that the command is in this state."""
    is_read: bool = True
    dead_mount: bool = False


def never(on: str, **what: int) -> Fault:
    return Fault(on=on, do="hold", times=None, **what)  # type: ignore[arg-type]


PLACES = {
    "parts": Place(UPLOAD, never("part")),
    "delete": Place((*UPLOAD, "--no-journal"), never("part")),
    "create": Place(UPLOAD, never("create")),
    "terminal": Place(UPLOAD, never("part"), is_read=False),
    "lines": Place((*UPLOAD, "--json"), never("part"), is_read=False),
    "mount": Place(UPLOAD, never("status"), dead_mount=True),
    "folder": Place(("upload", "shoot", "--folder", "{folder}"), never("part")),
    "status": Place(("status", "x"), never("status")),
    "remote": Place(("remote", "https://renders.example/a.mov", "--folder", "{folder}"), never("*")),
    "find": Place(("find",), never("accounts")),
}

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SPACINGS = (0.0, 0.003, 0.006, 0.009, 0.03, 0.1, 0.3)
EVERY = [
    (place, number, times, spacing)
    for place, times, spacing in product(PLACES, (2, 3, 4, 5), SPACINGS)
    for number in (SIGNALS if times == 3 else SIGNALS[:1])
]
SAMPLE = [
    (place, number, times, spacing)
    for place, (number, times, spacing) in zip(
        PLACES,
        cycle(
            [
                (signal.SIGINT, 3, 0.006),
                (signal.SIGINT, 2, 0.0),
                (signal.SIGTERM, 3, 0.003),
                (signal.SIGINT, 5, 0.1),
                (signal.SIGHUP, 2, 0.03),
            ]
        ),
        strict=False,
    )
]
VOLLEYS = EVERY if os.environ.get("SIGNALS") == "every" else SAMPLE


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake
        fake.release()


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    (tmp_path / "take.mov").write_bytes(some_bytes(2 * PART + 5))
    (tmp_path / "shoot").mkdir()
    for name in ("a.mov", "b.mov"):
        (tmp_path / "shoot" / name).write_bytes(name.encode())
    return Program(fake, tmp_path)


def at(place: Place, fake: FakeFrameio, program: Program) -> Terminal:
    """Start the command and wait until it is in that state."""
    environment = dict(program.environment)
    if place.dead_mount:
        (program.folder / "sitecustomize.py").write_text(DEAD_MOUNT, encoding="utf-8")
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(program.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    fake.add_fault(never("delete"))
    fake.add_fault(place.fault)
    arguments = [word.format(folder=fake.folder_id) for word in place.command]
    terminal = Terminal(
        [sys.executable, "-m", "aioframeio_upload", *arguments], environment, program.folder, is_read=place.is_read
    )
    stuck = program.folder / "stuck"
    try:
        fake.wait_until(
            lambda fake: on_disk(stuck.exists) if place.dead_mount else fake.hits(place.fault) > 0, timeout=HANG
        )
    except BaseException:
        terminal.__exit__(None, None, None)
        raise
    return terminal


def statuses(number: signal.Signals) -> tuple[int, int]:
    """Return the exit status for the signal, and that of a death by the signal itself."""
    return 128 + number, -number


@pytest.mark.parametrize(("name", "number", "times", "spacing"), VOLLEYS)
def test_a_second_signal_ends_it_at_once_and_any_further_one_is_harmless(
    fake: FakeFrameio, program: Program, name: str, number: signal.Signals, times: int, spacing: float
) -> None:
    with at(PLACES[name], fake, program) as terminal:
        assert terminal.send(number, times, spacing) in statuses(number)
        assert "Traceback" not in terminal.written
        assert "Exception ignored" not in terminal.written
        assert "\x1b[?25l" not in terminal.written, "the cursor is hidden, and nobody shows it again"
    fake.release()
    # The journal's lock was released.
    assert program.run("pending")[0] == 0


@pytest.mark.parametrize(("name", "number"), list(zip(PLACES, cycle(SIGNALS), strict=False)))
def test_a_first_signal_stops_it_cleanly_whatever_hangs(
    fake: FakeFrameio, program: Program, name: str, number: signal.Signals
) -> None:
    with at(PLACES[name], fake, program) as terminal:
        assert terminal.send(number, 1, 0) == 128 + number
        if PLACES[name].is_read:
            word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}[number]
            assert word in terminal.written.splitlines()[-1], terminal.written
        assert "Traceback" not in terminal.written
    fake.release()
    assert program.run("pending")[0] == 0


def test_a_terminal_that_is_closed_stops_it_and_what_arrived_is_kept(fake: FakeFrameio, program: Program) -> None:
    with at(Place(UPLOAD, never("part", number=2)), fake, program) as terminal:
        assert terminal.hang_up() in statuses(signal.SIGHUP)
    fake.release()
    assert "take.mov" in program.run("pending")[1]
    assert program.run("resume")[0] == 0


def test_a_command_started_by_nohup_outlives_its_terminal(fake: FakeFrameio, program: Program) -> None:
    hold = never("part", number=2)
    fake.add_fault(hold)
    with program.start(*(word.format(folder=fake.folder_id) for word in UPLOAD), before=("nohup",)) as running:
        fake.wait_until(lambda fake: fake.hits(hold) > 0, timeout=HANG)
        running.send_signal(signal.SIGHUP)
        fake.release()
        running.communicate(timeout=HANG)
    assert running.returncode == 0
    assert [file.complete for file in fake.files] == [True]


def test_the_demo_ends_by_signals_too(program: Program) -> None:
    command = [sys.executable, "-m", "aioframeio_upload", "demo", "--size", "1"]
    command += ["--faults", '[{"do": "hold", "times": null}]']
    for number, times in ((signal.SIGINT, 1), (signal.SIGINT, 3), (signal.SIGTERM, 2)):
        with Terminal(command, program.environment, program.folder) as terminal:
            terminal.wait_for("sending")
            assert terminal.send(number, times, 0.05) in statuses(number)
            assert "Traceback" not in terminal.written


INSIDE = """
import asyncio, signal, sys, threading
from aioframeio_upload._cli.signals import exit_process
from aioframeio_upload._cli.loop import run

async def work():
    sys.stdout.write("begun\\n")
    sys.stdout.flush()
    {wait}
    return 0

signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    run(work)
finally:
    exit_process(1)
"""


@pytest.mark.parametrize(
    "wait",
    [
        "threading.Thread(target=threading.Event().wait).start(); await asyncio.Event().wait()",
        "await asyncio.to_thread(threading.Event().wait)",
        # A system call in the main thread that no signal interrupts, as on a dead mount.
        "import ctypes; ctypes.CDLL(None).pthread_barrier_wait(barrier())",
    ],
    ids=["thread", "executor", "main"],
)
def test_a_second_signal_ends_a_command_that_hangs_in_a_system_call(tmp_path: Path, wait: str) -> None:
    script = BARRIER + INSIDE.format(wait=wait)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            for _ in range(100):
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.3)
                    break
        finally:
            process.kill()
    assert process.returncode in (1, *statuses(signal.SIGINT))


BARRIER = """
def barrier():
    import ctypes
    made = ctypes.create_string_buffer(256)
    ctypes.CDLL(None).pthread_barrier_init(made, None, 2)
    return made
"""
"""A barrier for two threads that only one reaches: a wait that is resumed after every signal."""


AT_ONCE = """
import os, signal
from aioframeio_upload._cli.signals import Signals

with Signals(lambda: None):
    both = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for number in both:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
    while True:
        signal.pause()
"""
"""Both signals are noted before the interpreter handles the first one."""


def test_two_kinds_of_signal_at_the_same_moment_end_it_without_a_traceback() -> None:
    for _ in range(10):
        ended = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=60)
        assert ended.stderr == ""
        assert ended.returncode in (*statuses(signal.SIGINT), *statuses(signal.SIGTERM))


LATE = """
import ctypes, signal, sys
from aioframeio_upload._cli.signals import Signals, restore_default_sigint

late, method, line = signal.{late}, "{method}", {line}
libc = ctypes.CDLL(None)
libc.signal.restype = ctypes.c_void_p
libc.signal.argtypes = ctypes.c_int, ctypes.c_void_p
recorded = False

def trace(frame, event, argument):
    lines = 0
    def count(frame, event, argument):
        global recorded
        nonlocal lines
        lines += event == "line"
        if event == "line" and lines == line:
            recorded = True
            handler_of_the_interpreter(late)
        return count
    return count if frame.f_code is getattr(Signals, method).__code__ else None

restore_default_sigint()
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` ignores it
signals = Signals(lambda: None)
with signals:
    handler_of_the_interpreter = ctypes.CFUNCTYPE(None, ctypes.c_int)(libc.signal(late, None))
    libc.signal(late, ctypes.cast(handler_of_the_interpreter, ctypes.c_void_p))
    sys.settrace(trace)
    if method == "_handle":
        signal.raise_signal(signal.SIGINT)
sys.settrace(None)
print(signals.first == late if recorded else "end of the method")
"""
"""Another thread is in the interpreter's C handler of a signal, and records it at some line of this method."""


@pytest.mark.parametrize("method", ["_handle", "__exit__"])
@pytest.mark.parametrize("late", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_another_thread_is_handling_is_never_lost_and_prints_no_traceback(
    method: str, late: signal.Signals
) -> None:
    ends = []
    for line in range(1, 100):
        script = LATE.format(late=late.name, method=method, line=line)
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert ended.stderr == ""
        if ended.stdout == "end of the method\n":
            break
        ends.append((ended.returncode, ended.stdout))
    assert len(ends) > 5
    for status, output in ends:
        if method == "__exit__" and status == 0:
            assert output == "True\n", "noted as the first one, which stops the command cleanly"
        else:
            assert status in (*statuses(signal.SIGINT), *statuses(late))
