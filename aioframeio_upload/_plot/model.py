"""Collect the events of uploads for a timeline: attempts as bars, bytes in bins of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from .._core.errors import PartError, UploadError
from .._core.events import (
    Event,
    FileCompleted,
    FileFailed,
    FileSkipped,
    FileStarted,
    FolderCompleted,
    FolderPlanned,
    PartCompleted,
    PartRaced,
    PartRetrying,
    PartStarted,
    Progress,
    UploadCompleted,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
)

MAX_BINS = 240
"""If there would be more, neighbours are merged in pairs: memory stays constant, and bins stay wide enough to see."""

FIRST_WIDTH = 0.1
"""Seconds that a bin covers at first: the event `Progress` comes about as often."""


class Rates:
    """The bytes that moved, in bins of equal width that begin at time 0."""

    def __init__(self) -> None:
        self.width = FIRST_WIDTH
        self.bins: list[float] = []
        """Bytes in each bin."""

    def copy(self) -> Rates:
        """Return a copy that another thread may read."""
        other = Rates()
        other.width, other.bins = self.width, self.bins.copy()
        return other

    def add(self, since: float, until: float, moved: float) -> None:
        """Add bytes, spread evenly over a period of time."""
        if moved <= 0:
            return
        while until >= self.width * MAX_BINS:
            self._widen()
        last = min(int(until / self.width), MAX_BINS - 1)
        first = min(int(since / self.width), last)
        self.bins += [0.0] * (last + 1 - len(self.bins))
        edges = [since, *(number * self.width for number in range(first + 1, last + 1)), until]
        for number, (began, ended) in enumerate(pairwise(edges), first):
            self.bins[number] += moved * (ended - began) / (until - since) if first < last else moved

    def _widen(self) -> None:
        self.width *= 2
        pairs = zip(self.bins[::2], [*self.bins[1::2], 0.0], strict=False)
        self.bins = [one + other for one, other in pairs]


MAX_BARS = 20_000
"""Attempts that are kept, of all uploads together: two files of 10,000 parts, the most that S3 takes for a file."""

MAX_REASONS = 50
"""Different reasons that are counted; further ones are counted together. The picture shows the first three."""

LONGEST_REASON = 60
"""Characters; a service's message may have any length."""

BarOutcome = Literal["done", "again", "failed", "stopped"]
"""The part arrived; the attempt failed and the part was tried again; the part was given up; or something else ended
the attempt, or it still runs."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One attempt at a part; in the upload of a folder, one file. Times are in seconds."""

    key: int | str
    """The part's number, or the file's path."""
    attempt: int
    began: float
    ended: float
    outcome: BarOutcome


@dataclass(slots=True)
class Track:
    """The state of one upload. Only `UploadHistory` changes it."""

    name: str
    began: float
    last_event_at: float
    moved_at: float
    """The begin of the period whose bytes the next `Progress` reports."""
    is_folder: bool = False
    count: int = 0
    """The number of parts, or of files."""
    size: int = 0
    bytes_before: int = 0
    """Bytes that an earlier run had sent."""
    skipped: int = 0
    """Files that were at Frame.io before."""
    empty: int = 0
    """Files that were skipped because they are empty."""
    failures: int = 0
    """Files that failed."""
    replanned: int = 0
    """How often the upload began anew with other links."""
    end: str | None = None
    """`done`, `there before`, or the name of the error; None while the upload runs."""
    bars: list[Bar] = field(default_factory=list)
    running: dict[int | str, tuple[int, float]] = field(default_factory=dict)
    """The number and the begin of each running attempt, by part or path."""
    overtaken: dict[int | str, tuple[int, float]] = field(default_factory=dict)
    """The same of first attempts beside which a second one runs."""
    races: int = 0
    """How often a part was sent a second time on another connection."""
    sent: int = 0
    """Bytes that have moved, without those of an earlier run."""

    def open_bars(self, until: float) -> list[Bar]:
        """Return the running attempts as bars that end at `until`."""
        running = (*self.overtaken.items(), *self.running.items())
        return [Bar(key, attempt, began, until, "stopped") for key, (attempt, began) in running]


