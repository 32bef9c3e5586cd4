"""The state of a folder's upload: what became of each file, and the arithmetic of progress over all of them.

Whoever holds it tells it what happened; it answers with the event to publish.
"""

from __future__ import annotations

from .errors import UploadError
from .events import FileCompleted, FileFailed, FileSkipped, FolderCreated, FolderResult, Progress
from .model import UploadedFile
from .progress import Rate


class FolderState:
    """The files of a folder. Owned by its upload; nobody else writes to it."""

    def __init__(self, files: int, size: int, now: float) -> None:
        self._count = files
        self._size = size
        self._rate = Rate(now)
        self._sent = 0
        self._bytes_skipped = 0
        self._sent_before = 0
        """Of what was sent: by an earlier run."""
        self._most_sent = 0
        self._most_moved = 0
        self._files: list[UploadedFile] = []
        self._skipped: list[FileSkipped] = []
        self._failures: list[FileFailed] = []
        self._folders: list[FolderCreated] = []

    def create(self, folder: FolderCreated) -> FolderCreated:
        """Note that a folder was made."""
        self._folders.append(folder)
        return folder

    def skip(self, path: str, size: int, reason: str, file: UploadedFile | None = None) -> FileSkipped:
        """Note a file that was there before, or is empty; it counts as done, and not into the rate."""
        self._bytes_skipped += size
        self._skipped.append(FileSkipped(path, reason, file))
        return self._skipped[-1]

    def send(self, size: int, before: int = 0) -> None:
        """Note that every part of a file was acknowledged; so many bytes of it to an earlier run."""
        self._sent += size
        self._sent_before += before

    def complete(self, path: str, file: UploadedFile) -> FileCompleted:
        """Note that the service has a file."""
        self._files.append(file)
        return FileCompleted(path, file)

    def fail(self, path: str, error: UploadError) -> FileFailed:
        """Note that a file was given up; its error keeps no frame alive, for there may be very many."""
        raised: BaseException | None = error
        while raised is not None:
            raised = raised.with_traceback(None).__cause__ or raised.__context__
        self._failures.append(FileFailed(path, error))
        return self._failures[-1]

    @property
    def done(self) -> int:
        """How many files are there."""
        return len(self._files) + len(self._skipped)

    def progress(self, uploaded: int, confirmed: int, now: float, before: int = 0) -> Progress:
        """Sum up. Never less than before, and never more than the folder.

        Args:
            uploaded: Bytes that left, of the files under way.
            confirmed: Those of them that S3 has acknowledged.
            now: The time.
            before: Of those that left, the bytes that an earlier run has sent.
        """
        sent = self._sent + uploaded
        # An attempt that failed does not move the mark back.
        self._most_sent = max(self._most_sent, sent)
        self._most_moved = max(self._most_moved, sent - self._sent_before - before)
        rate = self._rate.at(now, self._most_moved)
        left = self._size - self._bytes_skipped - sent
        return Progress(
            bytes_uploaded=self._bytes_skipped + self._most_sent,
            bytes_confirmed=self._bytes_skipped + self._sent + confirmed,
            total_bytes=self._size,
            parts_completed=self.done,
            total_parts=self._count,
            bytes_per_second=rate,
            seconds_left=0.0 if left == 0 else left / rate if rate > 0 else None,
            bytes_before=self._bytes_skipped + self._most_sent - self._most_moved,
        )

    def result(self) -> FolderResult:
        """Say what became of everything."""
        failures = sorted(self._failures, key=lambda failure: failure.path)
        return FolderResult(tuple(self._files), tuple(self._skipped), tuple(failures), tuple(self._folders))
