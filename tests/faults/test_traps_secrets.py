"""No token and no link's query leaves the library: not in a message, log, traceback, event or pickle."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload import (
    ApiError,
    Event,
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
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, some_bytes, uploader_on
from tests.support.canned import canned

CONTENT = some_bytes(3 * PART)
THRICE = RetryPolicy(attempts=3, base=0.01, cap=0.02, patience=0)
SIGNATURE = "5ec2e7" * 8


def whole_chain(error: BaseException) -> Iterator[BaseException]:
    """An error and every other that hangs on it, shown or hidden."""
    seen: list[BaseException | None] = [error]
    for one in seen:
        if one is not None:
            yield one
            group = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
            seen += [other for other in (one.__cause__, one.__context__, *group) if other not in seen]


def everything_said(error: BaseException, events: Iterable[Event], caplog: pytest.LogCaptureFixture) -> str:
    """All that a user, a log file or another process could get to see."""
    words = [caplog.text, repr([vars(record) for record in caplog.records])]
    for one in whole_chain(error):
        words += [str(one), repr(one), repr(vars(one)), "".join(traceback.format_exception(one))]
        assert not type(one).__module__.startswith("aiohttp"), "no aiohttp exception leaves the library"
    if isinstance(error, UploadError):
        words += [repr(pickle.dumps(error)), json.dumps(error.to_dict())]
    for event in events:
        words += [repr(event), str(event), json.dumps(event.to_dict(), allow_nan=False), repr(pickle.dumps(event))]
    return "\n".join(words)


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
async def test_a_failed_upload_tells_no_secret(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.add_fault(fault)
    if fault.on == "delete":
        fake.add_fault(Fault(number=2, code="AccessDenied"))
    timeouts = Timeouts(stall=0.3) if fault.do == "stall" else Timeouts()
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
async def test_a_link_that_leads_nowhere_tells_no_secret(caplog: pytest.LogCaptureFixture, origin: str) -> None:
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
    # TLS with what speaks none fails in the same way each time.
    assert ("WRONG_VERSION_NUMBER" if origin == "https://{canned}" else "the last: ") in str(caught.value)


async def test_an_api_that_leads_nowhere_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with canned(b"not HTTP, nor TLS\r\n\r\n") as server:
        for base_url in ("http://no-such-host.invalid", "http://127.0.0.1:1", server.url, "https" + server.url[4:]):
            async with Uploader("the-secret-token", account_id="a", base_url=base_url, retry=THRICE) as uploader:
                with pytest.raises(ApiError) as caught:
                    await uploader.remote_upload(f"https://h/?s={SIGNATURE}", folder_id="f", name="a")
            words = everything_said(caught.value, [], caplog)
            assert SIGNATURE not in words
            assert "the-secret-token" not in words


async def test_a_cancelled_upload_tells_no_secret(fake: FakeFrameio, caplog: pytest.LogCaptureFixture) -> None:
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


def test_of_a_servers_words_all_but_the_links_is_kept() -> None:
    said = "cannot read https://h/a?X-Amz-Signature=1 (key a?b), retry  later; ?x-amz-credential=2 Signature=3"
    assert redact(said) == "cannot read … (key a?b), retry  later; … …"


@given(before=st.text(), after=st.text())
def test_a_signature_never_survives_in_a_servers_words(before: str, after: str) -> None:
    assert SIGNATURE not in redact(f"{before}https://h/?X-Amz-Signature={SIGNATURE}{after}")
