"""Test parts that fail: they are retried and arrive, or the upload ends in the documented error and leaves nothing."""

from __future__ import annotations

import pytest

from aioframeio_upload import (
    Limits,
    LinksExpired,
    PartCompleted,
    PartError,
    PartExhausted,
    PartRejected,
    PartRetrying,
    PartStarted,
    RetryPolicy,
    Timeouts,
    UploadedFile,
    Uploader,
    UploadFailed,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, sha256, some_bytes, uploader_on
from tests.support.seen import puts, watched

CONTENT = some_bytes(3 * PART - 5)
THRICE = RetryPolicy(attempts=3, base=0.01, cap=0.02)
IMPATIENT = Timeouts(stall=1, answer=1)
PART_EVENTS = (PartStarted, PartRetrying, PartCompleted)


# -- healed ------------------------------------------------------------------------------------------------------------

HEALED = [
    Fault(number=2),
    *(Fault(number=2, status=status, body="<html>no XML</html>") for status in (408, 429, 500, 502, 503, 504)),
    *(Fault(number=2, status=status, body="") for status in (201, 204)),  # not S3's, so a garbled answer
    Fault(number=2, code="InternalError"),
    Fault(number=2, code="RequestTimeout"),
    Fault(number=2, status=400, code="Throttling"),
    Fault(number=2, do="early", status=503, after=70_000, linger=0.05),
    Fault(number=2, do="early", status=503, after=70_000),
    Fault(number=2, do="reset"),
    Fault(number=2, do="reset", after=70_000),
    Fault(number=2, do="reset", after=PART),
    Fault(number=2, do="close"),
    Fault(number=2, do="close", after=70_000),
    Fault(number=2, do="lose_answer"),
    Fault(number=2, do="garbled"),
    Fault(number=2, do="stall", after=70_000),
    Fault(number=2, do="hold"),
]


def name_of(fault: Fault) -> str:
    return " ".join(str(word) for word in (fault.do, fault.status, fault.code, fault.after or None) if word)


@pytest.mark.parametrize("fault", HEALED, ids=name_of)
async def test_a_part_that_fails_once_is_sent_again_and_the_file_is_identical(fake: FakeFrameio, fault: Fault) -> None:
    fake.add_fault(fault)
    # Impatient only where it must be, and then not so much that a busy machine's hiccup is a fault of another part.
    is_silent = fault.do in ("stall", "hold")
    timeouts = Timeouts(stall=3, answer=3) if is_silent else Timeouts()
    # One at a time, or a silent part is raced before its time is up (`test_stragglers.py`).
    limits = Limits(parts=1 if is_silent else "auto", api_pacing=False)
    async with uploader_on(fake, timeouts=timeouts, limits=limits) as uploader:
        events, file = await watched(uploader, fake, CONTENT)
        assert isinstance(file, UploadedFile)
        assert fake.files[0].sha256 == sha256(CONTENT)
        assert file.etags == fake.files[0].etags
        assert puts(fake) == {1: 1, 2: 2, 3: 1}
        told = [(type(event), event.number, event.attempt) for event in events if isinstance(event, PART_EVENTS)]
        assert [(kind, attempt) for kind, number, attempt in told if number == 2] == [
            (PartStarted, 1),
            (PartRetrying, 1),
            (PartStarted, 2),
            (PartCompleted, 2),
        ]
        assert uploader.statistics().retries == 1
    assert fake.deleted == ()


@pytest.mark.parametrize(
    "fault", [fault for fault in HEALED if fault.do in ("reset", "early", "close", "stall")], ids=name_of
)
async def test_a_part_large_enough_to_ask_first_heals_too(fault: Fault) -> None:
    content = some_bytes(3 * PART)
    for number in (1, 2):
        one = Fault(**{name: getattr(fault, name) for name in ("do", "status", "after", "linger")}, number=number)
        async with FakeFrameio(rate_limits=False, part_size=3 * PART // 2, faults=[one]) as fake:
            async with uploader_on(fake, timeouts=IMPATIENT) as uploader:
                await uploader.upload(content, name="a", folder_id=fake.folder_id)
            assert fake.files[0].sha256 == sha256(content)
            assert puts(fake)[number] >= 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(number=2, do="no_etag"),
        Fault(number=2, do="odd_etag"),
        Fault(number=2, do="kms"),
        Fault(number=2, do="trickle", rate=8 * PART),
    ],
    ids=name_of,
)
async def test_what_is_no_fault_of_the_part_is_not_sent_again(
    fake: FakeFrameio, uploader: Uploader, fault: Fault
) -> None:
    fake.add_fault(fault)
    _, file = await watched(uploader, fake, CONTENT)
    assert isinstance(file, UploadedFile)
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert puts(fake) == {1: 1, 2: 1, 3: 1}
    assert fake.hits(fault) == 1
    assert (file.etags[1] is None) == (fault.do == "no_etag")


