"""A dry run creates nothing, and the upload after it does what it said."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest

from aioframeio_upload import (
    ApiError,
    DryRunFile,
    DryRunFolder,
    FileCompleted,
    FolderUploadError,
    NotFound,
    SourceError,
    Timeouts,
    Uploader,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, some_bytes, uploader_on
from tests.support.journals import rows, stopped_at
from tests.support.trees import events_of, folders
from tests.support.trees import plant as plant_blocking

Conflict = Literal["create", "skip", "version", "version-changed"]
CONFLICTS: tuple[Conflict, ...] = ("create", "skip", "version", "version-changed")
SHOOT = "a.mov b/c.mov b/d.tmp g/h.wav empty/"
READS = {"GET", "HEAD"}


@pytest.fixture
async def uploader(fake: FakeFrameio) -> AsyncIterator[Uploader]:
    """Return an entered Uploader that waits for no confirmation: the fake has a file as soon as it has its parts."""
    async with uploader_on(fake, timeouts=Timeouts(confirm=0)) as uploader:
        yield uploader


def plant(root: Path, files: dict[str, bytes | int] | str) -> Path:
    """Create a tree of files, whose mtime is long ago."""
    return on_disk(plant_blocking, root, files)


def writes(fake: FakeFrameio) -> list[str]:
    """Return the requests that changed something."""
    return [f"{seen.method} {seen.path}" for seen in fake.requests if seen.method not in READS]


async def agreed(uploader: Uploader, fake: FakeFrameio, root: Path, **how: Any) -> DryRunFolder:
    """Run dry, check that nothing was changed, upload, and check that it does what the dry run said."""
    known = len(writes(fake)), len(fake.files), folders(fake)
    said = await uploader.dry_run_folder(root, folder_id=fake.folder_id, **how)
    assert (len(writes(fake)), len(fake.files), folders(fake)) == known
    upload = uploader.upload_folder(root, folder_id=fake.folder_id, **how)
    events = await events_of(upload)
    sent = {event.path for event in events if isinstance(event, FileCompleted)}
    try:
        result = await upload
    except FolderUploadError as error:
        result = error.result
    assert {file.path for file in said.files if file.action != "skip"} == sent
    assert {(file.path, file.reason) for file in said.files if file.action == "skip"} == {
        (one.path, one.reason) for one in result.skipped
    }
    assert {one.path for one in said.failures} == {one.path for one in result.failures}
    assert sorted(said.folders) == sorted(folder.path for folder in result.folders)
    assert said.bytes_to_send == sum(file.size for file in result.files)
    return said


@pytest.mark.parametrize("conflict", CONFLICTS)
async def test_a_folder_is_sent_as_its_dry_run_said(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path, conflict: Conflict
) -> None:
    root = plant(tmp_path / "shoot", SHOOT)
    plant(root, {"zero.mov": 0})
    first = await agreed(uploader, fake, root, conflict=conflict, exclude=["*.tmp", "*.bak"])
    assert [one.to_dict()["path"] for one in first.left_out] == ["b/d.tmp"]
    assert (first.left_out_count, [one.pattern for one in first.unmatched]) == (1, ["*.bak"])
    assert first.folders == (".", "b", "empty", "g")
    assert [(file.path, file.action) for file in first.files] == [
        ("a.mov", "send"),
        ("b/c.mov", "send"),
        ("g/h.wav", "send"),
        ("zero.mov", "skip"),
    ]
    plant(root, {"b/c.mov": b"another content", "new/x.mov": b"new"})
    second = await agreed(uploader, fake, root, conflict=conflict)
    assert second.folders == ("new",)
    actions = {file.path: file.action for file in second.files}
    assert (actions["b/c.mov"], actions["new/x.mov"], actions["b/d.tmp"]) == ("send", "send", "send")
    assert actions["a.mov"] == ("skip" if conflict in ("skip", "version-changed") else "send")
    stacked = {file.path for file in second.files if file.stacked_on is not None}
    assert (
        stacked
        == {
            "create": set(),
            "skip": set(),
            "version": {"a.mov", "b/c.mov", "g/h.wav"},
            "version-changed": {"b/c.mov"},
        }[conflict]
    )


@pytest.mark.parametrize("how", [{"include": ["*.mov"]}, {"include": ["b"]}, {"contents_only": True}], ids=str)
async def test_patterns_and_targets_count_in_a_dry_run_too(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path, how: dict[str, Any]
) -> None:
    await agreed(uploader, fake, plant(tmp_path / "shoot", SHOOT), **how)


async def test_with_a_journal_contents_are_compared_as_for_the_upload(
    fake: FakeFrameio, tmp_path: Path, journal: Path
) -> None:
    cards = [plant(tmp_path / card / "shoot", {"C0001.MP4": bytes([index]) * 9}) for index, card in enumerate("ab")]
    async with uploader_on(fake, journal=journal) as uploader:
        for root in (*cards, *cards):
            await agreed(uploader, fake, root)
    assert len(fake.files) == 2


async def test_with_compare_content_a_dry_run_records_nothing(fake: FakeFrameio, tmp_path: Path, journal: Path) -> None:
    root = plant(tmp_path / "shoot", {"a.mov": b"frames"})
    async with uploader_on(fake) as uploader:
        await uploader.upload_folder(root, folder_id=fake.folder_id, contents_only=True)
    async with uploader_on(fake, journal=journal) as uploader:
        said = await uploader.dry_run_folder(root, folder_id=fake.folder_id, contents_only=True, compare="content")
        one = await said_of(uploader, fake, root / "a.mov", conflict="skip", compare="content")
        assert [(file.action, file.reason) for file in (*said.files, one)] == [
            ("skip", "same content"),
            ("skip", "same content"),
        ]
    assert rows(journal, "SELECT * FROM sent") == []


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="everything can be read")
async def test_a_file_that_cannot_be_read_is_a_failure_of_the_dry_run(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = plant(tmp_path / "shoot", SHOOT)
    on_disk(os.chmod, root / "a.mov", 0)
    assert [one.path for one in (await agreed(uploader, fake, root)).failures] == ["a.mov"]


async def test_a_dangling_link_is_a_failure_of_the_dry_run(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = plant(tmp_path / "shoot", SHOOT)
    on_disk(os.symlink, "nowhere", root / "gone.mov")
    said = await agreed(uploader, fake, root)
    assert [one.path for one in said.failures] == ["gone.mov"]


async def said_of(uploader: Uploader, fake: FakeFrameio, path: Path, **how: Any) -> DryRunFile:
    before = len(writes(fake))
    said = await uploader.dry_run(path, folder_id=fake.folder_id, **how)
    assert len(writes(fake)) == before
    return said


@pytest.mark.parametrize("conflict", CONFLICTS)
async def test_a_file_is_sent_as_its_dry_run_said(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path, conflict: Conflict
) -> None:
    path = plant(tmp_path, {"take.mov": b"first"}) / "take.mov"
    said = await said_of(uploader, fake, path, conflict=conflict)
    assert said == DryRunFile(path="take.mov", size=5, action="send", bytes_to_send=5)
    first = await uploader.upload(path, folder_id=fake.folder_id, conflict=conflict)
    again = await said_of(uploader, fake, path, conflict=conflict)
    outcome = (await uploader.upload(path, folder_id=fake.folder_id, conflict=conflict)).outcome
    assert (again.action == "skip") == (outcome == "skipped")
    assert again.stacked_on == (first.id if conflict == "version" else None)
    assert (again.file_id, again.reason is None) == ((None, True) if outcome == "uploaded" else (first.id, False))


async def test_what_an_earlier_run_has_left_is_resumed_or_begins_anew_as_its_dry_run_said(
    fake: FakeFrameio, tmp_path: Path, journal: Path
) -> None:
    path = plant(tmp_path, {"take.mov": some_bytes(3 * PART)}) / "take.mov"
    stopped = await stopped_at(fake, path, journal, 3)
    async with uploader_on(fake, journal=journal) as uploader:
        said = await said_of(uploader, fake, path, conflict="skip")
        assert (said.action, said.bytes_to_send, said.file_id) == ("resume", PART, stopped.file_id)
        plant(tmp_path, {"take.mov": some_bytes(2 * PART)})
        changed = await said_of(uploader, fake, path)
        assert (changed.action, changed.bytes_to_send) == ("send", 2 * PART)
        assert changed.reason == "the source has changed since"
        plant(tmp_path, {"take.mov": some_bytes(3 * PART)})
        assert [one.bytes_confirmed for one in await uploader.pending()] == [2 * PART]
        assert (await uploader.upload(path, folder_id=fake.folder_id, conflict="skip")).outcome == "resumed"


async def test_what_only_lacks_its_confirmation_needs_no_byte_and_no_source(
    fake: FakeFrameio, tmp_path: Path, journal: Path
) -> None:
    path = plant(tmp_path, {"take.mov": b"all of it"}) / "take.mov"
    fake.add_fault(Fault(on="status", status=403))
    async with uploader_on(fake, journal=journal) as uploader:
        with pytest.raises(ApiError):
            await uploader.upload(path, folder_id=fake.folder_id)
        there = await said_of(uploader, fake, path)
        assert (there.action, there.bytes_to_send, there.size) == ("confirm", 0, 9)
        on_disk(path.unlink)
        assert await said_of(uploader, fake, path) == there
        assert (await uploader.upload(path, folder_id=fake.folder_id)).outcome == "resumed"


async def pieces() -> AsyncIterator[bytes]:
    yield b"never read"
    raise AssertionError("a dry run reads nothing of a stream")


async def test_nothing_of_a_stream_is_read(fake: FakeFrameio, uploader: Uploader) -> None:
    said = await uploader.dry_run(pieces(), folder_id=fake.folder_id, name="a", size=10, conflict="skip")
    assert (said.path, said.action, said.bytes_to_send) == ("a", "send", 10)


async def test_a_folder_that_does_not_exist_yet_is_empty(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    root = plant(tmp_path / "shoot", SHOOT)
    await uploader.upload_folder(root, folder_id=fake.folder_id)
    before = len(writes(fake))
    assert await uploader.missing_folders("Fake project") == ()
    assert await uploader.missing_folders("Fake project/shoot/b") == ()
    assert await uploader.missing_folders("Fake project/shoot/x/y") == (
        "Fake project/shoot/x",
        "Fake project/shoot/x/y",
    )
    with pytest.raises(NotFound):
        await uploader.missing_folders("Nobody's project/x")
    with pytest.raises(ValueError, match="empty"):
        await uploader.missing_folders("/")
    for conflict in CONFLICTS:
        said = await uploader.dry_run_folder(root, folder_id=None, conflict=conflict)
        assert {file.action for file in said.files} == {"send"}
        assert said.folders == (".", "b", "empty", "g")
        one = await uploader.dry_run(root / "a.mov", folder_id=None, conflict=conflict)
        assert one == DryRunFile(path="a.mov", size=5, action="send", bytes_to_send=5)
    assert len(writes(fake)) == before


async def test_what_the_upload_refuses_its_dry_run_refuses_too(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    wrong: Any = "replace"
    with pytest.raises(SourceError, match="No such file"):
        await uploader.dry_run(tmp_path / "nowhere.mov", folder_id=fake.folder_id)
    with pytest.raises(SourceError, match="as declared"):
        await uploader.dry_run(b"data", name="a", size=1, folder_id=fake.folder_id)
    with pytest.raises(SourceError):
        await uploader.dry_run_folder(tmp_path / "nowhere", folder_id=fake.folder_id)
    with pytest.raises(ValueError, match="conflict"):
        await uploader.dry_run(b"data", name="a", folder_id=fake.folder_id, conflict=wrong)
    with pytest.raises(ValueError, match="conflict"):
        await uploader.dry_run_folder(tmp_path, folder_id=fake.folder_id, conflict=wrong)
    assert fake.requests == []
    with pytest.raises(NotFound):
        await uploader.dry_run_folder(plant(tmp_path / "shoot", SHOOT), folder_id="nowhere")


async def test_a_project_stands_for_its_root_folder_in_a_dry_run_too(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = plant(tmp_path / "shoot", SHOOT)
    await uploader.upload_folder(root, folder_id=fake.folder_id)
    link = f"https://next.frame.io/project/{fake.project_id}"
    said = await uploader.dry_run_folder(root, folder_id=link)
    assert {file.action for file in said.files} == {"skip"}
    assert said.bytes_to_send == 0
