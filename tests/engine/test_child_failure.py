"""An error of one file of a folder is that file's alone, whatever it is, and every file is accounted for."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioframeio_upload import (
    FolderPlanned,
    FolderResult,
    FolderUpload,
    FolderUploadError,
    Limits,
    SourceError,
    Uploader,
    UploadError,
)
from aioframeio_upload._engine import confirm_batch
from aioframeio_upload._engine.child_failure import ChildFailure
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import QUICK, on_disk, our_records, uploader_on
from tests.support.trees import plant

LINK = "https://bucket.s3.amazonaws.com/part?X-Amz-Signature=" + "0" * 64
SHOOT = {"a.mov": 10, "b/c.mov": 11, "b/d.mov": 12, "e/f.mov": 13, "e/g/h.mov": 14, "empty/": 0}


async def end_of(upload: FolderUpload) -> FolderResult:
    """Run it to its end, and check that every file is in exactly one place of the result."""
    planned = await upload.planned()
    try:
        result = await upload
    except FolderUploadError as error:
        result = error.result
    paths = [failure.path for failure in result.failures] + [skipped.path for skipped in result.skipped]
    assert len(paths) == len(set(paths))
    assert isinstance(planned, FolderPlanned)
    files = [path for path in paths if path in SHOOT]
    assert len(files) + len(result.files) == planned.files
    return result


class Shared:
    """A token callable whose callers all await one refresh, which somebody cancels now and then."""

    def __init__(self, token: str, cancelled: Callable[[int], bool]) -> None:
        self._token, self._cancelled, self.calls = token, cancelled, 0

    async def __call__(self) -> str:
        self.calls += 1
        if self._cancelled(self.calls):
            refresh = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(refresh.cancel)
            await refresh
        return self._token


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7, 11])
async def test_a_token_callable_that_ends_cancelled_loses_no_file_without_a_word(
    fake: FakeFrameio, tmp_path: Path, period: int
) -> None:
    root = on_disk(plant, tmp_path / "shoot", SHOOT)
    token = Shared(fake.token, lambda call: call > 2 and call % period == 0)
    settings: dict[str, Any] = {"limits": Limits(api_pacing=False), "retry": QUICK, "account_id": fake.account_id}
    async with Uploader(token, base_url=fake.url, **settings) as uploader, asyncio.timeout(30):
        result = await end_of(uploader.upload_folder(root, folder_id=fake.folder_id))
    assert all(isinstance(failure.error, UploadError) for failure in result.failures)
    assert len(result.files) < len(SHOOT)


ODD_PAGES = [
    {"data": [], "links": {"next": "//["}},
    {"data": [], "links": {"next": 7}},
    {"data": [], "links": {"next": "/x?after=\ud800"}},
    {"data": [None, 1, [], {"id": 1}, {"type": "version_stack"}, {"id": "x", "type": "file", "name": 3}], "links": []},
    {"data": {}},
    {"data": "no list"},
    [],
    "text",
]


@pytest.mark.parametrize("page", ODD_PAGES, ids=str)
@pytest.mark.parametrize("operation", ["list_children", "list_files"])
async def test_an_odd_page_stops_no_file_that_has_nothing_to_do_with_it(
    fake: FakeFrameio, tmp_path: Path, operation: str, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm_batch, "ODD", 1.0)
    root = on_disk(plant, tmp_path / "shoot", SHOOT)
    async with uploader_on(fake) as uploader, asyncio.timeout(30):
        await uploader.upload_folder(root, folder_id=fake.folder_id, include=["b/c.mov"], contents_only=True)
        # Of the two folders that are there, the second's listing is odd; or each time that arrivals are read.
        first, times = (2, 1) if operation == "list_children" else (1, None)
        body = json.dumps(page)
        fake.add_fault(Fault(on=operation, status=200, body=body, first=first, times=times))
        result = await end_of(uploader.upload_folder(root, folder_id=fake.folder_id, contents_only=True))
    assert {file.name for file in result.files} >= {"a.mov", "f.mov", "h.mov"}
    assert {failure.path for failure in result.failures} <= {"b/c.mov", "b/d.mov"}
    assert all(isinstance(failure.error, UploadError) for failure in result.failures)


@pytest.mark.parametrize("page", ODD_PAGES, ids=str)
async def test_an_odd_page_above_the_root_ends_in_an_error_of_ours_or_does_not_matter(
    fake: FakeFrameio, tmp_path: Path, page: Any
) -> None:
    root = on_disk(plant, tmp_path / "shoot", SHOOT)
    fake.add_fault(Fault(on="list_children", status=200, body=json.dumps(page)))
    async with uploader_on(fake) as uploader, asyncio.timeout(30):
        upload = uploader.upload_folder(root, folder_id=fake.folder_id)
        (outcome,) = await asyncio.gather(upload, return_exceptions=True)
    if isinstance(outcome, BaseException):
        assert isinstance(outcome, UploadError)
        assert not isinstance(outcome, FolderUploadError)
        assert fake.files == ()
    else:
        assert len(outcome.files) == 5


async def test_cursors_that_lead_in_a_circle_hold_no_folder_up(fake: FakeFrameio, tmp_path: Path) -> None:
    root = on_disk(plant, tmp_path / "shoot", SHOOT)
    for number, there in enumerate("BA", 1):
        page = json.dumps({"data": [], "links": {"next": f"/x?after={there}"}})
        fake.add_fault(Fault(on="list_files", status=200, body=page, first=number, times=50))
    async with uploader_on(fake) as uploader, asyncio.timeout(30):
        result = await end_of(uploader.upload_folder(root, folder_id=fake.folder_id))
    assert len(result.files) == 5


# -- what is caught ----------------------------------------------------------------------------------------------------


def caught(error: BaseException) -> UploadError | None:
    with ChildFailure("b/take.mov") as found:
        raise error
    return found.failure


@pytest.mark.parametrize("error", [SourceError("gone"), UploadError("no")])
def test_an_error_of_ours_stays_what_it_is(error: UploadError) -> None:
    assert caught(error) is error
    assert caught(ExceptionGroup("", [error])) is error


@pytest.mark.parametrize("error", [ValueError("a"), KeyError("id"), UnicodeError("b"), RecursionError(), MemoryError()])
def test_one_that_nobody_foresaw_is_told_by_its_kind_and_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failure = caught(error)
    assert failure is not None
    assert (type(failure), str(failure)) == (UploadError, f"unexpected: {type(error).__name__}")
    assert failure.__cause__ is error
    assert str(pickle.loads(pickle.dumps(failure))) == str(failure)
    (record,) = our_records(caplog)
    assert record.levelname == "ERROR"
    assert f"b/take.mov: unexpected {type(error).__name__}" in record.getMessage()
    assert "raise error" in record.getMessage()


@pytest.mark.parametrize(
    "error", [ValueError(f"bad url {LINK}"), aiohttp.InvalidURL(LINK), aiohttp.ClientError(), OSError(LINK)]
)
def test_one_that_quotes_a_link_is_not_kept_and_its_words_are_not_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    for raised in (error, _from(error)):
        failure = caught(raised)
        assert failure is not None
        assert (failure.__cause__, failure.__context__) == (None, None)
    assert "0" * 64 not in caplog.text


def _from(error: Exception) -> Exception:
    above = KeyError("harmless")
    above.__cause__ = error
    return above


async def test_a_cancellation_that_nobody_sent_is_a_failure_and_our_own_is_not() -> None:
    failure = caught(asyncio.CancelledError())
    assert failure is not None
    assert "nobody sent" in str(failure)

    async def wait() -> None:
        with ChildFailure("x"):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
async def test_what_ends_the_process_goes_on_its_way(error: BaseException) -> None:
    with pytest.raises(type(error)):
        caught(error)
