"""A file that a Dask cluster sends: by workers that are processes, of which one dies, or sees another file."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

pytest.importorskip("distributed")

from blockbuster import BlockBuster
from distributed import Client
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from yarl import URL

from aioframeio_upload import (
    IntegrityError,
    Limits,
    LinksExpired,
    PartCompleted,
    PartExhausted,
    PartStarted,
    Progress,
    RetryPolicy,
    SourceChanged,
    SourceError,
    Timeouts,
    Upload,
    UploadCancelled,
    UploadCompleted,
    Uploader,
    UploadError,
    UploadFailed,
    UploadReplanned,
)
from aioframeio_upload._dask.sender import _from_dask, outcome_of
from aioframeio_upload.dask import upload_file
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_both_loops, on_disk, reached, sha256, uploader_on
from tests.engine.test_parts_checksums import CRCS
from tests.support.cluster import cluster_of, may_block, program_of
from tests.support.recorded import Recorded
from tests.support.seen import operations, puts

pytestmark = pytest.mark.needs_program

WORKERS = 2
DAY = 86400
SECRET = "X-Amz-Signature"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the workers stand in, where this process does not."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def address(elsewhere: Path) -> Iterator[str]:
    with cluster_of(WORKERS, elsewhere) as address:
        yield address


@pytest.fixture(autouse=True)
def the_engine_may_block(blockbuster: BlockBuster) -> None:
    may_block(blockbuster)


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with Client(address, asynchronous=True, set_as_default=False) as client:
        await client.wait_for_workers(WORKERS, timeout=30)  # pyright: ignore[reportGeneralTypeIssues]  # a coroutine here
        yield client


@pytest.fixture
def seen_by_each(monkeypatch: pytest.MonkeyPatch, make_file: Callable[..., Path]) -> str:
    """A path that is one file here, and in each worker what lies in `elsewhere`."""
    if sys.platform != "linux":
        pytest.skip("only Linux has /proc")
    monkeypatch.chdir(make_file(3 * PART).parent)
    return "/proc/self/cwd/take.mov"


async def events_of(upload: Upload) -> list[Any]:
    return [event async for event in upload]


async def arrival_of(upload: Upload, parts: int) -> None:
    """Wait until so many parts have arrived."""
    async for event in upload:
        parts -= isinstance(event, PartCompleted)
        if not parts:
            return


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_all_workers_send_a_file_and_it_is_told_as_one_upload(
    client: Client, uploader: Uploader, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    path = make_file(9 * PART - 1)
    async with upload_file(client, str(path), uploader=uploader, folder_id=fake.folder_id) as upload:
        events = await events_of(upload)
    (file,) = fake.files
    assert file.sha256 == sha256(path)
    assert upload.result.status == "uploaded"
    assert puts(fake) == dict.fromkeys(range(1, 10), 1)
    completed = [event for event in events if isinstance(event, PartCompleted)]
    assert sorted(event.number for event in completed) == list(range(1, 10))
    assert [event.etag for event in sorted(completed, key=lambda event: event.number)] == list(upload.result.etags)
    for event in completed:
        (began,) = (one for one in events if isinstance(one, PartStarted) and one.number == event.number)
        assert events.index(began) < events.index(event)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].bytes_uploaded == progress[-1].bytes_confirmed == 9 * PART - 1
    assert [one.bytes_uploaded for one in progress] == sorted(one.bytes_uploaded for one in progress)
    assert events[-1] == UploadCompleted(upload.result)
    crews = await client.run(lambda dask_worker: [name for name in dask_worker.plugins if "frameio" in name])
    assert list(crews.values()) == [[], []], "nothing of it is left on a worker"


async def test_a_cancellation_while_a_result_comes_in_spoils_no_other_result_of_the_client(client: Client) -> None:
    finished = client.submit(int, 2, pure=False)
    await finished.exception()
    waiting = asyncio.ensure_future(outcome_of(finished))
    while client._gather_future is None and not waiting.done():  # noqa: ASYNC110  # it reports nothing
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await client.submit(int, 3, pure=False) == 3


def record_spans() -> None:
    """Set a worker's global provider, as an application's preload script does."""
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider: Any = TracerProvider(shutdown_on_exit=False)
    provider.kept = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(provider.kept))
    trace.set_tracer_provider(provider)


def recorded_spans() -> list[tuple[str, int, int]]:
    """Return the name, the trace and the parent of each span that a worker has recorded."""
    provider: Any = trace.get_tracer_provider()
    return [(span.name, span.context.trace_id, span.parent.span_id) for span in provider.kept.get_finished_spans()]


async def test_workers_continue_the_trace_of_the_upload(
    client: Client, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    recorded = on_disk(Recorded)
    await client.run(record_spans)
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        await upload_file(client, str(make_file(9 * PART - 1)), uploader=uploader, folder_id=fake.folder_id)
    found = await client.run(recorded_spans)
    (upload,) = recorded.spans("frameio.upload")
    assert upload.context is not None
    parts = [span for spans in found.values() for span in spans]
    assert parts == [("frameio.part", upload.context.trace_id, upload.context.span_id)] * 9
    assert not any("traceparent" in seen.headers for seen in fake.requests)


@pytest.mark.parametrize("etags", ["md5", "kms"])
@pytest.mark.parametrize("crc", ["right", "once wrong", "garbled", "absent", "vanishing"])
async def test_each_part_is_proved_by_what_the_answers_to_its_worker_state(
    client: Client, make_file: Callable[..., Path], etags: Any, crc: str
) -> None:
    path = make_file(6 * PART - 1)
    md5 = "md5" if etags == "md5" else None
    expected: dict[str, set[str | None]] = {"right": {"crc64nvme"}, "once wrong": {"crc64nvme"}}
    async with FakeFrameio(faults=CRCS[crc], rate_limits=False, part_size=PART, etags=etags) as fake:
        async with uploader_on(fake) as uploader:
            file = await upload_file(client, path, uploader=uploader, folder_id=fake.folder_id)
        (stored,) = fake.files
        assert (stored.sha256, file.crc64nvme) == (sha256(path), stored.crc64nvme)
        assert set(file.checked_by) == expected.get(crc, {"crc64nvme", md5} if crc == "vanishing" else {md5})
        # What was stored wrongly may have been the last part: then the file was made anew.
        assert sum(puts(fake).values()) == 6 or crc == "once wrong"


async def test_a_crc_that_keeps_differing_at_a_worker_is_an_integrity_error(
    client: Client, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    fake.add_fault(Fault(do="wrong_checksum", number=2, times=None))
    async with uploader_on(fake, retry=RetryPolicy(attempts=2, base=0.01, cap=0.02)) as uploader:
        with pytest.raises(IntegrityError, match="CRC64NVME"):
            await upload_file(client, make_file(3 * PART), uploader=uploader, folder_id=fake.folder_id)
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_a_part_whose_worker_is_killed_is_sent_by_another(
    client: Client, uploader: Uploader, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    path = make_file(12 * PART)
    fake.add_fault(held := Fault(do="hold", first=3, times=4))
    upload = upload_file(client, path, uploader=uploader, folder_id=fake.folder_id).start()
    await reached(fake, held, times=4)
    busy = [worker for worker, keys in (await client.processing()).items() if keys]
    pids = await client.run(os.getpid)
    os.kill(pids[busy[0]], signal.SIGKILL)
    fake.release(held)
    events = await events_of(upload)
    await upload
    (file,) = fake.files
    assert file.sha256 == sha256(path)
    told = Counter(event.number for event in events if isinstance(event, PartCompleted))
    assert told == dict.fromkeys(range(1, 13), 1)
    assert not fake.deleted


async def test_a_worker_that_does_not_see_the_file_ends_the_upload(
    client: Client, uploader: Uploader, fake: FakeFrameio, seen_by_each: str
) -> None:
    with pytest.raises(SourceError, match=r"take\.mov: on worker tcp://.*: No such file or directory"):
        await upload_file(client, seen_by_each, uploader=uploader, folder_id=fake.folder_id)
    assert len(fake.deleted) == 1
    assert not fake.files


async def test_what_a_worker_does_not_see_is_away_and_stays_in_the_journal(
    client: Client, fake: FakeFrameio, seen_by_each: str, tmp_path: Path
) -> None:
    async with uploader_on(fake, journal=tmp_path / "uploads.sqlite3") as uploader:
        with pytest.raises(SourceError) as caught:
            await upload_file(client, seen_by_each, uploader=uploader, folder_id=fake.folder_id)
        assert caught.value.is_away
        assert len(await uploader.pending()) == 1
        await uploader.upload(seen_by_each, folder_id=fake.folder_id)
    assert (len(fake.files), fake.deleted) == (1, ())


async def test_a_worker_that_sees_another_version_of_the_file_ends_the_upload(
    client: Client, uploader: Uploader, fake: FakeFrameio, seen_by_each: str, elsewhere: Path
) -> None:
    other = elsewhere / "take.mov"
    on_disk(other.write_bytes, bytes(3 * PART))
    try:
        with pytest.raises(SourceChanged, match=r"on worker tcp://.*: is another version than was planned"):
            await upload_file(client, seen_by_each, uploader=uploader, folder_id=fake.folder_id)
    finally:
        on_disk(other.unlink)
    assert "part" not in operations(fake)
    assert len(fake.deleted) == 1


async def test_links_that_die_under_way_are_replaced_for_all(client: Client, make_file: Callable[..., Path]) -> None:
    path, offset = make_file(6 * PART), 0.0

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=offset)

    async with (
        FakeFrameio(rate_limits=False, part_size=PART, link_lifetime=DAY, clock=clock) as fake,
        uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader,
    ):
        fake.add_fault(held := Fault(do="hold", times=WORKERS))
        upload = upload_file(client, path, uploader=uploader, folder_id=fake.folder_id).start()
        await reached(fake, held, times=WORKERS)
        offset = DAY + 60.0
        await uploader.status(fake.files[0].id)  # its answer tells the time
        fake.release(held)
        events = await events_of(upload)
        await upload
        (old,), (new,) = fake.deleted, fake.files
        assert new.sha256 == sha256(path)
        (anew,) = (event for event in events if isinstance(event, UploadReplanned))
        assert (anew.file_id, anew.replaced_file_id) == (new.id, old.id)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A cluster of one test's own, to be killed."""
    with program_of(1, tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as started:
        yield started


async def test_parts_over_which_too_many_workers_die_end_the_upload(
    mortal: tuple[subprocess.Popen[str], str], uploader: Uploader, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    async with Client(mortal[1], asynchronous=True, set_as_default=False) as client:
        fake.add_fault(held := Fault(do="hold", times=None))
        upload = upload_file(client, make_file(PART), uploader=uploader, folder_id=fake.folder_id).start()
        await reached(fake, held)
        (pid,) = (await client.run(os.getpid)).values()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(UploadError, match=r"could not send the parts: .*all those workers died"):
            await upload
    assert len(fake.deleted) == 1


async def test_a_scheduler_that_is_lost_ends_the_upload(
    mortal: tuple[subprocess.Popen[str], str], uploader: Uploader, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    program, address = mortal
    async with Client(address, asynchronous=True, set_as_default=False, timeout="5s") as client:
        fake.add_fault(held := Fault(do="hold", times=None))
        upload = upload_file(client, make_file(2 * PART), uploader=uploader, folder_id=fake.folder_id).start()
        await reached(fake, held)
        program.kill()
        with pytest.raises(UploadError, match="the cluster"):
            await upload
    assert len(fake.deleted) == 1


@pytest.fixture
def leaving(tmp_path: Path) -> Iterator[str]:
    """A cluster of one test's own, for a worker that is closed does not come back."""
    with cluster_of(WORKERS, tmp_path) as address:
        yield address


async def test_a_worker_that_retires_leaves_its_parts_to_another(
    leaving: str, uploader: Uploader, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    path = make_file(8 * PART)
    async with Client(leaving, asynchronous=True, set_as_default=False) as client:
        await client.wait_for_workers(WORKERS, timeout=30)  # pyright: ignore[reportGeneralTypeIssues]  # a coroutine here
        fake.add_fault(held := Fault(do="hold", first=3, times=6))
        upload = upload_file(client, path, uploader=uploader, folder_id=fake.folder_id).start()
        await reached(fake, held, times=6)
        busy = [worker for worker, keys in (await client.processing()).items() if keys]
        await client.run(lambda dask_worker: dask_worker.io_loop.add_callback(dask_worker.close), workers=busy[:1])
        fake.release(held)
        await upload
        assert fake.files[0].sha256 == sha256(path)


async def test_what_a_fleet_has_sent_is_in_the_journal(
    client: Client, fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_file(6 * PART)
    async with uploader_on(fake, journal=tmp_path / "uploads.sqlite3") as uploader:
        fake.add_fault(held := Fault(do="hold", first=3, times=4))
        upload = upload_file(client, path, uploader=uploader, folder_id=fake.folder_id).start()
        await reached(fake, held, times=4)
        await arrival_of(upload, 2)
        await uploader.shutdown(0)
    fake.release(held)
    async with uploader_on(fake, journal=tmp_path / "uploads.sqlite3") as uploader:
        file = await upload_file(client, path, uploader=uploader, folder_id=fake.folder_id)
    assert file.outcome == "resumed"
    assert fake.files[0].sha256 == sha256(path)
    assert sorted(puts(fake).values()) == [1, 1, 2, 2, 2, 2]


async def test_a_cancelled_upload_stops_on_every_worker(
    client: Client, uploader: Uploader, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    fake.add_fault(held := Fault(do="hold", times=None))
    upload = upload_file(client, make_file(8 * PART), uploader=uploader, folder_id=fake.folder_id).start()
    await reached(fake, held, times=8)
    upload.cancel()
    with pytest.raises(UploadCancelled):
        await upload
    events = await events_of(upload)
    assert isinstance(events[-1], UploadFailed)
    async with asyncio.timeout(20):
        await fake.until(lambda fake: fake.parts_in_flight == 0)
    assert len(fake.deleted) == 1


async def test_a_paused_upload_sends_nothing_and_goes_on_with_what_is_missing(
    client: Client, uploader: Uploader, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    path = make_file(8 * PART)
    fake.add_fault(held := Fault(do="hold", first=3, times=6))
    upload = upload_file(client, path, uploader=uploader, folder_id=fake.folder_id).start()
    await reached(fake, held, times=6)
    await arrival_of(upload, 2)
    upload.pause()
    async with asyncio.timeout(20):
        await fake.until(lambda fake: fake.parts_in_flight == 0)
    assert not upload.done
    upload.resume()
    await upload
    assert fake.files[0].sha256 == sha256(path)
    assert sorted(puts(fake).values()) == [1, 1, 2, 2, 2, 2, 2, 2]


async def test_no_credential_is_shown_and_the_token_does_not_travel(
    client: Client, fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    token, path = fake.token.encode(), make_file(4 * PART)

    def shown(dask_scheduler: Any) -> tuple[str, bytes]:
        import cloudpickle

        tasks = dask_scheduler.tasks.values()
        words = repr([(task, task.key, task.run_spec) for task in tasks])
        return words, cloudpickle.dumps([task.run_spec for task in tasks]) + repr(
            dask_scheduler.worker_plugins
        ).encode()

    async with uploader_on(fake) as uploader:
        fake.add_fault(held := Fault(do="hold", number=1))
        upload = upload_file(client, path, uploader=uploader, folder_id=fake.folder_id).start()
        await reached(fake, held)
        words, travelled = await client.run_on_scheduler(shown)
        assert "aioframeio-upload-" in words
        assert SECRET not in words
        assert SECRET.encode() in travelled, "what travels is looked at"
        assert token not in travelled
        fake.release(held)
        await upload
        fake.add_fault(Fault(do="answer", number=2, status=500, times=None))
        with pytest.raises(PartExhausted):
            await upload_file(client, path, uploader=uploader, folder_id=fake.folder_id)
    logs = repr(await client.get_worker_logs()) + repr(await client.get_scheduler_logs())
    assert "Compute Failed" in logs, "what the engine logs of a failure is looked at"
    assert SECRET not in logs
    assert fake.token not in logs


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What `talkative` logs."""
    return tmp_path / "cluster.log"


@pytest.fixture
def talkative(tmp_path: Path, log: Path) -> Iterator[str]:
    """A cluster of one test's own, that logs all it can."""
    with program_of(1, tmp_path, log, DASK_LOGGING__DISTRIBUTED="debug") as (_, address):
        yield address


PAGES = ("info/main/workers", "info/main/exceptions", "info/main/logs")
WORKERS_PAGES = ("info/worker", "info/call-stacks", "info/logs")
TASKS_PAGES = ("info/task", "info/call-stack")


async def pages_of(client: Client, dashboard: aiohttp.ClientSession) -> str:
    """What the dashboard shows at this moment, on all pages of the scheduler, each worker and each task."""
    keys, workers = await client.run_on_scheduler(
        lambda dask_scheduler: ([str(key) for key in dask_scheduler.tasks], list(dask_scheduler.workers))
    )
    paths = [f"{page}.html" for page in PAGES]
    paths += [f"{page}/{quote(worker, safe='')}.html" for page in WORKERS_PAGES for worker in workers]
    paths += [f"{page}/{quote(key, safe='')}.html" for page in TASKS_PAGES for key in keys]
    shown = []
    for path in [*paths, "json/counts.json", "metrics", "sitemap.json"]:
        async with dashboard.get(URL(f"/{path}", encoded=True)) as answer:
            assert answer.status == 200, path
            shown.append(await answer.text())
    assert all(key in "".join(shown) for key in keys)
    return "\n".join(shown)


async def test_the_dashboard_and_the_engines_logs_show_no_link(
    talkative: str,
    fake: FakeFrameio,
    make_file: Callable[..., Path],
    log: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("distributed", "distributed.client"):  # of which the engine sets the levels
        caplog.set_level(logging.DEBUG, logger=name)
    path = make_file(4 * PART)
    async with (
        Client(talkative, asynchronous=True, set_as_default=False) as client,
        uploader_on(fake) as uploader,
        aiohttp.ClientSession((client.dashboard_link or "").removesuffix("/status")) as dashboard,
        dashboard.ws_connect("/eventstream") as stream,
    ):
        fake.add_fault(held := Fault(do="hold", number=1))
        upload = upload_file(client, path, uploader=uploader, folder_id=fake.folder_id).start()
        await reached(fake, held)
        shown = await pages_of(client, dashboard)
        fake.release(held)
        await upload
        fake.add_fault(Fault(number=2, status=500, times=None))
        with pytest.raises(PartExhausted):
            await upload_file(client, path, uploader=uploader, folder_id=fake.folder_id)
        failed = await pages_of(client, dashboard)
        told: list[str] = []
        while "aioframeio-upload-" not in "".join(told):
            told.append(await stream.receive_str(timeout=30))
        # Written before the failure was told here.
        logs = on_disk(log.read_text)
    assert "Processing on" in shown, "the page of a task that runs is looked at"
    assert "PartExhausted" in failed, "and that of exceptions"
    assert "DEBUG" in logs
    assert "Compute Failed" in logs
    for words in (shown, failed, "".join(told), logs, caplog.text):
        assert "aioframeio-upload-" in words
        assert SECRET not in words
        assert fake.url not in words
        assert fake.token not in words


async def test_what_the_engine_says_of_a_failure_is_in_no_traceback() -> None:
    async def failing() -> None:
        raise ValueError(f"could not serialize <Part https://s3.example/?{SECRET}=1>")

    with pytest.raises(UploadError, match="the cluster could not send the parts: ValueError") as caught:
        await _from_dask(failing())
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "serialize" not in "".join(traceback.format_exception(caught.value))


async def test_an_error_of_ours_passes_the_engine_as_it_is() -> None:
    async def failing() -> None:
        raise LinksExpired("the links are dead", file_id="id")

    with pytest.raises(LinksExpired, match="the links are dead"):
        await _from_dask(failing())


async def test_only_a_path_is_a_source(client: Client, uploader: Uploader, fake: FakeFrameio) -> None:
    with pytest.raises(TypeError, match="workers elsewhere cannot read a bytes"):
        upload_file(client, b"bytes", uploader=uploader, folder_id=fake.folder_id)  # type: ignore[arg-type]


async def test_a_part_that_nothing_proves_is_sent_again_by_the_cluster(
    fake: FakeFrameio, client: Client, make_file: Callable[..., Path]
) -> None:
    path = make_file(3 * PART)
    fake.add_fault(Fault(number=2, do="answer", status=200, body=""))
    async with uploader_on(fake, timeouts=Timeouts(confirm=0.5)) as uploader:
        file = await upload_file(client, path, uploader=uploader, folder_id=fake.folder_id)
    assert (file.status, file.etags) == ("uploaded", fake.files[0].etags)
    assert puts(fake) == {1: 1, 2: 2, 3: 1}
    assert fake.files[0].sha256 == sha256(path)
