"""The table of an upload's parts: which are waiting, in flight, acknowledged or done.

    waiting ──begin──▶ sending ──complete──▶ done
       ▲                  │
       └──────fail────────┘

The drawing is for one attempt at a time. A slow part may have a second one: the part is `sending` while any runs, and
`done` once one of them is complete.

`PartTable` is pure: its owner reports what happened and when, and publishes the events that it returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from .backoff import Asking
from .errors import PartError
from .events import PartCompleted, PartRetrying, PartStarted, Progress
from .failures import AttemptFailure
from .model import Part, Receipt
from .progress import ProgressMeter
from .retry import RetryMemory, Situation


class PartState(Enum):
    """The state of a part."""

    WAITING = "waiting"
    SENDING = "sending"
    DONE = "done"


class AttemptKey(NamedTuple):
    """Identify one attempt at one part."""

    number: int
    """Of the part."""
    serial: int
    """Of the attempt, unique in its table. Not the number that events show: an attempt that does not count, as one that
    a pause ended, leaves its number to the next."""


@dataclass(slots=True)
class _Attempt:
    """One running attempt."""

    count: int
    """Its number among the attempts at the part, as events show it."""
    begun_at: float
    sent: int = 0
    """Bytes that left for the network."""


@dataclass(slots=True)
class _Row:
    """One part."""

    part: Part
    attempts: int = 0
    """Those that count, the running ones included."""
    memory: RetryMemory = field(default_factory=RetryMemory)
    running: dict[int, _Attempt] = field(default_factory=dict)
    """By serial."""
    is_acknowledged: bool = False
    """Whether S3 has the part; true before there is a receipt, which waits for the checksum and for the journal."""
    receipt: Receipt | None = None
    has_left: bool = False
    """Whether all bytes of an attempt that failed had left: S3 may have the part, and only its answer was lost."""

    @property
    def state(self) -> PartState:
        if self.receipt is not None:
            return PartState.DONE
        return PartState.SENDING if self.running else PartState.WAITING

    @property
    def sent(self) -> int:
        """Bytes in flight: those of the attempt that is furthest, for two attempts send the same bytes."""
        return max((attempt.sent for attempt in self.running.values()), default=0)

    def refuse(self, what: str) -> RuntimeError:
        return RuntimeError(f"part {self.part.number} is {self.state.value}: it cannot {what}")


class PartTable:
    """The parts of one upload, or some of them. Owned by its `PartUploader`, which alone writes to it.

    A plan may have 10,000 parts, so nothing that happens for each part or each `Progress` looks at all of them.

    Args:
        parts: The parts to send.
        now: The time.
        high_water: `bytes_uploaded` of the last event that an earlier plan of the same file has published.
        before: Of those bytes, the ones that an earlier run had sent.
        done: Receipts of the parts that an earlier run has sent.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        now: float,
        *,
        high_water: int = 0,
        before: int = 0,
        done: Collection[Receipt] = (),
    ) -> None:
        self._rows = {part.number: _Row(part) for part in parts}
        for receipt in done:
            row = self._rows[receipt.number]
            row.receipt, row.is_acknowledged = receipt, True
        self._queue = deque(part for part in parts if not self._rows[part.number].is_acknowledged)
        self._in_flight: dict[int, _Row] = {}
        """The rows with running attempts, by number."""
        self._unchecked: list[Part] = []
        self._serial = 0
        self._total = sum(part.size for part in parts)
        self._confirmed = sum(self._rows[receipt.number].part.size for receipt in done)
        self._done_before = self._completed = self._acknowledged = len(done)
        self._before = max(before, self._confirmed)
        """Bytes that an earlier run had sent."""
        self._quiet_since = now
        self.meter = ProgressMeter(self._total, now, high_water=high_water, before=before, sent=self._confirmed)

    # -- the queue of parts that were not taken yet

    @property
    def queued(self) -> int:
        """How many parts nobody has taken yet."""
        return len(self._queue)

    @property
    def next_part(self) -> Part | None:
        """The part that `take` returns next; None if all are taken."""
        return self._queue[0] if self._queue else None

    def take(self) -> Part:
        """Remove the next part from the queue and return it."""
        return self._queue.popleft()

    # -- attempts

    def ask_first(self, number: int) -> None:
        """Have the first attempt at a part sent with `Expect: 100-continue`."""
        row = self._rows[number]
        row.memory = replace(row.memory, asking=Asking.FIRST)

    def begin(self, number: int, now: float) -> tuple[AttemptKey, PartStarted]:
        """Begin an attempt at a part: the first, the next, or a second one beside it."""
        row = self._rows[number]
        if row.state is PartState.DONE:
            raise row.refuse("begin")
        row.attempts += 1
        self._serial += 1
        row.running[self._serial] = _Attempt(row.attempts, now)
        self._in_flight[number] = row
        return AttemptKey(number, self._serial), PartStarted(number, row.attempts, row.part.offset, row.part.size)

    def moved(self, key: AttemptKey, sent: int) -> None:
        """Note how many bytes of a running attempt have left; fewer than before where it was redirected."""
        if (attempt := self._rows[key.number].running.get(key.serial)) is not None:
            attempt.sent = sent

    def fail(self, key: AttemptKey, *, counted: bool = True) -> None:
        """Note that an attempt ended without a receipt: its bytes count no more, though the high-water mark stays.

        One that is not counted leaves the number of attempts as it was before.
        """
        row = self._rows[key.number]
        attempt = self._end(row, key, "fail")
        row.has_left = row.has_left or attempt.sent >= row.part.size
        row.attempts -= not counted

    def acknowledge(self, key: AttemptKey) -> None:
        """Note that S3 has the part, before its receipt is in the journal.

        From then on `is_whole` counts it: a cancellation in between must not delete a whole file as a placeholder.
        """
        row = self._rows[key.number]
        self._acknowledged += not row.is_acknowledged
        row.is_acknowledged = True

    def complete(self, key: AttemptKey, receipt: Receipt, now: float, *, is_checked: bool = True) -> PartCompleted:
        """Note a part's receipt.

        Args:
            key: The attempt that produced the receipt. Any other running attempt at the part must still `fail`.
            receipt: What is in the journal by now.
            now: The time.
            is_checked: False where the checksum differed, on a host whose ETags do not seem to be checksums.
        """
        row = self._rows[key.number]
        if row.receipt is not None:
            raise row.refuse("complete")
        attempt = self._end(row, key, "complete")
        self.acknowledge(key)
        row.receipt = receipt
        if not is_checked:
            self._unchecked.append(row.part)
        self._confirmed += row.part.size
        self._completed += 1
        self._quiet_since = now
        seconds = max(0.0, now - attempt.begun_at)
        return PartCompleted(receipt.number, receipt.size, receipt.etag, attempt.count, seconds)

    def _end(self, row: _Row, key: AttemptKey, what: str) -> _Attempt:
        attempt = row.running.get(key.serial)
        if attempt is None:
            raise row.refuse(what)
        del row.running[key.serial]
        if not row.running:
            del self._in_flight[key.number]
        return attempt

    def state(self, number: int) -> PartState:
        """Return the state of a part."""
        return self._rows[number].state

    # -- what decides whether a part is sent again

    def memory(self, number: int) -> RetryMemory:
        """Return what the attempts at a part have shown so far."""
        return self._rows[number].memory

    def learn(self, number: int, outcome: Receipt | AttemptFailure) -> None:
        """Add an attempt's outcome to the memory of its part."""
        row = self._rows[number]
        row.memory = row.memory.after(outcome)

    def attempts(self, number: int) -> int:
        """Return how many attempts at a part count so far."""
        return self._rows[number].attempts

    def situation(self, number: int, file_id: str, now: float) -> Situation:
        """Return what a decision about a part depends on."""
        row = self._rows[number]
        return Situation(
            number=number,
            file_id=file_id,
            attempts=row.attempts,
            memory=row.memory,
            quiet_for=now - self._quiet_since,
            may_be_whole=self.may_be_whole,
        )

    def retrying(self, number: int, delay: float, error: PartError) -> PartRetrying:
        """Return the event for an attempt that failed and is followed by another."""
        return PartRetrying(number, error.attempts, delay, error)

    def resumed(self, now: float) -> None:
        """Note the end of a pause: that S3 acknowledged nothing meanwhile means nothing."""
        self._quiet_since = now

    # -- how far it all is

    @property
    def in_flight(self) -> Collection[int]:
        """Numbers of the parts with a running attempt."""
        return self._in_flight.keys()

    @property
    def completed(self) -> int:
        """How many parts have a receipt."""
        return self._completed

    @property
    def has_sent(self) -> bool:
        """Whether S3 acknowledged a part since the table was made."""
        return self._acknowledged > self._done_before

    @property
    def is_whole(self) -> bool:
        """Whether S3 acknowledged every part. The last receipts may be missing still."""
        return self._acknowledged == len(self._rows)

    @property
    def may_be_whole(self) -> bool:
        """Whether S3 may have every part, acknowledged or not, so that the service may have put the file together.

        False only where that is certain: a part is queued, or is being sent and not all of it has left, in this attempt
        or an earlier one. A part between two attempts may be there: the answer to the first may have been lost.
        """
        return not self._queue and all(row.has_left or row.sent >= row.part.size for row in self._sending())

    @property
    def sent(self) -> int:
        """Bytes that are acknowledged or in flight; fewer than before where an attempt failed."""
        return min(self._confirmed + sum(row.sent for row in self._sending()), self._total)

    @property
    def left(self) -> int:
        """Bytes that are not in flight yet."""
        return self._total - self.sent

    def _sending(self) -> Iterable[_Row]:
        # Not the slower of two attempts at a part that is done.
        return (row for row in self._in_flight.values() if row.receipt is None)

    def progress(self, now: float) -> Progress:
        """Return the event for this moment."""
        return self.meter.progress(
            now,
            sent=self.sent,
            confirmed=self._confirmed,
            before=self._before,
            parts=(self._completed, len(self._rows)),
        )

    # -- the end

    def receipts(self) -> tuple[Receipt, ...]:
        """Return the receipts in the order of the parts."""
        found = [row.receipt for row in self._rows.values() if row.receipt is not None]
        return tuple(sorted(found, key=lambda receipt: receipt.number))

    def missing(self) -> tuple[int, ...]:
        """Return the numbers of the parts without a receipt, in order."""
        return tuple(sorted(number for number, row in self._rows.items() if row.receipt is None))

    def unchecked(self) -> tuple[Part, ...]:
        """Return the parts that were completed although their checksum differed."""
        return tuple(self._unchecked)
