"""The state of one upload as the command line shows it, updated from its events."""

from __future__ import annotations

import time
from dataclasses import replace

from .. import (
    ApiRetrying,
    AuthenticationError,
    Event,
    FileCompleted,
    FileFailed,
    FileLeftOut,
    FileSkipped,
    FolderCompleted,
    FolderPlanned,
    FolderResult,
    FolderUpload,
    FolderWatch,
    PartCompleted,
    PartRetrying,
    PartStarted,
    Progress,
    Statistics,
    Upload,
    UploadCompleted,
    UploadedFile,
    Uploader,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
)
from .format import escape, format_api_retry, format_count, format_error, format_left_out, format_seconds, format_size
from .report import ReportRow, row_of


class UploadView:
    """One of the paths that were given. Updated in the event loop; a live display reads it in its own thread."""

    def __init__(
        self,
        label: str,
        upload: Upload | FolderUpload | FolderWatch,
        *,
        name: str | None = None,
        keeps_rows: bool,
        lists_left_out: bool = False,
        uploader: Uploader | None = None,
    ) -> None:
        self.source = label
        """The path as it was given, for reports and JSON."""
        self.label = name or label
        """What is shown: the name at Frame.io where one was given, as for stdin."""
        self.upload = upload
        self._began = time.monotonic()
        self.statistics: Statistics | None = None
        """Of the Uploader, as of the last `Progress`: it belongs to the loop, and the display to another thread."""
        self._uploader = uploader
        self.parts = 0
        self.parts_before = 0
        """Parts that an earlier run had sent; their numbers are unknown."""
        self.done: set[int] = set()
        self.sending: set[int] = set()
        self.retrying: set[int] = set()
        self._unanswered: set[str] = set()
        """Why parts got no answer since one has arrived: a network that is down fails every part again and again, and
        each reason gets one line."""
        self.size: int | None = None
        """None until it is planned."""
        self.bytes_done = 0
        """Bytes in whole parts, including those of an earlier run."""
        self.failures = 0
        self.files_done = 0
        """Files of a folder whose lines were shown as sent or there before; `Progress` tells of them a moment later."""
        self.links: list[str] = []
        """Links to the files that have arrived, in order; the display removes those it has shown."""
        self.rows: list[ReportRow] = []
        self.can_resume = False
        """Whether a journal keeps what was sent; set by the command."""
        self._lists_left_out = lists_left_out
        """Whether each file that is left out gets a line (`-v`)."""
        self._keeps_rows = keeps_rows
        """Whether a report needs the rows: a folder may have a hundred thousand files."""

    @property
    def is_folder(self) -> bool:
        """Whether it is the upload of a folder, in which each file counts as a part."""
        return isinstance(self.upload, FolderUpload | FolderWatch)

    @property
    def kept(self) -> tuple[int, int] | None:
        """The bytes that the journal keeps, and the total; None if they are not known yet."""
        # Events that a slow display has not shown yet are not in `bytes_done`, and the latest parts not in `progress`.
        progress = self.upload.progress
        if progress is None:
            return None if self.size is None else (self.bytes_done, self.size)
        return max(progress.bytes_confirmed, 0 if self.is_folder else self.bytes_done), progress.total_bytes

    def update(self, event: Event) -> tuple[str | None, str | None]:
        """Apply an event; return a line for stdout and a line for stderr, or None for either."""
        self.files_done += isinstance(event, FileCompleted | FileSkipped)
        match event:
            case Progress():
                self.statistics = None if self._uploader is None else self._uploader.statistics()
            case PartStarted(number=number):
                self.retrying.discard(number)
                self.sending.add(number)
            case PartCompleted(number=number):
                self.sending.discard(number)
                self.done.add(number)
                self._unanswered.clear()
                self.bytes_done += event.size
            case PartRetrying(number=number):
                self.sending.discard(number)
                self.retrying.add(number)
                return self._retry(event), None
            case ApiRetrying(delay=delay, error=error):
                return self._line(format_api_retry(delay, error)), None
            case UploadPlanned() | UploadResumed() | UploadReplanned() | FolderPlanned():
                return self._line(self._plan(event)), None
            case FileLeftOut(path=path, reason=reason) if self._lists_left_out:
                return self._line(f"{path}: left out: {reason}"), None
            case UploadCompleted() | FileCompleted() | FileSkipped() | FolderCompleted():
                return self._complete(event), None
            case UploadFailed() | FileFailed():
                return None, self._fail(event)
        return None, None

    def _retry(self, event: PartRetrying) -> str | None:
        error = event.error
        if error.status is None:
            reason = error.problem.partition(": ")[2]  # after the numbers of the part and the attempt
            if reason in self._unanswered:
                return None
            self._unanswered.add(reason)
        return self._line(f"again in {event.delay:.1f} s: {error}")

    def _plan(self, event: UploadPlanned | UploadResumed | UploadReplanned | FolderPlanned) -> str:
        match event:
            case UploadPlanned():
                self.parts, self.parts_before = event.total_parts, 0
                self.size, self.bytes_done = event.total_bytes, 0
                for numbers in (self.done, self.sending, self.retrying):
                    numbers.clear()
                return f"{format_size(event.total_bytes)} in {format_count(event.total_parts, 'part')}"
            case UploadResumed():
                self.parts_before, self.bytes_done = event.parts_completed, event.bytes_completed
                return f"resuming; {format_size(event.bytes_completed)} were sent before"
            case UploadReplanned():
                return f"begins anew: {event.reason}"
            case FolderPlanned():
                folders = format_count(event.folders, "folder")
                counts = f"{format_count(event.files, 'file')} in {folders}, {format_size(event.total_bytes)}"
                return counts + format_left_out(event.left_out, is_listed=self._lists_left_out)

    def _complete(self, event: UploadCompleted | FileCompleted | FileSkipped | FolderCompleted) -> str:
        match event:
            case UploadCompleted(file=file):
                return self._add_file(self.source, file, self.label)
            case FileCompleted(path=path, file=file):
                return self._add_file(self._inside(path), file)
            case FileSkipped(path=path, reason=reason, file=file):
                source = self._inside(path)
                if file is not None:
                    return self._add_file(source, file)
                self._add_row(ReportRow(source=source, outcome="skipped", error=reason))
                return self._line(f"{path}: {reason}")
            case FolderCompleted(result=result):
                return self._line(_summary(result, time.monotonic() - self._began))

    def _fail(self, event: UploadFailed | FileFailed) -> str:
        hint = ""
        match event:
            case UploadFailed(error=error):
                source, label = self.source, self.label
                if isinstance(error, AuthenticationError) and self.can_resume:
                    hint = "; then run the same command again: what was sent is kept"
            case FileFailed(path=path, error=error):
                source = label = self._inside(path)
        text = format_error(error, source) + hint
        self.failures += 1
        self._add_row(ReportRow(source=source, outcome="failed", error=text))
        return escape(f"error: {label}: {text}")

    def interrupt(self) -> None:
        """Add the row of an upload that a signal stopped."""
        if not self.upload.done and not self.is_folder:
            self._add_row(ReportRow(source=self.source, outcome="failed", error="interrupted"))

    def _add_file(self, source: str, file: UploadedFile, label: str | None = None) -> str:
        self._add_row(row_of(source, file))
        self._add_link(file)
        outcome = "there before" if file.outcome == "skipped" else file.outcome
        reason = f", {file.reason}" if file.reason else ""
        link = f"  {file.view_url}" if file.view_url else ""
        return escape(f"{label or source}: {outcome}, {format_size(file.size)}{reason}{link}")

    def _add_link(self, file: UploadedFile) -> None:
        if file.view_url:
            self.links.append(file.view_url)

    def _add_row(self, row: ReportRow) -> None:
        if self._keeps_rows:
            self.rows.append(row)

    def _inside(self, path: str) -> str:
        return f"{self.label}{'' if self.label.endswith('/') else '/'}{path}"

    def _line(self, text: str) -> str:
        return escape(f"{self.label}: {text}")


