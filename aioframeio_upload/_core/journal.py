"""Journal entries: identify an upload, and convert its entry to and from JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from .checksums import etag_is_md5
from .model import Plan, Receipt
from .patterns import same_name
from .public import public

EDGE = 1 << 20
"""Bytes hashed at each end of a source: media containers keep their header and index there, and every render rewrites
them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of an upload: uploading the same source to the same place again resumes it."""

    account_id: str
    folder_id: str | None
    name: str
    """As requested; the service may have changed it."""
    path: str
    """The path of the source, with links resolved."""
    origin: str | None = None
    """The file ID of the plan that was passed to `execute`; None for an upload that makes its own plan."""

    @property
    def key(self) -> str:
        """A hash that is unique to this identity."""
        return hashlib.sha256(json.dumps(list(asdict(self).values())).encode()).hexdigest()

    @property
    def place(self) -> str:
        """A hash of where it is uploaded to, whatever the source. Names that look the same have the same one."""
        place = [self.account_id, self.folder_id, same_name(self.name)]
        return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Evidence that a source has not changed. Without the inode, which network storage may change on a remount."""

    size: int
    mtime_ns: int
    edges: str
    """The SHA-256 of the first and last `EDGE` bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A recorded upload."""

    identity: Identity
    fingerprint: Fingerprint
    plan: Plan
    media_type: str | None = None
    """As requested. Kept, like `conflict`, in case the upload has to start over."""
    conflict: str = "create"
    receipts: tuple[Receipt, ...] = ()
    """Receipts of the acknowledged parts, in the order of the parts."""

    @property
    def is_whole(self) -> bool:
        """Whether every part was acknowledged."""
        return len(self.receipts) == len(self.plan.parts)

    @property
    def is_proved(self) -> bool:
        """Whether S3's answers prove that it has every part."""
        return self.is_whole and all(receipt.is_proved for receipt in self.receipts)


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that was uploaded from this machine, or found to be at Frame.io with the same content, as it was then."""

    file_id: str
    path: str
    """The path of the source, with links resolved; empty if it was none: bytes, a file object, a stream."""
    size: int
    mtime_ns: int
    crc64nvme: str | None
    """Of the whole file, as `UploadedFile.crc64nvme`; None if it is not known."""
    is_compared: bool = False
    """Whether it was not sent from this path, but compared with what is at Frame.io."""
    ctime_ns: int | None = None
    """The source's change time before its first byte was read. None if it is not known: an earlier release recorded the
    file, or its parts were sent by several runs."""

    def is_unchanged(self, ctime_ns: int | None) -> bool:
        """Return whether a source that has the path, size and modification time of this one has not changed since.

        Any program can set those (`os.utime`, `cp -p`, `rsync -t`), and another card may be mounted at the path. No
        program can set the change time: a write, a rename over the file and `utime` itself each set it to the present
        (POSIX, inode(7)). Git, restic and borg rely on it, too.
        """
        return self.ctime_ns is not None and self.ctime_ns == ctime_ns


def find_sent_as(sent: Iterable[SentFile], path: str | None, size: int, mtime_ns: int | None) -> SentFile | None:
    """Return what a source was sent or compared as last, if its size and modification time are the same.

    Args:
        sent: What was sent to one place, the latest first.
        path: The source's path, with links resolved.
        size: Its size now.
        mtime_ns: Its modification time now, which is compared with its own earlier one, not with another clock.
    """
    last = next((one for one in sent if one.path == path), None)
    return last if last is not None and (last.size, last.mtime_ns) == (size, mtime_ns) else None


@public
@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload in the journal: started, but not finished."""

    file_id: str
    name: str
    folder_id: str | None
    path: str
    size: int
    bytes_confirmed: int
    """Bytes that S3 had acknowledged when the entry was last written."""
    expires_at: datetime | None
    """When its links expire; after that the upload starts over. None if the links do not contain their lifetime."""
    damage: str | None = None
    """Why the upload cannot be resumed: its entry is damaged. The other fields are what could still be read, and
    `discard(file_id)` removes the entry; without a readable ID, `file_id` is a name within the journal only."""


