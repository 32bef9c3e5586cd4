"""Whatever a server sends is understood or raises the documented error: nothing else is raised, and nothing hangs.

100 examples each; 2,000 with HYPOTHESIS_PROFILE=fuzz (`python3 run.py fuzz`).
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aioframeio_upload import (
    ApiError,
    IntegrityError,
    Limits,
    LinksExpired,
    PartExhausted,
    PartRejected,
    Plan,
    PlanError,
    Receipt,
    RetryPolicy,
    Timeouts,
    UploadedFile,
    Uploader,
    UploadError,
    UploadStatus,
)
from aioframeio_upload._core.backoff import read_retry_after, wait_before
from aioframeio_upload._core.failures import Verdict, explain, is_throttle, judge
from aioframeio_upload._core.presigned import Links, Now, ServiceClock, link_lifetime, why_not_replaced
from aioframeio_upload._core.s3_refusal import read_refusal
from aioframeio_upload._core.token_bucket import ARRIVAL_SLACK, SLOWEST, SharedRate
from tests.support.canned import canned
from tests.support.strategies import JSON

CALM = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)
FUZZ = settings(
    max_examples=2_000 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 100,
    deadline=None,
    suppress_health_check=CALM,
)

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = "5ec2e7" * 10
CONTENT = b"0123456789"
NOBODY = "http://127.0.0.1:1/?X-Amz-Signature="
"""A URL at which nobody listens."""

# -- what may come -----------------------------------------------------------------------------------------------------


def joined(*fragments: str, most: int = 6) -> st.SearchStrategy[str]:
    """Draw text that is composed of meaningful and meaningless fragments."""
    return st.lists(st.sampled_from(fragments) | st.text(max_size=3), max_size=most).map("".join)


DAYS = ("Mon, ", "23 Nov 2026", "31 Dec 9999", "1 Jan 0001", "99 Foo -1", "29 Feb 2027", "1 Jan 70")
HOURS = (" 12:00:00", " 23:59:60", " 24:61:61", ":", " GMT", " +9999", " -0000", " +99999999999", " EST", " (", ",")
DATES = joined(*DAYS, *HOURS) | st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT"))
NUMBERS = st.integers().map(str) | st.sampled_from(["0", "-1", "1e9", "inf", "nan", "٣", "1" * 400, "0.5", " 7 ", ""])
ETAGS = joined('"', "W/", "0123456789abcdef", "ABCDEF0123456789", "-3", "\\", " ")
LOCATIONS = joined(
    *("http://", "https://", "//", "127.0.0.1", ":1", "[::1", "]", ":99999", "host", "gopher:", "?", "#", "@", "/", "%")
)
STAMPS = joined("2026-11-23", "T12:00:00", ".123456789", "Z", "+00:00", "+99:99", "-W01-1", "0000", "9999-12-31")
HEADERS = st.lists(
    st.tuples(st.just("Retry-After"), NUMBERS | DATES)
    | st.tuples(st.just("Date"), DATES)
    | st.tuples(st.sampled_from([f"x-ratelimit-{word}" for word in ("limit", "remaining", "window")]), NUMBERS)
    | st.tuples(st.just("ETag"), ETAGS)
    | st.tuples(st.just("Location"), LOCATIONS)
    | st.tuples(
        st.sampled_from(["Content-Type", "Content-Encoding", "Set-Cookie", "Connection", "Transfer-Encoding"]),
        joined("application/json", "; charset=", "utf-8", "gzip", "deflate", "br", "close", "chunked", "a=b", ";", '"'),
    )
    | st.tuples(
        st.sampled_from(["x-amz-request-id", "x-request-id", "x-amz-server-side-encryption", "Vary", "x-\xff"]),
        joined("aws:kms", "AES256", "REQUEST77", "\xff", "\t", " "),
    ),
    max_size=5,
)
STATUSES = st.sampled_from([200, 201, 202, 204, 301, 304, 307, 400, 401, 403, 404, 408, 417, 429, 500, 503])

CREATED = {
    "id": "made",
    "name": "a",
    "parent_id": "folder",
    "file_size": 10,
    "media_type": "video/quicktime",
    "view_url": "https://next.frame.io/x",
    "status": "created",
    "upload_urls": [
        {"size": 4, "url": f"{NOBODY}{SECRET}&X-Amz-Date=20261123T120000Z&X-Amz-Expires=86400"},
        {"size": 6, "url": f"{NOBODY}{SECRET}&X-Amz-Date=20261123T120000Z&X-Amz-Expires=86400"},
    ],
}
STATUS = {
    "id": "made",
    "filetype": "video/quicktime",
    "upload_complete": True,
    "upload_failed": False,
    "upload_completed_at": "2026-11-23T12:00:00.000000Z",
    "uploaded_at": None,
}
REFUSED = {"errors": [{"detail": "No.", "source": {"pointer": "/data/name"}, "title": "Refused"}], "message": "No."}
ODD = st.sampled_from([True, 0, -1, 10**30, 2**63, 1e308, inf, "", "\ud800", "\x00", [], {}, [[]], {"": None}])
VALUES = JSON | ODD | STAMPS | LOCATIONS


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """Draw a document with up to three of its places, at any depth, replaced, dropped or doubled."""
    told = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(0, 3))):
        place = told
        while isinstance(place, dict | list) and place:
            key: Any = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            match draw(st.sampled_from(["replace", "replace", "drop", "double"])):
                case "replace":
                    place[key] = deepcopy(draw(VALUES))  # sampled_from returns the same object each time
                case "drop":
                    del place[key]
                case _:
                    place[key] = [place[key], deepcopy(place[key])]
            break
    return told


def bodies(*documents: Any) -> st.SearchStrategy[bytes]:
    """Draw JSON that is nearly right, JSON of any shape, some of it truncated, or arbitrary bytes."""
    nearly = st.one_of(*map(mutated, documents)).map(lambda told: json.dumps(told).encode())
    cut = st.builds(lambda body, at: body[:at], nearly, st.integers(0, 400))
    return nearly | nearly | cut | JSON.map(lambda told: json.dumps(told).encode()) | st.binary(max_size=60)


@st.composite
def refusals(draw: st.DrawFn) -> bytes:
    """Draw S3's XML: complete, in another order, or truncated."""
    words = joined("Request has expired", "Access Denied", "<", "&amp;", "]]>", "\ud800", f"{NOBODY}{SECRET}")
    codes = st.sampled_from(["AccessDenied", "SlowDown", "RequestTimeTooSkewed", "RequestTimeout"]) | joined("A", "<")
    tags = [
        f"<Code>{draw(codes)}</Code>",
        f"<Message>{draw(words)}</Message>",
        f"<RequestId>{draw(words)}</RequestId>",
        f"<CanonicalRequest>X-Amz-Signature={SECRET}</CanonicalRequest>",
    ]
    inner = "".join(draw(st.permutations(tags))[: draw(st.integers(0, 4))])
    head = draw(st.sampled_from(["", '<?xml version="1.0"?>', '<!DOCTYPE x [<!ENTITY e "&e;">]>', "<html>"]))
    document = f"{head}<Error>{inner}</Error>".encode("utf-8", "surrogatepass")
    return document[: draw(st.integers(0, len(document)) | st.just(len(document)))]


