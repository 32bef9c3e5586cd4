"""Test the comparison of ETags with what was sent, and hosts whose ETags are not MD5s."""

from __future__ import annotations

from typing import Any

import pytest

from aioframeio_upload import (
    IntegrityError,
    Limits,
    PartCompleted,
    PartRetrying,
    RetryPolicy,
    UploadedFile,
    Uploader,
    UploadReplanned,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, sha256, some_bytes, uploader_on
from tests.support.seen import puts, told, watched

CONTENT = some_bytes(3 * PART - 5)
THRICE = RetryPolicy(attempts=3, base=0.01, cap=0.02)


async def test_an_etag_that_keeps_differing_on_a_host_that_makes_md5s_is_an_integrity_error(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(number=2, do="corrupt", times=None))
    async with uploader_on(fake, retry=THRICE, limits=Limits(parts=1, api_pacing=False)) as uploader:
        _, error = await watched(uploader, fake, CONTENT)
    assert type(error) is IntegrityError
    assert (error.number, error.attempts, error.status) == (2, 3, 200)
    assert puts(fake) == {1: 1, 2: 3}
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_where_no_etag_ever_was_the_md5_a_mismatch_that_repeats_ends_the_check_with_one_warning(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(do="wrong_etag", times=None))
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader:
        _, file = await watched(uploader, fake, CONTENT)
        assert isinstance(file, UploadedFile)
        assert puts(fake) == {1: 2, 2: 1, 3: 1}
        await uploader.upload(CONTENT, name="again", folder_id=fake.folder_id)
        assert puts(fake) == {1: 3, 2: 2, 3: 2}
    (said,) = told(caplog)
    assert "are not checked any more" in said
    assert fake.url.partition("//")[2] in said
    assert {file.sha256 for file in fake.files} == {sha256(CONTENT)}


@pytest.mark.parametrize("do", ["corrupt", "wrong_etag"])
async def test_a_part_that_s3_stored_wrongly_is_sent_again_and_heals_while_others_are_missing(
    fake: FakeFrameio, do: Any
) -> None:
    fake.add_fault(Fault(number=2, do=do))
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader:
        events, file = await watched(uploader, fake, CONTENT)
    assert isinstance(file, UploadedFile)
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert puts(fake) == {1: 1, 2: 2, 3: 1}
    (retry,) = (event for event in events if isinstance(event, PartRetrying))
    assert "its ETag is not their MD5" in str(retry.error)


@pytest.mark.parametrize("number", [1, 3])
async def test_a_last_part_that_s3_stored_wrongly_comes_too_late_so_the_file_is_made_anew(
    fake: FakeFrameio, number: int
) -> None:
    # The service puts a file together when its last part is there, be it the wrong bytes; a later PUT changes nothing.
    fake.add_fault(Fault(number=number, do="corrupt"))
    content = CONTENT if number == 3 else CONTENT[:10]
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader:
        events, file = await watched(uploader, fake, content)
    assert isinstance(file, UploadedFile)
    (spoiled,), (good,) = fake.deleted, fake.files
    (anew,) = (event for event in events if isinstance(event, UploadReplanned))
    assert (anew.file_id, anew.replaced_file_id) == (good.id, spoiled.id)
    assert "may have been put together" in anew.reason
    assert (file.id, good.sha256) == (good.id, sha256(content))


async def test_a_file_that_is_spoiled_once_more_is_an_integrity_error_and_no_corrupt_file_is_left(
    fake: FakeFrameio,
) -> None:
    # Of three PUTs of the one part the first is the old file's, the second its repetition, the third the new file's.
    for first in (1, 3):
        fake.add_fault(Fault(do="corrupt", first=first))
    async with uploader_on(fake) as uploader:
        events, error = await watched(uploader, fake, b"x")
    assert type(error) is IntegrityError
    assert (error.number, error.attempts) == (1, 2)
    assert "may have been put together" in str(error)
    assert len([event for event in events if isinstance(event, UploadReplanned)]) == 1
    assert (fake.files, len(fake.deleted)) == ((), 2)


async def test_a_host_that_is_found_to_make_md5s_after_all_has_the_file_made_anew(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    held = Fault(number=1, do="hold")
    fake.add_fault(Fault(number=2, do="corrupt", times=2))
    fake.add_fault(held)
    content = CONTENT[: 2 * PART]
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(content, name="a", folder_id=fake.folder_id)
        async for event in upload:
            if isinstance(event, PartCompleted) and event.number == 2:  # taken: nothing speaks against it yet
                fake.release(held)
        await upload
    assert "not checked any more" in caplog.text
    assert [file.sha256 for file in fake.files] == [sha256(content)]
    assert len(fake.deleted) == 1


async def test_without_check_etags_nothing_is_compared(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(do="corrupt", number=1))
    async with uploader_on(fake, check_etags=False) as uploader:
        plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
        receipts = await uploader.send_parts(plan, CONTENT, [1, 2, 3])
    assert [receipt.md5 for receipt in receipts] == [None] * 3
    assert puts(fake) == {1: 1, 2: 1, 3: 1}


OTHER = "0" * 32


@pytest.mark.parametrize(
    ("headers", "etag"),
    [
        ({"ETag": f'"{OTHER}"', "x-amz-server-side-encryption": "aws:kms"}, OTHER),
        ({"ETag": f'"{OTHER}"', "x-amz-server-side-encryption": "aws:kms:dsse"}, OTHER),
        ({"ETag": f'"{OTHER}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"}, OTHER),
        ({"ETag": f'"{OTHER}-12"'}, f"{OTHER}-12"),
        ({"ETag": '"opaque"'}, "opaque"),
        ({"ETag": ""}, None),
        ({}, None),
    ],
)
async def test_an_etag_that_cannot_be_an_md5_is_accepted(
    fake: FakeFrameio, uploader: Uploader, headers: dict[str, str], etag: str | None
) -> None:
    fake.add_fault(Fault(do="answer", status=200, body="", headers=headers))
    plan = await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
    (receipt,) = await uploader.send_parts(plan, b"x", [1])
    assert (receipt.etag, sum(puts(fake).values())) == (etag, 1)


async def test_an_etag_in_capitals_or_marked_weak_is_an_md5_all_the_same(fake: FakeFrameio, uploader: Uploader) -> None:
    md5 = "9DD4E461268C8034F5C8564E155C67A6"  # of b"x"
    plan = await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
    for etag in (f'"{md5}"', f'W/"{md5}"', md5):
        fake.add_fault(Fault(do="answer", status=200, body="", headers={"ETag": etag}))
        (receipt,) = await uploader.send_parts(plan, b"x", [1])
        assert (receipt.etag, receipt.md5) == (md5, md5.lower())
    assert puts(fake) == {1: 3}
