"""Define the public records: the plan of an upload, S3's receipts for its parts, and files and their status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from .api_schema import MalformedAnswer, is_text, require, require_id
from .errors import PlanError
from .links import is_secure, is_usable, stays_here
from .presigned import link_lifetime
from .public import public
from .redact import PartUrl, Secret, without_frames

ChecksumMode: TypeAlias = Literal["auto", "md5", "off"]
"""How an Uploader proves that a part has arrived as it was sent."""

ChecksumName: TypeAlias = Literal["crc64nvme", "crc32c", "crc32", "md5"]
"""The checksums that S3's answers can state, as its headers name them; the MD5 is stated by an ETag."""

MAX_PARTS = 10_000
"""Parts of one upload to S3 (Amazon S3 User Guide, "Amazon S3 multipart upload limits")."""


@public
@dataclass(frozen=True, slots=True)
class Part:
    """A slice of the file, and the presigned URL that accepts exactly that slice in one PUT."""

    number: int
    """From 1."""
    offset: int
    size: int
    url: str
    """A credential: anyone who has it can write the part. A `str` whose `repr` leaves out the query."""

    def __post_init__(self) -> None:
        if isinstance(self.url, str):
            object.__setattr__(self, "url", PartUrl(self.url))

    def __repr__(self) -> str:
        return f"Part(number={self.number}, offset={self.offset}, size={self.size}, url={self.url!r})"


@public
@dataclass(frozen=True, slots=True)
class Plan:
    """A file that was created at Frame.io, and the parts to send, which always tile the file exactly."""

    file_id: str
    folder_id: str | None
    name: str
    size: int
    parts: tuple[Part, ...]
    account_id: str | None = None
    """None for the Uploader's default."""
    media_type: str | None = None
    """The `Content-Type` that the links are signed for; None stands for `application/octet-stream`."""
    view_url: str | None = None
    status: str = "created"
    received_at: datetime | None = None
    """When the service sent it, by the `Date` of its answer; the age of the links counts from then. None if unknown."""

    def __post_init__(self) -> None:
        _check_text(self)
        _check_tiling(self.parts, self.size)

    @property
    def expires_at(self) -> datetime | None:
        """When the first link expires; None if the links do not contain their lifetime."""
        life = link_lifetime(part.url for part in self.parts)
        return None if life is None else life.expires_at

    def to_json(self) -> str:
        """Return the plan as JSON. It contains the part URLs, which are credentials: protect it like a token."""
        document = asdict(self) | {"received_at": None if self.received_at is None else self.received_at.isoformat()}
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read the output of `to_json`.

        Raises:
            PlanError: The text is not a plan.
        """
        sealed = Secret(text)
        del text
        try:
            plan = _parse_plan(sealed.reveal())
        except BaseException as error:
            without_frames(error)
            raise
        if plan is None:
            raise PlanError("this text is not a plan written by Plan.to_json()")
        return plan

    @classmethod
    def from_response(cls, data: Any, *, account_id: str | None = None) -> Plan:
        """Make a plan from the answer to `create_local_upload`.

        Args:
            data: The official SDK's `FileWithUploadUrls`, or the dict inside the answer's `data`.
            account_id: The account that the file was created in; None for the default of the Uploader.

        Raises:
            PlanError: A field is missing or of the wrong type, or the sizes do not add up to the file's.
        """
        sealed = Secret(data)
        del data
        try:
            return _plan_of(sealed.reveal(), account_id)
        except BaseException as error:
            without_frames(error)
            raise


def _parse_plan(text: str | bytes) -> Plan | None:
    try:
        document = json.loads(text)
        parts = tuple(Part(**_checked(part, _PART_TYPES)) for part in document.pop("parts"))
        received_at = _read_instant(document.pop("received_at", None))
        return Plan(**_checked(document, _PLAN_TYPES), parts=parts, received_at=received_at)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # The text contains credentials, and a parser's message may quote it, so no cause is passed on.
        return None


def _plan_of(data: Any, account_id: str | None) -> Plan:
    document = data if isinstance(data, Mapping) else _attributes(data)
    slices = document.get("upload_urls")
    if not isinstance(slices, Sequence) or isinstance(slices, str) or not slices:
        raise MalformedAnswer("the answer has no upload_urls")
    if len(slices) > MAX_PARTS:
        raise MalformedAnswer(f"the answer has {len(slices)} upload_urls, but S3 allows at most {MAX_PARTS} parts")
    parts = []
    offset = 0
    # The order of the URLs is the order of the bytes, and each `size` is obeyed. The official SDK ignores it and splits
    # the file evenly (`chunked_uploader.py`); the API documents `size` as the length of the slice.
    for number, slice_ in enumerate(slices, 1):
        one = slice_ if isinstance(slice_, Mapping) else _attributes(slice_)
        size = require(one, "size", int, where=f"upload_urls[{number - 1}]")
        url = require(one, "url", str, where=f"upload_urls[{number - 1}]")
        parts.append(Part(number, offset, size, url))
        offset += size
    return Plan(
        file_id=require_id(document),
        folder_id=require(document, "parent_id", str, optional=True),
        name=require(document, "name", str),
        size=require(document, "file_size", int),
        parts=tuple(parts),
        account_id=account_id,
        media_type=require(document, "media_type", str, optional=True),
        view_url=require(document, "view_url", str, optional=True),
        status=require(document, "status", str, optional=True) or "created",
    )


def _attributes(record: Any) -> dict[str, Any]:
    """Return the fields of one of the SDK's records (pydantic models), by attribute access alone."""
    names = ("id", "parent_id", "name", "file_size", "media_type", "view_url", "status", "upload_urls")
    return {name: getattr(record, name, None) for name in (*names, "size", "url")}


