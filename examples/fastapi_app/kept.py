"""Store the plan, the receipts and the end of each upload in a file that only its owner can read."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path

from pydantic import BaseModel

from aioframeio_upload import (
    IntegrityError,
    LinksExpired,
    PartCompleted,
    PartRejected,
    Plan,
    Receipt,
    UploadCompleted,
    UploadError,
    UploadFailed,
)

log = logging.getLogger("uvicorn.error")

DAY = 86400.0
"""Seconds. Part links expire after a day, so an upload that nobody has continued for so long is useless."""

HOPELESS = (LinksExpired, PartRejected, IntegrityError)
"""Errors after which the parts that have arrived cannot be used."""

END = ".upload-end"
"""Suffix of the file that says how an upload has ended."""


class Dropped(BaseModel):
    """A file as the page describes it: another size or modification time means another file."""

    name: str
    size: int
    modified: int


@dataclass
class Kept:
    """A started upload: its file, its plan, and a receipt for each part that has arrived; one line each."""

    path: Path
    file: Dropped
    plan: Plan
    receipts: list[Receipt] = field(default_factory=list)

    @classmethod
    def find(cls, path: Path) -> Kept | None:
        """Read a stored upload; return None if there is none, or it cannot be used."""
        try:
            file, plan, *lines = path.read_text(encoding="utf-8").split("\n")
            return cls(path, Dropped.model_validate_json(file), Plan.from_json(plan), list(read_receipts(lines)))
        except (OSError, ValueError, TypeError, UploadError):
            return None

    def begin(self) -> None:
        """Store it, before its first byte is sent."""
        write(self.path, "w", f"{self.file.model_dump_json()}\n{self.plan.to_json()}")

    def note(self, arrived: PartCompleted) -> None:
        """Store a part's receipt."""
        self.receipts.append(Receipt(arrived.number, arrived.size, arrived.etag))
        with reported():
            write(self.path, "a", "\n" + json.dumps(astuple(self.receipts[-1])))

    def end(self, event: UploadCompleted | UploadFailed) -> None:
        """Store the end for a page that was away; a complete upload needs nothing else."""
        with reported():
            write(self.path.with_suffix(END), "w", f"{self.file.model_dump_json()}\n{json.dumps(event.to_dict())}")
            if isinstance(event, UploadCompleted):
                self.path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete everything stored of it."""
        with reported():
            self.path.unlink(missing_ok=True)

    @property
    def missing(self) -> list[tuple[int, int]]:
        """Return offset and size of each part that has not arrived."""
        there = {receipt.number for receipt in self.receipts}
        return [(part.offset, part.size) for part in self.plan.parts if part.number not in there]


def read_receipts(lines: Iterable[str]) -> Iterator[Receipt]:
    """Read the receipts; skip one that a full disk or a kill has cut short, so that its part is sent again."""
    for line in lines:
        with suppress(ValueError):
            yield Receipt(*json.loads(line))


def take_end(path: Path, file: Dropped) -> str | None:
    """Read how the upload of exactly this file ended; a failure can be read once, so that it can be retried."""
    end = path.with_suffix(END)
    try:
        whose, event = end.read_text(encoding="utf-8").split("\n")
        if Dropped.model_validate_json(whose) != file:
            return None
        if json.loads(event)["event"] == "UploadFailed":
            end.unlink()
    except (OSError, ValueError):
        return None
    return event


def missing_of(path: Path, file: Dropped) -> list[tuple[int, int]]:
    """Return offset and size of each missing range: everything, if nothing is stored of exactly this file."""
    kept = Kept.find(path)
    return kept.missing if kept is not None and kept.file == file else [(0, file.size)]


@contextmanager
def reported() -> Iterator[None]:
    """Ignore a file that cannot be written: its contents are lost, but the upload continues."""
    try:
        yield
    except OSError as error:
        log.error("%s", error)


def write(path: Path, mode: str, lines: str) -> None:
    """Write to a file that nobody else can read."""
    with open(path, mode, encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(lines)


def left_behind(folder: Path) -> list[Kept]:
    """Create the folder, or delete files older than a day; return the uploads among these."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = [path for path in folder.glob("*.upload*") if path.stat().st_mtime < time.time() - DAY]
    found = [kept for path in old if (kept := Kept.find(path)) is not None]
    for path in old:
        path.unlink()
    return found
