"""A part that was acknowledged without proof: the file's confirmation proves it, or it is sent once more.

S3 acknowledges a part with an ETag and no body. A 200 with neither is taken, for some gateways drop the header; but it
may come from a server that has stored nothing.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    AsyncFrameioUploader,
    ConfirmationError,
    Event,
    PartCompleted,
    PartExhausted,
    PartRejected,
    PartRetrying,
    Progress,
    Receipt,
    RetryPolicy,
    Timeouts,
    UploadCancelled,
    UploadedFile,
    Uploader,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, our_records, reached, sha256, some_bytes, uploader_on
from tests.support.seen import operations, puts
from tests.support.trees import plant

CONTENT = some_bytes(2 * PART + 1)


@pytest.fixture
def fake(md5_fake: FakeFrameio) -> FakeFrameio:
    """Serve with an S3 that states no CRC64NVME, which would prove a part without an ETag."""
    return md5_fake


SWALLOWED = Fault(number=2, do="answer", status=200, body="")
"""A 200 of a server that has taken the bytes, says nothing, and has stored nothing."""

SOON = Timeouts(confirm=0.5)


def impatient(fake: FakeFrameio, **settings: Any) -> Uploader:
    return uploader_on(fake, **{"timeouts": SOON} | settings)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in our_records(caplog) if record.levelno >= logging.WARNING]


async def stream_of(content: bytes) -> AsyncIterator[bytes]:
    yield content


class Seekable(io.BytesIO):
    name = "a.mov"


# -- which answer acknowledges a part ----------------------------------------------------------------------------------

PAGES = {
    "a login page": {"body": "<html><body>Welcome! Please sign in.</body></html>"},
    "a login page that is longer than anybody reads": {"body": "<html>" + "x" * 100_000},
    "a page of a web server that gives it an ETag": {"body": "<html>…</html>", "headers": {"ETag": '"5f3c1a2b-264"'}},
    "a gateway's JSON": {"body": '{"message": "Endpoint request timed out"}'},
    "an empty JSON document": {"body": "{}", "headers": {"ETag": '""'}},
    "an error without a code": {"body": "<Error/>"},
    "S3's own error": {"body": "<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"},
    "S3's own error with an ETag": {
        "body": "<Error><Code>SlowDown</Code></Error>",
        "headers": {"ETag": f'"{"0" * 32}"'},
    },
    "another success": {"status": 201, "body": "", "headers": {"ETag": f'"{"0" * 32}"'}},
    "no content": {"status": 204, "body": ""},
    "accepted": {"status": 202, "body": ""},
    "a part of it": {"status": 206, "body": "x"},
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
async def test_what_is_not_s3s_acknowledgement_is_a_failed_attempt(
    fake: FakeFrameio, uploader: Uploader, page: dict[str, Any]
) -> None:
    how: dict[str, Any] = {"number": 2, "do": "answer", "status": 200, "times": 2}
    fake.add_fault(Fault(**how | page))
    upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    events = [event async for event in upload]
    assert (await upload).status == "uploaded"
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert puts(fake) == {1: 1, 2: 3, 3: 1}
    assert [event.attempt for event in events if isinstance(event, PartRetrying)] == [1, 2]


async def test_a_network_that_wants_a_login_ends_the_upload_and_says_so(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(do="answer", status=200, body="<html>sign in</html>", times=None))
    async with uploader_on(fake, retry=RetryPolicy(attempts=2, base=0, cap=0)) as uploader:
        with pytest.raises(PartExhausted, match="login page") as caught:
            await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert (caught.value.status, caught.value.attempts) == (200, 2)


@pytest.mark.parametrize("checksum", ["auto", "md5", "off"])
@pytest.mark.parametrize("headers", [{}, {"x-amz-server-side-encryption": "aws:kms"}], ids=["plain", "KMS"])
async def test_a_page_that_s3_keeps_with_an_md5_as_its_etag_is_no_acknowledgement(
    fake: FakeFrameio, headers: dict[str, str], checksum: str
) -> None:
    headers = headers | {"ETag": f'"{"0" * 32}"'}
    fake.add_fault(Fault(do="answer", status=200, body="<html>sign in</html>", headers=headers, times=None))
    settings: dict[str, Any] = {"retry": RetryPolicy(attempts=4, base=0, cap=0), "timeouts": Timeouts(confirm=0)}
    async with uploader_on(fake, checksum=checksum, **settings) as uploader:
        with pytest.raises(PartExhausted, match="login page"):
            await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)


async def test_an_error_with_status_200_is_the_error_that_it_names(fake: FakeFrameio, uploader: Uploader) -> None:
    body = "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message><RequestId>R1</RequestId></Error>"
    fake.add_fault(Fault(do="answer", status=200, body=body, number=2, times=None))
    with pytest.raises(PartRejected) as caught:
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    error = caught.value
    assert (error.status, error.code, error.request_id, error.attempts) == (200, "SignatureDoesNotMatch", "R1", 1)


@pytest.mark.parametrize("etag", ['""', "", '" "', "null", '"undefined"', "<html>", '"…"', "-"])
async def test_what_is_no_etag_proves_nothing(fake: FakeFrameio, etag: str) -> None:
    headers = {"ETag": etag} if etag.isascii() else {}
    fake.add_fault(Fault(do="answer", status=200, body="", headers=headers))
    async with uploader_on(fake) as uploader:
        plan = await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
        (receipt,) = await uploader.send_parts(plan, b"x", [1])
    assert (receipt.etag, receipt.is_proved) == (None, False)


# -- the confirmation proves it, or it is sent again -------------------------------------------------------------------


async def test_where_the_service_has_the_file_nothing_is_sent_again(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(Fault(do="no_etag", times=None))
    async with uploader_on(fake) as uploader:
        file = await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert (file.status, file.etags) == ("uploaded", (None, None, None))
    assert puts(fake) == {1: 1, 2: 1, 3: 1}
    assert warnings(caplog) == []


@pytest.mark.parametrize("kind", ["path", "bytes", "memory", "file object", "open file", "caller's receipts"])
async def test_a_part_that_nothing_proves_is_sent_again_where_the_service_does_not_have_the_file(
    fake: FakeFrameio, make_file: Callable[..., Path], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = make_file(len(CONTENT))
    sources: dict[str, Callable[[], Any]] = {
        "path": lambda: path,
        "bytes": lambda: CONTENT,
        "memory": lambda: bytearray(CONTENT),
        "file object": lambda: Seekable(CONTENT),
        "open file": lambda: on_disk(path.open, "rb"),
        "caller's receipts": lambda: CONTENT,
    }
    source = sources[kind]()
    fake.add_fault(SWALLOWED)
    async with impatient(fake) as uploader:
        if kind == "caller's receipts":
            plan = await uploader.plan(source, name="a.mov", folder_id=fake.folder_id)
            upload = uploader.execute(plan, source, receipts=())
        else:
            upload = uploader.upload(source, name="a.mov", folder_id=fake.folder_id)
        events = [event async for event in upload]
        file = await upload
        assert uploader.statistics().retries == 1
    if kind == "open file":
        on_disk(source.close)
    check_sent_again(fake, events, file)
    (warning,) = warnings(caplog)
    assert "did not say within 0.5 s that it is complete; S3 acknowledged part 2 without an ETag: sent again" in warning


def check_sent_again(fake: FakeFrameio, events: list[Event], file: UploadedFile) -> None:
    assert [one.sha256 for one in fake.files] == [sha256(CONTENT)]
    assert (file.status, file.etags, fake.deleted) == ("uploaded", fake.files[0].etags, ())
    assert puts(fake) == {1: 1, 2: 2, 3: 1}
    (retried,) = [event for event in events if isinstance(event, PartRetrying)]
    assert (retried.number, retried.error.status) == (2, 200)
    assert [event.etag for event in events if isinstance(event, PartCompleted) and event.number == 2] == [
        None,
        file.etags[1],
    ]
    progress = [event.bytes_uploaded for event in events if isinstance(event, Progress)]
    assert progress == sorted(progress)
    assert progress[-1] == len(CONTENT)


async def test_it_is_sent_again_once_and_no_more(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(number=2, do="answer", status=200, body="", times=None))
    async with impatient(fake) as uploader:
        async with asyncio.timeout(20):
            with pytest.raises(ConfirmationError, match="part 2 had been sent again meanwhile") as caught:
                await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert puts(fake) == {1: 1, 2: 2, 3: 1}
    assert [caught.value.file_id] == [file.id for file in fake.files], "it is kept"


async def test_a_stream_says_that_it_cannot_be_sent_again(fake: FakeFrameio) -> None:
    fake.add_fault(SWALLOWED)
    async with impatient(fake) as uploader:
        with pytest.raises(ConfirmationError, match=r"part 2 without an ETag, and .* cannot be sent again"):
            await uploader.upload(stream_of(CONTENT), size=len(CONTENT), name="a", folder_id=fake.folder_id)
    assert puts(fake) == {1: 1, 2: 1, 3: 1}
    assert len(fake.files) == 1


async def test_a_failure_that_the_service_tells_is_final_and_names_what_is_not_proved(fake: FakeFrameio) -> None:
    fake.add_fault(SWALLOWED)
    fake.add_fault(held := Fault(on="status", do="hold"))
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id).start()
        await reached(fake, held)
        fake.fail(fake.files[0].id)
        fake.release(held)
        with pytest.raises(ConfirmationError, match="part 2 without an ETag") as caught:
            await upload
    assert caught.value.failed
    assert puts(fake)[2] == 1


async def test_a_source_that_has_changed_since_is_not_mixed_into_the_file(
    fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    path = make_file(len(CONTENT))
    fake.add_fault(SWALLOWED)
    fake.add_fault(held := Fault(on="status", do="hold"))
    async with impatient(fake) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, held)
        make_file(len(CONTENT) - 1)
        fake.release(held)
        with pytest.raises(ConfirmationError, match="sending again did not work"):
            await upload
    assert puts(fake)[2] == 1
    assert (len(fake.files), fake.deleted) == (1, ())


async def test_a_refusal_of_the_second_time_asks_the_service_once_more(fake: FakeFrameio) -> None:
    """S3 refuses a part whose file was put together meanwhile; the service was only slow to say so."""
    fake.add_fault(Fault(number=2, do="no_etag"))
    fake.add_fault(Fault(number=2, first=2, status=404, code="NoSuchUpload", times=None))
    async with impatient(fake) as uploader:
        fake.add_fault(late := Fault(on="status", do="hold"))
        upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id).start()
        await reached(fake, late)
        file = await upload
    assert file.status == "uploaded"
    assert puts(fake)[2] == 2
    assert fake.deleted == ()


@pytest.mark.parametrize("how", ["cancel()", "the task"])
async def test_a_cancel_while_it_is_sent_again_keeps_the_file(fake: FakeFrameio, how: str) -> None:
    fake.add_fault(SWALLOWED)
    fake.add_fault(held := Fault(number=2, first=2, do="hold"))
    async with impatient(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        task = asyncio.create_task(upload)
        await reached(fake, held)
        upload.cancel() if how == "cancel()" else task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises((asyncio.CancelledError, UploadCancelled)):
                await task
    assert (len(fake.files), operations(fake).count("delete")) == (1, 0)


# -- without a confirmation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swallowed", [True, False])
async def test_with_confirm_0_what_nothing_proves_is_told_in_the_log(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture, swallowed: bool
) -> None:
    if swallowed:
        fake.add_fault(SWALLOWED)
    async with uploader_on(fake, timeouts=Timeouts(confirm=0)) as uploader:
        file = await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
    assert (file.status, file.etags[1] is None) == ("created", swallowed)
    assert [("'a.mov'" in one, "part 2 acknowledged without an ETag" in one) for one in warnings(caplog)] == [
        (True, True)
    ] * swallowed


async def test_send_parts_tells_what_nothing_proves(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    fake.add_fault(SWALLOWED)
    async with impatient(fake) as uploader:
        plan = await uploader.plan(CONTENT, name="a.mov", folder_id=fake.folder_id)
        receipts = await uploader.send_parts(plan, CONTENT, [1, 2, 3])
        assert ["part 2 acknowledged without an ETag" in one for one in warnings(caplog)] == [True]
        with pytest.raises(ConfirmationError):
            await uploader.confirm(plan)
        doubted = [receipt.number for receipt in receipts if not receipt.is_proved]
        await uploader.send_parts(plan, CONTENT, doubted)
        assert (await uploader.confirm(plan)).status == "uploaded"
    assert doubted == [2]


async def test_the_drop_in_tells_what_nothing_proves(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    fake.add_fault(SWALLOWED)
    async with uploader_on(fake) as uploader:
        plan = await uploader.plan(CONTENT, name="a.mov", folder_id=fake.folder_id)
    links = [{"size": part.size, "url": part.url} for part in plan.parts]
    asset = {"id": plan.file_id, "name": "a.mov", "file_size": plan.size, "media_type": plan.media_type}
    await AsyncFrameioUploader({**asset, "upload_urls": links}, io.BytesIO(CONTENT)).upload()
    assert ["part 2 acknowledged without an ETag" in one for one in warnings(caplog)] == [True]


async def test_receipts_of_the_caller_that_prove_nothing_are_sent_again(fake: FakeFrameio) -> None:
    """As those are that were made of `PartCompleted` events without an ETag."""
    fake.add_fault(SWALLOWED)
    async with impatient(fake) as uploader:
        plan = await uploader.plan(CONTENT, name="a.mov", folder_id=fake.folder_id)
        receipts = await uploader.send_parts(plan, CONTENT, [1, 2, 3])
        kept = [Receipt(receipt.number, receipt.size, receipt.etag) for receipt in receipts]
        file = await uploader.execute(plan, CONTENT, receipts=kept)
    assert file.status == "uploaded"
    assert puts(fake) == {1: 1, 2: 2, 3: 1}
    assert [one.sha256 for one in fake.files] == [sha256(CONTENT)]


# -- the next run ------------------------------------------------------------------------------------------------------


async def test_the_next_run_sends_again_what_nothing_proves(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    """Without it the service would be asked for ever for a file that it cannot have."""
    path, journal = make_file(len(CONTENT)), tmp_path / "journal"
    fake.add_fault(Fault(number=2, do="answer", status=200, body="", times=2))
    async with impatient(fake, journal=journal) as uploader:
        with pytest.raises(ConfirmationError):
            await uploader.upload(path, folder_id=fake.folder_id)
        (pending,) = await uploader.pending()
        assert pending.bytes_confirmed == len(CONTENT)
    async with impatient(fake, journal=journal) as uploader:
        (upload,) = await uploader.resume_pending()
        assert (await upload).outcome == "resumed"
        assert await uploader.pending() == ()
    assert puts(fake) == {1: 1, 2: 3, 3: 1}
    assert [one.sha256 for one in fake.files] == [sha256(CONTENT)]
    assert fake.deleted == ()


async def test_a_next_run_whose_source_is_away_says_so_and_removes_nothing(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    path, journal = make_file(len(CONTENT)), tmp_path / "journal"
    fake.add_fault(Fault(number=2, do="answer", status=200, body="", times=2))
    async with impatient(fake, journal=journal) as uploader:
        with pytest.raises(ConfirmationError):
            await uploader.upload(path, folder_id=fake.folder_id)
        on_disk(path.rename, tmp_path / "elsewhere.mov")
        with pytest.raises(ConfirmationError, match="sending again did not work"):
            await uploader.upload(path, folder_id=fake.folder_id)
        assert len(await uploader.pending()) == 1
        on_disk((tmp_path / "elsewhere.mov").rename, path)
        assert (await uploader.upload(path, folder_id=fake.folder_id)).outcome == "resumed"
    assert (len(fake.files), fake.deleted) == (1, ())


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conflict", ["skip", "version"])
async def test_a_file_of_a_folder_is_sent_again_where_it_must_be(
    fake: FakeFrameio, tmp_path: Path, caplog: pytest.LogCaptureFixture, conflict: Any
) -> None:
    root = on_disk(plant, tmp_path / "shoot", "a.mov b.mov c/d.mov")
    fake.add_fault(Fault(name="b.mov", do="answer", status=200, body=""))
    async with impatient(fake, timeouts=Timeouts(confirm=3)) as uploader:  # a folder is looked at every half second
        upload = uploader.upload_folder(root, folder_id=fake.folder_id, conflict=conflict)
        progress = [event async for event in upload if isinstance(event, Progress)]
        result = await upload
    assert {file.name for file in result.files} == {"a.mov", "b.mov", "d.mov"}
    assert {file.status for file in result.files} == {"uploaded"}
    assert {file.name: file.sha256 for file in fake.files} == {
        name: sha256(path)
        for name, path in (("a.mov", root / "a.mov"), ("b.mov", root / "b.mov"), ("d.mov", root / "c/d.mov"))
    }
    assert progress[-1].bytes_uploaded == progress[-1].total_bytes
    assert ["'b.mov'" in one and "sent again" in one for one in warnings(caplog)] == [True]
