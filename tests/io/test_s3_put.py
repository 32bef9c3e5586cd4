"""Test single attempts: `Expect: 100-continue`, and hosts that cannot handle it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aioframeio_upload import Limits, PartError, PartRejected, PartRetrying, Plan, RetryPolicy, Uploader
from aioframeio_upload._io import s3_put as part_module
from aioframeio_upload.testing import FakeFrameio, Fault

MIB = 1 << 20
CONTENT = bytes(range(256)) * 8192  # 2 MiB


@asynccontextmanager
async def strange_server(answer_to_expect: bytes) -> AsyncIterator[tuple[str, list[bool]]]:
    """Run a server that accepts parts but not `Expect`; yield its URL, and for each request whether it had `Expect`."""
    asked: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().splitlines()
                asked.append("expect: 100-continue" in lines)
                if asked[-1]:
                    writer.write(answer_to_expect)
                    continue
                length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
                etag = hashlib.md5(await reader.readexactly(length)).hexdigest()
                writer.write(f'HTTP/1.1 200 OK\r\nETag: "{etag}"\r\nContent-Length: 0\r\n\r\n'.encode())
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=4 * MIB)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def plan_at(url: str, parts: int) -> Plan:
    size = len(CONTENT)
    links = [{"size": size, "url": f"{url}/part_{number}?X-Amz-Signature=0"} for number in range(1, parts + 1)]
    told = {"id": "f", "name": "a", "parent_id": "d", "file_size": size * parts, "upload_urls": links}
    return Plan.from_response(told, account_id="a")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"], ids=["silence", "417"]
)
async def test_a_host_that_does_not_know_expect_gets_the_part_and_never_an_expect_again(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "EXPECT_WAIT", 0.05)
    async with strange_server(answer) as (url, asked), Uploader("t", limits=Limits(parts=1)) as uploader:
        for _ in range(2):
            receipts = await uploader.send_parts(plan_at(url, 2), CONTENT * 2, [1, 2])
            assert [receipt.md5 for receipt in receipts] == [hashlib.md5(CONTENT).hexdigest()] * 2
    assert asked == [True, False, False, False, False]


PROXIES = {
    "closes": Fault(do="close", asks=True, times=None),
    "resets": Fault(do="reset", asks=True, times=None),
    "400 without a code": Fault(do="early", asks=True, times=None, status=400, body="Bad Request", linger=0.05),
    "417 with a page": Fault(do="early", asks=True, times=None, status=417, body="<html>no</html>", linger=0.05),
    "501 of a gateway": Fault(do="early", asks=True, times=None, status=501, body='{"message": "no"}', linger=0.05),
    "200 at once": Fault(do="early", asks=True, times=None, status=200, body="", linger=0.05),
}


@pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)
async def test_a_proxy_that_cannot_handle_expect_gets_it_once_and_costs_no_attempt(proxy: Fault) -> None:
    async with FakeFrameio(rate_limits=False, part_size=2 * MIB, faults=[proxy]) as fake:
        retry, limits = RetryPolicy(attempts=1), Limits(parts=1)
        async with Uploader(
            fake.token, account_id=fake.account_id, base_url=fake.url, retry=retry, limits=limits
        ) as uploader:
            for _ in range(2):
                upload = uploader.upload(CONTENT * 2, name="a", folder_id=fake.folder_id)
                events = [event async for event in upload]
                await upload
                assert not [event for event in events if isinstance(event, PartRetrying)]
            assert uploader.statistics().retries == 0
        asked = ["Expect" in seen.headers for seen in fake.requests if seen.operation == "part"]
    assert asked == [True, False, False, False, False]


async def test_a_small_part_that_asks_after_a_reset_meets_such_a_proxy_once() -> None:
    """Each try counts as an attempt, because the connection broke without `Expect` too."""
    faults = [Fault(do="reset", number=1, asks=False, after=1000), Fault(do="close", asks=True, times=None)]
    async with FakeFrameio(rate_limits=False, part_size=MIB // 2, faults=faults) as fake:
        retry, limits = RetryPolicy(base=0, cap=0), Limits(parts=1)
        async with Uploader(
            fake.token, account_id=fake.account_id, base_url=fake.url, retry=retry, limits=limits
        ) as uploader:
            upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
            retried = [event.attempt async for event in upload if isinstance(event, PartRetrying)]
            await upload
            fake.add_fault(Fault(do="reset", number=1, asks=False, after=1000))
            await uploader.upload(CONTENT, name="b", folder_id=fake.folder_id)
        asked = ["Expect" in seen.headers for seen in fake.requests if seen.number == 1]
    assert retried == [1, 2]
    assert asked == [False, True, False, False, False]


async def test_a_server_that_is_away_is_not_taken_for_one_that_cannot_handle_expect() -> None:
    """It breaks every connection for a while, with `Expect` or without; afterwards it gets `Expect` again."""
    faults = [Fault(do="close", number=1, times=4)]
    async with FakeFrameio(rate_limits=False, part_size=2 * MIB, faults=faults) as fake:
        retry, limits = RetryPolicy(base=0, cap=0), Limits(parts=1)
        async with Uploader(
            fake.token, account_id=fake.account_id, base_url=fake.url, retry=retry, limits=limits
        ) as uploader:
            for name in ("a", "b"):
                await uploader.upload(CONTENT, name=name, folder_id=fake.folder_id)
        asked = ["Expect" in seen.headers for seen in fake.requests if seen.number == 1]
    assert asked == [True, False, True, False, True, True]


@pytest.mark.parametrize(("status", "code"), [(400, "InvalidRequest"), (403, "SignatureDoesNotMatch"), (503, None)])
async def test_an_answer_of_s3_itself_is_not_followed_by_a_request_without_expect(
    status: int, code: str | None
) -> None:
    said = Fault(do="early", asks=True, status=status, code=code, linger=0.05)
    async with FakeFrameio(rate_limits=False, part_size=2 * MIB, faults=[said]) as fake:
        async with Uploader(
            fake.token, account_id=fake.account_id, base_url=fake.url, retry=RetryPolicy(attempts=1)
        ) as uploader:
            plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
            with pytest.raises(PartError) as caught:
                await uploader.send_parts(plan, CONTENT, [1])
        assert (caught.value.status, caught.value.attempts) == (status, 1)
        assert [seen.bytes_received for seen in fake.requests if seen.operation == "part"] == [0]


async def test_a_refusal_is_read_before_a_byte_of_the_first_part_is_sent() -> None:
    async with (
        FakeFrameio(rate_limits=False, part_size=2 * MIB) as fake,
        Uploader(fake.token, account_id=fake.account_id, base_url=fake.url) as uploader,
    ):
        plan = await uploader.plan(CONTENT * 2, name="a.mov", folder_id=fake.folder_id)
        await uploader.delete(plan.file_id)
        text = plan.to_json().replace("X-Amz-Expires=86400", "X-Amz-Expires=86401")
        with pytest.raises(PartRejected) as caught:
            await uploader.send_parts(Plan.from_json(text), CONTENT * 2, [1])
        assert caught.value.code == "SignatureDoesNotMatch"
        assert [seen.bytes_received for seen in fake.requests if seen.operation == "part"] == [0]


async def test_only_the_first_part_asks_and_small_ones_never(fake: FakeFrameio, uploader: Uploader) -> None:
    small = b"x" * (MIB // 2)
    await uploader.upload(small, name="small", folder_id=fake.folder_id)
    assert [seen.headers.get("Expect") for seen in fake.requests if seen.operation == "part"] == [None]
    async with FakeFrameio(rate_limits=False, part_size=2 * MIB) as other:
        async with Uploader(other.token, account_id=other.account_id, base_url=other.url) as second:
            await second.upload(CONTENT * 3, name="large", folder_id=other.folder_id)
        asked = [seen.number for seen in other.requests if "Expect" in seen.headers]
    assert asked == [1]


async def test_after_a_connection_that_broke_the_part_asks_first() -> None:
    reset = Fault(on="part", do="reset", number=2, after=MIB)
    async with FakeFrameio(rate_limits=False, part_size=2 * MIB, faults=[reset]) as fake:
        retry = RetryPolicy(base=0.01)
        async with Uploader(fake.token, account_id=fake.account_id, base_url=fake.url, retry=retry) as uploader:
            upload = uploader.upload(CONTENT * 2, name="a", folder_id=fake.folder_id)
            retried = [event.number async for event in upload if isinstance(event, PartRetrying)]
            await upload
        asked = [seen.headers.get("Expect") for seen in fake.requests if seen.number == 2]
    assert retried == [2]
    assert asked == [None, "100-continue"]
