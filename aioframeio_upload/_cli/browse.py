"""The command `find`, and the look-up of the folder that `--folder` names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import NamedTuple

from .. import NotFound, RemoteAccount, RemoteFolder
from . import exit_status
from .format import escape
from .options import Target
from .output import lost_output_warning, write_error, write_json, write_line
from .service import Service


async def find_folder(service: Service, target: Target) -> str:
    """Return the id of the target folder; Frame.io is asked only for a project's root folder, and for a path.

    Raises:
        NotFound: There is no such project or folder.
        ApiError: The service refused.
    """
    if target.folder_id is not None:
        return target.folder_id
    async with service.uploader() as uploader:
        if target.path is not None:
            return (await uploader.find_folder(target.path, make=target.makes)).id
        assert target.project_id is not None
        project = await uploader.project(target.project_id)
    if project.root_folder_id is None:
        raise NotFound(
            "the project has no root folder", operation="show_project", status=200, advice="name a folder in it"
        )
    return project.root_folder_id


LISTED = 20
"""Names of projects in an error."""


def _nothing_found(project: str | None, accounts: tuple[RemoteAccount, ...]) -> str:
    if project is None:
        return "this token can read no account; ask for a role in one"
    names = sorted(one.name for account in accounts for space in account.workspaces for one in space.projects)
    there = ", ".join(map(repr, names[:LISTED])) or "none"
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f"no project has the ID {project!r} or a name that contains it, in upper or lower case;"
        f" this token can read: {there}{more}"
    )


class TreeRow(NamedTuple):
    """One line of the tree."""

    depth: int
    kind: str
    name: str
    id: str
    link: str | None = None


async def run_find(service: Service, project: str | None, depth: int, as_json: bool) -> int:
    """Print the tree and return the exit status: 1 if nothing, or no such project, was found."""
    async with service.uploader() as uploader:
        accounts = await uploader.find(project, depth=depth)
        has_projects = any(space.projects for account in accounts for space in account.workspaces)
        there = accounts if has_projects or project is None else await uploader.find(depth=0)
    found = False
    for row in tree_rows(accounts):
        found = found or project is None or row.kind == "project"
        if as_json:
            await asyncio.to_thread(write_json, json.dumps(row._asdict()))
        else:
            await asyncio.to_thread(write_line, f"{'  ' * row.depth}{row.kind:<9} {row.id}  {row.name}")
        if lost_output_warning() is not None:
            return exit_status.FAILED  # the reader has gone, as `| head` does after its lines
    if not found:
        write_error(escape(f"error: {_nothing_found(project, there)}"))
    return exit_status.OK if found else exit_status.FAILED


def tree_rows(accounts: tuple[RemoteAccount, ...]) -> Iterator[TreeRow]:
    """Yield the lines of the tree, each followed by those of what it contains."""
    for account in accounts:
        yield TreeRow(0, "account", account.name, account.id, account.view_url)
        for workspace in account.workspaces:
            yield TreeRow(1, "workspace", workspace.name, workspace.id, workspace.view_url)
            for project in workspace.projects:
                yield TreeRow(2, "project", project.name, project.id, project.view_url)
                if project.root_folder_id is not None:
                    name = "/ (the project's root folder)"
                    yield TreeRow(3, "folder", name, project.root_folder_id, project.view_url)
                    yield from _folder_rows(project.folders, 4)


def _folder_rows(folders: tuple[RemoteFolder, ...], depth: int) -> Iterator[TreeRow]:
    for folder in folders:
        yield TreeRow(depth, "folder", folder.name, folder.id, folder.view_url)
        yield from _folder_rows(folder.folders, depth + 1)
