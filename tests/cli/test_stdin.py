"""A file comes from stdin: with a size or without, from a pipe or a file, and never from a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioframeio_upload._cli.options import check_stdin
from aioframeio_upload._cli.usage_error import UsageError
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, sha256, some_bytes
from tests.support.commands import Program

DATA = some_bytes(2 * PART + 5)


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    return Program(fake, tmp_path)


def piped(program: Program, data: bytes, *arguments: str) -> tuple[int, str, str]:
    """Run a command with these bytes in a pipe on stdin."""
    (program.folder / "data").write_bytes(data)
    cat = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(open('data', 'rb').read())"]
    with subprocess.Popen(cat, cwd=program.folder, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        with program.start(*arguments, stdin=writer.stdout.fileno()) as running:
            writer.stdout.close()
            said, complaint = running.communicate(timeout=50)
    return running.returncode, said, complaint


@pytest.mark.needs_program
@pytest.mark.slow
def test_a_pipe_without_a_size_is_read_first_and_compared_by_its_content(fake: FakeFrameio, program: Program) -> None:
    arguments = ("upload", "-", "--name", "take.mov", "--folder", fake.folder_id)
    status, said, complaint = piped(program, DATA, *arguments)
    assert (status, complaint) == (0, "")
    assert said.startswith("take.mov: 2.1 MB read from stdin\ntake.mov: 2.1 MB in 3 parts\n")
    assert [(file.name, file.sha256) for file in fake.files] == [("take.mov", sha256(DATA))]
    assert "take.mov: there before, 2.1 MB, same content" in piped(program, DATA, *arguments)[1]
    other = bytes(len(DATA))
    status, said, _ = piped(program, other, *arguments, "--json")
    assert status == 0
    first = json.loads(said.splitlines()[0])
    assert (first["source"], first["event"], first["bytes_read"]) == ("-", "StdinProgress", len(DATA))
    assert [file.sha256 for file in fake.files] == [sha256(DATA), sha256(other)]


@pytest.mark.needs_program
@pytest.mark.slow
def test_a_pipe_with_a_size_is_sent_as_it_comes_and_only_if_the_size_is_right(
    fake: FakeFrameio, program: Program
) -> None:
    arguments = ("upload", "-", "--name", "take.mov", "--folder", fake.folder_id, "--size")
    status, said, complaint = piped(program, DATA, *arguments, str(len(DATA)))
    assert (status, complaint) == (0, "")
    assert "read from stdin" not in said
    assert [file.sha256 for file in fake.files] == [sha256(DATA)]
    for wrong in (len(DATA) - 1, len(DATA) + 1):
        status, _, complaint = piped(program, DATA, *arguments, str(wrong))
        assert (status, complaint.startswith("error: take.mov: SourceError: the stream ")) == (1, True)
    assert len(fake.files) == 1
    status, said, _ = piped(program, DATA, *arguments, str(len(DATA)), "--dry-run")
    assert (status, said.splitlines()[0]) == (
        0,
        "take.mov: would be sent, 2.1 MB: same name and size, content not compared: a stream can be read only once",
    )


@pytest.mark.needs_program
@pytest.mark.slow
def test_a_file_on_stdin_needs_no_size_and_no_copy(fake: FakeFrameio, program: Program) -> None:
    (program.folder / "take.mov").write_bytes(b"before" + DATA)
    for how, action in (("-n", "would be sent"), ("-v", "uploaded")):
        with (program.folder / "take.mov").open("rb") as file:
            file.seek(len(b"before"))
            arguments = ("upload", "-", "--name", "a.mov", "--folder", fake.folder_id, how)
            with program.start(*arguments, stdin=file.fileno()) as running:
                said, _ = running.communicate(timeout=50)
        assert running.returncode == 0
        assert f"a.mov: {action}, 2.1 MB" in said
        assert "read from stdin" not in said
    assert [file.sha256 for file in fake.files] == [sha256(DATA)]


@pytest.mark.needs_program
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_stopped_command_says_that_stdin_cannot_be_resumed(fake: FakeFrameio, program: Program) -> None:
    arguments = ("upload", "-", "--name", "a.mov", "--folder", fake.folder_id, "--size", str(3 * PART))
    with program.start(*arguments, stdin=subprocess.PIPE) as running:
        fake.wait_until(lambda fake: len(fake.requests) > 1, timeout=40)  # the file was created, and its writer waits
        running.send_signal(signal.SIGINT)
        _, complaint = running.communicate(timeout=40)
    assert (running.returncode, complaint) == (
        130,
        "interrupted; what comes from stdin cannot be resumed: run the whole command again, or upload a file by its"
        " path\n",
    )
    assert fake.files == ()


@pytest.mark.needs_program
@pytest.mark.slow
def test_a_wrong_target_is_reported_before_stdin_is_read(fake: FakeFrameio, program: Program) -> None:
    arguments = ("upload", "-", "--name", "a.mov", "--folder", "00000000-0000-4000-8000-000000000000")
    with program.start(*arguments, stdin=subprocess.PIPE) as running:  # whose end never comes
        assert running.wait(timeout=40) == 1
        assert running.stderr is not None
        assert running.stderr.read().startswith("error: NotFound: ")


class Terminal:
    def isatty(self) -> bool:
        return True


class NoTerminal:
    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("paths", "name", "size", "dry_run", "words"),
    [
        (["-"], None, None, False, "- needs --name"),
        (["-"], "", None, False, "- needs --name"),
        (["-", "a.mov"], None, None, False, "give it as the only PATH"),
        (["a.mov"], None, 5, False, "--size is for what comes from stdin"),
    ],
)
def test_what_does_not_fit_stdin_is_refused(
    monkeypatch: pytest.MonkeyPatch, paths: list[str], name: str | None, size: int | None, dry_run: bool, words: str
) -> None:
    monkeypatch.setattr(sys, "stdin", NoTerminal())
    with pytest.raises(UsageError, match=words):
        check_stdin(paths, name, size, dry_run=dry_run)


def test_a_terminal_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(UsageError, match="which is a terminal: end the command of another program with"):
        check_stdin(["-"], "a.mov", None, dry_run=False)
    check_stdin(["./-"], None, None, dry_run=False)


@pytest.mark.needs_program
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no limit for the size of a file")
def test_stdin_that_has_no_room_names_the_folder_and_another_one(fake: FakeFrameio, program: Program) -> None:
    (program.folder / "data").write_bytes(DATA)
    limited = ("sh", "-c", 'ulimit -f 512; cat data | "$@"', "sh")  # in blocks of 512 or 1024 bytes
    arguments = ("upload", "-", "--name", "take.mov", "--folder", fake.folder_id)
    with program.start(*arguments, before=limited, environment={"TMPDIR": str(program.folder)}) as running:
        _, complaint = running.communicate(timeout=50)
    assert running.returncode == 1
    assert complaint == (
        f"error: SourceError: {program.folder}: stdin cannot be spooled: File too large; free some space, or set"
        " TMPDIR to another folder\n"
    )
