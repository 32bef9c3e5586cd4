"""With `compare="content"`, a file is compared with the original at Frame.io, or with what the journal knows of it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    DryRunFile,
    FileCompleted,
    FileSkipped,
    FolderUploadError,
    SourceChanged,
    UploadedFile,
    Uploader,
)
from aioframeio_upload._engine.content import read_content
from aioframeio_upload._io.sources import open_source
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, reached, sha256, some_bytes, uploader_on
from tests.engine.test_conflict import stacks
from tests.support.seen import operations, told
from tests.support.trees import count, plant
from tests.support.watching import Seen, SetClock, watched

CONTENT = some_bytes(PART + 1)
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
NOT_COMPARED = "same name and size, content not compared: "

VERBS = pytest.mark.parametrize("verb", ["upload", "upload_folder"])
LATER = 4 * 10**18
"""In 2096: a time by which no file at Frame.io is newer."""


@pytest.fixture
def take(tmp_path: Path) -> Path:
    return plant(tmp_path / "card", {"take.mov": CONTENT}) / "take.mov"


async def store(fake: FakeFrameio, uploader: Uploader, content: bytes = CONTENT, name: str = "take.mov") -> str:
    """Put a file there that no journal knows."""
    return (await uploader.upload(content, name=name, folder_id=fake.folder_id)).id


async def send(uploader: Uploader, fake: FakeFrameio, verb: str, path: Path, **how: Any) -> UploadedFile:
    """Upload a file by itself or with its folder, and return what became of it."""
    how = {"folder_id": fake.folder_id, "conflict": "skip", "compare": "content", **how}
    if verb == "upload":
        return await uploader.upload(path, **how)
    result = await uploader.upload_folder(path.parent, contents_only=True, **how)
    (file,) = [*result.files, *(one.file for one in result.skipped if one.file is not None)]
    return file


def told_of(file: UploadedFile) -> tuple[str, str | None]:
    return file.outcome, file.reason


# -- the same, or not --------------------------------------------------------------------------------------------------


@VERBS
@pytest.mark.parametrize("content", [CONTENT, b"x"], ids=["two parts", "one part"])
async def test_the_same_content_is_skipped_whatever_its_time(
    fake: FakeFrameio, uploader: Uploader, take: Path, verb: str, content: bytes
) -> None:
    file_id = await store(fake, uploader, content)
    on_disk(take.write_bytes, content)  # newer than the file that is there
    file = await send(uploader, fake, verb, take)
    assert (file.id, *told_of(file)) == (file_id, "skipped", "same content")
    assert count(fake, "create") == 1


@VERBS
async def test_other_content_of_the_same_size_is_sent(
    fake: FakeFrameio, uploader: Uploader, take: Path, verb: str
) -> None:
    await store(fake, uploader, OTHER)
    assert told_of(await send(uploader, fake, verb, take)) == ("uploaded", None)
    assert [file.sha256 for file in fake.files] == [sha256(OTHER), sha256(CONTENT)]


@VERBS
async def test_version_changed_stacks_other_content_and_skips_the_same(
    fake: FakeFrameio, uploader: Uploader, take: Path, verb: str
) -> None:
    await store(fake, uploader, OTHER)
    outcomes = [told_of(await send(uploader, fake, verb, take, conflict="version-changed")) for _ in range(2)]
    assert outcomes == [("uploaded", None), ("skipped", "same content")]
    assert stacks(fake) == [[file.id for file in fake.files]]


@VERBS
async def test_every_file_of_that_name_and_size_is_compared(
    fake: FakeFrameio, uploader: Uploader, take: Path, verb: str
) -> None:
    for content in (OTHER, OTHER[::-1], CONTENT):
        await store(fake, uploader, content)
    assert told_of(await send(uploader, fake, verb, take)) == ("skipped", "same content")
    assert count(fake, "original") == 3


@VERBS
async def test_what_was_compared_is_remembered_so_that_nothing_is_asked_again(
    fake: FakeFrameio, uploader: Uploader, take: Path, verb: str, journal: Path
) -> None:
    await store(fake, uploader)
    async with uploader_on(fake, journal=journal) as recording:
        assert told_of(await send(recording, fake, verb, take)) == ("skipped", "same content")
    fake.requests.clear()
    for compare, reason in (("content", "same content"), ("auto", "unchanged since it was compared")):
        async with uploader_on(fake, journal=journal) as recording:
            assert told_of(await send(recording, fake, verb, take, compare=compare)) == ("skipped", reason)
    assert set(operations(fake)) == {"list_children"}
    on_disk(take.write_bytes, OTHER)
    async with uploader_on(fake, journal=journal) as recording:
        assert (await send(recording, fake, verb, take, compare="auto")).outcome == "uploaded"


@VERBS
async def test_what_the_journal_knows_is_not_asked_for(
    fake: FakeFrameio, take: Path, verb: str, journal: Path, tmp_path: Path
) -> None:
    copy = on_disk(plant, tmp_path / "copy", {"take.mov": CONTENT}) / "take.mov"
    async with uploader_on(fake, journal=journal) as recording:
        assert (await send(recording, fake, verb, take)).outcome == "uploaded"
        found = [told_of(await send(recording, fake, verb, path)) for path in (take, copy, copy, take)]
        quick = [told_of(await send(recording, fake, verb, path, compare="auto")) for path in (copy, take)]
    assert found == [("skipped", "same content")] * 4
    assert quick == [("skipped", "unchanged since it was compared"), ("skipped", "unchanged since it was sent")]
    assert count(fake, "show") == count(fake, "original") == 0


@VERBS
async def test_a_file_with_its_old_size_and_time_and_other_content_is_sent(
    fake: FakeFrameio, take: Path, verb: str, journal: Path
) -> None:
    async with uploader_on(fake, journal=journal) as recording:
        await send(recording, fake, verb, take)
        before = on_disk(take.stat)
        on_disk(take.write_bytes, OTHER)
        on_disk(os.utime, take, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert told_of(await send(recording, fake, verb, take)) == ("uploaded", None)
    assert [file.sha256 for file in fake.files] == [sha256(CONTENT), sha256(OTHER)]


@VERBS
async def test_a_file_that_was_only_touched_is_not_sent_again(
    fake: FakeFrameio, take: Path, verb: str, journal: Path
) -> None:
    """A copy of a card has new times, too. Its content is what the journal knows of the file at Frame.io."""
    async with uploader_on(fake, journal=journal) as recording:
        await send(recording, fake, verb, take, compare="auto")
        later = time.time_ns() + 10**12
        on_disk(os.utime, take, ns=(later, later))
        assert told_of(await send(recording, fake, verb, take, compare="auto")) == ("skipped", "same content")
    assert len(fake.files) == 1


@VERBS
async def test_a_file_that_an_earlier_run_began_is_resumed_and_not_compared(
    fake: FakeFrameio, take: Path, verb: str, journal: Path
) -> None:
    fake.add_fault(Fault(on="status", status=403, times=1))
    async with uploader_on(fake, journal=journal) as recording:
        with pytest.raises(Exception, match="403"):
            await recording.upload(take, folder_id=fake.folder_id)
    async with asyncio.timeout(10):
        await fake.until(lambda fake: fake.files[0].complete)
    async with uploader_on(fake, journal=journal) as recording:
        assert (await send(recording, fake, verb, take)).outcome == "resumed"
    assert (count(fake, "create"), count(fake, "original")) == (1, 0)


# -- what cannot be compared is sent -----------------------------------------------------------------------------------


def shown(**fields: Any) -> Fault:
    """Return a fault by which the service shows a file with these fields."""
    return Fault(on="show", status=200, body=json.dumps({"data": {"file_size": len(CONTENT), **fields}}))


FAULTS = {
    "no etag": (Fault(on="original", do="no_etag"), "S3 states no checksum"),
    "kms": (Fault(on="original", do="kms"), "S3 states no checksum"),
    "odd etag": (Fault(on="original", do="odd_etag"), "S3 states no checksum"),
    "expired": (Fault(on="original", do="expire"), "could not be asked for: S3 answered 403"),
    "forbidden": (Fault(on="original", status=403, code="AccessDenied"), "could not be asked for: S3 answered 403"),
    "redirected": (Fault(on="original", do="redirect"), "could not be asked for: S3 answered 307"),
    "down": (Fault(on="original", status=503, times=None), "could not be asked for: S3 answered 503"),
    "reset": (Fault(on="original", do="reset", times=None), "could not be asked for: the connection broke"),
    "no link": (shown(), "no link"),
    "bad link": (shown(media_links={"original": {"download_url": "http://s3.example/?X-Amz-1"}}), "not https"),
    "no permission": (Fault(on="show", status=403, times=1), "may not be downloaded"),
    "hidden": (Fault(on="show", status=403, times=2), "may not be read"),
}


@pytest.mark.parametrize(("verb", "name"), [*(("upload", name) for name in FAULTS), ("upload_folder", "kms")])
async def test_what_cannot_be_compared_is_sent_and_the_result_says_why(
    fake: FakeFrameio, uploader: Uploader, take: Path, verb: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store(fake, uploader)
    fault, why = FAULTS[name]
    fake.add_fault(fault)
    caplog.set_level("DEBUG", "aioframeio_upload")
    file = await send(uploader, fake, verb, take)
    assert file.outcome == "uploaded"
    assert file.reason is not None
    assert file.reason.startswith(NOT_COMPARED)
    assert why in file.reason
    assert fake.hits(fault) >= 1
    assert [file.sha256 for file in fake.files] == [sha256(CONTENT)] * 2
    lines = [*told(caplog), file.reason, repr(file)]
    assert not any("X-Amz" in line or fake.token in line for line in lines)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(on="original", do="wrong_etag"),
        Fault(on="original", status=206, body="x", headers={"Content-Range": "bytes 0-0/7", "ETag": '"x"'}),
        Fault(on="show", status=404),
        shown(file_size=7),
    ],
    ids=["another etag", "another size in S3", "deleted meanwhile", "another size"],
)
async def test_an_original_that_proves_to_be_another_is_none_that_could_not_be_compared(
    fake: FakeFrameio, uploader: Uploader, take: Path, fault: Fault
) -> None:
    await store(fake, uploader)
    fake.add_fault(fault)
    assert told_of(await send(uploader, fake, "upload", take)) == ("uploaded", None)
    assert fake.hits(fault) == 1


@pytest.mark.parametrize("fault", [Fault(on="original", do="reset"), Fault(on="original", status=503)], ids=str)
async def test_a_question_that_fails_once_is_asked_again(
    fake: FakeFrameio, uploader: Uploader, take: Path, fault: Fault
) -> None:
    await store(fake, uploader)
    fake.add_fault(fault)
    assert told_of(await send(uploader, fake, "upload", take)) == ("skipped", "same content")
    assert count(fake, "original") == 2


async def test_a_server_that_ignores_the_range_is_answer_enough(
    fake: FakeFrameio, uploader: Uploader, take: Path
) -> None:
    await store(fake, uploader, b"x")
    on_disk(take.write_bytes, b"x")
    etag = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    fake.add_fault(Fault(on="original", status=200, body="x" * 100_000, headers={"ETag": f'"{etag}"'}))
    assert told_of(await send(uploader, fake, "upload", take)) == ("skipped", "same content")


async def test_a_stated_crc64nvme_counts_before_the_etag(fake: FakeFrameio, uploader: Uploader, take: Path) -> None:
    stored = await uploader.upload(CONTENT, name="take.mov", folder_id=fake.folder_id)
    headers = {"ETag": f'"{"0" * 32}-2"', "x-amz-checksum-crc64nvme": str(stored.crc64nvme)}
    fake.add_fault(Fault(on="original", status=206, body="x", headers=headers, times=2))
    assert told_of(await send(uploader, fake, "upload", take)) == ("skipped", "same content")
    on_disk(take.write_bytes, OTHER)
    assert told_of(await send(uploader, fake, "upload", take)) == ("uploaded", None)


@VERBS
async def test_nothing_is_stacked_on_a_file_that_was_deleted_meanwhile(
    fake: FakeFrameio, uploader: Uploader, take: Path, verb: str
) -> None:
    kept = await store(fake, uploader, OTHER[::-1])
    gone = await store(fake, uploader, OTHER)
    hold = Fault(on="original", do="hold")
    fake.add_fault(hold)
    task = asyncio.create_task(send(uploader, fake, verb, take, conflict="version-changed"))
    await reached(fake, hold)
    await uploader.delete(gone)
    fake.release(hold)
    file = await task
    assert stacks(fake) == [[kept, file.id]]


# -- sources of every kind ---------------------------------------------------------------------------------------------


async def pieces() -> AsyncIterator[bytes]:
    for offset in range(0, len(CONTENT), 100_000):
        yield CONTENT[offset : offset + 100_000]


class Slow(io.BytesIO):
    """A file object that is read in order: its own class may return anything."""

    taken = 0
    """Bytes that were read."""

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.taken += len(piece)
        return piece


@pytest.mark.parametrize("content", [CONTENT, OTHER], ids=["same", "other"])
@pytest.mark.parametrize("kind", ["bytes", "file object", "slow file object"])
async def test_what_can_be_read_twice_is_compared_and_then_sent_whole(
    fake: FakeFrameio, uploader: Uploader, kind: str, content: bytes
) -> None:
    await store(fake, uploader)
    kinds: dict[str, Any] = {"bytes": bytes, "file object": io.BytesIO, "slow file object": Slow}
    source: Any = content if kind == "bytes" else kinds[kind](b"head" + content)
    if kind != "bytes":
        source.seek(4)
    how: Any = {"name": "take.mov", "folder_id": fake.folder_id, "conflict": "skip", "compare": "content"}
    file = await uploader.upload(source, **how)
    assert told_of(file) == (("skipped", "same content") if content == CONTENT else ("uploaded", None))
    assert fake.files[-1].sha256 == sha256(content)


async def test_what_cannot_be_compared_is_not_read_for_that(fake: FakeFrameio, uploader: Uploader) -> None:
    await store(fake, uploader)
    fake.add_fault(Fault(on="original", do="no_etag"))
    source = Slow(CONTENT)
    await uploader.upload(source, name="take.mov", folder_id=fake.folder_id, conflict="skip", compare="content")
    assert source.taken == len(CONTENT)


async def test_a_stream_cannot_be_compared_and_is_sent(fake: FakeFrameio, uploader: Uploader) -> None:
    await store(fake, uploader)
    how: Any = {"name": "take.mov", "folder_id": fake.folder_id, "conflict": "skip", "compare": "content"}
    file = await uploader.upload(pieces(), size=len(CONTENT), **how)
    assert told_of(file) == ("uploaded", NOT_COMPARED + "a stream can be read only once")
    assert count(fake, "original") == 0
    assert [file.sha256 for file in fake.files] == [sha256(CONTENT)] * 2


async def test_a_content_is_read_in_pieces_that_bound_what_is_spooled(
    uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioframeio_upload._engine.content.PIECE", 300_000)
    resources = uploader._opened()[0]
    found = await open_source(Slow(CONTENT), None, resources.executor, resources.spool)
    content = await read_content(found, 2, resources)
    found.close()
    half = -(-len(CONTENT) // 2)
    assert content.md5s == tuple(
        hashlib.md5(part, usedforsecurity=False).hexdigest() for part in (CONTENT[:half], CONTENT[half:])
    )


# -- changes and cancellation ------------------------------------------------------------------------------------------


async def test_a_file_that_changes_while_it_is_compared_is_not_skipped(
    fake: FakeFrameio, uploader: Uploader, take: Path
) -> None:
    await store(fake, uploader)
    hold = Fault(on="original", do="hold")
    fake.add_fault(hold)
    upload = uploader.upload(take, folder_id=fake.folder_id, conflict="skip", compare="content").start()
    await reached(fake, hold)
    on_disk(take.write_bytes, OTHER)
    fake.release(hold)
    with pytest.raises(SourceChanged):
        await upload
    assert (len(fake.files), count(fake, "create")) == (1, 1)


async def test_a_file_of_a_folder_that_changes_while_it_is_compared_is_not_skipped_as_it_was(
    fake: FakeFrameio, uploader: Uploader, take: Path
) -> None:
    await store(fake, uploader)
    hold = Fault(on="original", do="hold")
    fake.add_fault(hold)
    how: Any = {"folder_id": fake.folder_id, "contents_only": True, "compare": "content"}
    upload = uploader.upload_folder(take.parent, **how).start()
    await reached(fake, hold)
    on_disk(take.write_bytes, OTHER)
    fake.release(hold)
    with pytest.raises(FolderUploadError) as caught:
        await upload
    assert [type(one.error) for one in caught.value.result.failures] == [SourceChanged]


@VERBS
async def test_a_comparison_can_be_cancelled(fake: FakeFrameio, uploader: Uploader, take: Path, verb: str) -> None:
    await store(fake, uploader)
    hold = Fault(on="original", do="hold")
    fake.add_fault(hold)
    task = asyncio.create_task(send(uploader, fake, verb, take))
    await reached(fake, hold)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (count(fake, "create"), fake.deleted) == (1, ())
    fake.release(hold)


# -- a watch -----------------------------------------------------------------------------------------------------------


async def test_a_watch_compares_contents_whatever_the_times(fake: FakeFrameio, uploader: Uploader, take: Path) -> None:
    """Without a journal, and although the file is newer than what is there; then it is written anew."""
    await store(fake, uploader)
    clock = SetClock()
    on_disk(os.utime, take, ns=(LATER, LATER))
    async with watched(uploader, fake, take.parent, clock, compare="content") as watch:
        seen = Seen(watch)
        await clock.advance(11)
        await seen.until(FileSkipped, 1)
        on_disk(os.utime, take, ns=(LATER + 1, LATER + 1))
        await clock.advance(20)
        await seen.until(FileSkipped, 2)
        on_disk(take.write_bytes, OTHER)
        await clock.advance(20)
        await seen.until(FileCompleted, 1)
    assert [one.file.reason for one in seen.of(FileSkipped)] == ["same content"] * 2
    assert [file.sha256 for file in fake.files] == [sha256(CONTENT), sha256(OTHER)]


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conflict", ["create", "version"])
async def test_a_comparison_that_would_have_no_effect_is_refused(uploader: Uploader, conflict: Any) -> None:
    for verb in (uploader.upload, uploader.upload_folder):
        with pytest.raises(ValueError, match="nothing is compared"):
            verb("take.mov", folder_id="f", conflict=conflict, compare="content")
        verb("take.mov", folder_id="f", conflict=conflict).cancel()
    unknown: Any = "size"
    with pytest.raises(ValueError, match="'auto', 'content'"):
        uploader.upload("take.mov", folder_id="f", conflict="skip", compare=unknown)


@VERBS
async def test_a_dry_run_compares_as_the_upload_does(
    fake: FakeFrameio, uploader: Uploader, take: Path, verb: str, journal: Path
) -> None:
    file_id = await store(fake, uploader)
    how: Any = {"folder_id": fake.folder_id, "conflict": "skip", "compare": "content"}

    async def foreseen(recording: Uploader) -> DryRunFile:
        if verb == "upload":
            return await recording.dry_run(take, **how)
        (file,) = (await recording.dry_run_folder(take.parent, contents_only=True, **how)).files
        return file

    async with uploader_on(fake, journal=journal) as recording:
        fake.add_fault(Fault(on="original", do="no_etag"))
        file = await foreseen(recording)
        assert file.action == "send"
        assert file.reason is not None
        assert file.reason.startswith(NOT_COMPARED)
        file = await foreseen(recording)
        assert (file.action, file.file_id) == ("skip", file_id)
        assert file.reason is not None
        assert file.reason.endswith("same content")
        assert told_of(await send(recording, fake, verb, take)) == ("skipped", "same content")
    assert count(fake, "original") == 3
