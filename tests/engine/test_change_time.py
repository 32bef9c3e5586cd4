"""A file whose size and modification time are those of a file that was sent is skipped only if it has its content."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import FileCompleted, FileSkipped, UploadedFile, Uploader
from aioframeio_upload._core.listing import Conflict
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_disk, sha256, some_bytes, uploader_on
from tests.engine.test_conflict import stacks
from tests.support.journals import rows, stopped_at
from tests.support.trees import LONG_AGO, count, plant
from tests.support.watching import Seen, SetClock, watched

CONTENT = b"first card"
OTHER = b"other card"

UNCHANGED = ("skipped", "unchanged since it was sent")
COMPARED = ("skipped", "unchanged since it was compared")
SAME = ("skipped", "same content")

VERBS = pytest.mark.parametrize("verb", ["upload", "upload_folder"])

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="st_ctime is the time of creation, which a write does not change"
)


@pytest.fixture
def take(tmp_path: Path) -> Path:
    return plant(tmp_path / "card", {"C0001.MP4": CONTENT}) / "C0001.MP4"


async def send(uploader: Uploader, fake: FakeFrameio, verb: str, path: Path, **how: Any) -> tuple[str, str | None]:
    """Upload a file by itself or with its folder, as its dry run says; return what became of it."""
    how = {"folder_id": fake.folder_id, "conflict": "skip", **how}
    if verb == "upload":
        said = await uploader.dry_run(path, **how)
        file = await uploader.upload(path, **how)
    else:
        (said,) = (await uploader.dry_run_folder(path.parent, contents_only=True, **how)).files
        result = await uploader.upload_folder(path.parent, contents_only=True, **how)
        (file,) = [*result.files, *(one.file for one in result.skipped if one.file is not None)]
    assert (said.action == "skip", said.reason) == (file.outcome == "skipped", file.reason)
    return told(file)


def told(file: UploadedFile) -> tuple[str, str | None]:
    return file.outcome, file.reason


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def recreate(path: Path, content: bytes) -> None:
    path.unlink()
    write(path, content)


def rename_over(path: Path, content: bytes) -> None:
    write(path.with_suffix(".new"), content)
    os.replace(path.with_suffix(".new"), path)


def copy_with_times(path: Path, content: bytes) -> None:
    write(path.parent.parent / "original", content)
    shutil.copy2(path.parent.parent / "original", path)


def swap_folders(path: Path, content: bytes) -> None:
    card = plant(path.parent.parent / "second card", {path.name: content})
    path.parent.rename(path.parent.parent / "first card")
    card.rename(path.parent)


REPLACE = [write, recreate, rename_over, copy_with_times, swap_folders]


def change(how: Callable[..., None], path: Path, *arguments: bytes) -> None:
    """Change a file, and have its change time differ: the clock of a file system may tick every ten milliseconds."""
    before = path.stat().st_ctime_ns
    how(path, *arguments)
    while path.stat().st_ctime_ns == before:
        os.utime(path, ns=(LONG_AGO, LONG_AGO))


@VERBS
@pytest.mark.parametrize("replace", REPLACE)
async def test_other_content_of_the_same_size_and_time_is_sent(
    fake: FakeFrameio, take: Path, journal: Path, verb: str, replace: Callable[[Path, bytes], None]
) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        outcomes = [await send(uploader, fake, verb, take)]
        on_disk(change, replace, take, OTHER)
        outcomes += [await send(uploader, fake, verb, take) for _ in range(2)]
    assert outcomes == [("uploaded", None), ("uploaded", None), UNCHANGED]
    assert [file.sha256 for file in fake.files] == [sha256(CONTENT), sha256(OTHER)]


@VERBS
async def test_a_version_of_the_same_size_and_time_is_stacked(
    fake: FakeFrameio, take: Path, journal: Path, verb: str
) -> None:
    conflict: Conflict = "version-changed"
    async with uploader_on(fake, journal=journal) as uploader:
        await send(uploader, fake, verb, take, conflict=conflict)
        on_disk(change, write, take, OTHER)
        outcomes = [await send(uploader, fake, verb, take, conflict=conflict) for _ in range(2)]
    assert outcomes == [("uploaded", None), UNCHANGED]
    assert stacks(fake) == [[file.id for file in fake.files]]


@VERBS
@pytest.mark.parametrize("touch", [lambda path: write(path, CONTENT), lambda path: path.chmod(0o600)])
async def test_the_same_content_with_another_change_time_is_read_once(
    fake: FakeFrameio, take: Path, journal: Path, verb: str, touch: Callable[[Path], None]
) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        await send(uploader, fake, verb, take)
        on_disk(change, touch, take)
        outcomes = [await send(uploader, fake, verb, take) for _ in range(3)]
    assert outcomes == [SAME, COMPARED, COMPARED]
    assert (len(fake.files), count(fake, "original")) == (1, 0)


@VERBS
async def test_what_an_earlier_release_has_sent_is_read_once(
    fake: FakeFrameio, take: Path, journal: Path, verb: str
) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        await send(uploader, fake, verb, take)
    rows(journal, "UPDATE sent SET changed = NULL")
    async with uploader_on(fake, journal=journal) as uploader:
        outcomes = [await send(uploader, fake, verb, take) for _ in range(2)]
    assert outcomes == [SAME, COMPARED]
    rows(journal, "UPDATE sent SET changed = NULL")
    on_disk(change, write, take, OTHER)
    async with uploader_on(fake, journal=journal) as uploader:
        assert await send(uploader, fake, verb, take) == ("uploaded", None)


@VERBS
async def test_what_has_no_checksum_in_the_journal_is_not_said_to_be_unchanged(
    fake: FakeFrameio, take: Path, journal: Path, verb: str
) -> None:
    async with uploader_on(fake, journal=journal, checksum="off") as uploader:
        outcomes = [await send(uploader, fake, verb, take) for _ in range(2)]
        on_disk(change, write, take, OTHER)
        outcomes.append(await send(uploader, fake, verb, take))
        outcomes.append(await send(uploader, fake, verb, take, compare="content"))
    not_compared = ("skipped", "same name and size, content not compared")
    assert outcomes == [("uploaded", None), UNCHANGED, not_compared, ("uploaded", None)]


async def test_a_folder_of_which_one_file_was_replaced_is_not_read_as_a_whole(
    fake: FakeFrameio, tmp_path: Path, journal: Path
) -> None:
    root = on_disk(plant, tmp_path / "card", {f"C{number:04}.MP4": bytes([number]) * 9 for number in range(9)})
    async with uploader_on(fake, journal=journal) as uploader:
        await uploader.upload_folder(root, folder_id=fake.folder_id)
        on_disk(change, write, root / "C0007.MP4", b"other one")
        result = await uploader.upload_folder(root, folder_id=fake.folder_id)
    assert [file.name for file in result.files] == ["C0007.MP4"]
    assert [one.reason for one in result.skipped] == [UNCHANGED[1]] * 8


async def test_a_mixture_of_two_contents_that_was_resumed_is_found_out_by_the_next_run(
    fake: FakeFrameio, make_file: Callable[..., Path], journal: Path
) -> None:
    """A resumed upload goes by size, modification time and both ends (docs: *Survive a restart*)."""
    path = make_file(4 * PART)
    await stopped_at(fake, path, journal, 3)
    before = on_disk(path.stat)

    def write_to_the_middle() -> None:
        with path.open("r+b") as file:
            file.seek(PART + PART // 2)
            file.write(some_bytes(100))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    on_disk(write_to_the_middle)
    async with uploader_on(fake, journal=journal) as uploader:
        how: dict[str, Any] = {"folder_id": fake.folder_id, "conflict": "skip"}
        files = [await uploader.upload(path, **how) for _ in range(3)]
    assert [told(file) for file in files] == [("resumed", None), ("uploaded", None), UNCHANGED]
    assert fake.files[-1].sha256 == sha256(path)


@pytest.mark.parametrize("content", [CONTENT, OTHER], ids=["same", "other"])
async def test_a_watch_that_is_started_again_compares_what_was_changed_meanwhile_wherever_the_file_is(
    fake: FakeFrameio, take: Path, journal: Path, content: bytes
) -> None:
    seen: list[Seen] = []
    for _ in range(3):
        clock = SetClock()
        async with (
            uploader_on(fake, journal=journal) as uploader,
            watched(uploader, fake, take.parent, clock) as watch,
        ):
            seen.append(Seen(watch))
            await clock.advance(11)
            await seen[-1].until((FileCompleted, FileSkipped), 1)
        if len(seen) == 1:
            on_disk(change, write, take, content)
            fake._account.store.assets[fake.files[0].id].parent_id = "another"
    reasons = [(len(one.of(FileCompleted)), [event.reason for event in one.of(FileSkipped)]) for one in seen]
    expected = (0, ["same content"]) if content == CONTENT else (1, [])
    again = COMPARED if content == CONTENT else UNCHANGED
    assert reasons == [(1, []), expected, (0, [again[1]])]


@pytest.mark.parametrize(("replace", "has_journal"), [(write, True), (rename_over, False), (swap_folders, False)])
async def test_a_running_watch_sends_other_content_of_the_same_size_and_time_and_not_the_same_one(
    fake: FakeFrameio, take: Path, journal: Path, replace: Callable[[Path, bytes], None], has_journal: bool
) -> None:
    clock = SetClock()
    async with (
        uploader_on(fake, journal=journal if has_journal else None) as uploader,
        watched(uploader, fake, take.parent, clock) as watch,
    ):
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until(FileCompleted, 1)
        on_disk(change, lambda path: path.chmod(0o600), take)
        await clock.advance(100)
        on_disk(change, replace, take, OTHER)
        await clock.advance(100)
        await seen.until(FileCompleted, 2)
        on_disk(change, write, take, OTHER)
        await clock.advance(100)
    assert [file.sha256 for file in fake.files] == [sha256(CONTENT), sha256(OTHER)]
    assert seen.of(FileSkipped) == []


async def test_a_watch_that_is_started_again_notices_what_is_replaced_after_it_has_skipped_it(
    fake: FakeFrameio, take: Path, journal: Path
) -> None:
    for run in range(2):
        clock = SetClock()
        async with (
            uploader_on(fake, journal=journal) as uploader,
            watched(uploader, fake, take.parent, clock) as watch,
        ):
            seen = Seen(watch)
            await clock.advance(11)
            await seen.until((FileCompleted, FileSkipped), 1)
            if run == 1:
                on_disk(change, write, take, OTHER)
                await clock.advance(100)
                await seen.until(FileCompleted, 1)
    assert [file.sha256 for file in fake.files] == [sha256(CONTENT), sha256(OTHER)]
