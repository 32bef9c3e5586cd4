"""Calls of Frame.io's API use the token, are retried a limited number of times, and raise an error for a refusal."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from aioframeio_upload import (
    ApiError,
    AuthenticationError,
    NotFound,
    PermissionDenied,
    RateLimited,
    RetryPolicy,
    Timeouts,
    Uploader,
)
from aioframeio_upload._core.redact import Secret
from aioframeio_upload._io.frameio_api import check_base_url
from aioframeio_upload._io.session import API_CALLS
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import uploader_on
from tests.support.seen import told

TWICE = RetryPolicy(attempts=2, base=0.01, cap=0.01)


def calls(fake: FakeFrameio, operation: str) -> list[int | None]:
    """Return the status of each answer to an operation."""
    return [seen.status for seen in fake.requests if seen.operation == operation]


async def new_file(fake: FakeFrameio) -> str:
    """Create a file without sending its bytes."""
    async with uploader_on(fake) as uploader:
        return (await uploader.plan(b"x", name="x", folder_id=fake.folder_id)).file_id


# -- the token ---------------------------------------------------------------------------------------------------------


class Asked:
    """A token callable that records the thread in which it was called."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.threads: list[int] = []

    def __call__(self) -> str:
        self.threads.append(threading.get_ident())
        return self.token

    async def in_loop(self) -> str:
        return self()


class AsyncCallable:
    def __init__(self, token: str) -> None:
        self.token = token

    async def __call__(self) -> str:
        return self.token


async def give(token: str) -> str:
    return token


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda token: token, id="a string"),
        pytest.param(lambda token: lambda: token, id="a function"),
        pytest.param(lambda token: Asked(token).in_loop, id="an async method"),
        pytest.param(lambda token: AsyncCallable(token), id="an async callable"),
        pytest.param(lambda token: partial(give, token), id="a partial of an async function"),
    ],
)
async def test_a_token_may_be_a_string_or_any_callable(fake: FakeFrameio, make: Callable[[str], Any]) -> None:
    file_id = await new_file(fake)
    async with Uploader(make(fake.token), account_id=fake.account_id, base_url=fake.url) as uploader:
        assert (await uploader.status(file_id)).file_id == file_id


async def test_a_callable_is_asked_for_each_call_and_a_sync_one_in_a_thread(fake: FakeFrameio) -> None:
    file_id = await new_file(fake)
    sync, in_loop = Asked(fake.token), Asked(fake.token)
    for token in (sync, in_loop.in_loop):
        async with Uploader(token, account_id=fake.account_id, base_url=fake.url) as uploader:
            await uploader.status(file_id)
            await uploader.status(file_id)
    assert len(sync.threads) == 2
    assert threading.get_ident() not in sync.threads
    assert in_loop.threads == [threading.get_ident()] * 2


async def test_after_a_401_a_fresh_token_gets_one_try(fake: FakeFrameio) -> None:
    file_id = await new_file(fake)
    tokens = iter(["stale", fake.token])
    async with Uploader(lambda: next(tokens), account_id=fake.account_id, base_url=fake.url) as uploader:
        await uploader.status(file_id)
    assert calls(fake, "status") == [401, 200]


async def test_the_fresh_try_after_a_401_is_not_one_of_the_policys_attempts(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(on="status", status=500))
    file_id = await new_file(fake)
    tokens = iter(["stale", fake.token, fake.token])
    async with Uploader(lambda: next(tokens), account_id=fake.account_id, base_url=fake.url, retry=TWICE) as uploader:
        await uploader.status(file_id)
    assert calls(fake, "status") == [401, 500, 200]


async def test_a_second_401_is_believed(fake: FakeFrameio) -> None:
    async with Uploader(lambda: "stale", account_id=fake.account_id, base_url=fake.url) as uploader:
        with pytest.raises(AuthenticationError, match="You are not authorized") as caught:
            await uploader.status("x")
    assert (caught.value.status, calls(fake, "status")) == (401, [401, 401])


async def test_a_token_string_that_is_refused_is_not_tried_twice(fake: FakeFrameio) -> None:
    async with Uploader("stale", account_id=fake.account_id, base_url=fake.url) as uploader:
        with pytest.raises(AuthenticationError):
            await uploader.status("x")
    assert calls(fake, "status") == [401]


