"""How the service is reached: over a caller's connector, through a proxy, with a TLS context of the caller's."""

from __future__ import annotations

import asyncio
import base64
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import trustme

from aioframeio_upload import ApiError, Limits, RetryPolicy, Uploader
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_both_loops, sha256, some_bytes, uploader_on
from tests.support.canned import answer, canned
from tests.support.frames import shown_by

DATA = some_bytes(2 * PART + 1)


async def send(fake: FakeFrameio, uploader: Uploader) -> None:
    await uploader.upload(DATA, name="take.mov", folder_id=fake.folder_id)
    assert fake.files[-1].sha256 == sha256(DATA)


# -- a caller's session ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_nothing_of_a_callers_session_but_its_connector_is_used(fake: FakeFrameio) -> None:
    """Its timeouts would end every request, and what else it has would break a signature or tell S3 a secret."""
    jar = aiohttp.CookieJar(unsafe=True)
    jar.update_cookies({"session": "secret"})
    async with aiohttp.ClientSession(
        headers={"Authorization": "Bearer of-the-caller", "X-Mine": "1", "Content-Type": "text/plain"},
        cookie_jar=jar,
        raise_for_status=True,
        timeout=aiohttp.ClientTimeout(total=1e-6),
    ) as session:
        async with uploader_on(fake, session=session) as uploader:
            await send(fake, uploader)
            with pytest.raises(ApiError, match="404"):
                await uploader.status("none")
        assert not session.closed
        assert session.connector is not None
        assert not session.connector.closed
    for seen in fake.requests:
        assert not {"X-Mine", "Cookie"} & set(seen.headers)
        authorization = seen.headers.get("Authorization")
        assert authorization == (None if seen.operation == "part" else f"Bearer {fake.token}")
        if seen.operation == "part":
            assert seen.headers["Content-Type"] == "video/quicktime"
            assert (seen.headers["x-amz-acl"], seen.headers.get("Transfer-Encoding")) == ("private", None)


async def test_basic_auth_of_a_callers_session_reaches_no_request(fake: FakeFrameio) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp 4 takes headers instead
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "secret"))
    async with session, uploader_on(fake, session=session) as uploader:
        await send(fake, uploader)
    assert not any(seen.headers.get("Authorization", "").startswith("Basic") for seen in fake.requests)
    assert not any("Authorization" in seen.headers for seen in fake.requests if seen.operation == "part")


async def test_two_uploaders_share_a_connector(fake: FakeFrameio) -> None:
    async with aiohttp.ClientSession() as session:
        async with uploader_on(fake, session=session) as first:
            await send(fake, first)
        async with uploader_on(fake, session=session) as second:
            await send(fake, second)
    assert len(fake.files) == 2


async def test_no_more_parts_are_in_flight_than_a_callers_connector_has_connections(fake: FakeFrameio) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        uploader_on(fake, session=session) as uploader,
    ):
        assert uploader.statistics().slots == 1
        await send(fake, uploader)
    assert fake.max_parts_in_flight == 1


async def test_a_closed_session_is_refused(fake: FakeFrameio) -> None:
    async with aiohttp.ClientSession() as session:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await uploader_on(fake, session=session).__aenter__()


