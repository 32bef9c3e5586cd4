"""Record uploads as OpenTelemetry spans and metrics. Install the extra `otel`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

try:
    from opentelemetry import context, metrics, propagate, trace
except ImportError as _error:
    raise ModuleNotFoundError(
        "traces and metrics need opentelemetry-api: pip install 'aioframeio-upload[otel]'", name="opentelemetry"
    ) from _error

from ._core.errors import UploadError
from ._core.instrumentation import Recording, RequestFacts
from ._io.log import log
from ._version import __version__

__all__ = ["Telemetry"]

SCOPE = "aioframeio_upload"


class Telemetry:
    """Record each upload, API request and attempt at a part as a span, and count them: `Uploader(telemetry=...)`.

    Spans are children of the span that is current where an upload is started or awaited. No attribute contains a URL's
    query, a token or a file's content, and no request gets a header. An error of a provider or exporter is logged, and
    does not reach the upload.

    Spans: `frameio.upload`, `frameio.api` (with `frameio.operation`) and `frameio.part` (with `frameio.part.number` and
    `frameio.part.attempt`), whose status is ERROR where the upload, request or attempt failed or was cancelled. It is
    unset for an attempt that was not needed any more: the other one of a race was acknowledged first, its connection
    was replaced, or a pause ended it. Such attempts are in no counter and no histogram. Metrics:
    `frameio.upload.bytes`, `frameio.upload.parts`, `frameio.upload.retries`, `frameio.part.duration`,
    `frameio.part.in_flight` and `frameio.part.slots`.

    Workers of a Dask cluster record with their own global providers.

    Args:
        tracer_provider: Where spans go; by default the global provider.
        meter_provider: Where metrics go; by default the global provider.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(SCOPE, __version__, meter_provider)
        self._bytes = meter.create_counter("frameio.upload.bytes", "By", "Bytes of parts that S3 acknowledged")
        self._parts = meter.create_counter("frameio.upload.parts", "{part}", "Parts that S3 acknowledged")
        self._retries = meter.create_counter(
            "frameio.upload.retries", "{attempt}", "Attempts that failed and are made again"
        )
        self._duration = meter.create_histogram("frameio.part.duration", "s", "Duration of an attempt at a part")
        self._in_flight = meter.create_up_down_counter("frameio.part.in_flight", "{part}", "Parts in flight")
        self._slots = meter.create_gauge("frameio.part.slots", "{part}", "Parts that may be in flight")

    def __reduce__(self) -> tuple[Callable[[], Telemetry], tuple[()]]:
        """Pickle without the providers, which belong to their process."""
        return type(self), ()

    def upload(self, name: str, folder_id: str | None) -> Recording:
        """Return the recording of one upload; called by the Uploader."""
        attributes: dict[str, Any] = {"frameio.file.name": name}
        if folder_id is not None:
            attributes["frameio.folder.id"] = folder_id
        return _Span(self._tracer, "frameio.upload", trace.SpanKind.INTERNAL, attributes)

    def call(self, operation: str, request: RequestFacts) -> Recording:
        """Return the recording of one request to the API; called by the Uploader."""
        attributes = {"frameio.operation": operation, **_described(request)}
        return _Span(self._tracer, "frameio.api", trace.SpanKind.CLIENT, attributes)

    def part(self, number: int, size: int, request: RequestFacts, slots: float) -> Recording:
        """Return the recording of one attempt at a part; called by the Uploader."""
        attributes = {
            "frameio.part.number": number,
            "frameio.part.attempt": request.attempt,
            "frameio.part.size": size,
            **_described(request),
        }
        _try(self._slots.set, slots)
        _try(self._in_flight.add, 1)

        def ended(seconds: float, error_type: str | None, is_superseded: bool) -> None:
            _try(self._in_flight.add, -1)
            if is_superseded:
                return
            _try(self._duration.record, seconds, {} if error_type is None else {"error.type": error_type})
            if error_type is None:
                _try(self._bytes.add, size)
                _try(self._parts.add, 1)

        return _Span(self._tracer, "frameio.part", trace.SpanKind.CLIENT, attributes, ended)

    def retried(self, operation: str, count: int) -> None:
        """Count attempts that failed and are made again; called by the Uploader."""
        _try(self._retries.add, count, {"frameio.operation": operation})

    def carry(self) -> Mapping[str, str]:
        """Return the current context for another process, by default as W3C `traceparent`."""
        carried: dict[str, str] = {}
        _try(propagate.inject, carried)
        return carried

    def within(self, carried: Mapping[str, str]) -> AbstractContextManager[None]:
        """Return a block whose spans are children of a context from another process."""
        return _within(carried)


@contextmanager
def _within(carried: Mapping[str, str]) -> Iterator[None]:
    token = context.attach(propagate.extract(carried))
    try:
        yield
    finally:
        context.detach(token)


def _described(request: RequestFacts) -> dict[str, Any]:
    """Return the attributes of the semantic conventions for HTTP client spans, without the URL."""
    found: dict[str, Any] = {"http.request.method": request.method, "server.address": request.host}
    if request.port is not None:
        found["server.port"] = request.port
    if request.attempt > 1:
        found["http.request.resend_count"] = request.attempt - 1
    return found


class _Span:
    """A span that is current within its block."""

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        kind: trace.SpanKind,
        attributes: Mapping[str, Any],
        ended: Callable[[float, str | None, bool], None] | None = None,
    ) -> None:
        self._begin = lambda: tracer.start_span(name, kind=kind, attributes=dict(attributes))
        self._ended = ended
        self._span: trace.Span = trace.INVALID_SPAN
        self._token: Any = None
        self._error_type: str | None = None
        self._is_superseded = False
        self._began = 0.0

    def __enter__(self) -> _Span:
        self._began = time.monotonic()
        self._span = _try(self._begin) or trace.INVALID_SPAN
        if self._span is not trace.INVALID_SPAN:
            self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The semantic conventions have no attribute for what was ended because it was not needed any more (their issue
        # 560), so the status is unset. That of a cancelled upload is ERROR: an exception ended it ("Recording errors").
        if error is not None and not self._is_superseded:
            # Not `record_exception`: its traceback quotes messages of foreign causes.
            self.fail(type(error).__qualname__, str(error) if isinstance(error, UploadError) else "")
        if self._token is not None:
            context.detach(self._token)
        _try(self._span.end)
        if self._ended is not None:
            self._ended(time.monotonic() - self._began, self._error_type, self._is_superseded)

    def learn(self, **attributes: str | int) -> None:
        """Set attributes; `__` stands for a dot."""
        found = {name.replace("__", "."): value for name, value in attributes.items()}
        _try(self._span.set_attributes, found)

    def fail(self, kind: str, reason: str) -> None:
        """Set the status ERROR."""
        self._error_type = kind
        _try(self._span.set_attribute, "error.type", kind)
        _try(self._span.set_status, trace.StatusCode.ERROR, reason or kind)

    def supersede(self) -> None:
        """Leave the status unset, however the block ends, and count nothing."""
        self._is_superseded = True


def _try(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of OpenTelemetry's. Its API does not raise, but a provider's or processor's code may."""
    try:
        return call(*arguments)
    except Exception:  # noqa: BLE001  # foreign code; logged, because an upload must not fail for its telemetry
        log.exception("the telemetry failed; the upload goes on")
        return None
