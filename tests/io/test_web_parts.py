"""The file objects of web frameworks are read, or refused with a reason before anything is created."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aioframeio_upload import Uploader
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, sha256, some_bytes

SIZE = 2 * PART + 77
DATA = some_bytes(SIZE)


async def posted(handle: Callable[[web.Request], Awaitable[web.Response]], data: Any, **options: Any) -> Any:
    """Post to an aiohttp application with one handler, and return the JSON of the answer."""
    app = web.Application()
    app.router.add_post("/", handle)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/", data=data, **options)
        return await answer.json()


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "in pieces"])
async def test_parts_of_aiohttps_multipart_reader(fake: FakeFrameio, uploader: Uploader, pause: bool) -> None:
    bodies = [DATA, b"\r\n--", b"\r\n", DATA[:1000]]

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 70_001):
            await asyncio.sleep(0)
            yield body[start : start + 70_001]

    async def handle(request: web.Request) -> web.Response:
        reader, names = await request.multipart(), []
        for body in bodies:
            part = await reader.next()
            assert isinstance(part, aiohttp.BodyPartReader)
            names.append((await uploader.upload(part, folder_id=fake.folder_id, size=len(body))).name)
        return web.json_response(names)

    with aiohttp.MultipartWriter("form-data") as form:
        for number, body in enumerate(bodies):
            part = form.append(pieces(body) if pause else io.BytesIO(body))
            part.set_content_disposition("form-data", name="takes", filename=f"{number}.mov")
    assert await posted(handle, form) == ["0.mov", "1.mov", "2.mov", "3.mov"]
    assert [file.sha256 for file in fake.files] == [sha256(body) for body in bodies]


class MayBeEmpty:
    """A stream that sometimes returns no bytes, as a multipart reader may, and reports its end by `at_eof()`."""

    def __init__(self, data: bytes) -> None:
        self.data, self.turn = data, 0

    async def read(self, *, decode: bool = False) -> bytes:
        raise AssertionError("not all of it at once")

    async def read_chunk(self, size: int = 8192) -> bytes:
        self.turn += 1
        if self.turn % 2:
            return b""
        chunk, self.data = self.data[:size], self.data[size:]
        return chunk

    def at_eof(self) -> bool:
        return not self.data


async def test_an_empty_chunk_is_not_the_end(fake: FakeFrameio, uploader: Uploader) -> None:
    await uploader.upload(MayBeEmpty(DATA), name="a", size=SIZE, folder_id=fake.folder_id)  # type: ignore[arg-type]
    assert fake.files[0].sha256 == sha256(DATA)


async def test_an_answer_whose_read_takes_no_size_is_refused_and_its_stream_taken(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    async def download(request: web.Request) -> web.Response:
        return web.Response(body=DATA)

    app = web.Application()
    app.router.add_get("/", download)
    async with TestClient(TestServer(app)) as client, client.get("/") as answer:
        source: Any = answer
        with pytest.raises(TypeError, match=r"of type ClientResponse: its read\(\) takes no size.*`content`"):
            uploader.upload(source, name="a", size=SIZE, folder_id=fake.folder_id)
        await uploader.upload(answer.content, name="a", size=SIZE, folder_id=fake.folder_id)
    assert fake.files[0].sha256 == sha256(DATA)


class Whole:
    def read(self) -> bytes:
        return DATA


class WholeLater:
    async def read(self, *, decode: bool = False) -> bytes:
        return DATA


@pytest.mark.parametrize("source", [Whole(), WholeLater(), httpx.Response(200, content=b"x")])
async def test_an_object_that_can_only_be_read_as_a_whole_is_refused(
    fake: FakeFrameio, uploader: Uploader, source: Any
) -> None:
    for make in (uploader.upload, uploader.plan):
        with pytest.raises(TypeError, match="takes no size"):
            await make(source, name="a", size=SIZE, folder_id=fake.folder_id)
    assert fake.requests == []


class Pieces:
    """An object that can be iterated, and has a `read()` that returns everything."""

    async def read(self) -> bytes:
        raise AssertionError("not all of it at once")

    def __aiter__(self) -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, SIZE, PART):
                yield DATA[start : start + PART]

        return pieces()


async def test_what_can_be_iterated_is(fake: FakeFrameio, uploader: Uploader) -> None:
    await uploader.upload(Pieces(), name="a", size=SIZE, folder_id=fake.folder_id)
    assert fake.files[0].sha256 == sha256(DATA)
