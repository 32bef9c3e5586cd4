"""The JSON of the V4 API: each kind of asset, the errors and the pages of listings."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ._account import Account
from ._store import Asset, FakeFile, FakeFolder, FakeStack

Json = dict[str, Any]

# AdobeDocs, frameio-api guide, "Pagination": `page_size` is 50 by default and 100 at most.
PAGE_SIZE = 50
LARGEST_PAGE = 100
# SDK 4.0.0, the values of `sort` for lists of files, each with `_asc` or `_desc`.
SORTABLE = ("name", "created_at", "updated_at", "file_size")


class ApiRefusalError(Exception):
    """The API refuses a call, with this status and these fields of the error."""

    def __init__(self, status: int, detail: str, *, pointer: str | None = None, title: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.pointer = pointer
        self.title = title

    def document(self) -> Json:
        """Return the body of the answer, in the form of the SDK's error models: `detail` always, the rest nullable."""
        source = {"pointer": self.pointer}
        return {"errors": [{"detail": self.detail, "source": source, "title": self.title}]}


def stamp(at: datetime | None) -> str | None:
    """Return an instant in the form of the API's examples: microseconds and "Z"."""
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def asset_json(account: Account, asset: Asset) -> Json:
    """Return the JSON of a folder, file or version stack."""
    web_app = f"https://next.frame.io/project/{account.project_id}"
    common: Json = {
        "id": asset.id,
        "name": asset.name,
        "parent_id": asset.parent_id,
        "project_id": account.project_id,
        "created_at": stamp(asset.created_at),
        "updated_at": stamp(asset.updated_at),
        "view_url": f"{web_app}/view/{asset.id}",
        "adobe_id": None,
    }
    if isinstance(asset, FakeFolder):
        view_url = f"{web_app}/{asset.id}"
        return common | {"type": "folder", "cover_file_id": None, "restricted": False, "view_url": view_url}
    if isinstance(asset, FakeStack):
        head = account.store.file(asset.file_ids[-1])
        return common | {
            "type": "version_stack",
            "head_version": None if head is None else asset_json(account, head),
        }
    assert isinstance(asset, FakeFile)
    # `media_type` may be null until the file is uploaded; since SDK 1.2.8 its schema allows that.
    return common | {
        "type": "file",
        "status": asset.status,
        "file_size": asset.size,
        "media_type": asset.media_type,
        "adobe_version_id": None,
    }


def status_json(file: FakeFile) -> Json:
    """Return the JSON of a file's upload status."""
    reported = file.status != "created"
    return {
        "id": file.id,
        "filetype": file.media_type or "application/octet-stream",
        "upload_complete": reported and not file.failed,
        "upload_failed": file.failed,
        "upload_completed_at": stamp(file.completed_at) if reported else None,
        # SDK 4.0.0: `uploaded_at` is when the operation started, `upload_completed_at` when it succeeded.
        "uploaded_at": stamp(file.uploaded_at),
    }


def account_json(account: Account, other: str | None = None) -> Json:
    """Return the JSON of the account, or of another account of the user, which has no content."""
    return {
        "id": account.id if other is None else other,
        "display_name": "Fake account" if other is None else account.others[other],
        "roles": ["owner"],
        "storage_usage": _stored(account) if other is None else 0,
        "storage_limit": account.storage_limit if other is None else None,
        "image": None,
        "mounted_storage_enabled": False,
        "adobe_id": None,
        "created_at": stamp(account.opened_at),
        "updated_at": stamp(account.opened_at),
        "v4_migrated_at": None,
    }


def workspace_json(account: Account) -> Json:
    """Return the JSON of the account's only workspace."""
    return {
        "id": account.workspace_id,
        "name": "Fake workspace",
        "account_id": account.id,
        "image": None,
        "created_at": stamp(account.opened_at),
        "updated_at": stamp(account.opened_at),
    }


def project_json(account: Account) -> Json:
    """Return the JSON of the workspace's only project."""
    return {
        "id": account.project_id,
        "name": "Fake project",
        "root_folder_id": account.store.root.id,
        "workspace_id": account.workspace_id,
        "status": "active",
        "storage": _stored(account),
        "restricted": False,
        "view_url": f"https://next.frame.io/project/{account.project_id}",
        "image": None,
        "adobe_id": None,
        "created_at": stamp(account.opened_at),
        "updated_at": stamp(account.opened_at),
    }


def page(path: str, query: Mapping[str, str], items: Sequence[Json]) -> Json:
    """Return one page of a listing.

    Args:
        path: The path of the listing.
        query: The parameters `page_size`, `after`, `sort`, `include_total_count`.
        items: All items of the listing.

    Raises:
        ApiRefusalError: 422 if the value of a parameter is not valid.
    """
    ordered = _sorted(items, query.get("sort"))
    start = _start(ordered, query.get("after"))
    count = _page_size(query.get("page_size"))
    shown = ordered[start : start + count]
    more = start + count < len(ordered)
    cursor = _cursor(start + count, shown[-1]["id"]) if more else None
    # The link carries only `after`: the client has to add every other parameter again (same guide).
    answer: Json = {"data": shown, "links": {"next": f"{path}?after={cursor}" if more else None}}
    if query.get("include_total_count", "").lower() == "true":
        answer["total_count"] = len(ordered)
    return answer


def _page_size(text: str | None) -> int:
    if text is None:
        return PAGE_SIZE
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= LARGEST_PAGE:
        raise ApiRefusalError(422, "must be between 1 and 100", pointer="/page_size", title="Invalid value")
    return int(text)


def _sorted(items: Sequence[Json], sort: str | None) -> list[Json]:
    if sort is None:
        return list(items)
    name, _, direction = sort.rpartition("_")
    if name not in SORTABLE or direction not in ("asc", "desc"):
        raise ApiRefusalError(422, "is invalid", pointer="/sort", title="Invalid value")
    key: Callable[[Json], Any] = lambda item: item.get(name) or ("" if name != "file_size" else 0)  # noqa: E731  # a def would need a signature for `sorted`
    return sorted(items, key=key, reverse=direction == "desc")


def _cursor(position: int, last_id: str) -> str:
    return base64.urlsafe_b64encode(f"{position}:{last_id}".encode()).decode().rstrip("=")


def _start(items: Sequence[Json], after: str | None) -> int:
    """Return the index after the item that the cursor names; if it was deleted, its old position."""
    if after is None:
        return 0
    try:
        position, _, last_id = base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)).decode().partition(":")
        fallback = int(position)
    except (binascii.Error, ValueError):
        raise ApiRefusalError(422, "is not a cursor", pointer="/after", title="Invalid value") from None
    return next((index + 1 for index, item in enumerate(items) if item["id"] == last_id), fallback)


def _stored(account: Account) -> int:
    return sum(file.size for file in account.store.files() if file.complete)
