"""The content of a Frame.io account: a project's folders, files and version stacks (no clock, no network)."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ._spool import StoredPart

Status = Literal["created", "uploaded", "transcoded"]


def new_id() -> str:
    """Return an ID in Frame.io's form."""
    # The SDK's `FrameOrAdobeId`: a UUID, or an Adobe ID with the prefix "adobe:", which the fake never issues.
    return str(uuid.uuid4())


@dataclass(slots=True, kw_only=True, eq=False)
class Asset:
    """The fields that folders, files and version stacks share."""

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
    """A version stack of at least two files, the oldest first."""

    folder_id: str
    file_ids: list[str]


@dataclass(slots=True, kw_only=True, eq=False)
class FakeFile(Asset):
    """A file in the fake; it changes while parts arrive.

    Attributes:
        size: The declared size.
        folder_id: The folder that contains it, even if its direct parent (`parent_id`) is a version stack.
        media_type: The content type that its URLs are signed for; None: application/octet-stream.
        part_sizes: The sizes of the parts that the API asked for.
        parts: The received parts by number.
        complete: Whether every part arrived with the right length and was stitched.
        failed: Whether the service reports that the upload failed.
        sha256: SHA-256 of the stitched file; None before that, or if bytes are discarded.
        crc64nvme: Its CRC64NVME, as `aws s3api head-object --checksum-mode ENABLED` shows it; likewise.
        status: "created" until the service reports that it is complete, then "uploaded".
        uploaded_at: When its first part arrived.
        completed_at: When it was stitched.
        polls_left: How many polls after the last part still report that it is not complete.
    """

    size: int
    folder_id: str
    media_type: str | None
    part_sizes: tuple[int, ...] = ()
    parts: dict[int, StoredPart] = field(default_factory=dict)
    complete: bool = False
    failed: bool = False
    sha256: str | None = None
    crc64nvme: str | None = None
    status: Status = "created"
    uploaded_at: datetime | None = None
    completed_at: datetime | None = None
    polls_left: int = 0
    remote: bool = False
    stitching: bool = False
    deleted: bool = False

    @property
    def parts_received(self) -> set[int]:
        """The numbers of the received parts."""
        return set(self.parts)

    @property
    def etags(self) -> tuple[str | None, ...]:
        """The MD5 of each stored part, in order of number; None for a missing part."""
        return tuple(
            self.parts[number].md5 if number in self.parts else None for number in range(1, len(self.part_sizes) + 1)
        )

    def has_every_part(self) -> bool:
        """Return whether every part was received, of whatever length."""
        return len(self.parts) == len(self.part_sizes) > 0

    def has_right_lengths(self) -> bool:
        """Return whether each part has the requested length, and all together the declared one."""
        lengths = [self.parts[number].size for number in sorted(self.parts)]
        return lengths == list(self.part_sizes) and sum(lengths) == self.size


@dataclass(slots=True)
class Store:
    """All assets by ID, in order of creation."""

    root: FakeFolder
    assets: dict[str, Asset] = field(default_factory=dict)
    deleted: list[FakeFile] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Add the root folder to the assets."""
        self.add(self.root)

    def add(self, asset: Asset) -> None:
        """Add a new asset."""
        self.assets[asset.id] = asset

    def files(self) -> Iterator[FakeFile]:
        """Return every file, including those in stacks."""
        return (asset for asset in self.assets.values() if isinstance(asset, FakeFile))

    def file(self, id: str) -> FakeFile | None:
        """Return the file with this ID, or None."""
        asset = self.assets.get(id)
        return asset if isinstance(asset, FakeFile) else None

    def folder(self, id: str) -> FakeFolder | None:
        """Return the folder with this ID, or None."""
        asset = self.assets.get(id)
        return asset if isinstance(asset, FakeFolder) else None

    def stack(self, id: str) -> FakeStack | None:
        """Return the version stack with this ID, or None."""
        asset = self.assets.get(id)
        return asset if isinstance(asset, FakeStack) else None

    def children(self, parent_id: str) -> list[Asset]:
        """Return the direct children of a folder or stack, the oldest first (in a stack: the bottom)."""
        stack = self.stack(parent_id)
        if stack is not None:
            return [self.assets[id] for id in stack.file_ids]
        return [asset for asset in self.assets.values() if asset.parent_id == parent_id]

    def move(self, file: FakeFile, destination: FakeFolder | FakeStack, now: datetime) -> None:
        """Move a file into a folder, or on top of a stack."""
        self._leave_stack(file)
        file.parent_id = destination.id
        file.folder_id = destination.folder_id if isinstance(destination, FakeStack) else destination.id
        file.updated_at = now
        # The name of a stack is not documented; here it is that of its newest version.
        if isinstance(destination, FakeStack):
            destination.file_ids.append(file.id)
            destination.name, destination.updated_at = file.name, now

    def stack_up(self, files: Iterable[FakeFile], folder: FakeFolder, now: datetime) -> FakeStack:
        """Create a version stack of files, the oldest first."""
        stack = FakeStack(
            name="", parent_id=folder.id, folder_id=folder.id, created_at=now, updated_at=now, file_ids=[]
        )
        self.add(stack)
        for file in files:
            self.move(file, stack, now)
        return stack

    def remove(self, asset: Asset) -> list[FakeFile]:
        """Delete an asset and everything below it; return the deleted files."""
        if asset.id not in self.assets:
            return []
        gone = [file for child in self.children(asset.id) for file in self.remove(child)]
        self.assets.pop(asset.id, None)
        # The part URLs of a deleted file stay valid at S3, so its record has to show a late part that it is deleted.
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
