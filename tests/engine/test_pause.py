"""A pause: no byte more, inside a part too; nothing lost, nothing counted, and the slot left to others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from aioframeio_upload import (
    Event,
    FolderCreated,
    Limits,
    PartCompleted,
    PartRetrying,
    PartStarted,
    RetryPolicy,
    Timeouts,
    Upload,
    UploadCancelled,
    Uploader,
)
from aioframeio_upload._io import flow_control as gate
from aioframeio_upload._io.files import SharedFile
from aioframeio_upload._io.flow_control import StallGuard
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, on_disk, reached, sha256, some_bytes, uploader_on
from tests.support.seen import puts, told

SIZE = 2 * PART
CONTENT = some_bytes(SIZE)
OTHER = some_bytes(1000)
ONE_SLOT = Limits(parts=1, api_pacing=False)
PART_EVENTS = (PartStarted, PartRetrying, PartCompleted)


@pytest.fixture
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a paused attempt after a moment instead of 15 s."""
    monkeypatch.setattr(gate, "PAUSE", 0.05)


async def paused_inside_a_part(fake: FakeFrameio, uploader: Uploader, content: bytes = CONTENT) -> tuple[Upload, int]:
    """Begin an upload, and return it with the bytes of its first part that had arrived when it was paused.

    It is paused once, while a thread reads a block in the middle of that part: the block before has left by then, and
    this one finds the gate closed. `io.BytesIO` itself and a file on disk alone are read while they are sent; any other
    object is spooled first, so one that pauses in its own `read` could not do this.
    """
    loop, paused = asyncio.get_running_loop(), asyncio.Event()
    paused_at = 0
    fill = SharedFile.fill

    def pause() -> None:
        upload.pause()
        paused.set()

    def fill_and_pause(file: SharedFile, offset: int, buffer: memoryview) -> None:
        nonlocal paused_at
        if not paused_at and offset >= PART // 2:
            paused_at = offset
            loop.call_soon_threadsafe(pause)
        fill(file, offset, buffer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedFile, "fill", fill_and_pause)
        upload = uploader.upload(io.BytesIO(content), name="paused.mov", folder_id=fake.folder_id).start()
        async with asyncio.timeout(20):
            await paused.wait()
    async with asyncio.timeout(20):
        await fake.until(lambda fake: received(fake) == paused_at)
    assert 0 < paused_at < PART
    return upload, paused_at


def received(fake: FakeFrameio) -> int:
    """How much of the part that came last has arrived."""
    parts = [seen for seen in fake.requests if seen.operation == "part"]
    return parts[-1].bytes_received if parts else 0


async def until_given_up(fake: FakeFrameio) -> None:
    async with asyncio.timeout(20):
        await fake.until(lambda fake: fake.parts_in_flight == 0)


async def part_facts(upload: Upload, number: int) -> list[tuple[str, int]]:
    facts = [event async for event in upload if isinstance(event, PART_EVENTS)]
    return [(type(event).__name__, event.attempt) for event in facts if event.number == number]


# -- inside a part -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_a_short_pause_holds_the_part_where_it_is_and_goes_on_in_the_same_attempt(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        upload, _ = await paused_inside_a_part(fake, uploader)
        assert (fake.parts_in_flight, uploader.statistics().in_flight) == (1, 1)
        upload.resume()
        await upload
        assert uploader.statistics().retries == 0
    assert puts(fake) == {1: 1, 2: 1}
    assert fake.files[0].sha256 == sha256(CONTENT)


@pytest.mark.parametrize("anyio_backend", on_both_loops())
@pytest.mark.usefixtures("short_pause")
async def test_a_long_pause_gives_the_attempt_up_and_sends_the_part_again_without_counting_it(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "aioframeio_upload")
    async with uploader_on(fake, limits=ONE_SLOT, retry=RetryPolicy(attempts=1)) as uploader:
        upload, arrived = await paused_inside_a_part(fake, uploader)
        await until_given_up(fake)
        assert received(fake) == arrived, "no byte was sent under the pause"
        upload.resume()
        await upload
        assert uploader.statistics().retries == 0
    assert puts(fake) == {1: 2, 2: 1}
    assert await part_facts(upload, 1) == [("PartStarted", 1), ("PartStarted", 1), ("PartCompleted", 1)]
    assert [line for line in told(caplog) if "sent again on resume" in line]
    assert fake.files[0].sha256 == sha256(CONTENT)


