"""The output of the command line: streams that are lost, and text that would control the terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, sha256, some_bytes
from tests.support.commands import Program
from tests.support.pressed import HANG, Terminal

pytestmark = [pytest.mark.needs_program, pytest.mark.slow]

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="has no such shell, no /dev/full, no pseudo-terminal")

HOSTILE = "\x1b]0;owned\x07\x1b[2J\nerror: forged\r\u202egpj.mov"
ESCAPED = r"\x1b]0;owned\x07\x1b[2J\nerror: forged\r\u202egpj.mov"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    return Program(fake, tmp_path)


@pytest.fixture
def take(tmp_path: Path) -> Path:
    path = tmp_path / "take.mov"
    path.write_bytes(some_bytes(2 * PART))
    return path


def shell(program: Program, redirected: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command with its streams redirected by a shell."""
    words = [sys.executable, "-m", "aioframeio_upload", *arguments]
    ended = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} {redirected}"],
        cwd=program.folder,
        env=program.environment,
        capture_output=True,
        encoding="utf-8",
        timeout=HANG,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


# -- where nothing can be written --------------------------------------------------------------------------------------

LOST = "warning: output was lost: stdout: No space left on device\n"


@POSIX
@pytest.mark.parametrize("how", [[], ["--json"], ["--quiet"], ["--verbose"]], ids=lambda how: "".join(how) or "plain")
@pytest.mark.parametrize(
    "redirected",
    [">/dev/full", ">&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full", ">/dev/full 2>&-", "2>&-", "<&-"],
)
def test_a_stream_that_is_lost_costs_the_display_and_not_the_upload(
    fake: FakeFrameio, program: Program, take: Path, redirected: str, how: list[str]
) -> None:
    arguments = ("upload", "take.mov", "--folder", fake.folder_id, "--report", "r.json", *how)
    status, _, complaint = shell(program, redirected, *arguments)
    assert status == 0
    assert [file.sha256 for file in fake.files] == [sha256(take)]
    assert "Traceback" not in complaint
    assert "Exception ignored" not in complaint
    if redirected == ">/dev/full" and how != ["--verbose"]:
        assert complaint == LOST
    (row,) = json.loads((program.folder / "r.json").read_text(encoding="utf-8"))
    assert row["outcome"] == "uploaded"


@POSIX
def test_with_every_stream_closed_no_file_of_ours_is_written_to(
    fake: FakeFrameio, program: Program, take: Path
) -> None:
    """The first file that is opened would get the number of stdout."""
    arguments = ("upload", "take.mov", "nowhere.mov", "--folder", fake.folder_id, "--journal", "j.sqlite3")
    assert shell(program, "<&- >&- 2>&-", *arguments)[0] == 1
    assert program.run("pending", "--journal", "j.sqlite3") == (0, "nothing is pending\n", "")
    assert take.read_bytes() == some_bytes(2 * PART)


@POSIX
@pytest.mark.parametrize("command", ["pending", "find", "resume", "--help", "--version", "demo --size 0.1 --faults []"])
@pytest.mark.parametrize("redirected", [">/dev/full", ">&-", "<&- >&- 2>&-"])
def test_no_command_ends_in_a_traceback(program: Program, command: str, redirected: str) -> None:
    status, _, complaint = shell(program, redirected, *command.split())
    assert "Traceback" not in complaint
    assert "Exception ignored" not in complaint
    # The output of these commands is their only result.
    lost = command in ("pending", "find") and redirected == ">/dev/full"
    assert (status, LOST in complaint) == (int(lost), redirected == ">/dev/full" and not command.startswith("--"))


@POSIX
def test_a_url_from_a_closed_stdin_is_a_usage_error(fake: FakeFrameio, program: Program) -> None:
    status, _, complaint = shell(program, "<&-", "remote", "-", "--folder", fake.folder_id)
    assert (status, complaint) == (2, "error: the URL must begin with https:// or http://\n")


@POSIX
def test_a_listing_whose_reader_has_left_ends_silently(fake: FakeFrameio, program: Program) -> None:
    status, said, complaint = shell(program, "| head -n 1", "find", "--json")
    assert (status, complaint) == (0, "")  # the exit status of `head`
    assert json.loads(said)["kind"] == "account"


