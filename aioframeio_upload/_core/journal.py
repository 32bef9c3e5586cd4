"""What is recorded of an upload, and what becomes of it: which one it is, what the next run does, what is kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from enum import Enum
from typing import Any

from .errors import IntegrityError, PartRejected, SourceError
from .model import Plan, Receipt, UploadStatus, find_insecure
from .presigned import link_lifetime

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
    damage: str | None = None
    """Why it cannot be gone on with: what is recorded of it is damaged. The other fields are what could be read of it,
    and `discard(file_id)` removes it; without a readable id, `file_id` is only its name in the journal."""


@dataclass(frozen=True, slots=True)
class Row:
    """An upload in the journal, without its plan and its receipts."""

    key: str
    """Of its claim; of a sound row, its identity's."""
    mark: str
    """Its key in the file, in hexadecimal digits: a damaged one may be anything."""
    identity: Identity | None
    """None where it is damaged."""
    account_id: str | None
    pending: PendingUpload

    @property
    def is_damaged(self) -> bool:
        """Whether it can only be discarded."""
        return self.identity is None

    @property
    def has_file(self) -> bool:
        """Whether the id is that of a file at the service."""
        return self.pending.file_id != _name_of(self.key)

    @property
    def complaint(self) -> str:
        """What is said of a damaged one."""
        one = self.pending
        what = repr(one.path or one.name) if one.path or one.name else "an upload"
        return f"what is recorded of {what} is damaged: {one.damage}; discard({one.file_id!r}) removes it"

    def without_file(self) -> Row:
        """Return the same without its file's id, which another row has."""
        return replace(self, pending=replace(self.pending, file_id=_name_of(self.key)))


# -- what becomes of it ------------------------------------------------------------------------------------------------


class ResumeAction(Enum):
    """What the next run does with an entry."""

    RESUME = "send what is missing"
    CONFIRM = "every part arrived: only ask for the file"
    REPLACE = "remove the placeholder and begin anew"
    FORGET = "leave what is there, if anything, and begin anew"


@dataclass(frozen=True, slots=True)
class Resumption:
    """What the next run does with an entry, and why."""

    step: ResumeAction
    reason: str = ""
    """Why it begins anew; empty where it does not."""


def next_step(
    entry: Entry,
    fingerprint: Fingerprint | None,
    told: UploadStatus | None,
    now: datetime | None,
    *,
    secure: bool = False,
) -> Resumption:
    """Decide what to do with an entry.

    Args:
        entry: What is recorded.
        fingerprint: The source's, as it is now; None: it is nothing that can be sent any more.
        told: What the service says of the file; None: it has none.
        now: The service's time; None where it has not told it.
        secure: The API is https, so that links must be.
    """
    if told is None:
        return Resumption(ResumeAction.FORGET, "Frame.io has no such file any more")
    # The last receipt may have been lost with the process; the service knows better.
    arrived = entry.is_whole or told.complete
    if fingerprint != entry.fingerprint:
        reason = "the source has changed since"
        if arrived:
            return Resumption(ResumeAction.FORGET, f"{reason}; the file that had arrived stays")
        return Resumption(ResumeAction.REPLACE, reason)
    over = ""
    if told.failed:
        over = "Frame.io says that its upload failed"
    elif _are_dead(entry.plan, now):
        over = "its links have expired, or are about to"
    elif secure and find_insecure(entry.plan, is_own=False) is not None:
        over = "its links are http, and the API is https"
    # What nothing proves is asked for only as long as it could be sent again, should the service not have it.
    if told.complete or entry.is_proved or (arrived and not over):
        return Resumption(ResumeAction.CONFIRM)
    return Resumption(ResumeAction.REPLACE, over) if over else Resumption(ResumeAction.RESUME)


def _are_dead(plan: Plan, now: datetime | None) -> bool:
    """Return whether a plan's links are dead or about to die; where that is not known S3 decides."""
    life = link_lifetime(part.url for part in plan.parts)
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


def read_entry(text: object, plan: Any, receipts: Iterable[tuple[Any, Any, Any]]) -> Entry:
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
        match _loads(words):
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


def read_pending(text: object, bytes_confirmed: int) -> tuple[Identity, PendingUpload]:
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


def read_row(mark: str, told: object, sent: object = 0, *, plan: object = None, damage: str | None = None) -> Row:
    """Read a row of the journal; of a damaged one, what can be read.

    Args:
        mark: The key in the file, in hexadecimal digits.
        told: By `write_entry`, or anything.
        sent: The bytes of its receipts.
        plan: The beginning of its plan, which tells the file where `told` does not.
        damage: What is known to be wrong with the rest of it.
    """
    key = bytes.fromhex(mark).decode("ascii", "replace")
    if not isinstance(sent, int) or sent < 0:
        sent, damage = 0, damage or "the sizes of its parts are no numbers"
    if damage is None:
        try:
            identity, pending = read_pending(told, sent)
            if identity.key == key:
                return Row(key, mark, identity, identity.account_id, pending)
            damage = "it is recorded under another upload's key"
        except ValueError:
            damage = "its words are not those of a journal"
    key = key if is_key(key) else hashlib.sha256(mark.encode()).hexdigest()
    found = _salvage(told)
    file_id = found.get("file_id") or _salvage(plan).get("file_id") or ""
    pending = PendingUpload(
        file_id if _ID.fullmatch(file_id) else _name_of(key),
        found.get("name", ""),
        found.get("folder_id"),
        found.get("path", ""),
        found["size"] if isinstance(found.get("size"), int) else 0,
        sent,
        None,
        damage,
    )
    return Row(key, mark, None, found.get("account_id"), pending)


def mark_of(key: str) -> str:
    """Return the hexadecimal digits of a key."""
    return key.encode().hex().upper()


def is_key(key: str) -> bool:
    """Return whether it is a word that `Identity.key` gives."""
    return _KEY.fullmatch(key) is not None


def _name_of(key: str) -> str:
    """Return what a row is called that has no file's id."""
    return key[:16]


def _salvage(text: object) -> dict[str, Any]:
    """Return the fields that can be read of what is damaged."""
    if not isinstance(text, str):
        return {}
    found: dict[str, Any] = {}
    for name, value in _FIELD.findall(text):
        try:
            read = json.loads(value)
        except ValueError:
            continue
        if name not in found and type(read) in _TYPES[name]:
            found[name] = read
    return found


_KEY = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""Ids of the service are UUIDs. Whatever else stands there, a link perhaps, is not shown."""

_FIELD = re.compile(r'"(account_id|folder_id|name|path|size|file_id)"\s*:\s*("(?:[^"\\]|\\.){0,5000}"|\d{1,18}(?!\d))')

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


def _read(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        raise ValueError("it is no text")
    told = _loads(text)
    if not isinstance(told, dict) or told.keys() != _TYPES.keys():
        raise ValueError("it has other fields")
    wrong = [name for name, value in told.items() if type(value) not in _TYPES[name]]
    if wrong:
        raise ValueError(f"its {wrong[0]} is of another type")
    return told


def _loads(text: Any) -> Any:
    """Read JSON.

    Raises:
        ValueError: It is none.
    """
    try:
        return json.loads(text)
    except (TypeError, RecursionError):
        raise ValueError("it is no JSON") from None