class WatchView(UploadView):
    """The view of a watched folder: a failure counts until its file has arrived."""

    def __init__(self, label: str, watch: FolderWatch) -> None:
        super().__init__(label, watch, keeps_rows=False)
        self.failed: set[str] = set()
        """Paths of the files that failed and have not arrived since."""
        self.completed = 0
        """Files that were sent."""
        self.settled: Progress | None = None
        """The latest progress at which nothing was left to send: what came since is drawn, and not everything."""

    def update(self, event: Event) -> tuple[str | None, str | None]:
        """Apply an event; return a line for stdout and a line for stderr, or None for either."""
        match event:
            case FileCompleted(path=path):
                self.completed += 1
                self.failed.discard(path)
            case FileSkipped(path=path):
                self.failed.discard(path)
            case FileFailed(path=path):
                self.failed.add(path)
            case Progress() if event.parts_completed == event.total_parts:
                self.settled = event
        return super().update(event)

    @property
    def is_idle(self) -> bool:
        """Whether all files that were found have been sent, or were there before."""
        progress = self.upload.progress
        return progress is not None and progress.parts_completed == progress.total_parts and not self.failed

    @property
    def since_idle(self) -> Progress | None:
        """The progress of what came since nothing was left to send."""
        progress = self.upload.progress
        return progress if progress is None or self.settled is None else came_since(progress, self.settled)

    @property
    def counts(self) -> str:
        """How many files were sent, and how many failed."""
        failed = f", {len(self.failed)} failed, to be tried again" if self.failed else ""
        return f"{format_count(self.completed, 'file')} sent{failed}"


def came_since(progress: Progress, settled: Progress) -> Progress:
    """Return the progress without the bytes of an earlier one, after which more came."""
    return replace(
        progress,
        bytes_uploaded=progress.bytes_uploaded - settled.bytes_uploaded,
        total_bytes=progress.total_bytes - settled.total_bytes,
    )


def _summary(result: FolderResult, seconds: float) -> str:
    empty = sum(one.is_empty for one in result.skipped)
    counts = [f"{len(result.files)} sent", f"{len(result.skipped) - empty} there before"]
    counts += [f"{empty} empty"] * bool(empty)
    sent = f"; {format_size(sum(file.size for file in result.files))} in {format_seconds(seconds)}"
    return ", ".join([*counts, f"{len(result.failures)} failed"]) + sent * bool(result.files)
