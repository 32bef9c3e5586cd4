"""Spans and metrics of uploads, recorded with the real SDK: their tree, their attributes, and no secret in them."""

from __future__ import annotations

import asyncio
import logging
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from aioframeio_upload import ApiError, PartRetrying, UploadCancelled, UploadError
from aioframeio_upload._core import stragglers
from aioframeio_upload._core.failures import AttemptFailure, FailureKind
from aioframeio_upload._core.instrumentation import RequestFacts
from aioframeio_upload._engine.parts import _record
from aioframeio_upload._io import part_slots
from aioframeio_upload.opentelemetry import Telemetry
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, our_records, reached, some_bytes, uploader_on
from tests.support.recorded import Recorded, own_id, parent_of

CONTENT = some_bytes(3 * PART)
ERROR = trace.StatusCode.ERROR
RETRIES = "frameio.upload.retries"


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    found = Recorded()
    yield found
    found.provider.shutdown()
    found.meters.shutdown()


async def test_an_upload_with_a_retry_is_one_tree_of_spans(fake: FakeFrameio, recorded: Recorded) -> None:
    fake.add_fault(Fault(number=2, status=503))
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        with recorded.tracer.start_as_current_span("request") as request:
            file = await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
    [upload] = recorded.spans("frameio.upload")
    assert parent_of(upload) == own_id(request)
    attributes = dict(upload.attributes or {})
    assert attributes["frameio.file.id"] == file.id
    assert attributes["frameio.file.size"] == len(CONTENT)
    below = recorded.spans("frameio.api") + recorded.spans("frameio.part")
    assert {parent_of(span) for span in below} == {own_id(upload)}
    operations = {str(dict(span.attributes or {})["frameio.operation"]) for span in recorded.spans("frameio.api")}
    assert operations == {"create_local_upload", "show_file_upload_status"}
    parts = [dict(span.attributes or {}) for span in recorded.spans("frameio.part")]
    assert sorted((one["frameio.part.number"], one["frameio.part.attempt"]) for one in parts) == [
        (1, 1),
        (2, 1),
        (2, 2),
        (3, 1),
    ]
    [failed] = [span for span in recorded.spans("frameio.part") if span.status.status_code is trace.StatusCode.ERROR]
    seen = dict(failed.attributes or {})
    assert (seen["http.response.status_code"], seen["error.type"]) == (503, "503")
    assert (seen["http.request.method"], seen["server.address"]) == ("PUT", "127.0.0.1")
    assert failed.events == ()


async def test_metrics_count_bytes_parts_and_retries(fake: FakeFrameio, recorded: Recorded) -> None:
    fake.add_fault(Fault(number=2, status=503))
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
    assert [point.value for point in recorded.metric("frameio.upload.bytes")] == [len(CONTENT)]
    assert [point.value for point in recorded.metric("frameio.upload.parts")] == [3]
    assert [point.value for point in recorded.metric("frameio.upload.retries")] == [1]
    assert [point.value for point in recorded.metric("frameio.part.in_flight")] == [0]
    assert sum(point.count for point in recorded.metric("frameio.part.duration")) == 4
    assert [point.value > 0 for point in recorded.metric("frameio.part.slots")] == [True]


async def test_uploads_of_gather_start_and_a_folder_are_children_of_the_span_they_were_started_in(
    fake: FakeFrameio, recorded: Recorded, tmp_path: Path
) -> None:
    for name in "abc":
        on_disk((tmp_path / name).write_bytes, name.encode())
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        with recorded.tracer.start_as_current_span("gathered") as gathered:
            uploads = [uploader.upload(b"x", name=name, folder_id=fake.folder_id) for name in "de"]
            await asyncio.gather(*uploads)
        with recorded.tracer.start_as_current_span("started") as started:
            upload = uploader.upload(b"x", name="f", folder_id=fake.folder_id).start()
        await upload
        with recorded.tracer.start_as_current_span("folder") as folder:
            await uploader.upload_folder(tmp_path, folder_id=fake.folder_id)
    found: dict[int | None, list[Any]] = {}
    for span in recorded.spans("frameio.upload"):
        found.setdefault(parent_of(span), []).append(dict(span.attributes or {})["frameio.file.name"])
    assert {key: sorted(names) for key, names in found.items()} == {
        own_id(gathered): ["d", "e"],
        own_id(started): ["f"],
        own_id(folder): ["a", "b", "c"],
    }
    assert trace.get_current_span() is trace.INVALID_SPAN


FAULTS = [
    Fault(number=2, status=403, message="{link} {token}"),
    Fault(number=2, do="reset", times=None),
    Fault(number=2, do="redirect", times=None, location="http://[::1"),
    Fault(on="create", status=403, message="{link} {token}"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.on}-{fault.do}")
async def test_a_failed_upload_is_an_error_without_a_secret(
    fake: FakeFrameio, recorded: Recorded, fault: Fault
) -> None:
    fake.add_fault(fault)
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        with pytest.raises(UploadError) as caught:
            await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
    [upload] = recorded.spans("frameio.upload")
    assert upload.status.status_code is trace.StatusCode.ERROR
    assert dict(upload.attributes or {})["error.type"] == type(caught.value).__name__
    assert "X-Amz-" not in recorded.everything()
    assert fake.token not in recorded.everything()
    assert not any("traceparent" in seen.headers for seen in fake.requests)


async def test_a_cancelled_upload_ends_its_spans(fake: FakeFrameio, recorded: Recorded) -> None:
    held = Fault(number=2, do="hold", times=None)
    fake.add_fault(held)
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id).start()
        await reached(fake, held)
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload
    [span] = recorded.spans("frameio.upload")
    assert dict(span.attributes or {})["error.type"] == "CancelledError"
    [part] = [one for one in recorded.spans("frameio.part") if dict(one.attributes or {})["frameio.part.number"] == 2]
    assert (part.status.status_code, dict(part.attributes or {})["error.type"]) == (ERROR, "CancelledError")
    assert [point.value for point in recorded.metric("frameio.part.in_flight")] == [0]


