"""A call of the API that is tried again is told, by whichever upload makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    ApiError,
    ApiRetrying,
    AuthenticationError,
    Event,
    FolderPlanned,
    RateLimited,
    Uploader,
    UploadPlanned,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk
from tests.support.seen import watched
from tests.support.trees import plant

BUSY: dict[str, Any] = {"status": 503, "message": "the service is busy"}


def retries(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.operation, event.attempt) for event in events if isinstance(event, ApiRetrying)]


async def test_each_failed_try_is_told_with_its_number_its_pause_and_its_reason(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    fake.add_fault(Fault(on="create", times=2, **BUSY))
    fake.add_fault(Fault(on="status", do="reset"))
    events, _ = await watched(uploader, fake, b"x")
    first, second, third = (event for event in events if isinstance(event, ApiRetrying))
    assert retries(events) == [
        ("create_local_upload", 1),
        ("create_local_upload", 2),
        ("show_file_upload_status", 1),
    ]
    assert 0 <= first.delay <= 0.05
    assert (type(first.error), first.error.status, first.error.detail) == (ApiError, 503, "the service is busy")
    assert (third.error.status, third.error.file_id) == (None, fake.files[0].id)
    assert events.index(second) < next(i for i, event in enumerate(events) if isinstance(event, UploadPlanned))


async def test_it_is_told_in_json(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(on="create", status=429, headers={"Retry-After": "0"}))
    events, _ = await watched(uploader, fake, b"x")
    told = events[0].to_dict()
    assert (told["event"], told["operation"], told["attempt"], told["delay"]) == (
        "ApiRetrying",
        "create_local_upload",
        1,
        0.0,
    )
    assert told["error"]["type"] == RateLimited.__name__


async def test_a_token_that_is_asked_for_anew_is_told(fake: FakeFrameio) -> None:
    tokens = iter(["stale", *[fake.token] * 9])
    async with Uploader(lambda: next(tokens), account_id=fake.account_id, base_url=fake.url) as other:
        events, _ = await watched(other, fake, b"x")
    (event,) = (event for event in events if isinstance(event, ApiRetrying))
    assert (event.operation, event.attempt, event.delay) == ("create_local_upload", 1, 0.0)
    assert isinstance(event.error, AuthenticationError)


async def test_the_last_try_is_no_retry(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(on="create", times=None, **BUSY))
    events, error = await watched(uploader, fake, b"x")
    assert [attempt for _, attempt in retries(events)] == list(range(1, 8))
    assert isinstance(error, ApiError)


@pytest.mark.parametrize(
    ("conflict", "on", "operation"),
    [
        pytest.param("skip", "list_children", "list_folder_children", id="looking for a namesake"),
        pytest.param("version", "create_stack", "create_version_stack", id="stacking"),
    ],
)
async def test_what_follows_and_precedes_the_bytes_is_told_too(
    fake: FakeFrameio, uploader: Uploader, conflict: Any, on: str, operation: str
) -> None:
    await uploader.upload(b"before", name="a.mov", folder_id=fake.folder_id)
    fake.add_fault(Fault(on=on, **BUSY))
    upload = uploader.upload(b"other", name="a.mov", folder_id=fake.folder_id, conflict=conflict)
    assert retries([event async for event in upload]) == [(operation, 1)]
    await upload


async def test_the_deletion_of_a_placeholder_is_told(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(on="delete", **BUSY))
    fake.add_fault(Fault(code="SignatureDoesNotMatch", status=403))
    events, _ = await watched(uploader, fake, b"x")
    assert retries(events) == [("delete", 1)]
    assert not fake.files


async def test_a_folder_tells_the_retries_of_all_its_calls(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    on_disk(plant, tmp_path, {"a.mov": b"1", "day/b.mov": b"2"})
    for on in ("list_children", "create_folder", "create", "list_files"):
        fake.add_fault(Fault(on=on, **BUSY))
    upload = uploader.upload_folder(tmp_path, folder_id=fake.folder_id)
    events = [event async for event in upload]
    await upload
    assert {operation for operation, _ in retries(events)} == {
        "list_folder_children",
        "create_folder",
        "create_local_upload",
        "list_files",
    }


async def test_a_folder_keeps_no_retry_for_a_late_listener(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    """Its memory does not grow with what happened."""
    on_disk(plant, tmp_path, {"a.mov": b"1"})
    fake.add_fault(Fault(on="create", times=3, **BUSY))
    upload = uploader.upload_folder(tmp_path, folder_id=fake.folder_id)
    await upload
    late = [event async for event in upload]
    assert retries(late) == []
    assert isinstance(late[0], FolderPlanned)


async def test_two_uploads_at_once_tell_each_its_own_retries(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(on="create", name="one", times=2, **BUSY))
    one = uploader.upload(b"1", name="one", folder_id=fake.folder_id).start()
    two = uploader.upload(b"2", name="two", folder_id=fake.folder_id).start()
    assert len(retries([event async for event in one])) == 2
    assert retries([event async for event in two]) == []
