"""A file of that name is there: it is left alone, stacked upon, or stays beside a new one."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from aioframeio_upload import ApiError, FolderUploadError, SourceError, Timeouts, UploadCompleted, Uploader
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, some_bytes, uploader_on
from tests.support.trees import arrived, count, events_of, plant, send

DATA = some_bytes(1000)
HOUR = 3600 * 10**9


def stacks(fake: FakeFrameio) -> list[list[str]]:
    """The ids of the files in each version stack, the oldest first."""
    assets: Any = fake._account.store.assets
    return [list(asset.file_ids) for asset in assets.values() if type(asset).__name__ == "FakeStack"]


@pytest.fixture
def take(tmp_path: Path) -> Path:
    return plant(tmp_path, {"take.mov": DATA}) / "take.mov"


# -- upload(), "skip" --------------------------------------------------------------------------------------------------


async def test_the_same_file_is_left_alone(fake: FakeFrameio, uploader: Uploader, take: Path) -> None:
    first = await uploader.upload(take, folder_id=fake.folder_id, conflict="skip")
    assert first.outcome == "uploaded"
    upload = uploader.upload(take, folder_id=fake.folder_id, conflict="skip")
    assert await upload.planned() is None
    second = await upload
    assert [event async for event in upload] == [UploadCompleted(second)]
    assert (second.id, second.outcome, second.status) == (first.id, "skipped", "uploaded")
    assert (second.name, second.size, second.folder_id) == (first.name, first.size, first.folder_id)
    assert (second.view_url, second.media_type) == (first.view_url, first.media_type)
    assert len(fake.files) == 1


async def test_another_size_an_older_file_and_one_without_its_bytes_are_not_the_same(
    fake: FakeFrameio, uploader: Uploader, take: Path
) -> None:
    await uploader.plan(take, folder_id=fake.folder_id)
    await uploader.upload(DATA + b"1", name="take.mov", folder_id=fake.folder_id)
    await uploader.upload(take, folder_id=fake.folder_id, conflict="skip")
    assert len(fake.files) == 3
    on_disk(os.utime, take)  # written to after it was uploaded
    await uploader.upload(take, folder_id=fake.folder_id, conflict="skip")
    assert len(fake.files) == 4


def open_for_reading(path: Path) -> BinaryIO:
    return cast(BinaryIO, on_disk(path.open, "rb"))


async def test_an_open_file_has_its_files_time(fake: FakeFrameio, uploader: Uploader, take: Path) -> None:
    await uploader.upload(take, folder_id=fake.folder_id)
    with open_for_reading(take) as file:
        assert (await uploader.upload(file, folder_id=fake.folder_id, conflict="skip")).outcome == "skipped"
        on_disk(os.utime, take)  # written to after it was uploaded
        on_disk(file.seek, 0)
        assert (await uploader.upload(file, folder_id=fake.folder_id, conflict="skip")).outcome == "uploaded"


async def chunks() -> AsyncIterator[bytes]:
    yield DATA


async def test_what_has_no_time_is_judged_by_its_name_and_size(fake: FakeFrameio, uploader: Uploader) -> None:
    unsized: Any = chunks()
    sources: list[tuple[Any, dict[str, Any]]] = [(DATA, {}), (io.BytesIO(DATA), {}), (unsized, {"size": len(DATA)})]
    file: Any = None
    for source, how in sources:
        file = await uploader.upload(source, name="take.mov", folder_id=fake.folder_id, conflict="skip", **how)
    assert (len(fake.files), file.outcome) == (1, "skipped")
    await uploader.upload(chunks(), name="new.mov", size=len(DATA), folder_id=fake.folder_id, conflict="skip")
    assert fake.files[-1].complete


async def test_a_source_that_cannot_be_read_is_an_error_though_its_name_is_there(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    with pytest.raises(SourceError):
        await uploader.upload(tmp_path / "nowhere.mov", folder_id=fake.folder_id, conflict="skip")
    with pytest.raises(SourceError, match="as declared"):
        await uploader.upload(DATA, name="a", size=1, folder_id=fake.folder_id, conflict="skip")
    assert fake.requests == []


async def test_the_head_of_a_stack_is_the_same_too(fake: FakeFrameio, uploader: Uploader, take: Path) -> None:
    await uploader.upload(b"older", name="take.mov", folder_id=fake.folder_id)
    head = await uploader.upload(take, folder_id=fake.folder_id, conflict="version")
    assert len(stacks(fake)) == 1
    assert (await uploader.upload(take, folder_id=fake.folder_id, conflict="skip")).id == head.id


async def sent(uploader: Uploader, fake: FakeFrameio, verb: str, path: Path) -> str | None:
    """Upload a file by itself or with its folder, and return why it was skipped; None if it was sent."""
    if verb == "upload":
        return (await uploader.upload(path, folder_id=fake.folder_id, conflict="skip")).reason
    result = await uploader.upload_folder(path.parent, folder_id=fake.folder_id, contents_only=True)
    assert len(result.files) + len(result.skipped) == 1
    return next((one.file.reason for one in result.skipped if one.file), None)


@pytest.mark.parametrize("verb", ["upload", "upload_folder"])
async def test_what_an_earlier_run_has_sent_is_finished_in_the_journal_too(
    fake: FakeFrameio, take: Path, tmp_path: Path, verb: str
) -> None:
    journal = tmp_path / "journal" / "uploads.sqlite3"

    def begin(uploader: Uploader) -> Any:
        if verb == "upload":
            return uploader.upload(take, folder_id=fake.folder_id, conflict="skip")
        return uploader.upload_folder(take.parent, folder_id=fake.folder_id, include=["take.mov"], contents_only=True)

    fake.add_fault(Fault(on="status", status=403, times=1))
    async with uploader_on(fake, journal=journal) as uploader:
        with pytest.raises(ApiError):
            await uploader.upload(take, folder_id=fake.folder_id)
        (pending,) = await uploader.pending()
    async with asyncio.timeout(10):
        await fake.until(lambda fake: fake.files[0].complete)
    async with uploader_on(fake, journal=journal) as uploader:
        ended = await begin(uploader)
        file = ended if verb == "upload" else ended.files[0]
        assert (file.id, file.outcome) == (pending.file_id, "resumed")
        assert await uploader.pending() == ()
        # From now on it is as any other file that is there.
        again = await begin(uploader)
        assert (again.outcome if verb == "upload" else len(again.skipped)) in ("skipped", 1)
    assert (count(fake, "create"), b"X-Amz-Signature" in on_disk(journal.read_bytes)) == (1, False)


# -- a time that is later than the service's own -----------------------------------------------------------------------

FUTURES = pytest.mark.parametrize("ahead", [3 * 10**9, HOUR, 24 * HOUR, 30 * 365 * 24 * HOUR])


@FUTURES
async def test_a_file_dated_in_the_future_is_sent_once(
    fake: FakeFrameio, uploader: Uploader, take: Path, ahead: int
) -> None:
    """An exFAT card read after a change of daylight saving time, a camera whose clock is wrong."""
    later = time.time_ns() + ahead
    on_disk(os.utime, take, ns=(later, later))
    outcomes = [(await uploader.upload(take, folder_id=fake.folder_id, conflict="skip")).outcome for _ in range(3)]
    with open_for_reading(take) as file:
        outcomes.append((await uploader.upload(file, folder_id=fake.folder_id, conflict="skip")).outcome)
    assert outcomes == ["uploaded", "skipped", "skipped", "skipped"]


@FUTURES
async def test_a_folder_dated_in_the_future_is_sent_once(
    fake: FakeFrameio, uploader: Uploader, root: Path, ahead: int
) -> None:
    later = time.time_ns() + ahead
    for path in ("a.mov", "b/c.mov", "b/d.mov"):
        on_disk(os.utime, root / path, ns=(later, later))
    sent = [len((await send(uploader, fake, root)).files) for _ in range(3)]
    assert sent == [3, 0, 0]


async def test_of_another_size_a_file_dated_in_the_future_is_another_file(
    fake: FakeFrameio, uploader: Uploader, take: Path
) -> None:
    for size in (10, 11):
        on_disk(take.write_bytes, bytes(size))
        later = time.time_ns() + HOUR
        on_disk(os.utime, take, ns=(later, later))
        assert (await uploader.upload(take, folder_id=fake.folder_id, conflict="skip")).outcome == "uploaded"


# -- upload(), "version" -----------------------------------------------------------------------------------------------


async def test_a_version_is_stacked_on_its_namesake_and_the_next_on_the_stack(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    ids = []
    for number in range(4):
        await uploader.upload(b"another", name="other.mov", folder_id=fake.folder_id)
        content = some_bytes(100 + number)
        ids.append((await uploader.upload(content, name="a.mov", folder_id=fake.folder_id, conflict="version")).id)
    assert stacks(fake) == [ids]
    assert (count(fake, "create_stack"), count(fake, "move")) == (1, 2)


async def test_a_version_is_stacked_on_a_name_that_is_encoded_otherwise(fake: FakeFrameio, uploader: Uploader) -> None:
    names = ("caf\u00e9.mov", "cafe\u0301.mov")
    files = [await uploader.upload(DATA, name=name, folder_id=fake.folder_id, conflict="version") for name in names]
    assert stacks(fake) == [[file.id for file in files]]


async def test_a_version_without_a_namesake_is_a_file(fake: FakeFrameio, uploader: Uploader) -> None:
    await uploader.plan(DATA, name="a.mov", folder_id=fake.folder_id)
    await uploader.upload(DATA, name="a.mov", folder_id=fake.folder_id, conflict="version")
    assert stacks(fake) == []


async def test_a_version_is_waited_for_though_nobody_wants_to_wait(fake: FakeFrameio) -> None:
    async with uploader_on(fake, timeouts=Timeouts(confirm=0)) as uploader:
        await uploader.upload(DATA, name="a.mov", folder_id=fake.folder_id)
        await fake.until(lambda fake: fake.files[0].complete)
        await uploader.upload(DATA, name="a.mov", folder_id=fake.folder_id, conflict="version")
    assert len(stacks(fake)) == 1


@pytest.mark.parametrize("versions", [2, 3])
async def test_a_stacking_whose_answer_was_lost_has_succeeded_where_both_are_in_one_stack(
    fake: FakeFrameio, uploader: Uploader, versions: int
) -> None:
    fake.add_fault(Fault(on="create_stack", do="lose_answer"))
    fake.add_fault(Fault(on="move", do="lose_answer"))
    fake.add_fault(Fault(on="move", status=422, message="is there already"))
    ids = []
    for number in range(versions):
        file = await uploader.upload(bytes(number + 1), name="a.mov", folder_id=fake.folder_id, conflict="version")
        ids.append(file.id)
    assert stacks(fake) == [ids]
    assert count(fake, "create_stack", 422) == 1


async def test_a_stacking_that_was_refused_after_a_lost_answer_fails_where_both_are_still_apart(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    await uploader.upload(DATA, name="a.mov", folder_id=fake.folder_id)
    fake.add_fault(Fault(on="create_stack", status=502))
    fake.add_fault(Fault(on="create_stack", status=422, message="not in this folder"))
    with pytest.raises(ApiError, match="not stacked"):
        await uploader.upload(DATA, name="a.mov", folder_id=fake.folder_id, conflict="version")
    assert stacks(fake) == []


@pytest.mark.parametrize("operation", ["create_stack", "list_children"])
async def test_a_stacking_that_fails_leaves_the_file_and_says_so(
    fake: FakeFrameio, uploader: Uploader, operation: str
) -> None:
    await uploader.upload(DATA, name="a.mov", folder_id=fake.folder_id)
    fake.add_fault(Fault(on=operation, status=422, message="not in this folder", times=None))
    upload = uploader.upload(DATA, name="a.mov", folder_id=fake.folder_id, conflict="version")
    with pytest.raises(ApiError) as caught:
        await upload
    assert (caught.value.status, caught.value.file_id) == (422, upload.file_id)
    assert f"not in this folder; file {upload.file_id} is there, and not stacked" in str(caught.value)
    assert [file.complete for file in fake.files] == [True, True]
    assert fake.deleted == ()


async def test_create_makes_another_file(fake: FakeFrameio, uploader: Uploader, take: Path) -> None:
    for _ in range(2):
        await uploader.upload(take, folder_id=fake.folder_id)
    assert [file.name for file in fake.files] == ["take.mov", "take.mov"]
    assert count(fake, "list_children") == 0


# -- upload_folder() ---------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "shoot", {"a.mov": 2 * PART, "b/c.mov": 10, "b/d.mov": 11})


async def test_a_second_run_sends_nothing(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    await send(uploader, fake, root)
    before = arrived(fake)
    fake.requests.clear()
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    result = await upload
    assert sorted(skipped.path for skipped in result.skipped) == ["a.mov", "b/c.mov", "b/d.mov"]
    assert (result.files, result.failures, result.folders) == ((), (), ())
    assert {seen.operation for seen in fake.requests} == {"list_children"}
    assert arrived(fake) == before
    assert upload.progress is not None
    assert (upload.progress.bytes_uploaded, upload.progress.parts_completed) == (2 * PART + 21, 3)
    assert len(await events_of(upload)) == 3


async def test_a_second_run_sends_only_what_is_missing_or_was_rendered_anew(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    fake.add_fault(Fault(name="c.mov", status=403, code="AccessDenied", times=1))
    with pytest.raises(FolderUploadError):
        await send(uploader, fake, root)
    on_disk(os.utime, root / "b" / "d.mov")
    result = await send(uploader, fake, root)
    assert sorted(file.name for file in result.files) == ["c.mov", "d.mov"]
    assert [skipped.path for skipped in result.skipped] == ["a.mov"]


async def test_one_that_is_there_stands_for_one_file_only(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    """Two names that only look the same: with one of them there, the other is still to be sent."""
    names = {"caf\u00e9.mov": 10, "cafe\u0301.mov": 10}
    root = on_disk(plant, tmp_path / "shoot", names)
    if len(list(on_disk(os.listdir, root))) < 2:
        pytest.skip("this file system takes them for one")
    await send(uploader, fake, root, include=["nothing"])
    await uploader.upload(bytes(10), name="caf\u00e9.mov", folder_id=fake.folder_id)
    result = await send(uploader, fake, root, contents_only=True)
    assert [file.name for file in result.files] == ["cafe\u0301.mov"]


@pytest.mark.parametrize("conflict", ["create", "version"])
async def test_a_second_run_sends_all_again_where_that_is_asked_for(
    fake: FakeFrameio, uploader: Uploader, root: Path, conflict: Any
) -> None:
    results = [await send(uploader, fake, root, conflict=conflict) for _ in range(3)]
    assert len(results[-1].files) == 3
    assert len(fake.files) == 9
    versions = sorted(len(ids) for ids in stacks(fake))
    assert versions == ([3, 3, 3] if conflict == "version" else [])
    assert len(arrived(fake)) == 3, "in one folder each"


async def test_a_stacking_that_fails_is_a_failure_of_that_file(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    await send(uploader, fake, root)
    fake.add_fault(Fault(on="create_stack", status=422, message="no", times=1))
    with pytest.raises(FolderUploadError) as caught:
        await send(uploader, fake, root, conflict="version")
    (failure,) = caught.value.result.failures
    assert isinstance(failure.error, ApiError)
    assert failure.error.file_id in {file.id for file in fake.files if file.complete}
    assert len(caught.value.result.files) == 2
    assert (len(stacks(fake)), len(fake.files)) == (2, 6)


# -- what the journal knows of the content -----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["upload", "upload_folder"])
async def test_two_cards_with_the_same_name_and_size_are_both_sent(
    fake: FakeFrameio, tmp_path: Path, verb: str
) -> None:
    """The second one was modified before the first was sent, so that neither size nor time tells them apart."""
    old = time.time_ns() - 24 * HOUR
    cards = [
        on_disk(plant, tmp_path / card, {"C0001.MP4": some_bytes(size)[:1000]})
        for card, size in (("a", 1000), ("b", 1001))
    ]
    for card in cards:
        on_disk(os.utime, card / "C0001.MP4", ns=(old, old))
    async with uploader_on(fake, journal=tmp_path / "uploads.sqlite3") as uploader:
        reasons = [await sent(uploader, fake, verb, card / "C0001.MP4") for card in (*cards, *cards)]
    assert reasons == [None, None, "unchanged since it was sent", "unchanged since it was sent"]
    assert len({file.sha256 for file in fake.files}) == len(fake.files) == 2


@pytest.mark.parametrize("verb", ["upload", "upload_folder"])
async def test_a_copy_with_the_same_content_is_skipped_by_its_checksum(
    fake: FakeFrameio, tmp_path: Path, verb: str
) -> None:
    old = time.time_ns() - 24 * HOUR
    reasons = []
    for journal in (tmp_path / "uploads.sqlite3", None):
        async with uploader_on(fake, journal=journal) as uploader:
            for name in ("a", "copy"):
                root = on_disk(plant, tmp_path / name, {"take.mov": DATA})
                on_disk(os.utime, root / "take.mov", ns=(old, old))
                reasons.append(await sent(uploader, fake, verb, root / "take.mov"))
    unknown = "same name and size, content not compared"
    assert reasons == [None, "same content", unknown, unknown]
    assert len(fake.files) == 1


@pytest.mark.parametrize("verb", ["upload", "upload_folder"])
async def test_version_changed_skips_the_same_content_and_stacks_another(
    fake: FakeFrameio, tmp_path: Path, verb: str
) -> None:
    old = time.time_ns() - 24 * HOUR
    sent = []
    async with uploader_on(fake, journal=tmp_path / "uploads.sqlite3") as uploader:
        for card, content in (("a", DATA), ("copy", DATA), ("b", DATA[::-1]), ("c", DATA + b"1")):
            root = on_disk(plant, tmp_path / card, {"take.mov": content})
            on_disk(os.utime, root / "take.mov", ns=(old, old))
            how: Any = {"folder_id": fake.folder_id, "conflict": "version-changed"}
            if verb == "upload":
                sent.append((await uploader.upload(root / "take.mov", **how)).outcome)
            else:
                result = await uploader.upload_folder(root, contents_only=True, **how)
                sent.append("skipped" if result.skipped else result.files[0].outcome)
    assert sent == ["uploaded", "skipped", "uploaded", "uploaded"]
    assert stacks(fake) == [[file.id for file in fake.files]]
