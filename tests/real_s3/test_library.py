"""The library against real S3 servers, which check signatures and refuse requests themselves."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio.to_thread
import pytest

from aioframeio_upload import (
    Limits,
    LinksExpired,
    PartError,
    PartRejected,
    Plan,
    PlanError,
    Receipt,
    RetryPolicy,
    SourceError,
    Timeouts,
    UploadedFile,
    Uploader,
)
from aioframeio_upload.testing import FakeFrameio

from .presign import S3Server

SIZES = [300_000, 100_000, 1, 200_000]
SIZE = sum(SIZES)
BYTES = Random(7).randbytes(SIZE)
SHA256 = hashlib.sha256(BYTES).hexdigest()

REFUSED = {"rclone": (403, "SignatureDoesNotMatch"), "seaweedfs": (403, "SignatureDoesNotMatch")}


@pytest.fixture
async def uploader(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Uploader]:
    """An Uploader without an API, which `send_parts` does not need; it retries quickly, and no test here has a retry.

    Should there be one, the log that pytest shows says why.
    """
    caplog.set_level("DEBUG", "aioframeio_upload")
    async with Uploader("token", base_url="http://127.0.0.1:9", retry=RetryPolicy(base=0, cap=0)) as uploader:
        yield uploader


def digests(sizes: list[int], whole: bytes = BYTES) -> list[str]:
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    return [hashlib.md5(whole[start:end], usedforsecurity=False).hexdigest() for start, end in pairwise(ends)]


async def stored(server: S3Server, response: dict[str, Any]) -> list[int | None]:
    return await anyio.to_thread.run_sync(server.stored, response)


async def sha256(server: S3Server, response: dict[str, Any]) -> str:
    return await anyio.to_thread.run_sync(server.sha256, response)


async def send_all(uploader: Uploader, response: dict[str, Any], source: Any = BYTES) -> tuple[Receipt, ...]:
    plan = Plan.from_response(response)
    return await uploader.send_parts(plan, source, range(1, len(plan.parts) + 1))


async def test_a_file_arrives_as_it_is_and_every_etag_is_the_md5(
    s3_server: S3Server, uploader: Uploader, tmp_path: Path
) -> None:
    path = tmp_path / "take.mov"
    await anyio.Path(path).write_bytes(BYTES)
    response = s3_server.create_response(SIZE, SIZES)
    receipts = await send_all(uploader, response, path)
    assert [receipt.number for receipt in receipts] == [1, 2, 3, 4]
    assert [receipt.size for receipt in receipts] == SIZES
    assert [receipt.md5 for receipt in receipts] == digests(SIZES)
    assert [receipt.etag for receipt in receipts] == digests(SIZES)
    assert await sha256(s3_server, response) == SHA256
    assert uploader.statistics().retries == 0


async def test_bytes_in_memory_arrive_as_they_are(s3_server: S3Server, uploader: Uploader) -> None:
    response = s3_server.create_response(SIZE, SIZES)
    await send_all(uploader, response, memoryview(BYTES))
    assert await sha256(s3_server, response) == SHA256


async def test_a_stream_arrives_as_it_is(s3_server: S3Server, uploader: Uploader) -> None:
    async def in_odd_pieces() -> AsyncIterator[bytes]:
        for start in range(0, SIZE, 77_777):
            yield BYTES[start : start + 77_777]

    response = s3_server.create_response(SIZE, SIZES)
    await send_all(uploader, response, in_odd_pieces())
    assert await sha256(s3_server, response) == SHA256


async def test_a_whole_upload_arrives_as_it_is(s3_server: S3Server, fake_frameio: FakeFrameio) -> None:
    """The service's own confirmation is left out, because the fake has seen none of the parts."""
    response = s3_server.create_response(SIZE, SIZES)
    plan = Plan.from_response(response, account_id=fake_frameio.account_id)
    async with Uploader(fake_frameio.token, base_url=fake_frameio.url, timeouts=Timeouts(confirm=0)) as uploader:
        file = await uploader.execute(plan, BYTES)
    assert isinstance(file, UploadedFile)
    assert list(file.etags) == digests(SIZES)
    assert await sha256(s3_server, response) == SHA256


