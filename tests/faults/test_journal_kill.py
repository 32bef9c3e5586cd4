"""A process that dies at any write of its journal, and the next one, which resumes; and two that run at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, sha256, some_bytes
from tests.support.journals import recorded_parts, rows
from tests.support.seen import puts

if sys.platform == "win32":
    pytest.skip("Windows has no SIGKILL", allow_module_level=True)

from tests.support import killed

pytestmark = [
    pytest.mark.needs_program,
    pytest.mark.slow,
]

PARTS = 4
MADE, BEGUN, ERASED, CHECKPOINT = 1, 2, PARTS + 3, PARTS + 4
"""The number of the journal's writes: its tables, the file, one for each part, and two at the end."""

EVERY = list(product(range(1, CHECKPOINT + 1), ("before", "after")))
SAMPLE = [(MADE, "after"), (BEGUN, "before"), (BEGUN, "after"), (4, "before"), (5, "after"), (ERASED, "before")]
POINTS = EVERY if os.environ.get("KILL") == "every" else SAMPLE


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "take.mov"
    path.write_bytes(some_bytes(PARTS * PART))
    return path


def test_an_upload_makes_as_many_writes_as_are_counted_here(fake: FakeFrameio, path: Path, journal: Path) -> None:
    ended = killed.run(killed.job(fake, path, journal))
    assert ended is not None
    assert (ended["writes"], ended["outcome"]) == (CHECKPOINT, "uploaded")


@pytest.mark.parametrize(("last", "when"), POINTS)
def test_killed_at_a_write_it_resumes(fake: FakeFrameio, path: Path, journal: Path, last: int, when: str) -> None:
    assert killed.run(killed.job(fake, path, journal, last=last, when=when)) is None
    done = last if when == "after" else last - 1
    if done >= MADE:
        recorded = recorded_parts(journal)
        assert len(recorded) == (0 if done >= ERASED else max(0, done - BEGUN))
    else:
        recorded = set()
    if done >= ERASED:
        assert rows(journal, "SELECT * FROM uploads") == []  # the upload had ended
    else:
        ended = killed.run(killed.job(fake, path, journal))
        assert ended is not None
        assert ended["outcome"] == ("resumed" if done >= BEGUN else "uploaded")
    whole = [file for file in fake.files if file.complete]
    assert [file.sha256 for file in whole] == [sha256(path)]
    # A placeholder that was created but not recorded cannot be distinguished from another client's.
    assert len(fake.files) - len(whole) == (1 if (last, when) == (BEGUN, "before") else 0)
    assert all(puts(fake)[number] == 1 for number in recorded)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_several_parts_are_recorded_it_resumes(
    fake: FakeFrameio, path: Path, journal: Path, when: str
) -> None:
    """However many parts were in one write: that is the next write after the one of the file."""
    how = {"parts": PARTS, "last": BEGUN + 1, "when": when}
    assert killed.run(killed.job(fake, path, journal, **how)) is None
    recorded = recorded_parts(journal)
    assert bool(recorded) == (when == "after")
    ended = killed.run(killed.job(fake, path, journal, parts=PARTS))
    assert ended is not None
    assert ended["outcome"] == "resumed"
    (file,) = fake.files
    assert file.sha256 == sha256(path)
    assert all(puts(fake)[number] == 1 for number in recorded)


def test_a_process_that_is_killed_during_a_part_releases_its_upload(
    fake: FakeFrameio, path: Path, journal: Path
) -> None:
    fake.add_fault(hold := Fault(do="hold", number=4))
    with killed.start(killed.job(fake, path, journal)) as process:
        fake.wait_until(lambda fake: fake.hits(hold) == 1, timeout=40)
        # Another process is refused while it lives.
        with killed.start(killed.job(fake, path, journal)) as other:
            _, complaint = other.communicate(timeout=40)
            assert other.returncode == 1
            assert "JournalError" in complaint
            assert "in use by another upload or process" in complaint
        process.kill()
        process.communicate()
    fake.release()
    recorded = recorded_parts(journal)
    ended = killed.run(killed.job(fake, path, journal))
    assert ended is not None
    assert ended["outcome"] == "resumed"
    (file,) = fake.files
    assert file.sha256 == sha256(path)
    assert all(puts(fake)[number] == 1 for number in recorded)


def test_two_processes_share_a_journal(fake: FakeFrameio, path: Path, journal: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mov"
    other.write_bytes(some_bytes(PARTS * PART - 7))
    fake.add_fault(hold := Fault(do="hold", number=2, times=2))
    with killed.start(killed.job(fake, path, journal)) as one, killed.start(killed.job(fake, other, journal)) as two:
        fake.wait_until(lambda fake: fake.hits(hold) == 2, timeout=40)  # both at the same time
        fake.release()
        ended = [process.communicate(timeout=40) for process in (one, two)]
    assert [complaint for _, complaint in ended] == ["", ""]
    assert {file.sha256 for file in fake.files} == {sha256(path), sha256(other)}
    assert rows(journal, "SELECT * FROM uploads") == []