@pytest.mark.usefixtures("short_pause")
async def test_the_slot_of_a_paused_part_goes_to_another_upload(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        paused, _ = await paused_inside_a_part(fake, uploader)
        await uploader.upload(OTHER, name="other", folder_id=fake.folder_id)
        assert not paused.done
        paused.resume()
        await paused
    assert {file.name: file.sha256 for file in fake.files} == {"paused.mov": sha256(CONTENT), "other": sha256(OTHER)}


@pytest.mark.usefixtures("short_pause")
async def test_pausing_again_and_again_loses_nothing(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=ONE_SLOT, retry=RetryPolicy(attempts=1)) as uploader:
        upload, _ = await paused_inside_a_part(fake, uploader)
        for count in (1, 2, 3):
            await until_given_up(fake)
            upload.resume()
            await fake.until(lambda fake, count=count: puts(fake)[1] > count)  # type: ignore[misc]
            upload.pause()
        upload.pause()
        upload.resume()
        await upload
    assert fake.files[0].sha256 == sha256(CONTENT)


async def test_a_connection_that_breaks_under_a_pause_is_no_retry(fake: FakeFrameio) -> None:
    """A server, or something on the way, that drops a silent connection earlier than S3 does."""
    async with uploader_on(fake, limits=ONE_SLOT, retry=RetryPolicy(attempts=1)) as uploader:
        upload, _ = await paused_inside_a_part(fake, uploader)
        async with fake.offline():
            await until_given_up(fake)
        upload.resume()
        await upload
    assert await part_facts(upload, 1) == [("PartStarted", 1), ("PartStarted", 1), ("PartCompleted", 1)]
    assert fake.files[0].sha256 == sha256(CONTENT)


@pytest.mark.usefixtures("short_pause")
async def test_an_answer_that_comes_under_a_pause_completes_its_part(fake: FakeFrameio) -> None:
    fake.add_fault(held := Fault(do="hold", number=1))
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        upload = uploader.upload(CONTENT, name="a", folder_id=fake.folder_id).start()
        await reached(fake, held)
        upload.pause()
        fake.release(held)
        async for event in upload:
            if isinstance(event, PartCompleted):
                break
        # Whoever else wants the slot has it, and part 2 waits.
        await uploader.upload(OTHER, name="other", folder_id=fake.folder_id)
        assert not upload.done
        upload.resume()
        await upload
    assert (await part_facts(upload, 1), len(await part_facts(upload, 2))) == (
        [("PartStarted", 1), ("PartCompleted", 1)],
        2,
    )


# -- before and between parts ------------------------------------------------------------------------------------------


async def test_a_pause_before_the_first_part_sends_nothing(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        upload = uploader.upload(CONTENT, name="paused.mov", folder_id=fake.folder_id)
        upload.pause()
        planned = await upload.planned()
        assert planned is not None
        await uploader.upload(OTHER, name="other", folder_id=fake.folder_id)  # the slot is free
        assert {seen.file_id for seen in fake.requests if seen.operation == "part"} == {fake.files[1].id}
        upload.resume()
        await upload
    assert fake.files[0].sha256 == sha256(CONTENT)


async def test_a_paused_stream_leaves_the_spool_to_others(fake: FakeFrameio) -> None:
    async def stream(parts: int) -> AsyncIterator[bytes]:
        for _ in range(parts):
            yield bytes(PART)

    def begin(uploader: Uploader, name: str, parts: int) -> Upload:
        return uploader.upload(stream(parts), name=name, size=parts * PART, folder_id=fake.folder_id)

    async with uploader_on(fake, limits=Limits(parts=2, api_pacing=False)) as uploader:
        upload = begin(uploader, "paused.mov", 4)
        upload.pause()
        await upload.planned()
        async with asyncio.timeout(20):
            await begin(uploader, "other.mov", 3)
        upload.resume()
        await upload


async def test_a_paused_folder_takes_no_place_that_others_could_use(fake: FakeFrameio, tmp_path: Path) -> None:
    on_disk((tmp_path / "deep").mkdir)
    on_disk((tmp_path / "deep" / "take.mov").write_bytes, OTHER)
    fake.add_fault(hold := Fault(on="create_folder", do="hold", name="deep"))
    async with uploader_on(fake, limits=Limits(files=1, api_pacing=False)) as uploader:
        folder = uploader.upload_folder(tmp_path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        folder.pause()
        fake.release(hold)
        async for event in folder:
            if isinstance(event, FolderCreated) and event.path == "deep":
                break
        # Longer than the folder would take for its own.
        await uploader.plan(OTHER, name="planned", folder_id=fake.folder_id)
        async with asyncio.timeout(20):
            await uploader.upload(OTHER, name="other", folder_id=fake.folder_id)
        assert [file.name for file in fake.files] == ["planned", "other"]
        folder.resume()
        assert len((await folder).files) == 1


async def test_a_pause_while_a_retry_waits_holds_it_and_counts_only_the_fault(fake: FakeFrameio) -> None:
    fake.add_fault(Fault(name="a", status=500, headers={"Retry-After": "0.1"}))
    # The other upload's retry is due later than the paused one's, on the same clock.
    fake.add_fault(Fault(name="other", status=500, headers={"Retry-After": "0.3"}))
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(b"x", name="a", folder_id=fake.folder_id)
        async for event in upload:
            if isinstance(event, PartRetrying):
                upload.pause()
                break
        await uploader.upload(OTHER, name="other", folder_id=fake.folder_id)
        mine = fake.files[0].id
        assert len([seen for seen in fake.requests if (seen.operation, seen.file_id) == ("part", mine)]) == 1
        upload.resume()
        await upload
    expected = [("PartStarted", 1), ("PartRetrying", 1), ("PartStarted", 2), ("PartCompleted", 2)]
    assert await part_facts(upload, 1) == expected


async def test_resuming_what_is_not_paused_and_pausing_what_has_ended_does_nothing(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    upload = uploader.upload(b"x", name="a", folder_id=fake.folder_id)
    upload.resume()
    file = await upload
    upload.pause()
    assert await upload is file


# -- for long ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_pause")
async def test_a_pause_of_an_hour_uses_up_no_patience(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is down when it ends: that counts from then on, not from the part that was acknowledged before."""
    later, now = 0.0, anyio.current_time
    monkeypatch.setattr(anyio, "current_time", lambda: now() + later)
    policy = RetryPolicy(attempts=1, base=0.01, cap=0.02, patience=600)
    async with uploader_on(fake, limits=ONE_SLOT, retry=policy) as uploader:
        upload, _ = await paused_inside_a_part(fake, uploader)
        await until_given_up(fake)
        later = 3600.0
        async with fake.offline():
            upload.resume()
            failed: list[Event] = []
            async for event in upload:
                if isinstance(event, PartRetrying):
                    failed.append(event)
                    if len(failed) == 3:
                        break
        await upload
    assert (await part_facts(upload, 1))[-1] == ("PartCompleted", 1)
    assert fake.files[0].sha256 == sha256(CONTENT)


@pytest.mark.slow
async def test_the_stall_guard_does_not_fire_under_a_pause(fake: FakeFrameio) -> None:
    stall = 2.0
    fake.add_fault(Fault(name="other", status=500, headers={"Retry-After": str(stall + 0.5)}))
    async with uploader_on(fake, limits=Limits(parts=2, api_pacing=False), timeouts=Timeouts(stall=stall)) as uploader:
        upload, _ = await paused_inside_a_part(fake, uploader, CONTENT[:PART])
        await uploader.upload(OTHER, name="other", folder_id=fake.folder_id)  # which takes longer than the guard has
        upload.resume()
        await upload
        assert await part_facts(upload, 1) == [("PartStarted", 1), ("PartCompleted", 1)]
    assert fake.files[0].sha256 == sha256(CONTENT[:PART])


async def test_what_an_attempt_is_allowed_to_wait_for() -> None:
    """As instants of its deadline: 30 s for a byte, 15 s for a pause, its turn and more under a limit."""
    now = asyncio.get_running_loop().time
    guard = StallGuard(30.0, 300.0, 600.0)

    def left() -> float:
        instant = guard.deadline.when()
        assert instant is not None
        return instant - now()

    async with guard.deadline:
        assert left() == pytest.approx(30, abs=5)
        guard.asked(3.0)
        assert left() == pytest.approx(3, abs=2.9)
        guard.throttled(10.0)
        assert left() > 10 + gate.LATE - 5
        guard.paused()
        assert left() == pytest.approx(15, abs=5)
        assert guard.is_paused
        guard.moved()
        assert left() == pytest.approx(30, abs=5)
        assert not guard.is_paused


async def test_a_pause_that_ends_when_its_attempt_was_just_given_up_is_a_pause_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "PAUSE", 0.0)
    guard = StallGuard(30.0, 300.0, 600.0)

    async def attempt() -> None:
        async with guard.deadline:
            guard.paused()
            try:
                await asyncio.Event().wait()
            finally:
                guard.moved()

    with pytest.raises(TimeoutError):
        await attempt()
    assert guard.is_paused


# -- and its end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given_up", [False, True])
@pytest.mark.parametrize("how", ["cancel", "task", "block", "shutdown"])
async def test_a_paused_upload_can_be_ended_in_each_way(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch, how: str, given_up: bool
) -> None:
    monkeypatch.setattr(gate, "PAUSE", 0.05 if given_up else 60.0)
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        upload, _ = await paused_inside_a_part(fake, uploader)
        if given_up:
            await until_given_up(fake)
        async with asyncio.timeout(20):
            if how == "cancel":
                upload.cancel()
                with pytest.raises(UploadCancelled):
                    await upload
            elif how == "task":
                task = asyncio.ensure_future(upload)
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            elif how == "block":
                with pytest.raises(KeyError):
                    async with upload:
                        raise KeyError
            else:
                await uploader.shutdown(grace=0)
            await fake.until(lambda fake: fake.parts_in_flight == 0)
        assert upload.done
        assert uploader.uploads == ()
        assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_leaving_the_block_of_a_paused_upload_waits_until_it_is_resumed(fake: FakeFrameio) -> None:
    async with uploader_on(fake, limits=ONE_SLOT) as uploader:
        upload, _ = await paused_inside_a_part(fake, uploader)

        async def leave() -> None:
            async with upload:
                pass

        leaving = asyncio.create_task(leave())
        await uploader.status(fake.files[0].id)  # a while in which it could have left
        assert not leaving.done()
        upload.resume()
        await leaving
    assert fake.files[0].sha256 == sha256(CONTENT)
