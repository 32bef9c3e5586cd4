"""Test the comparison of a stored original with its source, as the service and S3 answer."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import NotFound, SourceError, Uploader, Verification
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, some_bytes, uploader_on
from tests.support.seen import operations, told

CONTENT = some_bytes(2 * PART + 9)


async def stored(fake: FakeFrameio, uploader: Uploader, content: bytes = CONTENT) -> str:
    return (await uploader.upload(content, name="a.mov", folder_id=fake.folder_id)).id


async def blocks(content: bytes) -> AsyncIterator[bytes]:
    for offset in range(0, len(content), 100_000):
        yield content[offset : offset + 100_000]


@pytest.mark.parametrize("content", [CONTENT, b"x"], ids=["three parts", "one part"])
@pytest.mark.parametrize("kind", ["bytes", "path", "file object", "stream"])
async def test_an_original_is_proved_by_the_etag_of_its_parts(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path, kind: str, content: bytes
) -> None:
    path = tmp_path / "a.mov"
    on_disk(path.write_bytes, content)
    file = await uploader.upload(path, folder_id=fake.folder_id)
    sources: dict[str, Any] = {"bytes": content, "path": path, "file object": io.BytesIO(content)}
    source = sources.get(kind) or blocks(content)
    found = await uploader.verify(file.id, source, size=len(content) if kind == "stream" else None)
    assert found == Verification(True, True, "etag", file.crc64nvme)


async def test_other_bytes_of_the_same_size_are_not_the_same(fake: FakeFrameio, uploader: Uploader) -> None:
    found = await uploader.verify(await stored(fake, uploader), CONTENT[:-1] + b"!")
    assert (found.size, found.checksum, found.proved_by, found.is_same) == (True, False, None, False)


async def test_another_size_is_told_without_reading_the_source(fake: FakeFrameio, uploader: Uploader) -> None:
    found = await uploader.verify(await stored(fake, uploader), CONTENT[1:])
    assert found == Verification(size=False, checksum=None, proved_by=None)
    assert not found.is_same


@pytest.mark.parametrize("etags", ["kms", "opaque", None])
async def test_an_etag_that_is_not_made_of_md5s_proves_the_size_alone(etags: Any) -> None:
    async with FakeFrameio(rate_limits=False, part_size=PART, etags=etags) as fake, uploader_on(fake) as uploader:
        file_id = await stored(fake, uploader)
        found = await uploader.verify(file_id, CONTENT)
        assert (found.checksum, found.proved_by) == (None, "size")


async def test_a_checksum_in_the_answer_counts_more_than_the_etag(fake: FakeFrameio, uploader: Uploader) -> None:
    file = await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    headers = {"ETag": f'"{"0" * 32}-3"', "x-amz-checksum-crc64nvme": str(file.crc64nvme)}
    fake.add_fault(Fault(on="original", status=206, body="x", headers=headers, times=2))
    assert (await uploader.verify(file.id, CONTENT)).proved_by == "crc64nvme"
    assert (await uploader.verify(file.id, CONTENT[::-1])).checksum is False


@pytest.mark.parametrize(
    "fault",
    [
        Fault(on="show", status=403),
        Fault(on="original", status=403, code="AccessDenied"),
        Fault(on="original", do="reset", times=None),
        Fault(on="original", do="garbled", times=None),
        Fault(on="original", do="answer", status=503, times=None),
        Fault(on="original", status=302, headers={"Location": "https://elsewhere.example/?token=1"}),
    ],
    ids=lambda fault: f"{fault.on} {fault.do} {fault.status}",
)
async def test_an_original_that_may_not_be_downloaded_is_compared_by_its_size(
    fake: FakeFrameio, uploader: Uploader, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    file_id = await stored(fake, uploader)
    fake.add_fault(fault)
    found = await uploader.verify(file_id, CONTENT)
    assert (found.is_same, found.proved_by) == (True, "size")
    assert fake.hits(fault) >= 1
    assert not any("X-Amz" in line or "token" in line for line in told(caplog))


async def test_a_file_that_is_not_there_is_an_error(fake: FakeFrameio, uploader: Uploader) -> None:
    with pytest.raises(NotFound):
        await uploader.verify("nothing", CONTENT)
    assert operations(fake) == ["show"]


async def test_a_missing_source_is_an_error_before_any_call(fake: FakeFrameio, uploader: Uploader) -> None:
    with pytest.raises(SourceError):
        await uploader.verify("a-file", "missing.mov")
    assert operations(fake) == []


async def test_the_link_of_an_original_gets_no_token(fake: FakeFrameio, uploader: Uploader) -> None:
    await uploader.verify(await stored(fake, uploader), CONTENT)
    (seen,) = (seen for seen in fake.requests if seen.operation == "original")
    assert "Authorization" not in seen.headers
    assert seen.headers["Range"] == "bytes=0-0"
