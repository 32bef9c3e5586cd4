"""No token and no link's query leaves the library: not in a message, log, traceback, event or pickle.

First with faults of the fake, then with properties: for any secrets, and for anything that a server makes of them. The
variables in tracebacks are tested in test_secrets_in_tracebacks.py.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from aioframeio_upload import (
    ApiError,
    PartError,
    PartRetrying,
    Plan,
    RetryPolicy,
    Timeouts,
    UploadCancelled,
    Uploader,
    UploadError,
)
from aioframeio_upload._core.redact import redact
from aioframeio_upload._io import s3_put
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, some_bytes, uploader_on
from tests.support.canned import answer, canned
from tests.support.hidden import assert_hidden, everything_said

CONTENT = some_bytes(3 * PART)
THRICE = RetryPolicy(attempts=3, base=0.01, cap=0.02, patience=0)
SIGNATURE = "5ec2e7" * 8


# -- faults of the fake ------------------------------------------------------------------------------------------------


FAULTS = [
    Fault(do="reset", number=2, after=70_000, times=None),
    Fault(do="reset", number=2, times=None),
    Fault(do="close", number=2, times=None),
    Fault(do="early", number=2, status=403, after=10_000, times=None),
    Fault(do="lose_answer", number=2, times=None),
    Fault(do="garbled", number=2, times=None),
    Fault(do="garbled", number=2, times=None, body="HTTP/1.1 200 OK\r\nX-Broken\r\n\r\n"),
    Fault(do="answer", number=2, status=500, times=None, headers={"Content-Encoding": "gzip"}),
    Fault(do="answer", number=2, status=403, body="<html>denied</html>"),
    Fault(do="answer", number=2, status=500, times=None),
    Fault(do="expire", number=2),
    Fault(do="redirect", number=2, times=None),
    Fault(do="stall", number=2, times=None),
    Fault(on="create", do="answer", status=403),
    Fault(on="create", do="reset", times=None),
    Fault(on="create", do="garbled", times=None),
    Fault(on="status", do="close", times=None),
    Fault(on="delete", do="reset", times=None),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.on}-{fault.do}-{fault.status}")
async def test_a_failed_upload_shows_no_secret(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.add_fault(fault)
    if fault.on == "delete":
        fake.add_fault(Fault(number=2, code="AccessDenied"))
    # The kernel takes all of a part of 1 MiB, so it is the limit for an answer that ends an attempt.
    timeouts = Timeouts(stall=0.3, answer=1) if fault.do == "stall" else Timeouts()
    async with uploader_on(fake, retry=THRICE, timeouts=timeouts) as uploader:
        upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        events = [event async for event in upload]
        with pytest.raises(UploadError) as caught:
            await upload
        words = everything_said(caught.value, events, caplog) + repr((uploader, upload, uploader.statistics()))
    assert "X-Amz-" not in words
    assert fake.token not in words
    for event in events:
        if isinstance(event, PartRetrying):
            assert type(event.error) is PartError


@pytest.mark.parametrize(
    "origin",
    [
        "http://no-such-host.invalid",
        "http://127.0.0.1:1",
        "https://{canned}",
        "http://{canned}",
    ],
)
async def test_a_link_that_leads_nowhere_shows_no_secret(caplog: pytest.LogCaptureFixture, origin: str) -> None:
    caplog.set_level(logging.DEBUG)
    async with canned(b"not HTTP, nor TLS\r\n\r\n") as server:
        url = f"{origin.replace('{canned}', server.url[7:])}/parts/1?X-Amz-Signature={SIGNATURE}"
        parts = [{"size": 1, "url": url}]
        data = {"id": "i", "name": "a", "file_size": 1, "parent_id": "f", "upload_urls": parts}
        async with Uploader("the-secret-token", account_id="a", base_url=server.url, retry=THRICE) as uploader:
            with pytest.raises(PartError) as caught:
                await uploader.send_parts(Plan.from_response(data), b"x", [1])
    words = everything_said(caught.value, [], caplog)
    assert SIGNATURE not in words
    assert "the-secret-token" not in words
    # A TLS handshake with a server without TLS fails in the same way each time.
    assert ("WRONG_VERSION_NUMBER" if origin == "https://{canned}" else "the last: ") in str(caught.value)


async def test_an_api_that_leads_nowhere_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with canned(b"not HTTP, nor TLS\r\n\r\n") as server:
        for base_url in ("http://no-such-host.invalid", "http://127.0.0.1:1", server.url, "https" + server.url[4:]):
            async with Uploader("the-secret-token", account_id="a", base_url=base_url, retry=THRICE) as uploader:
                with pytest.raises(ApiError) as caught:
                    await uploader.remote_upload(f"https://h/?s={SIGNATURE}", folder_id="f", name="a")
            words = everything_said(caught.value, [], caplog)
            assert SIGNATURE not in words
            assert "the-secret-token" not in words


async def test_a_cancelled_upload_shows_no_secret(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    held = Fault(do="hold", number=2, times=None)
    fake.add_fault(held)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id).start()
        await fake.until(lambda fake: fake.hits(held) == 1)
        upload.cancel()
        with pytest.raises(UploadCancelled) as caught:
            await upload
        words = everything_said(caught.value, [event async for event in upload], caplog)
    assert "X-Amz-" not in words
    assert fake.token not in words


async def test_a_plan_hides_its_queries_from_repr_and_keeps_them_in_its_json(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
    assert "X-Amz-" not in repr(plan) + str(plan) + repr(plan.parts)
    for part in plan.parts:
        assert urlsplit(part.url).path in repr(plan)
        assert part.url in plan.to_json()


def test_a_servers_text_is_kept_except_for_its_links() -> None:
    said = "cannot read https://h/a?X-Amz-Signature=1 (key a?b), retry  later; ?x-amz-credential=2 Signature=3"
    assert redact(said) == "cannot read … (key a?b), retry  later; … …"


@given(before=st.text(), after=st.text())
def test_a_signature_is_removed_from_any_text_of_a_server(before: str, after: str) -> None:
    assert SIGNATURE not in redact(f"{before}https://h/?X-Amz-Signature={SIGNATURE}{after}")


# -- properties --------------------------------------------------------------------------------------------------------


ONCE = RetryPolicy(attempts=1, base=0.0, cap=0.0, patience=0.0)
TWICE = RetryPolicy(attempts=2, base=0.0, cap=0.0, patience=0.0)

SECRETS = st.text("ABCDEFabcdef0123456789-._~", min_size=16, max_size=28)
"""Short enough not to be shortened by `reprlib`."""

KEYS = ("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "x-amz-signature")
NOISE = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12)

QUOTINGS: dict[str, Callable[[str], str]] = {
    "the link": str,
    "its path and query": lambda url: "/" + url.split("/", 3)[3],
    "its query": lambda url: url.partition("?")[2],
    "escaped": html.escape,
    "in quotes": lambda url: f'"{url}"',
    "with another end": lambda url: f"<{url}>, and so on",
}
REFUSALS = [(403, "AccessDenied"), (403, "SignatureDoesNotMatch"), (500, "InternalError"), (400, "ExpiredToken")]


def xml(status: int, code: str, words: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{html.escape(words)}</Message><Resource>{html.escape(words)}</Resource>"
    return answer(status, f"{body}</Error>".encode(), content_type="application/xml")


def refused(quoted: str, token: str, status: int = 500) -> bytes:
    """Return the API's refusal, which quotes the request."""
    words = f"cannot read {quoted} of Bearer {token}"
    return answer(status, json.dumps({"errors": [{"detail": words, "title": words}]}).encode())