_PART_TYPES = {"number": (int,), "offset": (int,), "size": (int,), "url": (str,)}
_PLAN_TYPES = {
    "file_id": (str,),
    "folder_id": (str, type(None)),
    "name": (str,),
    "size": (int,),
    "account_id": (str, type(None)),
    "media_type": (str, type(None)),
    "view_url": (str, type(None)),
    "status": (str,),
}


def _checked(document: dict[str, Any], types: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """Return the document if it has only these fields, each of its exact type: `True` is not accepted as 1.

    Raises:
        TypeError: It has other fields, or one of another type.
    """
    if not document.keys() <= types.keys() or any(type(value) not in types[name] for name, value in document.items()):
        raise TypeError
    return document


def _read_instant(text: Any) -> datetime | None:
    """Read an instant that `isoformat` wrote, with its time zone."""
    if text is None:
        return None
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError
    return instant


def _check_text(plan: Plan) -> None:
    """Raise PlanError if a field could not be written to a request, the journal or a log."""
    names = ("file_id", "folder_id", "name", "account_id", "media_type", "view_url", "status")
    odd = [name for name in names if (value := getattr(plan, name)) is not None and not is_text(value)]
    if odd:
        raise PlanError(f"the plan's {odd[0]} contains a lone surrogate, which UTF-8 cannot encode")


def _check_tiling(parts: tuple[Part, ...], size: int) -> None:
    offset = 0
    for number, part in enumerate(parts, 1):
        if part.number != number or part.offset != offset or part.size < 1:
            raise PlanError(
                f"part {part.number} (offset {part.offset}, size {part.size}) does not follow on from byte {offset}"
            )
        if not is_usable(part.url):
            raise PlanError(f"part {number} has no usable http(s) URL")
        offset += part.size
    if offset != size or not parts:
        raise PlanError(f"{len(parts)} parts hold {offset} bytes, the file has {size}")


def find_insecure(plan: Plan, *, is_own: bool) -> int | None:
    """Return the number of the first part whose bytes would travel in plain text, or None.

    Args:
        plan: The plan whose links are checked.
        is_own: Whether the API has just issued it. In a plan from elsewhere, http to this machine itself is allowed:
            tests use it, and nothing leaves the machine.
    """
    insecure = (part for part in plan.parts if not is_secure(part.url))
    return next((part.number for part in insecure if is_own or not stays_here(part.url)), None)


def check_secure(plan: Plan, *, is_own: bool) -> Plan:
    """Return the plan if no part's bytes would travel in plain text. Used where the API itself is called by https.

    Raises:
        PlanError: A part's link is http.
    """
    if (number := find_insecure(plan, is_own=is_own)) is not None:
        raise PlanError(
            f"the link of part {number} is http although the API is https, so the part would be sent in plain text; "
            "nothing was sent"
        )
    return plan


@public
@dataclass(frozen=True, slots=True)
class Receipt:
    """S3's acknowledgement of a part."""

    number: int
    size: int
    etag: str | None
    """As S3 sent it, without the quotes; None if it sent none."""
    md5: str | None = None
    """MD5 of the bytes that were sent, in hex; None if it was not needed, or if made from a `PartCompleted`."""
    crc64nvme: str | None = None
    """CRC64NVME of the bytes that were sent, in base64 as S3 has it; None with `checksum="off"`, or if made from a
    `PartCompleted`."""
    checked_by: ChecksumName | None = None
    """The checksum by which S3's answer proves that it stored the bytes that were sent; None: no checksum does."""

    @property
    def is_proved(self) -> bool:
        """Whether the answer proves that S3 has the part; without ETag and checksum it may be another server's."""
        return self.etag is not None or self.checked_by is not None


@public
@dataclass(frozen=True, slots=True)
class UploadStatus:
    """The upload status of a file, as the service reports it."""

    file_id: str
    complete: bool
    failed: bool
    completed_at: datetime | None = None
    started_at: datetime | None = None
    media_type: str | None = None


@public
@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file at Frame.io. Its `repr` leaves out what it has for each part."""

    id: str
    name: str
    size: int
    account_id: str
    folder_id: str | None
    media_type: str | None
    view_url: str | None
    status: str
    """`created` until the service has confirmed it, then `uploaded`."""
    etags: tuple[str | None, ...] = field(default=(), repr=False)
    """One per part; None where S3 sent none."""
    outcome: Literal["uploaded", "resumed", "skipped"] = "uploaded"
    """`resumed`: an earlier run had begun it; its parts, if it sent any, were not sent again. `skipped`: nothing was
    sent, for the `reason`."""
    md5s: tuple[str | None, ...] = field(default=(), repr=False)
    """One per part, in hex, of the bytes that were sent; None where it was not needed."""
    crc64nvme: str | None = None
    """CRC64NVME of the whole file, in base64: what `aws s3api head-object --checksum-mode ENABLED` shows. Combined from
    those of the parts that were sent; None if a part has none (`checksum="off"`), or if nothing was sent."""
    part_crc64nvmes: tuple[str | None, ...] = field(default=(), repr=False)
    """One per part, in base64, of the bytes that were sent."""
    checked_by: tuple[ChecksumName | None, ...] = field(default=(), repr=False)
    """One per part: the checksum by which S3's answer proves that it stored the bytes that were sent."""
    reason: str | None = None
    """Why nothing was sent: `"unchanged since it was sent"` or `"unchanged since it was compared"`, as the journal
    knows it; `"same content"`; or `"same name and size, content not compared"`. With `compare="content"`, what cannot
    be compared is sent; the last of these, with the cause after a colon, then says why. Otherwise None if something was
    sent."""


@public
@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of an `Uploader`'s activity."""

    slots: int
    """Part requests that may be in flight."""
    in_flight: int
    """Part requests that are in flight."""
    waiting: int
    """Parts that wait for a slot."""
    uploads: int
    """Uploads that were started and have not ended."""
    bytes_per_second: float
    """Of all uploads together, averaged over the last seconds."""
    retries: int
    """Part attempts that failed and were repeated, since the Uploader was entered."""
    reason: Literal["growing", "holding", "backing off"] = "holding"
    """Why there are as many slots: more are tried; no other number would be better, or it is fixed; or S3 refused parts
    or connections were lost."""
