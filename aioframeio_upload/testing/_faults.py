"""Faults as flat records, and the choice of the requests that they affect (pure)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal[
    "answer",
    "early",
    "reset",
    "close",
    "lose_answer",
    "stall",
    "hold",
    "trickle",
    "wrong_etag",
    "no_etag",
    "odd_etag",
    "kms",
    "wrong_checksum",
    "no_checksum",
    "odd_checksum",
    "corrupt",
    "rot",
    "garbled",
    "expire",
    "redirect",
]
KINDS: tuple[str, ...] = get_args(Kind)
# These change only what the answer states of the stored bytes.
STATED = frozenset({"wrong_etag", "no_etag", "odd_etag", "kms", "wrong_checksum", "no_checksum", "odd_checksum"})
# These strike what S3 answers: a part, or the request for an original.
S3_ONLY = STATED | {"expire"}
PART_ONLY = frozenset({"trickle", "corrupt", "rot"})
# These strike once `after` bytes of the body were read.
MID_BODY = frozenset({"early", "reset", "close", "stall"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A failure to simulate for matching requests; its fields are JSON types.

    It strikes only requests that the service would have granted: a wrong signature, token or rate is refused first.
    If several faults are due, the first in the list strikes and the others stay due.

    Attributes:
        on: The operation that it strikes ("part", "create", "status", ...), or "*".
        do: The kind of failure, see below.
        number: Only this part; None: any.
        name: Only the file (or created folder) of this name; None: any.
        asks: Only requests with `Expect: 100-continue` (True), or only those without (False); None: any.
        first: The first of the matching requests that it strikes, counted from 1.
        times: The number of requests that it strikes; None: all.
        after: Bytes of the body that are read before it strikes ("early", "reset", "close", "stall"); if the body is
            shorter, it strikes at its end.
        status: The answer's status ("answer", "early").
        code: S3's `<Code>`, or the `title` of the API's error.
        message: S3's `<Message>`, or the `detail` of the API's error.
        headers: Added to the answer.
        body: Sent verbatim in place of the error document ("answer", "early"), or the bytes of "garbled".
        rate: Bytes per second ("trickle").
        linger: Seconds between an early answer and the close of its connection.
        location: Where a "redirect" points; None: the same URL again.
        sticks: Whether it strikes every later part on the connections of the requests that it struck, too, beyond
            `times`: a "trickle" that sticks is a slow connection.

    Kinds: "answer" reads the whole body and answers `status`; "early" answers before the rest of the body is
    read and closes; "reset" sends an RST and "close" a FIN, both without an answer; "lose_answer" does what was
    asked and closes without an answer; "stall" stops reading until released; "hold" reads the body and does
    nothing with it until released; "garbled" answers with bytes that are not HTTP; "redirect" answers 307. For parts
    and originals: "wrong_etag", "no_etag", "odd_etag" (not an MD5), "kms" (an ETag that is not the MD5 of the bytes,
    and the header that says so), "wrong_checksum", "no_checksum", "odd_checksum" (no CRC at all; the answer about an
    original states none anyway, as S3's), "expire". For parts only: "trickle" reads at `rate`; "corrupt" (the first
    byte is stored inverted; ETag and checksum are those of what is stored), "rot" (the same, but they are those of what
    was sent: it decayed afterwards, which no client can notice). The body of an API call is read completely before any
    fault strikes, so `after` applies to parts only.
    """

    on: str = "part"
    do: Kind = "answer"
    number: int | None = None
    name: str | None = None
    asks: bool | None = None
    first: int = 1
    times: int | None = 1
    after: int = 0
    status: int | None = None
    code: str | None = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    rate: float = 65536.0
    linger: float = 0.0
    location: str | None = None
    sticks: bool = False

    def __post_init__(self) -> None:
        """Check that the fault can strike.

        Raises:
            ValueError: The kind is unknown or does not apply to `on`, or a number is out of range.
        """
        if self.do not in KINDS:
            raise ValueError(f"unknown kind of fault: {self.do!r}")
        if self.do in PART_ONLY and self.on not in ("part", "*"):
            raise ValueError(f"{self.do!r} applies to parts, not to {self.on!r}")
        if self.do in S3_ONLY and self.on not in ("part", "original", "*"):
            raise ValueError(f"{self.do!r} applies to parts and originals, not to {self.on!r}")
        if self.first < 1 or self.after < 0 or self.rate <= 0:
            raise ValueError("first must be at least 1, after at least 0, rate more than 0")


@dataclass(slots=True, eq=False)
class Armed:
    """A fault, and the requests that it has matched, claimed and hit so far."""

    fault: Fault
    seen: int = 0
    claimed: int = 0
    hits: int = 0
    stuck_to: list[object] = field(default_factory=list)
    """The connections that it strikes again."""
    released: bool = False


@dataclass(slots=True)
class Faults:
    """All faults of a fake, in the order in which they were given."""

    armed: list[Armed] = field(default_factory=list)

    def add(self, faults: Iterable[Fault]) -> None:
        """Add further faults."""
        self.armed.extend(Armed(fault) for fault in faults)

    def strike(
        self,
        operation: str,
        number: int | None,
        name: str | None,
        *,
        asks: bool = False,
        connection: object = None,
    ) -> Armed | None:
        """Return the fault that strikes a request, if any, and count it as claimed."""
        for armed in self.armed:
            if any(one is connection for one in armed.stuck_to):
                return armed
        chosen: Armed | None = None
        for armed in self.armed:
            if armed.fault.asks not in (None, asks) or not _matches(armed.fault, operation, number, name):
                continue
            armed.seen += 1
            if chosen is None and _due(armed):
                chosen = armed
        if chosen is not None:
            chosen.claimed += 1
            if chosen.fault.sticks:
                chosen.stuck_to.append(connection)
        return chosen

    def hits(self, fault: Fault) -> int:
        """Return how many requests reached this fault (equal ones count together)."""
        return sum(armed.hits for armed in self._of(fault))

    def release(self, fault: Fault | None) -> None:
        """Continue the requests that a fault holds, and hold no later ones."""
        for armed in self.armed if fault is None else self._of(fault):
            if armed.fault.do in ("stall", "hold") and (fault is not None or armed.hits):
                armed.released = True

    def _of(self, fault: Fault) -> Iterator[Armed]:
        return (armed for armed in self.armed if armed.fault == fault)


def _matches(fault: Fault, operation: str, number: int | None, name: str | None) -> bool:
    if fault.on not in ("*", operation) or (fault.do in PART_ONLY and operation != "part"):
        return False
    if fault.do in S3_ONLY and operation not in ("part", "original"):
        return False
    return fault.number in (None, number) and fault.name in (None, name)


def _due(armed: Armed) -> bool:
    times = armed.fault.times
    return armed.seen >= armed.fault.first and (times is None or armed.claimed < times)
