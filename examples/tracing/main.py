"""Print the trace of one upload with a retry, into a fake Frame.io, as OpenTelemetry's console exporter shows it."""

from __future__ import annotations

import asyncio
import os

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter

from aioframeio_upload import Limits, Uploader
from aioframeio_upload.opentelemetry import Telemetry
from aioframeio_upload.testing import FakeFrameio, Fault

SIZE, PART = 24 << 20, 4 << 20


async def upload(provider: TracerProvider) -> None:
    """Upload a file below a span of the application's; S3 refuses its third part once."""
    overloaded = Fault(number=3, status=503, code="SlowDown")
    async with FakeFrameio(part_size=PART, faults=[overloaded], stitch_polls=1) as fake:
        uploader = Uploader(
            fake.token,
            account_id=fake.account_id,
            base_url=fake.url,
            limits=Limits(parts=3, bandwidth=64 << 20),
            telemetry=Telemetry(tracer_provider=provider),
        )
        async with uploader:
            with provider.get_tracer("the application").start_as_current_span("deliver take-07"):
                await uploader.upload(os.urandom(SIZE), name="take-07.mov", folder_id=fake.folder_id)


def traced(exporter: SpanExporter) -> None:
    """Run the upload with an exporter."""
    provider = TracerProvider(resource=Resource.create({"service.name": "tracing-example"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    asyncio.run(upload(provider))
    provider.shutdown()


def line(span: ReadableSpan) -> str:
    """Return the name, the duration, the outcome and the attributes of a span."""
    seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    outcome = "ERROR" if span.status.status_code is trace.StatusCode.ERROR else "ok"
    attributes = " ".join(f"{name}={value!s}" for name, value in (span.attributes or {}).items())
    return f"{span.name} {seconds:.3f}s {outcome} {attributes}\n"


if __name__ == "__main__":
    traced(ConsoleSpanExporter(formatter=line))
