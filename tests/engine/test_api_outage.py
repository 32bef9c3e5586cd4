"""A call that finds no connection waits as parts do; what cannot heal ends at once, at the API as at S3."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from aioframeio_upload import (
    ApiError,
    ApiRetrying,
    Event,
    FolderUpload,
    PartRejected,
    Plan,
    RetryPolicy,
    Timeouts,
    Upload,
    Uploader,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk, reached, uploader_on
from tests.support.canned import answer, canned
from tests.support.seen import told
from tests.support.trees import plant

FEW = RetryPolicy(attempts=2, base=0.01, cap=0.02)
SLOW = RetryPolicy(attempts=8, base=60, cap=60)
"""Who tries again with this one does not end within a test."""


async def failed(upload: Upload | FolderUpload, times: int) -> list[ApiRetrying]:
    """Listen until so many tries have failed."""
    found: list[ApiRetrying] = []
    async for event in upload:
        if isinstance(event, ApiRetrying):
            found.append(event)
            if len(found) >= times:
                break
    return found


# -- an outage ---------------------------------------------------------------------------------------------------------


async def test_a_file_that_is_created_while_the_link_is_down_is_there_when_it_comes_back(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    async with uploader_on(fake, retry=FEW) as uploader:
        async with fake.offline():
            upload = uploader.upload(b"x", name="a", folder_id=fake.folder_id).start()
            tries = await failed(upload, 9)
        await upload
    assert [event.attempt for event in tries] == [1] * 9
    assert all("no connection" in str(event.error) and event.delay <= FEW.cap for event in tries)
    assert len(fake.files) == 1
    address = fake.url.removeprefix("http://")
    # Once for all tries, and no file can have been made twice.
    assert told(caplog) == [f"no connection to {address} (ECONNREFUSED); waiting for it, for up to 600 s"]


async def test_an_outage_while_it_is_confirmed_takes_none_of_the_time_to_confirm(fake: FakeFrameio) -> None:
    held = Fault(on="status", do="hold")
    fake.add_fault(held)
    policy = RetryPolicy(attempts=3, base=0.2, cap=0.2)
    async with uploader_on(fake, retry=policy, timeouts=Timeouts(confirm=1)) as uploader:
        upload = uploader.upload(b"x", name="a", folder_id=fake.folder_id).start()
        await reached(fake, held)
        async with fake.offline():
            await failed(upload, 30)  # 3 s on average
        await upload


async def test_an_outage_while_a_folder_is_confirmed_takes_none_of_that_time_either(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    on_disk(plant, tmp_path, {"a.mov": b"1", "b.mov": b"2"})
    held = Fault(on="list_files", do="hold")
    fake.add_fault(held)
    policy = RetryPolicy(attempts=3, base=0.2, cap=0.2)
    async with uploader_on(fake, retry=policy, timeouts=Timeouts(confirm=1)) as uploader:
        upload = uploader.upload_folder(tmp_path, folder_id=fake.folder_id).start()
        await reached(fake, held)
        async with fake.offline():
            await failed(upload, 30)
        await upload


async def test_patience_ends_and_then_each_try_counts(fake: FakeFrameio) -> None:
    policy = RetryPolicy(attempts=3, base=0.02, cap=0.02, patience=0.2)
    async with fake.offline(), uploader_on(fake, retry=policy) as uploader:
        upload = uploader.upload(b"x", name="a", folder_id=fake.folder_id)
        events = [event.attempt async for event in upload if isinstance(event, ApiRetrying)]
        with pytest.raises(ApiError, match="no connection"):
            await upload
    assert events.count(1) > 3
    assert events[-1] == 2


async def test_a_cancelled_upload_does_not_wait_for_the_link(fake: FakeFrameio) -> None:
    async with fake.offline(), uploader_on(fake, retry=SLOW) as uploader:
        upload = uploader.upload(b"x", name="a", folder_id=fake.folder_id).start()
        await failed(upload, 1)
        upload.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([asyncio.ensure_future(swallow(upload))])


async def swallow(upload: Upload) -> None:
    with pytest.raises(Exception, match="cancelled"):
        await upload


class Silent(AbstractResolver):
    """Never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None:
        pass


@asynccontextmanager
async def unresolved(timeouts: Timeouts) -> AsyncIterator[tuple[Uploader, Silent]]:
    resolver = Silent()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as session,
        Uploader("t", account_id="a", session=session, timeouts=timeouts, retry=FEW) as uploader,
    ):
        yield uploader, resolver


async def test_a_name_that_is_never_found_uses_up_no_attempt() -> None:
    """`Timeouts.connect` does not cover it: the time for the whole call ends it."""
    async with unresolved(Timeouts(api=0.05)) as (uploader, _):
        upload = uploader.upload(b"x", name="a", folder_id="f").start()
        tries = await failed(upload, 3)
        upload.cancel()
        await swallow(upload)
    assert [event.attempt for event in tries] == [1] * 3
    assert "no connection to api.frame.io in time" in str(tries[0].error)


