"""Frame.io's side: what each operation of the V4 API does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ._account import Account
from ._json import ApiRefusalError, Json, account_json, asset_json, page, project_json, status_json, workspace_json
from ._store import Asset, FakeFile, FakeFolder, FakeStack

LARGEST_FILE = 5 * 1024**4

A = TypeVar("A", bound=Asset)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API: where it goes and what it brings."""

    account: Account
    path: str
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: Json

    def file(self) -> FakeFile:
        """The file in the path, or 404."""
        return _found(self.account.store.file(self.ids["file_id"]))

    def folder(self) -> FakeFolder:
        """The folder in the path, or 404."""
        return _found(self.account.store.folder(self.ids["folder_id"]))

    def stack(self) -> FakeStack:
        """The version stack in the path, or 404."""
        return _found(self.account.store.stack(self.ids["stack_id"]))

    def page(self, assets: list[Asset]) -> Json:
        """One page of a listing of assets; a listing is a way to poll, too."""
        for asset in assets:
            if isinstance(asset, FakeFile):
                self.account.poll(asset)
        return page(self.path, self.query, [asset_json(self.account, asset) for asset in assets])


Operation = Callable[[Call], tuple[int, Json | None]]


def create(call: Call) -> tuple[int, Json]:
    """Create file (local upload)."""
    folder, account = call.folder(), call.account
    name = _name(call.body)
    size = call.body.get("file_size")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= LARGEST_FILE:
        raise ApiRefusalError(422, "is invalid", pointer="/data/file_size", title="Invalid value")
    file = account.new_file(name, size, folder.id)
    urls = [{"size": part, "url": account.part_url(file, number)} for number, part in enumerate(file.part_sizes, 1)]
    return 201, {"data": asset_json(account, file) | {"upload_urls": urls}}


def remote(call: Call) -> tuple[int, Json]:
    """Create file (remote upload); nothing is fetched."""
    folder, account = call.folder(), call.account
    name = _name(call.body)
    source = call.body.get("source_url")
    if not isinstance(source, str) or not re.match(r"https?://.", source):
        raise ApiRefusalError(422, "is invalid", pointer="/data/source_url", title="Invalid value")
    file = account.new_file(name, 0, folder.id, remote=True)
    status = f"/v4/accounts/{account.id}/files/{file.id}/status"
    return 202, {"data": asset_json(account, file), "links": {"status": status}}


def status(call: Call) -> tuple[int, Json]:
    """Show file upload status."""
    file = call.file()
    call.account.poll(file)
    return 200, {"data": status_json(file)}


def show(call: Call) -> tuple[int, Json]:
    """Show file."""
    file = call.file()
    call.account.poll(file)
    return 200, {"data": asset_json(call.account, file)}


def delete(call: Call) -> tuple[int, None]:
    """Delete file."""
    call.account.drop_parts(call.account.store.remove(call.file()))
    return 204, None


def move(call: Call) -> tuple[int, Json]:
    """Move file, to a folder or on top of a version stack."""
    file, store = call.file(), call.account.store
    parent_id = call.body.get("parent_id")
    destination = store.assets.get(parent_id) if isinstance(parent_id, str) else None
    if not isinstance(destination, FakeFolder | FakeStack):
        raise ApiRefusalError(422, "does not exist", pointer="/data/parent_id", title="Invalid value")
    if isinstance(destination, FakeStack):
        _uploaded(file, "/data/parent_id")
    if file.parent_id != destination.id:
        store.move(file, destination, call.account.clock())
    return 200, {"data": asset_json(call.account, file)}


def list_files(call: Call) -> tuple[int, Json]:
    """List files in folder; those in its stacks are not among them."""
    return 200, call.page(_of_type(call.account.store.children(call.folder().id), FakeFile))


def list_folders(call: Call) -> tuple[int, Json]:
    """List folders in folder."""
    return 200, call.page(_of_type(call.account.store.children(call.folder().id), FakeFolder))


def list_stacks(call: Call) -> tuple[int, Json]:
    """List version stacks in folder."""
    return 200, call.page(_of_type(call.account.store.children(call.folder().id), FakeStack))


def list_children(call: Call) -> tuple[int, Json]:
    """List folder children: files, folders and stacks, or one `type` of them."""
    kinds: dict[str, type[Asset]] = {"file": FakeFile, "folder": FakeFolder, "version_stack": FakeStack}
    wanted = [kind for kind in re.split(r"[\s,]+", call.query.get("type", "")) if kind]
    if not set(wanted) <= set(kinds):
        raise ApiRefusalError(422, "is invalid", pointer="/type", title="Invalid value")
    classes = tuple(kinds[kind] for kind in wanted or kinds)
    return 200, call.page(_of_type(call.account.store.children(call.folder().id), *classes))


