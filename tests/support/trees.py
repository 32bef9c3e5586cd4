"""Trees of files for the tests of folders, and what has become of them at the fake."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from aioframeio_upload import Event, FolderResult, FolderUpload, Uploader
from aioframeio_upload.testing import FakeFrameio

LONG_AGO = 10**18
"""In 2001, by nanoseconds: older than whatever is created by a test, whichever way the file system rounds."""


def plant(root: Path, files: dict[str, bytes | int] | str, modified_ns: int = LONG_AGO) -> Path:
    """Make a tree: each file with its content or its size; of a mere name the content is the name. `x/` is a folder."""
    if isinstance(files, str):
        files = {name: name.encode("utf-8", "surrogateescape") for name in files.split()}
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else bytes(content))
        os.utime(path, ns=(modified_ns, modified_ns))
    return root


def content_of(root: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, by its path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def arrived(fake: FakeFrameio) -> dict[str, str | None]:
    """The SHA-256 of every file at the fake, by its path from the account's root folder; a stack's by its head."""
    assets = fake._account.store.assets
    found: dict[str, str | None] = {}
    for file in fake.files:
        folder: Any = assets[file.folder_id]
        names = [file.name]
        while folder.parent_id is not None:
            names.insert(0, folder.name)
            folder = assets[folder.parent_id]
        found["/".join(names)] = file.sha256
    return found


def folders(fake: FakeFrameio) -> list[str]:
    """The names of all folders but the root, in the order in which they were made."""
    return [asset.name for asset in fake._account.store.assets.values() if type(asset).__name__ == "FakeFolder"][1:]


def count(fake: FakeFrameio, operation: str, status: int | None = None) -> int:
    """How often something was asked of the service."""
    return sum(seen.operation == operation and status in (None, seen.status) for seen in fake.requests)


async def events_of(upload: FolderUpload) -> list[Event]:
    """Everything that is told."""
    return [event async for event in upload]


async def send(uploader: Uploader, fake: FakeFrameio, root: Path, **how: Any) -> FolderResult:
    """Upload a folder into the account's root folder."""
    return await uploader.upload_folder(root, folder_id=fake.folder_id, **how)
