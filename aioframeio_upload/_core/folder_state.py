"""Keep the state of a folder's upload: what became of each file, and how much of all files was sent.

Each method records what happened and returns the event to publish.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from .errors import UploadError, noted
from .events import FileCompleted, FileFailed, FileSkipped, FolderCreated, FolderResult, Progress
from .model import UploadedFile
from .progress import ProgressMeter
from .watching import WaitingFiles


class UnderWay(NamedTuple):
    """The files that are being sent."""

    files: int
    """All that have begun and not ended, also those that only wait for their confirmation."""
    size: int
    """Bytes of those that are not sent completely; so are the following."""
    uploaded: int
    """Bytes that are under way or acknowledged."""
    confirmed: int
    """Those of them that S3 has acknowledged."""
    before: int
    """Those of them that an earlier run had sent."""


class FolderCounts(ABC):
    """Count what became of files, without keeping any. Owned by one upload; nothing else writes to it.

    Args:
        now: The time.
    """

    def __init__(self, now: float) -> None:
        self._meter = ProgressMeter(0, now)
        self._sent = 0
        self._bytes_skipped = 0
        self._sent_before = 0
        """Bytes of `_sent` that an earlier run had sent."""
        self.done = 0
        """How many files the service has or will not get: uploaded or skipped."""

    def create(self, folder: FolderCreated) -> FolderCreated:
        """Record that a folder was made, and return its event."""
        return folder

    def skip(self, path: str, size: int, reason: str, file: UploadedFile | None = None) -> FileSkipped:
        """Record a file that was there before, or is empty: it counts as done, but not towards the rate."""
        self._bytes_skipped += size
        self.done += 1
        return FileSkipped(path, reason, file)

    def send(self, size: int, before: int = 0) -> None:
        """Record that every part of a file was acknowledged; `before` bytes of it to an earlier run."""
        self._sent += size
        self._sent_before += before

    def complete(self, path: str, file: UploadedFile) -> FileCompleted:
        """Record that the service has a file."""
        self.done += 1
        return FileCompleted(path, file)

    def fail(self, path: str, error: UploadError) -> FileFailed:
        """Record that a file was given up.

        Its error gets a note with the path, and loses its tracebacks, which would keep many frames alive.
        """
        error = noted(error, path)
        raised: BaseException | None = error
        while raised is not None:
            raised = raised.with_traceback(None).__cause__ or raised.__context__
        return FileFailed(path, error)

    def rest(self, now: float) -> None:
        """Record that no file is being sent: this time does not count for the rate."""
        self._meter.rest(now)

    def progress(self, under_way: UnderWay, now: float) -> Progress:
        """Return the event for this moment."""
        files, self._meter.total = self._totals(under_way)
        return self._meter.progress(
            now,
            sent=self._sent + under_way.uploaded,
            confirmed=self._sent + under_way.confirmed,
            before=self._sent_before + under_way.before,
            parts=(self.done, files),
            skipped=self._bytes_skipped,
        )

    @abstractmethod
    def _totals(self, under_way: UnderWay) -> tuple[int, int]:
        """Return the number of all files, and their bytes."""


class FolderState(FolderCounts):
    """Record what became of every file of a folder that was walked."""

    def __init__(self, files: int, size: int, now: float) -> None:
        super().__init__(now)
        self._count = files
        self._size = size
        self._files: list[UploadedFile] = []
        self._skipped: list[FileSkipped] = []
        self._failures: list[FileFailed] = []
        self._folders: list[FolderCreated] = []

    @property
    def bytes_to_send(self) -> int:
        """Bytes of all files but those that were skipped so far."""
        return self._size - self._bytes_skipped

    def create(self, folder: FolderCreated) -> FolderCreated:
        """Record that a folder was made, and return its event."""
        self._folders.append(folder)
        return super().create(folder)

    def skip(self, path: str, size: int, reason: str, file: UploadedFile | None = None) -> FileSkipped:
        """Record a file that was there before, or is empty: it counts as done, but not towards the rate."""
        self._skipped.append(super().skip(path, size, reason, file))
        return self._skipped[-1]

    def complete(self, path: str, file: UploadedFile) -> FileCompleted:
        """Record that the service has a file."""
        self._files.append(file)
        return super().complete(path, file)

    def fail(self, path: str, error: UploadError) -> FileFailed:
        """Record that a file was given up; its error loses its tracebacks, which would keep many frames alive."""
        self._failures.append(super().fail(path, error))
        return self._failures[-1]

    def _totals(self, under_way: UnderWay) -> tuple[int, int]:
        return self._count, self._size

    def result(self) -> FolderResult:
        """Return what became of every file."""
        failures = sorted(self._failures, key=lambda failure: failure.path)
        return FolderResult(tuple(self._files), tuple(self._skipped), tuple(failures), tuple(self._folders))


class WatchState(FolderCounts):
    """Count the files of a watched folder, of which more keep coming.

    Args:
        waiting: The files that wait for their turn.
        now: The time.
    """

    def __init__(self, waiting: WaitingFiles, now: float) -> None:
        super().__init__(now)
        self._waiting = waiting
        self._largest = 0
        """The largest total so far: what was counted and then vanished must not make progress exceed its total."""

    def _totals(self, under_way: UnderWay) -> tuple[int, int]:
        size = self._sent + self._bytes_skipped + under_way.size + self._waiting.size
        self._largest = max(self._largest, size)
        return self.done + under_way.files + len(self._waiting), self._largest
