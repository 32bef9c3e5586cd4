"""The traps of aiohttp and S3 that are known (DESIGN.md, section 4): none of them may affect an upload again."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from aioframeio_upload import (
    Limits,
    PartCompleted,
    PartExhausted,
    PartRetrying,
    Plan,
    RetryPolicy,
    SourceChanged,
    Timeouts,
    UploadCancelled,
    UploadCompleted,
    UploadedFile,
    Uploader,
)
from aioframeio_upload._io.http_client import KEEPALIVE, open_http_session
from aioframeio_upload._io.part_payload import UNSENT
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, sha256, some_bytes, uploader_on
from tests.support.canned import answer, canned
from tests.support.seen import operations, puts, watched

CONTENT = some_bytes(3 * PART)
ONCE = RetryPolicy(attempts=1)
ONE_SLOT = Limits(parts=1, api_pacing=False)


def plan_to(*urls: str) -> Plan:
    """Return a plan of parts of one byte each."""
    parts = [{"size": 1, "url": url} for url in urls]
    data = {"id": "i", "name": "a", "file_size": len(parts), "parent_id": "f", "upload_urls": parts}
    return Plan.from_response(data, account_id="a")


@asynccontextmanager
async def narrow_session() -> AsyncIterator[tuple[aiohttp.ClientSession, list[socket.socket]]]:
    """Yield a session whose connections buffer little in the kernel, and every socket that it ever made."""
    made: list[socket.socket] = []

    def make(address: Any) -> socket.socket:
        made.append(sock := socket.socket(*address[:3]))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        sock.setblocking(False)
        return sock

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=make)) as session:
        yield session, made


# -- aiohttp resends by itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("do", ["reset", "close", "lose_answer", "garbled"])
@pytest.mark.parametrize("size", [1, PART])
async def test_aiohttp_does_not_repeat_a_put_whose_connection_breaks(fake: FakeFrameio, do: Any, size: int) -> None:
    # aiohttp resends a PUT once by itself after a disconnect, when the payload is replayable.
    fake.add_fault(Fault(do=do, times=None))
    async with uploader_on(fake, retry=ONCE) as uploader:
        with pytest.raises(PartExhausted):
            await uploader.upload(some_bytes(size), name="a", folder_id=fake.folder_id)
    assert puts(fake) == {1: 1}


# -- time --------------------------------------------------------------------------------------------------------------


async def test_a_write_that_nobody_reads_is_given_up_after_the_stall_timeout(fake: FakeFrameio) -> None:
    # There is no write timeout in aiohttp: a peer that stops reading holds a PUT for ever.
    fake.add_fault(Fault(do="stall", number=2, after=10_000))
    async with (
        narrow_session() as (session, _),
        uploader_on(fake, timeouts=Timeouts(stall=1), session=session) as uploader,
    ):
        events, file = await watched(uploader, fake, CONTENT)
    assert isinstance(file, UploadedFile)
    reasons = [str(event.error) for event in events if isinstance(event, PartRetrying) and event.number == 2]
    assert reasons[0] == "part 2, attempt 1: no byte moved for 1 s"
    fake.release()  # its end of the connection still does not read


@pytest.mark.parametrize("how", ["cancel", "stall"])
async def test_a_put_that_is_given_up_leaves_no_socket_open(how: str) -> None:
    # asyncio's transport.close() waits until what is buffered was sent, and this peer never reads on.
    stalled = Fault(do="stall", number=1, after=10_000, times=None)
    async with FakeFrameio(rate_limits=False, faults=[stalled]) as fake, narrow_session() as (session, made):
        timeouts = Timeouts(stall=0.5 if how == "stall" else 30)
        async with uploader_on(fake, session=session, timeouts=timeouts, retry=ONCE) as uploader:
            upload = uploader.upload(some_bytes(PART), name="a", folder_id=fake.folder_id).start()
            await fake.until(lambda fake: fake.hits(stalled) == 1)
            if how == "cancel":
                upload.cancel()
            with pytest.raises((UploadCancelled, PartExhausted)):
                await upload
        await session.close()
        await asyncio.sleep(0)
        left = [sock for sock in made if sock.fileno() != -1]
        fake.release()
        assert left == []


@pytest.mark.slow
async def test_a_slow_part_is_not_a_stalled_one() -> None:
    # A timeout for the whole part would abort a part that is only slow: this one takes longer than the stall timeout,
    # though bytes move all the time. The stall timeout is longer than the pauses of a busy machine.
    stall, content, slow = 4, some_bytes(4 * PART), Fault(do="trickle", rate=4 * PART / 6)
    async with (
        FakeFrameio(rate_limits=False, part_size=4 * PART, faults=[slow]) as fake,
        narrow_session() as (session, _),
        uploader_on(fake, timeouts=Timeouts(stall=stall), session=session) as uploader,
    ):
        upload = uploader.upload(content, name="a", folder_id=fake.folder_id)
        await upload
        (seconds,) = [event.seconds async for event in upload if isinstance(event, PartCompleted)]
        assert seconds > stall
        assert uploader.statistics().retries == 0
        assert fake.hits(slow) == 1
        assert puts(fake) == {1: 1}
        assert fake.files[0].sha256 == sha256(content)


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system cannot")
async def test_the_kernel_buffers_little_on_a_slow_connection_and_more_on_a_fast_one() -> None:
    slow = Fault(do="trickle", name="slow", rate=PART / 2)
    async with (
        FakeFrameio(rate_limits=False, part_size=8 * PART, faults=[slow]) as fake,
        narrow_session() as (session, made),
        uploader_on(fake, session=session) as uploader,
    ):
        await uploader.upload(some_bytes(1000), name="fast", folder_id=fake.folder_id)  # the kernel accepts it at once
        assert held_ahead(made).isdisjoint({UNSENT})
        upload = uploader.upload(some_bytes(8 * PART), name="slow", folder_id=fake.folder_id).start()
        async for event in upload:
            if UNSENT in held_ahead(made):
                upload.cancel()
            assert not isinstance(event, UploadCompleted)


def held_ahead(sockets: list[socket.socket]) -> set[int]:
    opened = [sock for sock in sockets if sock.fileno() != -1]
    return {sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) for sock in opened}


async def test_aiohttps_default_of_300_s_for_a_whole_request_is_not_in_force(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiohttp.client, "DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    fake.add_fault(Fault(do="trickle", number=2, rate=4 * PART))
    async with uploader_on(fake) as uploader:
        events, file = await watched(uploader, fake, CONTENT)
    assert isinstance(file, UploadedFile)
    assert not [event for event in events if isinstance(event, PartRetrying)]


async def test_a_callers_timeout_is_not_taken_for_a_stall(fake: FakeFrameio) -> None:
    # `asyncio.timeout` within `asyncio.timeout`: the outer one must not be taken for ours, nor be swallowed by it.
    held = Fault(do="hold", number=2, times=None)
    fake.add_fault(held)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await upload
        assert [event async for event in upload if isinstance(event, PartRetrying)] == []
    assert fake.files == ()
    assert puts(fake)[2] <= 1


async def test_a_stall_inside_a_callers_timeout_is_retried(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(do="hold", number=2))
    async with uploader_on(fake, timeouts=Timeouts(stall=0.5, answer=0.5)) as uploader, asyncio.timeout(20):
        _, file = await watched(uploader, fake, CONTENT)
    assert isinstance(file, UploadedFile)


async def test_a_cancel_scope_of_anyio_leaves_no_placeholder(fake: FakeFrameio, uploader: Uploader) -> None:
    # anyio cancels by level: clean-up that awaits outside a shield would be cancelled again and again.
    held = Fault(do="hold", number=2, times=None)
    fake.add_fault(held)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def pull() -> None:
                await fake.until(lambda fake: fake.hits(held) == 1)
                scope.cancel()

            group.start_soon(pull)
            await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert scope.cancelled_caught
    assert (fake.files, len(fake.deleted)) == ((), 1)


# -- the body ----------------------------------------------------------------------------------------------------------


async def test_a_source_that_becomes_too_short_raises_and_does_not_hang(
    fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    # A body that is a byte short hangs until a timeout; a payload's exception becomes a connection error in aiohttp.
    path = make_file(len(CONTENT))
    held = Fault(do="hold", number=1)
    fake.add_fault(held)
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await fake.until(lambda fake: fake.hits(held) == 1)
        with on_disk(path.open, "r+b") as file:
            on_disk(file.truncate, 2 * PART - 1)
        fake.release(held)
        async with asyncio.timeout(5):
            with pytest.raises(SourceChanged) as caught:
                await upload
    assert caught.value.path == str(path)
    assert fake.files == ()


async def test_an_early_200_is_not_taken_for_success(fake: FakeFrameio) -> None:
    # `session.put()` returns at the headers, while the body is still being written.
    fake.add_fault(Fault(do="early", status=200, number=2, after=1000, linger=0.1, body=""))
    async with narrow_session() as (session, _), uploader_on(fake, session=session) as uploader:
        events, file = await watched(uploader, fake, CONTENT)
    assert isinstance(file, UploadedFile)
    assert fake.files[0].sha256 == sha256(CONTENT)
    (retry,) = (event for event in events if isinstance(event, PartRetrying))
    assert puts(fake) == {1: 1, 2: 2, 3: 1}
    assert retry.number == 2


async def stream() -> AsyncIterator[bytes]:
    for start in range(0, len(CONTENT), 300_000):
        yield CONTENT[start : start + 300_000]


@pytest.mark.parametrize("source", ["bytes", "path", "stream"])
async def test_a_put_has_a_length_and_no_header_that_s3_would_refuse(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path], source: str
) -> None:
    # No chunking, no compression, no second kind of authorization, no cookie; the type and the acl are signed.
    what: Any = {"bytes": CONTENT, "path": make_file(len(CONTENT)), "stream": stream()}[source]
    await uploader.upload(what, name="a.mov", size=len(CONTENT), folder_id=fake.folder_id)
    parts = [seen for seen in fake.requests if seen.operation == "part"]
    assert [seen.headers["Content-Length"] for seen in parts] == [str(PART)] * 3
    for seen in parts:
        assert seen.headers["Content-Type"] == "video/quicktime"
        assert seen.headers["x-amz-acl"] == "private"
        for unwanted in ("Transfer-Encoding", "Content-Encoding", "Authorization", "Cookie", "Content-MD5"):
            assert unwanted not in seen.headers
        assert [name for name in seen.headers if name.lower().startswith("x-amz-")] == ["x-amz-acl"]


# -- the URL -----------------------------------------------------------------------------------------------------------

ODD = "/parts/a%2Fb/c%40d'e~f?X-Amz-Meta=%2f%2F%40%27+%20~!*()&b=%7E%41&X-Amz-Signature=c0ffee&a=;,:"


async def test_a_link_is_used_byte_for_byte() -> None:
    # yarl would normalize %2f, %40, %27, %7E and %41, which then differ from what was signed.
    async with canned(answer(200, b"")) as s3, Uploader("t", base_url=s3.url) as uploader:
        await uploader.send_parts(plan_to(s3.url + ODD), b"x", [1])
    assert s3.heads[0].splitlines()[0] == f"PUT {ODD} HTTP/1.1"


@pytest.mark.parametrize("relative", [False, True])
async def test_a_307_is_followed_to_its_location_byte_for_byte(relative: bool) -> None:
    # aiohttp would follow by itself and encode the location again.
    async with canned() as here, Uploader("the-token", base_url=here.url) as uploader:
        here.answers += [answer(307, b"", location=ODD if relative else here.url + ODD), answer(200, b"")]
        await uploader.send_parts(plan_to(here.url + "/part?a=b"), b"x", [1])
    assert [head.splitlines()[0] for head in here.heads] == ["PUT /part?a=b HTTP/1.1", f"PUT {ODD} HTTP/1.1"]
    for head in here.heads:
        assert "content-length: 1" in head.lower()
        assert "x-amz-acl: private" in head.lower()
        assert "the-token" not in head


@pytest.mark.parametrize("status", [301, 302, 303, 308])
async def test_no_other_redirect_is_followed(status: int) -> None:
    async with canned(answer(200, b"")) as there, canned(answer(status, b"", location=there.url)) as here:
        async with Uploader("t", base_url=here.url) as uploader:
            with pytest.raises(Exception, match=str(status)):
                await uploader.send_parts(plan_to(here.url + "/part"), b"x", [1])
        assert (len(here.heads), there.heads) == (1, [])


# -- what may reach a signed request -----------------------------------------------------------------------------------


async def test_the_environment_adds_nothing_to_a_request(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `trust_env` reads netrc, which adds an Authorization that S3 refuses, and takes proxies from the environment.
    netrc = tmp_path / "netrc"
    on_disk(netrc.write_text, "default login me password secret\n")
    on_disk(netrc.chmod, 0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    for seen in fake.requests:
        authorization = seen.headers.get("Authorization")
        assert authorization == (None if seen.operation == "part" else f"Bearer {fake.token}")


async def test_of_a_callers_session_nothing_but_the_connector_is_used(fake: FakeFrameio) -> None:
    poisoned = aiohttp.ClientSession(
        headers={"Authorization": "Basic c2VjcmV0", "x-amz-acl": "public-read", "X-Poison": "1"},
        cookies={"session": "secret"},
        raise_for_status=True,
        timeout=aiohttp.ClientTimeout(total=0.001),
        connector=aiohttp.TCPConnector(limit=2),
    )
    async with poisoned as session:
        fake.add_fault(Fault(number=2, status=500))  # `raise_for_status` would lose its code
        async with uploader_on(fake, session=session) as uploader:
            events, file = await watched(uploader, fake, CONTENT)
        assert isinstance(file, UploadedFile)
        assert [event.error.code for event in events if isinstance(event, PartRetrying)] == ["InternalError"]
        assert not session.closed, "it is the caller's"
    for seen in fake.requests:
        assert "X-Poison" not in seen.headers
        assert "Cookie" not in seen.headers
    assert fake.max_parts_in_flight <= 2


# -- connections -------------------------------------------------------------------------------------------------------


async def test_parts_share_a_connection(fake: FakeFrameio) -> None:
    async with narrow_session() as (session, made), uploader_on(fake, session=session, limits=ONE_SLOT) as uploader:
        await uploader.upload(some_bytes(6 * PART), name="a", folder_id=fake.folder_id)
    assert sum(puts(fake).values()) == 6
    assert len(made) <= 2


async def test_idle_connections_are_dropped_before_s3_drops_them() -> None:
    # S3 drops them after about 5 s, aiohttp keeps them for 15: a PUT on a dead connection is a lost attempt.
    assert KEEPALIVE < 5
    async with open_http_session(None) as session:
        assert session.connector is not None
        assert session.connector._keepalive_timeout == KEEPALIVE


async def test_an_idle_uploader_holds_no_task(fake: FakeFrameio) -> None:
    before = asyncio.all_tasks()
    async with uploader_on(fake) as uploader:
        assert asyncio.all_tasks() == before
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        await fake.until(lambda fake: fake.parts_in_flight == 0)
        async with asyncio.timeout(10):
            while ours := {task for task in asyncio.all_tasks() - before if "RequestHandler" not in repr(task)}:
                await asyncio.wait(ours)


@pytest.mark.parametrize("do", ["reset", "close"])
async def test_a_reset_does_not_flood_the_log(fake: FakeFrameio, caplog: pytest.LogCaptureFixture, do: Any) -> None:
    # A write loop without a real await continues to write into a dead transport, and asyncio logs each write.
    caplog.set_level(logging.DEBUG)
    fake.add_fault(Fault(do=do, number=1, after=10_000, times=3))
    async with uploader_on(fake) as uploader:
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert caplog.text.count("socket.send() raised") < 10
    assert "never retrieved" not in caplog.text
    assert operations(fake).count("part") == 6
