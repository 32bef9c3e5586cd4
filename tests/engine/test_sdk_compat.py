"""`AsyncFrameioUploader`: the official uploader's arguments, awaited, on what the official SDK itself created."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO

import aiofiles
import httpx
import pytest
from frameio import AsyncFrameio, Frameio
from frameio.files import FileCreateLocalUploadParamsData
from frameio.upload import FrameioUploader

from aioframeio_upload import (
    AsyncFrameioUploader,
    LinksExpired,
    PartExhausted,
    PartRejected,
    PlanError,
    SourceChanged,
    SourceError,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, reached, sha256, some_bytes

SIZE = 3 * PART + 1
BODY = some_bytes(SIZE)
AT_ONCE = {"Retry-After": "0"}
"""A failure's header, so that a test does not wait for the drop-in's own pauses."""


@pytest.fixture
async def client(fake: FakeFrameio) -> AsyncIterator[AsyncFrameio]:
    """The official client on the fake."""
    # TLS's certificates, which httpx would read from the disk, are of no use here.
    async with httpx.AsyncClient(verify=False) as http:
        yield AsyncFrameio(token=fake.token, base_url=fake.url, httpx_client=http)


@pytest.fixture
async def asset(client: AsyncFrameio, fake: FakeFrameio) -> Any:
    """What the official SDK gives for a file of four parts."""
    data = FileCreateLocalUploadParamsData(name="take.mov", file_size=SIZE)
    return (await client.files.create_local_upload(fake.account_id, fake.folder_id, data=data)).data


async def arrived(fake: FakeFrameio) -> list[str | None]:
    """The digests of all files, once each has been put together: the drop-in itself has no token to ask with."""
    async with asyncio.timeout(10):
        await fake.until(lambda fake: all(file.complete for file in fake.files))
    return [file.sha256 for file in fake.files]


def parts_seen(fake: FakeFrameio) -> list[int]:
    return sorted(seen.number or 0 for seen in fake.requests if seen.operation == "part")


async def test_a_file_reaches_the_links_that_the_sdk_got(asset: Any, fake: FakeFrameio, tmp_path: Path) -> None:
    path = tmp_path / "take.mov"
    on_disk(path.write_bytes, BODY)
    with on_disk(lambda: path.open("rb")) as file:
        await AsyncFrameioUploader(asset, file).upload()
        assert not file.closed
    assert await arrived(fake) == [sha256(BODY)]
    assert parts_seen(fake) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(lambda path: open(path, "rb"), id="file"),  # noqa: SIM115  # closed by the test
        pytest.param(lambda path: open(path, "rb", buffering=0), id="unbuffered"),  # noqa: SIM115  # the test closes it
        pytest.param(lambda path: io.BytesIO(BODY), id="memory"),
    ],
)
async def test_a_file_is_read_from_its_start_wherever_it_stands(
    asset: Any, fake: FakeFrameio, tmp_path: Path, source: Callable[[Path], BinaryIO]
) -> None:
    on_disk((tmp_path / "take.mov").write_bytes, BODY)
    with on_disk(source, tmp_path / "take.mov") as file:
        on_disk(file.read, 1000)
        await AsyncFrameioUploader(asset, file).upload()
    assert await arrived(fake) == [sha256(BODY)]


async def test_what_else_can_be_uploaded_does_as_well(asset: Any, fake: FakeFrameio, tmp_path: Path) -> None:
    on_disk((tmp_path / "take.mov").write_bytes, BODY)
    async with aiofiles.open(tmp_path / "take.mov", "rb") as handle:
        await AsyncFrameioUploader(asset, handle).upload()
    assert await arrived(fake) == [sha256(BODY)]


async def test_an_asset_may_be_the_dict_in_the_answer(asset: Any, fake: FakeFrameio) -> None:
    await AsyncFrameioUploader(asset.model_dump(), io.BytesIO(BODY)).upload()
    assert await arrived(fake) == [sha256(BODY)]


async def test_its_arguments_are_the_official_ones() -> None:
    """In their order and with their defaults; what the SDK adds later shows here."""

    def told(kind: type) -> list[tuple[str, Any]]:
        return [(name, one.default) for name, one in inspect.signature(kind).parameters.items()]

    assert told(AsyncFrameioUploader) == told(FrameioUploader)


async def test_progress_is_told_as_the_official_one_tells_it(asset: Any, fake: FakeFrameio) -> None:
    """After each part, with the bytes so far and the file's size; one part at a time, where there is one order."""
    ours: list[tuple[int, int]] = []
    await AsyncFrameioUploader(asset, io.BytesIO(BODY), 1, on_progress=lambda *now: ours.append(now)).upload()
    assert ours == [(sum(part.size for part in asset.upload_urls[:done]), SIZE) for done in (1, 2, 3, 4)]
    official: list[tuple[int, int]] = []
    await asyncio.to_thread(send_officially, fake, official)
    assert official == ours
    assert await arrived(fake) == [sha256(BODY)] * 2