async def test_a_call_that_is_cancelled_before_it_left_has_made_no_file(caplog: pytest.LogCaptureFixture) -> None:
    async with unresolved(Timeouts()) as (uploader, resolver):
        upload = uploader.upload(b"x", name="a", folder_id="f").start()
        async with asyncio.timeout(5):
            await resolver.asked.wait()
        upload.cancel()
        await swallow(upload)
    assert told(caplog) == []


async def test_one_that_is_cancelled_after_it_left_may_have(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    held = Fault(on="create", do="hold")
    fake.add_fault(held)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(b"x", name="a", folder_id=fake.folder_id).start()
        await reached(fake, held)
        upload.cancel()
        await swallow(upload)
    assert "may have been made" in "".join(told(caplog))


# -- what cannot heal --------------------------------------------------------------------------------------------------


async def ends_at_once(uploader: Uploader, url: str) -> tuple[ApiError, PartRejected]:
    """Both are tried with a policy that would take minutes."""
    async with asyncio.timeout(10):
        upload = uploader.upload(b"x", name="a", folder_id="f")
        events: list[Event] = [event async for event in upload]
        with pytest.raises(ApiError) as refused:
            await upload
        assert not [event for event in events if isinstance(event, ApiRetrying)]
        data = {"id": "i", "name": "a", "file_size": 1, "upload_urls": [{"size": 1, "url": f"{url}/p?s=5ec2e7"}]}
        with pytest.raises(PartRejected) as rejected:
            await uploader.send_parts(Plan.from_response(data), b"x", [1])
        return refused.value, rejected.value


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[FakeFrameio]:
    """In a thread of its own: asyncio tells a server's loop of a handshake that failed as of an error in a callback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FakeFrameio(rate_limits=False, ssl=context).in_thread() as fake:
        yield fake


async def test_a_certificate_that_is_not_trusted_ends_both_at_once(secure: FakeFrameio) -> None:
    async with Uploader("t", account_id="a", base_url=secure.url, retry=SLOW) as uploader:
        refused, rejected = await ends_at_once(uploader, secure.url)
    assert "certificate is not trusted" in str(refused)
    assert "certificate is not trusted" in str(rejected)


@pytest.fixture
def modern(authority: trustme.CA) -> Iterator[str]:
    """A server of TLS 1.3. Over blocking sockets: asyncio resets the connection without saying why."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


async def test_a_version_of_tls_that_is_not_spoken_there_ends_both_at_once(modern: str, authority: trustme.CA) -> None:
    old = ssl.create_default_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.configure_trust(old)
    async with Uploader("t", account_id="a", base_url=modern, retry=SLOW, ssl=old) as uploader:
        refused, rejected = await ends_at_once(uploader, modern)
    assert "TLSV1_ALERT_PROTOCOL_VERSION" in str(refused)
    assert "TLSV1_ALERT_PROTOCOL_VERSION" in str(rejected)


async def test_a_server_that_speaks_no_tls_ends_both_at_once() -> None:
    async with canned(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        url = server.url.replace("http:", "https:")
        async with Uploader("t", account_id="a", base_url=url, retry=SLOW) as uploader:
            refused, rejected = await ends_at_once(uploader, url)
    assert "WRONG_VERSION_NUMBER" in str(refused)
    assert "WRONG_VERSION_NUMBER" in str(rejected)


@pytest.mark.parametrize("status", [403, 407])
async def test_a_proxy_that_does_not_let_us_through_ends_both_at_once(status: int) -> None:
    async with (
        canned(answer(status, b"")) as proxy,
        Uploader("t", account_id="a", retry=SLOW, proxy=f"http://me:hunter2@{proxy.url[7:]}") as uploader,
    ):
        refused, rejected = await ends_at_once(uploader, "https://bucket.s3.amazonaws.com")
    for error in (refused, rejected):
        assert f"the proxy refused ({status})" in str(error)
        assert "hunter2" not in str(error)


async def test_a_proxy_whose_own_link_is_down_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async with canned(answer(503, b"")) as proxy, Uploader("t", account_id="a", retry=FEW, proxy=proxy.url) as uploader:
        upload = uploader.upload(b"x", name="a", folder_id="f").start()
        tries = await failed(upload, 5)
        upload.cancel()
        await swallow(upload)
    assert [event.attempt for event in tries] == [1] * 5
    assert "the proxy refused (503)" in str(tries[0].error)
    assert told(caplog) == ["api.frame.io: the proxy refused (503); waiting for it, for up to 600 s"]


async def test_without_patience_an_outage_ends_after_all_attempts(fake: FakeFrameio) -> None:
    async with fake.offline(), uploader_on(fake, retry=replace(FEW, patience=0)) as uploader:
        with pytest.raises(ApiError, match="no connection"):
            await uploader.status("f")
