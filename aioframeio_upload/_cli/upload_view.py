"""One upload as the command line shows it, built from its events."""

from __future__ import annotations

import os

from .. import (
    ApiRetrying,
    AuthenticationError,
    Event,
    FileCompleted,
    FileFailed,
    FileSkipped,
    FolderCompleted,
    FolderPlanned,
    FolderUpload,
    NotFound,
    PartCompleted,
    PartRetrying,
    PartStarted,
    Upload,
    UploadCompleted,
    UploadedFile,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
)
from .._io.http_errors import UNTRUSTED
from .format import asked_again, shown
from .report import ReportRow, row_of

SIZE_UNITS = ("kB", "MB", "GB", "TB")


def sized(count: float) -> str:
    """Give bytes as people say them: `12.3 MB`."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in SIZE_UNITS[:-1]:
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} {SIZE_UNITS[-1]}"


INTO_A_FOLDER = ("list_folder_children", "list_files", "create_local_upload", "create_folder")
"""Calls that a folder's id is in: a 404 says that there is none of it, or none for this user."""


def missing(folder_id: str, account_id: str | None) -> str:
    """Say what a 404 to one of these calls means."""
    return f"no folder {folder_id} in account {account_id}, or this token may not see it"


def worded(error: Exception) -> str:
    """Return an error as one line, with the remedy where there is one."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, AuthenticationError) and error.status == 401 and os.environ.get("FRAMEIO_TOKEN"):
        return f"{text}; FRAMEIO_TOKEN is wrong or has run out"
    if UNTRUSTED in str(error):
        return f"{text}; --ca adds the certificate of its authority"
    return text


class UploadView:
    """One of the paths that were named. Written to by the task that listens; a display reads it from its thread."""

    def __init__(
        self, label: str, upload: Upload | FolderUpload, *, reported: bool, if_missing: str | None = None
    ) -> None:
        self.label = label
        self.upload = upload
        self.parts = 0
        self.parts_before = 0
        """That an earlier run had sent; which ones is not told."""
        self.done: set[int] = set()
        self.sending: set[int] = set()
        self.again: set[int] = set()
        self.size: int | None = None
        """None before it is planned."""
        self.bytes_done = 0
        """In whole parts, with those of an earlier run."""
        self.failures = 0
        self.links: list[str] = []
        """To the files that are there, in the order of their ends; not yet taken by the display."""
        self.rows: list[ReportRow] = []
        self._if_missing = if_missing
        """What is said where there is no folder to upload to."""
        self._reported = reported
        """Whether the rows are wanted: a folder may have a hundred thousand."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, whose parts are files."""
        return isinstance(self.upload, FolderUpload)

    @property
    def kept(self) -> tuple[int, int] | None:
        """How many bytes a journal keeps, and of how many; None where neither is known yet."""
        if self.is_folder:
            progress = self.upload.progress
            return None if progress is None else (progress.bytes_confirmed, progress.total_bytes)
        return None if self.size is None else (self.bytes_done, self.size)

    def hear(self, event: Event) -> tuple[str | None, str | None]:  # noqa: C901  # to be split
        """Take in an event; give what is to be said of it, and what is to be complained of."""
        match event:
            case PartStarted(number=number):
                self.again.discard(number)
                self.sending.add(number)
            case PartCompleted(number=number):
                self.sending.discard(number)
                self.done.add(number)
                self.bytes_done += event.size
            case PartRetrying(number=number):
                self.sending.discard(number)
                self.again.add(number)
                return self._say(f"again in {event.delay:.1f} s: {event.error}"), None
            case ApiRetrying(delay=delay, error=error):
                return self._say(asked_again(delay, error)), None
            case UploadPlanned():
                self._begin(event.total_parts, event.total_bytes)
                parts = "1 part" if event.total_parts == 1 else f"{event.total_parts} parts"
                return self._say(f"{sized(event.total_bytes)} in {parts}"), None
            case UploadResumed():
                self.parts_before, self.bytes_done = event.parts_completed, event.bytes_completed
                return self._say(f"goes on; {sized(event.bytes_completed)} were sent before"), None
            case UploadReplanned():
                return self._say(f"begins anew: {event.reason}"), None
            case FolderPlanned():
                return self._say(f"{event.files} files in {event.folders} folders, {sized(event.total_bytes)}"), None
            case UploadCompleted() | UploadFailed() | FileCompleted() | FileSkipped() | FileFailed():
                return self._hear_end(event)
            case FolderCompleted(result=result):
                sent, skipped, failed = len(result.files), len(result.skipped), len(result.failures)
                empty = sum(one.is_empty for one in result.skipped)
                told = f"{sent} sent, {skipped - empty} there before, "
                return self._say(told + f"{empty} empty, " * bool(empty) + f"{failed} failed"), None
        return None, None

    def _hear_end(
        self, event: UploadCompleted | UploadFailed | FileCompleted | FileSkipped | FileFailed
    ) -> tuple[str | None, str | None]:
        match event:
            case UploadCompleted(file=file):
                return self._complete(self.label, file), None
            case FileCompleted(path=path, file=file):
                return self._complete(f"{self.label}/{path}", file), None
            case FileSkipped(path=path, reason=reason, file=file):
                source = f"{self.label}/{path}"
                if file is None:
                    self._report(ReportRow(source=source, outcome="skipped", error=reason))
                else:
                    self._report(row_of(source, file))
                    self._link(file)
                return self._say(f"{path}: {reason}"), None
            case UploadFailed(error=error):
                no_folder = isinstance(error, NotFound) and error.operation in INTO_A_FOLDER and self._if_missing
                return None, self._fail(self.label, worded(error) + (f"; {no_folder}" if no_folder else ""))
            case FileFailed(path=path, error=error):
                return None, self._fail(f"{self.label}/{path}", worded(error))

    def stopped(self) -> None:
        """Note that it was interrupted."""
        if not self.upload.done and not self.is_folder:
            self._report(ReportRow(source=self.label, outcome="failed", error="interrupted"))

    def _begin(self, parts: int, size: int) -> None:
        self.parts, self.parts_before = parts, 0
        self.size, self.bytes_done = size, 0
        for numbers in (self.done, self.sending, self.again):
            numbers.clear()

    def _complete(self, source: str, file: UploadedFile) -> str:
        self._report(row_of(source, file))
        what = "there before" if file.outcome == "skipped" else file.outcome
        self._link(file)
        tail = f"  {file.view_url}" if file.view_url else ""
        return shown(f"{source}: {what}, {sized(file.size)}{tail}")

    def _link(self, file: UploadedFile) -> None:
        if file.view_url:
            self.links.append(file.view_url)

    def _fail(self, source: str, text: str) -> str:
        self.failures += 1
        self._report(ReportRow(source=source, outcome="failed", error=text))
        return shown(f"error: {source}: {text}")

    def _report(self, row: ReportRow) -> None:
        if self._reported:
            self.rows.append(row)

    def _say(self, text: str) -> str:
        return shown(f"{self.label}: {text}")
