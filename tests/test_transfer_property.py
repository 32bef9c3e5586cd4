"""Any script of faults: the same bytes or an error, and nothing left behind."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from conftest import sha256, some_bytes, uploader_on
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from seen import watched

from aioframeio_upload import (
    RetryPolicy,
    Timeouts,
    UploadedFile,
)
from aioframeio_upload.testing import FakeFrameio, Fault

THRICE = RetryPolicy(attempts=3, base=0.01, cap=0.02)
SMALL = 40_000
FAULTS = st.builds(
    Fault,
    on=st.just("part"),
    do=st.sampled_from(
        [
            *("answer", "early", "reset", "close", "lose_answer", "stall", "hold", "garbled", "expire", "redirect"),
            *("wrong_etag", "no_etag", "odd_etag", "kms", "corrupt"),
        ]
    ),
    number=st.sampled_from([None, 1, 2, 3]),
    first=st.integers(1, 3),
    times=st.sampled_from([1, 1, 2, None]),
    after=st.sampled_from([0, 1, SMALL // 2, SMALL]),
    status=st.sampled_from([400, 403, 429, 500, 503]),
    linger=st.sampled_from([0.0, 0.01]),
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(script=st.lists(FAULTS, max_size=3))
@example(script=[Fault(do="corrupt", times=None)])
@example(script=[Fault(do="corrupt", number=3, times=2), Fault(do="hold", number=1), Fault(do="hold", number=2)])
@example(script=[Fault(do="lose_answer", number=3), Fault(do="expire", number=2, first=2)])
async def test_any_script_of_faults_ends_in_the_same_bytes_or_an_error_and_nothing_left(script: list[Any]) -> None:
    content = some_bytes(3 * SMALL - 7)
    before = asyncio.all_tasks()
    async with FakeFrameio(rate_limits=False, part_size=SMALL, faults=script) as fake:
        async with uploader_on(fake, retry=THRICE, timeouts=Timeouts(stall=0.05, confirm=5)) as uploader:
            async with asyncio.timeout(10):
                _, end = await watched(uploader, fake, content)
            assert uploader.statistics().in_flight == 0
        if isinstance(end, UploadedFile):
            assert [file.complete for file in fake.files] == [True]
            if fake.files[0].sha256 != sha256(content):
                # Every part stored corrupted, time after time: just what a host looks like whose ETags are no MD5s.
                slices = [content[at : at + SMALL] for at in range(0, len(content), SMALL)]
                sent = [hashlib.md5(part).hexdigest() for part in slices]
                assert not set(sent) & set(fake.files[0].etags)
        else:
            assert fake.files == ()
            assert len(fake.deleted) in (1, 2)  # two, where a spoiled file was made anew in vain
        async with asyncio.timeout(2):
            await fake.until(lambda fake: fake.connections == 0)
    async with asyncio.timeout(2):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)
