"""The events: what happens to an upload, as facts in order, and its progress, of which only the latest counts."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from .errors import PartError, UploadError
from .model import UploadedFile, record_to_dict


class _Told:
    """What all events can do."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the event in JSON's types: its name under `event`, an error as its `to_dict()`, a record as a dict."""
        told: dict[str, Any] = {"event": type(self).__name__}
        for field in fields(self):  # type: ignore[arg-type]  # each child is a dataclass
            told[field.name] = _plain(getattr(self, field.name))
        return told


def _plain(value: Any) -> Any:
    if isinstance(value, UploadError):
        return value.to_dict()
    if is_dataclass(value):
        return record_to_dict(value)
    return value


@dataclass(frozen=True, slots=True)
class UploadPlanned(_Told):
    """The file exists at Frame.io, without its bytes; nobody but the service has confirmed anything yet."""

    file_id: str
    name: str
    view_url: str | None
    total_bytes: int
    total_parts: int


@dataclass(frozen=True, slots=True)
class UploadResumed(_Told):
    """An earlier run had begun this file, and it goes on; the parts recorded then are not told again."""

    file_id: str
    parts_completed: int
    bytes_completed: int


@dataclass(frozen=True, slots=True)
class PartStarted(_Told):
    """An attempt at a part begins."""

    number: int
    """The part, from 1."""
    attempt: int
    """From 1."""
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PartRetrying(_Told):
    """An attempt failed, and another one follows after `delay` seconds."""

    number: int
    attempt: int
    """The one that failed."""
    delay: float
    error: PartError


@dataclass(frozen=True, slots=True)
class PartCompleted(_Told):
    """S3 has acknowledged the part."""

    number: int
    size: int
    etag: str | None
    attempt: int
    """The one that succeeded."""
    seconds: float
    """It took, from its first byte to S3's answer."""


@dataclass(frozen=True, slots=True)
class UploadReplanned(_Told):
    """The part links died, so the file begins anew under another id; the old placeholder is removed.

    Progress does not fall back: it stands still until the new parts have caught up.
    """

    file_id: str
    replaced_file_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress(_Told):
    """How far the upload is; the latest one replaces those that were not read."""

    bytes_uploaded: int
    """What is acknowledged and what is under way; never less than before."""
    bytes_confirmed: int
    """What S3 has acknowledged."""
    total_bytes: int
    parts_completed: int
    total_parts: int
    bytes_per_second: float
    """Over the last seconds."""
    seconds_left: float | None
    """At that rate; None while nothing moves."""


@dataclass(frozen=True, slots=True)
class UploadCompleted(_Told):
    """The end: the file is there."""

    file: UploadedFile


@dataclass(frozen=True, slots=True)
class UploadFailed(_Told):
    """The end: the upload raises this error where it is awaited."""

    error: UploadError


Event = (
    UploadPlanned
    | UploadResumed
    | UploadReplanned
    | PartStarted
    | PartRetrying
    | PartCompleted
    | Progress
    | UploadCompleted
    | UploadFailed
)
"""Every event of an upload; minor versions may add to it, so a `match` needs a default."""
