"""A tree becomes uploads: the same tree is there at the end, each folder once, and every file has one fate."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    ApiError,
    AuthenticationError,
    ConfirmationError,
    FileCompleted,
    FileFailed,
    FileLeftOut,
    FileSkipped,
    FileStarted,
    FolderCompleted,
    FolderCreated,
    FolderPlanned,
    FolderResult,
    FolderUploadError,
    Limits,
    NotFound,
    PartRejected,
    Progress,
    RetryPolicy,
    SourceChanged,
    SourceError,
    Timeouts,
    UnmatchedPattern,
    Uploader,
    UploadError,
    UploadFailed,
)
from aioframeio_upload._core.events import EMPTY
from aioframeio_upload._engine import confirm_batch
from aioframeio_upload._engine.conflict import NOT_COMPARED
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, on_disk, our_records, reached, sha256, uploader_on
from tests.support.trees import arrived, content_of, count, events_of, folders, plant, send

SHOOT = "a.mov b/c.mov b/d/e.mov b/d/f.mov g/h.wav g/.hidden empty/ g/Thumbs.db"
THERE = {"a.mov", "b/c.mov", "b/d/e.mov", "b/d/f.mov", "g/h.wav"}
REJECT: dict[str, Any] = {"status": 403, "code": "SignatureDoesNotMatch", "times": None}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "shoot", SHOOT)


def expected(root: Path, *but: str) -> dict[str, str]:
    found = {f"shoot/{path}": digest for path, digest in on_disk(content_of, root).items() if path in THERE}
    return {path: digest for path, digest in found.items() if path not in {f"shoot/{one}" for one in but}}


async def failed(uploader: Uploader, fake: FakeFrameio, root: Path, **how: Any) -> FolderResult:
    """Upload a folder of which something fails."""
    with pytest.raises(FolderUploadError) as caught:
        await send(uploader, fake, root, **how)
    return caught.value.result


def only_failure(result: FolderResult) -> FileFailed:
    (failure,) = result.failures
    return failure


@pytest.mark.skipif(sys.platform == "win32", reason="a drive has a name")
async def test_a_root_without_a_name_may_give_its_contents_only(uploader: Uploader) -> None:
    upload = on_disk(uploader.upload_folder, "/", folder_id="f", contents_only=True)
    assert upload.name == "/"
    upload.cancel()
    with pytest.raises(ValueError, match="name"):
        on_disk(uploader.upload_folder, "/", folder_id="f")


# -- what is there at the end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_the_same_tree_is_there_at_the_end(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    result = await send(uploader, fake, root)
    assert arrived(fake) == expected(root)
    assert sorted(folders(fake)) == ["b", "d", "empty", "g", "shoot"]
    assert {file.name for file in result.files} == {path.rpartition("/")[2] for path in THERE}
    assert {file.id for file in result.files} == {file.id for file in fake.files}
    assert all((file.status, file.outcome) == ("uploaded", "uploaded") for file in result.files)
    assert (result.skipped, result.failures) == ((), ())
    assert result.folders[0].path == "."
    assert {folder.path for folder in result.folders} == {".", "b", "b/d", "empty", "g"}


async def test_only_the_contents_go_where_that_is_asked_for(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    result = await send(uploader, fake, root, contents_only=True)
    assert set(arrived(fake)) == THERE
    assert sorted(folders(fake)) == ["b", "d", "empty", "g"]
    assert "." not in {folder.path for folder in result.folders}


async def test_patterns_choose_what_goes(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    await send(uploader, fake, root, include=["*.mov"], exclude=["b/d"])
    assert set(arrived(fake)) == {"shoot/a.mov", "shoot/b/c.mov"}
    assert folders(fake) == ["shoot", "b"]


async def test_where_nothing_is_wanted_nothing_is_asked_of_the_service(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    upload = uploader.upload_folder(root, folder_id=fake.folder_id, include=["*.nothing"])
    assert await upload == FolderResult((), (), (), ())
    assert fake.requests == []
    planned, progress, completed = await events_of(upload)
    unmatched = (UnmatchedPattern("include", "*.nothing", "it matches nothing"),)
    assert planned == FolderPlanned(0, 0, 0, left_out=7, unmatched=unmatched)
    assert isinstance(progress, Progress)
    assert isinstance(completed, FolderCompleted)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX allows such names")
async def test_names_go_as_they_are(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    names = [
        "caf\u00e9.mov",
        "cafe\u0301.mov",
        "a b.mov",
        "back\\slash.mov",
        "line\nbreak.mov",
        " edge .mov ",
        "%41.mov",
    ]
    root = on_disk(plant, tmp_path / "r\u00f6ll", {name: b"x" + name.encode() for name in names})
    await send(uploader, fake, root)
    result = await send(uploader, fake, root)
    assert sorted(file.name for file in fake.files) == sorted(names)
    assert folders(fake) == ["r\u00f6ll"]
    assert (len(result.files), len(result.skipped)) == (0, len(names))


@pytest.mark.skipif(sys.platform == "win32", reason="its paths end at 260 characters")
async def test_a_folder_may_be_hundreds_of_folders_deep(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    depth = 400
    root = on_disk(plant, tmp_path / "shoot", {"a.mov": 1, "/".join("d" * depth) + "/deep.mov": 2})
    result = await send(uploader, fake, root, contents_only=True)
    assert sorted(file.name for file in result.files) == ["a.mov", "deep.mov"]
    assert folders(fake) == ["d"] * depth


async def test_folders_that_are_there_are_used(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    await send(uploader, fake, root, include=["b/d/e.mov"])
    assert folders(fake) == ["shoot", "b", "d"]
    result = await send(uploader, fake, root, conflict="create")
    assert sorted(folders(fake)) == ["b", "d", "empty", "g", "shoot"]
    assert {folder.path for folder in result.folders} == {"g", "empty"}
    assert len(fake.files) == 1 + len(THERE)


async def test_a_folder_whose_name_is_encoded_otherwise_is_used(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    await send(uploader, fake, on_disk(plant, tmp_path / "one" / "caf\u00e9", {"na\u00efve/a.mov": 3}))
    result = await send(uploader, fake, on_disk(plant, tmp_path / "two" / "cafe\u0301", {"nai\u0308ve/a.mov": 3}))
    assert len(folders(fake)) == 2
    assert (len(result.files), len(result.skipped)) == (0, 1)


async def test_a_folder_is_made_once_however_many_files_wait_for_it_and_parents_come_first(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = on_disk(plant, tmp_path / "shoot", {f"deep/er/still/{number}.mov": 10 for number in range(30)})
    fake.add_fault(slow := Fault(on="create_folder", do="hold", name="deep"))
    upload = uploader.upload_folder(root, folder_id=fake.folder_id).start()
    await reached(fake, slow)
    fake.release()
    result = await upload
    assert [folder.path for folder in result.folders] == [".", "deep", "deep/er", "deep/er/still"]
    assert folders(fake) == ["shoot", "deep", "er", "still"]
    assert len(fake.files) == 30


async def test_each_folder_is_listed_once_with_all_its_pages(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = on_disk(plant, tmp_path / "shoot", {f"b/{number:03}.mov": 1 + number for number in range(230)})
    await send(uploader, fake, root)
    fake.requests.clear()
    result = await send(uploader, fake, root)
    assert len(result.skipped) == 230
    # The destination and the root's folder a page each, `b` three.
    assert count(fake, "list_children") == len(fake.requests) == 5


# -- what is told ------------------------------------------------------------------------------------------------------


async def test_the_events_in_their_order(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    events = [event for event in await events_of(upload) if not isinstance(event, Progress)]
    size = sum(len(path) for path in THERE)
    assert events[0] == FolderPlanned(files=5, folders=5, total_bytes=size, left_out=2)
    assert [event.path for event in events[1:3] if isinstance(event, FileLeftOut)] == ["g/.hidden", "g/Thumbs.db"]
    assert events[-1] == FolderCompleted(upload.result)
    assert [event for event in events if isinstance(event, FolderCreated)] == list(upload.result.folders)
    started = [event for event in events if isinstance(event, FileStarted)]
    completed = [event for event in events if isinstance(event, FileCompleted)]
    assert {event.path: event.size for event in started} == {path: len(path) for path in THERE}
    assert {event.path for event in completed} == THERE
    assert tuple(event.file for event in completed) == upload.result.files
    for event in completed:
        assert events.index(FileStarted(event.path, event.file.size)) < events.index(event)
    made = {folder.path: index for index, folder in enumerate(events) if isinstance(folder, FolderCreated)}
    for begun in started:
        assert made[begun.path.rpartition("/")[0] or "."] < events.index(begun)
    assert len(events) == 2 + 2 + 5 + 5 + 5


async def test_one_progress_tells_all_files_and_ends_at_their_sum(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = on_disk(plant, tmp_path / "shoot", {"a.mov": 3 * PART, "b/c.mov": PART + 1, "d.mov": 5})
    await send(uploader, fake, root, include=["d.mov"])
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    told = [event for event in await events_of(upload) if isinstance(event, Progress)]
    assert [event.bytes_uploaded for event in told] == sorted(event.bytes_uploaded for event in told)
    last = upload.progress
    assert last is not None
    assert last == told[-1]
    assert (last.bytes_uploaded, last.bytes_confirmed) == (4 * PART + 6, 4 * PART + 6)
    assert (last.parts_completed, last.total_parts, last.total_bytes) == (3, 3, 4 * PART + 6)
    assert last.seconds_left == 0


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_whoever_listens_is_told_all_and_who_comes_late_the_plan_the_failures_and_the_end(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    fake.add_fault(Fault(name="c.mov", **REJECT))
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    first, second = await asyncio.gather(events_of(upload), events_of(upload))

    def facts(events: list[Any]) -> list[Any]:
        return [event for event in events if not isinstance(event, Progress)]

    assert facts(first) == facts(second)
    assert {type(event) for event in first} >= {FileStarted, FileCompleted, FolderCreated, FileFailed}
    late = await events_of(upload)
    assert [type(event) for event in late] == [FolderPlanned, FileFailed, Progress, FolderCompleted]
    with pytest.raises(FolderUploadError):
        await upload


async def test_a_listener_that_stops_reading_is_forgotten(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    async for _ in upload:
        break
    await upload
    assert [type(fact) for fact in upload._events.facts] == [FolderPlanned, FolderCompleted]
    assert len(getattr(upload._events, "_listeners")) == 0  # noqa: B009


async def test_planned_waits_for_the_walk(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    assert (await upload.planned()).files == 5
    assert list(uploader.uploads) == [upload]
    await upload
    assert not uploader.uploads
    with pytest.raises(SourceError):
        await uploader.upload_folder(root / "nowhere", folder_id=fake.folder_id).planned()


async def test_what_is_told_as_planned_is_there_and_what_cannot_be_made_is_not_planned(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    upload = uploader.upload_folder(root, folder_id="nowhere")
    with pytest.raises(NotFound):
        await upload.planned()
    assert not [event async for event in upload if isinstance(event, FolderPlanned)]
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    await upload.planned()
    assert count(fake, "create_folder") >= 1
    await upload
    assert next(type(event) for event in upload._events.facts) is FolderPlanned


async def test_an_empty_file_is_skipped_with_its_reason_and_told_with_the_others(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    on_disk((root / "zero.mov").write_bytes, b"")
    on_disk((root / "empty" / "zero.mov").write_bytes, b"")
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    events = await events_of(upload)
    result = upload.result
    assert result.skipped == tuple(FileSkipped(path, EMPTY) for path in ("zero.mov", "empty/zero.mov"))
    assert [event for event in events if isinstance(event, FileSkipped)] == list(result.skipped)
    planned = next(event for event in events if isinstance(event, FolderPlanned))
    assert planned.files == len(result.files) + 2
    assert upload.progress is not None
    assert (upload.progress.parts_completed, upload.progress.total_parts) == (planned.files, planned.files)
    assert arrived(fake) == expected(root)
    assert "empty" in folders(fake)


async def test_a_folder_of_empty_files_alone_and_what_systems_leave_is_uploaded_well(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    litter = {"zero.mov": b"", "Thumbs.db": b"1", "lost+found/": b"", "@eaDir/a.mov/x.jpg": b"1"}
    root = on_disk(plant, tmp_path / "card", litter)
    result = await send(uploader, fake, root)
    assert (result.files, result.failures, [one.path for one in result.skipped]) == ((), (), ["zero.mov"])
    assert folders(fake) == ["card"]
    with pytest.raises(SourceError, match="is empty"):
        await uploader.upload(root / "zero.mov", folder_id=fake.folder_id)


@pytest.mark.skipif(sys.platform == "win32", reason="links there need a right")
@pytest.mark.parametrize("late", [False, True], ids=["before it is looked at", "before it is opened"])
async def test_a_folder_that_becomes_a_link_while_files_are_sent_gives_nothing_away(
    fake: FakeFrameio, tmp_path: Path, late: bool
) -> None:
    """Who may write into the folder would otherwise have any file sent that we may read."""
    root = on_disk(plant, tmp_path / "shoot", {"a.mov": b"a", "b/key": b"mine", "c.mov": b"c"})
    secret = on_disk(plant, tmp_path / "secret", {"key": b"hers"})  # as long, and of the same time

    def swap() -> None:
        (root / "b").rename(tmp_path / "b")
        (root / "b").symlink_to(secret)

    async with uploader_on(fake, limits=Limits(files=1, parts=1, api_pacing=False)) as uploader:
        upload = uploader.upload_folder(root, folder_id=fake.folder_id)
        async for event in upload:
            if (isinstance(event, FileStarted) and event.path == "b/key") if late else isinstance(event, FolderPlanned):
                on_disk(swap)
                break
        with suppress(FolderUploadError):
            await upload
    there = arrived(fake)
    if late and "shoot/b/key" in there:  # it was open already
        assert there.pop("shoot/b/key") == sha256(b"mine")
    else:
        with pytest.raises(FolderUploadError) as caught:
            _ = upload.result
        failure = only_failure(caught.value.result)
        assert failure.path == "b/key"
        assert isinstance(failure.error, SourceError)  # changed, or gone for the moment between the two renames
    assert sorted(there) == ["shoot/a.mov", "shoot/c.mov"]


# -- a failing file stops no other -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(name="c.mov", **REJECT), PartRejected),
        (Fault(on="create", name="c.mov", status=422, message="is invalid", times=None), ApiError),
        (Fault(on="create", name="c.mov", status=404, times=None), NotFound),
    ],
)
async def test_a_failing_file_stops_no_other(
    fake: FakeFrameio, uploader: Uploader, root: Path, fault: Fault, kind: type[UploadError]
) -> None:
    fake.add_fault(fault)
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    with pytest.raises(FolderUploadError) as caught:
        await upload
    failure = only_failure(caught.value.result)
    assert (failure.path, type(failure.error)) == ("b/c.mov", kind)
    assert arrived(fake) == expected(root, "b/c.mov")
    assert len(caught.value.result.files) == 4
    assert (await events_of(upload))[-1] == FolderCompleted(caught.value.result)
    with pytest.raises(FolderUploadError):
        _ = upload.result


async def test_a_folder_that_is_refused_fails_what_is_in_it_and_nothing_else(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    for name in ("b", "empty"):
        fake.add_fault(Fault(on="create_folder", name=name, status=422, message="is reserved", times=None))
    result = await failed(uploader, fake, root)
    assert [failure.path for failure in result.failures] == ["b/c.mov", "b/d/e.mov", "b/d/f.mov", "empty"]
    assert all("is reserved" in str(failure.error) for failure in result.failures)
    assert set(arrived(fake)) == {"shoot/a.mov", "shoot/g/h.wav"}
    assert count(fake, "create_folder", 422) == 2, "each was asked for once"
    for failure in result.failures:
        assert failure.error.__notes__ == [f"while uploading {failure.path!r}"], "although they share the error"


async def test_a_destination_that_is_not_there_fails_the_whole(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    upload = uploader.upload_folder(root, folder_id="nowhere")
    with pytest.raises(NotFound):
        await upload
    assert isinstance((await events_of(upload))[-1], UploadFailed)


async def test_a_root_that_is_not_there_fails_the_whole(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    for path in (root / "nowhere", root / "a.mov"):
        with pytest.raises(SourceError):
            await send(uploader, fake, path)
    assert fake.requests == []


def before_it_begins(fake: FakeFrameio, name: str, act: Callable[[], object]) -> Any:
    """Do something when a folder is asked for: after the walk, and before the first file of it is opened."""
    slow = Fault(on="create_folder", name=name, do="hold")
    fake.add_fault(slow)

    async def wait() -> None:
        await reached(fake, slow)
        on_disk(act)
        fake.release()

    return wait


async def test_a_file_that_vanishes_or_changes_after_the_walk_fails_alone(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    def change() -> None:
        (root / "b" / "c.mov").unlink()
        (root / "b" / "d" / "e.mov").write_bytes(b"longer than it was before")
        (root / "g").rename(root / "moved")

    acting = asyncio.create_task(before_it_begins(fake, "shoot", change)())
    result = await failed(uploader, fake, root)
    await acting
    told = {failure.path: type(failure.error) for failure in result.failures}
    assert told == {"b/c.mov": SourceError, "b/d/e.mov": SourceChanged, "g/h.wav": SourceError}
    assert set(arrived(fake)) == {"shoot/a.mov", "shoot/b/d/f.mov"}


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_cannot_be_read_fails_alone(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    on_disk((root / "a.mov").chmod, 0)
    result = await failed(uploader, fake, root)
    assert (only_failure(result).path, len(result.files)) == ("a.mov", 4)


async def test_what_the_walk_could_not_look_at_is_among_the_failures(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    on_disk((root / "gone.mov").symlink_to, root / "nowhere")
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    with pytest.raises(FolderUploadError) as caught:
        await upload
    assert only_failure(caught.value.result).path == "gone.mov"
    planned = (await events_of(upload))[0]
    assert isinstance(planned, FolderPlanned)
    assert planned.files == 6


async def test_a_token_that_died_for_good_fails_the_rest_without_asking_again(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = on_disk(plant, tmp_path / "shoot", {f"{number:03}.mov": 10 for number in range(200)})
    fake.add_fault(Fault(on="create", first=20, status=401, times=None))
    result = await failed(uploader, fake, root)
    assert len(result.files) + len(result.failures) == 200
    assert {type(failure.error) for failure in result.failures} == {AuthenticationError}
    assert count(fake, "create", 401) <= Limits().files


async def test_a_token_callable_that_fails_once_fails_one_file_only(fake: FakeFrameio, tmp_path: Path) -> None:
    root = on_disk(plant, tmp_path / "shoot", {f"{number:02}.mov": 10 for number in range(20)})
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        if asked == 8:
            raise OSError("the identity service is away")
        return fake.token

    # Nothing is asked of the service but a create for each file, one after the other.
    settings: dict[str, Any] = {"limits": Limits(files=1, api_pacing=False), "timeouts": Timeouts(confirm=0)}
    async with Uploader(token, base_url=fake.url, account_id=fake.account_id, **settings) as uploader:
        result = await failed(uploader, fake, root, conflict="create", contents_only=True)
    assert isinstance(only_failure(result).error, AuthenticationError)
    assert len(result.files) == 19


async def test_a_fault_that_passes_fails_no_more_of_a_folder_than_those_that_waited(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    root = on_disk(plant, tmp_path / "shoot", {f"b/{number:02}.mov": 10 for number in range(20)})
    retry = RetryPolicy(attempts=2, base=0.01, cap=0.01)
    fake.add_fault(Fault(on="create_folder", name="b", status=500, times=2 * retry.attempts))
    async with uploader_on(fake, retry=retry, limits=Limits(files=4, api_pacing=False)) as uploader:
        result = await failed(uploader, fake, root)
    assert 1 <= len(result.failures) <= 8, "two rounds, and four files at once"
    assert len(result.files) + len(result.failures) == 20
    assert {failure.error.status for failure in result.failures if isinstance(failure.error, ApiError)} == {500}
    assert folders(fake) == ["shoot", "b"]


async def test_a_file_of_which_the_service_says_that_it_failed_is_told(
    fake: FakeFrameio, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing does not show it; the status of a file that later ones have overtaken is requested by itself."""
    monkeypatch.setattr(confirm_batch, "ODD", 1.0)
    async with uploader_on(fake) as uploader:
        fake.add_fault(slow := Fault(on="list_files", do="hold"))
        upload = uploader.upload_folder(root, folder_id=fake.folder_id, include=["b/d/*"]).start()
        await reached(fake, slow)
        async with asyncio.timeout(20):
            await fake.until(lambda fake: len(fake.files) == 2 and all(file.complete for file in fake.files))
        (bad,) = (file for file in fake.files if file.name == "e.mov")
        bad.status = "created"
        fake.fail(bad.id)
        bad.polls_left = 10**6
        fake.release()
        with pytest.raises(FolderUploadError) as caught:
            await upload
    failure = only_failure(caught.value.result)
    assert isinstance(failure.error, ConfirmationError)
    assert (failure.path, failure.error.file_id) == ("b/d/e.mov", bad.id)
    assert "says that the upload failed" in str(failure.error)
    assert bad.id in {file.id for file in fake.files}, "it is kept"
    assert count(fake, "status") <= 2