@POSIX
def test_output_waits_for_a_pipe_that_another_program_made_non_blocking(
    fake: FakeFrameio, program: Program, take: Path
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with program.start("upload", "take.mov", "--folder", fake.folder_id, "--json", stdout=writing) as running:
        os.close(writing)
        with open(reading, encoding="utf-8") as lines:
            events = [json.loads(line)["event"] for line in lines]
        assert running.stderr is not None
        assert running.stderr.read() == ""
    assert running.returncode == 0
    assert (events[0], events[-1]) == ("UploadPlanned", "UploadCompleted")


# -- what would steer a terminal ---------------------------------------------------------------------------------------


def steers(text: str) -> list[str]:
    return STEERING.findall(text)


@POSIX
@pytest.mark.parametrize("how", [[], ["--json"], ["--quiet"], ["-v"]], ids=lambda how: "".join(how) or "plain")
def test_a_local_files_name_is_shown_escaped(fake: FakeFrameio, program: Program, how: list[str]) -> None:
    (program.folder / HOSTILE).write_bytes(some_bytes(3 * PART))
    fake.add_fault(Fault(do="answer", status=503, code="SlowDown", number=2, headers={"Retry-After": "0"}))
    status, said, complaint = program.run("upload", HOSTILE, f"{HOSTILE}.not", "--folder", fake.folder_id, *how)
    assert status == 1
    assert not steers(said + complaint)
    if not how:
        assert all(line.startswith(ESCAPED) for line in said.splitlines())
    assert ESCAPED in complaint
    (program.folder / "shoot").mkdir()
    (program.folder / "shoot" / HOSTILE).write_bytes(b"x")
    status, said, complaint = program.run("upload", "shoot", "--folder", fake.folder_id, *how)
    assert (status, steers(said + complaint)) == (0, [])


@POSIX
def test_on_a_terminal_a_name_is_shown_escaped(fake: FakeFrameio, program: Program) -> None:
    (program.folder / HOSTILE).write_bytes(some_bytes(3 * PART))
    hold = Fault(do="hold", number=2)
    fake.add_fault(hold)
    command = [sys.executable, "-m", "aioframeio_upload", "upload", HOSTILE, "--folder", fake.folder_id]
    with Terminal(command, program.environment, program.folder) as terminal:
        terminal.wait_for("1 sending")
        fake.release()
        assert terminal.program.wait(HANG) == 0
        terminal.wait_for("uploaded")
        assert "owned\x07" not in terminal.written
        assert "\x1b[2J" not in terminal.written
        assert "\u202e" not in terminal.written
        assert ESCAPED[:20] in terminal.written
    with Terminal([*command[:3], "demo", HOSTILE, "--faults", "[]"], program.environment, program.folder) as terminal:
        assert terminal.program.wait(HANG) == 0
        terminal.wait_for("identical")
        assert "owned\x07" not in terminal.written
        assert "\u202e" not in terminal.written


STEERING_LINK = "https://next.frame.io/\x1b]0;owned\x07\nforged"


@POSIX
@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        ["upload", "--" + HOSTILE],
        ["upload", "a", "--folder", HOSTILE],
        ["upload", "a", "--folder", "f", "--conflict", HOSTILE],
        ["upload", "a", "--folder", "f", "--parts", HOSTILE],
        ["upload", "a", "--folder", "f", "--bandwidth", HOSTILE],
        ["upload", "a", "--folder", "f", "--report", f"{HOSTILE}/r.json"],
        ["upload", "a", "--folder", "f", "--journal", f"{HOSTILE}/", "--no-journal"],
        ["status", "a", HOSTILE],
        ["status", HOSTILE],
        ["remote", HOSTILE, "--folder", "f"],
        ["discard", HOSTILE],
        ["find", HOSTILE],
        ["demo", "--faults", HOSTILE],
        ["demo", HOSTILE],
    ],
    ids=lambda arguments: "-".join(word for word in arguments if word.isprintable())[:40],
)
def test_a_hostile_argument_is_shown_escaped(program: Program, arguments: list[str]) -> None:
    status, said, complaint = program.run(*arguments)
    assert status != 0
    assert not steers(said + complaint)
    assert not any(line.startswith("error: forged") for line in complaint.splitlines())


@POSIX
def test_text_of_the_service_is_shown_escaped(fake: FakeFrameio, program: Program, take: Path) -> None:
    for on in ("create", "accounts", "status", "list_folder_children", "list_files"):
        fake.add_fault(Fault(on=on, do="answer", status=403, message=f"no {HOSTILE}", times=None))
    for command in ("upload take.mov --folder f", "find", "status x", "upload take.mov --folder f --json"):
        status, said, complaint = program.run(*command.split())
        assert status == 1
        assert not steers(said + complaint)


@POSIX
def test_the_log_forges_no_line(fake: FakeFrameio, program: Program, take: Path) -> None:
    fake.add_fault(
        Fault(do="answer", status=503, code="SlowDown", message="slow\nerror: forged \x1b[2J", number=1, times=1)
    )
    status, said, complaint = program.run("upload", "take.mov", "--folder", fake.folder_id, "-v")
    assert status == 0
    assert not steers(said + complaint)
    assert not any(line.startswith("error: forged") for line in (said + complaint).splitlines())
    assert "debug: " in complaint


