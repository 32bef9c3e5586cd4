"""What was sent is not sent again: after a restart, whatever the clocks say, and after a failure that came too late."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import FileCompleted, FileFailed, FileSkipped, RetryPolicy, Timeouts, Uploader
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk, uploader_on
from tests.engine.test_conflict import stacks
from tests.support.watching import Seen, SetClock, watched

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
FEW = RetryPolicy(attempts=1, base=0.01, cap=0.01, patience=0)


class ServiceTime:
    """The service's clock, which a test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def service() -> ServiceTime:
    return ServiceTime()


@pytest.fixture
async def late(service: ServiceTime) -> AsyncIterator[FakeFrameio]:
    """A service whose clock is behind the one that sets the files' times."""
    async with FakeFrameio(rate_limits=False, clock=service) as fake:
        yield fake


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def put(root: Path, name: str, content: bytes, at: datetime) -> None:
    on_disk((root / name).write_bytes, content)
    nanoseconds = int(at.timestamp()) * 10**9 + 7
    on_disk(os.utime, root / name, ns=(nanoseconds, nanoseconds))


async def run(fake: FakeFrameio, uploader: Uploader, root: Path, **options: Any) -> list[Any]:
    """Watch until everything that is there has had its turn; return what became of it."""
    clock, count = SetClock(), len(on_disk(os.listdir, root))
    async with watched(uploader, fake, root, clock, **options) as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until((FileCompleted, FileSkipped, FileFailed), count)
    return [(type(event).__name__, event.path) for event in seen.of((FileCompleted, FileSkipped, FileFailed))]


@pytest.mark.parametrize("conflict", ["skip", "create", "version"])
async def test_a_watch_that_is_started_again_sends_nothing_twice_though_the_files_clock_is_ahead(
    late: FakeFrameio, service: ServiceTime, root: Path, journal: Path, conflict: str
) -> None:
    put(root, "a.mov", b"a", NOON + timedelta(minutes=5))
    put(root, "b.mov", b"b", NOON + timedelta(minutes=5))
    async with uploader_on(late, journal=journal) as uploader:
        assert len(await run(late, uploader, root, conflict=conflict)) == 2
    service.now += timedelta(minutes=10)
    put(root, "b.mov", b"B", NOON + timedelta(minutes=1))  # of the same size, and older than the file that was sent
    async with uploader_on(late, journal=journal) as uploader:
        assert sorted(await run(late, uploader, root, conflict=conflict)) == [
            ("FileCompleted", "b.mov"),
            ("FileSkipped", "a.mov"),
        ]
    assert sorted(file.name for file in late.files) == ["a.mov", "b.mov", "b.mov"]


@pytest.mark.parametrize("kind", ["file", "folder"])
async def test_skip_goes_by_the_journal_before_the_clocks(
    late: FakeFrameio, service: ServiceTime, root: Path, journal: Path, kind: str
) -> None:
    put(root, "a.mov", b"a", NOON + timedelta(minutes=5))
    for run in range(3):
        if run == 2:
            put(root, "a.mov", b"changed", NOON + timedelta(minutes=6))
        async with uploader_on(late, journal=journal) as uploader:
            if kind == "file":
                file = await uploader.upload(root / "a.mov", folder_id=late.folder_id, conflict="skip")
                assert file.outcome == ("skipped" if run == 1 else "uploaded")
            else:
                result = await uploader.upload_folder(root, folder_id=late.folder_id, contents_only=True)
                assert len(result.skipped) == (run == 1)
        service.now += timedelta(minutes=10)
    assert len(late.files) == 2


async def test_a_file_that_was_moved_at_frameio_is_not_sent_again_and_one_that_was_deleted_is(
    fake: FakeFrameio, root: Path, journal: Path
) -> None:
    for name in ("deleted.mov", "moved.mov"):
        put(root, name, name.encode(), NOON)
    async with uploader_on(fake, journal=journal) as uploader:
        await run(fake, uploader, root)
        ids = {file.name: file.id for file in fake.files}
        await uploader.delete(ids["deleted.mov"])
        store = fake._account.store
        store.assets[ids["moved.mov"]].parent_id = "another"
    async with uploader_on(fake, journal=journal) as uploader:
        ended = await run(fake, uploader, root)
    assert sorted(ended) == [("FileCompleted", "deleted.mov"), ("FileSkipped", "moved.mov")]


@pytest.mark.parametrize("conflict", ["skip", "version"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_file_whose_confirmation_failed_is_not_sent_a_second_time(
    fake: FakeFrameio, root: Path, conflict: str, is_first: bool
) -> None:
    """Without a journal: the listing that the retry reads is younger than the failure."""
    clock = SetClock()
    async with (
        uploader_on(fake, retry=FEW, timeouts=Timeouts(confirm=5)) as uploader,
        watched(uploader, fake, root, clock, conflict=conflict) as watch,
    ):
        seen = Seen(watch)
        put(root, "other.mov", b"so that the listing was read", NOON)
        if not is_first:
            put(root, "a.mov", b"first", NOON)
        await clock.advance(20)
        await seen.until(FileCompleted, 1 + (not is_first))
        for on in ("list_files", "status"):
            fake.add_fault(Fault(on=on, status=403))
        put(root, "a.mov", b"again", NOON + timedelta(seconds=1))
        await clock.advance(20)
        await seen.until(FileFailed, 1)
        await clock.advance(31)
        await seen.until(FileSkipped, 1)
    assert seen.paths(FileSkipped) == ["a.mov"]
    assert sum(file.name == "a.mov" for file in fake.files) == 1 + (not is_first)


async def test_a_version_that_could_not_be_stacked_is_stacked_by_the_next_attempt_and_not_sent_again(
    fake: FakeFrameio, root: Path, journal: Path
) -> None:
    clock = SetClock()
    put(root, "a.mov", b"first", NOON)
    async with (
        uploader_on(fake, journal=journal, retry=FEW) as uploader,
        watched(uploader, fake, root, clock, conflict="version") as watch,
    ):
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until(FileCompleted, 1)
        fake.add_fault(Fault(on="create_stack", status=403))
        put(root, "a.mov", b"again", NOON + timedelta(seconds=1))
        await clock.advance(20)
        await seen.until(FileFailed, 1)
        assert stacks(fake) == []
        await clock.advance(31)
        await seen.until(FileCompleted, 2)
    assert stacks(fake) == [[file.id for file in fake.files]]
    assert len(fake.files) == 2
