"""Hypothesis strategies: plans, records, errors, and links that contain a secret."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

from hypothesis import strategies as st

from aioframeio_upload import (
    ApiError,
    AuthenticationError,
    ConfirmationError,
    IntegrityError,
    JournalError,
    LinksExpired,
    NotFound,
    Part,
    PartError,
    PartExhausted,
    PartRejected,
    PermissionDenied,
    Plan,
    PlanError,
    RateLimited,
    SourceChanged,
    SourceError,
    UploadCancelled,
    UploadError,
)

SECRET = "5ec2e7" + 58 * "0"
"""A signature of the length of S3's; nothing may show it."""

# Any text, and lone surrogates as os.fsdecode returns them for a name that is not UTF-8.
WORDS = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=30)
TEXT = st.text(max_size=30)
"""Text that a plan may contain: it refuses lone surrogates."""
SIZES = st.lists(st.integers(1, 10**13), min_size=1, max_size=30)
COUNTS = st.integers(1, 10_000)
FINITE = st.floats(0, 1e12, allow_nan=False)
INSTANTS = st.datetimes(timezones=st.just(UTC))

_PATH = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S"), exclude_characters="?#\\"), max_size=30)
_QUERY = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S"), exclude_characters="#\\"), max_size=60)
_HOSTS = st.sampled_from(["s3.eu-west-1.amazonaws.com", "127.0.0.1:9000", "[::1]:9000", "BUCKET.example", "host:"])


@st.composite
def links(draw: st.DrawFn) -> str:
    """Draw a usable link whose query, and perhaps whose user or fragment, contains the secret."""
    host, path, before, after = draw(_HOSTS), draw(_PATH), draw(_QUERY), draw(_QUERY)
    user = draw(st.sampled_from(["", f"user:{SECRET}@", f"{SECRET}@"]))
    fragment = draw(st.sampled_from(["", f"#{SECRET}", "#"]))
    return f"{draw(st.sampled_from(['https', 'http']))}://{user}{host}/{path}?{before}{SECRET}{after}{fragment}"


def tiled(sizes: list[int], urls: list[str]) -> tuple[Part, ...]:
    """Return parts of the given sizes that cover a file."""
    offsets = [sum(sizes[:count]) for count in range(len(sizes))]
    return tuple(
        Part(number, offset, size, urls[number % len(urls)])
        for number, (offset, size) in enumerate(zip(offsets, sizes, strict=True), 1)
    )


PARTS = st.builds(tiled, SIZES, st.lists(links(), min_size=1, max_size=3))


def plans() -> st.SearchStrategy[Plan]:
    """Draw any plan."""
    return st.builds(
        lambda parts, **told: Plan(size=sum(part.size for part in parts), parts=parts, **told),
        PARTS,
        file_id=TEXT,
        folder_id=st.none() | TEXT,
        name=TEXT,
        account_id=st.none() | TEXT,
        media_type=st.none() | TEXT,
        view_url=st.none() | TEXT,
        status=TEXT,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)

_OPTIONAL = st.none() | WORDS
_STATUS = st.none() | st.integers(100, 599)
_API_FIELDS = {"operation": WORDS, "status": _STATUS, "request_id": _OPTIONAL, "file_id": _OPTIONAL}
_PART_FIELDS = {
    "number": COUNTS,
    "attempts": COUNTS,
    "status": _STATUS,
    "code": _OPTIONAL,
    "request_id": _OPTIONAL,
}
API_ERRORS = (ApiError, AuthenticationError, PermissionDenied, NotFound, RateLimited)
PART_ERRORS = (PartError, PartRejected, PartExhausted, IntegrityError)


def part_errors(*kinds: type[PartError]) -> st.SearchStrategy[PartError]:
    """Draw an error of a part."""
    return st.one_of(*(st.builds(kind, WORDS, **_PART_FIELDS) for kind in kinds or PART_ERRORS))


def api_errors() -> st.SearchStrategy[ApiError]:
    """Draw an error of the API."""
    return st.one_of(*(st.builds(kind, WORDS, **_API_FIELDS) for kind in API_ERRORS))


def errors() -> st.SearchStrategy[UploadError]:
    """Draw any error of the tree."""
    return st.one_of(
        st.builds(UploadError, WORDS),
        *(st.builds(kind, WORDS, path=_OPTIONAL) for kind in (SourceError, SourceChanged)),
        st.builds(PlanError, WORDS),
        st.builds(LinksExpired, WORDS, file_id=_OPTIONAL),
        api_errors(),
        part_errors(),
        st.builds(ConfirmationError, WORDS, file_id=WORDS),
        st.builds(JournalError, WORDS, path=WORDS),
        st.builds(UploadCancelled, WORDS),
    )


def moved(parts: tuple[Part, ...], index: int, **changes: int) -> tuple[Part, ...]:
    """Change one part of a tiling."""
    return (*parts[:index], replace(parts[index], **changes), *parts[index + 1 :])  # type: ignore[arg-type]
