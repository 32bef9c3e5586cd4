"""The examples, each run as its README says."""

from __future__ import annotations

import hashlib
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault

pytestmark = [pytest.mark.needs_program, pytest.mark.needs_tree]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [
    program
    for program in sorted((ROOT / "examples").glob("*/*.py"))
    if program.parent.name != "recipes" and '__name__ == "__main__"' in program.read_text(encoding="utf-8")
]


def run(example: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = ROOT / "examples" / example / "main.py"
    without: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEIO_")}
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        env={**without, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )


@pytest.fixture
def take(tmp_path: Path) -> Path:
    path = tmp_path / "take-07.mov"
    path.write_bytes(os.urandom(3_000_000))
    return path


def test_tracing_prints_one_trace_with_a_failed_attempt() -> None:
    ended = run("tracing")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert sum(line.startswith("frameio.part ") for line in lines) == 7
    (failed,) = (line for line in lines if " ERROR " in line)
    assert "frameio.part.number=3 frameio.part.attempt=1" in failed
    assert "error.type=503" in failed
    assert lines[-1].startswith("deliver take-07 ")


def test_the_trace_in_the_docs_is_drawn_from_exported_spans() -> None:
    draw = runpy.run_path(str(ROOT / "docs" / "make_trace.py"))
    drawn = draw["picture"](draw["exported"]())
    for text in ("deliver take-07", "frameio.upload", "frameio.part 3, attempt 1: 503", "frameio.part 3, attempt 2"):
        assert text in drawn
    committed = (ROOT / "docs" / "trace.svg").read_text(encoding="utf-8")
    assert "frameio.part 3, attempt 1: 503" in committed


def test_one_file_reaches_the_fake_inside_the_program(take: Path) -> None:
    ended = run("one_file", str(take))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "take-07.mov: 3000000 bytes in 1 part(s)" in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith(hashlib.sha256(take.read_bytes()).hexdigest())


def test_one_file_reaches_the_account_that_the_environment_names(take: Path) -> None:
    faults = [Fault(do="reset", after=400_000, number=2)]
    with FakeFrameio(part_size=1_000_000, faults=faults).in_thread() as fake:
        ended = run("one_file", str(take), **environment_of(fake))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "again in" in ended.stdout
        (file,) = fake.files
        assert file.sha256 == hashlib.sha256(take.read_bytes()).hexdigest()


def environment_of(fake: FakeFrameio) -> dict[str, str]:
    """Return the variables by which a program reaches a fake."""
    return {
        "FRAMEIO_BASE_URL": fake.url,
        "FRAMEIO_TOKEN": fake.token,
        "FRAMEIO_ACCOUNT_ID": fake.account_id,
        "FRAMEIO_FOLDER": fake.folder_id,
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda program: program.parent.name)
def test_an_example_that_takes_a_token_takes_the_address_of_the_service(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    assert ("FRAMEIO_TOKEN" in text) == ("FRAMEIO_BASE_URL" in text)


def test_one_file_reports_an_error_in_one_line(tmp_path: Path) -> None:
    ended = run("one_file", str(tmp_path / "nowhere.mov"))
    assert ended.returncode == 1
    assert ended.stderr == f"error: {tmp_path / 'nowhere.mov'}: No such file or directory; check the path\n"


def test_a_folder_reaches_the_fake_and_a_second_run_sends_nothing(take: Path) -> None:
    root = take.parent / "shoot"
    (root / "sound").mkdir(parents=True)
    take.rename(root / "take-07.mov")
    (root / "sound" / "take-07.wav").write_bytes(b"sound")
    (root / "notes.tmp").write_bytes(b"notes")
    ended = run("folder", str(root))
    assert (ended.returncode, ended.stderr) == (0, "")
    told = ended.stdout.splitlines()[1:]
    assert told[0] == "2 files of 3000005 bytes in 2 folders"
    assert sorted(told[1:3]) == ["  sound/take-07.wav", "  take-07.mov"]
    assert told[3:] == ["2 sent, 0 there before", told[0], "0 sent, 2 there before"]
    only = run("folder", str(root), "*.wav").stdout.splitlines()
    assert only[1] == "1 files of 5 bytes in 2 folders"


def test_a_folder_says_which_file_failed(tmp_path: Path) -> None:
    (tmp_path / "gone.mov").symlink_to(tmp_path / "nowhere")
    (tmp_path / "take.mov").write_bytes(b"take")
    ended = run("folder", str(tmp_path))
    assert (ended.returncode, ended.stderr) == (1, "1 files failed\n")
    assert "  take.mov" in ended.stdout.splitlines()
    assert f"  gone.mov failed: {tmp_path / 'gone.mov'}: " in ended.stdout
    ended = run("folder", str(tmp_path / "nowhere"))
    assert ended.stderr == f"error: {tmp_path / 'nowhere'}: No such file or directory; check the path\n"


def test_resume_sends_only_what_is_missing() -> None:
    ended = run("resume")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines.count("goes on: 7 parts, 7000000 bytes are there already") == 1
    assert lines[-1] == "one file, complete: True; parts sent: 9 for 8"


def test_a_fleet_of_processes_uploads_the_whole_file(take: Path) -> None:
    pytest.importorskip("distributed")
    ended = run("fleet", str(take))
    assert (ended.returncode, ended.stderr) == (0, "")
    told = ended.stdout.splitlines()
    assert told[1] == "take-07.mov: 3000000 bytes in 3 part(s), 4 workers"
    assert "100 %" in told
    assert told[-1].endswith(hashlib.sha256(take.read_bytes()).hexdigest())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda program: program.parent.name)
def test_an_example_is_short_and_its_readme_names_its_command(example: Path) -> None:
    longest = {"one_file": 60, "fastapi_app": 220}.get(example.parent.name, 200)
    assert len(example.read_text(encoding="utf-8").splitlines()) < longest
    readme = (example.parent / "README.md").read_text(encoding="utf-8")
    assert f"python {example.relative_to(ROOT).as_posix()}" in readme
    names = ("FRAMEIO_TOKEN", "FRAMEIO_ACCOUNT_ID", "FRAMEIO_FOLDER")
    assert all((name in readme) == (name in example.read_text(encoding="utf-8")) for name in names)


def test_every_example_is_named_in_the_readme_and_has_one_program() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [f"examples/{program.parent.name})" in text for program in EXAMPLES] == [True] * 10
    assert len({program.parent for program in EXAMPLES}) == len(EXAMPLES)
