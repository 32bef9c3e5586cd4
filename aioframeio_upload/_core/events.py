"""Define the events that uploads and folder uploads publish, and their JSON form.

Events are frozen records. An upload publishes `UploadPlanned` first and `UploadCompleted` or `UploadFailed` last; a
folder upload publishes `FolderPlanned` first and `FolderCompleted` or `UploadFailed` last. Only `ApiRetrying` can come
earlier, because the calls that plan an upload can be retried too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any, ClassVar

from .errors import ApiError, PartError, SourceError, UploadError
from .model import UploadedFile
from .patterns import UnmatchedPattern
from .public import public


class EventBase:
    """Base class of every event; each event is a frozen, slotted dataclass."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON types: its class name under `event`, errors and records as dicts."""
        return {"event": type(self).__name__, **record_to_dict(self)}


def record_to_dict(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass instance as JSON types."""
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


# -- one file ----------------------------------------------------------------------------------------------------------


@public
@dataclass(frozen=True, slots=True)
class UploadPlanned(EventBase):
    """The file was created at Frame.io; no part has been sent yet."""

    file_id: str
    name: str
    view_url: str | None
    total_bytes: int
    total_parts: int


@public
@dataclass(frozen=True, slots=True)
class UploadResumed(EventBase):
    """The upload continues where an earlier run stopped; parts recorded by that run get no further events."""

    file_id: str
    parts_completed: int
    bytes_completed: int


@public
@dataclass(frozen=True, slots=True)
class UploadReplanned(EventBase):
    """The upload starts over with a new file ID, for the given `reason`.

    This happens in the middle of an upload if the part links expired, or if S3 stored different bytes than were sent.
    Progress does not go back then: it stands still until the new parts have caught up.

    It also happens at the start if the journal's entry cannot be resumed: the source has changed, the links have
    expired, the upload failed at Frame.io, or the file is no longer there. `UploadPlanned`, the first event of every
    upload that sends something, then describes the new file, and this event follows it at once.

    The old placeholder is deleted; a file that had arrived completely is kept.
    """

    file_id: str
    replaced_file_id: str
    reason: str


@public
@dataclass(frozen=True, slots=True)
class PartStarted(EventBase):
    """An attempt to send a part begins."""

    number: int
    """The part, from 1."""
    attempt: int
    """From 1."""
    offset: int
    size: int


@public
@dataclass(frozen=True, slots=True)
class PartRaced(EventBase):
    """A part that is far behind the others is sent a second time, on a new connection, beside the attempt that runs.

    The one that S3 acknowledges first counts, and the other is cancelled without an event. `PartStarted` of the second
    attempt follows. At most two such attempts run at a time, over all uploads of an `Uploader`.
    """

    number: int
    attempt: int
    """The second attempt."""


@public
@dataclass(frozen=True, slots=True)
class PartRetrying(EventBase):
    """An attempt failed; the next one follows after `delay` seconds."""

    number: int
    attempt: int
    """The attempt that failed."""
    delay: float
    error: PartError


@public
@dataclass(frozen=True, slots=True)
class PartCompleted(EventBase):
    """S3 has acknowledged the part."""

    number: int
    size: int
    etag: str | None
    attempt: int
    """The attempt that succeeded."""
    seconds: float
    """Duration of that attempt, from its first byte to S3's response."""


@public
@dataclass(frozen=True, slots=True)
class ApiRetrying(EventBase):
    """A call of this upload to Frame.io's API failed; it is repeated after `delay` seconds.

    This covers every call of an upload: creating the file, asking for its status, listing a folder, creating one,
    stacking, deleting a placeholder. It can be the first event, before `UploadPlanned` or `FolderPlanned`.
    """

    operation: str
    """The call, as in `ApiError.operation`: `create_local_upload`, `show_file_upload_status`, …"""
    attempt: int
    """The attempt that failed, from 1."""
    delay: float
    error: ApiError
    """The reason: the call was refused or not answered."""


@public
@dataclass(frozen=True, slots=True)
class Progress(EventBase):
    """How far the upload is; the latest event replaces those that were not read.

    For a `FolderUpload` it counts all files together, and its parts are files: the number of parts of a file is only
    known once the service has planned it.
    """

    bytes_uploaded: int
    """Bytes acknowledged or in flight; never less than in an earlier event."""
    bytes_confirmed: int
    """Bytes that S3 has acknowledged."""
    total_bytes: int
    parts_completed: int
    total_parts: int
    bytes_per_second: float
    """Average over the last seconds."""
    seconds_left: float | None
    """Estimate at that rate; None while nothing moves."""
    bytes_before: int = 0
    """The part of `bytes_uploaded` that this run did not send: an earlier run sent it, or the file was there."""


@public
@dataclass(frozen=True, slots=True)
class UploadCompleted(EventBase):
    """Last event: the file has arrived."""

    file: UploadedFile


@public
@dataclass(frozen=True, slots=True)
class UploadFailed(EventBase):
    """Last event: awaiting the upload raises this error."""

    error: UploadError


# -- a folder ----------------------------------------------------------------------------------------------------------

EMPTY = "it is empty, and Frame.io does not accept empty files"
"""Reason for which an empty file is skipped. (Zero bytes are not documented; the official SDK refuses them as well.)"""


@public
@dataclass(frozen=True, slots=True)
class FolderPlanned(EventBase):
    """The local tree was walked; the counts include files that turn out to be at Frame.io already."""

    files: int
    folders: int
    """Includes the root, unless only its contents are uploaded."""
    total_bytes: int
    left_out: int = 0
    """Files and folders that are not uploaded: hidden, excluded, links to folders, …; what is in such a folder does not
    count. `FileLeftOut` follows for each, for at most 10,000 of them."""
    unmatched: tuple[UnmatchedPattern, ...] = ()
    """The patterns that matched nothing."""


@public
@dataclass(frozen=True, slots=True)
class FileLeftOut(EventBase):
    """A file of the folder, or a folder in it with everything that it contains, is not uploaded.

    Published after `FolderPlanned`, for at most 10,000 of them, so that memory does not grow with their number. Files
    that are empty or at Frame.io already are not among them; for these there is `FileSkipped`.
    """

    path: str
    """A folder's ends with `/`."""
    reason: str


@public
@dataclass(frozen=True, slots=True)
class FolderCreated(EventBase):
    """A folder was created at Frame.io; an existing folder of that name is used without an event."""

    path: str
    """Relative to the root, with `/`; the root itself is `.`."""
    folder_id: str


@public
@dataclass(frozen=True, slots=True)
class FileStarted(EventBase):
    """A file of the folder starts to be uploaded."""

    path: str
    """Relative to the root, with `/`, as in every event about a file."""
    size: int


@public
@dataclass(frozen=True, slots=True)
class FileCompleted(EventBase):
    """A file of the folder has arrived and is confirmed."""

    path: str
    file: UploadedFile


@public
@dataclass(frozen=True, slots=True)
class FileSkipped(EventBase):
    """Nothing was sent for a file, because it is empty or was at Frame.io before."""

    path: str
    reason: str
    """Why: that it is empty (`is_empty`), or the `reason` of the `file` that was there before, such as
    `"unchanged since it was sent"`."""
    file: UploadedFile | None = field(default=None, compare=False)
    """The file that was there before."""

    @property
    def is_empty(self) -> bool:
        """Whether it was skipped because it is empty."""
        return self.reason == EMPTY


@public
@dataclass(frozen=True, slots=True)
class FileFailed(EventBase):
    """A file could not be uploaded; the other files continue."""

    path: str
    """The path of a folder, if that could not be read or created and no file in it is known."""
    error: UploadError


@public
@dataclass(frozen=True, slots=True)
class FolderResult:
    """The outcome of each file of a folder: every file is in exactly one of `files`, `skipped` and `failures`."""

    files: tuple[UploadedFile, ...]
    skipped: tuple[FileSkipped, ...]
    failures: tuple[FileFailed, ...]
    folders: tuple[FolderCreated, ...]
    """The folders that were created, parents before children."""


@public
@dataclass(frozen=True, slots=True)
class FolderCompleted(EventBase):
    """Last event: every file has arrived, was there before, or failed."""

    result: FolderResult


# Here and not in `errors`, because it holds records that are built on those errors.
@public
class FolderUploadError(UploadError):
    """Some files of a folder could not be uploaded; `result` lists them, and all files that arrived."""

    fields: ClassVar[tuple[str, ...]] = ("result",)

    def __init__(self, result: FolderResult) -> None:
        failed = len(result.failures)
        done = failed + len(result.files) + len(result.skipped)
        first = result.failures[0] if failed else None
        tail, advice = "", ""
        if first is not None:
            error = first.error
            # A `SourceError` names the file's own path, too.
            reason = error.reason if isinstance(error, SourceError) else error.problem
            tail, advice = f"; the first: {first.path!r}: {reason}", error.advice
        super().__init__(f"{failed} of {done} {'file' if done == 1 else 'files'} failed{tail}", advice=advice)
        self.result = result

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON types: `type`, `message`, and the `result` as a dict."""
        return super().to_dict() | {"result": record_to_dict(self.result)}


Event = (
    UploadPlanned
    | UploadResumed
    | UploadReplanned
    | PartStarted
    | PartRaced
    | PartRetrying
    | PartCompleted
    | ApiRetrying
    | Progress
    | UploadCompleted
    | UploadFailed
    | FolderPlanned
    | FileLeftOut
    | FolderCreated
    | FileStarted
    | FileCompleted
    | FileSkipped
    | FileFailed
    | FolderCompleted
)
"""Every event of an upload and of a folder upload. Minor versions may add to it, so a `match` needs a default case."""
