"""The state of the fake's one account: its settings, its assets, and the stitching of parts into files."""

from __future__ import annotations

import asyncio
import math
import mimetypes
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ._faults import Faults
from ._ims import FakeIms
from ._observe import Observer
from ._sigv4 import Keys, presign
from ._spool import Spool, StatedChecksum, StoredPart
from ._store import FakeFile, FakeFolder, Store, new_id

PartSizes = int | Callable[[int], Sequence[int]]
MediaType = Callable[[str], str | None]
EtagKind = Literal["md5", "kms", "opaque"]

# Observed plans: 21,136,250 bytes in 2 parts and 50,645,990 bytes in 3, so about 20 MB per part; 68,087,113,964
# bytes in 35, so just under 2 GB per part. The size at which the service changes is not documented; 10 GB is a guess.
SMALL_PART = 20_000_000
LARGE_PART = 2_000_000_000
LARGE_FILE = 10_000_000_000


def utc_now() -> datetime:
    """Return the time of the system's clock."""
    return datetime.now(UTC)


def part_sizes(size: int, limit: PartSizes | None) -> tuple[int, ...]:
    """Return the sizes of a file's parts: equal except for the last, as in the plans of the service.

    Args:
        size: The file's size.
        limit: The maximum size of a part, or a function from the file's size to all sizes; None: as observed at the
            service.
    """
    if callable(limit):
        return tuple(limit(size))
    if limit is None:
        limit = SMALL_PART if size < LARGE_FILE else LARGE_PART
    count = math.ceil(size / limit)
    part = math.ceil(size / count)
    return (part,) * (count - 1) + (size - part * (count - 1),)


def guessed_media_type(name: str) -> str | None:
    """Return the media type that Python's built-in table has for a name, or None."""
    # Not `mimetypes.guess_type`, which also reads /etc/mime.types: the answer would depend on the machine.
    return _TYPES.guess_type(name)[0]


_TYPES = mimetypes.MimeTypes()


