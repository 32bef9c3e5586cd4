"""What is hooked into aiohttp sees no credential of a request: wrappers, a caller's connector, variables of frames."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import pytest
from yarl import URL

from aioframeio_upload import Uploader
from aioframeio_upload._core.redact import Secret
from aioframeio_upload._io.http_client import open_http_session, request
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, some_bytes, uploader_on
from tests.support.canned import answer, canned
from tests.support.frames import renderings

CONTENT = some_bytes(2 * PART)
ROOT = Path(__file__).resolve().parents[2]
LINKED = "X-Amz-"


async def upload(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(number=1, status=500))
    fake.add_fault(Fault(number=2, do="redirect"))
    await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(aiohttp.ClientSession, "__init__"), (aiohttp.ClientSession, "_request"), (aiohttp.ClientRequest, "send")],
)
async def test_what_is_patched_into_aiohttp_sees_no_request(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("called")

    monkeypatch.setattr(owner, name, refuse)
    async with uploader_on(fake) as uploader:
        await upload(fake, uploader)


async def test_hooks_of_a_callers_session_see_no_request(fake: FakeFrameio) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError("called")

    hooks = aiohttp.TraceConfig()
    for signal in (hooks.on_request_start, hooks.on_request_headers_sent, hooks.on_connection_create_start):
        signal.append(refuse)
    async with (
        aiohttp.ClientSession(trace_configs=[hooks], middlewares=[refuse]) as session,  # type: ignore[list-item]
        uploader_on(fake, session=session) as uploader,
    ):
        await upload(fake, uploader)


LOOKED_AT = ("aioframeio_upload", "aiohttp", "anyio", "asyncio")
"""Packages whose frames are looked at: those of the test, and of pytest with the names of all tests, quote links."""


class Watched(aiohttp.TCPConnector):
    """A connector of a caller's that looks at each request, and at the variables of every frame that led to it."""

    def __init__(self, known: Callable[[str], bool]) -> None:
        super().__init__()
        self.requests = 0
        self.found: list[str] = []
        self._known = known

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **options: Any) -> Any:
        self.requests += 1
        on_disk(self.look_around, req, sys._getframe())  # Rich's `repr` reads files
        return await super().connect(req, *args, **options)

    def look_around(self, req: aiohttp.ClientRequest, frame: FrameType | None) -> None:
        self.look(f"{req.url} {req.headers} {req.request_info} {vars(req)}", "the request")
        while frame is not None:
            if any(name in Path(frame.f_code.co_filename).parts for name in LOOKED_AT):
                for name, value in frame.f_locals.items():
                    for text in renderings(value):
                        self.look(text, f"{frame.f_code.co_qualname}: {name}")
            frame = frame.f_back

    def look(self, text: str, where: str) -> None:
        if self._known(text):
            self.found.append(where)


async def test_a_callers_connector_and_the_frames_above_it_have_no_credential(fake: FakeFrameio) -> None:
    source = "https://bucket.example/a.mov?X-Amz-Signature=c0ffee-of-the-source"
    connector = Watched(lambda text: LINKED in text or fake.token in text or "c0ffee" in text)
    async with aiohttp.ClientSession(connector=connector) as session, uploader_on(fake, session=session) as uploader:
        await upload(fake, uploader)
        await uploader.remote_upload(source, folder_id=fake.folder_id, name="a")
    assert connector.requests > 5
    assert connector.found == []


async def test_a_proxys_login_is_hidden_from_a_connector_too() -> None:
    login = aiohttp.encode_basic_auth("me", "the-password")
    async with canned(answer(200, b"")) as proxy:
        connector = Watched(lambda text: "the-password" in text or login in text)
        address = f"http://me:the-password@127.0.0.1:{URL(proxy.url).port}"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            Uploader("a-token", account_id="a", base_url="http://api.invalid", session=session, proxy=address) as one,
        ):
            await one.delete("f")
        assert f"Proxy-Authorization: {login}\r\n" in proxy.heads[0]
    assert connector.found == []


async def test_a_response_and_an_exception_of_aiohttp_have_no_query() -> None:
    url = "http://{}/a%2Fb?X-Amz-Signature=%2F@1#f"
    async with canned(answer(500, b""), b"no HTTP\r\n\r\n") as server, open_http_session(None) as session:
        link = Secret(URL(url.format(server.url[7:]), encoded=True))
        async with await request(session, "GET", link, headers={"Authorization": "Bearer t0ken"}) as response:
            assert LINKED not in repr(response)
            with pytest.raises(aiohttp.ClientResponseError) as caught:
                response.raise_for_status()
            seen = f"{caught.value!r} {caught.value} {response.request_info}"
        with pytest.raises(aiohttp.ClientError) as broken:
            await request(session, "GET", link, headers={"Authorization": "Bearer t0ken"})
        seen += f"{broken.value!r} {broken.value}"
        assert LINKED not in seen
        assert "t0ken" not in seen
        for head in server.heads:
            assert head.startswith("GET /a%2Fb?X-Amz-Signature=%2F@1 HTTP/1.1\r\n")
            assert "Authorization: Bearer t0ken" in head


REPLACED = """
import asyncio, sys
import aiohttp

own, seen = aiohttp.ClientSession._request, []

async def _request(self, method, url, **options):
    seen.append((method, str(url), options))
    return await own(self, method, url, **options)

aiohttp.ClientSession._request = _request

from aioframeio_upload import Uploader

async def main():
    async with Uploader(sys.argv[1], account_id=sys.argv[2], base_url=sys.argv[3]) as uploader:
        await uploader.upload(b"content", name="a", folder_id=sys.argv[4])

asyncio.run(main())
print(seen)
"""


@pytest.mark.needs_program
async def test_what_replaced_a_function_before_the_import_and_kept_no_original_sees_no_credential(
    fake: FakeFrameio,
) -> None:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", REPLACED, fake.token, fake.account_id, fake.url, fake.folder_id),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    stdout, _ = await running.communicate()
    said = stdout.decode()
    assert running.returncode == 0
    assert "PUT" in said
    assert LINKED not in said
    assert fake.token not in said
