"""Upload in a process that a tracing tool has instrumented, and print all that the tool would export.

A program of its own: Sentry cannot be removed from a process, and Datadog's import hooks disturb every other test.

    python -m tests.support.instrumented TOOL WHEN URL ACCOUNT FOLDER

FRAMEIO_TOKEN has the token, because Sentry reports the arguments of a program. WHEN: "before" or "after" the library is
imported, or "removed" again after that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import aiohttp

CONTROL = "a-value-that-tools-copy"
"""Part of the query of a request of the host's own, which shows that the tool is at work."""

SIZE = 3 << 20

NAMES = ("fine", "denied", "reset", "garbled", "redirected", "astray", "early", "unmade", "unanswered", "unconfirmed")
"""The names of the files; the faults of the test go by them."""


class Tool(Protocol):
    """A tracing tool."""

    def install(self) -> None: ...

    def remove(self) -> None: ...

    def span(self) -> AbstractContextManager[Any]: ...

    def seen(self, error: BaseException) -> None:
        """Record an error that left the library."""
        ...

    def exported(self) -> str: ...


class OpenTelemetry:
    def install(self) -> None:
        for part in ("REQUEST", "RESPONSE"):
            os.environ[f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_{part}"] = ".*"
        os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http/dup"
        from opentelemetry import metrics, trace
        from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.spans, self.metrics = InMemorySpanExporter(), InMemoryMetricReader()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([self.metrics]))
        self.instrumentor = AioHttpClientInstrumentor()
        self.instrumentor.instrument()

    def remove(self) -> None:
        self.instrumentor.uninstrument()

    def span(self) -> AbstractContextManager[Any]:
        from opentelemetry import trace

        return trace.get_tracer("host").start_as_current_span("of the host")

    def seen(self, error: BaseException) -> None:
        from opentelemetry import trace

        trace.get_current_span().record_exception(error)

    def exported(self) -> str:
        found = self.metrics.get_metrics_data()
        return "\n".join(
            [*(one.to_json() for one in self.spans.get_finished_spans()), found.to_json() if found else ""]
        )