def send_officially(fake: FakeFrameio, told: list[tuple[int, int]]) -> None:
    with httpx.Client(verify=False) as http:
        client = Frameio(token=fake.token, base_url=fake.url, httpx_client=http)
        data = FileCreateLocalUploadParamsData(name="take.mov", file_size=SIZE)
        asset = client.files.create_local_upload(fake.account_id, fake.folder_id, data=data).data
    FrameioUploader(asset, io.BytesIO(BODY), 1, on_progress=lambda *now: told.append(now)).upload()


# -- its arguments -----------------------------------------------------------------------------------------------------


async def test_headers_go_with_every_part(asset: Any, fake: FakeFrameio) -> None:
    fault = Fault(number=2, status=500, headers=AT_ONCE)
    fake.add_fault(fault)
    await AsyncFrameioUploader(asset, io.BytesIO(BODY), headers={"X-Job": "dailies", "user-agent": "ours/1"}).upload()
    parts = [seen.headers for seen in fake.requests if seen.operation == "part"]
    assert len(parts) == 5
    assert {(one["X-Job"], *one.getall("User-Agent"), one["x-amz-acl"]) for one in parts} == {
        ("dailies", "ours/1", "private")
    }


async def test_a_header_wins_over_those_that_a_part_needs(asset: Any, fake: FakeFrameio) -> None:
    """As with the official one; the links are signed for `private`, so S3 refuses."""
    with pytest.raises(PartRejected, match="SignatureDoesNotMatch"):
        await AsyncFrameioUploader(asset, io.BytesIO(BODY), headers={"x-amz-acl": "public-read"}).upload()
    assert {seen.headers["x-amz-acl"] for seen in fake.requests if seen.operation == "part"} == {"public-read"}


async def test_so_many_parts_are_in_flight_as_there_are_workers(asset: Any, fake: FakeFrameio) -> None:
    held = Fault(do="hold", times=None)
    fake.add_fault(held)
    async with asyncio.TaskGroup() as group:
        group.create_task(AsyncFrameioUploader(asset, io.BytesIO(BODY), max_workers=2).upload())
        await reached(fake, held, times=2)
        fake.release(held)
    assert (await arrived(fake), fake.max_parts_in_flight) == ([sha256(BODY)], 2)


@pytest.mark.parametrize("tries", [1, 3])
async def test_a_part_is_tried_as_often_as_was_said(asset: Any, fake: FakeFrameio, tries: int) -> None:
    fake.add_fault(Fault(number=1, times=None, status=503, headers=AT_ONCE))
    with pytest.raises(PartExhausted) as caught:
        await AsyncFrameioUploader(asset, io.BytesIO(BODY), max_workers=1, max_retries=tries).upload()
    assert (caught.value.number, caught.value.attempts) == (1, tries)
    assert parts_seen(fake) == [1] * tries


async def test_a_part_that_finds_no_connection_uses_up_its_tries(asset: Any, fake: FakeFrameio) -> None:
    """There is no patience in the official signature: who asks for one try gets one."""
    async with fake.offline():
        with pytest.raises(PartExhausted):
            await AsyncFrameioUploader(asset, io.BytesIO(BODY), max_retries=1).upload()


async def test_what_the_callback_raises_ends_the_upload(asset: Any, fake: FakeFrameio) -> None:
    told: list[int] = []

    def refuse(done: int, total: int) -> None:
        told.append(done)
        raise LookupError("no such bar")

    with pytest.raises(LookupError, match="no such bar"):
        await AsyncFrameioUploader(asset, io.BytesIO(BODY), 1, on_progress=refuse).upload()
    assert len(told) == 1
    assert parts_seen(fake) == [1]


