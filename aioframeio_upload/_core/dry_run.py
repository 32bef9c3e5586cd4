"""The records of a dry run: what an upload would do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .events import FileFailed, FileLeftOut, FolderPlanned, FolderResult
from .journal import Entry
from .model import UploadedFile
from .patterns import UnmatchedPattern
from .public import public
from .resuming import ResumeAction, Resumption


@public
@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunFile:
    """What an upload would do with one file."""

    path: str
    """Relative to the root of the folder, with `/`; of a file that was passed itself, its name at Frame.io."""
    size: int
    action: Literal["send", "resume", "confirm", "skip"]
    """`"send"`: all of it; `"resume"`: the parts that an earlier run did not send; `"confirm"`: nothing, because an
    earlier run has sent all of it, and Frame.io is only asked whether the file is complete; `"skip"`: nothing."""
    bytes_to_send: int
    reason: str | None = None
    """Why it would be skipped, why an upload that an earlier run began would begin anew, or why the content of a file
    with its name and size could not be compared."""
    file_id: str | None = None
    """The file at Frame.io that is there already, or that would be resumed."""
    stacked_on: str | None = None
    """ID of the file on which it would be stacked as a new version."""


@public
@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunFolder:
    """What the upload of a folder would do."""

    files: tuple[DryRunFile, ...]
    """In the order of their paths."""
    folders: tuple[str, ...]
    """The folders that would be created at Frame.io, parents before children; the root itself is `.`."""
    failures: tuple[FileFailed, ...]
    """What would fail, as far as that can be known: what cannot be read here, or is refused by Frame.io."""
    left_out: tuple[FileLeftOut, ...]
    """The files and folders that the upload does not consider: hidden, excluded, … At most 10,000 of them."""
    left_out_count: int
    """How many there are."""
    unmatched: tuple[UnmatchedPattern, ...]
    """The patterns that matched nothing."""

    @property
    def bytes_to_send(self) -> int:
        """Bytes of all files that would be sent."""
        return sum(file.bytes_to_send for file in self.files)


def foreseen(name: str, size: int, entry: Entry | None, step: Resumption | None) -> DryRunFile:
    """Return the record of a file that is not skipped.

    Args:
        name: Its name.
        size: Its size.
        entry: What an earlier run has left in the journal.
        step: How it would be continued.
    """
    if entry is None or step is None:
        return DryRunFile(path=name, size=size, action="send", bytes_to_send=size)
    file_id = entry.plan.file_id
    if step.step is ResumeAction.CONFIRM:
        return DryRunFile(path=name, size=size, action="confirm", bytes_to_send=0, file_id=file_id)
    if step.step is ResumeAction.RESUME:
        left = size - sum(receipt.size for receipt in entry.receipts)
        return DryRunFile(path=name, size=size, action="resume", bytes_to_send=left, file_id=file_id)
    return DryRunFile(path=name, size=size, action="send", bytes_to_send=size, reason=step.reason)


def skipped(path: str, reason: str | None, file: UploadedFile | None) -> DryRunFile:
    """Return the record of a file that is skipped, because it is empty or is the same as a file at Frame.io."""
    return DryRunFile(
        path=path,
        size=0 if file is None else file.size,
        action="skip",
        bytes_to_send=0,
        reason=reason,
        file_id=None if file is None else file.id,
    )


def folder_record(
    files: Iterable[DryRunFile], result: FolderResult, left_out: Iterable[FileLeftOut], planned: FolderPlanned
) -> DryRunFolder:
    """Return the record of a folder.

    Args:
        files: The files that are not skipped.
        result: Those that are, those that fail, and the folders that are missing.
        left_out: What the walk left out.
        planned: The counts of the walk.
    """
    every = [*files, *(skipped(one.path, one.reason, one.file) for one in result.skipped)]
    return DryRunFolder(
        files=tuple(sorted(every, key=lambda file: file.path)),
        folders=tuple(sorted((folder.path for folder in result.folders), key=lambda path: (path != ".", path))),
        failures=result.failures,
        left_out=tuple(left_out),
        left_out_count=planned.left_out,
        unmatched=planned.unmatched,
    )
