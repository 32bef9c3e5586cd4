"""The checksum of a stored original, as a real S3 server states it, decides whether a file is sent."""

from __future__ import annotations

import json
import re
from random import Random

import anyio.to_thread
import pytest

from aioframeio_upload import UploadedFile
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import uploader_on

from .presign import S3Server

CONTENT = Random(5).randbytes(700_001)
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


async def compared(server: S3Server, parts: list[bytes], age: float = 0.0) -> UploadedFile:
    """Upload CONTENT where a file of its name and size is there, whose original the server has."""
    link = await anyio.to_thread.run_sync(lambda: server.store_original(parts, age=age))
    async with FakeFrameio(rate_limits=False) as fake, uploader_on(fake) as uploader:
        await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        shown = {"file_size": len(CONTENT), "media_links": {"original": {"download_url": link}}}
        fake.add_fault(Fault(on="show", status=200, body=json.dumps({"data": shown})))
        return await uploader.upload(
            CONTENT, name="a.mov", folder_id=fake.folder_id, conflict="skip", compare="content"
        )


def cut(content: bytes, parts: int) -> list[bytes]:
    length = -(-len(content) // parts)
    return [content[start : start + length] for start in range(0, len(content), length)]


@pytest.mark.parametrize("parts", [1, 3])
async def test_the_etag_of_the_same_content_is_that_of_the_source(s3_server: S3Server, parts: int) -> None:
    file = await compared(s3_server, cut(CONTENT, parts))
    assert (file.outcome, file.reason) == ("skipped", "same content")


@pytest.mark.parametrize("parts", [1, 3])
async def test_the_etag_of_other_content_is_not(s3_server: S3Server, parts: int) -> None:
    file = await compared(s3_server, cut(OTHER, parts))
    assert (file.outcome, file.reason) == ("uploaded", None)


async def test_a_link_that_has_expired_proves_nothing(s3_server: S3Server) -> None:
    file = await compared(s3_server, [CONTENT], age=7200)
    assert file.outcome == "uploaded"
    assert file.reason is not None
    # rclone answers 400 where S3 answers 403.
    assert re.search(r"content not compared: the original could not be asked for: S3 answered 40[03]$", file.reason)