@pytest.mark.parametrize("wrong", [{"max_workers": 0}, {"max_retries": 0}])
async def test_a_number_below_one_is_refused(asset: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AsyncFrameioUploader(asset, io.BytesIO(BODY), **wrong)


@pytest.mark.parametrize("links", [None, []])
async def test_an_asset_without_links_is_refused_as_the_official_one_does(asset: Any, links: list[Any] | None) -> None:
    without = asset.model_copy(update={"upload_urls": links})
    for kind in (AsyncFrameioUploader, FrameioUploader):
        with pytest.raises(ValueError, match="upload_urls"):
            kind(without, io.BytesIO(BODY))


async def test_what_is_no_file_is_refused(asset: Any) -> None:
    with pytest.raises(TypeError, match="'rb'"):
        AsyncFrameioUploader(asset, io.StringIO("frames"))  # type: ignore[arg-type]


# -- what it does not do -----------------------------------------------------------------------------------------------


async def test_a_file_of_another_size_is_refused_before_a_byte_is_sent(asset: Any, fake: FakeFrameio) -> None:
    """The official one would send what fits, and call it done."""
    with pytest.raises(PlanError, match=f"{SIZE} bytes"):
        await AsyncFrameioUploader(asset, io.BytesIO(BODY + b"more")).upload()
    with pytest.raises(PlanError, match=f"{SIZE} bytes"):
        await AsyncFrameioUploader(asset, io.BytesIO(BODY[1:])).upload()
    assert parts_seen(fake) == []


async def test_a_closed_file_is_a_source_error(asset: Any) -> None:
    file = io.BytesIO(BODY)
    file.close()
    with pytest.raises(SourceError, match="closed file"):
        await AsyncFrameioUploader(asset, file).upload()


async def test_a_path_that_changes_meanwhile_is_noticed(asset: Any, fake: FakeFrameio, tmp_path: Path) -> None:
    path = tmp_path / "take.mov"
    on_disk(path.write_bytes, BODY)
    held = Fault(do="hold", number=4)
    fake.add_fault(held)
    with pytest.raises(SourceChanged):  # noqa: PT012  # the change has to come in between
        async with asyncio.timeout(30):
            sending = asyncio.ensure_future(AsyncFrameioUploader(asset, path).upload())
            await reached(fake, held)
            on_disk(path.write_bytes, BODY[::-1] + b"more")
            fake.release(held)
            await sending


async def test_dead_links_are_told_and_not_replaced(asset: Any, fake: FakeFrameio) -> None:
    fake.add_fault(Fault(do="expire", number=2))
    with pytest.raises(LinksExpired):
        await AsyncFrameioUploader(asset, io.BytesIO(BODY), 1).upload()
    assert len(fake.files) == 1


async def test_without_a_token_it_asks_the_api_nothing(asset: Any, fake: FakeFrameio) -> None:
    """Neither after a success nor after a failure: who made the file removes it."""
    fake.add_fault(Fault(number=4, status=403, code="AccessDenied"))
    with pytest.raises(PartRejected):
        await AsyncFrameioUploader(asset, io.BytesIO(BODY)).upload()
    await AsyncFrameioUploader(asset, io.BytesIO(BODY)).upload()
    assert await arrived(fake) == [sha256(BODY)]
    assert {seen.operation for seen in fake.requests} == {"create", "part"}
    assert not [seen for seen in fake.requests if seen.operation == "part" and "Authorization" in seen.headers]


async def test_a_cancelled_one_is_gone_at_once_and_can_be_tried_again(asset: Any, fake: FakeFrameio) -> None:
    stalled = Fault(do="stall", times=4)
    fake.add_fault(stalled)
    uploader = AsyncFrameioUploader(asset, io.BytesIO(BODY))
    sending = asyncio.ensure_future(uploader.upload())
    await reached(fake, stalled, times=4)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    fake.release(stalled)
    await uploader.upload()
    assert await arrived(fake) == [sha256(BODY)]


async def test_its_faults_tell_no_link(asset: Any, fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aioframeio_upload")
    fake.add_fault(Fault(do="reset", number=2, times=None))
    uploader = AsyncFrameioUploader(asset, io.BytesIO(BODY), max_retries=1)
    with pytest.raises(PartExhausted) as caught:
        await uploader.upload()
    told = [repr(uploader), repr(caught.value), *(record.getMessage() for record in caplog.records)]
    assert not [text for text in told if "X-Amz-Signature" in text]
