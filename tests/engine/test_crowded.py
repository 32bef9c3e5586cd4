"""A thousand uploads under way in a program that may open 128 files: what waits holds no file open."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.support.trees import plant

if sys.platform == "win32":
    pytest.skip("Windows has no such limit", allow_module_level=True)

from tests.support import crowded

pytestmark = [pytest.mark.needs_program, pytest.mark.slow, pytest.mark.heavy, pytest.mark.timeout(300)]

FOLDERS, FILES = 20, 1_000


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, faults=CONFIRMATIONS).in_thread() as fake:
        yield fake


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "shoot", {f"{number % FOLDERS}/{number}.mov": 10 for number in range(FILES)})


CONFIRMATIONS = [Fault(on=operation, do="hold", times=None) for operation in ("list_files", "status")]
"""While they are held, no file is confirmed; and versions are stacked only then."""


def release(fake: FakeFrameio) -> None:
    for held in CONFIRMATIONS:
        fake.release(held)


def all_sent(fake: FakeFrameio) -> None:
    fake.wait_until(lambda fake: sum(file.complete for file in fake.files) == FILES, timeout=200)


def ended(process: Any) -> dict[str, Any]:
    said, complaint = process.communicate(timeout=200)
    assert (process.returncode, complaint) == (0, "")
    told: dict[str, Any] = json.loads(said)
    return told


def test_a_folder_of_versions_that_all_wait_opens_few_files(fake: FakeFrameio, root: Path, tmp_path: Path) -> None:
    with crowded.start(fake, tmp_path / "uploads.sqlite3", "folder", root=str(root)) as process:
        all_sent(fake)
        release(fake)
        assert ended(process) == {"files": FILES, "failures": 0}


def test_hundreds_of_pending_versions_are_all_taken_by_one_process(
    fake: FakeFrameio, root: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "uploads.sqlite3"
    with crowded.start(fake, journal, "folder", root=str(root)) as process:
        all_sent(fake)
        process.kill()
        process.communicate()
    release(fake)
    with crowded.start(fake, journal, "resume") as process:
        told = ended(process)
    assert told == {"files": FILES, "outcomes": ["resumed"], "left": 0, "sources": FILES, "pending": 0}
    assert len(fake.files) == FILES
