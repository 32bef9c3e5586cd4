"""The Uploader's life: entered, idle, left in each way, shut down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import (
    ConfirmationError,
    Limits,
    PartRejected,
    SourceError,
    Upload,
    UploadCancelled,
    Uploader,
    UploadFailed,
)
from aioframeio_upload._core.concurrency import FIRST
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import (
    PART,
    OwnError,
    on_both_loops,
    open_files,
    other_tasks,
    our_records,
    reached,
    sha256,
    some_bytes,
    uploader_on,
)

DATA = some_bytes(1000)
HOLD = Fault(do="hold", times=None)
REJECT = Fault(status=403, code="SignatureDoesNotMatch", times=None)


def start(fake: FakeFrameio, uploader: Uploader, name: str = "take.mov") -> Upload:
    return uploader.upload(DATA, name=name, folder_id=fake.folder_id).start()


# -- leaving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_leaving_waits_for_what_was_started(fake: FakeFrameio) -> None:
    fake.add_fault(HOLD)
    async with uploader_on(fake) as uploader:
        uploads = [start(fake, uploader) for _ in range(3)]
        await reached(fake, HOLD, 3)
        asyncio.get_running_loop().call_soon(fake.release)
    # Without order: three uploads that begin at once create their files in any.
    assert sorted(upload.result.id for upload in uploads) == sorted(file.id for file in fake.files)
    assert all(file.complete for file in fake.files)


async def test_leaving_waits_for_uploads_that_are_started_meanwhile(fake: FakeFrameio) -> None:
    fake.add_fault(hold := Fault(do="hold"))
    second: list[Upload] = []

    async def follow(first: Upload) -> None:
        async for _ in first:
            pass
        second.append(start(fake, uploader, "second.mov"))

    async with uploader_on(fake) as uploader:
        following = asyncio.create_task(follow(start(fake, uploader, "first.mov")))
        await reached(fake, hold)
        start(fake, uploader, "third.mov")
        fake.add_fault(slow := Fault(do="hold", name="third.mov"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reached(fake, slow), 0.5)
        fake.release(hold)
        await following
        fake.release()
    assert {file.name for file in fake.files if file.complete} == {"first.mov", "second.mov", "third.mov"}
    assert second[0].done


async def test_leaving_raises_an_error_that_nobody_saw(fake: FakeFrameio) -> None:
    fake.add_fault(REJECT)
    with pytest.raises(PartRejected):
        async with uploader_on(fake) as uploader:
            start(fake, uploader)


async def test_leaving_raises_several_errors_as_a_group(fake: FakeFrameio) -> None:
    fake.add_fault(REJECT)
    uploader = await uploader_on(fake).__aenter__()
    start(fake, uploader)
    start(fake, uploader)
    uploader.upload("/does/not/exist.mov", folder_id=fake.folder_id).start()
    with pytest.raises(ExceptionGroup) as caught:
        await uploader.__aexit__(None, None, None)
    assert sorted(type(error).__name__ for error in caught.value.exceptions) == [
        "PartRejected",
        "PartRejected",
        "SourceError",
    ]


async def test_leaving_raises_nothing_that_was_seen_or_is_waited_for(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(held := Fault(do="hold", times=1))
    fake.add_fault(REJECT)

    async def wait(upload: Upload) -> None:
        with pytest.raises(PartRejected):
            await upload

    async with uploader_on(fake) as uploader:
        start(fake, uploader, "held.mov")
        await reached(fake, held)
        seen = start(fake, uploader, "seen.mov")
        await wait(seen)
        waiting = asyncio.create_task(wait(start(fake, uploader, "waited.mov")))
        cancelled = start(fake, uploader, "cancelled.mov")
        cancelled.cancel()
        fake.release()
    await waiting
    assert not our_records(caplog)


async def test_the_error_of_leaving_does_not_stop_the_other_uploads(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(status=403, name="bad.mov", times=None))
    fake.add_fault(hold := Fault(do="hold", name="good.mov"))
    uploader = await uploader_on(fake).__aenter__()
    good = start(fake, uploader, "good.mov")
    await reached(fake, hold)
    bad = start(fake, uploader, "bad.mov")
    leaving = asyncio.create_task(uploader.__aexit__(None, None, None))
    async for _ in bad:
        pass
    assert not leaving.done()
    fake.release()
    with pytest.raises(PartRejected):
        await leaving
    assert good.result.name == "good.mov"


async def stopped(fake: FakeFrameio, uploads: list[Upload]) -> None:
    """All ended as cancelled, and nothing is left of them."""
    for upload in uploads:
        assert upload.done
        with pytest.raises(UploadCancelled):
            _ = upload.result
        last = [event async for event in upload][-1]
        assert isinstance(last, UploadFailed)
    assert (fake.files, len(fake.deleted)) == ((), len(uploads))
    async with asyncio.timeout(10):
        await fake.until(lambda fake: fake.connections == 0)


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_leaving_by_an_exception_stops_all(fake: FakeFrameio) -> None:
    fake.add_fault(HOLD)
    uploads: list[Upload] = []

    async def leave() -> None:
        async with uploader_on(fake) as uploader:
            uploads.extend(start(fake, uploader) for _ in range(3))
            await reached(fake, HOLD, 3)
            raise OwnError

    async with asyncio.timeout(5):
        with pytest.raises(OwnError):
            await leave()
    await stopped(fake, uploads)


async def test_leaving_by_a_cancellation_stops_all(fake: FakeFrameio) -> None:
    fake.add_fault(HOLD)
    uploads: list[Upload] = []

    async def work() -> None:
        async with uploader_on(fake) as uploader:
            uploads.extend(start(fake, uploader) for _ in range(3))
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await reached(fake, HOLD, 3)
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([task])
    assert task.cancelled()
    await stopped(fake, uploads)


async def test_a_cancellation_while_leaving_waits_stops_all(fake: FakeFrameio) -> None:
    fake.add_fault(HOLD)
    uploads: list[Upload] = []

    async def work() -> None:
        async with uploader_on(fake) as uploader:
            uploads.append(start(fake, uploader))

    task = asyncio.create_task(work())
    await reached(fake, HOLD)
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([task])
    assert task.cancelled()
    await stopped(fake, uploads)


# -- shutting down -----------------------------------------------------------------------------------------------------


async def test_a_shutdown_stops_what_runs_and_raises_nothing(fake: FakeFrameio) -> None:
    fake.add_fault(HOLD)
    async with uploader_on(fake) as uploader:
        uploads = [start(fake, uploader) for _ in range(2)]
        await reached(fake, HOLD, 2)
        async with asyncio.timeout(5):
            await uploader.shutdown(0.01)
        assert uploader.uploads == ()
    await stopped(fake, uploads)


async def test_a_shutdown_gives_running_uploads_their_grace(fake: FakeFrameio) -> None:
    fake.add_fault(HOLD)
    async with uploader_on(fake) as uploader:
        upload = start(fake, uploader)
        await reached(fake, HOLD)
        asyncio.get_running_loop().call_soon(fake.release)
        async with asyncio.timeout(10):
            await uploader.shutdown(600)
        assert upload.result.id == fake.files[0].id


async def test_after_a_shutdown_nothing_can_be_started(fake: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        await uploader.shutdown()
        with pytest.raises(RuntimeError, match="was shut down"):
            start(fake, uploader)
        await uploader.shutdown()
    assert fake.requests == []


async def test_a_shutdown_raises_no_error_of_an_upload_that_fails_meanwhile(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(slow := Fault(on="status", do="hold"))
    async with uploader_on(fake) as uploader:
        upload = start(fake, uploader)
        await reached(fake, slow)
        fake.fail(fake.files[0].id)
        asyncio.get_running_loop().call_soon(fake.release)
        await uploader.shutdown(600)
        with pytest.raises(ConfirmationError, match="says that the upload failed"):
            _ = upload.result
    assert not our_records(caplog)


# -- entering ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_it_may_be_entered_in_one_task_and_left_in_another(fake: FakeFrameio) -> None:
    uploader = uploader_on(fake)
    await asyncio.create_task(uploader.__aenter__())
    fake.add_fault(HOLD)
    upload = await asyncio.create_task(_start_in_a_task(fake, uploader))
    await reached(fake, HOLD)
    fake.release()
    await asyncio.create_task(uploader.__aexit__(None, None, None))
    assert upload.result.id == fake.files[0].id


async def _start_in_a_task(fake: FakeFrameio, uploader: Uploader) -> Upload:
    return start(fake, uploader)


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_it_works_as_a_fixture(fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]) -> None:
    path = make_file(PART + 1)
    await uploader.upload(path, folder_id=fake.folder_id)
    assert fake.files[0].sha256 == sha256(path)


async def test_an_idle_one_holds_no_task(fake_frameio: FakeFrameio) -> None:
    """The fake runs in a thread of its own here: every task of this loop is ours."""
    async with uploader_on(fake_frameio) as uploader:
        assert other_tasks() == {asyncio.current_task()} & other_tasks()
        await start(fake_frameio, uploader)
        assert other_tasks() == {asyncio.current_task()} & other_tasks()
    assert fake_frameio.files[0].complete


async def test_it_is_entered_once(fake: FakeFrameio) -> None:
    uploader = uploader_on(fake)
    async with uploader:
        with pytest.raises(RuntimeError, match="entered once"):
            await uploader.__aenter__()
    with pytest.raises(RuntimeError, match="entered once"):
        await uploader.__aenter__()


async def test_outside_of_its_block_nothing_works(fake: FakeFrameio) -> None:
    uploader = uploader_on(fake)
    with pytest.raises(RuntimeError, match="not entered"):
        start(fake, uploader)
    with pytest.raises(RuntimeError, match="not entered"):
        await uploader.status("x")
    async with uploader:
        late = uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)
    with pytest.raises(RuntimeError, match="shut down"):
        await late
    with pytest.raises(RuntimeError):
        uploader.statistics()


@pytest.mark.parametrize(
    "base_url",
    ["api.frame.io", "ftp://api.frame.io", "", " https://h", "https://h/\n", "https://h/\t/x", "https://h/a b"],
)
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Uploader("token", base_url=base_url)


async def test_an_upload_needs_an_account(fake: FakeFrameio) -> None:
    async with uploader_on(fake, account_id=None) as uploader:
        with pytest.raises(ValueError, match="account_id="):
            uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)
        file = await uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id, account_id=fake.account_id)
    assert file.account_id == fake.account_id


async def test_a_conflict_that_is_not_known_is_refused(fake: FakeFrameio, uploader: Uploader) -> None:
    unknown: Any = "overwrite"
    with pytest.raises(ValueError, match="overwrite"):
        uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id, conflict=unknown)


# -- what it tells, and its bounds -------------------------------------------------------------------------------------


async def test_it_tells_what_it_is_doing(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(number=1, status=500))
    fake.add_fault(HOLD)
    async with uploader_on(fake, limits=Limits(parts=2, api_pacing=False)) as uploader:
        assert (uploader.uploads, uploader.statistics().uploads) == ((), 0)
        upload = uploader.upload(some_bytes(3 * PART), name="take.mov", folder_id=fake.folder_id).start()
        other = start(fake, uploader)
        await reached(fake, HOLD, 2)
        async with asyncio.timeout(5):
            while not uploader.statistics().waiting:  # noqa: ASYNC110  # a limiter tells of its queue only when asked
                await asyncio.sleep(0)
        now = uploader.statistics()
        assert set(uploader.uploads) == {upload, other}
        assert (now.slots, now.in_flight, now.uploads) == (2, 2, 2)
        assert now.waiting >= 1
        fake.release()
        await asyncio.gather(upload, other)
        then = uploader.statistics()
        assert (then.in_flight, then.waiting, then.uploads, then.retries) == (0, 0, 0, 1)
        assert uploader.uploads == ()


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["without debug mode"])
async def test_ten_thousand_uploads_begun_at_once_make_no_more_placeholders_than_there_are_places(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_file(10)
    fake.add_fault(HOLD)
    async with uploader_on(fake) as uploader:
        uploads = [uploader.upload(path, folder_id=fake.folder_id).start() for _ in range(10_000)]
        await reached(fake, HOLD, FIRST)
        async with asyncio.timeout(10):
            await fake.until(lambda fake: len(fake.files) == Limits().files)
        assert len(open_files(tmp_path)) == Limits().files
        assert uploader.statistics().uploads == 10_000
        await uploader.shutdown(0)
    assert all(upload.done for upload in uploads)
    assert sum(seen.operation == "create" for seen in fake.requests) == Limits().files
    assert fake.files == ()


async def test_all_uploads_together_keep_to_the_limit_of_parts(
    fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    path = make_file(2 * PART)
    async with uploader_on(fake, limits=Limits(parts=2, api_pacing=False)) as uploader:
        await asyncio.gather(*(uploader.upload(path, folder_id=fake.folder_id) for _ in range(3)))
    assert fake.max_parts_in_flight == 2
    assert all(file.complete for file in fake.files)


async def test_a_file_that_waits_for_confirmation_takes_no_place(fake: FakeFrameio) -> None:
    fake.add_fault(slow := Fault(on="status", do="hold", times=1))
    async with uploader_on(fake, limits=Limits(files=1, api_pacing=False)) as uploader:
        first = start(fake, uploader, "first.mov")
        await reached(fake, slow)
        await start(fake, uploader, "second.mov")
        assert not first.done
        fake.release()
    assert first.result.name == "first.mov"


async def test_an_upload_that_fails_frees_its_place(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=Limits(files=1, parts=1, api_pacing=False)) as uploader:
        for _ in range(3):
            with pytest.raises(SourceError):
                await uploader.upload("/does/not/exist.mov", folder_id=fake.folder_id)
        fake.add_fault(Fault(status=403))
        with pytest.raises(PartRejected):
            await start(fake, uploader)
        await start(fake, uploader)
    assert len(fake.files) == 1


@pytest.mark.parametrize("given", [{"limits": {"files": 2}}, {"timeouts": 30}, {"retry": None}])
def test_settings_of_another_type_are_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^expected (Limits|Timeouts|RetryPolicy)\(\.\.\.\), not "):
        Uploader("t", **given)
