"""Part links that die too early or lead elsewhere: new ones a few times at most, and no byte to a stranger."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from aioframeio_upload import (
    AsyncFrameioUploader,
    Limits,
    LinksExpired,
    PartExhausted,
    Plan,
    PlanError,
    RetryPolicy,
    Timeouts,
    Uploader,
    UploadReplanned,
)
from aioframeio_upload._core.presigned import REPLANS
from tests.support.canned import answer, canned

SECRET = "5ec2e7" + 58 * "0"
CONTENT = bytes(range(250)) * 20
PART = 1000
QUICK: dict[str, Any] = {
    "account_id": "a",
    "limits": Limits(parts=1, api_pacing=False),
    "retry": RetryPolicy(attempts=2, base=0.01, cap=0.02, patience=0),
    "timeouts": Timeouts(confirm=0),
}

ONCE = RetryPolicy(attempts=1, base=0.01, cap=0.02, patience=0)

EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
TOKEN_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


def with_(**more: Any) -> dict[str, Any]:
    """The usual settings, and others."""
    return {**QUICK, **more}


def signed(age: float = 0.0, lifetime: int = 86400) -> str:
    """A query as S3 signs it, so many seconds ago."""
    stamp = datetime.now(UTC) - timedelta(seconds=age)
    return f"X-Amz-Date={stamp:%Y%m%dT%H%M%SZ}&X-Amz-Expires={lifetime}&X-Amz-Signature={SECRET}"


@dataclass
class Service:
    """A Frame.io and an S3 whose clocks and refusals are a test's, as the fake's are not."""

    query: Callable[[], str] = signed
    date: float | None = 0.0
    """Seconds that the API's `Date` is off; None: it tells none."""
    refuses: Callable[[int, int], bytes | None] = lambda made, number: None
    """S3's document for a part, by the count of files made and the part's number; None: it is taken."""
    url: str = ""
    made: int = 0
    deleted: int = 0
    puts: list[tuple[int, int]] = field(default_factory=list)

    def create(self, size: int) -> dict[str, Any]:
        """Make a file, and tell of it as the API does."""
        self.made += 1
        links = [
            {"size": min(PART, size - offset), "url": f"{self.url}/{self.made}/{offset // PART + 1}?{self.query()}"}
            for offset in range(0, size, PART)
        ]
        told = {"id": f"f{self.made}", "parent_id": "d", "name": "a.mov", "file_size": size, "status": "created"}
        return told | {"upload_urls": links}

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        if method == "PUT":
            made, number = (int(word) for word in target.partition("?")[0].split("/")[1:3])
            self.puts.append((made, number))
            refusal = self.refuses(made, number)
            return answer(200, b"", etag='"x"') if refusal is None else answer(403, refusal)
        headers = {}
        if self.date is not None:
            headers["date"] = format_datetime(datetime.now(UTC) + timedelta(seconds=self.date), usegmt=True)
        if method == "DELETE":
            self.deleted += 1
            return answer(204, b"", **headers)
        if method == "POST":
            return answer(
                201, json.dumps({"data": self.create(json.loads(body)["data"]["file_size"])}).encode(), **headers
            )
        status = {"id": "f", "upload_complete": False, "upload_failed": False, "filetype": "video/quicktime"}
        return answer(200, json.dumps({"data": status}).encode(), **headers)


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Service]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
            body = await reader.readexactly(int(lengths[0])) if lengths else b""
            writer.write(service.answer(method, target, body))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield service


def always(document: bytes, *numbers: int) -> Callable[[int, int], bytes | None]:
    """Refuse those parts, or all."""
    return lambda made, number: document if not numbers or number in numbers else None


# -- links that S3 calls expired ---------------------------------------------------------------------------------------

QUERIES: dict[str, Callable[[], str]] = {
    "dated": signed,
    "signed with the older scheme": lambda: f"AWSAccessKeyId=A&Expires=1&Signature={SECRET}",
    "without a word": lambda: f"key={SECRET}",
    "90 s old": lambda: signed(90),
    "90 s old, of 100": lambda: signed(90, 100),
    "a year old": lambda: signed(365 * 86400),
    "of tomorrow": lambda: signed(-86400),
    "for no time": lambda: signed(0, 0),
}