class Sentry:
    def install(self) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.aiohttp import AioHttpIntegration
        from sentry_sdk.integrations.asyncio import AsyncioIntegration
        from sentry_sdk.integrations.logging import LoggingIntegration
        from sentry_sdk.scrubber import EventScrubber
        from sentry_sdk.transport import Transport

        envelopes: list[Any] = []

        class Kept(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                envelopes.append(envelope.serialize())

        self.envelopes = envelopes
        sentry_sdk.init(
            dsn="http://key@127.0.0.1:1/1",
            transport=Kept,
            traces_sample_rate=1.0,
            send_default_pii=True,
            include_local_variables=True,
            attach_stacktrace=True,
            max_value_length=100_000,
            max_breadcrumbs=10_000,
            event_scrubber=EventScrubber(denylist=[], pii_denylist=[]),
            # Each log record becomes an event with the variables of the frames that wrote it.
            integrations=[
                AioHttpIntegration(),
                AsyncioIntegration(),
                LoggingIntegration(level=logging.DEBUG, event_level=logging.DEBUG),
            ],
        )

    def remove(self) -> None:
        raise NotImplementedError("Sentry's patches stay for the life of a process")

    def span(self) -> AbstractContextManager[Any]:
        import sentry_sdk

        return sentry_sdk.start_transaction(name="of the host", sampled=True)

    def seen(self, error: BaseException) -> None:
        import sentry_sdk

        sentry_sdk.capture_exception(error)

    def exported(self) -> str:
        import sentry_sdk

        sentry_sdk.flush()
        return "\n".join(envelope.decode() for envelope in self.envelopes)


class Datadog:
    def install(self) -> None:
        from ddtrace import patch  # pyright: ignore[reportMissingImports]  # not in the environment
        from ddtrace.trace import TraceFilter, tracer  # pyright: ignore[reportMissingImports]

        spans: list[Any] = []

        class Kept(TraceFilter):  # type: ignore[misc]
            def process_trace(self, trace: list[Any]) -> None:
                spans.extend((span.name, span.resource, span.get_tags(), span.get_metrics()) for span in trace)

        self.spans, self.tracer = spans, tracer
        tracer.configure(trace_processors=[Kept()])
        patch(aiohttp=True, asyncio=True, logging=True)

    def remove(self) -> None:
        from ddtrace.contrib.internal.aiohttp.patch import unpatch  # pyright: ignore[reportMissingImports]

        unpatch()

    def span(self) -> AbstractContextManager[Any]:
        span: AbstractContextManager[Any] = self.tracer.trace("of the host")
        return span

    def seen(self, error: BaseException) -> None:
        self.tracer.current_span().set_exc_info(type(error), error, error.__traceback__)

    def exported(self) -> str:
        return repr(self.spans)


TOOLS: dict[str, Callable[[], Tool]] = {"opentelemetry": OpenTelemetry, "sentry": Sentry, "ddtrace": Datadog}


def token() -> str:
    """Return the token, which no variable of this program holds, because Sentry reports those too."""
    return os.environ["FRAMEIO_TOKEN"]


async def upload_all(tool: Tool, url: str, account: str, folder: str) -> list[str]:
    """Upload each of NAMES, and a folder; cancel an upload. Return how each ended."""
    from aioframeio_upload import Limits, PartStarted, RetryPolicy, Timeouts, Uploader

    ended: list[str] = []
    content = os.urandom(SIZE)
    settings: dict[str, Any] = {
        "account_id": account,
        "base_url": url,
        "limits": Limits(api_pacing=False),
        "retry": RetryPolicy(attempts=2, base=0.01, cap=0.02, patience=0),
        "timeouts": Timeouts(confirm=1),
    }

    async def ends(name: str, call: Callable[[], Awaitable[Any]]) -> None:
        with tool.span():
            try:
                await call()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # reported as a host does
                tool.seen(error)
                ended.append(f"{name}: {type(error).__name__}")
            else:
                ended.append(f"{name}: ok")

    class Broken:
        async def read(self, size: int) -> bytes:
            raise ZeroDivisionError

    with tempfile.TemporaryDirectory() as place:
        for name in ("fine", "denied"):
            Path(place, name).write_bytes(content)  # nothing else runs yet
        async with aiohttp.ClientSession(trace_configs=[aiohttp.TraceConfig()]) as session:
            for called, shared in ((False, None), (True, session)):
                async with Uploader(token if called else token(), session=shared, **settings) as uploader:
                    for name in NAMES:
                        upload = uploader.upload(content, name=name, folder_id=folder)
                        await ends(name, lambda upload=upload: upload)  # type: ignore[misc]
                    await ends("a folder", lambda: uploader.upload_folder(place, folder_id=folder))
                    await ends("a source", lambda: uploader.upload(Broken(), name="b", size=9, folder_id=folder))
                    await ends("a status", lambda: uploader.status("none"))
                    await ends("found", lambda: uploader.find())

                    async def cancelled() -> None:
                        task = asyncio.ensure_future(asyncio.shield(asyncio.sleep(0)))
                        async with uploader.upload(content, name="held", folder_id=folder) as upload:
                            async for event in upload:
                                if isinstance(event, PartStarted):
                                    task.cancel()
                                    upload.cancel()

                    await ends("cancelled", cancelled)
            # The connector of the host fails: the error passes aiohttp's frames, with their URL and headers.
            connector = aiohttp.TCPConnector()

            async def fail(*_: object, **__: object) -> None:
                raise ZeroDivisionError

            connector.connect = fail  # type: ignore[method-assign, assignment]
            async with aiohttp.ClientSession(connector=connector) as broken:
                async with Uploader(token(), **settings) as uploader:
                    plan = await uploader.plan(content, name="p", folder_id=folder)
                async with Uploader(token(), session=broken, **settings) as uploader:
                    await ends("broken call", lambda: uploader.status("f"))
                    await ends("broken part", lambda: uploader.send_parts(plan, content, [1]))
    return ended


async def request_of_the_host(tool: Tool, url: str) -> None:
    with tool.span():
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v4/me?copied={CONTROL}") as response:
            await response.read()


async def main(name: str, when: str, url: str, *account: str) -> dict[str, Any]:
    logging.getLogger().setLevel(logging.DEBUG)
    tool = TOOLS[name]()
    if when == "after":
        tool.install()
    else:
        tool.install()
        await request_of_the_host(tool, url)
        if when == "removed":
            tool.remove()
    ended = await upload_all(tool, url, *account)
    if when == "after":
        await request_of_the_host(tool, url)
    return {"ended": ended, "exported": tool.exported()}


if __name__ == "__main__":
    try:
        found = asyncio.run(main(*sys.argv[1:]), debug=True)
    except ModuleNotFoundError as missing:
        sys.exit(f"not installed: {missing.name}")
    print(json.dumps(found))
