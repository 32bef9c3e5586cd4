"""A folder's listing at Frame.io: follow its pages, read its rows, and find the remote file of a local one."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import parse_qs, urlsplit

from .api_schema import read_id, read_instant, read_size
from .patterns import same_name

Conflict: TypeAlias = Literal["create", "skip", "version", "version-changed"]
"""How to treat a remote file of the same name: create another one (the API allows equal names), skip the upload if
it is the same file, or stack the new file on it as a version: always, or unless it is the same file."""

Compare: TypeAlias = Literal["auto", "content"]
"""What tells whether a remote file is the same as a source: what is known here, or its content in any case."""


SKIPPING = ("skip", "version-changed")
"""Rules by which a source is not sent if it is there already."""

STACKING = ("version", "version-changed")
"""Rules by which a file that was sent is stacked on its namesake."""


def check_conflict(conflict: str) -> None:
    """Raise ValueError unless `conflict` is a valid value of `Conflict`."""
    if conflict not in get_args(Conflict):
        raise ValueError(f"conflict={conflict!r} is not one of {', '.join(map(repr, get_args(Conflict)))}")


def check_compare(compare: str, conflict: str | None = None) -> None:
    """Raise ValueError unless `compare` is a valid value of `Compare`, and has an effect.

    Args:
        compare: The value.
        conflict: The conflict rule; None where files are compared with any rule, as in a watch.
    """
    if compare not in get_args(Compare):
        raise ValueError(f"compare={compare!r} is not one of {', '.join(map(repr, get_args(Compare)))}")
    if compare == "content" and conflict is not None and conflict not in SKIPPING:
        rules = " or ".join(f"conflict={rule!r}" for rule in SKIPPING)
        raise ValueError(f"compare='content' needs {rules}: with {conflict!r}, nothing is compared")


# -- pages -------------------------------------------------------------------------------------------------------------

LONGEST_CURSOR = 4096
"""Characters. The cursor is sent in the next request line, which servers limit to 8 KB (nginx, Apache)."""

MOST_EMPTY_PAGES = 100
"""Consecutive pages without a row. A filter can leave some pages of a service empty; but a server whose cursors are
always new and never lead to a row would be followed for ever."""

MOST_PAGES = 20_000
"""Two million rows, more than a folder can usefully hold: a longer listing never ends, and would fill the memory."""


class BadListing(ValueError):
    """A listing that cannot be followed to its end."""


@dataclass(slots=True)
class Cursors:
    """Follow a listing from page to page. Owned by its reader."""

    seen: set[str] = field(default_factory=set)
    pages: int = 0
    empty: int = 0
    """Consecutive pages without a row."""

    def follow(self, document: Mapping[str, Any]) -> str | None:
        """Return the cursor of the page after this one, or None at the end.

        `links.next` carries the cursor alone: every other query parameter has to be sent again (API reference,
        pagination).

        Raises:
            BadListing: The link is not valid, or the pages lead in a circle or do not end.
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


# -- rows --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at Frame.io, by itself or as the head of a version stack."""

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
        # The statuses are created, uploaded and transcoded; the API's enum is open, so a new one counts as arrived.
        return self.status not in (None, "created")


def read_remote_file(row: Mapping[str, Any]) -> RemoteFile | None:
    """Read a row that is a file or a version stack, which is represented by its head. Return None for other rows."""
    stack_id = None
    if row.get("type") == "version_stack":
        head, stack_id = row.get("head_version"), row["id"]
        row = head if isinstance(head, Mapping) else {**row, "type": "file"}
    texts = {key: value for key, value in row.items() if isinstance(value, str)}
    if texts.get("type") != "file" or read_id(texts.get("id")) is None or "name" not in texts:
        return None
    return RemoteFile(
        id=texts["id"],
        name=texts["name"],
        size=read_size(row),
        status=texts.get("status"),
        created_at=read_instant(texts.get("created_at")),
        stack_id=stack_id,
        media_type=texts.get("media_type"),
        view_url=texts.get("view_url"),
    )


