"""What a Frame.io account holds: a project's folders, files and version stacks (no clock, no network)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ._spool import StoredPart

Status = Literal["created", "uploaded", "transcoded"]


def new_id() -> str:
    """Return an id in Frame.io's form."""
    return str(uuid.uuid4())


@dataclass(slots=True, kw_only=True, eq=False)
class Asset:
    """What folders, files and version stacks have in common."""

    id: str = field(default_factory=new_id)
    name: str
    parent_id: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True, kw_only=True, eq=False)
class FakeFolder(Asset):
    """A folder."""


@dataclass(slots=True, kw_only=True, eq=False)
class FakeStack(Asset):
    """A version stack: at least two files, the oldest first."""

    folder_id: str
    file_ids: list[str]


@dataclass(slots=True, kw_only=True, eq=False)
class FakeFile(Asset):
    """A file as the fake holds it; it goes on changing while parts arrive.

    Attributes:
        size: The size that was declared.
        folder_id: The folder it is in, also when a version stack is between (`parent_id`).
        media_type: What its URLs are signed for; None: application/octet-stream.
        part_sizes: What the API asked for.
        parts: What was received, by number.
        complete: Whether every part was there, of the length asked for, and is stitched.
        failed: Whether the service says that the upload failed.
        sha256: Of the stitched file; None before, and where bytes are discarded.
        status: "created" until the service tells that it is complete, then "uploaded".
        uploaded_at: When its first part arrived.
        completed_at: When it was stitched.
        polls_left: How many polls after its last part still answer that it is not complete.
    """

    size: int
    folder_id: str
    media_type: str | None
    part_sizes: tuple[int, ...] = ()
    parts: dict[int, StoredPart] = field(default_factory=dict)
    complete: bool = False
    failed: bool = False
    sha256: str | None = None
    status: Status = "created"
    uploaded_at: datetime | None = None
    completed_at: datetime | None = None
    polls_left: int = 0
    remote: bool = False
    stitching: bool = False
    deleted: bool = False

    @property
    def parts_received(self) -> set[int]:
        """The numbers of the parts that are there."""
        return set(self.parts)

    @property
    def etags(self) -> tuple[str | None, ...]:
        """The MD5 of each part as stored, in order of number; None where it is missing."""
        return tuple(
            self.parts[number].md5 if number in self.parts else None for number in range(1, len(self.part_sizes) + 1)
        )

    def has_every_part(self) -> bool:
        """Whether nothing is missing, whatever its length."""
        return len(self.parts) == len(self.part_sizes) > 0

    def has_right_lengths(self) -> bool:
        """Whether each part is as long as was asked for, and all together as long as declared."""
        lengths = [self.parts[number].size for number in sorted(self.parts)]
        return lengths == list(self.part_sizes) and sum(lengths) == self.size


@dataclass(slots=True)
class Store:
    """All assets by id, in order of creation."""

    root: FakeFolder
    assets: dict[str, Asset] = field(default_factory=dict)
    deleted: list[FakeFile] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put the root among the rest."""
        self.add(self.root)

    def add(self, asset: Asset) -> None:
        """Keep a new asset."""
        self.assets[asset.id] = asset

    def files(self) -> Iterator[FakeFile]:
        """Every file, those in stacks too."""
        return (asset for asset in self.assets.values() if isinstance(asset, FakeFile))

    def file(self, id: str) -> FakeFile | None:
        """The file of this id."""
        asset = self.assets.get(id)
        return asset if isinstance(asset, FakeFile) else None

    def folder(self, id: str) -> FakeFolder | None:
        """The folder of this id."""
        asset = self.assets.get(id)
        return asset if isinstance(asset, FakeFolder) else None

    def stack(self, id: str) -> FakeStack | None:
        """The version stack of this id."""
        asset = self.assets.get(id)
        return asset if isinstance(asset, FakeStack) else None

    def children(self, parent_id: str) -> list[Asset]:
        """What is directly in a folder or stack, the oldest first (in a stack: the bottom)."""
        stack = self.stack(parent_id)
        if stack is not None:
            return [self.assets[id] for id in stack.file_ids]
        return [asset for asset in self.assets.values() if asset.parent_id == parent_id]

    def move(self, file: FakeFile, destination: FakeFolder | FakeStack, now: datetime) -> None:
        """Put a file into a folder, or on top of a stack."""
        self._leave_stack(file)
        file.parent_id = destination.id
        file.folder_id = destination.folder_id if isinstance(destination, FakeStack) else destination.id
        file.updated_at = now
        if isinstance(destination, FakeStack):
            destination.file_ids.append(file.id)
            destination.name, destination.updated_at = file.name, now

    def stack_up(self, files: Iterable[FakeFile], folder: FakeFolder, now: datetime) -> FakeStack:
        """Make a version stack of files, the oldest first."""
        stack = FakeStack(
            name="", parent_id=folder.id, folder_id=folder.id, created_at=now, updated_at=now, file_ids=[]
        )
        self.add(stack)
        for file in files:
            self.move(file, stack, now)
        return stack

    def remove(self, asset: Asset) -> list[FakeFile]:
        """Delete an asset and all below it; returns the files among them."""
        if asset.id not in self.assets:
            return []
        gone = [file for child in self.children(asset.id) for file in self.remove(child)]
        self.assets.pop(asset.id, None)
        if isinstance(asset, FakeFile):
            self._leave_stack(asset)
            asset.deleted = True
            self.deleted.append(asset)
            gone.append(asset)
        return gone

    def _leave_stack(self, file: FakeFile) -> None:
        stack = self.stack(file.parent_id or "")
        if stack is not None and file.id in stack.file_ids:
            stack.file_ids.remove(file.id)
            if not stack.file_ids:
                self.assets.pop(stack.id, None)