@pytest.mark.parametrize("date", [0.0, 3600.0, 86400.0, -86400.0, 400 * 86400.0, None])
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
async def test_links_that_just_came_are_sent_to_whatever_any_clock_says(
    query: Callable[[], str], date: float | None
) -> None:
    async with serving(Service(query, date)) as service, Uploader("t", base_url=service.url, **QUICK) as uploader:
        await uploader.upload(CONTENT, name="a.mov", folder_id="d")
    assert (service.made, service.deleted) == (1, 0)
    assert service.puts == [(1, number) for number in range(1, 6)]


@pytest.mark.parametrize("date", [0.0, 86400.0, None])
@pytest.mark.parametrize("document", [EXPIRED, TOKEN_EXPIRED], ids=["date", "token"])
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
async def test_links_that_s3_refuses_as_soon_as_they_came_are_not_asked_for_again(
    query: Callable[[], str], document: bytes, date: float | None
) -> None:
    """There were 3,000 files in five seconds."""
    service = Service(query, date, always(document))
    async with serving(service), Uploader("t", base_url=service.url, **QUICK) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id="d")
        with pytest.raises(
            LinksExpired, match="the links were just issued: the clocks of S3 and of the service differ"
        ):
            await upload
        assert not [event async for event in upload if isinstance(event, UploadReplanned)]
    assert (service.made, service.deleted) == (1, 1)
    assert service.puts == [(1, 1)]


@pytest.mark.parametrize("slots", [1, 5])
async def test_links_that_do_not_tell_their_life_and_die_in_the_middle_are_replaced(slots: int) -> None:
    def refuses(made: int, number: int) -> bytes | None:
        return EXPIRED if made == 1 and number >= 3 else None

    service = Service(QUERIES["without a word"], refuses=refuses)
    limits = Limits(parts=slots, api_pacing=False)
    async with serving(service), Uploader("t", base_url=service.url, **with_(limits=limits)) as uploader:
        file = await uploader.upload(CONTENT, name="a.mov", folder_id="d")
    assert (file.id, service.made, service.deleted) == ("f2", 2, 1)
    assert {put for put in service.puts if put[0] == 2} == {(2, number) for number in range(1, 6)}


@pytest.mark.parametrize("slots", [1, 5])
async def test_one_part_that_s3_never_takes_costs_a_few_files_at_most(slots: int) -> None:
    service = Service(QUERIES["without a word"], refuses=always(EXPIRED, 3))
    limits = Limits(parts=slots, api_pacing=False)
    async with serving(service), Uploader("t", base_url=service.url, **with_(limits=limits)) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id="d")
        with pytest.raises(LinksExpired, match="this upload's links have expired 4 times"):
            await upload
        replaced = [event async for event in upload if isinstance(event, UploadReplanned)]
    assert len(replaced) == REPLANS == 3
    assert service.made == service.deleted == 1 + REPLANS


async def test_a_plan_that_another_tool_made_is_replaced_once_where_s3_calls_it_expired() -> None:
    """Nobody knows how old it is; its own links, which come then, are new."""
    async with (
        serving(Service(refuses=always(EXPIRED))) as service,
        Uploader("t", base_url=service.url, **QUICK) as uploader,
    ):
        with pytest.raises(LinksExpired, match="just issued"):
            await uploader.execute(Plan.from_response(service.create(len(CONTENT))), CONTENT)
    assert (service.made, service.deleted) == (2, 2)


@pytest.mark.parametrize("is_asked", [False, True])
@pytest.mark.parametrize("date", [90_000.0, None])
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
async def test_a_plan_from_elsewhere_is_tried_and_s3_decides(
    query: Callable[[], str], date: float | None, is_asked: bool
) -> None:
    async with serving(Service(query, date)) as service, Uploader("t", base_url=service.url, **QUICK) as uploader:
        plan = Plan.from_response(service.create(len(CONTENT)))
        if is_asked:
            await uploader.status(plan.file_id)
        receipts = await uploader.send_parts(plan, CONTENT, [2, 3])
        assert [receipt.number for receipt in receipts] == [2, 3]
        await uploader.execute(plan, CONTENT, receipts=receipts)
    assert (service.made, service.deleted) == (1, 0)
    assert service.puts == [(1, number) for number in (2, 3, 1, 4, 5)]


