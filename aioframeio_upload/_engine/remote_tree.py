"""Read the user, accounts, workspaces, projects and folders that a token can reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from .._core.errors import ApiError
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
from .._io.frameio_api import (
    ACCOUNTS,
    LIST_FOLDERS,
    ME,
    PROJECTS,
    SHOW_PROJECT,
    WORKSPACES,
    FrameioApi,
    Operation,
    Pages,
)

R = TypeVar("R")


async def find_accounts(
    api: FrameioApi, account_id: str | None, project: str | None, depth: int
) -> tuple[RemoteAccount, ...]:
    """Read the tree from its accounts down, one list after the other.

    Not in parallel: how long a large account takes is decided by the documented rates, not by latency.

    Args:
        api: The API as the token's user.
        account_id: Read this account only.
        project: Read only the projects that have this id or this name.
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
            wanted = [row for row in rows if project is None or project in (row.id, row.name)]
            projects = [
                replace(row, folders=await _read_folders(api, account.id, row.root_folder_id, depth)) for row in wanted
            ]
            workspaces.append(replace(workspace, projects=tuple(projects)))
        accounts.append(replace(account, workspaces=tuple(workspaces)))
    return tuple(accounts)


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
