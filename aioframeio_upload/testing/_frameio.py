"""The operations of Frame.io's V4 API, each a function from a call to its status and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ._account import Account
from ._json import ApiRefusalError, Json, account_json, asset_json, page, project_json, status_json, workspace_json
from ._store import Asset, FakeFile, FakeFolder, FakeStack

# SDK 4.0.0, `files.create_local_upload`: "up to 5 TB"; whether that is 10**12 or 1024**4 is not documented.
LARGEST_FILE = 5 * 1024**4

A = TypeVar("A", bound=Asset)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API, with its path, query and body parsed."""

    account: Account
    path: str
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: Json

    def file(self) -> FakeFile:
        """Return the file that the path names, or refuse with 404."""
        return _found(self.account.store.file(self.ids["file_id"]))

    def folder(self) -> FakeFolder:
        """Return the folder that the path names, or refuse with 404."""
        return _found(self.account.store.folder(self.ids["folder_id"]))

    def stack(self) -> FakeStack:
        """Return the version stack that the path names, or refuse with 404."""
        return _found(self.account.store.stack(self.ids["stack_id"]))

    def page(self, assets: list[Asset]) -> Json:
        """Return one page of a listing of assets."""
        # A listing shows each file's status, so it is a poll of all of them at once.
        for asset in assets:
            if isinstance(asset, FakeFile):
                self.account.poll(asset)
        return page(self.path, self.query, [asset_json(self.account, asset) for asset in assets])


Operation = Callable[[Call], tuple[int, Json | None]]


def create(call: Call) -> tuple[int, Json]:
    """Create a placeholder and return it with the URLs of its parts (Create file, local upload)."""
    folder, account = call.folder(), call.account
    name = _name(call.body)
    # How the service answers a size of 0 is not documented. The SDK's uploader refuses an empty file itself.
    size = call.body.get("file_size")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= LARGEST_FILE:
        raise ApiRefusalError(422, "is invalid", pointer="/data/file_size", title="Invalid value")
    file = account.new_file(name, size, folder.id)
    urls = [{"size": part, "url": account.part_url(file, number)} for number, part in enumerate(file.part_sizes, 1)]
    return 201, {"data": asset_json(account, file) | {"upload_urls": urls}}


def remote(call: Call) -> tuple[int, Json]:
    """Create a placeholder for a file at a URL, which is not fetched (Create file, remote upload)."""
    folder, account = call.folder(), call.account
    name = _name(call.body)
    # Unlike a local upload this is answered 202, with a link to the status (AdobeDocs, frameio-api, "How To: Upload").
    source = call.body.get("source_url")
    if not isinstance(source, str) or not re.match(r"https?://.", source):
        raise ApiRefusalError(422, "is invalid", pointer="/data/source_url", title="Invalid value")
    file = account.new_file(name, 0, folder.id, remote=True)
    status = f"/v4/accounts/{account.id}/files/{file.id}/status"
    return 202, {"data": asset_json(account, file), "links": {"status": status}}


def status(call: Call) -> tuple[int, Json]:
    """Return whether the upload is complete or failed (Show file upload status)."""
    file = call.file()
    call.account.poll(file)
    return 200, {"data": status_json(file)}


def show(call: Call) -> tuple[int, Json]:
    """Return a file, with the link to its original if that is asked for (Show file)."""
    file = call.file()
    call.account.poll(file)
    document = asset_json(call.account, file)
    if call.query.get("include") == "media_links.original":
        # "one third-party tool also reports 403 on the original until the asset is finalised"
        if not file.complete:
            raise ApiRefusalError(403, "You do not have access", title="Forbidden")
        document["media_links"] = {"original": {"download_url": call.account.original_url(file)}}
    return 200, {"data": document}


def delete(call: Call) -> tuple[int, None]:
    """Delete a file or placeholder (Delete file)."""
    call.account.drop_parts(call.account.store.remove(call.file()))
    return 204, None


def move(call: Call) -> tuple[int, Json]:
    """Move a file into a folder or on top of a version stack (Move file)."""
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
    """Return the files in a folder, without those in its version stacks (List files in folder)."""
    return 200, call.page(_of_type(call.account.store.children(call.folder().id), FakeFile))


