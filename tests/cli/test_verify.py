"""Test the command `verify`: one file, every file of a report, and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioframeio_upload import Verification
from aioframeio_upload._cli.verify import describe
from aioframeio_upload.testing import FakeFrameio
from tests.support.commands import Program

pytestmark = [pytest.mark.needs_program, pytest.mark.slow]


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=1000).in_thread() as fake:
        yield fake


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    (tmp_path / "take.mov").write_bytes(b"x" * 2500)
    (tmp_path / "shoot").mkdir()
    (tmp_path / "shoot" / "a.mov").write_bytes(b"a" * 1500)
    return Program(fake, tmp_path)


def test_a_file_is_the_same_until_it_changes(fake: FakeFrameio, program: Program) -> None:
    program.run("upload", "take.mov", "--folder", fake.folder_id)
    (file,) = fake.files
    assert program.run("verify", "take.mov", file.id) == (
        0,
        "take.mov: the same content, by the ETag of the original\n",
        "",
    )
    (program.folder / "take.mov").write_bytes(b"y" * 2500)
    status, said, _ = program.run("verify", "take.mov", file.id)
    assert (status, said) == (1, "take.mov: DIFFERENT: the same size, another checksum\n")
    (program.folder / "take.mov").write_bytes(b"y")
    status, said, _ = program.run("verify", "take.mov", file.id, "--json")
    found = json.loads(said)
    assert (status, found["size"], found["proved_by"], found["is_sent"]) == (1, False, None, None)


@pytest.mark.parametrize("report", ["delivered.json", "delivered.csv"])
def test_every_file_of_a_report_is_compared(fake: FakeFrameio, program: Program, report: str) -> None:
    program.run("upload", "take.mov", "shoot", "gone.mov", "--folder", fake.folder_id, "--report", report)
    status, said, complaint = program.run("verify", "--report", report)
    proof = "the same content, by the ETag of the original; its CRC64NVME is that of what was sent"
    assert (status, complaint) == (0, "")
    assert set(said.splitlines()) == {f"take.mov: {proof}", f"shoot/a.mov: {proof}", "2 same"}
    assert said.endswith("\n2 same\n")
    (program.folder / "take.mov").rename(program.folder / "=take.mov")
    status, said, complaint = program.run("verify", "--report", report)
    assert (status, len(said.splitlines())) == (1, 2)
    assert said.endswith("\n1 same, 1 could not be compared\n")
    assert "take.mov: SourceError: " in complaint


def test_a_name_that_a_spreadsheet_would_evaluate_is_found_again(fake: FakeFrameio, program: Program) -> None:
    (program.folder / "take.mov").rename(program.folder / "=take.mov")
    program.run("upload", "=take.mov", "--folder", fake.folder_id, "--report", "delivered.csv")
    assert "'=take.mov" in (program.folder / "delivered.csv").read_text(encoding="utf-8")
    status, said, _ = program.run("verify", "--report", "delivered.csv")
    assert (status, said.partition(":")[0]) == (0, "=take.mov")


@pytest.mark.parametrize(
    "arguments", [(), ("take.mov",), ("take.mov", "id", "--report", "r.json"), ("--report", "none.json")]
)
def test_arguments_that_do_not_say_what_to_compare_are_refused(program: Program, arguments: tuple[str, ...]) -> None:
    status, said, complaint = program.run("verify", *arguments)
    assert (status, said) == (2, "")
    assert complaint


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{}]", '[{"file_id": "x"}]', "null"])
def test_a_file_that_is_no_report_is_refused(fake: FakeFrameio, program: Program, text: str) -> None:
    (program.folder / "r.json").write_text(text, encoding="utf-8")
    assert program.run("verify", "--report", "r.json")[0] != 0
    assert fake.requests == []


@pytest.mark.parametrize(
    ("found", "is_sent", "words"),
    [
        (Verification(False, None, None), None, "DIFFERENT: another size"),
        (Verification(True, True, "etag", "c"), False, "DIFFERENT: its CRC64NVME is not that of what was sent"),
        (Verification(True, False, None, "c"), True, "DIFFERENT: the same size, another checksum"),
        (Verification(True, None, "size", "c"), None, "the same size; the content of the original cannot be compared"),
        (
            Verification(True, True, "crc64nvme", "c"),
            None,
            "the same content, by the CRC64NVME of the original",
        ),
    ],
)
def test_the_line_says_what_was_proved_and_no_more(found: Verification, is_sent: bool | None, words: str) -> None:
    assert describe(found, is_sent) == words
