"""The command `watch`, as a program: what it prints, how it ends, and what is there after it was killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, some_bytes
from tests.support.commands import Program
from tests.support.journals import rows
from tests.support.json_lines import read_line
from tests.support.pressed import Terminal
from tests.support.trees import arrived, content_of, plant

pytestmark = [
    pytest.mark.needs_program,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for one process"),
]


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    plant(tmp_path / "in", "a.mov b.wav cache/c.mov x.part")
    return Program(fake, tmp_path)


def start(program: Program, fake: FakeFrameio, *options: str) -> subprocess.Popen[str]:
    return program.start("watch", "in", "--folder", fake.folder_id, "--settle", "0.3", *options)


def lines_until(running: subprocess.Popen[str], is_last: Callable[[str], bool]) -> list[str]:
    """Read the program's lines up to one; a program that hangs is killed, so that reading ends."""
    timer = threading.Timer(40, running.kill)
    timer.start()
    found = []
    assert running.stdout is not None
    for line in running.stdout:
        found.append(line.rstrip("\n"))
        if is_last(line):
            timer.cancel()
            return found
    timer.cancel()
    raise AssertionError(f"it ended before that: {found}")


def until_requests(fake: FakeFrameio, running: subprocess.Popen[str], count: int) -> None:
    """Wait until the fake has got so many requests."""
    fake.wait_until(lambda fake: len(fake.requests) >= count or running.poll() is not None, timeout=60)