# -- a proxy -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def proxy_to(fake: FakeFrameio) -> AsyncIterator[tuple[str, list[str]]]:
    """A forward proxy for plain HTTP that notes the first lines it is sent; every host is the fake to it."""
    lines: list[str] = []
    port = int(fake.url.rpartition(":")[2])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(1 << 16):
            lines.extend(line.decode("latin-1") for line in block.split(b"\r\n") if line.endswith(b" HTTP/1.1"))
            writer.write(block)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, behind[1]), pump(behind[0], writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lines


async def test_api_and_parts_go_through_the_proxy(fake: FakeFrameio) -> None:
    async with proxy_to(fake) as (proxy, lines), uploader_on(fake, proxy=proxy) as uploader:
        await send(fake, uploader)
    assert len(lines) == len(fake.requests)
    assert sum(line.startswith(f"PUT {fake.url}/") for line in lines) == 3
    assert sum(line.startswith(f"POST {fake.url}/v4/") for line in lines) == 1


async def test_each_host_has_the_proxy_that_a_callable_chooses(fake: FakeFrameio) -> None:
    """API and S3 are different hosts elsewhere; here they differ by their names only."""
    asked: list[str] = []
    async with proxy_to(fake) as (proxy, lines):

        def choose(url: str) -> str | None:
            asked.append(url)
            return proxy if len(asked) > 1 else None

        async with uploader_on(fake, proxy=choose) as uploader:
            await send(fake, uploader)
    assert set(asked) == {fake.url}, "neither a path nor a query"
    assert [line for line in lines if line.startswith("PUT ")]
    assert not [line for line in lines if "local_upload" in line]


@pytest.mark.parametrize("proxy", [7, "proxy:3128", "socks5://me:hunter2@host", ""])
async def test_a_callable_that_chooses_no_proxy_is_an_error_of_ours_without_its_password(
    fake: FakeFrameio, proxy: Any
) -> None:
    async with uploader_on(fake, proxy=lambda _: proxy) as uploader:
        with pytest.raises(ApiError, match="the proxy for 127\\.0\\.0\\.1 must be a URL such as") as caught:
            await uploader.status("f")
    assert "hunter2" not in str(caught.value)

    def fail(_: str) -> str:
        raise LookupError("hunter2")

    async with uploader_on(fake, proxy=fail) as uploader:
        with pytest.raises(ApiError, match="the proxy callable raised LookupError") as caught:
            await uploader.status("f")
    assert not shown_by(caught.value, "hunter2")


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("proxy.example:3128", "must be a URL such as"),
        ("//proxy.example:3128", "must be a URL such as"),
        ("http://", "must be a URL such as"),
        ("http://a..b:3128", "must be a URL such as"),
        ("http://proxy.example:99999", "must be a URL such as"),
        ("http://me:hunter2@", "must be a URL such as"),
        ("ftp://me:hunter2@proxy", "must be a URL such as"),
        ("", "must be a URL such as"),
        (b"http://proxy:1", "not bytes"),
        ("socks5://me:hunter2@proxy:1080", "SOCKS is not supported"),
        ("SOCKS5H://proxy:1080", "SOCKS is not supported"),
        ("http://a%3Ab:hunter2@proxy:3128", "a user name with a colon"),
    ],
)
def test_what_is_no_http_proxy_is_refused_in_the_constructor(proxy: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Uploader("a-token", proxy=proxy)
    assert "proxy" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("userinfo", "expected"),
    [
        ("u:%C4%98", "u:Ę"),
        ("u:Ę", "u:Ę"),
        ("%C3%BC:p%40ss%3Aword%2F", "ü:p@ss:word/"),
        ("u:%FF", b"u:\xff"),
        ("u", "u:"),
        ("u:a+b", "u:a+b"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_user_and_password_of_a_proxy_are_utf_8(userinfo: str, expected: str | bytes, scheme: str) -> None:
    """With each request in plain text; with the CONNECT that opens a tunnel, and never beyond it."""
    async with canned(answer(403, b"{}")) as server:
        proxy, base_url = f"http://{userinfo}@{server.url[7:]}", f"{scheme}://api.invalid"
        retry = RetryPolicy(attempts=1, patience=0)
        async with Uploader("a-token", account_id="a", base_url=base_url, proxy=proxy, retry=retry) as uploader:
            with pytest.raises(ApiError):
                await uploader.status("f")
    (head,) = server.heads
    (sent,) = (line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("proxy-auth"))
    wanted = expected.encode() if isinstance(expected, str) else expected
    assert base64.b64decode(sent.removeprefix("Basic ")) == wanted
    assert f"{userinfo}@" not in head
    assert head.startswith("GET" if scheme == "http" else "CONNECT")


async def test_a_proxy_that_is_not_there_is_an_api_error_without_its_password(fake: FakeFrameio) -> None:
    impatient = RetryPolicy(attempts=2, base=0.01, cap=0.01, patience=0)
    async with uploader_on(fake, proxy="http://user:hunter2@127.0.0.1:9", retry=impatient) as uploader:
        with pytest.raises(ApiError, match="the proxy could not be reached") as caught:
            await send(fake, uploader)
    assert caught.value.status is None
    assert "hunter2" not in str(caught.value)


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def of_the_server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def of_the_caller(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def secure(of_the_server: ssl.SSLContext) -> Iterator[FakeFrameio]:
    """In a thread of its own: asyncio tells a server's loop of a handshake that failed as of an error in a callback."""
    with FakeFrameio(rate_limits=False, part_size=PART, ssl=of_the_server).in_thread() as fake:
        yield fake


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_api_and_parts_are_verified_with_a_callers_context(
    secure: FakeFrameio, of_the_caller: ssl.SSLContext
) -> None:
    async with uploader_on(secure, ssl=of_the_caller, limits=Limits(parts=2, api_pacing=False)) as uploader:
        await send(secure, uploader)
    assert secure.url.startswith("https://")


async def test_a_certificate_that_is_not_trusted_is_an_api_error(secure: FakeFrameio) -> None:
    async with uploader_on(secure) as uploader:
        with pytest.raises(ApiError, match="certificate is not trusted"):
            await send(secure, uploader)
    assert secure.requests == []
