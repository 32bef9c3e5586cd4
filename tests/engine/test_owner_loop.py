"""An Uploader and its uploads belong to one event loop: from anywhere else they say so, and nothing is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from aioframeio_upload import AsyncFrameioUploader, Limits, Plan, Upload, Uploader
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, QUICK, reached, some_bytes, uploader_on

CONTENT = some_bytes(PART)
ELSEWHERE = "was entered on another event loop"


async def in_another_loop(begin: Callable[[], Awaitable[Any]]) -> BaseException | None:
    """What it raises in a loop of its own, in a thread of its own."""

    async def call() -> None:
        await begin()

    async def outcome() -> BaseException | None:
        (raised,) = await asyncio.gather(asyncio.create_task(call()), return_exceptions=True)
        return raised

    async with asyncio.timeout(10):
        return await asyncio.to_thread(asyncio.run, outcome())


async def entered(upload: Any) -> None:
    async with upload:
        pass


async def iterated(upload: Any) -> None:
    async for _ in upload:
        pass


async def as_a_task(upload: Any) -> None:
    await asyncio.create_task(upload)


async def as_a_cancelled_task(upload: Any) -> None:
    task = asyncio.create_task(upload)
    task.cancel()
    await task


async def called(method: Callable[[], object]) -> None:
    method()


USES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "await": lambda upload: upload,
    "async with": entered,
    "async for": iterated,
    "task": as_a_task,
    "cancelled task": as_a_cancelled_task,
    "start": lambda upload: called(upload.start),
    "planned": lambda upload: upload.planned(),
    "cancel": lambda upload: called(upload.cancel),
    "pause": lambda upload: called(upload.pause),
    "resume": lambda upload: called(upload.resume),
}


@pytest.mark.parametrize("use", USES)
async def test_a_new_upload_of_another_loop_is_not_touched(fake: FakeFrameio, uploader: Uploader, use: str) -> None:
    upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    raised = await in_another_loop(lambda: USES[use](upload))
    assert isinstance(raised, RuntimeError)
    assert ELSEWHERE in str(raised)
    assert not uploader.uploads
    assert not fake.requests
    assert not upload.done
    assert (await upload).outcome == "uploaded"


@pytest.mark.parametrize("use", USES)
async def test_a_running_upload_of_another_loop_is_not_touched(fake: FakeFrameio, uploader: Uploader, use: str) -> None:
    held = Fault(do="hold")
    fake.add_fault(held)
    upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id).start()
    await reached(fake, held)
    raised = await in_another_loop(lambda: USES[use](upload))
    assert isinstance(raised, RuntimeError)
    assert ELSEWHERE in str(raised)
    fake.release()
    assert (await upload).outcome == "uploaded"


async def test_a_folder_of_another_loop_is_not_touched(fake: FakeFrameio, uploader: Uploader, tmp_path: Any) -> None:
    folder = uploader.upload_folder(tmp_path, folder_id=fake.folder_id)
    for use in USES.values():
        assert ELSEWHERE in str(await in_another_loop(partial(use, folder)))
    await folder


async def test_a_finished_upload_gives_its_result_anywhere(fake: FakeFrameio, uploader: Uploader) -> None:
    upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    file = await upload
    results: list[Any] = []

    async def look() -> None:
        results.append(await upload)
        results.append(upload.result)

    assert await in_another_loop(look) is None
    assert results == [file, file]


async def test_no_verb_works_on_another_loop(fake: FakeFrameio, uploader: Uploader) -> None:
    plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
    before = len(fake.requests)
    verbs: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: uploader.plan(CONTENT, name="a", folder_id=fake.folder_id),
        lambda: uploader.send_parts(plan, CONTENT, [1]),
        lambda: uploader.confirm(plan),
        lambda: uploader.status(plan.file_id),
        lambda: uploader.delete(plan.file_id),
        lambda: uploader.remote_upload("https://h/a", folder_id=fake.folder_id, name="a"),
        lambda: uploader.pending(),
        lambda: uploader.resume_pending(),
        lambda: uploader.discard(plan.file_id),
        lambda: uploader.shutdown(),
        lambda: uploader.__aexit__(None, None, None),
    ]
    for verb in verbs:
        raised = await in_another_loop(verb)
        assert isinstance(raised, RuntimeError), verb
        assert ELSEWHERE in str(raised)
    assert len(fake.requests) == before
    await uploader.execute(plan, CONTENT)  # it is open still


async def test_it_may_be_used_from_another_thread_by_its_loop(fake: FakeFrameio, uploader: Uploader) -> None:
    loop = asyncio.get_running_loop()

    async def upload() -> str:
        return (await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)).outcome

    ended = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(upload(), loop).result(10))
    assert ended == "uploaded"


def test_two_runs_of_asyncio_cannot_share_an_uploader(fake_frameio: FakeFrameio) -> None:
    fake = fake_frameio
    uploader = uploader_on(fake)

    async def leave_entered() -> Upload:
        await uploader.__aenter__()
        return uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)

    async def clean(upload: Upload) -> None:
        with pytest.raises(RuntimeError, match=ELSEWHERE):
            await upload
        with pytest.raises(RuntimeError, match=ELSEWHERE):
            await uploader.__aexit__(None, None, None)

    with asyncio.Runner() as first:
        upload = first.run(leave_entered())
        with asyncio.Runner() as second:
            second.run(clean(upload))
        upload.cancel()  # plain code of the same thread, between two runs of its loop
        first.run(uploader.__aexit__(None, None, None))
    assert not fake.files


def test_what_drives_coroutines_without_asyncio_is_told_so() -> None:
    """As trio does; it sends into the coroutine, and no loop of asyncio's runs."""
    uploader = Uploader("a-token", account_id="a", base_url="http://127.0.0.1:1", retry=QUICK, limits=Limits())
    upload = uploader.upload(b"x", name="a", folder_id="f")
    asset = {"id": "i", "name": "a", "file_size": 1, "upload_urls": [{"size": 1, "url": "http://127.0.0.1:1/p"}]}
    drop_in = AsyncFrameioUploader(asset, b"x")
    for begin in (
        lambda: uploader.__aenter__(),
        lambda: entered(upload),
        lambda: iterated(upload),
        lambda: uploader.plan(b"x", name="a", folder_id="f"),
        lambda: uploader.status("f"),
        lambda: uploader.shutdown(),
        lambda: drop_in.upload(),
    ):
        coroutine = begin()
        with pytest.raises(RuntimeError, match="no running event loop: an Uploader needs asyncio's"):
            coroutine.send(None)
    with pytest.raises(RuntimeError, match="no running event loop"):
        upload.send(None)
    assert not upload.done
    upload.cancel()
    assert upload.done


def test_trio_is_named_where_it_runs() -> None:
    trio = pytest.importorskip("trio")

    async def enter() -> None:
        async with Uploader("a-token", account_id="a"):
            pass

    with pytest.raises(RuntimeError, match="this is trio"):
        trio.run(enter)


def test_a_plan_is_read_anywhere() -> None:
    """Records have no loop."""
    asset = {"id": "i", "name": "a", "file_size": 1, "upload_urls": [{"size": 1, "url": "http://127.0.0.1:1/p"}]}
    assert Plan.from_response(asset).size == 1
