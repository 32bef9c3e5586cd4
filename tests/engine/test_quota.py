"""A warning before the first byte if the account is known to have less room than the upload needs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aioframeio_upload import Uploader
from aioframeio_upload._engine import job, quota
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk, our_records, reached, some_bytes


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """A folder with 3,000 bytes."""
    root = tmp_path / "shoot"
    on_disk(root.mkdir)
    for name in ("a.mov", "b.mov"):
        on_disk((root / name).write_bytes, some_bytes(1500))
    return root


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in our_records(caplog) if record.levelname == "WARNING"]


@pytest.mark.parametrize(("limit", "expected"), [(None, False), (3000, False), (2999, True), (0, True)])
async def test_a_folder_that_does_not_fit_is_warned_of_and_uploaded(
    fake: FakeFrameio,
    uploader: Uploader,
    shoot: Path,
    caplog: pytest.LogCaptureFixture,
    limit: int | None,
    expected: bool,
) -> None:
    fake.storage_limit = limit
    fake.add_account("another one")
    await uploader.upload_folder(shoot, folder_id=fake.folder_id)
    assert len(fake.files) == 2
    fits = f"{shoot}: 3000 bytes, and account {fake.account_id} has room for {limit} (files that are there already"
    assert [message.startswith(fits) for message in warned(caplog)] == [True] * expected
    operations = [seen.operation for seen in fake.requests]
    assert operations.index("accounts") < operations.index("create") < operations.index("part")


async def test_a_second_run_makes_no_call_and_counts_only_what_is_missing(
    fake: FakeFrameio, uploader: Uploader, shoot: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await uploader.upload_folder(shoot, folder_id=fake.folder_id)
    fake.storage_limit = 4500
    fake.requests.clear()
    await uploader.upload_folder(shoot, folder_id=fake.folder_id)
    assert {seen.operation for seen in fake.requests} == {"list_children"}
    on_disk((shoot / "c.mov").write_bytes, some_bytes(1500))
    await uploader.upload_folder(shoot, folder_id=fake.folder_id)
    assert len(fake.files) == 3
    assert [message for message in warned(caplog) if " 4500 bytes" in message] == []


async def test_what_the_account_holds_counts(
    fake: FakeFrameio, uploader: Uploader, shoot: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.storage_limit = 5999
    await uploader.upload_folder(shoot, folder_id=fake.folder_id)
    assert warned(caplog) == []
    await uploader.upload_folder(shoot, folder_id=fake.folder_id, conflict="create")
    assert len(warned(caplog)) == 1


async def test_a_big_file_is_checked_and_a_small_one_costs_no_call(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.storage_limit = 10
    await uploader.upload(some_bytes(2000), name="a", folder_id=fake.folder_id)
    assert "accounts" not in {seen.operation for seen in fake.requests}
    monkeypatch.setattr(job, "BIG_UPLOAD", 2000)
    await uploader.upload(some_bytes(2000), name="b", folder_id=fake.folder_id)
    assert [message.split(",")[0] for message in warned(caplog)] == ["b: 2000 bytes"]
    assert len(fake.files) == 2


@pytest.mark.parametrize("status", [403, 404])
async def test_a_refused_question_stops_nothing(
    fake: FakeFrameio, uploader: Uploader, shoot: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    fake.storage_limit = 0
    fake.add_fault(Fault(on="accounts", status=status))
    await uploader.upload_folder(shoot, folder_id=fake.folder_id)
    assert warned(caplog) == []
    assert len(fake.files) == 2


async def test_a_question_without_an_answer_is_given_up(
    fake: FakeFrameio, uploader: Uploader, shoot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "TIMEOUT", 0.05)
    fake.add_fault(Fault(on="accounts", do="hold"))
    await uploader.upload_folder(shoot, folder_id=fake.folder_id)
    assert len(fake.files) == 2


async def test_a_cancellation_passes_through_the_question(fake: FakeFrameio, uploader: Uploader, shoot: Path) -> None:
    fake.add_fault(held := Fault(on="accounts", do="hold"))
    upload = asyncio.ensure_future(uploader.upload_folder(shoot, folder_id=fake.folder_id))
    await reached(fake, held)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert fake.files == ()