@st.composite
def answers(draw: st.DrawFn, content: st.SearchStrategy[bytes]) -> bytes:
    """Draw an answer as sent on the wire: HTTP, nearly HTTP, or something else."""
    body = draw(content)
    headers = list(draw(HEADERS))
    length = draw(st.sampled_from(["right", "right", "right", "none", "longer", "odd"]))
    if length != "none":
        told = {"right": str(len(body)), "longer": str(len(body) + 5), "odd": draw(NUMBERS)}
        headers.append(("Content-Length", told[length]))
    status = draw(st.just(200) | STATUSES | st.integers(100, 999))
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers), "", ""]
    wire = "\r\n".join(lines).encode("utf-8", "surrogatepass") + body
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(wire)))
        wire = wire[:at] + draw(st.binary(max_size=5)) + wire[at + draw(st.integers(0, 5)) :]
    return wire


# -- what must hold ----------------------------------------------------------------------------------------------------


class Nowhere(AbstractResolver):
    """A resolver that knows no name, so that a hostile redirect leads nowhere."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
        raise OSError(-2, "unknown")

    async def close(self) -> None:
        pass


@asynccontextmanager
async def served(answer: bytes) -> AsyncIterator[tuple[Uploader, str]]:
    """Yield an Uploader for a server that gives one answer to every request."""
    impatient = Timeouts(connect=2, api=2, stall=2, answer=2, confirm=2)
    async with (
        canned(answer) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Nowhere())) as session,
        Uploader(
            "token-of-the-test",
            account_id="account",
            base_url=server.url,
            retry=RetryPolicy(attempts=1, base=0, cap=0, patience=0),
            timeouts=impatient,
            limits=Limits(parts=1),
            session=session,
        ) as uploader,
        asyncio.timeout(20),
    ):
        yield uploader, server.url


def check_error(error: UploadError, *kinds: type[UploadError]) -> None:
    """The error is one of these classes, is short, can be pickled and written as JSON, and contains no secret."""
    assert isinstance(error, kinds), repr(error)
    assert len(str(error)) < 2_000
    assert SECRET not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    json.dumps(error.to_dict(), allow_nan=False)


def check_plan(plan: Plan) -> None:
    assert sum(part.size for part in plan.parts) == plan.size
    assert [part.number for part in plan.parts] == list(range(1, len(plan.parts) + 1))
    assert Plan.from_json(plan.to_json()) == plan
    assert SECRET not in repr(plan)
    assert plan.expires_at is None or plan.expires_at.tzinfo is not None


# -- read in memory ----------------------------------------------------------------------------------------------------


@FUZZ
@given(mutated(CREATED) | JSON)
def test_a_create_answer_of_any_shape_is_a_consistent_plan_or_a_plan_error(data: Any) -> None:
    try:
        check_plan(Plan.from_response(data))
    except PlanError as error:
        check_error(error, PlanError)


@FUZZ
@given(st.integers(0, 999), HEADERS.map(dict), refusals() | st.binary(max_size=100))
def test_any_refusal_has_a_verdict_a_text_without_secrets_and_a_finite_delay(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    fault = read_refusal(status, headers, body, NOW)
    assert judge(fault) in Verdict
    assert is_throttle(fault) in (True, False)
    assert 0 < len(explain(fault)) < 500
    assert SECRET not in explain(fault)
    assert fault.code is None or (fault.code.isascii() and len(fault.code) <= 80)
    assert 0 <= wait_before(RetryPolicy(), 1, fault.retry_after) <= 300


@FUZZ
@given(NUMBERS | DATES, DATES)
def test_any_retry_after_is_a_finite_delay_or_none(said: str, date: str) -> None:
    seconds = read_retry_after({"Retry-After": said, "Date": date}, NOW)
    assert seconds is None or 0 <= seconds < inf
    assert 0 <= wait_before(RetryPolicy(), 1, seconds) <= 300


@FUZZ
@given(DATES, st.floats(0, 1e9), st.floats(0, 1e9))
@example("Fri, 31 Dec 9999 23:59:59 GMT", 0, 1e6)
@example("Mon, 01 Jan 0001 00:00:00 GMT", 0, 0)
def test_any_date_sets_a_clock_that_advances(date: str, at: float, later: float) -> None:
    clock = ServiceClock()
    clock.observe(date, at)
    first, second = clock.now(at), clock.now(at + later)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert second - first == timedelta(seconds=at + later - at)
    life = link_lifetime([CREATED["upload_urls"][0]["url"]])  # type: ignore[index]
    assert life is not None
    assert Links(life, at, first, is_own=True).may_begin(Now(at, first))
    assert Links(life, at, first, is_own=False).may_begin(Now(at, second)) in (True, False)


@FUZZ
@given(st.floats(0, 1e9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_any_rate_in_an_answer_delays_the_next_call_by_a_minute_at_most(
    now: float, limit: int, remaining: int, window: float
) -> None:
    rate = SharedRate.full(5, 1, now)
    assert rate.take(now) == 0
    rate.end()
    is_adopted = rate.adopt(limit, window, now)
    rate.grant(now, now, remaining if is_adopted else None, 1.0)
    assert 0 <= rate.take(now) <= SLOWEST + ARRIVAL_SLACK + 1e-6


@FUZZ
@given(
    st.lists(
        joined("?", "&", "X-Amz-Date=", "20261123T120000Z", "99991231T235959Z", "X-Amz-Expires=", "86400", "999999999"),
        max_size=3,
    ),
    st.datetimes(timezones=st.just(UTC)),
    st.integers(0, 1 << 62),
    st.floats(0, 1e12),
)
@example(["?X-Amz-Date=99991231T235959Z&X-Amz-Expires=999999999"], NOW, 1, 1)
@example(["?X-Amz-Date=00010101T000000Z&X-Amz-Expires=0"], NOW, 1, 1)
def test_any_link_has_a_usable_lifetime_or_none(links: list[str], now: datetime, size: int, rate: float) -> None:
    life = link_lifetime(links)
    if life is not None:
        assert life.signed_at <= life.expires_at
        assert 0 <= life.margin <= 60
    for is_own in (True, False):
        found = Links(life, 0.0, now, is_own=is_own)
        assert found.may_begin(Now(1.0, None)) in (True, False)
        words = why_not_replaced(found, Now(1.0, now), replaced=0, has_sent=False, size=size, rate=rate)
        assert words is None or 0 < len(words) < 200


# -- read from a socket ------------------------------------------------------------------------------------------------


@FUZZ
@given(answers(bodies({"data": CREATED}, REFUSED)))
async def test_any_answer_to_create_is_a_plan_or_an_error_of_ours(answer: bytes) -> None:
    async with served(answer) as (uploader, _):
        try:
            plan = await uploader.plan(CONTENT, name="a", folder_id="folder")
        except UploadError as error:
            check_error(error, ApiError, PlanError)
        else:
            check_plan(plan)
            assert plan.size == len(CONTENT)


@FUZZ
@given(answers(bodies({"data": STATUS}, REFUSED)), st.booleans())
async def test_any_answer_to_status_and_delete_is_a_result_or_an_error_of_ours(answer: bytes, deletes: bool) -> None:
    async with served(answer) as (uploader, _):
        try:
            told = await (uploader.delete("made") if deletes else uploader.status("made"))
        except UploadError as error:
            check_error(error, ApiError)
        else:
            assert (told is None) == deletes
            if isinstance(told, UploadStatus):
                assert type(told.complete) is type(told.failed) is bool
                assert told.media_type is None or isinstance(told.media_type, str)


@FUZZ
@given(answers(bodies({"data": {**CREATED, "status": "created"}}, REFUSED)))
async def test_any_answer_to_a_remote_upload_is_a_file_or_an_error_of_ours(answer: bytes) -> None:
    async with served(answer) as (uploader, _):
        try:
            file = await uploader.remote_upload("https://elsewhere.example/a", folder_id="folder", name="a")
        except UploadError as error:
            check_error(error, ApiError)
        else:
            check_file(file)


def check_file(file: UploadedFile) -> None:
    assert isinstance(file.id, str)
    assert type(file.size) is int
    assert 0 <= file.size < 1 << 63
    assert all(isinstance(word, str) for word in (file.name, file.folder_id, file.status))


@FUZZ
@given(answers(refusals() | st.just(b"") | st.binary(max_size=60)))
@example(b"HTTP/1.1 200 X\r\nETag: 0123456789abcdef0123456789abcdef\r\nContent-Length: 0\r\n\r\n")
@example(b"HTTP/1.1 307 X\r\nLocation: http://http://\r\nContent-Length: 0\r\n\r\n")
@example(b"HTTP/1.1 307 X\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n")
@example(b"HTTP/1.1 307 X\r\nLocation: http://host:99999/\r\nContent-Length: 0\r\n\r\n")
async def test_any_answer_to_a_part_is_a_receipt_or_an_error_of_ours(answer: bytes) -> None:
    async with served(answer) as (uploader, url):
        link = partial("{}/part_{}?X-Amz-Signature={}".format, url, 1, SECRET)
        plan = Plan.from_response({**CREATED, "upload_urls": [{"size": len(CONTENT), "url": link()}]})
        try:
            (receipt,) = await uploader.send_parts(plan, CONTENT, [1])
        except UploadError as error:
            check_error(error, PartRejected, PartExhausted, IntegrityError, LinksExpired)
        else:
            assert isinstance(receipt, Receipt)
            assert (receipt.number, receipt.size) == (1, len(CONTENT))
