"""Writes `docs/faults.md` from the table of faults that the code goes by: `python docs/make_faults.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aioframeio_upload._core.failures import FAILURES, FailureKind, FailureRule

PAGE = Path(__file__).resolve().with_name("faults.md")

HEAD = """\
<!-- Written by docs/make_faults.py from aioframeio_upload/_core/failures.py: change it there. -->

# What becomes of each fault

Each attempt at a part ends in a receipt or in one of these faults; the first row that fits counts.

* **tried again**: after a wait (`Retry-After`, or full jitter), until `RetryPolicy.attempts` are used up; then \
`PartExhausted`, or `IntegrityError` where S3 kept acknowledging other bytes.
* **new links**: the file is begun anew with fresh links (`UploadReplanned`), three times at most; `LinksExpired` \
where that would not help, as with links that were received a moment ago.
* **given up at once**: `PartRejected`, and the upload's other parts end with it.

What acknowledges a part is a 200 with an ETag and no body; an S3 `<Error>` with status 200 is the error that it \
names, and no other success (201, 202, 204, 206) is S3's. A 200 with neither ETag nor body is taken, but proves \
nothing: where the service then does not say in time that the file is complete, those parts are sent again, once, and \
it is asked once more. With `Timeouts(confirm=0)`, from `send_parts()` and from `AsyncFrameioUploader` such a part is \
named in a warning.

A call of Frame.io's API that gets no answer goes by the same table (*untrusted*, *misconfigured*, *unreachable*, \
*lost*): given up at once means `ApiError`, and within `RetryPolicy.patience` an unreachable service uses up no attempt.
Of its answers 408, 429 and 5xx are tried again. `ApiRetrying` tells each.

| fault | what it is | what becomes of it | known from |
| --- | --- | --- | --- |
"""


def page() -> str:
    """Give the whole page."""
    return HEAD + "".join(_lines(FAILURES))


def _lines(rows: Iterable[FailureRule]) -> Iterable[str]:
    for row in rows:
        yield f"| {look_of(row)} | {row.meaning} | {row.verdict.value} | {row.source} |\n"


def look_of(row: FailureRule) -> str:
    """Say how a fault is recognised."""
    if row.kind is not FailureKind.REFUSED:
        return row.kind.value
    if row.code is not None:
        return f"`{row.code}`" + (f' with "{row.words}"' if row.words else "")
    if row.status is None:
        return "any other answer"
    first, last = row.status
    return f"HTTP {first}" if first == last else f"HTTP {first} to {last}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
