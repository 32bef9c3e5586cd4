"""The state of each part of an upload: what may follow what, and what is acknowledged or in flight.

    waiting ──begin──▶ sending ──complete──▶ done
       ▲                  │
       └──────fail────────┘

Whoever holds the state tells it what happened and when; it answers with the event to publish.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from .errors import PartError
from .events import PartCompleted, PartRetrying, PartStarted, Progress
from .model import Part, Receipt
from .progress import ProgressMeter


class PartState(Enum):
    """Where a part is."""

    WAITING = "waiting"
    SENDING = "sending"
    DONE = "done"


TRANSITIONS: dict[tuple[PartState, str], PartState] = {
    (PartState.WAITING, "begin"): PartState.SENDING,
    (PartState.SENDING, "fail"): PartState.WAITING,
    (PartState.SENDING, "complete"): PartState.DONE,
}
"""Everything that may happen to a part."""


@dataclass(slots=True)
class _PartRecord:
    part: Part
    state: PartState = PartState.WAITING
    attempts: int = 0
    sent: int = 0
    """Bytes of the running attempt that left for the network."""
    begun_at: float = 0.0

    def step(self, what: str) -> None:
        try:
            self.state = TRANSITIONS[self.state, what]
        except KeyError:
            raise RuntimeError(f"part {self.part.number} is {self.state.value}: it cannot {what}") from None


class UploadState:
    """One upload's parts. Owned by its transfer; nobody else writes to it."""

    def __init__(
        self,
        parts: Sequence[Part],
        now: float,
        high_water: int = 0,
        done: Collection[int] = frozenset(),
        before: int = 0,
    ) -> None:
        self._records = {part.number: _PartRecord(part) for part in parts}
        for number in done:  # by an earlier run
            self._records[number].state = PartState.DONE
        self._total = sum(part.size for part in parts)
        self._confirmed = sum(self._records[number].part.size for number in done)
        self._completed = len(done)
        self._before = max(before, self._confirmed)
        """Bytes that an earlier run had sent."""
        self.meter = ProgressMeter(self._total, now, high_water=high_water, before=before, sent=self._confirmed)
        self._quiet_since = now
        self.in_flight: set[int] = set()
        """Numbers of the parts that are being sent."""

    def begin(self, number: int, now: float) -> PartStarted:
        """Note that an attempt at a part begins."""
        record = self._records[number]
        record.step("begin")
        record.attempts += 1
        record.sent = 0
        record.begun_at = now
        self.in_flight.add(number)
        return PartStarted(number, record.attempts, record.part.offset, record.part.size)

    def moved(self, number: int, sent: int) -> None:
        """Note how many bytes of the running attempt have left."""
        self._records[number].sent = sent

    def fail(self, number: int, *, counted: bool = True) -> None:
        """Note that an attempt failed: its bytes count no more, though the high-water mark stays.

        One that is not counted leaves the number of attempts as it was before.
        """
        record = self._records[number]
        record.step("fail")
        record.attempts -= not counted
        record.sent = 0
        self.in_flight.discard(number)

    def attempts(self, number: int) -> int:
        """Count the attempts at a part so far."""
        return self._records[number].attempts

    def retrying(self, number: int, delay: float, error: PartError) -> PartRetrying:
        """Say that another attempt follows the one that failed."""
        return PartRetrying(number, error.attempts, delay, error)

    def quiet_for(self, now: float) -> float:
        """Give the seconds since S3 acknowledged a part, since the end of a pause, or since the start."""
        return now - self._quiet_since

    def resumed(self, now: float) -> None:
        """Note that a pause is over: that S3 acknowledged nothing meanwhile tells nothing."""
        self._quiet_since = now

    def complete(self, receipt: Receipt, now: float) -> PartCompleted:
        """Note that S3 has the part."""
        record = self._records[receipt.number]
        record.step("complete")
        record.sent = 0
        self.in_flight.discard(receipt.number)
        self._confirmed += record.part.size
        self._quiet_since = now
        self._completed += 1
        seconds = max(0.0, now - record.begun_at)
        return PartCompleted(receipt.number, receipt.size, receipt.etag, record.attempts, seconds)

    @property
    def sent(self) -> int:
        """Bytes of this plan that are acknowledged or under way; it falls back where an attempt fails."""
        return min(self._confirmed + sum(self._records[number].sent for number in self.in_flight), self._total)

    @property
    def left(self) -> int:
        """Bytes that are not yet under way."""
        return self._total - self.sent

    def progress(self, now: float) -> Progress:
        """Return the event for this moment."""
        return self.meter.progress(
            now,
            sent=self.sent,
            confirmed=self._confirmed,
            before=self._before,
            parts=(self._completed, len(self._records)),
        )
