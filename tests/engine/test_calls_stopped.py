"""Calls that are awaited elsewhere while the Uploader is shut down or left: they end, and leave nothing unsaid."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from aioframeio_upload import (
    ApiError,
    Limits,
    PartError,
    Plan,
    RetryPolicy,
    UploadCancelled,
    UploadedFile,
    Uploader,
    UploadError,
)
from aioframeio_upload._io.log import Lines
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, QUICK, our_records, reached, some_bytes, uploader_on

CONTENT = some_bytes(2 * PART)

CALLS: dict[str, tuple[str, Callable[[Uploader, FakeFrameio, Plan], Awaitable[Any]]]] = {
    "plan": ("create", lambda uploader, fake, _: uploader.plan(CONTENT, name="b", folder_id=fake.folder_id)),
    "send_parts": ("part", lambda uploader, _, plan: uploader.send_parts(plan, CONTENT, [1, 2])),
    "confirm": ("status", lambda uploader, _, plan: uploader.confirm(plan)),
    "status": ("status", lambda uploader, _, plan: uploader.status(plan.file_id)),
    "delete": ("delete", lambda uploader, _, plan: uploader.delete(plan.file_id)),
    "remote_upload": (
        "remote",
        lambda uploader, fake, _: uploader.remote_upload("https://h/b", folder_id=fake.folder_id, name="b"),
    ),
}


async def planned(fake: FakeFrameio) -> Plan:
    async with uploader_on(fake) as uploader:
        return await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)


async def begin(fake: FakeFrameio, uploader: Uploader, call: str, plan: Plan) -> asyncio.Task[Any]:
    """Begin it in another task; its request is held."""
    operation, function = CALLS[call]
    held = Fault(on=operation, do="hold", times=None)
    fake.add_fault(held)

    async def run() -> Any:
        return await function(uploader, fake, plan)

    task = asyncio.create_task(run())
    await reached(fake, held)
    return task


@pytest.mark.parametrize("call", CALLS)
async def test_a_shutdown_stops_it_and_raises_an_error_of_ours_there(
    fake: FakeFrameio, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = await planned(fake)
    async with uploader_on(fake) as uploader:
        task = await begin(fake, uploader, call, plan)
        await uploader.shutdown(0)
        assert task.done(), "it waits for the call's end"
        with pytest.raises(UploadCancelled, match="was shut down"):
            await task
        for refused in ("plan", "send_parts", "remote_upload"):
            with pytest.raises(RuntimeError, match="was shut down"):
                await CALLS[refused][1](uploader, fake, plan)
    fake.release()
    told = " ".join(record.getMessage() for record in our_records(caplog))
    if call == "remote_upload":
        assert "may have started anyway" in told
    assert not [file for file in fake.files if file.name == "b" and file.id not in told]


@pytest.mark.parametrize("call", CALLS)
async def test_leaving_by_an_exception_stops_it(fake: FakeFrameio, call: str) -> None:
    plan = await planned(fake)
    uploader = uploader_on(fake)
    await uploader.__aenter__()
    task = await begin(fake, uploader, call, plan)
    error = LookupError()
    await uploader.__aexit__(LookupError, error, None)
    with pytest.raises(UploadCancelled):
        await task
    fake.release()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("by", ["leaving", "a shutdown with time left"])
async def test_it_is_waited_for(fake: FakeFrameio, call: str, by: str) -> None:
    plan = await planned(fake)
    uploader = uploader_on(fake)
    await uploader.__aenter__()
    task = await begin(fake, uploader, call, plan)
    if call == "confirm":
        async with uploader_on(fake) as other:
            await other.send_parts(plan, CONTENT, [1, 2])
    ending = asyncio.create_task(uploader.shutdown(20) if by != "leaving" else uploader.__aexit__(None, None, None))
    await asyncio.sleep(0)
    fake.release()
    await ending
    await task
    await uploader.__aexit__(None, None, None)


async def test_an_upload_that_is_about_to_be_planned_leaves_nothing(fake: FakeFrameio) -> None:
    held = Fault(on="create", do="hold", times=None)
    fake.add_fault(held)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="b", folder_id=fake.folder_id).start()
        await reached(fake, held)
        await uploader.shutdown(0)
        assert upload.done
    fake.release()
    assert not fake.files


async def test_a_cancellation_of_the_callers_stays_one(fake: FakeFrameio) -> None:
    plan = await planned(fake)
    async with uploader_on(fake) as uploader:
        task = await begin(fake, uploader, "status", plan)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    fake.release()


# -- a caller's session that is closed too early -----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["session", "connector"])
@pytest.mark.parametrize("held", ["part", "create", "status"])
async def test_a_session_that_is_closed_under_an_upload_is_an_error_of_ours_and_leaves_no_placeholder(
    fake: FakeFrameio, what: str, held: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    fault = Fault(on=held, do="hold", times=None)
    fake.add_fault(fault)
    session = aiohttp.ClientSession()
    retry = RetryPolicy(attempts=2, base=0.01, cap=0.02, patience=0)
    async with uploader_on(fake, session=session, retry=retry) as uploader:
        upload = uploader.upload(CONTENT, name="b", folder_id=fake.folder_id).start()
        await reached(fake, fault)
        connector = session.connector
        assert connector is not None
        await (session.close() if what == "session" else connector.close())
        with pytest.raises(UploadError) as caught:
            await upload
        assert not isinstance(caught.value, UploadCancelled)
        assert "session that was given to the Uploader is closed" in str(caught.value)
        fake.release()
    await session.close()
    told = " ".join(record.getMessage() for record in our_records(caplog))
    if held == "part":
        assert not fake.files, "it was cleaned up by a connection of our own"
    if held == "create":
        assert "may have been made" in told


async def test_every_call_with_a_closed_session_is_an_error_of_ours(fake: FakeFrameio) -> None:
    plan = await planned(fake)
    session = aiohttp.ClientSession()
    async with uploader_on(fake, session=session, retry=RetryPolicy(attempts=1, patience=0)) as uploader:
        await session.close()
        for call in ("plan", "status", "confirm", "remote_upload"):
            with pytest.raises(ApiError, match="session that was given to the Uploader is closed"):
                await CALLS[call][1](uploader, fake, plan)
        with pytest.raises(PartError, match="session that was given to the Uploader is closed"):
            await CALLS["send_parts"][1](uploader, fake, plan)
        await uploader.delete(plan.file_id)  # removes over a connection of our own
    assert not fake.files


# -- plain http --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "warned"),
    [
        ("http://frameio.example", True),
        ("http://10.0.0.1:8080/api", True),
        ("http://localhost.example", True),
        ("http://localhost:8080", False),
        ("http://api.localhost", False),
        ("http://127.1.2.3", False),
        ("http://[::1]:1", False),
        ("https://frameio.example", False),
    ],
)
def test_plain_http_to_another_machine_is_warned_about_once(
    base_url: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Uploader("a-token", base_url=base_url)
    assert [record.levelname for record in our_records(caplog)] == ["WARNING"] * warned
    assert ("is not https" in caplog.text) == warned


def test_a_record_of_the_log_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    forged = "x\n2026-11-28 INFO all is well\x1b[2J\u202e"
    logging.getLogger("aioframeio_upload").warning("file %s: %s", forged, ValueError(forged))
    (record,) = our_records(caplog)
    assert record.getMessage().isprintable()
    assert "\\n2026-11-28" in record.getMessage()


def test_lines_of_our_own_stay_lines(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("aioframeio_upload").warning("%s:%s", "a\nb", Lines("\none\ntwo"))
    (record,) = our_records(caplog)
    assert record.getMessage() == "a\\nb:\none\ntwo"


async def test_a_files_name_forges_no_record(
    fake: FakeFrameio, make_file: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = make_file(0, "a\nERROR forged.mov")
    async with uploader_on(fake, limits=Limits(api_pacing=False), retry=QUICK) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        with pytest.raises(UploadError):
            _: UploadedFile = await upload
    assert all(record.getMessage().isprintable() for record in our_records(caplog))
