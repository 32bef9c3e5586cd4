"""A folder's listing at Frame.io, and which remote file a local file corresponds to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import parse_qs, urlsplit

from .api_schema import read_id, read_instant, read_size
from .patterns import same_name

Conflict: TypeAlias = Literal["create", "skip", "version"]
"""What to do where a file of that name is there: make another one; leave it if it is the same; stack on it."""


def check_conflict(conflict: str) -> None:
    """Raise ValueError for a word that is none of them."""
    if conflict not in get_args(Conflict):
        raise ValueError(f"conflict={conflict!r} is not known")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at Frame.io, by itself or on top of a version stack."""

    id: str
    name: str
    size: int | None
    status: str | None
    created_at: datetime | None
    stack_id: str | None = None
    media_type: str | None = None
    view_url: str | None = None

    @property
    def has_arrived(self) -> bool:
        """Whether the service has its bytes."""
        return self.status not in (None, "created")


@dataclass(slots=True)
class Listing:
    """What a folder holds, by the names that look the same."""

    files: dict[str, list[RemoteFile]] = field(default_factory=dict)
    folders: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Name and id of each, the oldest first."""

    def add(self, rows: Iterable[Any]) -> None:
        """Take in a page."""
        for row in rows:
            if not isinstance(row, Mapping) or read_id(row.get("id")) is None:
                continue
            if row.get("type") == "folder" and isinstance(name := row.get("name"), str):
                self.folders.setdefault(same_name(name), []).append((name, row["id"]))
            elif (found := read_remote_file(row)) is not None:
                self.files.setdefault(same_name(found.name), []).append(found)

    def folder(self, name: str, *, exact: bool = False) -> str | None:
        """Give the folder of that name, if there is one."""
        alike = self.folders.get(same_name(name), ())
        named = [id for found, id in alike if found == name] or [id for _, id in alike if not exact]
        return named[0] if named else None

    def namesakes(self, name: str, *, exact: bool = False, but: str | None = None) -> list[RemoteFile]:
        """Give the files of that name, but for one id; only if there is none, those that look the same."""
        alike = [one for one in self.files.get(same_name(name), ()) if one.id != but]
        return [one for one in alike if one.name == name] or ([] if exact else alike)

    def take_out(self, one: RemoteFile) -> None:
        """Forget one: it stands for one local file, not for two that look the same."""
        self.files[same_name(one.name)].remove(one)


def read_remote_file(row: Mapping[str, Any]) -> RemoteFile | None:
    """Read a file or a version stack, which stands for its head; None for anything else."""
    stack_id = None
    if row.get("type") == "version_stack":
        head, stack_id = row.get("head_version"), row["id"]
        row = head if isinstance(head, Mapping) else {**row, "type": "file"}
    words = {key: value for key, value in row.items() if isinstance(value, str)}
    if words.get("type") != "file" or read_id(words.get("id")) is None or "name" not in words:
        return None
    return RemoteFile(
        id=words["id"],
        name=words["name"],
        size=read_size(row),
        status=words.get("status"),
        created_at=read_instant(words.get("created_at")),
        stack_id=stack_id,
        media_type=words.get("media_type"),
        view_url=words.get("view_url"),
    )


@dataclass(frozen=True, slots=True)
class Clocks:
    """What two clocks show at one moment."""

    service: datetime
    local: datetime


def find_same(
    namesakes: Iterable[RemoteFile], size: int, modified_ns: int | None, clocks: Clocks | None = None
) -> RemoteFile | None:
    """Return the one that the source would only repeat: as long, arrived, and made after the source was written.

    The frames of a sequence that is rendered anew all have one size: it is the time that tells. A source without one
    (bytes, a stream) is judged by its name and size, and so is one whose time is later than the service's own now: no
    upload could ever be younger, so it would be sent again by every run.
    """
    for one in namesakes:
        if one.size == size and one.has_arrived and _is_newer(one, modified_ns, clocks):
            return one
    return None


RESOLUTION = timedelta(seconds=1)
"""The service tells its time in a `Date`, in whole seconds: a file that was written just now may seem to be later."""


def _is_newer(one: RemoteFile, modified_ns: int | None, clocks: Clocks | None) -> bool:
    if modified_ns is None:
        return True
    # In whole microseconds: a float of a time in nanoseconds is off by hundreds of them.
    modified = modified_ns // 1000
    if one.created_at is not None and _micros(one.created_at) > modified:
        return True
    if clocks is None:
        return False
    service = clocks.service
    if one.created_at is not None and one.created_at > service + RESOLUTION:
        service = clocks.local  # that `Date` is not the service's own: a gateway's clock is wrong
    if modified <= _micros(service + RESOLUTION):
        return False
    # This machine's clock may be what is ahead. Then a time until its now is a right one as that clock shows it, and
    # what was rendered anew a minute ago is still told from what was there before.
    if one.created_at is None or modified > _micros(clocks.local):
        return True
    return _micros(one.created_at) > modified - (_micros(clocks.local) - _micros(service))


def _micros(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = datetime.resolution


def find_below(namesakes: Iterable[RemoteFile]) -> RemoteFile | None:
    """Give the one that a new version is stacked on: a stack rather than a single file, then the newest."""
    arrived = [one for one in namesakes if one.has_arrived or one.stack_id is not None]
    return max(arrived, key=lambda one: (one.stack_id is not None, one.created_at or EPOCH), default=None)


LONGEST_CURSOR = 4096
"""Characters. It goes into the next request's line, of which servers take 8 KB (nginx, Apache)."""

MOST_EMPTY_PAGES = 100
"""Pages in a row without a row. A filter can leave some of a service's pages empty; but cursors that are always new,
and lead to nothing, would be followed for ever."""

MOST_PAGES = 20_000
"""Two million rows, more than a folder can be used with: what is longer never ends, and would fill the memory."""


class BadListing(ValueError):
    """A listing that cannot be followed to its end."""


@dataclass(slots=True)
class Cursors:
    """Follow a listing from page to page. Owned by whoever reads it."""

    seen: set[str] = field(default_factory=set)
    pages: int = 0
    empty: int = 0
    """Pages in a row that had no row."""

    def follow(self, document: Mapping[str, Any]) -> str | None:
        """Return the cursor of the page after this one, or None at the end.

        `links.next` holds the cursor and nothing else: every other parameter is to be given anew.

        Raises:
            BadListing: The link is none, or the way leads in a circle or never ends.
        """
        links = document.get("links")
        link = links.get("next") if isinstance(links, Mapping) else None
        if not isinstance(link, str):
            return None
        try:
            cursor = parse_qs(urlsplit(link).query).get("after", [None])[0]
        except ValueError:
            raise BadListing("the listing's link to the next page is not valid") from None
        if cursor is None:
            return None
        if len(cursor) > LONGEST_CURSOR:
            raise BadListing(f"the listing's cursor is longer than {LONGEST_CURSOR} characters")
        self.pages += 1
        self.empty = 0 if document.get("data") else self.empty + 1
        if cursor in self.seen:
            raise BadListing("the listing's pages lead in a circle")
        if self.empty >= MOST_EMPTY_PAGES or self.pages >= MOST_PAGES:
            raise BadListing("the listing does not end")
        self.seen.add(cursor)
        return cursor
