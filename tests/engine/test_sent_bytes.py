"""Bytes, file objects and streams are compared with what the journal knows of the file at Frame.io."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import UploadedFile, Uploader
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_disk, sha256, some_bytes, uploader_on
from tests.support.journals import rows
from tests.support.trees import count

FIRST = some_bytes(PART + 1)
OTHER = FIRST[:-1] + bytes([FIRST[-1] ^ 1])
NOT_COMPARED = ("skipped", "same name and size, content not compared")


class InOrder(io.BytesIO):
    """A file object that is read in order: its own class may return anything."""


async def stream(content: bytes) -> AsyncIterator[bytes]:
    yield content


MEMORY: list[Callable[[bytes], Any]] = [bytes, bytearray, memoryview, io.BytesIO, InOrder]


async def send(uploader: Uploader, fake: FakeFrameio, source: Any, **how: Any) -> tuple[str, str | None]:
    how = {"folder_id": fake.folder_id, "name": "take.mov", "conflict": "skip", **how}
    file: UploadedFile = await uploader.upload(source, **how)
    return file.outcome, file.reason


@pytest.mark.parametrize("made", MEMORY)
async def test_other_bytes_of_the_same_name_and_size_are_sent_and_the_same_are_not(
    fake: FakeFrameio, journal: Path, made: Callable[[bytes], Any]
) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        said = await uploader.dry_run(made(FIRST), folder_id=fake.folder_id, name="take.mov", conflict="skip")
        outcomes = [await send(uploader, fake, made(content)) for content in (FIRST, OTHER, OTHER, FIRST)]
        again = await uploader.dry_run(made(OTHER), folder_id=fake.folder_id, name="take.mov", conflict="skip")
    assert outcomes == [("uploaded", None), ("uploaded", None), *[("skipped", "same content")] * 2]
    assert (said.action, again.action, again.file_id) == ("send", "skip", fake.files[1].id)
    assert [file.sha256 for file in fake.files] == [sha256(FIRST), sha256(OTHER)]
    assert count(fake, "original") == 0


async def test_bytes_are_compared_with_a_file_that_was_sent_by_its_path_and_the_reverse(
    fake: FakeFrameio, tmp_path: Path, journal: Path
) -> None:
    path = tmp_path / "take.mov"
    async with uploader_on(fake, journal=journal) as uploader:
        on_disk(path.write_bytes, FIRST)
        outcomes = [await send(uploader, fake, source) for source in (path, FIRST, OTHER)]
        on_disk(path.write_bytes, OTHER)
        outcomes.append(await send(uploader, fake, path))
    assert outcomes == [
        ("uploaded", None),
        ("skipped", "same content"),
        ("uploaded", None),
        ("skipped", "same content"),
    ]


async def test_without_a_journal_bytes_are_compared_by_name_and_size(fake: FakeFrameio, uploader: Uploader) -> None:
    assert [await send(uploader, fake, content) for content in (FIRST, OTHER)] == [("uploaded", None), NOT_COMPARED]


async def test_a_stream_is_remembered_and_cannot_be_compared_itself(fake: FakeFrameio, journal: Path) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        outcomes = [
            await send(uploader, fake, stream(FIRST), size=len(FIRST)),
            await send(uploader, fake, OTHER, conflict="version-changed"),
            await send(uploader, fake, stream(OTHER), size=len(OTHER)),
        ]
    assert outcomes == [("uploaded", None), ("uploaded", None), NOT_COMPARED]


async def test_a_journal_that_does_not_remember_does_not_fail_the_upload(fake: FakeFrameio, journal: Path) -> None:
    async with uploader_on(fake, journal=journal) as uploader:
        rows(journal, "CREATE TRIGGER never BEFORE INSERT ON sent BEGIN SELECT raise(ABORT, 'no'); END")
        assert await send(uploader, fake, FIRST) == ("uploaded", None)
        assert await send(uploader, fake, OTHER) == NOT_COMPARED
    assert rows(journal, "SELECT * FROM sent") == []


async def test_bytes_without_a_checksum_are_not_remembered(fake: FakeFrameio, journal: Path) -> None:
    async with uploader_on(fake, journal=journal, checksum="off") as uploader:
        assert await send(uploader, fake, FIRST) == ("uploaded", None)
    assert rows(journal, "SELECT * FROM sent") == []
