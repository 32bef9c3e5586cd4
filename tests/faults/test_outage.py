"""Lost connections: a part that finds no connection waits with patience; an overloaded S3 gets fewer parts at once."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from aioframeio_upload import (
    Event,
    Limits,
    PartCompleted,
    PartExhausted,
    PartRejected,
    PartRetrying,
    PartStarted,
    Plan,
    RetryPolicy,
    Timeouts,
    Upload,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, sha256, some_bytes, uploader_on
from tests.support.canned import answer, canned
from tests.support.seen import puts, told

CONTENT = some_bytes(3 * PART - 9)
FEW = RetryPolicy(attempts=2, base=0.01, cap=0.02)
IMPATIENT = RetryPolicy(attempts=2, base=0.01, cap=0.02, patience=0)
NOBODY = "http://s3.invalid"


async def events_until(events: AsyncIterator[Event], *, retries: int) -> list[PartRetrying]:
    """Listen until this many attempts have failed."""
    found: list[PartRetrying] = []
    async for event in events:
        if isinstance(event, PartRetrying):
            found.append(event)
            if len(found) >= retries:
                break
    return found


def part_facts(events: list[Event], number: int) -> list[tuple[str, int]]:
    kinds = (PartStarted, PartRetrying, PartCompleted)
    return [(type(e).__name__, e.attempt) for e in events if isinstance(e, kinds) and e.number == number]


async def held_in_its_first_part(fake: FakeFrameio, upload: Upload) -> None:
    held = Fault(number=1, do="hold")
    fake.add_fault(held)
    upload.start()
    async with asyncio.timeout(5):
        await fake.until(lambda fake: fake.hits(held) == 1)


# -- no connection -----------------------------------------------------------------------------------------------------


async def test_an_upload_survives_an_outage_that_is_longer_than_all_its_attempts(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    async with uploader_on(fake, retry=FEW, limits=Limits(parts=1, api_pacing=False)) as uploader:
        upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        await held_in_its_first_part(fake, upload)
        async with fake.offline():
            failed = await events_until(aiter(upload), retries=9)
        await upload
        facts = [event async for event in upload]
    # A connection that was cut is an ordinary fault; connections that were not made use up no attempt.
    assert [event.attempt for event in failed] == [1] + [2] * 8
    assert "no connection" in str(failed[1].error)
    assert len([line for line in told(caplog) if "waiting for it" in line]) == 1
    assert all(event.delay <= FEW.cap for event in failed)
    assert part_facts(facts, 1)[-2:] == [("PartStarted", 2), ("PartCompleted", 2)]
    assert fake.files[0].sha256 == sha256(CONTENT)


async def test_without_patience_each_failed_connection_is_an_attempt(fake: FakeFrameio) -> None:
    async with uploader_on(fake, retry=IMPATIENT, limits=Limits(parts=1, api_pacing=False)) as uploader:
        plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
        async with fake.offline():
            with pytest.raises(PartExhausted) as caught:
                await uploader.send_parts(plan, CONTENT, [1])
    assert (caught.value.number, caught.value.attempts, caught.value.status) == (1, 2, None)
    assert "no connection" in str(caught.value.__cause__)
    assert puts(fake) == {}


async def test_patience_ends_when_nothing_was_acknowledged_in_its_time(fake: FakeFrameio) -> None:
    policy = RetryPolicy(attempts=3, base=0.02, cap=0.02, patience=0.2)
    async with uploader_on(fake, retry=policy) as uploader:
        plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
        async with fake.offline():
            began = asyncio.get_running_loop().time()
            with pytest.raises(PartExhausted) as caught:
                await uploader.send_parts(plan, CONTENT, [1])
            assert asyncio.get_running_loop().time() - began >= 0.2
        assert caught.value.attempts == 3
        assert uploader.statistics().retries > 3, "some of them counted as no attempt"


class Resolver(AbstractResolver):
    """A resolver that does not find a name, or does not answer, until it is released; then the name is this machine."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.found = asyncio.Event()
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        if self.silent:
            await self.found.wait()
        if not self.found.is_set():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


def with_link(plan: Plan, number: int, url: str) -> Plan:
    """Return the plan with another link for one part."""
    return replace(plan, parts=tuple(replace(p, url=url) if p.number == number else p for p in plan.parts))