def plan_of(url: str) -> Plan:
    data = {
        "id": "i",
        "name": "a",
        "file_size": 1,
        "parent_id": "f",
        "media_type": "video/mp4",
        "upload_urls": [{"size": 1, "url": url}],
    }
    return Plan.from_response(data, account_id="a")


@pytest.fixture
def no_wait_for_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not ask before a part is sent, as the library does after a lost answer: a canned server would not answer."""
    monkeypatch.setattr(s3_put, "EXPECT_WAIT", 0.05)


def say_everything(caplog: pytest.LogCaptureFixture) -> None:
    """Set every logger to DEBUG, and let asyncio log every callback and its arguments as if it were slow."""
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    asyncio.get_running_loop().slow_callback_duration = 0.0


NO_WAIT = pytest.mark.usefixtures("no_wait_for_leave")
PROPERTY = settings(
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes, and a shorter secret would show nothing more
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@PROPERTY
@given(
    secret=SECRETS,
    token=SECRETS,
    key=st.sampled_from(KEYS),
    quoting=st.sampled_from(list(QUOTINGS)),
    refusal=st.sampled_from([*REFUSALS, None]),
    around=st.tuples(NOISE, NOISE),
    called=st.booleans(),
)
@example("s" * 20, "t" * 20, KEYS[0], "the link", None, ("", ""), True)
@NO_WAIT
async def test_an_answer_of_s3_that_quotes_the_link_shows_no_secret(
    caplog: pytest.LogCaptureFixture,
    secret: str,
    token: str,
    key: str,
    quoting: str,
    refusal: tuple[int, str] | None,
    around: tuple[str, str],
    called: bool,
) -> None:
    say_everything(caplog)
    async with canned() as server:
        url = f"{server.url}/parts/1?{key}={secret}&X-Amz-Expires=86400"
        quoted = f"{around[0]} {QUOTINGS[quoting](url)} {around[1]}"
        # A refusal that quotes the link, or bytes that are not HTTP; then the deletion fails as well.
        server.answers += [xml(*refusal, quoted) if refusal else f"HTTP/1.1 {quoted}\r\n\r\n".encode()]
        server.answers += [refused(quoted, token)]
        given_token: Any = (lambda: token) if called else token
        async with Uploader(given_token, account_id="a", base_url=server.url, retry=TWICE) as uploader:
            plan = plan_of(url)
            upload = uploader.execute(plan, b"x")
            events = [event async for event in upload]
            with pytest.raises(UploadError) as caught:
                await upload
            shown = repr((uploader, upload, plan, uploader.statistics(), uploader._opened()))
    assert_hidden(everything_said(caught.value, events, caplog) + shown, secret, token)


@PROPERTY
@given(secret=SECRETS, token=SECRETS, status=st.sampled_from([201, 400, 401, 403, 404, 422, 500]), called=st.booleans())
@NO_WAIT
async def test_an_answer_of_the_service_that_quotes_token_and_source_url_shows_neither(
    caplog: pytest.LogCaptureFixture, secret: str, token: str, status: int, called: bool
) -> None:
    say_everything(caplog)
    url = f"https://bucket.invalid/film?X-Amz-Signature={secret}"
    async with canned(refused(url, token, status)) as server:
        given_token: Any = (lambda: token) if called else token
        async with Uploader(given_token, account_id="a", base_url=server.url, retry=ONCE) as uploader:
            with pytest.raises(ApiError) as caught:
                await uploader.remote_upload(url, folder_id="f", name="a")
    assert_hidden(everything_said(caught.value, [], caplog), secret, token)


@PROPERTY
@given(secret=SECRETS, location=st.sampled_from(["{url}", "{url}#f", "http://[::1?{query}", "//?{query}", "x:{url}"]))
@NO_WAIT
async def test_a_redirect_shows_no_secret(caplog: pytest.LogCaptureFixture, secret: str, location: str) -> None:
    say_everything(caplog)
    async with canned() as server:
        query = f"X-Amz-Signature={secret}"
        url = f"{server.url}/parts/1?{query}"
        server.answers.append(answer(307, b"", location=location.format(url=url, query=query)))
        async with Uploader("a-token", account_id="a", base_url=server.url, retry=ONCE) as uploader:
            with pytest.raises(UploadError) as caught:
                await uploader.send_parts(plan_of(url), b"x", [1])
    assert_hidden(everything_said(caught.value, [], caplog), secret)


@PROPERTY
@given(secret=SECRETS)
@NO_WAIT
async def test_an_unanswered_attempt_shows_no_secret(caplog: pytest.LogCaptureFixture, secret: str) -> None:
    say_everything(caplog)
    for origin in ("http://127.0.0.1:1", f"http://user:{secret}@127.0.0.1:1", "https://127.0.0.1:1"):
        async with Uploader("a-token", account_id="a", retry=ONCE, timeouts=Timeouts(connect=5)) as uploader:
            with pytest.raises(UploadError) as caught:
                await uploader.send_parts(plan_of(f"{origin}/p?X-Amz-Signature={secret}"), b"x", [1])
        assert_hidden(everything_said(caught.value, [], caplog), secret)


@given(secret=SECRETS, password=SECRETS)
def test_a_proxys_password_and_a_token_are_in_no_repr(secret: str, password: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        uploader = Uploader(secret, account_id="a", proxy=f"http://me:{password}@proxy:3128")
    assert_hidden(repr(uploader) + str(uploader), secret, password)
    with pytest.raises(ValueError, match="base_url") as caught:
        Uploader(secret, base_url=f"https://me:{password}@host")
    assert_hidden(str(caught.value) + repr(caught.value), secret, password)
