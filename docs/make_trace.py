"""Draw docs/trace.svg: the spans that examples/tracing/main.py exports, each as a bar on a common axis of time.

`PYTHONPATH=. python docs/make_trace.py`, in an environment with opentelemetry-sdk (`.nox/tests`). It needs no service.
Each run takes other times, so no test compares the picture.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from html import escape
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "trace.svg"

LABELS, BARS, ROW, MARGIN = 300, 560, 22, 30
COLORS = {"frameio.upload": "#4e79a7", "frameio.api": "#76b7b2", "frameio.part": "#59a14f"}
OTHER, FAILED = "#9c9c9c", "#e15759"


def exported() -> list[ReadableSpan]:
    """Run the example and return its spans, parents before their children, in the order in which they began."""
    exporter = InMemorySpanExporter()
    runpy.run_path(str(ROOT / "examples" / "tracing" / "main.py"))["traced"](exporter)
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def below(parent: int | None) -> Iterator[ReadableSpan]:
        for span in spans:
            if (span.parent.span_id if span.parent else None) == parent:
                context = span.get_span_context()
                assert context is not None
                yield span
                yield from below(context.span_id)

    return list(below(None))


def label(span: ReadableSpan) -> str:
    """Return what is written beside the bar of a span."""
    known = span.attributes or {}
    if span.name == "frameio.part":
        text = f"frameio.part {known['frameio.part.number']}, attempt {known['frameio.part.attempt']}"
    elif span.name == "frameio.api":
        text = f"frameio.api {known['frameio.operation']}"
    else:
        text = span.name
    return text + (f": {known['error.type']}" if "error.type" in known else "")


def picture(spans: list[ReadableSpan]) -> str:
    """Return the picture of a trace."""
    start = min(span.start_time or 0 for span in spans)
    whole = max(span.end_time or 0 for span in spans) - start
    width, height = LABELS + BARS + MARGIN, MARGIN + ROW * len(spans) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for tick in range(5):
        x = LABELS + BARS * tick / 4
        lines.append(f'<line x1="{x:g}" y1="{MARGIN - 6}" x2="{x:g}" y2="{height - 6}" stroke="#e0e0e0"/>')
        lines.append(f'<text x="{x:g}" y="14" text-anchor="middle">{whole * tick / 4e9:.2f} s</text>')
    depth: dict[int, int] = {}
    for row, span in enumerate(spans):
        context = span.get_span_context()
        assert context is not None
        level = depth[context.span_id] = depth[span.parent.span_id] + 1 if span.parent else 0
        begin, end = ((moment or 0) - start for moment in (span.start_time, span.end_time))
        failed = span.status.status_code is trace.StatusCode.ERROR
        color = FAILED if failed else COLORS.get(span.name, OTHER)
        y = MARGIN + ROW * row
        x, length = LABELS + BARS * begin / whole, max(2.0, BARS * (end - begin) / whole)
        lines.append(f'<text x="{6 + 14 * level}" y="{y + 14}">{escape(label(span))}</text>')
        lines.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{length:.1f}" height="{ROW - 8}" rx="2" fill="{color}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(exported()), encoding="utf-8")