# -- what is said ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["before", "after"])
def test_the_librarys_log_is_shown_on_stderr_without_secrets(
    fake: FakeFrameio, program: Program, take: Path, where: str
) -> None:
    fake.add_fault(Fault(do="answer", status=503, code="SlowDown", number=2, headers={"Retry-After": "0"}))
    arguments = ("upload", "take.mov", "--folder", fake.folder_id)
    status, said, complaint = program.run(*(("-v", *arguments) if where == "before" else (*arguments, "--verbose")))
    assert status == 0
    assert re.search(r"^debug: part 2, attempt 1: 503 SlowDown", complaint, re.MULTILINE)
    assert "debug" not in said
    assert said.splitlines()[-1].startswith("take.mov: uploaded")
    assert fake.token not in complaint
    assert "X-Amz-Signature" not in complaint
    assert program.run("upload", "take.mov", "--folder", fake.folder_id)[2] == ""


@pytest.mark.parametrize("path", ["take.mov", "shoot"])
def test_a_repeated_call_is_reported_without_its_name(
    fake: FakeFrameio, program: Program, take: Path, path: str
) -> None:
    (program.folder / "shoot").mkdir()
    (program.folder / "shoot" / "a.mov").write_bytes(b"a")
    fake.add_fault(Fault(on="create", do="answer", status=503, message="down", headers={"Retry-After": "0"}))
    status, said, _ = program.run("upload", path, "--folder", fake.folder_id)
    assert status == 0
    assert re.search(rf"^{path}: Frame\.io is asked again in 0\.0 s: 503: down", said, re.MULTILINE)
    assert "create_local_upload" not in said


@pytest.mark.parametrize(("operation", "command"), [("status", "status x"), ("accounts", "find")])
def test_a_command_of_one_call_reports_its_repetition_too(
    fake: FakeFrameio, program: Program, operation: str, command: str
) -> None:
    fake.add_fault(Fault(on=operation, do="answer", status=503, message="down", headers={"Retry-After": "0"}))
    _, _, complaint = program.run(*command.split())
    assert re.search(r"^Frame\.io is asked again in \d\.\d s: 503: down", complaint, re.MULTILINE)


@pytest.mark.parametrize("twice", [("take.mov", "take.mov"), ("take.mov", "./take.mov"), ("shoot", "shoot/")])
@pytest.mark.parametrize("more", [(), ("--no-journal", "--conflict", "create")], ids=["usual", "create"])
def test_a_path_that_is_given_twice_is_sent_once(
    fake: FakeFrameio, program: Program, take: Path, twice: tuple[str, str], more: tuple[str, ...]
) -> None:
    (program.folder / "shoot").mkdir()
    (program.folder / "shoot" / "a.mov").write_bytes(b"a")
    paths = (*twice, str(program.folder / twice[0]))
    status, _, complaint = program.run("upload", *paths, "--folder", fake.folder_id, *more, "--report", "r.json")
    assert (status, complaint, len(fake.files)) == (0, "", 1)
    assert len(json.loads((program.folder / "r.json").read_text(encoding="utf-8"))) == 1


def test_equal_names_of_different_files_are_two_files(fake: FakeFrameio, program: Program) -> None:
    for folder in ("a", "b"):
        (program.folder / folder).mkdir()
        (program.folder / folder / "take.mov").write_bytes(folder.encode())
    assert program.run("upload", "a/take.mov", "b/take.mov", "a", "--folder", fake.folder_id)[0] == 0
    assert len(fake.files) == 3


def test_a_file_that_was_there_before_is_reported_with_its_id_size_and_link(
    fake: FakeFrameio, program: Program, take: Path
) -> None:
    (program.folder / "shoot").mkdir()
    (program.folder / "shoot" / "a.mov").write_bytes(b"abc")
    arguments = ("upload", "take.mov", "shoot", "--folder", fake.folder_id, "--report", "r.json")
    links = sorted(program.run(*arguments, "--quiet")[1].splitlines())
    assert sorted(program.run(*arguments, "--quiet")[1].splitlines()) == links
    rows = json.loads((program.folder / "r.json").read_text(encoding="utf-8"))
    by_id = {file.id: file for file in fake.files}
    assert sorted(row["link"] for row in rows) == links
    for row in rows:
        assert row["outcome"] == "skipped"
        assert row["size"] == by_id[row["file_id"]].size
        assert row["name"] == by_id[row["file_id"]].name
    told = [json.loads(line) for line in program.run(*arguments, "--json")[1].splitlines()]
    (skipped,) = [event for event in told if event["event"] == "FileSkipped"]
    assert skipped["file"]["id"] in by_id
