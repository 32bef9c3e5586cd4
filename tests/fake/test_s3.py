"""The PUT of a part on the wire: which requests the fake's S3 accepts, which it refuses, and when."""

from __future__ import annotations

import asyncio
import hashlib
import xml.etree.ElementTree as ET
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import pytest

from aioframeio_upload.testing import FakeFrameio
from tests.conftest import on_both_loops

BODY = bytes(range(256)) * 40


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        return ET.fromstring(self.body).findtext("Code")


class Wire:
    """A connection on which a test writes bytes directly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, target: str, headers: dict[str, str], body: bytes = b"", method: str = "PUT") -> None:
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(head[0].split()[1]), headers, body)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def connect(fake: FakeFrameio) -> Wire:
    address = urlsplit(fake.url)
    return Wire(*await asyncio.open_connection(address.hostname, address.port))


async def create(fake: FakeFrameio, name: str = "take.mov", size: int = len(BODY)) -> dict[str, Any]:
    path = f"/v4/accounts/{fake.account_id}/folders/{fake.folder_id}/files/local_upload"
    body = {"data": {"name": name, "file_size": size}}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {fake.token}"}) as session,
        session.post(fake.url + path, json=body) as response,
    ):
        assert response.status == 201
        document: dict[str, Any] = (await response.json())["data"]
        return document


def target_of(asset: dict[str, Any], number: int = 1) -> str:
    url = urlsplit(asset["upload_urls"][number - 1]["url"])
    return f"{url.path}?{url.query}"


def right_headers(fake: FakeFrameio, length: int = len(BODY)) -> dict[str, str]:
    return {
        "Host": urlsplit(fake.url).netloc,
        "Content-Type": "video/quicktime",
        "x-amz-acl": "private",
        "Content-Length": str(length),
    }


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_a_part_sent_as_its_url_asks_is_stored_and_stitched() -> None:
    async with FakeFrameio() as fake:
        wire = await connect(fake)
        wire.send(target_of(await create(fake)), right_headers(fake), BODY)
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
        assert answer.headers["x-amz-request-id"]
        await fake.until(lambda fake: fake.files[0].complete)
        (file,) = fake.files
        assert file.sha256 == hashlib.sha256(BODY).hexdigest()
        assert (file.status, file.parts_received, file.etags) == ("uploaded", {1}, (hashlib.md5(BODY).hexdigest(),))
        assert [(seen.operation, seen.number, seen.status, seen.bytes_received) for seen in fake.requests][1] == (
            "part",
            1,
            200,
            len(BODY),
        )
        await wire.close()
        await fake.until(lambda fake: fake.connections == 0)


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        pytest.param({"Content-Type": "video/mp4"}, 403, "SignatureDoesNotMatch", id="content type"),
        pytest.param({"Content-Type": None}, 403, "SignatureDoesNotMatch", id="no content type"),
        pytest.param({"x-amz-acl": None}, 403, "SignatureDoesNotMatch", id="no acl"),
        pytest.param({"x-amz-acl": "public-read"}, 403, "SignatureDoesNotMatch", id="acl"),
        pytest.param({"Host": "localhost"}, 403, "SignatureDoesNotMatch", id="host"),
        pytest.param({"Authorization": "Bearer x"}, 400, "InvalidArgument", id="authorization"),
        pytest.param({"x-amz-meta-x": "1"}, 403, "AccessDenied", id="not signed"),
        pytest.param({"Content-Length": None}, 411, "MissingContentLength", id="no length"),
        pytest.param({"Content-Length": None, "Transfer-Encoding": "chunked"}, 501, "NotImplemented", id="chunked"),
        pytest.param({"Content-Length": str(6 * 1024**3)}, 400, "EntityTooLarge", id="more than 5 GiB"),
        pytest.param({"Expect": "200-ok"}, 417, "ExpectationFailed", id="an expectation S3 does not know"),
    ],
)
@pytest.mark.parametrize("expecting", [False, True], ids=["with its body", "asking first"])
async def test_a_wrong_header_is_refused_as_s3_does(
    changed: dict[str, str | None], status: int, code: str, expecting: bool
) -> None:
    if "Expect" in changed and expecting:
        return
    async with FakeFrameio() as fake:
        asset = await create(fake)
        wire = await connect(fake)
        wanted: dict[str, str | None] = {**right_headers(fake), **({"Expect": "100-continue"} if expecting else {})}
        headers = {name: value for name, value in (wanted | changed).items() if value is not None}
        length = 0 if expecting or headers.get("Content-Length") is None else len(BODY)
        chunks = b"" if expecting else b"3\r\nabc\r\n0\r\n\r\n"
        wire.send(target_of(asset), headers, chunks if "Transfer-Encoding" in headers else BODY[:length])
        if code == "EntityTooLarge" and not expecting:
            await wire.close()
            return
        answer = await wire.answer()
        assert (answer.status, answer.code) == (status, code)
        assert answer.headers["content-type"] == "application/xml"
        assert answer.headers["x-amz-request-id"] == ET.fromstring(answer.body).findtext("RequestId")
        assert fake.files[0].parts_received == set()
        await wire.close()


async def test_a_url_that_was_decoded_and_encoded_again_is_refused() -> None:
    async with FakeFrameio() as fake:
        url = (await create(fake))["upload_urls"][0]["url"]
        headers = {"Content-Type": "video/quicktime", "x-amz-acl": "private"}
        async with aiohttp.ClientSession() as session, session.put(url, data=BODY, headers=headers) as response:
            assert response.status == 403
            assert "SignatureDoesNotMatch" in await response.text()


async def test_an_expired_link_is_refused() -> None:
    async with FakeFrameio(link_lifetime=0) as fake:
        asset = await create(fake)
        wire = await connect(fake)
        # The signing time is truncated to a second, so a link with a lifetime of 0 has expired when it is made.
        wire.send(target_of(asset), right_headers(fake), BODY)
        answer = await wire.answer()
        assert (answer.code, b"Request has expired" in answer.body) == ("AccessDenied", True)
        await wire.close()


async def test_a_client_that_asks_first_gets_a_100_and_may_then_send() -> None:
    async with FakeFrameio() as fake:
        asset = await create(fake)
        wire = await connect(fake)
        wire.send(target_of(asset), right_headers(fake) | {"Expect": "100-continue"})
        assert (await wire.answer()).status == 100
        wire.writer.write(BODY)
        assert (await wire.answer()).status == 200
        wire.send(target_of(asset), right_headers(fake), BODY)
        assert (await wire.answer()).status == 200, "the connection stays usable"
        await wire.close()


async def test_an_incomplete_body_leaves_the_part_as_it_was() -> None:
    async with FakeFrameio(part_size=len(BODY) // 2) as fake:
        asset = await create(fake)
        half = len(BODY) // 2
        wire = await connect(fake)
        wire.send(target_of(asset), right_headers(fake, half), BODY[:half])
        assert (await wire.answer()).status == 200
        wire.send(target_of(asset), right_headers(fake, half), b"something else")
        await fake.until(lambda fake: fake.requests[-1].bytes_received == 14)
        await wire.close()
        await fake.until(lambda fake: fake.parts_in_flight == 0 and fake.connections == 0)
        (file,) = fake.files
        assert fake.requests[-1].status is None
        assert file.etags == (hashlib.md5(BODY[:half]).hexdigest(), None)


async def test_a_part_may_be_sent_again_and_the_last_one_counts() -> None:
    half = len(BODY) // 2
    async with FakeFrameio(part_size=half) as fake:
        asset = await create(fake)
        wire = await connect(fake)
        for number, slice_ in [(1, bytes(half)), (1, BODY[:half]), (2, BODY[half:])]:
            wire.send(target_of(asset, number), right_headers(fake, half), slice_)
            assert (await wire.answer()).status == 200
        await fake.until(lambda fake: fake.files[0].complete)
        assert fake.files[0].sha256 == hashlib.sha256(BODY).hexdigest()
        wire.send(target_of(asset, 1), right_headers(fake, half), bytes(half))
        assert (await wire.answer()).status == 200
        assert fake.files[0].sha256 == hashlib.sha256(BODY).hexdigest(), "a stitched file does not change"
        await wire.close()


async def test_a_part_of_another_length_is_accepted_and_the_file_fails() -> None:
    async with FakeFrameio() as fake:
        asset = await create(fake)
        wire = await connect(fake)
        wire.send(target_of(asset), right_headers(fake, 3), b"abc")
        assert (await wire.answer()).status == 200
        assert (fake.files[0].complete, fake.files[0].failed) == (False, True)
        await wire.close()


async def test_parts_of_a_deleted_file_are_accepted_and_dropped() -> None:
    async with FakeFrameio() as fake:
        asset = await create(fake)
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {fake.token}"}) as session,
            session.delete(f"{fake.url}/v4/accounts/{fake.account_id}/files/{asset['id']}") as response,
        ):
            assert response.status == 204
        wire = await connect(fake)
        wire.send(target_of(asset), right_headers(fake), BODY)
        assert (await wire.answer()).status == 200
        assert (fake.files, [file.id for file in fake.deleted]) == ((), [asset["id"]])
        await wire.close()


async def test_without_a_store_bytes_are_only_hashed() -> None:
    async with FakeFrameio(store=False) as fake:
        asset = await create(fake)
        wire = await connect(fake)
        wire.send(target_of(asset), right_headers(fake), BODY)
        answer = await wire.answer()
        assert answer.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
        await fake.until(lambda fake: fake.files[0].complete)
        assert fake.files[0].sha256 is None
        await wire.close()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param(1, (1,), id="one byte"),
        pytest.param(21_136_250, (10_568_125,) * 2, id="the C2C guide's clip"),
        pytest.param(50_645_990, (16_881_997, 16_881_997, 16_881_996), id="the V4 upload guide's file"),
        pytest.param(68_087_113_964, (1_945_346_114,) * 34 + (1_945_346_088,), id="framebridge's large file"),
    ],
)
async def test_files_are_divided_as_observed_at_the_service(size: int, expected: tuple[int, ...]) -> None:
    async with FakeFrameio() as fake:
        asset = await create(fake, size=size)
        assert tuple(url["size"] for url in asset["upload_urls"]) == expected
        single = len(expected) == 1
        assert urlsplit(asset["upload_urls"][0]["url"]).path == (
            f"/uploads/{asset['id']}/original.mov" if single else f"/parts/{asset['id']}/part_1"
        )


async def test_an_unknown_media_type_is_null_and_signed_as_octet_stream() -> None:
    async with FakeFrameio(media_type=lambda name: None) as fake:
        asset = await create(fake)
        assert asset["media_type"] is None
        wire = await connect(fake)
        headers = right_headers(fake) | {"Content-Type": "application/octet-stream"}
        wire.send(target_of(asset), headers, BODY)
        assert (await wire.answer()).status == 200
        await wire.close()