def list_folders(call: Call) -> tuple[int, Json]:
    """Return the folders in a folder (List folders in folder)."""
    return 200, call.page(_of_type(call.account.store.children(call.folder().id), FakeFolder))


def list_stacks(call: Call) -> tuple[int, Json]:
    """Return the version stacks in a folder (List version stacks in folder)."""
    return 200, call.page(_of_type(call.account.store.children(call.folder().id), FakeStack))


def list_children(call: Call) -> tuple[int, Json]:
    """Return the children of a folder, of all types or of those in `type` (List folder children)."""
    kinds: dict[str, type[Asset]] = {"file": FakeFile, "folder": FakeFolder, "version_stack": FakeStack}
    wanted = [kind for kind in re.split(r"[\s,]+", call.query.get("type", "")) if kind]
    if not set(wanted) <= set(kinds):
        raise ApiRefusalError(422, "is invalid", pointer="/type", title="Invalid value")
    classes = tuple(kinds[kind] for kind in wanted or kinds)
    return 200, call.page(_of_type(call.account.store.children(call.folder().id), *classes))


def create_folder(call: Call) -> tuple[int, Json]:
    """Create a folder (Create folder)."""
    now = call.account.clock()
    # No 409 for a name that exists already: users of the API report duplicates after parallel creations.
    folder = FakeFolder(name=_name(call.body), parent_id=call.folder().id, created_at=now, updated_at=now)
    call.account.store.add(folder)
    return 201, {"data": asset_json(call.account, folder)}


def show_folder(call: Call) -> tuple[int, Json]:
    """Return a folder (Show folder)."""
    return 200, {"data": asset_json(call.account, call.folder())}


def delete_folder(call: Call) -> tuple[int, None]:
    """Delete a folder and its content (Delete folder)."""
    folder = call.folder()
    if folder.parent_id is None:
        raise ApiRefusalError(403, "The root folder of a project cannot be deleted", title="Forbidden")
    call.account.drop_parts(call.account.store.remove(folder))
    return 204, None


def create_stack(call: Call) -> tuple[int, Json]:
    """Create a version stack of 2 to 10 files of the folder, the oldest first (Create version stack)."""
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
    """Return a version stack (Show version stack)."""
    return 200, {"data": asset_json(call.account, call.stack())}


def list_stack(call: Call) -> tuple[int, Json]:
    """Return the versions in a stack, the oldest first (List stack children)."""
    return 200, call.page(call.account.store.children(call.stack().id))


def me(call: Call) -> tuple[int, Json]:
    """Return the user of the token (Current user)."""
    user = {"id": call.account.user_id, "email": "fake@example.com", "name": "Fake User", "avatar_url": None}
    return 200, {"data": user}


def accounts(call: Call) -> tuple[int, Json]:
    """Return the user's accounts (List accounts)."""
    rows = [account_json(call.account), *(account_json(call.account, other) for other in call.account.others)]
    return 200, page(call.path, call.query, rows)


def workspaces(call: Call) -> tuple[int, Json]:
    """Return the account's only workspace (List workspaces)."""
    return 200, page(call.path, call.query, [workspace_json(call.account)])


def projects(call: Call) -> tuple[int, Json]:
    """Return the only project, of a workspace or of the account (List projects)."""
    if call.ids.get("workspace_id", call.account.workspace_id) != call.account.workspace_id:
        raise _not_found()
    return 200, page(call.path, call.query, [project_json(call.account)])


def show_project(call: Call) -> tuple[int, Json]:
    """Return a project (Show project)."""
    if call.ids["project_id"] != call.account.project_id:
        raise _not_found()
    return 200, {"data": project_json(call.account)}


def body_of(raw: bytes) -> Json:
    """Return the object in `data` of a request's body.

    Raises:
        ApiRefusalError: 400 if the body is not JSON, 422 if it has no object in `data`.
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
    """Refuse to stack a file that is not complete."""
    # The help centre says to wait for it (help.frame.io, article 9101068); how the API reacts is not documented.
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
