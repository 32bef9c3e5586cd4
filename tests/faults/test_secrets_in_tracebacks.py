"""No variable in a traceback that leaves the library shows a token, a part's link or the answer that contained them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioframeio_upload import AsyncFrameioUploader, Plan, PlanError, RetryPolicy, Timeouts, Uploader, UploadError
from aioframeio_upload._cli import service as cli_service
from aioframeio_upload._cli.browse import find_folder, run_find
from aioframeio_upload._cli.options import Target, read_service
from aioframeio_upload._cli.service import Service
from aioframeio_upload._core.redact import Secret
from aioframeio_upload._io import api_response
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, reached, some_bytes, uploader_on
from tests.support.canned import answer, canned
from tests.support.frames import frames_of, shown_by

LINK = '{"size": SIZE, "url": "https://h/?X-Amz-a=1"}'
PLANLESS = f'{{"data": {{"id": "i", "name": "a", "file_size": 9, "upload_urls": [{LINK}]}}}}'
"""An answer to `create` that is not a valid plan, but contains a link."""

CONTENT = some_bytes(3 * PART)
ONCE = RetryPolicy(attempts=2, base=0.01, cap=0.02, patience=0)
LINKED = "X-Amz-"
SOURCE_SECRET = "c0ffee-of-the-source"
SOURCE = f"https://bucket.example/a.mov?X-Amz-Signature={SOURCE_SECRET}"

TOKENS: dict[str, Callable[[str], Any]] = {
    "a string": str,
    "a callable": lambda token: lambda: token,
    "a partial": lambda token: partial(str, token),
    "an async callable": lambda token: partial(_later, token),
}


async def _later(token: str) -> str:
    await asyncio.sleep(0)
    return token


@pytest.fixture(params=list(TOKENS))
def give(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Return the token in the form that the Uploader takes."""
    return TOKENS[request.param]


def assert_hidden(error: BaseException, fake: FakeFrameio, *others: str) -> None:
    assert not shown_by(error, fake.token, LINKED, *others)


def an_uploader(fake: FakeFrameio, give: Callable[[str], Any], **settings: Any) -> Uploader:
    usual: dict[str, Any] = {"account_id": fake.account_id, "base_url": fake.url, "retry": ONCE}
    return Uploader(give(fake.token), **usual | settings)


FAULTS = [
    Fault(do="answer", number=2, status=403, message="{link} {token}"),
    Fault(do="answer", number=2, status=500, times=None, message="{link}"),
    Fault(do="reset", number=2, times=None, after=70_000),
    Fault(do="garbled", number=2, times=None),
    Fault(do="redirect", number=2, times=None),
    Fault(do="redirect", number=2, times=None, location="http://[::1"),
    Fault(do="expire", number=2, times=None),
    Fault(do="wrong_checksum", number=2, times=None),
    Fault(do="stall", number=2, times=None),
    Fault(on="create", status=403, message="{token}"),
    Fault(on="create", status=201, times=None, body=PLANLESS.replace("SIZE", '"x"')),
    Fault(on="create", status=201, times=None, body=PLANLESS.replace("SIZE", "9")),
    Fault(on="create", status=201, times=None, body=PLANLESS.replace("SIZE", "8")),
    Fault(on="create", status=201, times=None, body='{"data": [{"url": "https://h/?X-Amz-a=1"}]}'),
    Fault(on="create", status=201, times=None, body='{"data": X-Amz-'),
    Fault(on="create", do="reset", times=None),
    Fault(on="status", status=500, times=None),
    Fault(on="status", status=200, times=None, body='{"data": {}}'),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.on}-{fault.do}-{fault.status}-{fault.location}")
async def test_of_a_failed_upload(fake: FakeFrameio, fault: Fault, give: Callable[[str], Any]) -> None:
    fake.add_fault(fault)
    # The kernel takes all of a part of 1 MiB, so it is the limit for an answer that ends an attempt.
    timeouts = Timeouts(stall=0.3, answer=1, confirm=1) if fault.do == "stall" else Timeouts(confirm=1)
    async with an_uploader(fake, give, timeouts=timeouts) as uploader:
        with pytest.raises(UploadError) as caught:
            await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        assert_hidden(caught.value, fake)
        assert [frame for frame in frames_of(caught.value) if "aioframeio_upload" in frame.f_code.co_filename]


