"""The records: what is planned, what S3 acknowledged, what the service reports of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from .api_schema import MalformedAnswer, _attributes, _typed, is_text, read_id
from .errors import PlanError
from .links import is_secure, is_usable, stays_here
from .presigned import link_lifetime
from .redact import PartUrl, Secret, without_frames

MOST_PARTS = 10_000
"""Of one upload to S3 ("Amazon S3 multipart upload limits")."""


@dataclass(frozen=True, slots=True)
class Part:
    """One slice of the file, and the presigned URL that takes exactly that slice in one PUT."""

    number: int
    """From 1."""
    offset: int
    size: int
    url: str
    """A credential: whoever has it can write the part. A `str` whose `repr` shows no query."""

    def __post_init__(self) -> None:
        if isinstance(self.url, str):
            object.__setattr__(self, "url", PartUrl(self.url))

    def __repr__(self) -> str:
        return f"Part(number={self.number}, offset={self.offset}, size={self.size}, url={self.url!r})"


@dataclass(frozen=True, slots=True)
class Plan:
    """A file that was created at Frame.io and waits for its parts; they tile it exactly, or there is no plan."""

    file_id: str
    folder_id: str | None
    name: str
    size: int
    parts: tuple[Part, ...]
    account_id: str | None = None
    """None: the Uploader's own."""
    media_type: str | None = None
    """What the links are signed for; None stands for `application/octet-stream`."""
    view_url: str | None = None
    status: str = "created"
    received_at: datetime | None = None
    """When the service sent it, by the `Date` of its answer: its links' age is counted from here. None: unknown."""

    def __post_init__(self) -> None:
        _prove_text(self)
        _prove_tiling(self.parts, self.size)

    @property
    def expires_at(self) -> datetime | None:
        """When the first of the links dies; None where they do not tell."""
        life = link_lifetime(part.url for part in self.parts)
        return None if life is None else life.expires_at

    def to_json(self) -> str:
        """Give the plan as text. It holds the part URLs, which are credentials: keep it as you keep a token."""
        told = asdict(self) | {"received_at": None if self.received_at is None else self.received_at.isoformat()}
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            PlanError: It is not a plan.
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
        """Make a plan of what `create_local_upload` answered.

        Args:
            data: The official SDK's `FileWithUploadUrls`, or the dict inside the answer's `data`.
            account_id: The account it was created in; None: the default of the Uploader that will use the plan.

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
        told = json.loads(text)
        parts = tuple(Part(**_checked(part, _PART_TYPES)) for part in told.pop("parts"))
        received_at = _instant(told.pop("received_at", None))
        return Plan(**_checked(told, _PLAN_TYPES), parts=parts, received_at=received_at)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # The text holds credentials: neither it nor a parser's complaint about it is passed on.
        return None


def _plan_of(data: Any, account_id: str | None) -> Plan:
    told = data if isinstance(data, Mapping) else _attributes(data)
    slices = told.get("upload_urls")
    if not isinstance(slices, Sequence) or isinstance(slices, str) or not slices:
        raise MalformedAnswer("the answer has no upload_urls")
    if len(slices) > MOST_PARTS:
        raise MalformedAnswer(f"the answer has {len(slices)} upload_urls, and S3 takes no more than {MOST_PARTS} parts")
    parts = []
    offset = 0
    for number, slice_ in enumerate(slices, 1):
        one = slice_ if isinstance(slice_, Mapping) else _attributes(slice_)
        size = _typed(one, "size", int, where=f"upload_urls[{number - 1}]")
        url = _typed(one, "url", str, where=f"upload_urls[{number - 1}]")
        parts.append(Part(number, offset, size, url))
        offset += size
    return Plan(
        file_id=_id(told),
        folder_id=_typed(told, "parent_id", str, optional=True),
        name=_typed(told, "name", str),
        size=_typed(told, "file_size", int),
        parts=tuple(parts),
        account_id=account_id,
        media_type=_typed(told, "media_type", str, optional=True),
        view_url=_typed(told, "view_url", str, optional=True),
        status=_typed(told, "status", str, optional=True) or "created",
    )


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


def _checked(told: dict[str, Any], types: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """Give the record back if it has no other fields than these, each of its type; JSON's `true` is no 1."""
    if not told.keys() <= types.keys() or any(type(value) not in types[name] for name, value in told.items()):
        raise TypeError
    return told


def _instant(told: Any) -> datetime | None:
    """Read what `isoformat` wrote of an instant with its zone."""
    if told is None:
        return None
    instant = datetime.fromisoformat(told)
    if instant.tzinfo is None:
        raise ValueError
    return instant


def _id(told: Mapping[str, Any]) -> str:
    found = read_id(_typed(told, "id", str))
    if found is None:
        raise MalformedAnswer("the answer's id is empty or no text")
    return found


def _prove_text(plan: Plan) -> None:
    """Raise PlanError where a word of a plan could not be written into a request, a journal or a log."""
    names = ("file_id", "folder_id", "name", "account_id", "media_type", "view_url", "status")
    odd = [name for name in names if (value := getattr(plan, name)) is not None and not is_text(value)]
    if odd:
        raise PlanError(f"the plan's {odd[0]} holds a lone surrogate, which is no text")


def _prove_tiling(parts: tuple[Part, ...], size: int) -> None:
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
        plan: Its links.
        is_own: Whether the API has just handed it out. In a plan that was brought, http to this machine itself is no
            fault: it is a test's, and nothing leaves the machine.
    """
    insecure = (part for part in plan.parts if not is_secure(part.url))
    return next((part.number for part in insecure if is_own or not stays_here(part.url)), None)


def check_secure(plan: Plan, *, is_own: bool) -> Plan:
    """Return the plan, if no part's bytes would travel in plain text; for an API that is asked by https.

    Raises:
        PlanError: One would.
    """
    if (number := find_insecure(plan, is_own=is_own)) is not None:
        raise PlanError(
            f"the link of part {number} is http although the API is https, so the part would be sent in plain text; "
            "nothing was sent"
        )
    return plan


@dataclass(frozen=True, slots=True)
class Receipt:
    """S3 has the part."""

    number: int
    size: int
    etag: str | None
    """As S3 gave it, without its quotes; None where it gave none."""
    md5: str | None = None
    """Of the bytes that were sent; None where `check_etags` is off, or where it was made of a `PartCompleted`."""

    @property
    def is_proved(self) -> bool:
        """Whether S3's answer proves that it has the part; a 200 without an ETag may be another server's."""
        return self.etag is not None


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """What the service says of a file's bytes."""

    file_id: str
    complete: bool
    failed: bool
    completed_at: datetime | None = None
    started_at: datetime | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file at Frame.io."""

    id: str
    name: str
    size: int
    account_id: str
    folder_id: str | None
    media_type: str | None
    view_url: str | None
    status: str
    """`created` until the service confirmed it, then `uploaded`."""
    etags: tuple[str | None, ...] = ()
    """One a part; None where S3 sent none."""
    outcome: Literal["uploaded", "resumed", "skipped"] = "uploaded"
    md5s: tuple[str | None, ...] = ()
    """One a part, of what was sent; None where `check_etags` is off."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What an `Uploader` is doing at this moment."""

    slots: int
    """Part requests that may be in flight."""
    in_flight: int
    """Part requests that are."""
    waiting: int
    """Parts that wait for a slot."""
    uploads: int
    """Uploads that were started and have not ended."""
    bytes_per_second: float
    """Of all of them together, over the last seconds."""
    retries: int
    """Part attempts that failed and were made again, since the Uploader was entered."""