@pytest.mark.parametrize("date", [0.0, 90_000.0, -90_000.0])
async def test_a_plan_that_travels_is_as_old_as_the_service_says_by_its_own_clock(date: float) -> None:
    async with serving(Service(date=date)) as service:
        async with Uploader("t", base_url=service.url, **QUICK) as uploader:
            text = (await uploader.plan(CONTENT, name="a.mov", folder_id="d")).to_json()
        for later, is_tried in ((0.0, True), (86000.0, True), (86400.0, False)):
            service.date, before = date + later, len(service.puts)
            async with Uploader("t", base_url=service.url, **QUICK) as uploader:
                await uploader.status("f1")
                if is_tried:
                    await uploader.send_parts(Plan.from_json(text), CONTENT, [1])
                else:
                    with pytest.raises(LinksExpired, match="the link of part 1 is about to expire"):
                        await uploader.send_parts(Plan.from_json(text), CONTENT, [1])
            assert len(service.puts) - before == is_tried


@pytest.mark.parametrize("date", [90_000.0, -90_000.0, None])
async def test_an_upload_is_gone_on_with_whatever_the_services_date_is(
    date: float | None, tmp_path: Path, make_file: Callable[..., Path]
) -> None:
    path = make_file(len(CONTENT))
    service = Service(date=date, refuses=always(b"<Error><Code>InternalError</Code></Error>", 4))
    settings = with_(journal=tmp_path / "j")
    async with serving(service):
        async with Uploader("t", base_url=service.url, **settings) as uploader:
            with pytest.raises(PartExhausted, match="part 4"):
                await uploader.upload(path, folder_id="d")
        service.refuses, before = always(EXPIRED, 99), len(service.puts)
        async with Uploader("t", base_url=service.url, **settings) as uploader:
            file = await uploader.upload(path, folder_id="d")
    assert (file.id, file.outcome, service.made, service.deleted) == ("f1", "resumed", 1, 0)
    assert service.puts[before:] == [(1, 4), (1, 5)]


# -- redirects ---------------------------------------------------------------------------------------------------------


class Here(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


def plan_to(url: str) -> Plan:
    parts = [{"size": len(CONTENT), "url": url}]
    return Plan.from_response({"id": "f", "name": "a", "file_size": len(CONTENT), "upload_urls": parts}, account_id="a")


@asynccontextmanager
async def uploader_here() -> AsyncIterator[Uploader]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Here())) as session,
        Uploader("t", base_url="http://127.0.0.1:9", session=session, **with_(retry=ONCE)) as uploader,
    ):
        yield uploader


async def test_a_redirect_within_s3_is_followed() -> None:
    async with canned() as s3, uploader_here() as uploader:
        port = s3.url.rpartition(":")[2]
        other = f"http://bucket.s3.us-west-2.amazonaws.com:{port}/part?X-Amz-Signature={SECRET}"
        s3.answers += [answer(307, b"", location=other), answer(200, b"", etag='"x"')]
        await uploader.send_parts(plan_to(f"http://bucket.s3.amazonaws.com:{port}/part?{signed()}"), CONTENT, [1])
    hosts = [line for head in s3.heads for line in head.splitlines() if line.lower().startswith("host:")]
    assert hosts == [f"Host: bucket.s3.amazonaws.com:{port}", f"Host: bucket.s3.us-west-2.amazonaws.com:{port}"]


LOCATIONS = [
    ("http://evil.example:{port}/{secret}", "redirected to evil.example, which is neither S3 nor the host of the link"),
    ("http://127.0.0.1:{port}/?{secret}", "redirected to 127.0.0.1, which is neither"),
    (
        "http://bucket.s3.amazonaws.com.evil.example:{port}/",
        "redirected to bucket.s3.amazonaws.com.evil.example, which",
    ),
    ("http://ec2-203-0-113-7.compute-1.amazonaws.com:{port}/", "redirected to ec2-203-0-113-7.compute-1.amazonaws.com"),
    ("http://me:{secret}@bucket.s3.amazonaws.com:{port}/", "redirected to a URL with a user name"),
    ("http://bucket..s3.amazonaws.com:{port}/", "redirected to no usable URL"),
    ("http://xn--a.s3.amazonaws.com:{port}x/", "redirected to no usable URL"),
    ("//evil.example:{port}/", "redirected to evil.example"),
]


