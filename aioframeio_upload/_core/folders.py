"""What a folder's upload tells: its events, its result, and the error that holds the result where files failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from .errors import UploadError
from .model import UploadedFile
from .told import Told, record_to_dict


@dataclass(frozen=True, slots=True)
class FolderPlanned(Told):
    """The tree was walked: this is what is to be there at the end, whether it has to be sent or is there already."""

    files: int
    folders: int
    """The root's own among them, unless only its contents go."""
    total_bytes: int


@dataclass(frozen=True, slots=True)
class FolderCreated(Told):
    """A folder was made at Frame.io; one that was there by that name is used, and not told."""

    path: str
    """Relative to the root, with `/`; the root itself is `.`."""
    folder_id: str


@dataclass(frozen=True, slots=True)
class FileStarted(Told):
    """A file begins: it is not there yet."""

    path: str
    """Relative to the root, with `/`; so in every event of a file."""
    size: int


@dataclass(frozen=True, slots=True)
class FileCompleted(Told):
    """A file is there, and confirmed."""

    path: str
    file: UploadedFile


EMPTY = "it is empty, and Frame.io takes no empty file"
"""Why a file that holds nothing is skipped."""


@dataclass(frozen=True, slots=True)
class FileSkipped(Told):
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
class FileFailed(Told):
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
class FolderCompleted(Told):
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
