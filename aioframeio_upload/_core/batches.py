"""Split a plan into batches of parts for many workers, and track what each batch delivered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .errors import UploadError
from .events import PartCompleted, Progress
from .model import Part, Plan, Receipt
from .progress import ProgressMeter

LARGEST = 1 << 30
"""Bytes of a lot of more than one part: what is sent again where its worker is lost. At 1 Gbit/s ten seconds."""

BATCHES_PER_WORKER = 16
"""So that a slow worker takes fewer of them, and all end at about the same time: while the last lot is sent, others'
links lie idle for half of a lot on average, or 3 %."""


@dataclass(frozen=True, slots=True)
class PartBatch:
    """Some parts of a plan, as they travel to a worker; no other part's link, and nothing of the account."""

    index: int
    """Among the lots of one round."""
    file_id: str
    name: str
    size: int
    """The whole file's."""
    media_type: str | None
    parts: tuple[Part, ...]

    def __repr__(self) -> str:
        # The engine's logs and its dashboard show a task's arguments.
        return f"<Lot {self.index}: {len(self.parts)} parts of file {self.file_id}>"


@dataclass(frozen=True, slots=True)
class Arrived:
    """S3 has a part: its receipt, and the fact as it is told."""

    receipt: Receipt
    fact: PartCompleted


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a lot on a worker."""

    arrived: tuple[Arrived, ...] = ()
    error: UploadError | None = None
    """One that no other worker would cure."""
    is_spoiled: bool = False
    """Whether the file may have been put together from other bytes than were sent."""


def cut(plan: Plan, done: Collection[int], threads: Sequence[int], in_flight: int) -> tuple[PartBatch, ...]:
    """Cut what is not done into lots, in the order of the parts.

    Args:
        plan: The file's.
        done: Numbers of the parts that have arrived.
        threads: How many lots each worker takes at once; none: no worker is there yet.
        in_flight: How many parts a worker sends at once.
    """
    parts = [part for part in plan.parts if part.number not in done]
    workers = max(1, len(threads))
    # Few enough parts that there are several lots a worker, and enough of them that a worker's slots are filled.
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
    """How far a plan's parts are, wherever they are sent. Owned by its transfer.

    Args:
        plan: The file's.
        now: The time.
        high_water: Where an earlier plan of the same file has left the bar.
        done: Numbers of the parts that arrived before.
        before: Bytes of the bar that an earlier run has sent.
    """

    def __init__(self, plan: Plan, now: float, high_water: int, done: Iterable[int], before: int = 0) -> None:
        self._sizes = {part.number: part.size for part in plan.parts}
        self._total = plan.size
        self.done = set(done)
        """Numbers of the parts that have arrived."""
        self._confirmed = sum(self._sizes[number] for number in self.done)
        self._lots: dict[int, PartBatch] = {}
        self._under_way: dict[int, int] = {}
        self._before = max(before, self._confirmed)
        self.meter = ProgressMeter(plan.size, now, high_water=high_water, before=before, sent=self._confirmed)

    def begin(self, lots: Iterable[PartBatch]) -> None:
        """Note that a round begins; what was under way before is not any more."""
        self._lots = {lot.index: lot for lot in lots}
        self._under_way = {}

    def complete(self, number: int) -> bool:
        """Note that a part has arrived; say whether that is news."""
        if number in self.done:
            return False
        self.done.add(number)
        self._confirmed += self._sizes[number]
        return True

    def moved(self, index: int, size: int) -> None:
        """Note how many bytes of a lot are under way and not acknowledged."""
        if (lot := self._lots.get(index)) is not None:
            # Of a lot that is sent again, what has arrived before counts once.
            left = sum(part.size for part in lot.parts if part.number not in self.done)
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
