"""The demo's final report: where the time went, and whether the bytes that arrived are those that were sent."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from .._cli.format import format_size
from .state import DemoState


def time_report(state: DemoState) -> Iterator[Text]:
    """Yield a line for each phase of the upload, with its duration."""
    sending = state.sent_at - state.planned_at
    moving = max(sending - state.idle_seconds, 1e-9)  # never zero: a clock may be as coarse as 16 ms (Windows)
    yield Text("\nWhere the time went", style="bold")
    yield _row("planning", state.planned_at - state.begun_at)
    yield _row("sending", sending, f"{format_size(state.size / moving)}/s while bytes moved")
    if state.retries:
        yield _row("  failed attempts", state.failed_seconds, f"added up; {state.retries} of {state.attempts}")
        yield _row(
            "  pauses after them",
            state.pause_seconds,
            f"added up; {state.idle_seconds:.2f} s with no other part to send",
        )
    yield _row("confirmation", state.ended_at - state.sent_at)


def memory_report(before: int, after: int) -> Text:
    """Return the line about the peak memory of this process, in bytes, before and after the upload."""
    rest = f"of which Python and this display took {format_size(before)} before the upload"
    return Text(f"  {'peak memory':<19}{format_size(after):>9}  {rest}")


def digest_report(sent: str, arrived: str | None) -> Iterator[Text]:
    """Yield both SHA-256 digests and the verdict; `arrived` is None if the file did not arrive as a whole."""
    yield Text("")
    yield Text(f"sent     {sent}")
    yield Text(f"arrived  {arrived or 'not as a whole'}")
    yield Text("identical", style="bold green") if sent == arrived else Text("DIFFERENT", style="bold red")


def _row(phase: str, seconds: float, remark: str = "") -> Text:
    return Text(f"  {phase:<19}{seconds:>7.2f} s  {remark}".rstrip())