@dataclass(frozen=True, slots=True)
class Row:
    """An upload in the journal, without its plan and receipts."""

    key: str
    """The key of its claim; for an undamaged row, the key of its identity."""
    mark: str
    """Its key in the file, as hexadecimal digits, because a damaged key may be of any type."""
    identity: Identity | None
    """None if the row is damaged."""
    account_id: str | None
    pending: PendingUpload

    @property
    def is_damaged(self) -> bool:
        """Whether the row can only be discarded."""
        return self.identity is None

    @property
    def has_file(self) -> bool:
        """Whether `file_id` is the ID of a file at the service."""
        return self.pending.file_id != _placeholder_id(self.key)

    @property
    def complaint(self) -> str:
        """The error message about a damaged row."""
        one = self.pending
        what = repr(one.path or one.name) if one.path or one.name else "an upload"
        return f"the entry of {what} is damaged: {one.damage}; discard({one.file_id!r}) removes it"

    def without_file(self) -> Row:
        """Return a copy without the file ID, for a row whose file belongs to another row."""
        return replace(self, pending=replace(self.pending, file_id=_placeholder_id(self.key)))


# -- the recorded form -------------------------------------------------------------------------------------------------
# JSON in ASCII: a path, a name or an ETag may contain lone surrogates, which SQLite's TEXT (UTF-8) does not accept.


def write_entry(entry: Entry) -> str:
    """Return an entry as JSON, without its plan and receipts, which are recorded separately."""
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
    """Return a receipt as JSON, without its number and size, which are separate columns."""
    return json.dumps([receipt.etag, receipt.md5, receipt.crc64nvme, receipt.checked_by])


def read_entry(text: object, plan: Any, receipts: Iterable[tuple[Any, Any, Any]]) -> Entry:
    """Read an entry with its plan and receipts.

    Args:
        text: The output of `write_entry`.
        plan: The output of `Plan.to_json`.
        receipts: Each part's number, size, and the output of `write_receipt`.

    Raises:
        ValueError: The text or a receipt is not valid.
        PlanError: The plan is not valid.
    """
    document = _read(text)
    found = Plan.from_json(plan)
    sizes = {part.number: part.size for part in found.parts}
    read = []
    for number, size, receipt_text in receipts:
        if sizes.get(number) != size:
            raise ValueError(f"receipt {number} does not belong to this plan")
        read.append(_read_receipt(number, size, _loads(receipt_text)))
    if (found.file_id, found.size) != (document["file_id"], document["size"]):
        raise ValueError("the plan belongs to another file")
    return Entry(
        identity=_identity(document),
        fingerprint=Fingerprint(**{field.name: document[field.name] for field in fields(Fingerprint)}),
        plan=found,
        media_type=document["media_type"],
        conflict=document["conflict"],
        receipts=tuple(sorted(read, key=lambda receipt: receipt.number)),
    )


def _read_receipt(number: int, size: int, document: object) -> Receipt:
    match document:
        case [str() | None as etag, str() | None as md5]:  # schema 1, which knew the MD5 only
            receipt = Receipt(number, size, etag, md5)
            return replace(receipt, checked_by="md5") if etag_is_md5(receipt) else receipt
        case [
            str() | None as etag,
            str() | None as md5,
            str() | None as crc64nvme,
            "crc64nvme" | "crc32c" | "crc32" | "md5" | None as checked_by,
        ]:
            return Receipt(number, size, etag, md5, crc64nvme, checked_by)
        case _:
            raise ValueError(f"receipt {number} was not written by a journal")


def write_sent(sent: SentFile) -> str:
    """Return as JSON what was sent, without the file's ID and the change time, which are separate columns."""
    # Earlier releases take a list of five for a damaged row, so that the file is unknown to them, and nothing worse.
    compared = ["compared"] * sent.is_compared
    return json.dumps([sent.path, sent.size, sent.mtime_ns, sent.crc64nvme, *compared])


