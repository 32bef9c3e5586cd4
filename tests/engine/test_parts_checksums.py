"""Test how parts are proved: by the CRC64NVME of S3's answer, or by an ETag that is their MD5.

The cases are pairs: what the ETags are, and what becomes of the CRC64NVME.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    IntegrityError,
    Limits,
    PartCompleted,
    PartExhausted,
    PartRetrying,
    RetryPolicy,
    SourceChanged,
    UploadedFile,
    Uploader,
    UploadReplanned,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, reached, sha256, some_bytes, uploader_on
from tests.support.seen import puts, told, watched

CONTENT = some_bytes(3 * PART - 5)
THRICE = RetryPolicy(attempts=3, base=0.01, cap=0.02)


@pytest.fixture(params=["by the CRC64NVME", "by the MD5"])
def both(request: pytest.FixtureRequest) -> FakeFrameio:
    """Serve with an S3 that states CRC64NVMEs, and with one that does not."""
    name = "fake" if request.param == "by the CRC64NVME" else "md5_fake"
    fake: FakeFrameio = request.getfixturevalue(name)
    return fake


async def test_a_part_that_s3_keeps_storing_wrongly_is_an_integrity_error(both: FakeFrameio) -> None:
    fake = both
    fake.add_fault(Fault(number=2, do="corrupt", times=None))
    async with uploader_on(fake, retry=THRICE, limits=Limits(parts=1, api_pacing=False)) as uploader:
        _, error = await watched(uploader, fake, CONTENT)
    assert type(error) is IntegrityError
    assert (error.number, error.attempts, error.status) == (2, 3, 200)
    assert puts(fake) == {1: 1, 2: 3}
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_where_no_etag_ever_was_the_md5_a_mismatch_that_repeats_ends_the_check_with_one_warning(
    md5_fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    fake = md5_fake
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


async def test_a_part_that_s3_stored_wrongly_is_sent_again_and_heals_while_others_are_missing(
    both: FakeFrameio,
) -> None:
    fake = both
    fake.add_fault(Fault(number=2, do="corrupt"))
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader:
        events, file = await watched(uploader, fake, CONTENT)
    assert isinstance(file, UploadedFile)
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert puts(fake) == {1: 1, 2: 2, 3: 1}
    (retry,) = (event for event in events if isinstance(event, PartRetrying))
    assert "S3 acknowledged other bytes than were sent: " in str(retry.error)


@pytest.mark.parametrize("number", [1, 3])
async def test_a_last_part_that_s3_stored_wrongly_comes_too_late_so_the_file_is_made_anew(
    both: FakeFrameio, number: int
) -> None:
    fake = both
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
    both: FakeFrameio,
) -> None:
    fake = both
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
    md5_fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    fake = md5_fake
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


async def test_with_the_checksum_off_nothing_is_computed_and_compared(both: FakeFrameio) -> None:
    fake = both
    fake.add_fault(Fault(do="corrupt", number=1))
    async with uploader_on(fake, checksum="off") as uploader:
        plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
        receipts = await uploader.send_parts(plan, CONTENT, [1, 2, 3])
    assert [(receipt.md5, receipt.crc64nvme, receipt.checked_by) for receipt in receipts] == [(None, None, None)] * 3
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


# -- the CRC64NVME first -----------------------------------------------------------------------------------------------

CRCS: dict[str, list[Fault]] = {
    "right": [],
    "wrong": [Fault(do="wrong_checksum", times=None)],
    "once wrong": [Fault(do="wrong_checksum", number=2)],
    "garbled": [Fault(do="odd_checksum", times=None)],
    "absent": [Fault(do="no_checksum", times=None)],
    "vanishing": [Fault(do="no_checksum", first=2, times=None)],
}
KINDS = ("bytes", "path", "file object", "stream")


async def blocks(content: bytes) -> AsyncIterator[bytes]:
    for offset in range(0, len(content), 100_000):
        yield content[offset : offset + 100_000]


def source_of(kind: str, path: Path) -> dict[str, Any]:
    """Return the arguments for `upload` with which `CONTENT` comes as that kind of source."""
    on_disk(path.write_bytes, CONTENT)
    found: dict[str, dict[str, Any]] = {
        "bytes": {"source": CONTENT},
        "path": {"source": path},
        "file object": {"source": io.BytesIO(CONTENT)},
        "stream": {"source": blocks(CONTENT), "size": len(CONTENT)},
    }
    return found[kind]


def proofs(etags: str | None, crc: str) -> tuple[str | None, ...]:
    """Return by what each of the three parts is proved in that case."""
    md5 = "md5" if etags == "md5" else None
    return {
        "right": ("crc64nvme",) * 3,
        "once wrong": ("crc64nvme",) * 3,
        "garbled": (md5,) * 3,
        "absent": (md5,) * 3,
        "vanishing": ("crc64nvme", md5, md5),
    }[crc]


ONE_AT_A_TIME = Limits(parts=1, api_pacing=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("crc", CRCS)
@pytest.mark.parametrize("etags", ["md5", "kms", "opaque", None])
async def test_each_kind_of_source_is_proved_by_what_the_answers_state(
    tmp_path: Path, etags: Any, crc: str, kind: str
) -> None:
    async with FakeFrameio(faults=CRCS[crc], rate_limits=False, part_size=PART, etags=etags) as fake:
        async with uploader_on(fake, retry=THRICE, limits=ONE_AT_A_TIME) as uploader:
            upload = uploader.upload(**source_of(kind, tmp_path / "a"), name="a", folder_id=fake.folder_id)
            if crc == "wrong":
                with pytest.raises(IntegrityError, match="CRC64NVME") as caught:
                    await upload
                assert (caught.value.number, caught.value.attempts, puts(fake)) == (1, 3, {1: 3})
                assert (fake.files, len(fake.deleted)) == ((), 1)
                return
            file = await upload
        assert puts(fake) == {1: 1, 2: 2 if crc == "once wrong" else 1, 3: 1}
        (stored,) = fake.files
        assert (stored.sha256, file.crc64nvme) == (sha256(CONTENT), stored.crc64nvme)
        assert file.checked_by == proofs(etags, crc)
        assert [md5 is not None for md5 in file.md5s] == [name == "md5" for name in file.checked_by]


@pytest.mark.parametrize("etags", ["md5", "kms"])
@pytest.mark.parametrize("crc", ["right", "once wrong", "absent", "vanishing"])
async def test_each_file_of_a_folder_is_proved_by_what_the_answers_state(tmp_path: Path, etags: Any, crc: str) -> None:
    for name in ("a", "b"):
        on_disk((tmp_path / name).write_bytes, CONTENT)
    async with FakeFrameio(faults=CRCS[crc], rate_limits=False, part_size=PART, etags=etags) as fake:
        async with uploader_on(fake, limits=ONE_AT_A_TIME) as uploader:
            result = await uploader.upload_folder(tmp_path, folder_id=fake.folder_id, contents_only=True)
        assert {file.crc64nvme for file in result.files} == {stored.crc64nvme for stored in fake.files}
        assert {stored.sha256 for stored in fake.files} == {sha256(CONTENT)}
        assert sum(puts(fake).values()) == (7 if crc == "once wrong" else 6)
        found = {name for file in result.files for name in file.checked_by}
        # With several parts in flight, the answer that first lacks the CRC may be to any of them.
        assert found == ({"crc64nvme", *proofs(etags, crc)} if crc == "vanishing" else {*proofs(etags, crc)})


@pytest.mark.parametrize("etags", ["md5", "kms"])
@pytest.mark.parametrize("crc", ["right", "once wrong", "garbled", "absent", "vanishing"])
async def test_what_is_resumed_is_proved_by_what_the_answers_state_then(tmp_path: Path, etags: Any, crc: str) -> None:
    path, journal = tmp_path / "a.mov", tmp_path / "state" / "uploads.sqlite3"
    on_disk(path.write_bytes, CONTENT)
    async with FakeFrameio(rate_limits=False, part_size=PART, etags=etags) as fake:
        fake.add_fault(Fault(number=2, status=500))
        once = RetryPolicy(attempts=1)
        async with uploader_on(fake, retry=once, limits=ONE_AT_A_TIME, journal=journal) as uploader:
            with pytest.raises(PartExhausted):
                await uploader.upload(path, folder_id=fake.folder_id)
        for fault in CRCS[crc]:
            fake.add_fault(replace(fault, first=1) if crc == "vanishing" else fault)
        async with uploader_on(fake, limits=ONE_AT_A_TIME, journal=journal) as uploader:
            file = await uploader.upload(path, folder_id=fake.folder_id)
        assert (fake.files[0].sha256, file.crc64nvme) == (sha256(CONTENT), fake.files[0].crc64nvme)
        assert file.checked_by == ("crc64nvme", *proofs(etags, crc)[1:])
        assert puts(fake) == {1: 1, 2: 3 if crc == "once wrong" else 2, 3: 1}


@pytest.mark.parametrize("name", ["crc32c", "crc32"])
async def test_a_service_whose_links_are_signed_for_another_crc_is_compared_by_that_one(name: Any) -> None:
    async with FakeFrameio(rate_limits=False, part_size=PART, checksum=name, etags="kms") as fake:
        fake.add_fault(Fault(do="corrupt", number=2))
        async with uploader_on(fake, limits=ONE_AT_A_TIME) as uploader:
            file = await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        assert (file.checked_by, file.crc64nvme) == ((name,) * 3, fake.files[0].crc64nvme)
        assert puts(fake) == {1: 1, 2: 2, 3: 1}


async def test_a_wrong_crc_is_never_a_reason_to_stop_comparing(fake: FakeFrameio) -> None:
    async with uploader_on(fake, retry=THRICE, limits=ONE_AT_A_TIME) as uploader:
        for _ in range(3):
            fake.add_fault(Fault(do="wrong_checksum", times=3))
            with pytest.raises(IntegrityError):
                await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        file = await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert set(file.checked_by) == {"crc64nvme"}


async def test_a_wrong_crc_is_no_first_mismatch_of_an_etag(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    fake.add_fault(Fault(do="wrong_checksum", number=1))
    fake.add_fault(Fault(do="answer", status=200, body="", headers={"ETag": f'"{OTHER}"'}, number=1))
    async with uploader_on(fake, retry=THRICE, limits=ONE_AT_A_TIME) as uploader:
        events, file = await watched(uploader, fake, CONTENT)
    assert isinstance(file, UploadedFile)
    assert [event.attempt for event in events if isinstance(event, PartRetrying)] == [1, 2]
    assert told(caplog) == []


async def test_the_md5_mode_computes_both_of_every_part(fake: FakeFrameio) -> None:
    async with uploader_on(fake, checksum="md5") as uploader:
        file = await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert file.checked_by == ("crc64nvme",) * 3
    assert file.md5s == file.etags == fake.files[0].etags


@pytest.mark.parametrize("checksum", ["on", "crc64nvme", None, True, "MD5"])
def test_a_mode_that_does_not_exist_is_refused_at_once(checksum: Any) -> None:
    with pytest.raises(ValueError, match="'auto', 'md5' or 'off'"):
        Uploader("token", checksum=checksum)


async def test_a_source_that_changes_before_its_md5_is_computed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    on_disk(path.write_bytes, CONTENT)
    held = Fault(number=3, do="hold")
    async with FakeFrameio(faults=[held], rate_limits=False, part_size=PART, checksum=None) as fake:
        async with uploader_on(fake) as uploader:
            upload = uploader.upload(path, folder_id=fake.folder_id).start()
            await reached(fake, held)
            on_disk(path.write_bytes, CONTENT[:-1] + b"!")
            fake.release(held)
            with pytest.raises(SourceChanged):
                await upload
        assert fake.files == ()
