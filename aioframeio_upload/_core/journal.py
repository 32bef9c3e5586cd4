"""What is recorded of an upload, and what becomes of it: which one it is, what the next run does, what is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Any

from .errors import IntegrityError, PartRejected, SourceError
from .expiry import lifetime
from .model import Plan, Receipt, UploadStatus, find_insecure

EDGE = 1 << 20
"""Bytes at each end of a source that are hashed: a container's header and index are there, and every render writes
them anew."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which upload it is: the next one of the same source to the same place is the same."""

    account_id: str
    folder_id: str | None
    name: str
    """As asked for; the service may have made another of it."""
    path: str
    """The source's, without links."""
    origin: str | None = None
    """The file of the plan that `execute` was given; None for an upload that plans for itself."""

    @property
    def key(self) -> str:
        """A word of its own for each identity."""
        return hashlib.sha256(json.dumps(list(asdict(self).values())).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells that a source has not changed. No inode: network storage gives a file another one."""

    size: int
    mtime_ns: int
    edges: str
    """The SHA-256 of its first and last `EDGE` bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An upload as it is recorded."""

    identity: Identity
    fingerprint: Fingerprint
    plan: Plan
    media_type: str | None = None
    """As asked for, should it have to begin anew; and so with `conflict`."""
    conflict: str = "create"
    receipts: tuple[Receipt, ...] = ()
    """Of the parts that S3 has acknowledged, in the order of the parts."""

    @property
    def is_whole(self) -> bool:
        """Whether every part was acknowledged."""
        return len(self.receipts) == len(self.plan.parts)

    @property
    def is_proved(self) -> bool:
        """Whether S3's answers prove that it has every part."""
        return self.is_whole and all(receipt.is_proved for receipt in self.receipts)


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that the journal holds: begun, and not finished."""

    file_id: str
    name: str
    folder_id: str | None
    path: str
    size: int
    bytes_confirmed: int
    """What S3 had acknowledged when it was last recorded."""
    expires_at: datetime | None
    """When its links die; afterwards it begins anew. None where they do not tell."""


# -- what becomes of it ------------------------------------------------------------------------------------------------


class Step(Enum):
    """What the next run does with an entry."""

    RESUME = "send what is missing"
    CONFIRM = "every part arrived: only ask for the file"
    REPLACE = "remove the placeholder and begin anew"
    FORGET = "leave what is there, if anything, and begin anew"


def next_step(
    entry: Entry,
    fingerprint: Fingerprint | None,
    told: UploadStatus | None,
    now: datetime | None,
    *,
    secure: bool = False,
) -> Step:
    """Decide what to do with an entry.

    Args:
        entry: What is recorded.
        fingerprint: The source's, as it is now; None: it is nothing that can be sent any more.
        told: What the service says of the file; None: it has none.
        now: The service's time; None where it has not told it.
        secure: The API is https, so that links must be.
    """
    if told is None:
        return Step.FORGET
    # The last receipt may have been lost with the process; the service knows better.
    arrived = entry.is_whole or told.complete
    if fingerprint != entry.fingerprint:
        return Step.FORGET if arrived else Step.REPLACE
    useless = _are_dead(entry.plan, now) or (secure and find_insecure(entry.plan, is_own=False) is not None)
    is_over = told.failed or useless
    # What nothing proves is asked for only as long as it could be sent again, should the service not have it.
    if told.complete or entry.is_proved or (arrived and not is_over):
        return Step.CONFIRM
    return Step.REPLACE if is_over else Step.RESUME


def _are_dead(plan: Plan, now: datetime | None) -> bool:
    """Return whether a plan's links are dead or about to die; where that is not known S3 decides."""
    life = lifetime(part.url for part in plan.parts)
    if life is None or now is None:
        return False
    # By the API's clock at both ends. A plan that does not tell when it came (another tool's) has the signer's word.
    spent = (now - (plan.received_at or life.signed_at)).total_seconds()
    return life.seconds - spent <= life.margin


def is_kept(error: BaseException, *, whole: bool, recorded: bool, given_up: bool) -> bool:
    """Say whether the file at the service, and its entry, stay where an upload ends early.

    Args:
        error: What ended it; a cancellation too.
        whole: Every part was acknowledged.
        recorded: There is an entry, so that it can be gone on with.
        given_up: By `Upload.cancel()`.
    """
    if isinstance(error, SourceError):
        # What is away may be as it was once it is back; the next run compares. Else even a whole file goes: its bytes
        # may be a mixture.
        return error.is_away and recorded and not given_up
    return whole or (recorded and not given_up and not isinstance(error, PartRejected | IntegrityError))


# -- how it is written -------------------------------------------------------------------------------------------------
# As JSON in ASCII: a path, a name or an ETag may hold what is no UTF-8, which SQLite's TEXT refuses.


def write_entry(entry: Entry) -> str:
    """Give what is written of an entry, apart from its plan and its receipts."""
    plan = entry.plan
    return json.dumps(
        {
            **asdict(entry.identity),
            **asdict(entry.fingerprint),
            "media_type": entry.media_type,
            "conflict": entry.conflict,
            "file_id": plan.file_id,
            "parts": len(plan.parts),
            "expires_at": None if plan.expires_at is None else plan.expires_at.isoformat(),
        }
    )


def write_receipt(receipt: Receipt) -> str:
    """Give what is written of a receipt, apart from its number and size."""
    return json.dumps([receipt.etag, receipt.md5])


def read_entry(text: str, plan: str, receipts: Iterable[tuple[int, int, str]]) -> Entry:
    """Read what was written.

    Args:
        text: By `write_entry`.
        plan: By `Plan.to_json`.
        receipts: Each part's number and size, and the words of `write_receipt`.

    Raises:
        ValueError: It was not written so.
        PlanError: The plan is none.
    """
    told = _read(text)
    found = Plan.from_json(plan)
    sizes = {part.number: part.size for part in found.parts}
    read = []
    for number, size, words in receipts:
        match json.loads(words):
            case [str() | None as etag, str() | None as md5] if sizes.get(number) == size:
                read.append(Receipt(number, size, etag, md5))
            case _:
                raise ValueError(f"receipt {number} is none of this plan")
    if (found.file_id, found.size) != (told["file_id"], told["size"]):
        raise ValueError("the plan is another file's")
    return Entry(
        identity=Identity(**{field.name: told[field.name] for field in fields(Identity)}),
        fingerprint=Fingerprint(**{field.name: told[field.name] for field in fields(Fingerprint)}),
        plan=found,
        media_type=told["media_type"],
        conflict=told["conflict"],
        receipts=tuple(sorted(read, key=lambda receipt: receipt.number)),
    )


def read_pending(text: str, bytes_confirmed: int) -> tuple[Identity, PendingUpload]:
    """Read what is told of an entry without its plan.

    Raises:
        ValueError: It was not written by `write_entry`.
    """
    told = _read(text)
    identity = Identity(**{field.name: told[field.name] for field in fields(Identity)})
    expires_at = None if told["expires_at"] is None else datetime.fromisoformat(told["expires_at"])
    pending = PendingUpload(
        told["file_id"], identity.name, identity.folder_id, identity.path, told["size"], bytes_confirmed, expires_at
    )
    return identity, pending


_OPTIONAL = (str, type(None))
_TYPES: dict[str, tuple[type, ...]] = {
    "account_id": (str,),
    "folder_id": _OPTIONAL,
    "name": (str,),
    "path": (str,),
    "origin": _OPTIONAL,
    "size": (int,),
    "mtime_ns": (int,),
    "edges": (str,),
    "media_type": _OPTIONAL,
    "conflict": (str,),
    "file_id": (str,),
    "parts": (int,),
    "expires_at": _OPTIONAL,
}


def _read(text: str) -> dict[str, Any]:
    told = json.loads(text)
    if not isinstance(told, dict) or told.keys() != _TYPES.keys():
        raise ValueError("it has other fields")
    wrong = [name for name, value in told.items() if type(value) not in _TYPES[name]]
    if wrong:
        raise ValueError(f"its {wrong[0]} is of another type")
    return told