async def test_two_hundred_small_parts_arrive_eight_at_a_time(s3_server: S3Server, uploader: Uploader) -> None:
    sizes = [SIZE // 200 + (number < SIZE % 200) for number in range(200)]
    response = s3_server.create_response(SIZE, sizes)
    receipts = await send_all(uploader, response)
    assert [receipt.etag for receipt in receipts] == digests(sizes)
    assert await sha256(s3_server, response) == SHA256
    assert uploader.statistics().retries == 0


async def test_one_part_at_a_time_reuses_its_connection_without_a_lost_attempt(s3_server: S3Server) -> None:
    response = s3_server.create_response(SIZE, SIZES)
    async with Uploader("token", limits=Limits(parts=1), retry=RetryPolicy(attempts=1)) as uploader:
        await send_all(uploader, response)
    assert await sha256(s3_server, response) == SHA256


async def test_only_the_parts_that_are_asked_for_are_sent(s3_server: S3Server, uploader: Uploader) -> None:
    response = s3_server.create_response(SIZE, SIZES)
    plan = Plan.from_response(response)
    first = await uploader.send_parts(plan, BYTES, [4, 2])
    assert [receipt.number for receipt in first] == [2, 4]
    assert await stored(s3_server, response) == [None, SIZES[1], None, SIZES[3]]
    await uploader.send_parts(plan, BYTES, [1, 2, 3])
    assert await sha256(s3_server, response) == SHA256


async def test_the_links_of_a_plan_that_was_stored_as_json_keep_their_signatures(
    s3_server: S3Server, uploader: Uploader
) -> None:
    response = s3_server.create_response(SIZE, SIZES)
    plan = Plan.from_json(Plan.from_response(response).to_json())
    await uploader.send_parts(plan, BYTES, [1, 2, 3, 4])
    assert await sha256(s3_server, response) == SHA256


async def test_links_signed_for_an_unknown_type_are_sent_as_octet_stream(
    s3_server: S3Server, uploader: Uploader
) -> None:
    response = s3_server.create_response(SIZE, SIZES, media_type="application/octet-stream")
    await send_all(uploader, response | {"media_type": None})
    assert await sha256(s3_server, response) == SHA256


# -- refusals --------------------------------------------------------------------------------------------------------


async def refusal(
    uploader: Uploader, response: dict[str, Any], kind: type[PartError] = PartRejected, source: Any = BYTES
) -> PartError:
    """Send the first part and return the error, which shows no secret."""
    with pytest.raises(kind) as caught:
        await uploader.send_parts(Plan.from_response(response), source, [1])
    for told in (str(caught.value), repr(caught.value), str(caught.value.to_dict())):
        assert "X-Amz-" not in told
        assert "http" not in told
    assert uploader.statistics().retries == 0
    return caught.value


async def test_another_type_than_was_signed_for_is_refused_once(s3_server: S3Server, uploader: Uploader) -> None:
    response = s3_server.create_response(SIZE, SIZES, media_type="video/mp4")
    error = await refusal(uploader, response | {"media_type": "video/quicktime"})
    assert (error.status, error.code) == REFUSED[s3_server.name]
    assert (error.number, error.attempts) == (1, 1)
    assert await stored(s3_server, response) == [None] * 4


def another_signature(url: str) -> str:
    return url[:-1] + ("1" if url[-1] == "0" else "0")


def another_part(url: str) -> str:
    return url.replace("/part_1?", "/part_2?")


def a_longer_life(url: str) -> str:
    return url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200")


@pytest.mark.parametrize("change", [another_signature, another_part, a_longer_life])
async def test_a_tampered_link_is_refused_once(s3_server: S3Server, uploader: Uploader, change: Any) -> None:
    response = s3_server.create_response(SIZE, SIZES)
    url = response["upload_urls"][0]["url"]
    assert change(url) != url
    tampered = [{"size": SIZES[0], "url": change(url)}, *response["upload_urls"][1:]]
    error = await refusal(uploader, response | {"upload_urls": tampered})
    assert (error.status, error.code) == REFUSED[s3_server.name]
    assert error.attempts == 1
    assert await stored(s3_server, response) == [None] * 4


async def test_a_link_without_its_query_is_refused_once(s3_server: S3Server, uploader: Uploader) -> None:
    response = s3_server.create_response(SIZE, SIZES)
    bare = [{"size": one["size"], "url": one["url"].partition("?")[0]} for one in response["upload_urls"]]
    error = await refusal(uploader, response | {"upload_urls": bare})
    # rclone takes a link without a signature for one with the older kind of signature.
    expected = {"rclone": (400, "UnsupportedAlgorithm"), "seaweedfs": (403, "AccessDenied")}[s3_server.name]
    assert (error.status, error.code) == expected
    assert error.attempts == 1
    assert await stored(s3_server, response) == [None] * 4


async def test_a_refusal_ends_the_other_parts_too(s3_server: S3Server) -> None:
    """One part at a time, so that those after the refused one had not begun."""
    response = s3_server.create_response(SIZE, SIZES)
    tampered = list(response["upload_urls"])
    tampered[1] = {"size": SIZES[1], "url": another_signature(tampered[1]["url"])}
    async with Uploader("token", limits=Limits(parts=1)) as uploader:
        with pytest.raises(PartRejected, match=r"^part 2, attempt 1: 403 SignatureDoesNotMatch: "):
            await send_all(uploader, response | {"upload_urls": tampered})
    assert await stored(s3_server, response) == [SIZES[0], None, None, None]


async def test_whether_links_have_expired_is_left_to_the_server(s3_server: S3Server, uploader: Uploader) -> None:
    """The local clock is not used: each link is tried, and the answer decides."""
    response = s3_server.create_response(SIZE, SIZES, expires=60, age=120)
    # rclone refuses such a link with another message than S3, so the library cannot know that new links would help.
    error, message = {
        "rclone": (PartRejected, r"^part \d, attempt 1: 400 AccessDenied: The difference between the request time"),
        "seaweedfs": (LinksExpired, r"^part \d: S3 says that its link has expired"),
    }[s3_server.name]
    with pytest.raises(error, match=message) as caught:
        await send_all(uploader, response)
    if isinstance(caught.value, LinksExpired):
        assert caught.value.file_id == response["id"]
    assert "X-Amz-" not in str(caught.value)
    assert uploader.statistics().retries == 0
    assert await stored(s3_server, response) == [None] * 4


async def test_a_source_of_another_size_is_refused_before_anything_is_sent(
    s3_server: S3Server, uploader: Uploader
) -> None:
    response = s3_server.create_response(SIZE, SIZES)
    with pytest.raises(PlanError):
        await send_all(uploader, response, BYTES + b"1")
    assert await stored(s3_server, response) == [None] * 4


async def test_a_stream_that_ends_too_early_leaves_its_last_part_unsent(s3_server: S3Server) -> None:
    async def too_short() -> AsyncIterator[bytes]:
        yield BYTES[:-1]

    response = s3_server.create_response(SIZE, SIZES)
    async with Uploader("token", limits=Limits(parts=1)) as uploader:
        with pytest.raises(SourceError):
            await send_all(uploader, response, too_short())
    assert (await stored(s3_server, response))[-1] is None
