"""Split a plan into batches of parts for many workers, and track what each batch delivered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .errors import UploadError
from .events import PartCompleted, Progress
from .model import Part, Plan, Receipt
from .progress import ProgressMeter

LARGEST = 1 << 30
"""Most bytes in a batch of more than one part. A batch is sent again if its worker is lost: ten seconds at 1 Gbit/s."""

BATCHES_PER_WORKER = 16
"""Several, so that a slow worker gets fewer of them and all workers end at about the same time: while the last batch is
sent, each other worker is idle for half a batch on average, or 3 % of the upload."""


@dataclass(frozen=True, slots=True)
class PartBatch:
    """Some parts of a plan, as they are sent to a worker. It has no other part's link, and nothing of the account."""

    index: int
    """Position among the batches of one round."""
    file_id: str
    name: str
    size: int
    """Of the whole file, in bytes."""
    media_type: str | None
    parts: tuple[Part, ...]
    trace: Mapping[str, str] = field(default_factory=dict)
    """The context of the upload's telemetry."""

    def __repr__(self) -> str:
        # Dask's logs and its dashboard show a task's arguments, which would include the links.
        return f"<PartBatch {self.index}: {len(self.parts)} parts of file {self.file_id}>"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A part that S3 has: its receipt, and the event to publish."""

    receipt: Receipt
    fact: PartCompleted


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The result of one batch on a worker."""

    arrived: tuple[Arrived, ...] = ()
    error: UploadError | None = None
    """An error that would be the same on any other worker."""
    is_spoiled: bool = False
    """Whether the file may have been put together from other bytes than were sent."""


def cut(plan: Plan, done: Collection[int], threads: Sequence[int], in_flight: int) -> tuple[PartBatch, ...]:
    """Cut the parts that are not done into batches, in the order of the parts.

    Args:
        plan: The file's.
        done: Numbers of the parts that have arrived.
        threads: How many batches each worker runs at once; empty if there is no worker yet.
        in_flight: How many parts a worker sends at once.
    """
    parts = [part for part in plan.parts if part.number not in done]
    workers = max(1, len(threads))
    # Few enough parts in a batch for several batches per worker, and enough to fill a worker's slots.
    fair = -(-len(parts) // (workers * BATCHES_PER_WORKER))
    filling = -(-min(in_flight, -(-len(parts) // workers)) // max(1, *threads, 1))
    most = max(fair, filling, 1)
    groups: list[list[Part]] = []
    size = 0
    for part in parts:
        if not groups or len(groups[-1]) >= most or size + part.size > LARGEST:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.size
    return tuple(
        PartBatch(index, plan.file_id, plan.name, plan.size, plan.media_type, tuple(group))
        for index, group in enumerate(groups)
    )


class BatchState:
    """Which parts of a plan have arrived, and the progress, wherever they are sent. Owned by its sender.

    Args:
        plan: The file's.
        now: The time.
        high_water: `bytes_uploaded` of the latest progress under an earlier plan of the same file.
        done: Numbers of the parts that arrived before.
        before: Those of them that an earlier run has sent.
    """

    def __init__(self, plan: Plan, now: float, high_water: int, done: Iterable[int], before: int = 0) -> None:
        self._sizes = {part.number: part.size for part in plan.parts}
        self._total = plan.size
        self.done = set(done)
        """Numbers of the parts that have arrived."""
        self._confirmed = sum(self._sizes[number] for number in self.done)
        self._batches: dict[int, PartBatch] = {}
        self._under_way: dict[int, int] = {}
        self._before = max(before, self._confirmed)
        self.meter = ProgressMeter(plan.size, now, high_water=high_water, before=before, sent=self._confirmed)

    def begin(self, batches: Iterable[PartBatch]) -> None:
        """Begin a round. Nothing of an earlier one is under way any more."""
        self._batches = {batch.index: batch for batch in batches}
        self._under_way = {}

    def complete(self, number: int) -> bool:
        """Record that a part has arrived; return False if that was recorded before."""
        if number in self.done:
            return False
        self.done.add(number)
        self._confirmed += self._sizes[number]
        return True

    def moved(self, index: int, size: int) -> None:
        """Record how many bytes of a batch are under way and not acknowledged."""
        if (batch := self._batches.get(index)) is not None:
            # What has arrived of a batch that is sent again counts once.
            left = sum(part.size for part in batch.parts if part.number not in self.done)
            self._under_way[index] = min(size, left)

    @property
    def sent(self) -> int:
        """Bytes that are acknowledged or under way."""
        return min(self._confirmed + sum(self._under_way.values()), self._total)

    @property
    def is_whole(self) -> bool:
        """Whether every part has arrived."""
        return len(self.done) == len(self._sizes)

    def progress(self, now: float) -> Progress:
        """Return the event for this moment."""
        return self.meter.progress(
            now,
            sent=self.sent,
            confirmed=self._confirmed,
            before=self._before,
            parts=(len(self.done), len(self._sizes)),
        )
