"""Keep the state of a folder's upload: what became of each file, and how much of all files was sent.

Each method records what happened and returns the event to publish.
"""

from __future__ import annotations

from .errors import UploadError
from .events import FileCompleted, FileFailed, FileSkipped, FolderCreated, FolderResult, Progress
from .model import UploadedFile
from .progress import ProgressMeter


class FolderState:
    """Record what became of a folder's files. Owned by the folder's upload; nothing else writes to it."""

    def __init__(self, files: int, size: int, now: float) -> None:
        self._count = files
        self._meter = ProgressMeter(size, now)
        self._sent = 0
        self._bytes_skipped = 0
        self._sent_before = 0
        """Bytes of `_sent` that an earlier run had sent."""
        self._files: list[UploadedFile] = []
        self._skipped: list[FileSkipped] = []
        self._failures: list[FileFailed] = []
        self._folders: list[FolderCreated] = []

    def create(self, folder: FolderCreated) -> FolderCreated:
        """Record that a folder was made, and return its event."""
        self._folders.append(folder)
        return folder

    def skip(self, path: str, size: int, reason: str, file: UploadedFile | None = None) -> FileSkipped:
        """Record a file that was there before, or is empty: it counts as done, but not towards the rate."""
        self._bytes_skipped += size
        self._skipped.append(FileSkipped(path, reason, file))
        return self._skipped[-1]

    def send(self, size: int, before: int = 0) -> None:
        """Record that every part of a file was acknowledged; `before` bytes of it to an earlier run."""
        self._sent += size
        self._sent_before += before

    def complete(self, path: str, file: UploadedFile) -> FileCompleted:
        """Record that the service has a file."""
        self._files.append(file)
        return FileCompleted(path, file)

    def fail(self, path: str, error: UploadError) -> FileFailed:
        """Record that a file was given up; its error loses its tracebacks, which would keep many frames alive."""
        raised: BaseException | None = error
        while raised is not None:
            raised = raised.with_traceback(None).__cause__ or raised.__context__
        self._failures.append(FileFailed(path, error))
        return self._failures[-1]

    @property
    def done(self) -> int:
        """How many files the service has, uploaded or skipped."""
        return len(self._files) + len(self._skipped)

    def progress(self, uploaded: int, confirmed: int, now: float, before: int = 0) -> Progress:
        """Return the event for this moment.

        Args:
            uploaded: Bytes under way or acknowledged, of the files that are not complete.
            confirmed: Those of them that S3 has acknowledged.
            now: The time.
            before: Those of them that an earlier run had sent.
        """
        return self._meter.progress(
            now,
            sent=self._sent + uploaded,
            confirmed=self._sent + confirmed,
            before=self._sent_before + before,
            parts=(self.done, self._count),
            skipped=self._bytes_skipped,
        )

    def result(self) -> FolderResult:
        """Return what became of every file."""
        failures = sorted(self._failures, key=lambda failure: failure.path)
        return FolderResult(tuple(self._files), tuple(self._skipped), tuple(failures), tuple(self._folders))