@pytest.mark.parametrize("fault", FAULTS[:6], ids=lambda fault: f"{fault.on}-{fault.do}-{fault.status}")
async def test_of_a_failed_folder(fake: FakeFrameio, fault: Fault, tmp_path: Path, give: Callable[[str], Any]) -> None:
    for name in ("a", "b"):
        on_disk((tmp_path / name).write_bytes, CONTENT)
    fake.add_fault(fault)
    async with an_uploader(fake, give) as uploader:
        with pytest.raises(UploadError) as caught:
            await uploader.upload_folder(tmp_path, folder_id=fake.folder_id)
        assert_hidden(caught.value, fake)


HELD = [Fault(on=on, do="hold", times=None) for on in ("create", "part", "status")] + [Fault(do="stall", times=None)]


@pytest.mark.parametrize("fault", HELD, ids=lambda fault: f"{fault.on}-{fault.do}")
@pytest.mark.parametrize("verb", ["upload", "plan", "send_parts", "confirm", "status", "delete"])
async def test_of_a_cancelled_call(fake: FakeFrameio, fault: Fault, verb: str, give: Callable[[str], Any]) -> None:
    """The call is awaited in the caller's own task, which is cancelled, so that the error passes every frame below."""
    async with uploader_on(fake) as before:
        plan = await before.plan(CONTENT, name="a", folder_id=fake.folder_id)
    deleting = Fault(on="delete", do="hold", times=None)
    fake.add_fault(fault)
    fake.add_fault(deleting)
    async with an_uploader(fake, give) as uploader:
        begun: dict[str, Callable[[], Awaitable[Any]]] = {
            "upload": lambda: uploader.upload(CONTENT, name="b", folder_id=fake.folder_id),
            "plan": lambda: uploader.plan(CONTENT, name="b", folder_id=fake.folder_id),
            "send_parts": lambda: uploader.send_parts(plan, CONTENT, [1, 2, 3]),
            "confirm": lambda: uploader.confirm(plan),
            "status": lambda: uploader.status(plan.file_id),
            "delete": lambda: uploader.delete(plan.file_id),
        }

        async def call() -> Any:
            return await begun[verb]()

        meets = {"plan": "create", "send_parts": "part", "confirm": "status", "status": "status", "delete": "delete"}
        if meets.get(verb, fault.on) != fault.on and verb != "delete":
            return  # never held
        task = asyncio.create_task(call())
        await reached(fake, deleting if verb == "delete" else fault)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert_hidden(caught.value, fake)
        fake.release()


async def test_of_a_time_out_of_the_callers(fake: FakeFrameio, give: Callable[[str], Any]) -> None:
    held = Fault(on="create", do="hold", times=None)
    fake.add_fault(held)

    async def plan_in_time(uploader: Uploader) -> None:
        async with asyncio.timeout(None) as waiting:
            holding = asyncio.ensure_future(reached(fake, held))
            holding.add_done_callback(lambda _: waiting.reschedule(0))
            await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)

    async with an_uploader(fake, give) as uploader:
        with pytest.raises(TimeoutError) as caught:
            await plan_in_time(uploader)
        assert_hidden(caught.value, fake)
        fake.release()


async def test_of_a_remote_upload_whose_source_url_is_a_credential(
    fake: FakeFrameio, give: Callable[[str], Any]
) -> None:
    fake.add_fault(Fault(on="remote", status=422, message=f"{SOURCE} for {fake.token[:20]}"))
    fake.add_fault(Fault(on="remote", status=202, body=json.dumps({"data": {"echo": SOURCE}})))
    held = Fault(on="remote", do="hold", times=None)
    fake.add_fault(held)
    async with an_uploader(fake, give) as uploader:
        for _ in range(2):
            with pytest.raises(UploadError) as caught:
                await uploader.remote_upload(SOURCE, folder_id=fake.folder_id, name="a")
            assert_hidden(caught.value, fake, SOURCE_SECRET)
        task = asyncio.create_task(uploader.remote_upload(SOURCE, folder_id=fake.folder_id, name="a"))
        await reached(fake, held)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
        assert_hidden(cancelled.value, fake, SOURCE_SECRET)
        fake.release()
        with pytest.raises(RuntimeError, match="not entered") as refused:
            await Uploader(fake.token, account_id="a").remote_upload(SOURCE, folder_id="f", name="a")
        assert_hidden(refused.value, fake, SOURCE_SECRET)