@pytest.mark.parametrize(("location", "words"), LOCATIONS)
async def test_a_redirect_to_a_stranger_is_a_failed_attempt_and_the_bytes_stay(location: str, words: str) -> None:
    async with canned(answer(200, b"", etag='"x"')) as stranger, canned() as s3, uploader_here() as uploader:
        where = location.format(port=stranger.url.rpartition(":")[2], secret=SECRET)
        s3.answers.append(answer(307, b"", location=where))
        link = f"http://bucket.s3.amazonaws.com:{s3.url.rpartition(':')[2]}/part?{signed()}"
        with pytest.raises(PartExhausted) as caught:
            await uploader.send_parts(plan_to(link), CONTENT, [1])
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert (caught.value.attempts, caught.value.status, stranger.heads) == (1, 307, [])


async def test_a_chain_of_redirects_is_held_to_the_links_own_host() -> None:
    async with canned(answer(200, b"", etag='"x"')) as stranger, canned() as s3, uploader_here() as uploader:
        port = s3.url.rpartition(":")[2]
        s3.answers.append(answer(307, b"", location=f"http://bucket.s3.us-west-2.amazonaws.com:{port}/part"))
        s3.answers.append(answer(307, b"", location=stranger.url.replace("127.0.0.1", "evil.example")))
        with pytest.raises(PartExhausted, match=r"redirected to evil\.example"):
            await uploader.send_parts(plan_to(f"http://bucket.s3.amazonaws.com:{port}/part?{signed()}"), CONTENT, [1])
    assert stranger.heads == []


# -- in plain text -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def served(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("verb", ["upload", "plan"])
async def test_an_https_api_that_hands_out_http_links_gets_no_byte_and_its_file_is_removed(
    verb: str, served: ssl.SSLContext, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    async with canned(answer(200, b"", etag='"x"')) as s3, canned(ssl=served) as api:
        told = {"id": "f1", "name": "a", "file_size": len(CONTENT), "parent_id": "d", "status": "created"}
        links = [{"size": len(CONTENT), "url": f"{s3.url}/part?{signed()}"}]
        api.answers.append(answer(201, json.dumps({"data": told | {"upload_urls": links}}).encode()))
        api.answers.append(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n")
        settings = with_(ssl=trusting, journal=tmp_path / "j")
        async with Uploader("t", base_url=api.url, **settings) as uploader:
            with pytest.raises(PlanError, match="the link of part 1 is http although the API is https") as caught:
                await getattr(uploader, verb)(CONTENT, name="a", folder_id="d")
            assert await uploader.pending() == ()
    assert SECRET not in str(caught.value)
    assert [head.split()[0] for head in api.heads] == ["POST", "DELETE"]
    assert "/files/f1 " in api.heads[1]
    assert s3.heads == []


async def test_a_plan_that_was_brought_may_have_http_links_to_this_machine_only() -> None:
    async with canned(answer(200, b"", etag='"x"')) as s3, Uploader("t", **QUICK) as uploader:
        await uploader.send_parts(plan_to(f"{s3.url}/part?{signed()}"), CONTENT, [1])
        other = plan_to(f"http://s3.example/part?{signed()}")
        with pytest.raises(PlanError, match="the link of part 1 is http"):
            await uploader.send_parts(other, CONTENT, [1])
        for receipts in (None, ()):
            with pytest.raises(PlanError, match="the link of part 1 is http"):
                await uploader.execute(other, CONTENT, receipts=receipts)
    assert len(s3.heads) == 1
    asset = {"id": "f", "name": "a", "file_size": 1, "upload_urls": [{"size": 1, "url": "http://s3.example/part"}]}
    with pytest.raises(PlanError, match="the link of part 1 is http"):
        AsyncFrameioUploader(asset, b"x")
