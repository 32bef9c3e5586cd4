"""A plan that travels: cut into lots for many workers, and what they bring back proved to be the whole file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .errors import IntegrityError, PlanError, UploadError
from .events import PartCompleted, Progress
from .model import Part, Plan, Receipt
from .redact import address_of
from .retry import is_md5
from .state import Rate

LARGEST = 1 << 30
"""Bytes of a lot of more than one part: what is sent again where its worker is lost. At 1 Gbit/s ten seconds."""

LOTS_A_WORKER = 16
"""So that a slow worker takes fewer of them, and all end at about the same time: while the last lot is sent, others'
links lie idle for half of a lot on average, or 3 %."""


@dataclass(frozen=True, slots=True)
class Lot:
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
class Outcome:
    """What became of a lot on a worker."""

    arrived: tuple[Arrived, ...] = ()
    error: UploadError | None = None
    """One that no other worker would cure."""
    is_spoiled: bool = False
    """Whether the file may have been put together from other bytes than were sent."""


def cut(plan: Plan, done: Collection[int], threads: Sequence[int], in_flight: int) -> tuple[Lot, ...]:
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
    fair = -(-len(parts) // (workers * LOTS_A_WORKER))
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
        Lot(index, plan.file_id, plan.name, plan.size, plan.media_type, tuple(group))
        for index, group in enumerate(groups)
    )


def one_each(plan: Plan, receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """Give one receipt for each part that has any, in the order of the parts.

    Raises:
        PlanError: A receipt is for a part that the plan has not.
        IntegrityError: A part was sent with different bytes.
    """
    sizes = {part.number: part.size for part in plan.parts}
    found: dict[int, Receipt] = {}
    for receipt in receipts:
        if sizes.get(receipt.number) != receipt.size:
            raise PlanError(f"the plan has no part {receipt.number} of {receipt.size} bytes")
        before = found.setdefault(receipt.number, receipt)
        if before.md5 is None:  # made of an event, or sent unchecked: the other one knows no less
            found[receipt.number] = receipt
        elif receipt.md5 not in (None, before.md5):
            raise IntegrityError("it was sent twice, with different bytes", number=receipt.number, attempts=2)
    return tuple(found[number] for number in sorted(found))


def merge(plan: Plan, receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """Give one receipt for each part, in their order: the proof that the file is there.

    A part may have been sent twice, where a worker was lost; its bytes were the same, or this raises.

    Raises:
        UploadError: A part is missing.
        PlanError: A receipt is for a part that the plan has not.
        IntegrityError: A part was sent with different bytes, or S3 stored others than were sent. One worker alone may
            take a host for one whose ETags are no MD5s; what another one has proven there tells.
    """
    parts = {part.number: part for part in plan.parts}
    found = {receipt.number: receipt for receipt in one_each(plan, receipts)}
    missing = sorted(parts.keys() - found.keys())
    if missing:
        raise UploadError(f"{len(missing)} of {len(parts)} parts are missing, first part {missing[0]}")
    hosts = {number: address_of(part.url) for number, part in parts.items()}
    proven = {hosts[number] for number, receipt in found.items() if _is_match(receipt)}
    for number, receipt in found.items():
        checked = receipt.md5 is not None and is_md5(receipt.etag)
        if checked and hosts[number] in proven and not _is_match(receipt):
            raise IntegrityError("S3 stored other bytes than were sent", number=number, attempts=1)
    return tuple(found.values())


def _is_match(receipt: Receipt) -> bool:
    return receipt.md5 is not None and receipt.etag is not None and receipt.etag.lower() == receipt.md5


class FleetState:
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
        self._lots: dict[int, Lot] = {}
        self._under_way: dict[int, int] = {}
        self._high_water = max(high_water, self._confirmed)
        self._before = max(before, self._confirmed)
        self._rate = Rate(now, self._high_water)

    def begin(self, lots: Iterable[Lot]) -> None:
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
        """Sum up. Never less than before, and never more than the file."""
        self._high_water = max(self._high_water, self.sent)
        rate = self._rate.at(now, self._high_water)
        left = self._total - self.sent
        return Progress(
            bytes_uploaded=self._high_water,
            bytes_confirmed=self._confirmed,
            total_bytes=self._total,
            parts_completed=len(self.done),
            total_parts=len(self._sizes),
            bytes_per_second=rate,
            seconds_left=0.0 if left == 0 else left / rate if rate > 0 else None,
            bytes_before=self._before,
        )
