"""The demo and its command line, each as a program of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from aioframeio_upload import Event, PartCompleted, PartStarted, Progress, UploadPlanned, __version__
from aioframeio_upload._demo.demo import Demo, run_demo
from aioframeio_upload._demo.drawing import DemoDrawing
from aioframeio_upload._demo.state import DemoState
from tests.support.pressed import read_to_end

pytestmark = [pytest.mark.needs_program, pytest.mark.slow]

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
STORES_OTHER_BYTES = json.dumps([{"do": "reset"}, {"do": "rot", "times": None}])
NEVER_ANSWERS = json.dumps([{"do": "hold", "times": None}])


class Program:
    """The command line with a temporary directory of its own, so that what it leaves there can be seen."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.mark = f"DEMO_TEST={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.environment = os.environ | {name: value, "TMPDIR": str(self.temporary), "TEMP": str(self.temporary)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "aioframeio_upload", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, text=True, stdout=pipe, stderr=pipe, encoding="utf-8")

    def run(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as running:
            stdout, stderr = running.communicate(timeout=50)
        return running.returncode, stdout, stderr

    def left_files(self) -> list[Path]:
        return list(self.temporary.iterdir())

    def processes(self) -> Iterator[int]:
        """The processes that have our mark in their environment."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:  # gone meanwhile, or another user's
                continue
            if self.mark.encode() in environment.split(b"\0"):
                yield int(folder.name)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def read_until(running: subprocess.Popen[str], word: str) -> None:
    """Read what it prints up to the line with that word."""
    assert running.stdout is not None
    assert any(word in line for line in running.stdout), f"it ended without a word of {word!r}"


def test_it_ends_well_and_says_identical_after_two_parts_have_healed(program: Program) -> None:
    status, said, complaint = program.run("demo", "--size", "2")
    assert (status, complaint) == (0, "")
    assert said.splitlines()[-1] == "identical"
    assert len(re.findall(r"^again in \d", said, re.MULTILINE)) == 2
    assert "503 SlowDown" in said
    assert len(re.findall(r"^part \d+ arrived, attempt 2$", said, re.MULTILINE)) == 2
    assert "100%" in said
    for row in ("planning", "sending", "failed attempts", "confirmation"):
        assert re.search(rf"^ +{row} +\d+\.\d\d s", said, re.MULTILINE), row
    assert program.left_files() == []


def test_it_takes_a_path(program: Program, tmp_path: Path) -> None:
    source = tmp_path / "two takes.mov"
    source.write_bytes(os.urandom(300_000))
    status, said, _ = program.run("demo", str(source), "--faults", "[]")
    assert status == 0
    assert "two takes.mov: 300.0 kB in 40 parts" in said
    assert f"arrived  {hashlib.sha256(source.read_bytes()).hexdigest()}\n" in said
    assert said.splitlines()[-1] == "identical"


def test_a_file_of_one_part_heals_twice(program: Program, tmp_path: Path) -> None:
    """Both faults strike the same part."""
    (tmp_path / "one.byte").write_bytes(b"x")
    status, said, _ = program.run("demo", str(tmp_path / "one.byte"))
    assert (status, said.count("again in")) == (0, 2)
    assert "part 1 arrived, attempt 3" in said


def test_different_bytes_at_the_service_are_a_failure(program: Program) -> None:
    status, said, _ = program.run("demo", "--size", "1", "--faults", STORES_OTHER_BYTES)
    assert status == 1
    assert said.splitlines()[-1] == "DIFFERENT"
    assert "identical" not in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.mov"], r"error: SourceError: nowhere.mov: No such file or directory; check the path"),
        (["."], r"error: SourceError: \.: is a folder; name a file"),
        (
            ["--size", "1", "--faults", '[{"do": "answer", "status": 403, "number": 2}]'],
            r"error: PartRejected: part 2, attempt 1: 403 AccessDenied: .*",
        ),
        (["--size", "1", "--faults", "nonsense"], r"error: the fake Frame\.io did not start: .*"),
    ],
    ids=["missing", "folder", "refused", "faults"],
)
def test_an_error_is_one_line(program: Program, arguments: list[str], sentence: str) -> None:
    status, said, complaint = program.run("demo", *arguments)
    assert status == 1
    assert re.fullmatch(sentence + "\n", complaint)
    assert "identical" not in said
    assert program.left_files() == []


FROZEN = """
import sys
sys.frozen = True
from aioframeio_upload.__main__ import main
main()
"""
"""The program of a frozen binary; as in one, `sys.executable` is the program itself."""


@pytest.mark.skipif(sys.platform == "win32", reason="runs a script as a program")
@pytest.mark.parametrize(
    ("arguments", "expected", "ends"),
    [
        (["--size", "1"], 0, "identical"),
        (["--size", "1", "--faults", STORES_OTHER_BYTES], 1, "DIFFERENT"),
        (["--faults", "nonsense"], 1, ""),
        (["--faults", '[{"do": "nothing"}]'], 1, ""),
    ],
)
def test_a_frozen_binary_has_no_second_program_to_start(
    program: Program, tmp_path: Path, arguments: list[str], expected: int, ends: str
) -> None:
    binary = tmp_path / "aioframeio-upload"
    binary.write_text(f"#!{sys.executable}\n{FROZEN.replace('True', f'True; sys.executable = {str(binary)!r}')}")
    binary.chmod(0o755)
    ended = subprocess.run(
        [binary, "demo", *arguments],
        env=program.environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert ended.returncode == expected, ended.stderr
    if ends:
        assert ended.stdout.splitlines()[-1] == ends
        assert re.search(r"^again in \d", ended.stdout, re.MULTILINE)
        assert "peak memory" not in ended.stdout
    else:
        assert ended.stderr.startswith("error: the fake Frame.io did not start: ")
        assert len(ended.stderr.splitlines()) == 1
    assert program.left_files() == []


def test_the_fake_is_not_looked_for_in_the_working_folder(program: Program, tmp_path: Path) -> None:
    (tmp_path / "aioframeio_upload").mkdir()
    (tmp_path / "aioframeio_upload" / "__init__.py").write_text("raise SystemExit('not this one')", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "aioframeio_upload", "demo", "--size", "1", "--faults", "[]"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=program.environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@ON_LINUX
def test_ctrl_c_ends_it_with_130_and_leaves_nothing(program: Program) -> None:
    with program.start("demo", "--size", "1", "--faults", NEVER_ANSWERS) as running:
        read_until(running, "in 40 parts")
        assert len(list(program.processes())) == 2
        running.send_signal(signal.SIGINT)
        said, complaint = running.communicate(timeout=30)
    assert running.returncode == 130
    assert complaint == "interrupted; nothing is left of it\n"
    assert "identical" not in said
    assert list(program.processes()) == []
    assert program.left_files() == []


@ON_LINUX
def test_killed_outright_it_takes_the_fake_along(program: Program) -> None:
    """Whatever ends the demo closes the fake's stdin, and the sample has no name that could stay."""
    with program.start("demo", "--size", "1", "--faults", NEVER_ANSWERS) as running:
        read_until(running, "in 40 parts")
        (fake,) = set(program.processes()) - {running.pid}
        watched = os.pidfd_open(fake)
        running.kill()
    ended, _, _ = select.select([watched], [], [], 30)
    os.close(watched)
    assert ended, "the fake runs on"
    assert program.left_files() == []


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminal")
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_on_a_terminal_the_parts_are_drawn_and_on_a_dumb_one_lines_are_printed(program: Program, term: str) -> None:
    import pty

    leader, follower = pty.openpty()
    environment = program.environment | {"TERM": term, "COLUMNS": "80", "LINES": "24", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "aioframeio_upload", "demo", "--size", "1"]
    if term == "dumb":
        command += ["--faults", "[]"]  # nothing to see heal, and so quicker
    with subprocess.Popen(command, env=environment, stdin=follower, stdout=follower, stderr=follower) as running:
        os.close(follower)
        shown = b"".join(read_to_end(leader)).decode()
    os.close(leader)
    assert running.returncode == 0
    assert shown.splitlines()[-1].endswith("identical" if term == "dumb" else "identical\x1b[0m")
    assert ("\x1b[" in shown) == (term == "xterm")
    assert ("done 40" in shown) == (term == "xterm")


async def test_nothing_in_it_blocks_the_loop(capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, where the suite raises for a call that blocks."""
    assert await run_demo(Demo(None, 100_000, None)) == 0
    assert capsys.readouterr().out.endswith("\nidentical\n")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(tmp_path: Path, missing: str) -> None:
    stub = tmp_path / f"{missing}.py"
    stub.write_text(f"raise ModuleNotFoundError('missing', name={missing!r})", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "aioframeio_upload", "demo"]
    ended = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, encoding="utf-8", check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "The command line needs rich, typer and platformdirs: pip install 'aioframeio-upload[cli]'\n"


def test_version_and_help_are_printed(program: Program) -> None:
    assert program.run("--version") == (0, f"aioframeio-upload {__version__}\n", "")
    status, said, _ = program.run("--help")
    assert status == 0
    assert re.search(r"^ +demo +Watch an upload recover", said, re.MULTILINE)


def test_an_unknown_command_is_a_usage_error(program: Program) -> None:
    status, _, complaint = program.run("dmeo")
    assert status == 2
    assert "No such command 'dmeo'" in complaint


@pytest.mark.parametrize("width", [20, 44, 80, 120])
@pytest.mark.parametrize("count", [1, 40, 700, 10_000])
def test_the_picture_fits_the_terminal_however_many_parts_there_are(count: int, width: int) -> None:
    state = DemoState("a [bold]name[/bold] that is longer than a narrow terminal has columns.mov", lambda: 1.0)
    size = count * 10
    done = [PartCompleted(number, 10, None, 1, 0.1) for number in range(1, count)]
    events: list[Event] = [UploadPlanned("id", "name", None, size, count), *done, PartStarted(count, 1, 0, 10)]
    for event in [*events, Progress(size - 5, size - 10, size, count - 1, count, 1e6, 12.0)]:
        state.update(event)
    console = Console(width=width, markup=False, color_system=None)
    lines = [line.rstrip() for line in "".join(s.text for s in console.render(DemoDrawing(state))).splitlines()]
    assert len(lines) <= 12
    assert max(len(line) for line in lines) <= width
    drawn = "".join(lines)
    assert drawn.count("▒") >= 1
