"""Answers of the service that are not what was requested are errors with the reason; and calls are paced."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aioframeio_upload import ApiError, Limits, Plan, PlanError, RetryPolicy, Uploader
from aioframeio_upload._io import api_response as answers
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import uploader_on
from tests.support.canned import answer, canned

ONCE = RetryPolicy(attempts=1)
PACED = Limits(api_pacing=True)


def created(**changes: Any) -> dict[str, Any]:
    """Return the answer to `create` for a file of ten bytes, with changes; `...` removes a field."""
    parts = [{"size": 4, "url": "https://s3.example.com/1"}, {"size": 6, "url": "https://s3.example.com/2"}]
    data: dict[str, Any] = {"id": "made", "name": "a", "file_size": 10, "upload_urls": parts} | changes
    return {name: value for name, value in data.items() if value is not ...}


def part(**changes: Any) -> dict[str, Any]:
    data = {"size": 10, "url": "https://s3.example.com/1"} | changes
    return {name: value for name, value in data.items() if value is not ...}


# -- an answer that is none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "the answer is empty"),
        ("{", "not JSON"),
        ("<html>Welcome to the hotel's network</html>", r"not JSON \(application/octet-stream, 43 bytes\)"),
        ("[" * 100_000, "not JSON"),
        ("\xff\xfe", "not JSON"),
        ("null", "no object under 'data'"),
        ("[]", "no object under 'data'"),
        ("{}", "no object under 'data'"),
        ('{"data": null}', "no object under 'data'"),
        ('{"data": [1]}', "no object under 'data'"),
        ('{"data": {}}', "has no upload_urls"),
    ],
)
@pytest.mark.parametrize("status", [200, 201])
async def test_an_answer_that_is_not_a_plan_raises_an_error_with_the_reason(
    fake: FakeFrameio, uploader: Uploader, body: str, said: str, status: int
) -> None:
    fault = Fault(on="create", status=status, body=body, times=None)
    fake.add_fault(fault)
    with pytest.raises(ApiError, match=f"creating the file: 20[01]: .*{said}"):
        await uploader.plan(b"x", name="x", folder_id=fake.folder_id)
    assert fake.hits(fault) == 1, "it is not asked to make another file"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (created(id=...), "answer's id is missing"),
        (created(id=7), "answer's id is int, not str"),
        (created(name=None), "answer's name is missing"),
        (created(file_size="10"), "answer's file_size is str, not int"),
        (created(file_size=10.0), "answer's file_size is float, not int"),
        (created(file_size=True), "answer's file_size is bool, not int"),
        (created(media_type=7), "answer's media_type is int, not str"),
        (created(media_type="video/mp4\r\nX-Evil: 1"), "answer's media_type is not a media type"),
        (created(upload_urls=...), "has no upload_urls"),
        (created(upload_urls=None), "has no upload_urls"),
        (created(upload_urls=[]), "has no upload_urls"),
        (created(upload_urls="https://"), "has no upload_urls"),
        (created(upload_urls={"size": 10}), "has no upload_urls"),
        (created(upload_urls=[part(), part(size=...)]), r"upload_urls\[1\].size is missing"),
        (created(upload_urls=[part(url=...)]), r"upload_urls\[0\].url is missing"),
        (created(upload_urls=[part(url=7)]), r"upload_urls\[0\].url is int, not str"),
        (created(upload_urls=[None]), r"upload_urls\[0\].size is missing"),
        (created(upload_urls=["https://s3.example.com"]), r"upload_urls\[0\].size is missing"),
    ],
)
async def test_a_plan_with_a_missing_or_wrong_field_says_which_and_is_deleted(
    fake: FakeFrameio, uploader: Uploader, data: dict[str, Any], said: str
) -> None:
    fake.add_fault(Fault(on="create", status=201, body=json.dumps({"data": data})))
    with pytest.raises(ApiError, match=f"creating the file: 201: .*{said}") as caught:
        await uploader.plan(b"0123456789", name="a", folder_id=fake.folder_id)
    known = isinstance(data.get("id"), str)
    assert caught.value.file_id == ("made" if known else None)
    assert [seen.operation for seen in fake.requests] == ["create"] + ["delete"] * known


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (created(upload_urls=[part(size=9)]), "1 parts hold 9 bytes, the file has 10"),
        (created(upload_urls=[part(size=11)]), "1 parts hold 11 bytes, the file has 10"),
        (created(upload_urls=[part(), part(size=0)]), "part 2 .* does not follow"),
        (created(upload_urls=[part(size=-1), part(size=11)]), "part 1 .* does not follow"),
        (created(upload_urls=[part(url="s3://bucket/key?secret")]), r"part 1 has no usable http\(s\) URL"),
        (created(file_size=11, upload_urls=[part(size=11)]), "planned 11 bytes, the source has 10"),
    ],
)
async def test_a_plan_that_does_not_tile_the_source_is_refused_and_deleted(
    fake: FakeFrameio, uploader: Uploader, data: dict[str, Any], said: str
) -> None:
    fake.add_fault(Fault(on="create", status=201, body=json.dumps({"data": data})))
    with pytest.raises(PlanError, match=said) as caught:
        await uploader.plan(b"0123456789", name="a", folder_id=fake.folder_id)
    assert "secret" not in str(caught.value)
    assert [(seen.operation, seen.file_id) for seen in fake.requests] == [("create", None), ("delete", "made")]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"upload_complete": True},
        {"upload_complete": True, "upload_failed": None},
        {"upload_complete": "yes", "upload_failed": False},
    ],
)
async def test_a_status_with_a_missing_or_wrong_field_is_an_api_error(
    fake: FakeFrameio, uploader: Uploader, data: dict[str, Any]
) -> None:
    fake.add_fault(Fault(on="status", status=200, body=json.dumps({"data": data})))
    with pytest.raises(ApiError, match=r"has no upload_(complete|failed)") as caught:
        await uploader.status("x")
    assert caught.value.file_id == "x"


@pytest.mark.parametrize("at", ["yesterday", 7, None, "2025-13-01T00:00:00Z", ""])
async def test_a_time_that_cannot_be_read_is_left_out_of_a_status(
    fake: FakeFrameio, uploader: Uploader, at: Any
) -> None:
    data = {"upload_complete": True, "upload_failed": False, "upload_completed_at": at, "filetype": at}
    fake.add_fault(Fault(on="status", status=200, body=json.dumps({"data": data})))
    assert (await uploader.status("x")).completed_at is None


async def test_an_empty_answer_to_a_remote_upload_is_an_api_error(fake: FakeFrameio, uploader: Uploader) -> None:
    for body, said in (("", "empty"), ('{"data": {"name": "a"}}', "id is missing")):
        fake.add_fault(Fault(on="remote", status=202, body=body))
        with pytest.raises(ApiError, match=f"asking Frame.io to fetch the file: 202: .*{said}"):
            await uploader.remote_upload("https://example.com/a", folder_id=fake.folder_id, name="a")


async def test_a_delete_succeeds_with_any_content_in_its_answer(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(on="delete", status=200, body="<html>gone</html>"))
    await uploader.delete("x")
    assert [seen.status for seen in fake.requests] == [200]


# -- broken HTTP -------------------------------------------------------------------------------------------------------

STATUS = json.dumps({"data": {"upload_complete": True, "upload_failed": False}}).encode()


LARGE_HEADS = [
    pytest.param({"content-security-policy": "x" * 60_000}, id="a long field"),
    pytest.param({f"x-{number}": "y" for number in range(400)}, id="many fields"),
]


@pytest.mark.parametrize("fields", LARGE_HEADS)
async def test_an_answer_with_a_large_head_is_read(fields: dict[str, str]) -> None:
    async with (
        canned(answer(200, STATUS, **fields)) as server,
        Uploader("t", account_id="a", base_url=server.url, retry=ONCE) as uploader,
    ):
        assert (await uploader.status("x")).complete


@pytest.mark.parametrize("fields", LARGE_HEADS)
async def test_s3s_answer_with_a_large_head_is_read(fields: dict[str, str]) -> None:
    async with canned(answer(200, b"", etag='"e"', **fields)) as server:
        parts = [{"size": 1, "url": f"{server.url}/p"}]
        plan = Plan.from_response({"id": "i", "name": "a", "file_size": 1, "upload_urls": parts})
        async with Uploader("t", account_id="a", retry=ONCE) as uploader:
            (receipt,) = await uploader.send_parts(plan, b"x", [1])
    assert receipt.etag == "e"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (answer(200, STATUS, content_length="9999"), "the answer broke off"),
        (answer(200, STATUS[:9], transfer_encoding="chunked"), "the answer|the connection"),
        (answer(200, b"no gzip", content_encoding="gzip"), "the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "the server closed the connection"),
        (b"\x16\x03\x01 not HTTP\r\n\r\n", "the answer was not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", "the answer was not HTTP"),
        (b"", "the server closed the connection"),
    ],
)
async def test_an_answer_that_breaks_off_is_asked_for_again(broken: bytes, said: str) -> None:
    async with canned(broken, answer(200, STATUS)) as server:
        async with Uploader("t", account_id="a", base_url=server.url, retry=ONCE) as uploader:
            with pytest.raises(ApiError, match=said) as caught:
                await uploader.status("x")
        assert caught.value.status is None
    async with canned(broken, answer(200, STATUS)) as server:
        retry = RetryPolicy(base=0.01, cap=0.01)
        async with Uploader("t", account_id="a", base_url=server.url, retry=retry) as uploader:
            assert (await uploader.status("x")).complete
        assert len(server.heads) == 2


async def test_an_answer_that_does_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER", 10_000)
    endless = answer(200, b"[" + b"1," * 1_000_000, content_length="99999999")
    async with canned(endless) as server, Uploader("t", account_id="a", base_url=server.url) as uploader:
        with pytest.raises(ApiError, match="200: the answer is longer than 10000 bytes"):
            await uploader.status("x")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_for_the_token_would_go_with_it(
    fake: FakeFrameio, uploader: Uploader, status: int
) -> None:
    async with canned(answer(200, STATUS)) as elsewhere:
        fake.add_fault(Fault(on="status", do="redirect", status=status, location=elsewhere.url))
        with pytest.raises(ApiError, match=f"{status}: a redirect, which is not followed"):
            await uploader.status("x")
        assert elsewhere.heads == []


# -- pacing ------------------------------------------------------------------------------------------------------------


async def test_calls_begun_at_once_keep_to_the_documented_rate() -> None:
    async with FakeFrameio() as fake, uploader_on(fake, limits=PACED) as uploader:
        plans = [uploader.plan(b"x", name="x", folder_id=fake.folder_id) for _ in range(9)]
        await asyncio.gather(*plans)
        # Unpaced, four of the nine are refused. One may be on a busy machine, which bunches what left evenly.
        assert [seen.status for seen in fake.requests].count(429) <= 1


async def asked_within(fake: FakeFrameio, uploader: Uploader, operation: str) -> bool:
    """Return whether a call reaches the service within a moment; a paced one would take a minute."""
    before = len(fake.requests)
    try:
        async with asyncio.timeout(0.2):
            if operation == "status":
                await uploader.status("x")
            else:
                await uploader.delete("x")
    except (TimeoutError, ApiError):
        pass
    return len(fake.requests) > before


EXHAUSTED = {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-window": "60000"}


async def test_the_services_word_that_nothing_is_left_holds_back_that_operation_and_no_other(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(on="status", status=404, headers=EXHAUSTED))
    async with uploader_on(fake, limits=PACED) as uploader:
        assert await asked_within(fake, uploader, "status")
        assert not await asked_within(fake, uploader, "status")
        assert await asked_within(fake, uploader, "delete")


async def test_without_pacing_nothing_is_held_back(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(on="status", status=404, headers=EXHAUSTED))
    assert await asked_within(fake, uploader, "status")
    assert await asked_within(fake, uploader, "status")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-limit": "0", "x-ratelimit-remaining": "0", "x-ratelimit-window": "0"},
        {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-window": "999999999"},
        {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-window": "1e9"},
        {"x-ratelimit-limit": "-1", "x-ratelimit-remaining": "0", "x-ratelimit-window": "60000"},
        {"x-ratelimit-limit": "9" * 5000, "x-ratelimit-remaining": "0", "x-ratelimit-window": "60000"},
        {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0"},
    ],
    ids=["zeros", "eleven days", "no integer", "negative", "huge", "incomplete"],
)
async def test_headers_that_make_no_sense_park_nothing(fake: FakeFrameio, headers: dict[str, str]) -> None:
    fake.add_fault(Fault(on="status", status=404, headers=headers))
    async with uploader_on(fake, limits=PACED) as uploader:
        assert await asked_within(fake, uploader, "status")
        assert await asked_within(fake, uploader, "status")


async def test_a_call_that_is_cancelled_while_it_waits_gives_its_turn_back(fake: FakeFrameio) -> None:
    told = {"x-ratelimit-limit": "5", "x-ratelimit-remaining": "0", "x-ratelimit-window": "1000"}
    fake.add_fault(Fault(on="status", status=404, headers=told))
    async with uploader_on(fake, limits=PACED) as uploader:
        assert await asked_within(fake, uploader, "status")
        waiting = [asyncio.create_task(uploader.status("x")) for _ in range(500)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        async with asyncio.timeout(5):  # behind 500 others it would be 100 s
            with pytest.raises(ApiError):
                await uploader.status("x")


@pytest.mark.parametrize(
    ("links", "asked"),
    [
        ({"next": "/v4/x?after=a%2Bb%3D%3D"}, ["after=a%2Bb%3D%3D"]),
        ({"next": "/v4/x?page_size=1&after=c"}, ["after=c"]),
        ({"next": None}, []),
        ({"next": 7}, []),
        ({}, []),
        (None, []),
    ],
)
async def test_the_next_page_is_requested_with_the_cursor_and_every_other_parameter(
    links: Any, asked: list[str]
) -> None:
    there = {"id": "1", "type": "file", "name": "n", "status": "uploaded", "file_size": 1}
    first = answer(200, json.dumps({"data": [] if asked else [there], "links": links}).encode())
    last = answer(200, json.dumps({"data": [there], "links": {"next": None}}).encode())
    async with canned(first, last) as server, Uploader("t", account_id="a", base_url=server.url) as uploader:
        file = await uploader.upload(b"1", name="n", folder_id="f", conflict="skip")
    assert file.outcome == "skipped"
    queries = [head.split(" ")[1].partition("?")[2].split("&") for head in server.heads]
    assert queries == [["page_size=100", "sort=created_at_asc", *more] for more in [[], *([one] for one in asked)]]


@pytest.mark.parametrize("told", [{"data": {}}, {"data": None}, {}, []])
async def test_an_answer_that_is_not_a_listing_is_an_error(told: Any) -> None:
    broken = answer(200, json.dumps(told).encode())
    async with canned(broken) as server:
        retry = RetryPolicy(attempts=1)
        async with Uploader("t", account_id="a", base_url=server.url, retry=retry) as uploader:
            with pytest.raises(ApiError, match="no list under 'data'"):
                await uploader.upload(b"1", name="n", folder_id="f", conflict="skip")