async def sent_to_nobody(fake: FakeFrameio, resolver: Resolver, times: int, timeouts: Timeouts) -> list[PartRetrying]:
    """Upload while the host of part 2 does not exist for this many attempts."""
    async with (
        canned() as late,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, resolver=resolver)) as session,
        uploader_on(fake, retry=FEW, session=session, timeouts=timeouts) as uploader,
    ):
        plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
        content = CONTENT[plan.parts[1].offset : plan.parts[2].offset]
        late.answers.append(answer(200, b"", etag=hashlib.md5(content).hexdigest()))
        plan = with_link(plan, 2, late.url.replace("http://127.0.0.1", NOBODY) + "/part?X-Amz-Signature=5ec2e7")
        upload = uploader.execute(plan, CONTENT)
        async with upload:
            await events_until(aiter(upload), retries=times)
            resolver.found.set()
        assert len(late.heads) == 1
        return [event async for event in upload if isinstance(event, PartRetrying)]


async def test_a_host_whose_name_is_not_found_uses_up_no_attempt(fake: FakeFrameio) -> None:
    failed = await sent_to_nobody(fake, resolver := Resolver(), 4, Timeouts(confirm=0))
    assert resolver.asked > 4
    assert {(event.number, event.attempt) for event in failed} == {(2, 1)}
    assert "the name of the host " in str(failed[0].error)


@pytest.mark.slow
async def test_a_connection_that_is_not_made_in_time_uses_up_no_attempt(fake: FakeFrameio) -> None:
    """By default `Timeouts.stall` equals `Timeouts.connect`: whichever expires first, no connection was made."""
    failed = await sent_to_nobody(fake, Resolver(silent=True), 3, Timeouts(stall=0.3, confirm=0))
    # On a busy machine another attempt may stall, and that counts.
    unreached = [event for event in failed if "no byte moved" not in str(event.error)]
    assert len(unreached) >= 3
    assert len({event.attempt for event in unreached[:3]}) == 1
    assert re.search(r"no connection to \S+ in 0\.3 s", str(unreached[0].error))


@pytest.fixture
def stranger() -> Iterator[FakeFrameio]:
    """Serve HTTPS with a certificate that nobody trusts.

    It runs in a separate thread, because asyncio reports a failed handshake to the server's loop as an error in a
    callback.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with FakeFrameio(ssl=context).in_thread() as stranger:
        yield stranger


async def test_an_untrusted_certificate_fails_at_once(fake: FakeFrameio, stranger: FakeFrameio) -> None:
    async with uploader_on(fake) as uploader:
        plan = await uploader.plan(CONTENT, name="a", folder_id=fake.folder_id)
        with pytest.raises(PartRejected, match="certificate is not trusted") as caught:
            await uploader.execute(with_link(plan, 2, stranger.url + "/part"), CONTENT)
    assert (caught.value.number, caught.value.attempts, caught.value.status) == (2, 1, None)
    assert (fake.files, len(fake.deleted)) == ((), 1)


# -- an overloaded S3 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [Fault(code="SlowDown"), Fault(status=503, body="busy")], ids=["code", "status"])
async def test_when_s3_is_overloaded_half_as_many_parts_are_in_flight_for_a_while(
    fake: FakeFrameio, refusal: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "aioframeio_upload")
    held = Fault(name="b", do="hold", times=None)
    fake.add_fault(refusal)
    fake.add_fault(held)
    async with uploader_on(fake, limits=Limits(parts=4, api_pacing=False)) as uploader:
        assert uploader.statistics().slots == 4
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        assert uploader.statistics().slots == 2
        many = uploader.upload(some_bytes(6 * PART), name="b", folder_id=fake.folder_id).start()
        await fake.until(lambda fake: fake.hits(held) == 2)
        now = uploader.statistics()
        assert (now.in_flight, now.waiting > 0, fake.parts_in_flight) == (2, True, 2)
        fake.release(held)
        await many
        assert uploader.statistics().slots == 2
    assert [line for line in told(caplog) if "overloaded" in line] == [
        "S3 is overloaded: 2 parts in flight from now on"
    ]


async def test_another_5xx_reduces_no_slots(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(status=500, times=2))
    async with uploader_on(fake, limits=Limits(parts=4, api_pacing=False)) as uploader:
        await uploader.upload(CONTENT, name="a", folder_id=fake.folder_id)
        assert (uploader.statistics().slots, uploader.statistics().retries) == (4, 2)