async def test_retries_of_api_calls_are_counted_too_also_those_that_use_up_no_attempt(
    fake: FakeFrameio, recorded: Recorded
) -> None:
    fake.add_fault(Fault(on="create", status=503, headers={"Retry-After": "0"}, times=2))
    fake.add_fault(Fault(on="part", status=503, headers={"Retry-After": "0"}, number=1, times=2))
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        assert uploader.statistics().retries == 2
    counted = {dict(point.attributes)["frameio.operation"]: point.value for point in recorded.metric(RETRIES)}
    assert counted == {"create_local_upload": 2, "part": 2}


async def test_a_retry_that_is_not_made_any_more_is_counted_as_the_statistics_count_it(
    fake: FakeFrameio, recorded: Recorded
) -> None:
    fake.add_fault(Fault(number=1, status=503, headers={"Retry-After": "60"}))
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        upload = uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id).start()
        async for event in upload:
            if isinstance(event, PartRetrying):
                upload.cancel()
        assert uploader.statistics().retries == 1
    assert [point.value for point in recorded.metric(RETRIES)] == [1]


async def test_an_attempt_that_lost_a_race_is_no_error_and_in_no_metric(
    fake: FakeFrameio, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_slots, "SPACING", 0.05)
    for name, value in {"LEAST_SPAN": 0.2, "CONNECT": 0.01, "LEAST_MOVED": 1000, "LATE_ANSWER": 0.2}.items():
        monkeypatch.setattr(stragglers, name, value)
    fake.add_fault(Fault(do="stall", number=3, after=1000))
    content = some_bytes(12 * PART)
    async with uploader_on(fake, telemetry=recorded.telemetry) as uploader:
        await uploader.upload(content, name="a.mov", folder_id=fake.folder_id)
        assert uploader.statistics().retries == 0
    found = [dict(span.attributes or {}) for span in recorded.spans("frameio.part")]
    assert sorted(str(one["frameio.part.attempt"]) for one in found if one["frameio.part.number"] == 3) == ["1", "2"]
    assert {span.status.status_code for span in recorded.spans("frameio.part")} == {trace.StatusCode.UNSET}
    assert not any("error.type" in one for one in found)
    assert recorded.metric(RETRIES) == []
    assert [point.value for point in recorded.metric("frameio.upload.parts")] == [12]
    assert [point.value for point in recorded.metric("frameio.upload.bytes")] == [len(content)]
    assert [point.count for point in recorded.metric("frameio.part.duration")] == [12]
    assert [point.value for point in recorded.metric("frameio.part.in_flight")] == [0]


def test_an_attempt_that_a_pause_ended_is_no_error(recorded: Recorded) -> None:
    with recorded.telemetry.part(1, 10, RequestFacts("PUT", "host", 443, 1), 2.0) as recording:
        _record(recording, AttemptFailure(FailureKind.PAUSED, "paused"))
    [span] = recorded.spans("frameio.part")
    assert span.status.status_code is trace.StatusCode.UNSET
    assert "error.type" not in dict(span.attributes or {})
    assert recorded.metric("frameio.upload.parts") == recorded.metric("frameio.part.duration") == []


class Broken(SpanProcessor):
    """A processor of the application's that fails at each span."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise ZeroDivisionError

    def on_end(self, span: Any) -> None:
        raise ZeroDivisionError


async def test_an_error_of_a_processor_is_logged_and_does_not_reach_the_upload(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    provider = on_disk(TracerProvider, shutdown_on_exit=False)  # it waits for a thread
    provider.add_span_processor(Broken())
    async with uploader_on(fake, telemetry=Telemetry(tracer_provider=provider)) as uploader:
        await uploader.upload(CONTENT, name="a.mov", folder_id=fake.folder_id)
        with pytest.raises(ApiError):
            await uploader.status("none")
    assert "the telemetry failed" in our_records(caplog)[0].getMessage()


async def test_a_context_travels_to_another_process_as_traceparent(recorded: Recorded) -> None:
    with recorded.tracer.start_as_current_span("here") as here:
        carried = recorded.telemetry.carry()
    assert set(carried) == {"traceparent"}
    assert isinstance(pickle.loads(pickle.dumps(recorded.telemetry)), Telemetry)
    with recorded.telemetry.within(pickle.loads(pickle.dumps(carried))):
        recorded.tracer.start_span("there").end()
    [there] = recorded.spans("there")
    assert parent_of(there) == own_id(here)


@pytest.mark.needs_program
def test_nothing_of_opentelemetry_is_imported_unless_asked_for() -> None:
    program = "import sys, aioframeio_upload; print([name for name in sys.modules if 'opentelemetry' in name])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
