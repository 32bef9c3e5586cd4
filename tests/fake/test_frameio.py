"""The fake's V4 API: authorization, refusals, pages, polls, and the effects of a deletion."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from aioframeio_upload.testing import FakeFrameio
from tests.fake.test_s3 import BODY, connect, right_headers, target_of


class Client:
    """A client of the fake's API, with URLs relative to the account."""

    def __init__(self, fake: FakeFrameio, session: aiohttp.ClientSession) -> None:
        self.fake = fake
        self.session = session
        self.headers: dict[str, str] = {}

    async def call(self, target: str, document: Any = None, **options: Any) -> tuple[int, Any]:
        method, _, path = target.partition(" ")
        if not path.startswith("/v4"):
            path = f"/v4/accounts/{self.fake.account_id}{path}"
        path = path.replace("ROOT", self.fake.folder_id)
        sent: dict[str, Any] = {"headers": {"Authorization": f"Bearer {self.fake.token}"}} | options
        if document is not None:
            sent["json"] = {"data": document}
        async with self.session.request(method, self.fake.url + path, **sent) as response:
            self.headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.json() if await response.read() else None

    async def create(self, name: str = "take.mov", size: int = len(BODY)) -> Any:
        status, answer = await self.call("POST /folders/ROOT/files/local_upload", {"name": name, "file_size": size})
        assert status == 201
        return answer["data"]

    async def listed(self, query: str) -> Any:
        status, answer = await self.call(f"GET /folders/ROOT/files{query}")
        assert status == 200
        return answer


@pytest.fixture
async def fake() -> AsyncIterator[FakeFrameio]:
    async with FakeFrameio(rate_limits=False, stitch_polls=2) as fake:
        yield fake


@pytest.fixture
async def client(fake: FakeFrameio) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(fake, session)


async def send_whole(fake: FakeFrameio, asset: Any) -> None:
    wire = await connect(fake)
    wire.send(target_of(asset), right_headers(fake), BODY)
    assert (await wire.answer()).status == 200
    await wire.close()


@pytest.mark.parametrize(
    ("target", "document", "status"),
    [
        ("GET /folders/nowhere", None, 404),
        ("GET /files/nowhere/status", None, 404),
        ("GET /nothing/here", None, 404),
        ("GET /v4/accounts/other/folders/ROOT", None, 404),
        ("POST /folders/nowhere/files/local_upload", {"name": "a", "file_size": 1}, 404),
        ("POST /folders/ROOT/files/local_upload", {"name": "", "file_size": 1}, 422),
        ("POST /folders/ROOT/files/local_upload", {"name": 1, "file_size": 1}, 422),
        ("POST /folders/ROOT/files/local_upload", {"name": "a", "file_size": 0}, 422),
        ("POST /folders/ROOT/files/local_upload", {"name": "a", "file_size": True}, 422),
        ("POST /folders/ROOT/files/local_upload", {"name": "a", "file_size": "1"}, 422),
        ("POST /folders/ROOT/files/local_upload", {"name": "a", "file_size": 6 * 1024**4}, 422),
        ("POST /folders/ROOT/files/remote_upload", {"name": "a", "source_url": "ftp://x/y"}, 422),
        ("POST /folders/ROOT/folders", {}, 422),
        ("POST /folders/ROOT/folders", ["a"], 422),
        ("POST /folders/ROOT/version_stacks", {"file_ids": ["a"]}, 422),
        ("POST /folders/ROOT/version_stacks", {"file_ids": ["a", "b"]}, 422),
        ("GET /folders/ROOT/files?page_size=0", None, 422),
        ("GET /folders/ROOT/files?page_size=101", None, 422),
        ("GET /folders/ROOT/files?sort=colour_asc", None, 422),
        ("GET /folders/ROOT/files?after=!", None, 422),
        ("GET /folders/ROOT/children?type=comet", None, 422),
        ("DELETE /folders/ROOT", None, 403),
    ],
)
async def test_a_refused_call_gets_the_status_and_error_of_the_api(
    client: Client, target: str, document: Any, status: int
) -> None:
    answered, body = await client.call(target, document)
    assert answered == status
    (error,) = body["errors"]
    assert set(error) == {"detail", "source", "title"}
    assert set(error["source"]) == {"pointer"}
    assert client.headers["x-request-id"]
    assert client.headers["date"]


async def test_only_accepted_tokens_pass_and_they_may_be_rotated(client: Client, fake: FakeFrameio) -> None:
    fake.tokens.add("second")
    second = {"Authorization": "Bearer second"}
    assert (await client.call("GET /v4/me", headers=second))[0] == 200
    fake.tokens.discard(fake.token)
    assert (await client.call("GET /v4/me"))[0] == 401
    assert (await client.call("GET /v4/me", headers={}))[0] == 401
    assert (await client.call("GET /v4/me", headers=second))[0] == 200


