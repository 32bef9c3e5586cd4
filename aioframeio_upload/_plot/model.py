"""Collect what an upload's events report over time: attempts as bars, bytes in bins."""

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
    PartRetrying,
    PartStarted,
    Progress,
    UploadCompleted,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
)

MOST_BINS = 240
FIRST_WIDTH = 0.1
"""Seconds: progress is told about as often."""


class Rates:
    """What moved, in bins of one width from time 0 on."""

    def __init__(self) -> None:
        self.width = FIRST_WIDTH
        self.bins: list[float] = []
        """Bytes in each."""

    def copy(self) -> Rates:
        """Give one of its own to another thread."""
        other = Rates()
        other.width, other.bins = self.width, self.bins.copy()
        return other

    def move(self, since: float, until: float, moved: float) -> None:
        """Spread bytes evenly over a stretch of time."""
        if moved <= 0:
            return
        while until >= self.width * MOST_BINS:
            self._widen()
        last = min(int(until / self.width), MOST_BINS - 1)
        first = min(int(since / self.width), last)
        self.bins += [0.0] * (last + 1 - len(self.bins))
        edges = [since, *(number * self.width for number in range(first + 1, last + 1)), until]
        for number, (began, ended) in enumerate(pairwise(edges), first):
            self.bins[number] += moved * (ended - began) / (until - since) if first < last else moved

    def _widen(self) -> None:
        self.width *= 2
        pairs = zip(self.bins[::2], [*self.bins[1::2], 0.0], strict=False)
        self.bins = [one + other for one, other in pairs]


MOST_BARS = 20_000
"""Attempts that are remembered, of all uploads together: two files of 10,000 parts, which are as many as S3 takes."""

MOST_REASONS = 50
LONGEST_REASON = 60

BarOutcome = Literal["done", "again", "failed", "stopped"]
"""It arrived; it failed and was tried again; it was given up; something else ended it, or it still runs."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One attempt at a part; of a folder, one file."""

    key: int | str
    """The part's number, or the file's path."""
    attempt: int
    began: float
    ended: float
    outcome: BarOutcome


@dataclass(slots=True)
class Track:
    """One upload. Written to by its course alone."""

    name: str
    began: float
    heard: float
    """When its last event came."""
    moved_at: float
    """Since when bytes may have moved that no progress has told."""
    is_folder: bool = False
    count: int = 0
    """Of parts, or of files."""
    size: int = 0
    bytes_before: int = 0
    """That an earlier run had sent."""
    skipped: int = 0
    """Files that were there before."""
    empty: int = 0
    """Files that were skipped because they hold nothing."""
    failures: int = 0
    """Files that were given up."""
    anew: int = 0
    """How often it had to be planned anew."""
    end: str | None = None
    """`done`, `there before`, or the error's name; None: it has not ended."""
    bars: list[Bar] = field(default_factory=list)
    running: dict[int | str, tuple[int, float]] = field(default_factory=dict)
    """Attempt and begin of what is under way."""
    sent: int = 0
    """Bytes that were told to have moved, those of an earlier run not among them."""

    def open_bars(self, until: float) -> list[Bar]:
        """Give what is under way, as if it ended now."""
        return [Bar(key, attempt, began, until, "stopped") for key, (attempt, began) in self.running.items()]


class UploadHistory:
    """What a timeline was told. Times are seconds from the first event on, and never run backwards."""

    def __init__(self, most: int = MOST_BARS) -> None:
        self._most = most
        self._tracks: dict[Hashable, Track] = {}
        self._first: float | None = None
        self.span = 0.0
        self.rates = Rates()
        self.reasons: Counter[str] = Counter()
        """Why attempts were made again."""
        self.kept = 0
        self.forgotten = 0
        """Attempts beyond the most that are remembered."""

    def copy(self) -> UploadHistory:
        """Give one of its own to another thread."""
        other = copy(self)
        other._tracks = {  # noqa: SLF001  # a copy of self
            key: replace(track, bars=track.bars.copy(), running=track.running.copy())
            for key, track in self._tracks.items()
        }
        other.rates, other.reasons = self.rates.copy(), self.reasons.copy()
        return other

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The uploads, in the order in which they were first heard of."""
        return tuple(self._tracks.values())

    def take(self, event: Event, source: Hashable, name: str, at: float) -> None:  # noqa: C901  # to be split
        """Take in an event of the upload that `source` stands for, heard at that time."""
        if self._first is None:
            self._first = at
        now = self.span = max(self.span, at - self._first)
        if source not in self._tracks:
            self._tracks[source] = Track(name, now, now, now)
        track = self._tracks[source]
        match event:
            case Progress():
                self._move(track, event, now)
            case PartStarted(number=number, attempt=attempt):
                self._begin(track, number, attempt, now)
            case PartRetrying(number=number):
                self._close(track, number, "again", now)
                self._count(event.error)
            case PartCompleted(number=number):
                # The workers of a fleet tell only that it is there.
                track.running.setdefault(number, (event.attempt, max(0.0, now - event.seconds)))
                self._close(track, number, "done", now)
            case UploadCompleted() | UploadFailed() | FolderCompleted():
                self._end(track, event, now)
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
            case _:
                self._plan(track, event, now)
        track.heard = now

    def _plan(self, track: Track, event: Event, now: float) -> None:
        match event:
            case UploadPlanned():
                track.name = track.name or event.name
                track.count, track.size = event.total_parts, event.total_bytes
            case UploadResumed():
                track.bytes_before = event.bytes_completed
            case UploadReplanned():
                track.anew += 1
                self._stop(track, now)
            case FolderPlanned():
                track.is_folder = True
                track.count, track.size = event.files, event.total_bytes

    def _begin(self, track: Track, key: int | str, attempt: int, now: float) -> None:
        if key in track.running:  # a pause gave it up, which is told by nothing but the next attempt
            self._close(track, key, "stopped", now)
        if not track.running:
            track.moved_at = now
        track.running[key] = attempt, now

    def _close(self, track: Track, key: int | str, outcome: BarOutcome, now: float) -> None:
        if key not in track.running:
            return
        attempt, began = track.running.pop(key)
        if self.kept < self._most:
            self.kept += 1
            track.bars.append(Bar(key, attempt, began, now, outcome))
        else:
            self.forgotten += 1

    def _stop(self, track: Track, now: float) -> None:
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
        # By differences of bytes, so that none is lost where a progress was not read. The rate is smoothed, so its sum
        # over time is more than what moved. What was there before counts as uploaded, and did not move.
        sent = event.bytes_uploaded - max(event.bytes_before, track.bytes_before)
        self.rates.move(track.moved_at, now, sent - track.sent)
        track.sent = max(track.sent, sent)
        track.moved_at = now

    def _count(self, error: UploadError) -> None:
        reason = _reason(error)
        if reason in self.reasons or len(self.reasons) < MOST_REASONS:
            self.reasons[reason] += 1
        else:
            self.reasons["something else"] += 1


def _reason(error: UploadError) -> str:
    """Say why an attempt failed, in the same words for the same reason: a message has the part's number in it."""
    answer = [getattr(error, name, None) for name in ("status", "code")]
    told = " ".join(str(word) for word in answer if word is not None)
    return (told or str(error).partition(": ")[2] or type(error).__name__)[:LONGEST_REASON]
