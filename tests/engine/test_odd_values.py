"""Values from outside, callers' and the service's, that no request can hold: refused where they enter, in our words."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import ApiError, AsyncFrameioUploader, Plan, PlanError, RetryPolicy, Uploader
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import on_disk
from tests.support.canned import answer, canned
from tests.support.trees import plant

LONE = "id-\ud800"
NO_HEADER_VALUES = ["video/mp4\n", "video/mp4\r\nX-Evil: 1", "vidéo/mp4", "video/\x00", " video/mp4", "video/\ud800"]


# -- a caller's --------------------------------------------------------------------------------------------------------


CALLS: dict[str, Callable[[Uploader, str], Awaitable[object]]] = {
    "upload": lambda uploader, odd: uploader.upload(b"x", name="a", folder_id=odd),
    "upload for an account": lambda uploader, odd: uploader.upload(b"x", name="a", folder_id="f", account_id=odd),
    "upload_folder": lambda uploader, odd: uploader.upload_folder("shoot", folder_id=odd),
    "plan": lambda uploader, odd: uploader.plan(b"x", name="a", folder_id=odd),
    "status": lambda uploader, odd: uploader.status(odd),
    "delete": lambda uploader, odd: uploader.delete(odd),
    "remote_upload": lambda uploader, odd: uploader.remote_upload("https://h/x", folder_id=odd, name="a"),
    "remote_upload of a URL": lambda uploader, odd: uploader.remote_upload(odd, folder_id="f", name="a"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_an_id_that_is_no_text_is_a_value_error_and_nothing_is_asked(
    fake: FakeFrameio, uploader: Uploader, call: Callable[[Uploader, str], Awaitable[object]]
) -> None:
    with pytest.raises(ValueError, match="UTF-8 cannot encode") as caught:
        await call(uploader, LONE)
    assert type(caught.value) is ValueError
    assert fake.requests == []


async def test_an_empty_id_is_none(fake: FakeFrameio, uploader: Uploader) -> None:
    """A DELETE of it would be one of the collection."""
    for call in (uploader.delete, uploader.status):
        with pytest.raises(ValueError, match="file_id is empty"):
            await call("")
    with pytest.raises(TypeError, match="folder_id must be a string"):
        uploader.upload(b"x", name="a", folder_id=None)  # type: ignore[arg-type]
    assert fake.requests == []


@pytest.mark.parametrize("odd", NO_HEADER_VALUES, ids=ascii)
async def test_a_media_type_that_is_no_header_value_is_a_value_error_before_a_file_is_made(
    fake: FakeFrameio, uploader: Uploader, odd: str
) -> None:
    with pytest.raises(ValueError, match="media_type must be"):
        uploader.upload(b"x", name="a", folder_id=fake.folder_id, media_type=odd)
    with pytest.raises(ValueError, match="media_type must be"):
        await uploader.plan(b"x", name="a", folder_id=fake.folder_id, media_type=odd)
    assert fake.requests == []
    plan = await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
    if "\ud800" in odd:
        with pytest.raises(PlanError, match="media_type contains a lone surrogate"):
            replace(plan, media_type=odd)
        return
    with pytest.raises(ValueError, match="media_type must be"):
        uploader.execute(replace(plan, media_type=odd), b"x")
    with pytest.raises(ValueError, match="media_type must be"):
        await uploader.send_parts(replace(plan, media_type=odd), b"x", [1])


@pytest.mark.parametrize(
    "headers", [{"X-A": "a\nb"}, {"X A": "b"}, {"X-A\r\n": "b"}, {"X-A": "\ud800"}, {"": "b"}, {"X-A": 1}], ids=ascii
)
def test_a_header_that_is_none_is_a_value_error_that_does_not_show_it(headers: dict[str, Any]) -> None:
    data = {"id": "i", "name": "a", "file_size": 1, "upload_urls": [{"size": 1, "url": "https://h/p"}]}
    with pytest.raises(ValueError, match="headers must be"):
        AsyncFrameioUploader(data, io.BytesIO(b"x"), headers=headers)


@pytest.mark.parametrize("name", ["file_id", "folder_id", "name", "account_id", "view_url", "status"])
def test_a_plan_with_a_word_that_is_no_text_cannot_be_built(name: str) -> None:
    data = {"id": "i", "name": "a", "file_size": 1, "upload_urls": [{"size": 1, "url": "https://h/p"}]}
    plan = Plan.from_response(data)
    with pytest.raises(PlanError, match=f"{name} contains a lone surrogate"):
        replace(plan, **{name: LONE})  # type: ignore[arg-type]
    told = json.loads(plan.to_json()) | {name: LONE}
    with pytest.raises(PlanError):
        Plan.from_json(json.dumps(told))


# -- the service's -----------------------------------------------------------------------------------------------------


def created(**changes: Any) -> bytes:
    parts = [{"size": 1, "url": "http://127.0.0.1:1/p"}]
    data = {"id": "i", "name": "a", "file_size": 1, "parent_id": "f", "upload_urls": parts}
    return answer(201, json.dumps({"data": data | changes}).encode())


@pytest.mark.parametrize("odd", ["", LONE, "\udfff"], ids=ascii)
async def test_an_id_of_the_services_that_is_none_is_an_api_error(odd: str) -> None:
    async with canned(created(id=odd)) as server, Uploader("t", account_id="a", base_url=server.url) as uploader:
        with pytest.raises(ApiError, match="id is empty or not valid text"):
            await uploader.plan(b"x", name="a", folder_id="f")
        assert len(server.heads) == 1, "what has no id cannot be deleted"


async def test_other_words_of_the_services_are_made_text() -> None:
    async with (
        canned(created(name=LONE, view_url=f"https://v/{LONE}", status=LONE)) as server,
        Uploader("t", account_id="a", base_url=server.url) as uploader,
    ):
        plan = await uploader.plan(b"x", name="a", folder_id="f")
    assert plan.name == "id-\ufffd"
    plan.to_json().encode()


def page(after: str | None, rows: list[dict[str, Any]]) -> bytes:
    return answer(200, json.dumps({"data": rows, "links": {"next": after}}).encode())


async def listed(*pages: bytes) -> tuple[ApiError, int]:
    """Look for a namesake in such a listing."""
    async with (
        canned(*pages) as server,
        Uploader("t", account_id="a", base_url=server.url, retry=RetryPolicy(attempts=1)) as uploader,
    ):
        with pytest.raises(ApiError) as caught:
            await uploader.upload(b"x", name="a", folder_id="f", conflict="skip")
        return caught.value, len(server.heads)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
async def test_a_listing_that_leads_in_a_circle_ends_in_an_api_error(length: int) -> None:
    row = {"id": "1", "type": "file", "name": "b"}
    around = [page(f"/x?after={number}", [row]) for number in range(length)]
    error, calls = await listed(*around, around[0])
    assert "in a circle" in str(error)
    assert (error.operation, error.status, calls) == ("list_folder_children", 200, length + 1)


async def test_a_listing_of_ever_new_cursors_and_no_rows_ends_in_an_api_error() -> None:
    error, calls = await listed(*(page(f"/x?after={number}", []) for number in range(200)))
    assert "does not end" in str(error)
    assert calls == 100


async def test_some_empty_pages_are_no_fault() -> None:
    there = {"id": "1", "type": "file", "name": "a", "status": "uploaded", "file_size": 1}
    pages = [*(page(f"/x?after={number}", []) for number in range(50)), page(None, [there])]
    async with canned(*pages) as server, Uploader("t", account_id="a", base_url=server.url) as uploader:
        assert (await uploader.upload(b"x", name="a", folder_id="f", conflict="skip")).outcome == "skipped"


@pytest.mark.parametrize("link", ["//[", "http://[::1/x?after=b", "/x?after=" + "c" * 5000])
async def test_a_link_to_the_next_page_that_is_none_is_an_api_error(link: str) -> None:
    error, calls = await listed(page(link, []))
    assert "the listing's" in str(error)
    assert calls == 1


async def test_rows_with_ids_that_are_none_are_passed_over() -> None:
    odd = [{"id": id, "type": kind, "name": "a"} for id in ("", LONE, 7, None) for kind in ("file", "folder")]
    there = {"id": "1", "type": "file", "name": "a", "status": "uploaded", "file_size": 1}
    async with (
        canned(page(None, [*odd, there])) as server,
        Uploader("t", account_id="a", base_url=server.url) as uploader,
    ):
        assert (await uploader.upload(b"x", name="a", folder_id="f", conflict="skip")).id == "1"


async def test_a_folder_that_was_made_without_an_id_is_an_api_error(tmp_path: Path) -> None:
    made = answer(201, json.dumps({"data": {"id": LONE}}).encode())
    async with (
        canned(page(None, []), made) as server,
        Uploader("t", account_id="a", base_url=server.url) as uploader,
    ):
        with pytest.raises(ApiError, match="id is missing"):
            await uploader.upload_folder(on_disk(plant, tmp_path, "a.mov"), folder_id="f")
