"""Trees of files for the tests of folders, and their copies at the fake."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from aioframeio_upload import Event, FolderResult, FolderUpload, Uploader
from aioframeio_upload.testing import FakeFrameio

LONG_AGO = 10**18
"""In 2001, in nanoseconds: older than everything that a test creates, however the file system rounds."""


def plant(root: Path, files: dict[str, bytes | int] | str, modified_ns: int = LONG_AGO) -> Path:
    """Create a tree of files with the given contents or sizes; a name alone is its own content. `x/` is a folder."""
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
    """Return the SHA-256 of every file below a folder, by path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def arrived(fake: FakeFrameio) -> dict[str, str | None]:
    """Return the SHA-256 of every file at the fake, by path from the root folder; of a stack, the newest version."""
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
    """Return the names of all folders except the root, in order of creation."""
    return [asset.name for asset in fake._account.store.assets.values() if type(asset).__name__ == "FakeFolder"][1:]


def count(fake: FakeFrameio, operation: str, status: int | None = None) -> int:
    """Return how often an operation was called."""
    return sum(seen.operation == operation and status in (None, seen.status) for seen in fake.requests)


async def events_of(upload: FolderUpload) -> list[Event]:
    """Return all events of an upload."""
    return [event async for event in upload]


async def send(uploader: Uploader, fake: FakeFrameio, root: Path, **how: Any) -> FolderResult:
    """Upload a folder into the account's root folder."""
    return await uploader.upload_folder(root, folder_id=fake.folder_id, **how)