async def test_a_body_has_to_be_json_and_to_say_so(client: Client, fake: FakeFrameio) -> None:
    target = "POST /folders/ROOT/folders"
    authorization = {"Authorization": f"Bearer {fake.token}"}
    json_type = authorization | {"Content-Type": "application/json"}
    assert (await client.call(target, data=b"{", headers=json_type))[0] == 400
    assert (await client.call(target, data=b"[]", headers=json_type))[0] == 422
    assert (await client.call(target, data=b"{}", headers=authorization))[0] == 415


async def test_without_rate_limits_there_are_no_rate_headers(client: Client) -> None:
    for _ in range(20):
        await client.create()
    assert not [name for name in client.headers if name.startswith("x-ratelimit")]


async def test_a_page_continues_where_the_last_one_ended_even_after_a_deletion(client: Client) -> None:
    made = [await client.create(f"{number}.mov") for number in range(6)]
    first = await client.listed("?page_size=3&sort=created_at_asc&include_total_count=true")
    assert ([file["id"] for file in first["data"]], first["total_count"]) == ([file["id"] for file in made[:3]], 6)
    await client.call(f"DELETE /files/{made[0]['id']}")
    cursor = first["links"]["next"].partition("?")[2]
    second = await client.listed(f"?{cursor}&page_size=3&sort=created_at_asc")
    assert [file["id"] for file in second["data"]] == [file["id"] for file in made[3:]]
    assert (second["links"]["next"], "total_count" in second) == (None, False)


async def test_listings_are_sorted_as_asked(client: Client) -> None:
    for name, size in [("b", 3), ("a", 2), ("c", 1)]:
        await client.create(name, size)
    for sort, names in [("name_desc", "cba"), ("file_size_asc", "cab"), ("created_at_desc", "cab")]:
        assert "".join(file["name"] for file in (await client.listed(f"?sort={sort}"))["data"]) == names


async def test_a_file_is_reported_complete_only_after_the_polls_that_stitching_takes(
    client: Client, fake: FakeFrameio
) -> None:
    asset = await client.create()
    target = f"GET /files/{asset['id']}/status"
    assert not (await client.call(target))[1]["data"]["upload_complete"], "before its last part no poll counts"
    await send_whole(fake, asset)
    await fake.until(lambda fake: fake.files[0].complete)
    told = [(await client.call(target))[1]["data"] for _ in range(3)]
    assert [answer["upload_complete"] for answer in told] == [False, False, True]
    assert [answer["upload_completed_at"] is None for answer in told] == [True, True, False]
    assert (await client.listed(""))["data"][0]["status"] == "uploaded"


async def test_a_file_moves_between_folders(client: Client, fake: FakeFrameio) -> None:
    asset = await client.create()
    folder = (await client.call("POST /folders/ROOT/folders", {"name": "Dailies"}))[1]["data"]
    status, answer = await client.call(f"PATCH /files/{asset['id']}/move", {"parent_id": folder["id"]})
    assert (status, answer["data"]["parent_id"], fake.files[0].folder_id) == (200, folder["id"], folder["id"])
    assert (await client.listed(""))["data"] == []
    assert (await client.call(f"PATCH /files/{asset['id']}/move", {"parent_id": "nowhere"}))[0] == 422


async def test_deleting_a_folder_deletes_its_content(client: Client, fake: FakeFrameio) -> None:
    folder = (await client.call("POST /folders/ROOT/folders", {"name": "Dailies"}))[1]["data"]
    made = [await client.create(name) for name in ("a.mov", "b.mov", "c.mov")]
    for asset in made[:2]:
        await send_whole(fake, asset)
    await fake.until(lambda fake: sum(file.complete for file in fake.files) == 2)
    for asset in made:
        await client.call(f"PATCH /files/{asset['id']}/move", {"parent_id": folder["id"]})
    ids = [asset["id"] for asset in made[:2]]
    target = f"POST /folders/{folder['id']}/version_stacks"
    assert (await client.call(target, {"file_ids": ids}))[0] == 201
    assert (await client.call(f"DELETE /folders/{folder['id']}"))[0] == 204
    assert (fake.files, len(fake.deleted)) == ((), 3)
    assert (await client.call("GET /folders/ROOT/children"))[1]["data"] == []
    assert (await client.call(f"GET /folders/{folder['id']}"))[0] == 404