async def test_of_an_error_that_nobody_expected(fake: FakeFrameio, give: Callable[[str], Any]) -> None:
    """The code of a caller's session fails: the error passes aiohttp's frames, with their URL and headers."""

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    connector = aiohttp.TCPConnector()
    connector.connect = fail  # type: ignore[method-assign, assignment]
    async with uploader_on(fake) as before:
        plan = await before.plan(CONTENT, name="a", folder_id=fake.folder_id)
    session = aiohttp.ClientSession(connector=connector)
    async with session, an_uploader(fake, give, session=session) as uploader:
        for verb in (
            lambda: uploader.status("f"),
            lambda: uploader.send_parts(plan, CONTENT, [1]),
            lambda: uploader.remote_upload(SOURCE, folder_id="f", name="a"),
        ):
            with pytest.raises((ZeroDivisionError, BaseExceptionGroup)) as caught:
                await verb()
            assert_hidden(caught.value, fake, SOURCE_SECRET)


@pytest.mark.parametrize("token", ["a token-with-a-space", "tökén-of-the-tests", "token\r\nX-Other: 1", ""])
async def test_of_a_token_that_is_none(fake: FakeFrameio, token: str, give: Callable[[str], Any]) -> None:
    async with Uploader(give(token), account_id="a", base_url=fake.url, retry=ONCE) as uploader:
        with pytest.raises(UploadError) as caught:
            await uploader.status("f")
        assert_hidden(caught.value, fake, *([token] if token else []))


async def test_of_a_source_whose_words_hold_a_link(fake: FakeFrameio, give: Callable[[str], Any]) -> None:
    class Remote(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ValueError(f"cannot read {SOURCE}\nforged")

    async with an_uploader(fake, give) as uploader:
        with pytest.raises(UploadError, match="ValueError: cannot read …") as caught:
            await uploader.upload(Remote(CONTENT), name="a", folder_id=fake.folder_id)
    assert SOURCE_SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_of_a_source_that_fails(fake: FakeFrameio, give: Callable[[str], Any]) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield CONTENT[:PART]
        raise OSError(5, "Input/output error")

    async with an_uploader(fake, give) as uploader:
        with pytest.raises(UploadError) as caught:
            await uploader.upload(stream(), size=len(CONTENT), name="a", folder_id=fake.folder_id)
        assert_hidden(caught.value, fake)


def test_of_a_plan_that_is_none() -> None:
    links = [{"size": 1, "url": "https://h/?X-Amz-Signature=1"}, {"size": "x", "url": "https://h/?X-Amz-Signature=2"}]
    data = {"id": "i", "name": "a", "file_size": 2, "upload_urls": links}
    fits = {**data, "file_size": 3, "upload_urls": links[:1]}
    text = Plan.from_response({**data, "file_size": 1, "upload_urls": links[:1]}).to_json()
    broken = text.replace('"size":1', '"size":2', 1)
    for read in (
        lambda: Plan.from_response(data),
        lambda: Plan.from_response(fits),
        lambda: Plan.from_json(text[:-1]),
        lambda: Plan.from_json(broken),
        lambda: Plan.from_json(text.replace("https:", "ftp:")),
        lambda: AsyncFrameioUploader(fits, b"x"),
        lambda: AsyncFrameioUploader(data, b"x", headers={"X-Amz-Signature": "x"}),
        lambda: AsyncFrameioUploader({**data, "upload_urls": []} | {"x": links}, b"x"),
    ):
        with pytest.raises((PlanError, ValueError)) as caught:
            read()
        assert not shown_by(caught.value, LINKED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://me:the-password@host"},
        {"base_url": "https://host/?the-password"},
        {"proxy": "me:the-password@proxy:3128"},
        {"proxy": "socks5://me:the-password@proxy:1080"},
        {"proxy": b"http://me:the-password@proxy:3128"},
    ],
)
def test_of_a_constructor_that_refuses(wrong: dict[str, Any], give: Callable[[str], Any]) -> None:
    token = "token-of-the-tests"
    settings: dict[str, Any] = {"proxy": "http://me:the-password@proxy:3128"} | wrong
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # every message is accepted, only the variables matter
        Uploader(give(token), **settings)
    assert not shown_by(caught.value, token, "the-password")