@dataclass(slots=True, eq=False, kw_only=True)
class Account:
    """The state from which the API and S3 compute their answers."""

    observer: Observer
    faults: Faults
    spool: Spool
    rate_limits: bool
    part_limit: PartSizes | None
    link_lifetime: int
    media_type: MediaType
    stitch_polls: int
    checksum: StatedChecksum | None = "crc64nvme"
    etags: EtagKind | None = "md5"
    clock: Callable[[], datetime] = utc_now
    url: str = ""
    token: str = field(default_factory=lambda: "fake-" + secrets.token_hex(16), repr=False)
    tokens: set[str] = field(default_factory=set, repr=False)
    keys: Keys = field(default_factory=lambda: Keys("AKIAFAKEFRAMEIO00000", secrets.token_hex(20)))
    id: str = field(default_factory=new_id)
    user_id: str = field(default_factory=new_id)
    workspace_id: str = field(default_factory=new_id)
    project_id: str = field(default_factory=new_id)
    others: dict[str, str] = field(default_factory=dict)
    """The names of the user's other accounts, by ID. They are listed, and have no content."""
    storage_limit: int | None = None
    """Bytes that the account may hold; None: unlimited."""
    ims: FakeIms = field(init=False)
    opened_at: datetime = field(init=False)
    store: Store = field(init=False)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Create the project's root folder, and the login service."""
        self.ims = FakeIms(self.observer, self.faults, self.clock)
        self.tokens.add(self.token)
        now = self.opened_at = self.clock()
        self.store = Store(FakeFolder(name="root", parent_id=None, created_at=now, updated_at=now))

    def new_file(self, name: str, size: int, folder_id: str, *, remote: bool = False) -> FakeFile:
        """Create a placeholder."""
        now = self.clock()
        file = FakeFile(
            name=name,
            size=size,
            parent_id=folder_id,
            folder_id=folder_id,
            media_type=self.media_type(name),
            part_sizes=() if remote else part_sizes(size, self.part_limit),
            polls_left=1 if remote else self.stitch_polls,
            remote=remote,
            created_at=now,
            updated_at=now,
        )
        self.store.add(file)
        self.observer.changed()
        return file

    def original_url(self, file: FakeFile) -> str:
        """Return the presigned URL by which the original of a file is downloaded."""
        target = presign(
            self.keys,
            method="GET",
            path=f"/originals/{file.id}",
            headers={"host": self.url.partition("//")[2]},
            parameters=[],
            at=self.clock(),
            lifetime=self.link_lifetime,
        )
        return self.url + target

    def part_url(self, file: FakeFile, number: int) -> str:
        """Return the presigned URL of a part.

        Two forms of path were observed: `parts/<file id>/part_<number>`, and for a file of a single part
        `uploads/<file id>/original.<extension>`.
        """
        count = len(file.part_sizes)
        extension = file.name.rpartition(".")[2] if "." in file.name else "bin"
        path = f"/parts/{file.id}/part_{number}"
        if count == 1:
            path = f"/uploads/{file.id}/original.{extension}"
        target = presign(
            self.keys,
            method="PUT",
            path=path,
            # AdobeDocs, frameio-api, "How To: Upload": a PUT with another Content-Type or ACL is refused by S3.
            headers={
                "content-type": file.media_type or "application/octet-stream",
                "host": self.url.partition("://")[2],
                "x-amz-acl": "private",
            },
            parameters=_metadata(file, number, count, self.project_id, extension),
            at=self.clock(),
            lifetime=self.link_lifetime,
        )
        return self.url + target

    def part_arrived(self, file: FakeFile, number: int, stored: StoredPart) -> None:
        """Keep a received part, and start to stitch once every part is there."""
        replaced = file.parts.get(number)
        now = self.clock()
        # S3 accepts the PUT regardless: it knows neither files nor whether they are complete.
        if file.deleted or file.complete or file.stitching:
            self.run_behind(self.spool.forget([stored]))
            return
        file.parts[number] = stored
        file.uploaded_at = file.uploaded_at or now
        if replaced is not None:
            self.run_behind(self.spool.forget([replaced]))
        # The V4 API has no call that completes an upload: the service stitches when it has seen every part.
        if file.has_every_part():
            file.failed = not file.has_right_lengths()
            if not file.failed:
                file.stitching = True
                self.run_behind(self._stitch(file))
        self.observer.changed()

    def poll(self, file: FakeFile) -> None:
        """Count a poll of a file whose parts have all arrived; report it as complete once `polls_left` is used up."""
        # A remote file is never fetched: it becomes complete by being polled.
        if file.remote and not file.complete and not file.failed and file.polls_left == 0:
            file.complete, file.completed_at, file.uploaded_at = True, self.clock(), file.created_at
        if file.complete and file.polls_left == 0 and not file.failed:
            file.status = "uploaded"
        elif file.polls_left and (file.remote or file.has_every_part()):
            file.polls_left -= 1

    def drop_parts(self, files: Sequence[FakeFile]) -> None:
        """Delete the stored bytes of deleted files."""
        for file in files:
            self.run_behind(self.spool.forget(list(file.parts.values())))
        self.observer.changed()

    def run_behind(self, work: object) -> None:
        """Run a coroutine in the background; `close` waits for it."""
        assert asyncio.iscoroutine(work)
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Wait for everything that runs in the background."""
        while self._background:
            # Cleared here, not by the callbacks: since 3.12, gathering finished tasks does not yield to the loop, so
            # the callbacks would never run and this loop would never end.
            ending = tuple(self._background)
            self._background.clear()
            await asyncio.gather(*ending)

    async def _stitch(self, file: FakeFile) -> None:
        parts = [file.parts[number] for number in sorted(file.parts)]
        sha256, crc64nvme = await self.spool.digests(parts)
        if file.deleted:  # meanwhile; `drop_parts` has deleted the bytes
            return
        file.sha256, file.crc64nvme = sha256, crc64nvme
        file.complete = True
        file.completed_at = file.updated_at = self.clock()
        if file.polls_left == 0:
            file.status = "uploaded"
        self.observer.changed()
        await self.spool.forget(parts)


def _metadata(file: FakeFile, number: int, count: int, project_id: str, extension: str) -> list[tuple[str, str]]:
    """Return the parameters observed in the service's URLs."""
    # The value of `request_id` is ours: it changes if a client decodes the URL and encodes it again.
    return [
        ("x-amz-meta-asset_id", file.id),
        ("x-amz-meta-extension", extension),
        ("x-amz-meta-is_realtime_upload", "false"),
        ("x-amz-meta-part_count", str(count)),
        ("x-amz-meta-part_number", str(number)),
        ("x-amz-meta-project_id", project_id),
        ("x-amz-meta-request_id", "a/b@c'd e+f=g,h:i;j?k%2Fl~"),
        ("x-amz-meta-resource_id", file.id),
        ("x-amz-meta-resource_type", "asset"),
        ("x-amz-meta-total_parts", str(count)),
    ]
