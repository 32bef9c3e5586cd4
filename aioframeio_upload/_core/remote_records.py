"""Define records of what a token can reach at Frame.io: its user, accounts, workspaces, projects and folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .api_schema import MAX_SIZE, read_id
from .public import public


@public
@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """A folder at Frame.io."""

    id: str
    """The `folder_id` for `Uploader.upload`."""
    name: str
    view_url: str | None = None
    """The page that shows it in a browser."""
    folders: tuple[RemoteFolder, ...] = ()
    """The folders in it; empty below the depth to which `find` reads."""


@public
@dataclass(frozen=True, slots=True)
class RemoteProject:
    """A project at Frame.io."""

    id: str
    name: str
    root_folder_id: str | None = None
    """The folder that contains all others of the project; None if the service reports none."""
    view_url: str | None = None
    """The page that shows it in a browser."""
    folders: tuple[RemoteFolder, ...] = ()
    """The folders in its root folder; empty if `find` reads to depth 0."""


@public
@dataclass(frozen=True, slots=True)
class RemoteWorkspace:
    """A workspace at Frame.io."""

    id: str
    name: str
    view_url: str | None = None
    projects: tuple[RemoteProject, ...] = ()
    """The projects in it; only those that match, if `find` looks for one."""


@public
@dataclass(frozen=True, slots=True)
class RemoteAccount:
    """An account at Frame.io."""

    id: str
    """The `account_id` for `Uploader`."""
    name: str
    view_url: str | None = None
    workspaces: tuple[RemoteWorkspace, ...] = ()
    storage_usage: int | None = None
    """Bytes that it holds, archived files excluded; None if the service does not report it."""
    storage_limit: int | None = None
    """Bytes that it may hold; None if there is no limit, or the service does not report it."""

    @property
    def storage_left(self) -> int | None:
        """Bytes that still fit, at least 0; None if that is not known."""
        if self.storage_limit is None or self.storage_usage is None:
            return None
        return max(self.storage_limit - self.storage_usage, 0)


@public
@dataclass(frozen=True, slots=True)
class RemoteUser:
    """The user that a token belongs to."""

    id: str
    name: str
    email: str | None = None
    """None if the service does not report one, as for a technical account."""


def read_user(document: Any) -> RemoteUser | None:
    """Read the current user; return None if it has no id."""
    if (found := _read_id(document)) is None:
        return None
    return RemoteUser(found, _text(document, "name") or "", _text(document, "email"))


def read_account(row: Any) -> RemoteAccount | None:
    """Read a row of the list of accounts; return None if it has no id."""
    if (found := _read_id(row)) is None:
        return None
    return RemoteAccount(
        found,
        _text(row, "display_name") or "",
        _text(row, "view_url"),
        storage_usage=_bytes(row, "storage_usage"),
        storage_limit=_bytes(row, "storage_limit"),
    )


def read_workspace(row: Any) -> RemoteWorkspace | None:
    """Read a row of the list of workspaces; return None if it has no id."""
    if (found := _read_id(row)) is None:
        return None
    return RemoteWorkspace(found, _text(row, "name") or "", _text(row, "view_url"))


def read_project(row: Any) -> RemoteProject | None:
    """Read a project, alone or as a row of a list; return None if it has no id."""
    if (found := _read_id(row)) is None:
        return None
    root = read_id(row.get("root_folder_id"))
    return RemoteProject(found, _text(row, "name") or "", root, _text(row, "view_url"))


def read_folder(row: Any) -> RemoteFolder | None:
    """Read a row of the list of folders; return None if it has no id."""
    if (found := _read_id(row)) is None:
        return None
    return RemoteFolder(found, _text(row, "name") or "", _text(row, "view_url"))


def _read_id(row: Any) -> str | None:
    return read_id(row.get("id")) if isinstance(row, Mapping) else None


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def _bytes(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    return value if type(value) is int and 0 <= value < MAX_SIZE else None