async def test_a_callable_that_raises_is_an_authentication_error_and_nothing_is_sent(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    def vault() -> str:
        raise ConnectionError("the vault is sealed")

    async with Uploader(vault, account_id=fake.account_id, base_url=fake.url) as uploader:
        with pytest.raises(AuthenticationError, match="token callable raised ConnectionError") as caught:
            await uploader.plan(b"x", name="x", folder_id=fake.folder_id)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert fake.requests == []
    assert told(caplog) == [], "nothing was sent, so no file can have been made"


NOT_A_WORD = "is not a word of printable ASCII characters"


@pytest.mark.parametrize(
    ("token", "trouble"),
    [
        ("", "is empty"),
        ("two words", NOT_A_WORD),
        ("line\nbreak", NOT_A_WORD),
        ("trailing\n", "begins or ends with a space or a line end"),
        (" leading", "begins or ends with a space or a line end"),
        ("schlüssel", NOT_A_WORD),
        ("nul\0", NOT_A_WORD),
        (None, "must be a str, not an object of type NoneType"),
        (b"bytes", "must be a str, not an object of type bytes"),
        (7, "must be a str, not an object of type int"),
    ],
)
async def test_an_invalid_token_is_refused_without_being_shown(fake: FakeFrameio, token: Any, trouble: str) -> None:
    async with Uploader(lambda: token, account_id=fake.account_id, base_url=fake.url) as uploader:
        with pytest.raises(AuthenticationError) as caught:
            await uploader.status("x")
    assert caught.value.detail == f"the token {trouble}"
    assert fake.requests == []
    assert not token or str(token) not in str(caught.value)


async def test_a_token_callable_that_hangs_is_given_up(fake: FakeFrameio) -> None:
    sealed = threading.Event()

    async def never() -> str:
        await asyncio.get_running_loop().create_future()
        return fake.token

    try:
        for token in (never, lambda: str(sealed.wait(20))):
            timeouts = Timeouts(api=0.05)
            async with Uploader(token, account_id=fake.account_id, base_url=fake.url, timeouts=timeouts) as uploader:
                async with asyncio.timeout(10):
                    with pytest.raises(AuthenticationError, match=r"token callable did not return within 0\.05 s"):
                        await uploader.status("x")
    finally:
        sealed.set()


# -- tried again -------------------------------------------------------------------------------------------------------

AGAIN = [Fault(on="status", do="answer", status=status) for status in (408, 500, 502, 503, 504)] + [
    Fault(on="status", do="reset"),
    Fault(on="status", do="close"),
    Fault(on="status", do="garbled"),
    Fault(on="status", do="lose_answer"),
]


@pytest.mark.parametrize("fault", AGAIN, ids=lambda fault: f"{fault.do}-{fault.status}")
async def test_a_5xx_and_a_lost_connection_are_tried_again(fake: FakeFrameio, uploader: Uploader, fault: Fault) -> None:
    file_id = await new_file(fake)
    fake.add_fault(fault)
    assert (await uploader.status(file_id)).file_id == file_id
    assert len(calls(fake, "status")) == 2


@pytest.mark.parametrize("do", ["reset", "close", "lose_answer", "answer"])
@pytest.mark.parametrize("operation", ["status", "delete", "remote"])
async def test_each_attempt_at_a_call_is_counted_and_aiohttp_retries_nothing_itself(
    fake: FakeFrameio, operation: str, do: Any
) -> None:
    # The trap: aiohttp resends what is idempotent once by itself, on any connection that breaks.
    fake.add_fault(Fault(on=operation, do=do, times=None))
    async with uploader_on(fake, retry=RetryPolicy(attempts=3, base=0.01, cap=0.01)) as uploader:
        call: Any = getattr(uploader, operation, None)
        if operation == "remote":
            call = partial(uploader.remote_upload, folder_id=fake.folder_id, name="a")
        with pytest.raises(ApiError):
            await call("https://example.com/a")
    assert len(calls(fake, operation)) == 3


async def test_the_last_attempts_answer_is_the_error(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(on="status", status=500, message="first"))
    fake.add_fault(Fault(on="status", status=503, message="second", code="Unavailable"))
    async with uploader_on(fake, retry=TWICE) as uploader:
        with pytest.raises(ApiError, match="503: second") as caught:
            await uploader.status("x")
    assert (caught.value.status, caught.value.file_id) == (503, "x")


async def test_a_service_that_cannot_be_reached_is_an_error_without_a_status(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeFrameio() as fake:
        pass
    async with uploader_on(fake, retry=replace(TWICE, patience=0)) as uploader:
        with pytest.raises(ApiError, match="no connection") as caught:
            await uploader.plan(b"x", name="x", folder_id="f")
    assert caught.value.status is None
    assert told(caplog) == [], "it was never asked, so no file can have been made"


async def test_a_service_that_does_not_answer_is_given_up_in_time(fake: FakeFrameio) -> None:
    fault = Fault(on="status", do="hold", times=None)
    fake.add_fault(fault)
    async with uploader_on(fake, retry=TWICE, timeouts=Timeouts(api=0.2)) as uploader:
        async with asyncio.timeout(5):
            with pytest.raises(ApiError, match="no answer in time") as caught:
                await uploader.status("x")
    assert (caught.value.status, fake.hits(fault)) == (None, 2)


async def test_a_delete_whose_answer_was_lost_has_succeeded(fake: FakeFrameio, uploader: Uploader) -> None:
    file_id = await new_file(fake)
    fake.add_fault(Fault(on="delete", do="lose_answer"))
    await uploader.delete(file_id)
    assert (fake.files, calls(fake, "delete")) == ((), [None, 404])


async def test_deleting_a_file_that_does_not_exist_is_an_error(uploader: Uploader) -> None:
    with pytest.raises(NotFound):
        await uploader.delete("x")


# -- 429 ---------------------------------------------------------------------------------------------------------------


async def test_a_429_is_retried_after_its_retry_after(fake: FakeFrameio, uploader: Uploader) -> None:
    file_id = await new_file(fake)
    fake.add_fault(Fault(on="status", status=429, headers={"Retry-After": "0"}, times=5))
    async with asyncio.timeout(10):  # without the header it would be 1 + 2 + 4 + 8 + 16 seconds
        await uploader.status(file_id)
    assert calls(fake, "status") == [429] * 5 + [200]


class Waits(logging.Handler):
    """A handler that records for how long the library says that it waits."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        if "again in" in record.getMessage():
            self.said.put_nowait(record.getMessage())


async def test_a_429_without_retry_after_waits_a_second_at_least(
    fake: FakeFrameio, uploader: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aioframeio_upload")
    logging.getLogger("aioframeio_upload").addHandler(waits := Waits())
    fake.add_fault(Fault(on="status", status=429, message="slowly"))
    asking = asyncio.create_task(uploader.status("x"))
    try:
        assert await waits.said.get() == "reading the file's status: 429: slowly; again in 1.0 s"
        assert calls(fake, "status") == [429]
    finally:
        asking.cancel()
        await asyncio.wait([asking])
        logging.getLogger("aioframeio_upload").removeHandler(waits)


async def test_a_429_beside_calls_that_pass_uses_up_no_attempt(fake: FakeFrameio) -> None:
    """Other processes of the same user take the rate; within `patience` that is no reason to give up."""
    async with uploader_on(fake, retry=RetryPolicy(attempts=2, base=0, cap=0)) as uploader:
        file = await uploader.upload(b"x", name="first", folder_id=fake.folder_id)
        fake.add_fault(Fault(on="create", status=429, headers={"Retry-After": "0"}, times=20))
        await uploader.upload(b"x", name="second", folder_id=fake.folder_id)
        fake.add_fault(Fault(on="status", status=429, headers={"Retry-After": "0"}, times=20))
        assert (await uploader.status(file.id)).complete
    assert calls(fake, "create").count(429) == 20


async def test_a_429_that_does_not_end_is_rate_limited(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(on="status", status=429, headers={"Retry-After": "0"}, times=None))
    async with uploader_on(fake, retry=TWICE) as uploader:
        with pytest.raises(RateLimited, match="429"):
            await uploader.status("x")
    assert calls(fake, "status") == [429, 429]


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiError),
        (401, AuthenticationError),
        (403, PermissionDenied),
        (404, NotFound),
        (409, ApiError),
        (410, ApiError),
        (422, ApiError),
    ],
)
async def test_a_refusal_is_the_error_of_its_status_with_the_services_words(
    fake: FakeFrameio, uploader: Uploader, status: int, kind: type[ApiError]
) -> None:
    headers = {"x-request-id": "request-77"}
    fake.add_fault(Fault(on="create", status=status, message="the account is locked", headers=headers))
    with pytest.raises(ApiError, match=f"creating the file: {status}: the account is locked") as caught:
        await uploader.plan(b"x", name="x", folder_id=fake.folder_id)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.detail.partition(";")[0]) == (status, "the account is locked")
    assert error.request_id == "request-77"
    assert "request-77" in str(error)
    assert calls(fake, "create") == [status], "a refusal is not tried again"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


async def test_a_refusal_names_the_invalid_field(fake: FakeFrameio, uploader: Uploader) -> None:
    with pytest.raises(ApiError, match=r"422: is invalid \(/data/source_url\)"):
        await uploader.remote_upload("gopher://example.com", folder_id=fake.folder_id, name="a")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"errors": [{"detail": "one"}, {"title": "two", "source": null}]}', "one; two"),
        ('{"code": 409, "errors": [], "message": "Channel Paused"}', "Channel Paused"),
        ('{"error": "invalid_client"}', "invalid_client"),
        ('{"errors": [null, 7, {"detail": {"a": "odd"}}]}', "odd"),
        ('{"errors": "no list"}', "409 without a reason"),
        ("[]", "409 without a reason"),
        ("7", "409 without a reason"),
        ("", "the answer is empty"),
        ("<html>Bad Gateway</html>", "the answer is not JSON"),
    ],
)
async def test_a_refusal_of_any_shape_is_an_api_error(
    fake: FakeFrameio, uploader: Uploader, body: str, said: str
) -> None:
    fake.add_fault(Fault(on="status", status=409, body=body))
    with pytest.raises(ApiError, match="reading the file's status: 409: ") as caught:
        await uploader.status("x")
    assert said in caught.value.detail


async def test_a_refusal_that_quotes_the_request_is_raised_without_its_secrets(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    source = "https://bucket.example.com/a.mov?X-Amz-Signature=c0ffee"
    fake.add_fault(Fault(on="remote", status=422, message=f"cannot fetch {source} for {fake.token}, sorry"))
    with pytest.raises(ApiError) as caught:
        await uploader.remote_upload(source, folder_id=fake.folder_id, name="a")
    assert caught.value.detail == "cannot fetch … for …, sorry"


async def test_ids_cannot_leave_their_segment_of_the_path(fake: FakeFrameio, uploader: Uploader) -> None:
    for file_id in ("../../me", "..", ".", "a/b", "a?b=c", "a#b", "adobe:urn:1", "%2F"):
        with pytest.raises(NotFound):
            await uploader.status(file_id)
    assert {seen.operation for seen in fake.requests} == {"status"}
    assert {seen.path.count("/") for seen in fake.requests} == {6}


@pytest.mark.parametrize(
    "base_url",
    [
        *("https://", "https://me:secret@api.frame.io", "https://api.frame.io?a=secret", "ftp://api", "https://[a"),
        *("https://a..b/secret", f"https://{'a' * 64}.com/secret", "https://\ud800/secret", "https://256.0.0.1/secret"),
        *("https://api.frame.io#secret", "https://api.frame.io/?", "https://api.frame.io#", "https://secret@api"),
        *("https://" + "a" * 64, "https://a..b", "https://\ud800", "https://api.frame.io:99999"),
    ],
    ids=ascii,
)
def test_a_base_url_that_cannot_work_is_refused_without_being_shown(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must be") as caught:
        check_base_url(Secret(base_url))
    assert "secret" not in str(caught.value)
    check_base_url(Secret("http://127.0.0.1:8080/frameio/"))
    check_base_url(Secret("https://müller.example"))


async def test_calls_under_way_at_once_are_bounded_or_each_would_have_a_connection(fake: FakeFrameio) -> None:
    file_id = await new_file(fake)
    fake.add_fault(hold := Fault(on="status", do="hold", times=None))
    async with uploader_on(fake) as uploader:
        asking = [asyncio.ensure_future(uploader.status(file_id)) for _ in range(2 * API_CALLS)]
        async with asyncio.timeout(10):
            await fake.until(lambda fake: fake.hits(hold) == API_CALLS)
        assert fake.connections <= API_CALLS + 1
        fake.release(hold)
        assert {found.complete for found in await asyncio.gather(*asking)} == {False}
        assert fake.connections <= API_CALLS + 1