async def test_of_a_damaged_journal(fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path) -> None:
    path, journal = make_file(len(CONTENT)), tmp_path / "journal"
    fake.add_fault(Fault(number=2, status=500, times=None))
    async with uploader_on(fake, retry=ONCE, journal=journal) as uploader:
        with pytest.raises(UploadError):
            await uploader.upload(path, folder_id=fake.folder_id)

    def damage() -> None:
        with closing(sqlite3.connect(journal)) as connection, connection:
            connection.execute("UPDATE uploads SET plan = substr(plan, 1, length(plan) - 1)")

    on_disk(damage)
    async with uploader_on(fake, retry=ONCE, journal=journal) as uploader:
        with pytest.raises(UploadError) as caught:
            await uploader.upload(path, folder_id=fake.folder_id)
        assert_hidden(caught.value, fake)


async def test_of_an_answer_that_quotes_the_token_in_every_header(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = "token-of-the-tests"
    quoting = answer(500, b"{", x_request_id=f"Bearer {token}", content_type=f"text/{token}", etag=token)
    async with canned(quoting) as server, Uploader(token, account_id="a", base_url=server.url, retry=ONCE) as uploader:
        with pytest.raises(UploadError) as caught:
            await uploader.status("f")
    assert not shown_by(caught.value, token)
    assert token not in caplog.text


async def test_an_uploaders_own_attributes_hide_what_it_was_given(fake: FakeFrameio) -> None:
    password = "the-password"
    async with Uploader(fake.token, account_id="a", proxy=f"http://me:{password}@proxy:3128") as uploader:
        resources, api = uploader._opened()
        shown = repr(
            (
                vars(uploader),
                vars(api),
                resources,
                resources.settings.proxies,
                vars(resources.settings.proxies),
                uploader,
            )
        )
    assert fake.token not in shown
    assert password not in shown
    assert "secret" in repr(Secret(fake.token))


# -- the command line's own calls --------------------------------------------------------------------------------------

TOKEN = "tokenofthetestsabcdefghij27"


@contextmanager
def asked_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("FRAMEIO_TOKEN", TOKEN)
    monkeypatch.setenv("FRAMEIO_BASE_URL", url)
    monkeypatch.setattr(cli_service, "Uploader", partial(Uploader, retry=ONCE))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    yield read_service("a", None, None)


def refusal(words: str) -> bytes:
    return answer(400, json.dumps({"errors": [{"detail": words}]}).encode())


@pytest.mark.parametrize(
    "quoting",
    [
        refusal(f"bad token {TOKEN[:26]}"),
        refusal("x" * 980 + f" Bearer {TOKEN}"),
        refusal(f"Authorization: {TOKEN}\n2026-11-28 all is well\x1b[2J"),
        refusal(f"https%3A%2F%2Fh%2Fp%3FX-Amz-Signature%3D{SOURCE_SECRET}"),
        answer(200, json.dumps({"data": TOKEN}).encode()),
        answer(200, b"[" * 100_000),
        answer(200, b"no JSON but " + TOKEN.encode()),
        f"HTTP/1.1 {TOKEN}\r\n\r\n".encode(),
    ],
    ids=range(8),
)
async def test_of_a_listing_of_the_command_line(quoting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with canned(quoting) as server:
        with asked_at(server.url, monkeypatch) as service:
            for ask in (
                lambda: run_find(service, None, 1, True),
                lambda: find_folder(service, Target(project_id="p")),
            ):
                with pytest.raises(UploadError) as caught:
                    await ask()
                assert not shown_by(caught.value, TOKEN[:10], SOURCE_SECRET, "\x1b", "\n2026")


async def test_of_a_listing_that_is_cancelled(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    held = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        with asked_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", monkeypatch) as service:
            task = asyncio.create_task(run_find(service, None, 1, True))
            await held.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert not shown_by(caught.value, TOKEN)


async def test_a_listing_of_the_command_line_is_bounded_and_goes_in_no_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_response, "MAX_ANSWER", 1000)
    page = '{"data": [], "links": {"next": "/x?after=%s"}}'
    pages = [answer(200, (page % cursor).encode()) for cursor in ("a", "b", "a")]
    async with canned(*pages) as server:
        with asked_at(server.url, monkeypatch) as service, pytest.raises(UploadError, match="in a circle"):
            await run_find(service, None, 1, True)
    async with canned(answer(200, b" " * 1001)) as server:
        with asked_at(server.url, monkeypatch) as service, pytest.raises(UploadError, match="longer than 1000 bytes"):
            await run_find(service, None, 1, True)
