"""Each kind of fault does on the wire what its name says, and strikes the requests that it names."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from aioframeio_upload.testing._faults import KINDS, Faults
from tests.conftest import on_both_loops
from tests.fake.test_s3 import BODY, Wire, connect, create, right_headers, target_of

MD5 = hashlib.md5(BODY).hexdigest()


async def send(fake: FakeFrameio, body: bytes = BODY, headers: Mapping[str, str] = MappingProxyType({})) -> Wire:
    """Create a file and send its only part, or the beginning of it."""
    asset = await create(fake)
    wire = await connect(fake)
    wire.send(target_of(asset), right_headers(fake) | dict(headers), body)
    return wire


async def rest(wire: Wire) -> bytes | type[ConnectionError]:
    """Return the bytes that arrive until the connection ends, or the error that ended it."""
    try:
        return await wire.reader.read()
    except ConnectionResetError:
        return ConnectionResetError


def every_kind() -> list[Any]:
    return [pytest.param(Fault(do=kind), id=kind) for kind in KINDS]  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", every_kind())
def test_a_fault_survives_json(fault: Fault) -> None:
    assert Fault(**json.loads(json.dumps(dataclasses.asdict(fault)))) == fault


@pytest.mark.parametrize(
    "fields", [{"do": "explode"}, {"on": "create", "do": "kms"}, {"first": 0}, {"after": -1}, {"rate": 0}]
)
def test_a_fault_that_could_never_strike_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Fault(**fields)


def test_faults_strike_the_requests_that_they_name_and_no_others() -> None:
    faults = Faults()
    faults.add([Fault(number=2, first=2, times=2, status=500)])
    struck = [faults.strike("part", number, None) is not None for number in (1, 2, 2, 3, 2, 2)]
    assert struck == [False, False, True, False, True, False]
    assert faults.strike("create", 2, None) is None


def test_of_several_faults_that_are_due_one_strikes_at_a_time() -> None:
    faults = Faults()
    faults.add([Fault(on="*", do="reset"), Fault(on="part", do="answer", times=None)])
    struck = [faults.strike("part", 1, "a") for _ in range(3)]
    assert [armed.fault.do for armed in struck if armed] == ["reset", "answer", "answer"]


def test_a_fault_may_name_a_file() -> None:
    faults = Faults()
    faults.add([Fault(on="*", name="a")])
    assert faults.strike("part", 1, "b") is None
    assert faults.strike("part", 1, "a") is not None


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault(), 503, "SlowDown"),
        (Fault(status=500), 500, "InternalError"),
        (Fault(status=403, code="SignatureDoesNotMatch"), 403, "SignatureDoesNotMatch"),
        (Fault(code="RequestTimeout"), 400, "RequestTimeout"),
        (Fault(do="expire"), 403, "AccessDenied"),
        (Fault(do="redirect"), 307, "TemporaryRedirect"),
    ],
    ids=lambda value: value.do if isinstance(value, Fault) else str(value),
)
async def test_an_answering_fault_reads_the_body_and_stores_nothing(fault: Fault, status: int, code: str) -> None:
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake)
        answer = await wire.answer()
        assert (answer.status, answer.code) == (status, code)
        assert fake.requests[-1].bytes_received == len(BODY)
        assert (fake.hits(fault), fake.files[0].parts_received) == (1, set())
        await wire.close()


async def test_an_answer_may_carry_headers_and_any_body() -> None:
    fault = Fault(status=502, body="<html>", headers={"Retry-After": "7", "Content-Type": "text/html"})
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake)
        answer = await wire.answer()
        assert (answer.status, answer.body) == (502, b"<html>")
        assert (answer.headers["retry-after"], answer.headers["content-type"]) == ("7", "text/html")
        await wire.close()


@pytest.mark.parametrize("kind", ["expire", "redirect"])
async def test_a_refusing_fault_needs_no_body_where_the_client_asks_first(kind: Any) -> None:
    async with FakeFrameio(faults=[Fault(do=kind)]) as fake:
        wire = await send(fake, b"", {"Expect": "100-continue"})
        assert (await wire.answer()).status in (403, 307)
        assert await rest(wire) == b""
        await wire.close()


async def test_a_redirect_points_to_the_same_part_whose_signature_still_holds() -> None:
    async with FakeFrameio(faults=[Fault(do="redirect")]) as fake:
        wire = await send(fake)
        location = (await wire.answer()).headers["location"]
        assert location.startswith(fake.url)
        wire.send(location.removeprefix(fake.url), right_headers(fake), BODY)
        assert (await wire.answer()).status == 200
        await wire.close()


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_an_early_answer_comes_before_the_body_and_the_connection_is_reset() -> None:
    fault = Fault(do="early", after=1000, status=403)
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake, BODY[:1000])
        assert (await wire.answer()).status == 403
        assert fake.requests[-1].bytes_received == 1000
        await rest(wire)
        await wire.close()
        await fake.until(lambda fake: fake.connections == 0)


async def test_an_early_answer_needs_no_100() -> None:
    async with FakeFrameio(faults=[Fault(do="early")]) as fake:
        wire = await send(fake, b"", {"Expect": "100-continue"})
        assert (await wire.answer()).status == 503
        assert await rest(wire) == b""
        await wire.close()


async def test_an_early_answer_may_linger() -> None:
    async with FakeFrameio(faults=[Fault(do="early", linger=0.2)]) as fake:
        begun = time.monotonic()
        wire = await send(fake, BODY[:1])
        assert (await wire.answer()).status == 503
        await rest(wire)
        assert time.monotonic() - begun >= 0.2
        await wire.close()


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("after", [0, 1000, 10**9])
async def test_a_reset_is_an_rst_without_an_answer(after: int) -> None:
    fault = Fault(do="reset", after=after)
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake)
        assert await rest(wire) is ConnectionResetError
        await fake.until(lambda fake: fake.connections == 0)
        assert (fake.hits(fault), fake.requests[-1].status, fake.files[0].parts_received) == (1, None, set())
        assert fake.requests[-1].bytes_received == min(after, len(BODY))
        wire.writer.close()


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("sent", [1000, len(BODY)])
async def test_a_close_is_a_fin_without_an_answer(sent: int) -> None:
    fault = Fault(do="close", after=1000)
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake, BODY[:sent])
        assert await rest(wire) == b""
        await wire.close()
        await fake.until(lambda fake: fake.connections == 0)
        assert (fake.hits(fault), fake.requests[-1].status, fake.files[0].parts_received) == (1, None, set())


async def test_an_answer_can_be_lost_although_the_part_was_stored() -> None:
    async with FakeFrameio(faults=[Fault(do="lose_answer")]) as fake:
        wire = await send(fake)
        assert await rest(wire) == b""
        assert (fake.files[0].etags, fake.requests[-1].status) == ((MD5,), None)
        await wire.close()


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("after", [0, 1000])
async def test_a_stalled_part_is_not_read_until_it_is_released(after: int) -> None:
    fault = Fault(do="stall", after=after)
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake)
        await fake.until(lambda fake: fake.hits(fault) == 1)
        assert (fake.requests[-1].bytes_received, fake.parts_in_flight) == (after, 1)
        fake.release()
        assert (await wire.answer()).status == 200
        assert fake.files[0].etags == (MD5,)
        await wire.close()


async def test_a_stall_blocks_the_writes_of_the_sender() -> None:
    size = 64 * 1024 * 1024
    fault = Fault(do="stall", after=1000)
    async with FakeFrameio(faults=[fault], part_size=size, store=False) as fake:
        asset = await create(fake, size=size)
        wire = await connect(fake)
        wire.send(target_of(asset), right_headers(fake, size))
        block = bytes(1 << 20)
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while sent < size:
                    wire.writer.write(block)
                    sent += len(block)
                    await wire.writer.drain()
        assert sent < size // 2
        fake.release()
        while sent < size:
            wire.writer.write(block)
            sent += len(block)
            await wire.writer.drain()
        assert (await wire.answer()).status == 200
        assert fake.files[0].parts[1].size == size
        await wire.close()


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.parametrize("kind", ["stall", "hold"])
@pytest.mark.parametrize("abort", [False, True], ids=["closes", "aborts"])
async def test_a_client_that_leaves_a_held_part_is_noticed(kind: Any, abort: bool) -> None:
    fault = Fault(do=kind)
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake)
        await fake.until(lambda fake: fake.hits(fault) == 1)
        wire.writer.transport.abort() if abort else wire.writer.close()
        async with asyncio.timeout(5):
            await fake.until(lambda fake: fake.parts_in_flight == 0 and fake.connections == 0)
        assert (fake.requests[-1].status, fake.files[0].parts_received) == (None, set())


async def test_a_held_answer_waits_with_the_body_read_and_nothing_done() -> None:
    fault = Fault(do="hold", times=None)
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake)
        await fake.until(lambda fake: fake.hits(fault) == 1)
        assert (fake.requests[-1].bytes_received, fake.files[0].parts_received) == (len(BODY), set())
        fake.release()
        assert (await wire.answer()).status == 200
        again = await send(fake)
        assert (await again.answer()).status == 200, "what was released stays released"
        await wire.close()
        await again.close()


async def test_a_trickle_is_read_at_its_rate() -> None:
    async with FakeFrameio(faults=[Fault(do="trickle", rate=len(BODY) / 0.4)]) as fake:
        begun = time.monotonic()
        wire = await send(fake)
        assert (await wire.answer()).status == 200
        assert 0.4 <= time.monotonic() - begun < 5
        await wire.close()


@pytest.mark.parametrize(
    ("kind", "pattern", "encryption"),
    [
        ("wrong_etag", r'"[0-9a-f]{32}"', "AES256"),
        ("no_etag", None, "AES256"),
        ("odd_etag", r'"[0-9a-f]{32}-3"', "AES256"),
        ("kms", r'"[0-9a-f]{32}"', "aws:kms"),
        ("corrupt", r'"[0-9a-f]{32}"', "AES256"),
    ],
)
async def test_the_faults_of_etags_change_the_etag_or_remove_it(
    kind: Any, pattern: str | None, encryption: str
) -> None:
    fault = Fault(do=kind)
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake)
        answer = await wire.answer()
        etag = answer.headers.get("etag")
        assert answer.status == 200
        assert answer.headers["x-amz-server-side-encryption"] == encryption
        assert etag != f'"{MD5}"'
        assert etag is None if pattern is None else re.fullmatch(pattern, etag or "")
        kept = hashlib.md5(bytes([BODY[0] ^ 0xFF]) + BODY[1:]).hexdigest() if kind == "corrupt" else MD5
        assert (fake.hits(fault), fake.files[0].etags) == (1, (kept,))
        await wire.close()


async def test_a_garbled_answer_is_not_http() -> None:
    async with FakeFrameio(faults=[Fault(do="garbled", body="220 smtp ready\r\n")]) as fake:
        wire = await send(fake)
        assert await rest(wire) == b"220 smtp ready\r\n"
        await wire.close()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(on="create", status=503), 503),
        (Fault(on="create", do="early", status=500), 500),
        (Fault(on="create", name="take.mov", status=409), 409),
        (Fault(on="create", name="other.mov"), 201),
        (Fault(on="create", do="reset"), None),
        (Fault(on="create", do="close"), None),
        (Fault(on="create", do="lose_answer"), None),
        (Fault(on="create", do="garbled"), None),
        (Fault(on="*", status=429), 429),
    ],
    ids=lambda value: f"{value.do}-{value.status}-{value.name}" if isinstance(value, Fault) else str(value),
)
async def test_faults_strike_the_api_too(fault: Fault, status: int | None) -> None:
    path_of = "{0.url}/v4/accounts/{0.account_id}/folders/{0.folder_id}/files/local_upload".format
    async with FakeFrameio(faults=[fault]) as fake, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {fake.token}"}
        body = {"data": {"name": "take.mov", "file_size": 1}}
        try:
            async with session.post(path_of(fake), json=body, headers=headers) as response:
                answered: int | None = response.status
                document = await response.json()
        except aiohttp.ClientError:
            answered = document = None
        assert answered == status
        assert len(fake.files) == (status == 201 or fault.do == "lose_answer")
        if document is not None and status != 201:
            assert set(document["errors"][0]) == {"detail", "source", "title"}


async def test_a_wrong_request_is_refused_before_any_fault() -> None:
    fault = Fault(status=500)
    async with FakeFrameio(faults=[fault]) as fake:
        wire = await send(fake, BODY, {"Content-Type": "text/plain"})
        assert ((await wire.answer()).status, fake.hits(fault)) == (403, 0)
        await wire.close()
