"""Carry pause and cancellation from an upload's handle to its job."""

from __future__ import annotations

import enum
import time

from .._io.flow_control import PauseGate

CLEAN_UP = 0.8
"""Seconds for everything that a cancelled upload still has to do. Nothing of it may run a second later (the public
promise); the rest of that second is for the event loop."""


class CancelReason(enum.Enum):
    """Why an upload was cancelled. It decides what is left behind, and what awaiters get."""

    CANCEL_CALLED = enum.auto()
    """`Upload.cancel()`: a file that lacks bytes is deleted, and awaiters get `UploadCancelled`."""
    TASK_CANCELLED = enum.auto()
    """An awaiting task was cancelled, the block was left by an exception, or the Uploader was shut down: what a journal
    can resume is kept, and awaiters get `CancelledError`."""


class UploadControl:
    """The pause and the cancellation of one upload. Written by its handle, read by its job and its parts.

    Each file of a folder has its own, with the folder's as `parent`. It shares the folder's pause and cancellation, but
    a cancellation of one file's task alone must not start the time in which all other files have to clean up.
    """

    def __init__(self, parent: UploadControl | None = None) -> None:
        self.pause: PauseGate = PauseGate() if parent is None else parent.pause
        self._parent = parent
        self._reason: CancelReason | None = None
        self._clean_up_ends_at: float | None = None

    @property
    def cancel_reason(self) -> CancelReason | None:
        """Why it was cancelled; None if it was not. The folder's reason replaces the file's."""
        above = None if self._parent is None else self._parent.cancel_reason
        return self._reason if above is None else above

    @property
    def is_discarded(self) -> bool:
        """Whether nothing will be resumed, so that what lacks bytes is to be deleted."""
        return self.cancel_reason is CancelReason.CANCEL_CALLED

    def cancel(self, reason: CancelReason) -> None:
        """Record a cancellation and start the time for its clean-up.

        Only the first call starts the time. `CANCEL_CALLED` replaces an earlier reason: the user said so explicitly.
        """
        if self._clean_up_ends_at is None:
            self._clean_up_ends_at = time.monotonic() + CLEAN_UP
        if self._reason is not CancelReason.CANCEL_CALLED:
            self._reason = reason

    def seconds_left(self, at_most: float) -> float:
        """Return how many seconds a step of the clean-up may take: `at_most`, or fewer once it was cancelled."""
        if self._parent is not None:
            at_most = self._parent.seconds_left(at_most)
        if self._clean_up_ends_at is None:
            return at_most
        return max(0.0, min(at_most, self._clean_up_ends_at - time.monotonic()))
