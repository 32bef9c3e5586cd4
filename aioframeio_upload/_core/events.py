"""The events that an upload and a folder publish, and how they become JSON."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any, ClassVar

from .errors import ApiError, PartError, UploadError
from .model import UploadedFile


class EventBase:
    """The base of every event; a frozen dataclass each."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the event in JSON's types: its name under `event`, an error as its `to_dict()`, a record as a dict."""
        return {"event": type(self).__name__, **record_to_dict(self)}


def record_to_dict(record: Any) -> dict[str, Any]:
    """Give a record in JSON's types."""
    return {field.name: _plain(getattr(record, field.name)) for field in fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, EventBase | UploadError):
        return value.to_dict()
    if is_dataclass(value):
        return record_to_dict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value


@dataclass(frozen=True, slots=True)
class FolderPlanned(EventBase):
    """The tree was walked: this is what is to be there at the end, whether it has to be sent or is there already."""

    files: int
    folders: int
    """The root's own among them, unless only its contents go."""
    total_bytes: int


@dataclass(frozen=True, slots=True)
class FolderCreated(EventBase):
    """A folder was made at Frame.io; one that was there by that name is used, and not told."""

    path: str
    """Relative to the root, with `/`; the root itself is `.`."""
    folder_id: str


@dataclass(frozen=True, slots=True)
class FileStarted(EventBase):
    """A file begins: it is not there yet."""

    path: str
    """Relative to the root, with `/`; so in every event of a file."""
    size: int


@dataclass(frozen=True, slots=True)
class FileCompleted(EventBase):
    """A file is there, and confirmed."""

    path: str
    file: UploadedFile


EMPTY = "it is empty, and Frame.io takes no empty file"
"""Why a file that holds nothing is skipped."""


@dataclass(frozen=True, slots=True)
class FileSkipped(EventBase):
    """A file was there before, or is empty, so nothing was sent."""

    path: str
    reason: str
    file: UploadedFile | None = field(default=None, compare=False)
    """The one that was there before."""

    @property
    def is_empty(self) -> bool:
        """Whether it was skipped because it holds nothing."""
        return self.reason == EMPTY


@dataclass(frozen=True, slots=True)
class FileFailed(EventBase):
    """A file could not be uploaded; the others go on."""

    path: str
    """Of a folder, where that could not be read or made and no file in it is known."""
    error: UploadError


@dataclass(frozen=True, slots=True)
class FolderResult:
    """What became of each file of a folder: every one is in exactly one of `files`, `skipped` and `failures`."""

    files: tuple[UploadedFile, ...]
    skipped: tuple[FileSkipped, ...]
    failures: tuple[FileFailed, ...]
    folders: tuple[FolderCreated, ...]
    """Those that were made, parents before children."""


@dataclass(frozen=True, slots=True)
class FolderCompleted(EventBase):
    """The end: every file is there, was there, or failed."""

    result: FolderResult


class FolderUploadError(UploadError):
    """Some files of a folder could not be uploaded; `result` names them, and all that is there."""

    fields: ClassVar[tuple[str, ...]] = ("result",)

    def __init__(self, result: FolderResult) -> None:
        failed = len(result.failures)
        done = failed + len(result.files) + len(result.skipped)
        first = result.failures[0] if failed else None
        tail = f"; the first: {first.path!r}: {first.error}" if first is not None else ""
        super().__init__(f"{failed} of {done} files failed{tail}")
        self.result = result

    def to_dict(self) -> dict[str, Any]:
        """Tell the error in JSON's types: `type`, `message` and the `result` as a dict."""
        return super().to_dict() | {"result": record_to_dict(self.result)}


@dataclass(frozen=True, slots=True)
class UploadPlanned(EventBase):
    """The file exists at Frame.io, without its bytes; nobody but the service has confirmed anything yet."""

    file_id: str
    name: str
    view_url: str | None
    total_bytes: int
    total_parts: int


@dataclass(frozen=True, slots=True)
class UploadResumed(EventBase):
    """An earlier run had begun this file, and it goes on; the parts recorded then are not told again."""

    file_id: str
    parts_completed: int
    bytes_completed: int


@dataclass(frozen=True, slots=True)
class PartStarted(EventBase):
    """An attempt at a part begins."""

    number: int
    """The part, from 1."""
    attempt: int
    """From 1."""
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PartRetrying(EventBase):
    """An attempt failed, and another one follows after `delay` seconds."""

    number: int
    attempt: int
    """The one that failed."""
    delay: float
    error: PartError


@dataclass(frozen=True, slots=True)
class PartCompleted(EventBase):
    """S3 has acknowledged the part."""

    number: int
    size: int
    etag: str | None
    attempt: int
    """The one that succeeded."""
    seconds: float
    """It took, from its first byte to S3's answer."""


@dataclass(frozen=True, slots=True)
class ApiRetrying(EventBase):
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
class UploadReplanned(EventBase):
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
class Progress(EventBase):
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
class UploadCompleted(EventBase):
    """The end: the file is there."""

    file: UploadedFile


@dataclass(frozen=True, slots=True)
class UploadFailed(EventBase):
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
