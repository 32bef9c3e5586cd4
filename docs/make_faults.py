"""Write `docs/faults.md` from the table of failures that the code uses: `python docs/make_faults.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aioframeio_upload._core.failures import FAILURES, FailureKind, FailureRule

PAGE = Path(__file__).resolve().with_name("faults.md")

HEAD = """\
<!-- Written by docs/make_faults.py from aioframeio_upload/_core/failures.py: change it there. -->

# What follows each failure

Each attempt at a part ends in a receipt or in one of these failures; the first row that fits counts.

* **tried again**: after a delay (`Retry-After`, or full jitter), until `RetryPolicy.attempts` are used up; then \
`PartExhausted`, or `IntegrityError` if S3 kept acknowledging other bytes.
* **new links**: the upload starts over with new links (`UploadReplanned`), three times at most; `LinksExpired` \
if that would not help, as with links that were received a moment ago.
* **given up at once**: `PartRejected`, and the upload's other parts are stopped.
* **exhausted**: `PartExhausted` at once: waiting was the attempt. What was sent is kept.

S3 acknowledges a part by a 200 with an ETag, a checksum and no body; an S3 `<Error>` with status 200 is the error \
that it names, and other success codes (201, 202, 204, 206) are not S3's. A 200 with neither ETag, checksum nor body \
is accepted, but proves nothing: if the service then does not confirm the file in time, those parts are sent again, \
once, and the service is asked once more. With `Timeouts(confirm=0)`, `send_parts()` and `AsyncFrameioUploader` a \
warning names such a part.

A part is compared by the checksum that the answer states: the CRC64NVME (or a CRC32C or CRC32), whatever the ETag is; \
otherwise an ETag that is an MD5. A CRC that differs is always a failed attempt (*crc*). An ETag may look like an MD5 \
without being one: where none has matched on a host yet, a mismatch that repeats on the retry ends the comparison of \
ETags for that host, with a warning (*etag*). See [what the checksum costs](tuning.md#what-the-checksum-costs).

The same table holds for a call of Frame.io's API that gets no answer (*untrusted*, *misconfigured*, *unreachable*, \
*crowded*, *lost*): given up at once, or exhausted, means `ApiError`, \
and within `RetryPolicy.patience` an unreachable service uses up no attempt.
The API's answers 408, 429 and 5xx are tried again, each with an `ApiRetrying`.

| failure | what it is | what follows | source |
| --- | --- | --- | --- |
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(_lines(FAILURES))


def _lines(rows: Iterable[FailureRule]) -> Iterable[str]:
    for row in rows:
        yield f"| {look_of(row)} | {row.meaning} | {row.verdict.value} | {row.source} |\n"


def look_of(row: FailureRule) -> str:
    """Return how a failure is recognised."""
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