async def test_a_file_that_is_not_confirmed_in_time_is_told_and_kept(root: Path) -> None:
    async with (
        FakeFrameio(rate_limits=False, stitch_polls=10**6) as fake,
        uploader_on(fake, timeouts=Timeouts(confirm=0.05)) as uploader,
    ):
        result = await failed(uploader, fake, root, include=["a.mov"])
        failure = only_failure(result)
        assert isinstance(failure.error, ConfirmationError)
        assert "0.05 s" in str(failure.error)
        assert [file.id for file in fake.files] == [failure.error.file_id]


async def test_nobody_waits_for_confirmation_where_that_is_not_wanted(root: Path) -> None:
    async with (
        FakeFrameio(rate_limits=False, stitch_polls=10**6) as fake,
        uploader_on(fake, timeouts=Timeouts(confirm=0)) as uploader,
    ):
        result = await send(uploader, fake, root)
        assert {file.status for file in result.files} == {"created"}
        assert count(fake, "list_files") == count(fake, "status") == 0


async def test_files_that_cannot_be_found_in_the_listing_are_asked_for_one_by_one(
    fake: FakeFrameio, uploader: Uploader, root: Path
) -> None:
    fake.add_fault(Fault(on="list_files", status=403, times=None))
    result = await send(uploader, fake, root, include=["b/d/*"])
    assert len(result.files) == 2
    assert count(fake, "status") >= 2