def create_folder(call: Call) -> tuple[int, Json]:
    """Create folder; a name that is there already makes a second one."""
    now = call.account.clock()
    folder = FakeFolder(name=_name(call.body), parent_id=call.folder().id, created_at=now, updated_at=now)
    call.account.store.add(folder)
    return 201, {"data": asset_json(call.account, folder)}


def show_folder(call: Call) -> tuple[int, Json]:
    """Show folder."""
    return 200, {"data": asset_json(call.account, call.folder())}


def delete_folder(call: Call) -> tuple[int, None]:
    """Delete folder, with all that is in it."""
    folder = call.folder()
    if folder.parent_id is None:
        raise ApiRefusalError(403, "The root folder of a project cannot be deleted", title="Forbidden")
    call.account.drop_parts(call.account.store.remove(folder))
    return 204, None


def create_stack(call: Call) -> tuple[int, Json]:
    """Create version stack, from 2 to 10 files of that folder, the oldest first."""
    folder, account = call.folder(), call.account
    ids = call.body.get("file_ids")
    if not isinstance(ids, list) or not 2 <= len(ids) <= 10 or len(set(map(str, ids))) != len(ids):
        raise ApiRefusalError(422, "must be 2 to 10 files", pointer="/data/file_ids", title="Invalid value")
    files = [account.store.file(str(id)) for id in ids]
    members = [file for file in files if file is not None and file.parent_id == folder.id]
    if len(members) != len(ids):
        raise ApiRefusalError(422, "must all be files in that folder", pointer="/data/file_ids", title="Invalid value")
    for file in members:
        _uploaded(file, "/data/file_ids")
    return 201, {"data": asset_json(account, account.store.stack_up(members, folder, account.clock()))}


def show_stack(call: Call) -> tuple[int, Json]:
    """Show version stack."""
    return 200, {"data": asset_json(call.account, call.stack())}


def list_stack(call: Call) -> tuple[int, Json]:
    """List stack children, the oldest version first."""
    return 200, call.page(call.account.store.children(call.stack().id))


def me(call: Call) -> tuple[int, Json]:
    """Current user."""
    user = {"id": call.account.user_id, "email": "fake@example.com", "name": "Fake User", "avatar_url": None}
    return 200, {"data": user}


def accounts(call: Call) -> tuple[int, Json]:
    """List accounts."""
    return 200, page(call.path, call.query, [account_json(call.account)])


def workspaces(call: Call) -> tuple[int, Json]:
    """List workspaces."""
    return 200, page(call.path, call.query, [workspace_json(call.account)])


def projects(call: Call) -> tuple[int, Json]:
    """List projects, of a workspace or all."""
    if call.ids.get("workspace_id", call.account.workspace_id) != call.account.workspace_id:
        raise _not_found()
    return 200, page(call.path, call.query, [project_json(call.account)])


def show_project(call: Call) -> tuple[int, Json]:
    """Show project."""
    if call.ids["project_id"] != call.account.project_id:
        raise _not_found()
    return 200, {"data": project_json(call.account)}


def body_of(raw: bytes) -> Json:
    """Return what is inside `data` of a request's body.

    Raises:
        ApiRefusalError: 400, it is not JSON with an object in `data`.
    """
    try:
        document = json.loads(raw)
    except ValueError:
        raise ApiRefusalError(400, "The body is not JSON", title="Bad Request") from None
    content: Any = document.get("data") if isinstance(document, dict) else None
    if not isinstance(content, dict):
        raise ApiRefusalError(422, "Missing field: data", pointer="/data", title="Invalid value")
    return content


def _name(body: Json) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ApiRefusalError(422, "can't be blank", pointer="/data/name", title="Invalid value")
    return name


def _uploaded(file: FakeFile, pointer: str) -> None:
    """Help centre: wait until a version has fully uploaded before stacking. That it is refused is our strictness."""
    if not file.complete:
        raise ApiRefusalError(422, "is not uploaded yet", pointer=pointer, title="Invalid value")


def _of_type(assets: list[Asset], *classes: type[Asset]) -> list[Asset]:
    return [asset for asset in assets if isinstance(asset, classes)]


def _found(asset: A | None) -> A:
    if asset is None:
        raise _not_found()
    return asset


def _not_found() -> ApiRefusalError:
    return ApiRefusalError(404, "Not Found", title="Not Found")