class UploadHistory:
    """The events of uploads as tracks and rates. Times are in seconds from the first event, and never run backwards.

    Args:
        max_bars: Attempts that are kept; further ones are only counted.
    """

    def __init__(self, max_bars: int = MAX_BARS) -> None:
        self._max_bars = max_bars
        self._tracks: dict[Hashable, Track] = {}
        self._first: float | None = None
        self.span = 0.0
        self.rates = Rates()
        self.reasons: Counter[str] = Counter()
        """How often attempts failed, by the reason."""
        self.kept = 0
        self.forgotten = 0
        """Attempts that were only counted."""

    def copy(self) -> UploadHistory:
        """Return a copy that another thread may read."""
        other = copy(self)
        other._tracks = {  # noqa: SLF001  # an object of this class
            key: replace(track, bars=track.bars.copy(), running=track.running.copy(), overtaken=track.overtaken.copy())
            for key, track in self._tracks.items()
        }
        other.rates, other.reasons = self.rates.copy(), self.reasons.copy()
        return other

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The uploads, in the order of their first events."""
        return tuple(self._tracks.values())

    def add(self, event: Event, source: Hashable, name: str, at: float) -> None:
        """Add an event.

        Args:
            event: Of an upload of a file or a folder.
            source: A key for the upload.
            name: The name of the upload in the picture; empty for the name of the file.
            at: When the event came, in seconds.
        """
        if self._first is None:
            self._first = at
        now = self.span = max(self.span, at - self._first)
        if source not in self._tracks:
            self._tracks[source] = Track(name, now, now, now)
        track = self._tracks[source]
        match event:
            case Progress():
                self._move(track, event, now)
            case PartStarted() | PartRaced() | PartRetrying() | PartCompleted():
                self._add_part(track, event, now)
            case FileStarted() | FileCompleted() | FileFailed() | FileSkipped():
                self._add_file(track, event, now)
            case UploadCompleted() | UploadFailed() | FolderCompleted():
                self._end(track, event, now)
            case _:
                self._plan(track, event, now)
        track.last_event_at = now

    def _add_part(
        self, track: Track, event: PartStarted | PartRaced | PartRetrying | PartCompleted, now: float
    ) -> None:
        match event:
            case PartRaced(number=number):
                track.races += 1
                self._lose(track, number, now)
                if number in track.running:
                    track.overtaken[number] = track.running.pop(number)
            case PartStarted(number=number, attempt=attempt):
                self._begin(track, number, attempt, now)
            case PartRetrying(number=number):
                self._lose(track, number, now)
                self._close(track, number, "again", now)
                self._count(event.error)
            case PartCompleted(number=number):
                # The workers of a fleet do not report the begin of an attempt.
                track.running.setdefault(number, (event.attempt, max(0.0, now - event.seconds)))
                first = track.overtaken.get(number)
                if first is not None and first[0] == event.attempt:  # the first one was not too slow after all
                    track.overtaken[number], track.running[number] = track.running[number], first
                self._lose(track, number, now)
                self._close(track, number, "done", now)

    def _add_file(
        self, track: Track, event: FileStarted | FileCompleted | FileFailed | FileSkipped, now: float
    ) -> None:
        match event:
            case FileStarted(path=path):
                self._begin(track, path, 1, now)
            case FileCompleted(path=path):
                self._close(track, path, "done", now)
            case FileFailed(path=path):
                track.failures += 1
                track.running.setdefault(path, (1, now))
                self._close(track, path, "failed", now)
            case FileSkipped():
                track.skipped += not event.is_empty
                track.empty += event.is_empty

    def _plan(self, track: Track, event: Event, now: float) -> None:
        match event:
            case UploadPlanned():
                track.name = track.name or event.name
                track.count, track.size = event.total_parts, event.total_bytes
            case UploadResumed():
                track.bytes_before = event.bytes_completed
            case UploadReplanned():
                track.replanned += 1
                self._stop(track, now)
            case FolderPlanned():
                track.is_folder = True
                track.count, track.size = event.files, event.total_bytes

    def _begin(self, track: Track, key: int | str, attempt: int, now: float) -> None:
        if key in track.running:  # a pause ended the last attempt; there is no event for that
            self._close(track, key, "stopped", now)
        if not track.running:
            track.moved_at = now
        track.running[key] = attempt, now

    def _close(self, track: Track, key: int | str, outcome: BarOutcome, now: float) -> None:
        if key not in track.running:
            return
        attempt, began = track.running.pop(key)
        if self.kept < self._max_bars:
            self.kept += 1
            track.bars.append(Bar(key, attempt, began, now, outcome))
        else:
            self.forgotten += 1

    def _lose(self, track: Track, key: int | str, now: float) -> None:
        """End the other one of two attempts."""
        if key in track.overtaken:
            winner = track.running.pop(key, None)
            track.running[key] = track.overtaken.pop(key)
            self._close(track, key, "stopped", now)
            if winner is not None:
                track.running[key] = winner

    def _stop(self, track: Track, now: float) -> None:
        for key in tuple(track.overtaken):
            self._lose(track, key, now)
        for key in tuple(track.running):
            self._close(track, key, "stopped", now)

    def _end(self, track: Track, event: UploadCompleted | UploadFailed | FolderCompleted, now: float) -> None:
        match event:
            case UploadCompleted(file=file):
                track.end = "there before" if file.outcome == "skipped" else "done"
            case UploadFailed(error=error):
                track.end = type(error).__name__
                if isinstance(error, PartError):
                    self._close(track, error.number, "failed", now)
            case FolderCompleted():
                track.end = "done"
        self._stop(track, now)

    def _move(self, track: Track, event: Progress, now: float) -> None:
        # From the difference of bytes, because a slow listener misses some `Progress`. The sum of `bytes_per_second`
        # would be too much, because it is smoothed. Bytes of an earlier run count as uploaded, but did not move now.
        sent = event.bytes_uploaded - max(event.bytes_before, track.bytes_before)
        self.rates.add(track.moved_at, now, sent - track.sent)
        track.sent = max(track.sent, sent)
        track.moved_at = now

    def _count(self, error: UploadError) -> None:
        reason = _reason(error)
        if reason in self.reasons or len(self.reasons) < MAX_REASONS:
            self.reasons[reason] += 1
        else:
            self.reasons["something else"] += 1


def _reason(error: UploadError) -> str:
    """Return why an attempt failed, without the number of the part, so that equal reasons are counted together."""
    words = [getattr(error, name, None) for name in ("status", "code")]
    answer = " ".join(str(word) for word in words if word is not None)
    return (answer or str(error).partition(": ")[2] or type(error).__name__)[:LONGEST_REASON]