def finish(running: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    running.send_signal(number)
    rest, complaint = running.communicate(timeout=40)
    return running.returncode, rest, complaint


def test_what_is_there_and_what_comes_is_uploaded_until_sigterm(fake: FakeFrameio, program: Program) -> None:
    with start(program, fake, "--exclude", "cache", "--exclude", "*.wav") as running:
        said = lines_until(running, lambda line: "in/a.mov: uploaded" in line)
        assert said[0] == "in: watching; a file is sent when it has not changed for 0.3 s"
        plant(program.folder / "in", "d.mov")
        lines_until(running, lambda line: "in/d.mov: uploaded" in line)
        status, rest, complaint = finish(running, signal.SIGTERM)
    assert (status, complaint) == (0, "")
    assert rest.splitlines()[-1] == "in: stopped; 2 files sent"
    assert sorted(arrived(fake)) == ["a.mov", "d.mov"]


def test_ctrl_c_while_nothing_waits_says_so(fake: FakeFrameio, program: Program) -> None:
    with start(program, fake, "--include", "a.mov", "--json") as running:
        lines_until(running, lambda line: '"Progress"' in line and '"parts_completed": 1' in line)
        status, _, complaint = finish(running, signal.SIGINT)
    assert (status, complaint) == (130, "interrupted; 1 file sent, nothing was waiting\n")


def test_each_event_is_a_line_of_json(fake: FakeFrameio, program: Program) -> None:
    with start(program, fake, "--json", "--include", "a.mov") as running:
        said = lines_until(running, lambda line: '"FileCompleted"' in line)
        status, rest, complaint = finish(running, signal.SIGTERM)
    events = [read_line(line) for line in [*said, *rest.splitlines()]]
    assert (status, complaint) == (0, "")
    assert {event["source"] for event in events} == {"in"}
    kinds = [event["event"] for event in events if event["event"] != "Progress"]
    assert kinds == ["FileStarted", "FileCompleted"]
    assert events[-1]["event"] == "Progress"
    assert events[-1]["bytes_uploaded"] == events[-1]["total_bytes"] == len("a.mov")


def test_sigterm_lets_it_finish_what_was_begun(fake: FakeFrameio, program: Program) -> None:
    held = Fault(on="part", do="hold", name="a.mov")
    fake.add_fault(held)
    with start(program, fake, "--include", "a.mov", "--json") as running:
        fake.wait_until(lambda fake: fake.hits(held) == 1, timeout=60)
        running.send_signal(signal.SIGTERM)
        fake.release()
        said, _ = running.communicate(timeout=40)
    assert running.returncode == 0
    assert '"FileCompleted"' in said
    assert list(arrived(fake)) == ["a.mov"]


@pytest.mark.parametrize("conflict", ["skip", "create", "version"])
def test_ctrl_c_stops_it_at_once_and_the_next_run_resumes(fake: FakeFrameio, program: Program, conflict: str) -> None:
    path = program.folder / "in" / "long.mov"
    path.write_bytes(some_bytes(4 * PART))
    fake.add_fault(Fault(on="part", do="hold", name="long.mov", number=4))
    options = ("--include", "long.mov", "--parts", "1", "--conflict", conflict)
    with start(program, fake, *options) as running:
        fake.wait_until(
            lambda fake: any(seen.number == 4 for seen in fake.requests) or running.poll() is not None, timeout=60
        )
        status, _, complaint = finish(running, signal.SIGINT)
    assert (status, complaint) == (130, "interrupted; run the same command again to go on\n")
    assert len(fake.files) == 1
    fake.release()
    with start(program, fake, *options) as running:
        lines_until(running, lambda line: "in/long.mov: resumed" in line)
        finish(running, signal.SIGTERM)
    assert list(arrived(fake).values()) == [content_of(program.folder / "in")["long.mov"]]
    assert len(fake.files) == 1
    assert sorted(seen.number or 0 for seen in fake.requests if seen.operation == "part") == [1, 2, 3, 4, 4]


def test_a_file_that_failed_and_was_not_sent_since_makes_it_fail(fake: FakeFrameio, program: Program) -> None:
    fake.add_fault(Fault(on="part", status=403, code="SignatureDoesNotMatch", name="a.mov", times=None))
    with start(program, fake, "--json", "--include", "a.mov") as running:
        lines_until(running, lambda line: '"FileFailed"' in line)
        status, _, complaint = finish(running, signal.SIGTERM)
    assert status == 1
    assert complaint.startswith("error: in/a.mov: PartRejected: ")


def test_wrong_usage_is_refused(fake: FakeFrameio, program: Program) -> None:
    for arguments, complaint in (
        (("nowhere",), "nowhere: there is no such folder"),
        (("in/a.mov",), "in/a.mov: is not a folder"),
        (("in", "--settle", "-1"), "settle must be"),
        (("in", "--exclude", "../x"), "not a path relative to the root"),
    ):
        status, said, told = program.run("watch", *arguments, "--folder", fake.folder_id)
        assert (status, said) == (2, "")
        assert complaint in told
    status, _, told = program.run("watch", "in", "--folder", "No such project")
    assert status == 1
    assert "there is no project 'No such project'; there is " in told


def test_a_live_display_is_drawn_on_a_terminal(fake: FakeFrameio, program: Program) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "100"}
    arguments = ("watch", "in", "--folder", fake.folder_id, "--settle", "0.3", "--include", "a.mov")
    with program.start(*arguments, environment=environment, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        shown = b""
        while b"1 file sent, watching in" not in shown:
            shown += os.read(ours, 4096)
        running.send_signal(signal.SIGTERM)
        assert running.wait(40) == 0
    os.close(ours)
    assert b"in/a.mov: uploaded" in shown


@pytest.mark.parametrize("on_terminal", [False, True])
def test_without_watchfiles_ctrl_c_ends_it_while_a_file_is_sent(
    fake: FakeFrameio, program: Program, on_terminal: bool
) -> None:
    """The note that the folder is read at intervals is logged by another thread than the one that ends the process."""
    (program.folder / "watchfiles.py").write_text("raise ModuleNotFoundError(name='watchfiles')", encoding="utf-8")
    stalled = Fault(on="part", do="hold", times=None)
    fake.add_fault(stalled)
    environment = {"PYTHONPATH": os.pathsep.join([str(program.folder), os.environ.get("PYTHONPATH", "")])}
    command = ("watch", "in", "--folder", fake.folder_id, "--settle", "0.1", "--include", "a.mov")
    if on_terminal:
        whole = [sys.executable, "-m", "aioframeio_upload", *command]
        with Terminal(whole, program.environment | environment, program.folder) as terminal:
            fake.wait_until(lambda fake: fake.hits(stalled) > 0, timeout=40)
            assert terminal.send(signal.SIGINT, 1, 0) == 130
        assert "interrupted; run the same command again to go on" in terminal.written
    else:
        with program.start(*command, environment=environment) as running:
            fake.wait_until(lambda fake: fake.hits(stalled) > 0 or running.poll() is not None, timeout=40)
            status, _, complaint = finish(running, signal.SIGINT)
        assert status == 130
        assert "is read at intervals" in complaint
        assert complaint.endswith("interrupted; run the same command again to go on\n")
    fake.release()


@pytest.mark.parametrize("conflict", ["version", *(["skip", "create"] if os.environ.get("KILL") == "every" else [])])
@pytest.mark.timeout(180)
def test_it_may_be_killed_at_any_moment_and_sends_nothing_twice_and_forgets_nothing(
    fake: FakeFrameio, program: Program, conflict: str
) -> None:
    """The moment is a random request to the fake; files come in between the runs and while it runs."""
    chance = random.Random(conflict)
    recorded: set[str] = set()
    root = program.folder / "in"
    for round in range(4):
        for number in range(8):
            plant(root, {f"{round}/{number}.mov": some_bytes(chance.randrange(1, 3 * PART))})
        with start(program, fake, "--conflict", conflict, "--parts", "2") as running:
            until_requests(fake, running, len(fake.requests) + chance.randrange(3, 45))
            running.kill()
            running.communicate()
        assert running.returncode == -signal.SIGKILL
        for journal in program.state.rglob("uploads.sqlite3"):
            recorded |= {json.loads(plan)["file_id"] for (plan,) in rows(journal, "SELECT plan FROM uploads")}
    with start(program, fake, "--conflict", conflict, "--json") as running:
        missing = {path for path in content_of(root) if not path.endswith(".part")}
        while missing:
            (*_, line) = lines_until(running, lambda line: '"FileCompleted"' in line or '"FileSkipped"' in line)
            missing.discard(read_line(line)["path"])
        status, _, complaint = finish(running, signal.SIGTERM)
    assert (status, complaint) == (0, "")
    whole = [file for file in fake.files if file.complete]
    expected = {path: digest for path, digest in content_of(root).items() if not path.endswith(".part")}
    assert {path: digest for path, digest in arrived(fake).items() if digest} == expected
    assert len(whole) == len(expected), "nothing twice"
    (journal,) = program.state.rglob("uploads.sqlite3")
    assert rows(journal, "SELECT * FROM uploads") == []
    # A kill between the service's answer to a create and its record leaves a file without bytes that nobody can know.
    # Whatever the journal knew at a kill was finished or deleted.
    assert recorded.isdisjoint(file.id for file in fake.files if not file.complete)
