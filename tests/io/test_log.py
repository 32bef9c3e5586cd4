"""The library logs nothing above DEBUG for a good upload, and a line for each decision at DEBUG."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import aioframeio_upload
from aioframeio_upload import Limits, PartRejected, RetryPolicy, UploadError
from aioframeio_upload._core import concurrency as pacing
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, our_records, some_bytes, uploader_on
from tests.support.seen import told

PACKAGE = Path(aioframeio_upload.__file__).resolve().parent
NAME = "aioframeio_upload"
CONTENT = some_bytes(3 * PART)
ONE_SLOT = Limits(parts=1, api_pacing=False)
TWICE = RetryPolicy(attempts=2, base=0.001, cap=0.001)


async def lines(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture, *faults: Fault, retry: RetryPolicy = TWICE
) -> list[str]:
    """Return what is logged, from DEBUG on, for an upload with these faults."""
    caplog.set_level(logging.DEBUG, NAME)
    for fault in faults:
        fake.add_fault(fault)
    async with uploader_on(fake, limits=ONE_SLOT, retry=retry) as uploader:
        upload = uploader.upload(CONTENT, name="take.mov", folder_id=fake.folder_id)
        async for _ in upload:
            pass
        with suppress(UploadError):
            await upload
    return told(caplog)


# -- where -------------------------------------------------------------------------------------------------------------


def test_every_module_logs_under_the_name_of_the_package() -> None:
    for path in PACKAGE.rglob("*.py"):
        expected = f"{NAME}.testing" if "testing" in path.relative_to(PACKAGE).parts else NAME
        for name in re.findall(r"= (?:logging\.)?getLogger\((.*?)\)", path.read_text(encoding="utf-8")):
            assert name == f'"{expected}"', path.name


async def test_every_record_of_ours_has_that_name(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await lines(fake, caplog, Fault(number=2, status=500), Fault(number=3, code="SignatureDoesNotMatch"))
    ours = [
        record
        for record in caplog.records
        if PACKAGE in Path(record.pathname).parents and PACKAGE / "testing" not in Path(record.pathname).parents
    ]
    assert ours
    assert {record.name for record in ours} == {NAME}


def test_no_handler_and_no_level_is_set_by_the_library() -> None:
    """In a new process, after an upload that logs."""
    script = """
import asyncio, logging
from aioframeio_upload import RetryPolicy, Uploader
from aioframeio_upload.testing import FakeFrameio, Fault

async def main():
    async with FakeFrameio(faults=[Fault(status=500)]) as fake:
        retry = RetryPolicy(base=0, cap=0)
        async with Uploader(fake.token, account_id=fake.account_id, base_url=fake.url, retry=retry) as uploader:
            await uploader.upload(b"x", name="a", folder_id=fake.folder_id)

asyncio.run(main())
for name in ("", "aioframeio_upload"):
    logger = logging.getLogger(name)
    assert logger.handlers == [], logger.handlers
assert logger.level == logging.NOTSET
assert logger.propagate
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- what --------------------------------------------------------------------------------------------------------------


async def test_a_good_upload_is_quiet_even_at_debug(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    assert await lines(fake, caplog) == []


async def test_at_info_an_upload_that_heals_is_quiet(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    faults = [Fault(number=1, status=500), Fault(number=2, code="SlowDown"), Fault(on="status", status=503)]
    assert len(await lines(fake, caplog, *faults)) >= 3
    assert [record for record in caplog.records if record.name == NAME and record.levelno >= logging.INFO] == []


async def test_a_retry_is_a_line(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = await lines(fake, caplog, Fault(number=2, status=500, headers={"Retry-After": "0"}))
    assert re.fullmatch(
        r"part 2, attempt 1: 500 InternalError: .* \(S3 failed\) \(request \w+\); again in 0\.0 s", said
    )


async def test_a_retry_of_an_api_call_is_a_line(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = await lines(fake, caplog, Fault(on="status", status=503, headers={"Retry-After": "0"}))
    assert said.startswith("reading the file's status: 503: ")
    assert said.endswith("; again in 0.0 s")


async def test_giving_up_is_a_line(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = await lines(fake, caplog, Fault(number=2, code="SignatureDoesNotMatch"))
    assert said.startswith("'take.mov' is given up: part 2, attempt 1: 403 SignatureDoesNotMatch: ")


async def test_giving_up_after_the_last_attempt_is_a_line_too(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    again, given_up = await lines(fake, caplog, Fault(number=2, status=500, times=None))
    assert again.startswith("part 2, attempt 1: 500")
    assert given_up.startswith("'take.mov' is given up: part 2, attempt 2: 500 InternalError: every attempt failed")


async def test_a_new_plan_is_a_line(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    said = await lines(fake, caplog, Fault(number=3, do="corrupt"))
    (line,) = (line for line in said if "is replaced by" in line)
    (old,), (new,) = fake.deleted, fake.files
    assert line.endswith(f"; file {old.id} is replaced by {new.id}")


async def test_fewer_parts_for_an_overloaded_s3_and_more_when_it_is_quiet_again_are_a_line_each(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "QUIET", 0.0)
    monkeypatch.setattr(pacing, "AGAIN", 0.0)
    caplog.set_level(logging.DEBUG, NAME)
    fake.add_fault(Fault(number=1, code="SlowDown", headers={"Retry-After": "0"}))
    async with uploader_on(fake, limits=Limits(parts=4, api_pacing=False)) as uploader:
        await uploader.upload(b"x", name="take.mov", folder_id=fake.folder_id)
    assert told(caplog)[0] == "S3 is overloaded: 2 parts in flight from now on"
    assert told(caplog)[-1] == "S3 is quiet again: 3 parts in flight from now on"
    assert len(told(caplog)) == 3, "and the retry"


async def test_a_refusal_of_the_etag_check_and_a_file_left_there_are_warnings(
    md5_fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    fake = md5_fake
    fake.add_fault(Fault(name="one", do="wrong_etag", times=None))
    fake.add_fault(Fault(name="two", code="AccessDenied"))
    fake.add_fault(Fault(on="delete", status=403, times=None))
    async with uploader_on(fake) as uploader:
        await uploader.upload(b"x", name="one", folder_id=fake.folder_id)
        with pytest.raises(PartRejected):
            await uploader.upload(b"x", name="two", folder_id=fake.folder_id)
    etags, left = (record for record in our_records(caplog) if record.levelno == logging.WARNING)
    assert "are not the MD5 of what is sent; they are not checked any more" in etags.getMessage()
    assert "which is incomplete, could not be deleted" in left.getMessage()
