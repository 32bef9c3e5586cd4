"""The events: what happens to an upload, as facts in order, and its progress, of which only the latest counts."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ApiError, PartError, UploadError
from .folders import (
    FileCompleted,
    FileFailed,
    FileSkipped,
    FileStarted,
    FolderCompleted,
    FolderCreated,
    FolderPlanned,
)
from .model import UploadedFile
from .told import Told


@dataclass(frozen=True, slots=True)
class UploadPlanned(Told):
    """The file exists at Frame.io, without its bytes; nobody but the service has confirmed anything yet."""

    file_id: str
    name: str
    view_url: str | None
    total_bytes: int
    total_parts: int


@dataclass(frozen=True, slots=True)
class UploadResumed(Told):
    """An earlier run had begun this file, and it goes on; the parts recorded then are not told again."""

    file_id: str
    parts_completed: int
    bytes_completed: int


@dataclass(frozen=True, slots=True)
class PartStarted(Told):
    """An attempt at a part begins."""

    number: int
    """The part, from 1."""
    attempt: int
    """From 1."""
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PartRetrying(Told):
    """An attempt failed, and another one follows after `delay` seconds."""

    number: int
    attempt: int
    """The one that failed."""
    delay: float
    error: PartError


@dataclass(frozen=True, slots=True)
class PartCompleted(Told):
    """S3 has acknowledged the part."""

    number: int
    size: int
    etag: str | None
    attempt: int
    """The one that succeeded."""
    seconds: float
    """It took, from its first byte to S3's answer."""


@dataclass(frozen=True, slots=True)
class ApiRetrying(Told):
    """A call of this upload to Frame.io's API failed, and is made again after `delay` seconds.

    Every call of an upload is told: creating the file, asking for its status, listing a folder, creating one, stacking,
    deleting a placeholder. It can be the first event, before `UploadPlanned` or `FolderPlanned`.
    """

    operation: str
    """The call, as in `ApiError.operation`: `create_local_upload`, `show_file_upload_status`, …"""
    attempt: int
    """The one that failed, from 1."""
    delay: float
    error: ApiError
    """Why: refused, or not answered."""


@dataclass(frozen=True, slots=True)
class UploadReplanned(Told):
    """The file begins anew under another id, and `reason` says why.

    In the middle of an upload, because the part links died or S3 stored other bytes than were sent. Progress does not
    fall back then: it stands still until the new parts have caught up. At its beginning, because what the journal holds
    of it cannot be gone on with: the source has changed since, the links have expired, the upload failed at Frame.io,
    or the file is not there any more. `UploadPlanned`, the first event of every upload that sends something, then tells
    the new file, and this event follows it at once.

    The old placeholder is removed; a file that had arrived as a whole stays.
    """

    file_id: str
    replaced_file_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress(Told):
    """How far the upload is; the latest one replaces those that were not read.

    Of a `FolderUpload` it tells all files together. Its parts are the files: those of one file are known only when the
    service has planned it.
    """

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
    bytes_before: int = 0
    """Of `bytes_uploaded`, what did not move now: an earlier run had sent it, or the file was there."""


@dataclass(frozen=True, slots=True)
class UploadCompleted(Told):
    """The end: the file is there."""

    file: UploadedFile


@dataclass(frozen=True, slots=True)
class UploadFailed(Told):
    """The end: the upload raises this error where it is awaited."""

    error: UploadError


Event = (
    UploadPlanned
    | UploadResumed
    | UploadReplanned
    | PartStarted
    | PartRetrying
    | PartCompleted
    | ApiRetrying
    | Progress
    | UploadCompleted
    | UploadFailed
    | FolderPlanned
    | FolderCreated
    | FileStarted
    | FileCompleted
    | FileSkipped
    | FileFailed
    | FolderCompleted
)
"""Every event of an upload, and of a folder's; minor versions may add to it, so a `match` needs a default."""
