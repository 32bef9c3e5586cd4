"""A caller's connection pool that is used up: waiting for it is nobody's failure, has a bound, and is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import pytest
from yarl import URL

from aioframeio_upload import ApiError, ApiRetrying, Limits, PartExhausted, PartRetrying, RetryPolicy, Timeouts
from aioframeio_upload._core.redact import Secret
from aioframeio_upload._io.flow_control import STRETCH, CallDeadline, StallGuard
from aioframeio_upload._io.http_client import open_http_session, request
from aioframeio_upload._io.http_errors import describe_pool
from aioframeio_upload._io.s3_put import PutStages
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, reached, sha256, some_bytes, uploader_on

HELD = Fault(on="accounts", do="hold", times=None)
"""What the host application asks for, and does not get for a while."""
CONTENT = some_bytes(3 * PART)


@asynccontextmanager
async def used_up(fake: FakeFrameio, **bounds: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A session all of whose connections the host's own requests use, until the fault is released."""
    fake.add_fault(HELD)
    connector = aiohttp.TCPConnector(**bounds)
    count = bounds.get("limit_per_host") or bounds["limit"]
    headers = {"Authorization": f"Bearer {fake.token}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        asked = [asyncio.create_task(_ask(session, fake)) for _ in range(count)]
        await reached(fake, HELD, count)
        yield session
        fake.release(HELD)
        assert await asyncio.gather(*asked) == [200] * count


async def _ask(session: aiohttp.ClientSession, fake: FakeFrameio) -> int:
    async with session.get(f"{fake.url}/v4/accounts") as answer:
        await answer.read()
        return answer.status


# -- the bound, and what is said ---------------------------------------------------------------------------------------

BOUNDS: list[tuple[dict[str, int], str]] = [
    ({"limit": 2}, r"limit=2"),
    ({"limit": 3, "limit_per_host": 1}, r"limit=3 and limit_per_host=1"),
]
ADVICE = r"raise limit= or limit_per_host= of the session's connector, or use a smaller Limits\(parts=\)"


@pytest.mark.parametrize(("bounds", "words"), BOUNDS)
async def test_an_api_call_without_a_connection_of_the_pool_names_the_pool(
    fake: FakeFrameio, bounds: dict[str, int], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        used_up(fake, **bounds) as session,
        uploader_on(fake, session=session, timeouts=Timeouts(pool=0.05)) as uploader,
    ):
        expected = rf"no connection of the session's pool \({words}\) was free within 0.05 s; {ADVICE}"
        with pytest.raises(ApiError, match=expected) as caught:
            await uploader.status("x")
    assert caught.value.status is None
    assert not [request for request in fake.requests if request.operation == "status"]
    assert "waiting for it" not in caplog.text


@pytest.mark.parametrize(("bounds", "words"), BOUNDS)
async def test_a_part_without_a_connection_of_the_pool_names_the_pool_and_is_no_rejection(
    fake: FakeFrameio, bounds: dict[str, int], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with uploader_on(fake) as uploader:
        plan = await uploader.plan(CONTENT, name="take.mov", folder_id=fake.folder_id)
    async with (
        used_up(fake, **bounds) as session,
        uploader_on(fake, session=session, timeouts=Timeouts(pool=0.05)) as uploader,
    ):
        expected = rf"no connection of the session's pool \({words}\) was free within 0.05 s; {ADVICE}"
        with pytest.raises(PartExhausted, match=expected):
            await uploader.send_parts(plan, CONTENT, [1])
        assert uploader.statistics().retries == 0
    assert not [request for request in fake.requests if request.operation == "part"]
    assert "waiting for it" not in caplog.text


def test_a_connector_that_tells_no_limit_is_called_limited() -> None:
    assert describe_pool(None, 600) == "no connection of the session's pool (limited) was free within 600 s"


# -- what aiohttp tells ------------------------------------------------------------------------------------------------


class Heard:
    """The stages of a request, in order."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.is_queued = asyncio.Event()

    def queued(self) -> None:
        self.stages.append("queued")
        self.is_queued.set()

    def admitted(self) -> None:
        self.stages.append("admitted")

    def sent(self) -> None:
        self.stages.append("sent")


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_a_request_is_told_that_it_is_queued_and_that_it_no_longer_is(fake: FakeFrameio) -> None:
    async with used_up(fake, limit=1) as session:
        own = open_http_session(session)
        heard = Heard()

        async def ask(stages: Heard) -> int:
            url = Secret(URL(f"{fake.url}/v4/me"))
            async with await request(own, "GET", url, headers={}, stages=stages) as answer:
                return answer.status

        asked = asyncio.create_task(ask(heard))
        await heard.is_queued.wait()
        assert heard.stages == ["queued"]
        fake.release(HELD)
        assert await asked == 401
        assert (heard.stages[:2], heard.stages[-1]) == (["queued", "admitted"], "sent")
        at_once = Heard()
        await ask(at_once)
        assert at_once.stages == ["sent"]
        await own.close()


# -- what the wait counts towards --------------------------------------------------------------------------------------


def left(timeout: asyncio.Timeout) -> float:
    when = timeout.when()
    assert when is not None
    return when - asyncio.get_running_loop().time()


@pytest.mark.parametrize("expect", [False, True])
async def test_the_clock_of_an_attempt_begins_anew_after_the_queue(expect: bool) -> None:
    guard = StallGuard(30.0, 300.0, 600.0)
    stages = PutStages(guard, expect)
    async with guard.deadline:
        stages.queued()
        assert guard.is_queued
        assert left(guard.deadline) == pytest.approx(600, abs=5)
        stages.admitted()
        assert not guard.is_queued
        assert left(guard.deadline) == pytest.approx(30, abs=5)
        stages.sent()
        assert stages.is_asked is expect


async def test_the_clock_of_a_call_stands_still_in_the_queue_and_who_waits_for_the_call_is_told() -> None:
    told: list[float] = []
    call = CallDeadline(60.0, 600.0, told.append)
    async with call.timeout:
        assert left(call.timeout) == pytest.approx(60, abs=5)
        call.queued()
        assert call.is_queued
        assert left(call.timeout) == pytest.approx(600, abs=5)
        assert told == [STRETCH]
        call.admitted()
        assert not call.is_queued
        assert left(call.timeout) == pytest.approx(60, abs=5)
    assert call._telling is None


@pytest.mark.parametrize("kind", ["call", "attempt"])
async def test_a_request_that_is_queued_again_and_again_waits_no_longer_in_all(kind: str) -> None:
    call, guard = CallDeadline(60.0, 0.0), StallGuard(60.0, 60.0, 0.0)
    stages: Any = call if kind == "call" else guard
    timeout = call.timeout if kind == "call" else guard.deadline

    async def make() -> None:
        async with timeout:
            stages.queued()
            stages.admitted()
            stages.queued()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await make()
    assert stages.is_queued
    stages.admitted()
    assert stages.is_queued, "how it ended stays known"


@pytest.mark.slow
async def test_an_upload_outlasts_a_pool_that_is_used_up_for_longer_than_every_other_limit(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    limits, impatient = Timeouts(connect=1, api=1, stall=1, confirm=1), RetryPolicy(attempts=1, patience=0)
    async with (
        used_up(fake, limit=2) as session,
        uploader_on(fake, session=session, timeouts=limits, retry=impatient) as first,
        uploader_on(fake, session=session, timeouts=limits, retry=impatient, limits=Limits(parts=8)) as second,
    ):
        uploads = [uploader.upload(CONTENT, name="x", folder_id=fake.folder_id).start() for uploader in (first, second)]
        with anyio.move_on_after(1.5):
            await asyncio.Event().wait()
        assert not any(upload.done for upload in uploads)
        fake.release(HELD)
        for upload in uploads:
            await upload
            assert [event async for event in upload if isinstance(event, ApiRetrying | PartRetrying)] == []
    assert {file.sha256 for file in fake.files} == {sha256(CONTENT)}
    assert "no connection" not in caplog.text