async def test_confirmation_reads_no_further_than_the_oldest_that_waits(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = on_disk(plant, tmp_path / "shoot", {f"{number:03}.mov": 1 for number in range(120)})
    await send(uploader, fake, root)
    on_disk(plant, root, "new.mov")
    fake.requests.clear()
    await send(uploader, fake, root)
    assert count(fake, "list_files") <= 2, "the new one is on the first page, and there within a question or two"
    assert count(fake, "status") == 0


# -- its arguments -----------------------------------------------------------------------------------------------------


async def test_what_makes_no_sense_is_refused_at_once(fake: FakeFrameio, uploader: Uploader) -> None:
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"conflict": "overwrite"}, ValueError),
        ({"include": [""]}, ValueError),
        ({"exclude": ["../x"]}, ValueError),
        ({"root": b"shoot"}, TypeError),
        ({"root": 7}, TypeError),
    ]
    for how, kind in wrong:
        with pytest.raises(kind):
            uploader.upload_folder(**{"root": "shoot", "folder_id": fake.folder_id, **how})
    async with uploader_on(fake, account_id=None) as nobody:
        with pytest.raises(ValueError, match="account_id="):
            nobody.upload_folder("shoot", folder_id=fake.folder_id)


async def test_one_that_is_never_used_is_told(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    with pytest.warns(RuntimeWarning, match="'shoot' was never awaited"):
        uploader.upload_folder(root, folder_id=fake.folder_id)
    assert fake.requests == []


async def test_leaving_the_uploader_waits_for_it_and_raises_what_nobody_saw(
    fake: FakeFrameio, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(name="c.mov", **REJECT))
    with pytest.raises(FolderUploadError):
        async with uploader_on(fake) as uploader:
            uploader.upload_folder(root, folder_id=fake.folder_id).start()
    assert arrived(fake) == expected(root, "b/c.mov")
    assert not our_records(caplog)


async def test_a_folder_whose_answer_was_lost_is_asked_for_again_with_a_warning(
    fake: FakeFrameio, uploader: Uploader, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(on="create_folder", name="g", do="lose_answer"))
    await send(uploader, fake, root)
    assert set(arrived(fake)) == set(expected(root))
    (record,) = our_records(caplog)
    assert record.getMessage().startswith("creating folder 'g' in folder ")


async def test_a_skipped_file_tells_why(fake: FakeFrameio, uploader: Uploader, root: Path) -> None:
    await send(uploader, fake, root, include=["a.mov"])
    result = await send(uploader, fake, root, include=["a.mov"])
    assert result.skipped == (FileSkipped("a.mov", NOT_COMPARED),)
    assert [one.file and one.file.id for one in result.skipped] == [fake.files[0].id]
