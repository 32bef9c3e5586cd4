"""Read the user, accounts, workspaces, projects and folders that a token can reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from .._core.errors import ApiError, NotFound
from .._core.events import FolderCreated
from .._core.patterns import same_name
from .._core.remote_records import (
    RemoteAccount,
    RemoteFolder,
    RemoteProject,
    RemoteUser,
    read_account,
    read_folder,
    read_project,
    read_user,
    read_workspace,
)
from .._core.words import CHECK_PATH, MAKE_FOLDER, NAME_A_FOLDER
from .._io.frameio_api import (
    ACCOUNTS,
    LIST_CHILDREN,
    LIST_FOLDERS,
    ME,
    PROJECTS,
    SHOW_PROJECT,
    WORKSPACES,
    FrameioApi,
    Operation,
    Pages,
    read_listing,
)
from .event_log import EventLog
from .remote_folders import RemoteFolders

R = TypeVar("R")


async def find_accounts(
    api: FrameioApi, account_id: str | None, project: str | None, depth: int
) -> tuple[RemoteAccount, ...]:
    """Read the tree from its accounts down, one list after the other.

    Not in parallel: how long a large account takes is decided by the documented rates, not by latency.

    Args:
        api: The API as the token's user.
        account_id: Read this account only.
        project: Read only the projects that have this id or this name; if there is none, those whose name contains it.
        depth: The levels of folders to read below each project's root folder.

    Raises:
        ApiError: The service refused a list.
    """
    accounts = []
    for account in await _read_all(api, ACCOUNTS, read_account):
        if account_id not in (None, account.id):
            continue
        workspaces = []
        for workspace in await _read_all(api, WORKSPACES, read_workspace, account_id=account.id):
            rows = await _read_all(api, PROJECTS, read_project, account_id=account.id, workspace_id=workspace.id)
            workspaces.append(replace(workspace, projects=tuple(rows)))
        accounts.append(replace(account, workspaces=tuple(workspaces)))
    is_wanted = _choose(accounts, project)
    return tuple([await _read_chosen(api, account, is_wanted, depth) for account in accounts])


async def _read_chosen(
    api: FrameioApi, account: RemoteAccount, is_wanted: Callable[[RemoteProject], bool], depth: int
) -> RemoteAccount:
    """Return an account with the wanted projects alone, each with its folders."""
    workspaces = []
    for workspace in account.workspaces:
        projects = [
            replace(row, folders=await _read_folders(api, account.id, row.root_folder_id, depth))
            for row in workspace.projects
            if is_wanted(row)
        ]
        workspaces.append(replace(workspace, projects=tuple(projects)))
    return replace(account, workspaces=tuple(workspaces))


def _choose(accounts: list[RemoteAccount], text: str | None) -> Callable[[RemoteProject], bool]:
    """Return which projects are meant: all, those of this ID or name, or else those whose name contains it."""
    if text is None:
        return lambda _: True
    rows = [row for account in accounts for space in account.workspaces for row in space.projects]
    if any(text in (row.id, row.name) for row in rows):
        return lambda row: text in (row.id, row.name)
    part = same_name(text).casefold()
    return lambda row: part in same_name(row.name).casefold()


async def list_accounts(api: FrameioApi) -> tuple[RemoteAccount, ...]:
    """Read the accounts alone, in one call for up to a hundred of them.

    Raises:
        ApiError: The service refused.
    """
    return tuple(await _read_all(api, ACCOUNTS, read_account))


async def find_user(api: FrameioApi) -> RemoteUser:
    """Read the user that the token belongs to.

    Raises:
        ApiError: The service refused.
    """
    found = read_user(await api.call(ME, account_id=None))
    if found is None:
        raise ApiError("the answer's id is missing", operation=ME.name, status=200)
    return found


async def find_project(api: FrameioApi, account_id: str, project_id: str) -> RemoteProject:
    """Read one project by its id, in one call: a guest of a project may not list workspaces.

    Raises:
        ApiError: There is no such project, or the service refused.
    """
    answer = await api.call(SHOW_PROJECT, account_id=account_id, project_id=project_id)
    found = read_project(answer)
    if found is None:
        raise ApiError("the answer's id is missing", operation=SHOW_PROJECT.name, status=200)
    return found


LISTED = 20
"""Names of projects or folders in an error."""


async def find_folder(api: FrameioApi, account_id: str, names: list[str], *, make: bool) -> RemoteFolder:
    """Find the folder of a path whose first name is a project's; optionally create the folders that are missing.

    Raises:
        NotFound: There is no such project or folder.
        ApiError: Several projects have the name, or the service refused a call.
    """
    project, root_id = await _find_root(api, account_id, names[0])
    if make:
        folders = _folders_below(api, account_id, root_id, EventLog(), makes=True)  # nobody listens
        place = await folders.place("/".join(names[1:]))
        return RemoteFolder(place.id, names[-1] if names[1:] else project.name)
    found, way = RemoteFolder(root_id, project.name, project.view_url), project.name
    for name in names[1:]:
        listing = await read_listing(api, account_id, found.id, only="folder")
        inside = listing.folder(name)
        if inside is None:
            there = [one for alike in listing.folders.values() for one, _ in alike]
            words = f"there is no folder {name!r} in {way!r}; {_list('folder', there)}"
            raise NotFound(words, operation=LIST_CHILDREN.name, status=200, advice=MAKE_FOLDER)
        found, way = RemoteFolder(inside, name), f"{way}/{name}"
    return found


async def find_missing(api: FrameioApi, account_id: str, names: list[str]) -> tuple[str, ...]:
    """Return the paths of the folders that `find_folder` would create, parents first.

    Raises:
        NotFound: There is no such project.
        ApiError: Several projects have the name, or the service refused a call.
    """
    project, root_id = await _find_root(api, account_id, names[0])
    events = EventLog()
    folders = _folders_below(api, account_id, root_id, events, makes=False)
    await folders.place("/".join(names[1:]))
    return tuple(f"{project.name}/{fact.path}" for fact in events.facts if isinstance(fact, FolderCreated))


async def _find_root(api: FrameioApi, account_id: str, name: str) -> tuple[RemoteProject, str]:
    project = await _find_named_project(api, account_id, name)
    if project.root_folder_id is None:
        raise NotFound("the project has no root folder", operation=SHOW_PROJECT.name, status=200, advice=NAME_A_FOLDER)
    return project, project.root_folder_id


def _folders_below(api: FrameioApi, account_id: str, folder_id: str, events: EventLog, *, makes: bool) -> RemoteFolders:
    return RemoteFolders(
        api,
        account_id=account_id,
        folder_id=folder_id,
        name=None,
        only="folder",
        exact=(),
        events=events,
        makes=makes,
    )


async def _find_named_project(api: FrameioApi, account_id: str, name: str) -> RemoteProject:
    accounts = await find_accounts(api, account_id, None, 0)
    projects = [one for account in accounts for space in account.workspaces for one in space.projects]
    # Names may differ in Unicode normalization: macOS decomposes accents, other systems compose them.
    found = [one for one in projects if name == one.id] or [
        one for one in projects if same_name(one.name) == same_name(name)
    ]
    if not found:
        words = f"there is no project {name!r}; {_list('project', [one.name for one in projects])}"
        raise NotFound(words, operation=PROJECTS.name, status=200, advice=CHECK_PATH)
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise ApiError(
            f"several projects are called {name!r}",
            operation=PROJECTS.name,
            status=200,
            advice=f"use the ID of one: {ids}",
        )
    return found[0]


def _list(kind: str, names: list[str]) -> str:
    """Return what there is instead, for an error."""
    if not names:
        return f"this token can read no {kind} there"
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"there is {', '.join(repr(name) for name in sorted(names)[:LISTED])}{more}"


async def _read_folders(
    api: FrameioApi, account_id: str, folder_id: str | None, depth: int
) -> tuple[RemoteFolder, ...]:
    if folder_id is None or depth <= 0:
        return ()
    found = await _read_all(api, LIST_FOLDERS, read_folder, account_id=account_id, folder_id=folder_id)
    return tuple([replace(one, folders=await _read_folders(api, account_id, one.id, depth - 1)) for one in found])


async def _read_all(
    api: FrameioApi,
    operation: Operation,
    read: Callable[[Any], R | None],
    *,
    account_id: str | None = None,
    workspace_id: str | None = None,
    folder_id: str | None = None,
) -> list[R]:
    """Read a list to its end, without the rows that have no id."""
    pages = Pages(api, operation, account_id=account_id, workspace_id=workspace_id, folder_id=folder_id)
    found: list[R] = []
    while not pages.is_over:
        found += [one for row in await pages.read() if (one := read(row)) is not None]
    return found
