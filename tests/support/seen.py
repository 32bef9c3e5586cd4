"""What a test has observed, in the fake's requests and in the library's log."""

from __future__ import annotations

from collections import Counter

import pytest

from aioframeio_upload import Event, UploadedFile, Uploader, UploadError
from aioframeio_upload.testing import FakeFrameio


def operations(fake: FakeFrameio) -> list[str]:
    """Return the operations that were called, in order."""
    return [seen.operation for seen in fake.requests]


def puts(fake: FakeFrameio) -> Counter[int]:
    """Return how often each part was sent."""
    return Counter(seen.number or 0 for seen in fake.requests if seen.operation == "part")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the library's log messages; asyncio's, in debug mode, also report callbacks that a busy machine slowed."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("aioframeio_upload")]


async def watched(
    uploader: Uploader, fake: FakeFrameio, content: bytes
) -> tuple[list[Event], UploadedFile | UploadError]:
    """Upload, and return the events and the result or error."""
    upload = uploader.upload(content, name="a.mov", folder_id=fake.folder_id)
    events = [event async for event in upload]
    try:
        return events, await upload
    except UploadError as error:
        return events, error