def read_sent(file_id: object, text: object, changed: object = None) -> SentFile | None:
    """Return what `write_sent` wrote; None if the row is damaged, so that the file counts as unknown.

    Args:
        file_id: The file's ID.
        text: The output of `write_sent`.
        changed: The output of `write_ctime`; anything else counts as unknown.
    """
    try:
        document = _loads(text)
    except ValueError:
        return None
    ctime_ns = int(changed) if isinstance(changed, str) and _NUMBER.fullmatch(changed) else None
    match file_id, document:
        case str() as id, [str() as path, int() as size, int() as mtime_ns, str() | None as crc64nvme]:
            return SentFile(id, path, size, mtime_ns, crc64nvme, ctime_ns=ctime_ns)
        case str() as id, [str() as path, int() as size, int() as mtime_ns, str() | None as crc64nvme, "compared"]:
            return SentFile(id, path, size, mtime_ns, crc64nvme, is_compared=True, ctime_ns=ctime_ns)
        case _:
            return None


def write_ctime(ctime_ns: int | None) -> str | None:
    """Return a change time as text: a clock that is wrong by centuries needs more than SQLite's 64 bits."""
    return None if ctime_ns is None else str(ctime_ns)


def read_pending(text: object, bytes_confirmed: int) -> tuple[Identity, PendingUpload]:
    """Read an entry without its plan.

    Raises:
        ValueError: The text was not written by `write_entry`.
    """
    document = _read(text)
    identity = _identity(document)
    expires_at = None if document["expires_at"] is None else datetime.fromisoformat(document["expires_at"])
    pending = PendingUpload(
        document["file_id"],
        identity.name,
        identity.folder_id,
        identity.path,
        document["size"],
        bytes_confirmed,
        expires_at,
    )
    return identity, pending


def read_row(mark: str, text: object, sent: object = 0, *, plan: object = None, damage: str | None = None) -> Row:
    """Read a row of the journal; from a damaged one, the fields that can still be read.

    Args:
        mark: The key in the file, as hexadecimal digits.
        text: The output of `write_entry`; in a damaged row, anything.
        sent: The sum of the sizes of its receipts.
        plan: The start of its plan, to find the file ID in if `text` does not contain it.
        damage: Damage that was found in other parts of the entry.
    """
    key = bytes.fromhex(mark).decode("ascii", "replace")
    if not isinstance(sent, int) or sent < 0:
        sent, damage = 0, damage or "the sizes of its parts are not numbers"
    if damage is None:
        try:
            identity, pending = read_pending(text, sent)
            if identity.key == key:
                return Row(key, mark, identity, identity.account_id, pending)
            damage = "it is recorded under another upload's key"
        except ValueError:
            damage = "its text was not written by a journal"
    key = key if is_key(key) else hashlib.sha256(mark.encode()).hexdigest()
    found = _salvage(text)
    file_id = found.get("file_id") or _salvage(plan).get("file_id") or ""
    pending = PendingUpload(
        file_id if _ID.fullmatch(file_id) else _placeholder_id(key),
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
    """Return the hexadecimal digits of a key, as SQLite's `hex()` prints them."""
    return key.encode().hex().upper()


def is_key(key: str) -> bool:
    """Return whether a string has the form of an `Identity.key`."""
    return _KEY.fullmatch(key) is not None


def _placeholder_id(key: str) -> str:
    """Return the name by which `discard` knows a row without a file ID."""
    return key[:16]


def _identity(document: dict[str, Any]) -> Identity:
    return Identity(**{field.name: document[field.name] for field in fields(Identity)})


def _salvage(text: object) -> dict[str, Any]:
    """Return the fields that can still be read from a damaged text."""
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


_NUMBER = re.compile(r"-?[0-9]{1,40}")
_KEY = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""The service's IDs are UUIDs. Anything else may be a part of a link, so it is not shown."""

_FIELD = re.compile(
    r'"(account_id|folder_id|name|path|size|file_id)"\s*:\s*("(?:[^"\\]|\\.){0,5000}"|[0-9]{1,18}(?![0-9]))'
)

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
        raise ValueError("it is not text")
    document = _loads(text)
    if not isinstance(document, dict) or document.keys() != _TYPES.keys():
        raise ValueError("it has other fields")
    wrong = [name for name, value in document.items() if type(value) not in _TYPES[name]]
    if wrong:
        raise ValueError(f"its {wrong[0]} is of another type")
    return document


def _loads(text: Any) -> Any:
    """Parse JSON.

    Raises:
        ValueError: The text is not JSON.
    """
    try:
        return json.loads(text)
    except (TypeError, RecursionError):
        raise ValueError("it is not JSON") from None
