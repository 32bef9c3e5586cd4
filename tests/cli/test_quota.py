"""The command line asks before an upload that the account has no room for; without a person, it warns and goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART
from tests.support.commands import Program
from tests.support.pressed import Terminal

pytestmark = [pytest.mark.needs_program, pytest.mark.slow]


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    """The command line with a folder of 2,000 bytes that are wanted, and a file of 1,000."""
    (tmp_path / "shoot" / "day").mkdir(parents=True)
    for path in ("take.mov", "shoot/a.mov", "shoot/day/b.mov", "shoot/day/c.tmp"):
        (tmp_path / path).write_bytes(b"x" * 1000)
    return Program(fake, tmp_path)


def arguments(fake: FakeFrameio, *more: str) -> list[str]:
    return ["upload", "shoot", "take.mov", "--folder", fake.folder_id, "--exclude", "*.tmp", *more]


@pytest.mark.parametrize("limit", [None, 3000, 2999])
def test_without_a_person_it_warns_once_and_goes_on(fake: FakeFrameio, program: Program, limit: int | None) -> None:
    fake.storage_limit = limit
    status, _, complaint = program.run(*arguments(fake))
    assert (status, len(fake.files)) == (0, 3)
    expected = "warning: 3.0 kB to upload, and 3.0 kB of 3.0 kB are free in account Fake account (files that are there"
    assert [line.startswith(expected) for line in complaint.splitlines()] == [True] * (limit == 2999), complaint


def test_a_refused_question_is_no_error(fake: FakeFrameio, program: Program) -> None:
    fake.storage_limit = 0
    fake.add_fault(Fault(on="accounts", status=403, times=None))
    assert program.run(*arguments(fake))[::2] == (0, "")
    assert len(fake.files) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("more", "typed", "status", "files"),
    [((), "n\n", 1, 0), ((), "\n", 1, 0), ((), "\x04", 1, 0), ((), "y\n", 0, 3), (("--yes",), None, 0, 3)],
)
def test_a_person_decides_before_anything_is_created(
    fake: FakeFrameio, program: Program, more: tuple[str, ...], typed: str | None, status: int, files: int
) -> None:
    fake.storage_limit = 2999
    command = [sys.executable, "-m", "aioframeio_upload", *arguments(fake, *more)]
    with Terminal(command, program.environment, program.folder) as terminal:
        if typed is not None:
            terminal.wait_for("upload anyway?")
            assert "create" not in {seen.operation for seen in fake.requests}
            os.write(terminal._leader, typed.encode())
        assert terminal.program.wait(40) == status
        assert ("nothing was uploaded" in terminal.written) == (status == 1)
        assert "warning: 3.0 kB to upload" in terminal.written
    assert len(fake.files) == files