async def test_each_failed_attempt_is_an_event_with_the_reason_that_s3_gave(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    headers = {"x-amz-request-id": "REQUEST77", "Retry-After": "0.01"}
    fake.add_fault(Fault(number=2, code="SlowDown", message="Please slow down", headers=headers, times=2))
    events, _ = await watched(uploader, fake, CONTENT)
    one, two = (event for event in events if isinstance(event, PartRetrying))
    assert (one.attempt, two.attempt, one.delay, two.delay) == (1, 2, 0.01, 0.01)
    error = one.error
    assert type(error) is PartError
    assert (error.number, error.attempts, error.status, error.code) == (2, 1, 503, "SlowDown")
    assert error.request_id == "REQUEST77"
    for word in ("part 2", "attempt 1", "503", "SlowDown", "Please slow down", "REQUEST77"):
        assert word in str(error)


async def test_a_redirect_is_followed_and_is_not_an_attempt(fake: FakeFrameio, uploader: Uploader) -> None:
    fake.add_fault(Fault(number=2, do="redirect"))
    events, _ = await watched(uploader, fake, CONTENT)
    assert fake.files[0].sha256 == sha256(CONTENT)
    assert puts(fake) == {1: 1, 2: 2, 3: 1}
    assert not [event for event in events if isinstance(event, PartRetrying)]


async def test_a_redirect_in_a_circle_ends(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(do="redirect", times=None))
    async with uploader_on(fake, retry=THRICE) as uploader:
        with pytest.raises(PartExhausted, match="redirected in a circle"):
            await uploader.upload(b"x", name="a", folder_id=fake.folder_id)


@pytest.mark.parametrize("location", ["http://[::1", "http://h:99999/", "gopher://h/", "http://", "//", "\x01"])
async def test_a_redirect_to_an_unusable_url_is_a_failed_attempt(fake: FakeFrameio, location: str) -> None:
    fake.add_fault(Fault(number=2, do="answer", status=307, body="", headers={"Location": location}))
    async with uploader_on(fake, retry=THRICE) as uploader:
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
    assert fake.files[0].sha256 == sha256(CONTENT)


# -- given up ----------------------------------------------------------------------------------------------------------

REJECTED = [
    Fault(number=2, code="SignatureDoesNotMatch"),
    Fault(number=2, code="AccessDenied"),
    Fault(number=2, code="EntityTooLarge"),
    Fault(number=2, code="InvalidRequest"),
    Fault(number=2, status=404, code="NoSuchBucket"),
    Fault(number=2, status=501, code="NotImplemented"),
    Fault(number=2, status=301, code="PermanentRedirect"),
    Fault(number=2, status=400, body="<html>a proxy's page</html>"),
    Fault(number=2, status=405, body=""),
]


@pytest.mark.parametrize("fault", REJECTED, ids=name_of)
async def test_a_part_that_s3_refuses_for_good_is_sent_once_and_ends_the_upload(
    fake: FakeFrameio, uploader: Uploader, fault: Fault
) -> None:
    fake.add_fault(fault)
    events, error = await watched(uploader, fake, CONTENT)
    assert type(error) is PartRejected
    assert (error.number, error.attempts, error.code) == (2, 1, fault.code)
    assert fault.status in (None, error.status)
    assert puts(fake)[2] == 1
    assert not [event for event in events if isinstance(event, PartRetrying)]
    assert events[-1] == UploadFailed(error)
    assert (fake.files, len(fake.deleted)) == ((), 1)


@pytest.mark.parametrize(
    "fault", [Fault(number=2, do="expire"), Fault(number=2, status=400, code="ExpiredToken")], ids=name_of
)
async def test_a_dead_link_is_not_tried_again(fake: FakeFrameio, uploader: Uploader, fault: Fault) -> None:
    fake.add_fault(fault)
    _, error = await watched(uploader, fake, CONTENT)
    assert isinstance(error, LinksExpired)
    assert error.file_id == fake.deleted[0].id
    assert puts(fake)[2] == 1
    assert fake.files == ()


EXHAUSTED = [
    Fault(number=2, status=500, times=None),
    Fault(number=2, do="reset", after=70_000, times=None),
    Fault(number=2, do="close", times=None),
    Fault(number=2, do="lose_answer", times=None),
    Fault(number=2, do="garbled", times=None),
    Fault(number=2, do="stall", times=None),
    Fault(number=2, do="hold", times=None),
]


@pytest.mark.parametrize("fault", EXHAUSTED, ids=name_of)
async def test_a_part_that_keeps_failing_is_given_up_after_the_policys_attempts(
    fake: FakeFrameio, fault: Fault
) -> None:
    fake.add_fault(fault)
    timeouts = Timeouts(stall=1, answer=1) if fault.do in ("stall", "hold") else Timeouts()
    async with uploader_on(fake, retry=THRICE, timeouts=timeouts) as uploader:
        events, error = await watched(uploader, fake, CONTENT)
    assert type(error) is PartExhausted
    assert (error.number, error.attempts, error.status) == (2, 3, fault.status)
    assert "every attempt failed; the last: " in str(error)
    cause = error.__cause__
    assert type(cause) is PartError
    assert cause.attempts == 3
    assert puts(fake)[2] == 3, "each attempt is ours: aiohttp makes none by itself"
    assert [event.attempt for event in events if isinstance(event, PartRetrying) and event.number == 2] == [1, 2]
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_an_early_refusal_of_a_large_part_is_read_before_its_connection_breaks() -> None:
    # The trap: S3 answers 403 and resets, and what is seen is a broken pipe; so the part is asked about first.
    fault = Fault(do="early", code="AccessDenied", times=None)
    async with FakeFrameio(rate_limits=False, part_size=8 * PART, faults=[fault]) as fake:
        async with uploader_on(fake) as uploader:
            _, error = await watched(uploader, fake, bytes(16 * PART))
        assert type(error) is PartRejected
        assert error.code == "AccessDenied"
        assert max(puts(fake).values()) <= 2
