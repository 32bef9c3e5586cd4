"""Any script of faults ends in the same bytes or an error of ours, within the policy, and leaves nothing behind.

40 scripts; 1,000 with HYPOTHESIS_PROFILE=fuzz (`python3 run.py fuzz`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aioframeio_upload import (
    Event,
    Limits,
    PartCompleted,
    PartRetrying,
    PartStarted,
    RetryPolicy,
    Timeouts,
    UploadCompleted,
    UploadedFile,
    UploadError,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import sha256, some_bytes, uploader_on
from tests.support.seen import watched

SMALL = 20_000
NUMBERS = (1, 2, 3, 4)
CONTENT = some_bytes(4 * SMALL - 7)
POLICY = RetryPolicy(attempts=3, base=0.004, cap=0.006, patience=0)
AT_ONCE = 2
ASKED = 0.008
"""Seconds of a `Retry-After`: more than the policy's cap."""
RETRY_AFTER = st.sampled_from([{}, {"Retry-After": str(ASKED)}])

ON_PARTS = st.builds(
    Fault,
    do=st.sampled_from(
        [
            *("answer", "early", "reset", "close", "lose_answer", "stall", "hold", "garbled", "expire", "redirect"),
            *("wrong_etag", "no_etag", "odd_etag", "kms", "corrupt", "answer", "reset"),
        ]
    ),
    number=st.sampled_from([None, *NUMBERS]),
    first=st.integers(1, 3),
    times=st.sampled_from([1, 1, 2, None]),
    after=st.sampled_from([0, 1, SMALL // 2, SMALL]),
    status=st.sampled_from([None, 204, 304, 400, 403, 408, 429, 500, 501, 503]),
    linger=st.sampled_from([0.0, 0.01]),
    headers=RETRY_AFTER,
)
ON_THE_API = st.builds(
    Fault,
    on=st.sampled_from(["create", "status", "delete"]),
    do=st.sampled_from(["answer", "reset", "close", "lose_answer", "garbled"]),
    first=st.integers(1, 2),
    times=st.sampled_from([1, 1, 2, None]),
    status=st.sampled_from([400, 403, 404, 429, 500, 503]),
    headers=st.just({"Retry-After": str(ASKED)}),  # a 429 without one waits for a second at least
)


@pytest.mark.slow
@settings(
    max_examples=1_000 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=st.lists(ON_PARTS | ON_PARTS | ON_PARTS | ON_THE_API, max_size=4))
@example(script=[Fault(do="corrupt", times=None)])
@example(script=[Fault(do="corrupt", number=3, times=2), Fault(do="hold", number=1), Fault(do="hold", number=2)])
@example(script=[Fault(do="lose_answer", number=3), Fault(do="expire", number=2, first=2)])
@example(script=[Fault(on="create", do="lose_answer"), Fault(do="stall", number=2, times=2)])
@example(script=[Fault(on="delete", status=403, times=None), Fault(status=403, number=4)])
@example(script=[Fault(on="status", status=500, times=None)])
async def test_any_script_of_faults_ends_in_the_same_bytes_or_an_error_of_ours(script: list[Fault]) -> None:
    before = asyncio.all_tasks()
    async with FakeFrameio(rate_limits=False, part_size=SMALL, faults=script) as fake:
        limits, timeouts = Limits(parts=AT_ONCE, api_pacing=False), Timeouts(stall=0.1, answer=0.1, confirm=5)
        async with uploader_on(fake, limits=limits, retry=POLICY, timeouts=timeouts) as uploader:
            async with asyncio.timeout(30):
                events, end = await watched(uploader, fake, CONTENT)
            assert uploader.statistics().in_flight == 0
        check_end(fake, events, end)
        check_policy(fake, events)
        check_what_is_left(fake, events)
        async with asyncio.timeout(10):
            await fake.until(lambda fake: fake.connections == 0)
    async with asyncio.timeout(10):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)


def check_end(fake: FakeFrameio, events: list[Event], end: UploadedFile | UploadError) -> None:
    """The end is the last event, and a file that is reported as uploaded is there, byte for byte."""
    if isinstance(end, UploadError):
        assert events[-1] == UploadFailed(end)
        return
    assert events[-1] == UploadCompleted(end)
    (file,) = (file for file in fake.files if file.id == end.id)
    assert file.complete
    if file.sha256 != sha256(CONTENT):
        # If every part is always stored corrupted, the host looks like one whose ETags are not MD5s.
        slices = [CONTENT[at : at + SMALL] for at in range(0, len(CONTENT), SMALL)]
        assert not {hashlib.md5(part).hexdigest() for part in slices} & set(file.etags)


def check_policy(fake: FakeFrameio, events: list[Event]) -> None:
    """No delay is too long, no part has too many attempts, nothing is sent twice or too much at once."""
    for event in events:
        if isinstance(event, PartRetrying):
            assert event.attempt < POLICY.attempts
            assert 0 <= event.delay <= min(POLICY.cap, POLICY.base * 2 ** (event.attempt - 1)) or event.delay == ASKED
        if isinstance(event, PartStarted):
            assert event.attempt <= POLICY.attempts
    assert fake.max_parts_in_flight <= AT_ONCE
    assert fake.max_writes_of_a_part <= 1


def check_what_is_left(fake: FakeFrameio, events: list[Event]) -> None:
    """There is a file only if all its parts arrived, or if its creation was not answered or its deletion failed."""
    hit = [fault for fault in fake.faults if fake.hits(fault)]
    begun = [number for number, event in enumerate(events) if isinstance(event, UploadPlanned | UploadReplanned)]
    told = [event.file_id for event in events if isinstance(event, UploadPlanned | UploadReplanned)]
    arrived = {event.number for event in events[begun[-1] :] if isinstance(event, PartCompleted)} if begun else set()
    left = {file.id for file in fake.files}
    kept = {told[-1]} if arrived == {*NUMBERS} else set()

    lost = sum(fake.hits(fault) for fault in set_of(hit, on="create", do="lose_answer"))
    assert len(left - set(told)) <= lost
    if not set_of(hit, on="delete"):
        assert left & set(told) <= kept
    if not set_of(hit, do="corrupt") and not set_of(hit, do="wrong_etag"):  # otherwise the bytes may be a mixture
        assert kept <= left


def set_of(faults: list[Fault], *, on: str | None = None, do: str | None = None) -> list[Fault]:
    """Return the faults on that operation or of that kind; equal ones once, because their hits are counted together."""
    found: list[Fault] = []
    for fault in faults:
        if on in (None, fault.on) and do in (None, fault.do) and fault not in found:
            found.append(fault)
    return found
