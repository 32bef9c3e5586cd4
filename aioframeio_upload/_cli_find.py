"""`find`: accounts, workspaces, projects and folders as a tree, with the ids that an upload needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from ._cli_ask import Asker, asking
from ._cli_output import complain, loss, say, say_json
from ._cli_settings import Service


class Row(NamedTuple):
    """One line of the tree."""

    depth: int
    kind: str
    name: str
    id: str
    link: str | None = None


async def find(service: Service, project: str | None, depth: int, as_json: bool) -> int:
    """Print the tree as it is read, and give the exit status: 1 where nothing, or no such project, was found."""
    found = False
    async with service.token() as token, asking(service, token) as asker:
        async for row in _rows(asker, service.account_id, project, depth):
            found = found or project is None or row.kind == "project"
            if as_json:
                await asyncio.to_thread(say_json, json.dumps(row._asdict()))
            else:
                await asyncio.to_thread(say, f"{'  ' * row.depth}{row.kind:<9} {row.id}  {row.name}")
            if loss() is not None:
                return 1  # such as of `| head`; the rest of the tree would be asked for and shown to nobody
    if not found:
        complain("error: nothing that this token may see fits")
    return 0 if found else 1


async def _rows(asker: Asker, account_id: str | None, project: str | None, depth: int) -> AsyncIterator[Row]:
    """Give the lines; an account or a workspace is told with its first project."""
    for account in await asker.all("accounts"):
        if account_id not in (None, account["id"]):
            continue
        yield _row(0, "account", account, "display_name")
        for workspace in await asker.all("accounts", account["id"], "workspaces"):
            yield _row(1, "workspace", workspace)
            for one in await asker.all("accounts", account["id"], "workspaces", workspace["id"], "projects"):
                if project is not None and project not in (one["id"], one.get("name")):
                    continue
                yield _row(2, "project", one)
                root = one.get("root_folder_id")
                if not root:
                    continue
                yield Row(3, "folder", "/ (the project's root folder)", str(root), _text(one.get("view_url")))
                async for row in _below(asker, account["id"], str(root), 4, depth):
                    yield row


async def _below(asker: Asker, account_id: str, folder_id: str, at: int, depth: int) -> AsyncIterator[Row]:
    if depth == 0:
        return
    for folder in await asker.all("accounts", account_id, "folders", folder_id, "folders"):
        yield _row(at, "folder", folder)
        async for row in _below(asker, account_id, folder["id"], at + 1, depth - 1):
            yield row


def _row(depth: int, kind: str, told: dict[str, Any], name: str = "name") -> Row:
    return Row(depth, kind, str(told.get(name) or ""), str(told["id"]), _text(told.get("view_url")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