@dataclass(slots=True)
class Listing:
    """The files and folders of a remote folder, grouped by names that look the same (see `same_name`)."""

    files: dict[str, list[RemoteFile]] = field(default_factory=dict)
    folders: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Name and ID of each folder, the oldest first."""

    def add(self, rows: Iterable[Any]) -> None:
        """Add the rows of a page; malformed rows are ignored."""
        for row in rows:
            if not isinstance(row, Mapping) or read_id(row.get("id")) is None:
                continue
            if row.get("type") == "folder" and isinstance(name := row.get("name"), str):
                self.folders.setdefault(same_name(name), []).append((name, row["id"]))
            elif (found := read_remote_file(row)) is not None:
                self.files.setdefault(same_name(found.name), []).append(found)

    def folder(self, name: str, *, exact: bool = False) -> str | None:
        """Return the ID of the oldest folder of that name; unless `exact`, of one whose name looks the same."""
        alike = self.folders.get(same_name(name), ())
        named = [id for found, id in alike if found == name] or [id for _, id in alike if not exact]
        return named[0] if named else None

    def namesakes(self, name: str, *, exact: bool = False, but: str | None = None) -> list[RemoteFile]:
        """Return the files of that name; if there are none and not `exact`, those whose name looks the same.

        Args:
            name: The name to find.
            exact: Leave out names that only look the same.
            but: The ID of a file to leave out.
        """
        alike = [one for one in self.files.get(same_name(name), ()) if one.id != but]
        return [one for one in alike if one.name == name] or ([] if exact else alike)

    def remove(self, one: RemoteFile) -> None:
        """Remove a file that was matched: it corresponds to one local file, not to two whose names look the same."""
        self.files[same_name(one.name)].remove(one)


# -- matching ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clocks:
    """The times that two clocks show at one moment."""

    service: datetime
    local: datetime


def find_same(
    namesakes: Iterable[RemoteFile], size: int, modified_ns: int | None, clocks: Clocks | None = None
) -> RemoteFile | None:
    """Return the namesake that the source would duplicate: of the same size, arrived, and newer than the source.

    Size alone does not suffice: the frames of a sequence all have one size, also after they were rendered again. A
    source without a modification time (bytes, a stream) is compared by name and size alone. So is one whose time is
    later than the service's own now: no upload could ever be newer, so that every run would send it again.
    """
    for one in namesakes:
        if one.size == size and one.has_arrived and _is_newer(one, modified_ns, clocks):
            return one
    return None


def find_known(namesakes: Iterable[RemoteFile], ids: Container[str | None]) -> RemoteFile | None:
    """Return the namesake that has arrived and is one of these files; no clock has a say."""
    return next((one for one in namesakes if one.id in ids and one.has_arrived), None)


RESOLUTION = timedelta(seconds=1)
"""The service's time comes from its `Date` header, in whole seconds: a file written just now may appear to be later."""


def _is_newer(one: RemoteFile, modified_ns: int | None, clocks: Clocks | None) -> bool:
    if modified_ns is None:
        return True
    # In whole microseconds: a float64 of a present-day time in nanoseconds is off by up to 128 ns.
    modified = modified_ns // 1000
    if one.created_at is not None and _micros(one.created_at) > modified:
        return True
    if clocks is None:
        return False
    service = clocks.service
    if one.created_at is not None and one.created_at > service + RESOLUTION:
        service = clocks.local  # the `Date` cannot be the service's own: a gateway with a wrong clock set it
    if modified <= _micros(service + RESOLUTION):
        return False
    # The source's time is in the service's future. If it is not in the local future, the local clock is ahead, and the
    # time is converted by the difference of the clocks: a file rendered again a minute ago still counts as newer.
    if one.created_at is None or modified > _micros(clocks.local):
        return True
    return _micros(one.created_at) > modified - (_micros(clocks.local) - _micros(service))


def _micros(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = datetime.resolution


def find_below(namesakes: Iterable[RemoteFile]) -> RemoteFile | None:
    """Return the file that a new version is stacked on: a stack's head before a single file, then the newest.

    Files that have not arrived are left out: a version stack takes fully uploaded files only (Frame.io's help centre,
    article 9101068).
    """
    arrived = [one for one in namesakes if one.has_arrived or one.stack_id is not None]
    return max(arrived, key=lambda one: (one.stack_id is not None, one.created_at or EPOCH), default=None)
