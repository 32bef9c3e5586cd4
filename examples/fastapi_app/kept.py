"""What is kept of an upload: a file, readable by its owner only, as part links are credentials; and then its end."""

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
"""Seconds: part links live no longer, so what nobody has gone on with for so long is of no use."""

HOPELESS = (LinksExpired, PartRejected, IntegrityError)
"""After these nobody can go on with what has arrived."""

END = ".upload-end"
"""Of the file that says how an upload has ended."""


class Dropped(BaseModel):
    """A file as the page names it: of another size, or written to since, it is another one."""

    name: str
    size: int
    modified: int


@dataclass
class Kept:
    """An upload that was begun: which file, its plan, and a receipt for each part that has arrived; a line each."""

    path: Path
    file: Dropped
    plan: Plan
    receipts: list[Receipt] = field(default_factory=list)

    @classmethod
    def find(cls, path: Path) -> Kept | None:
        """Read what is kept; None where that is nothing, or nothing that can be used."""
        try:
            file, plan, *lines = path.read_text(encoding="utf-8").split("\n")
            return cls(path, Dropped.model_validate_json(file), Plan.from_json(plan), list(read_receipts(lines)))
        except (OSError, ValueError, TypeError, UploadError):
            return None

    def begin(self) -> None:
        """Keep it, before its first byte is sent."""
        write(self.path, "w", f"{self.file.model_dump_json()}\n{self.plan.to_json()}")

    def note(self, arrived: PartCompleted) -> None:
        """Keep a part's receipt."""
        self.receipts.append(Receipt(arrived.number, arrived.size, arrived.etag))
        with reported():
            write(self.path, "a", "\n" + json.dumps(astuple(self.receipts[-1])))

    def end(self, event: UploadCompleted | UploadFailed) -> None:
        """Keep the end, which a page that was away will ask for; of what is complete, nothing else."""
        with reported():
            write(self.path.with_suffix(END), "w", f"{self.file.model_dump_json()}\n{json.dumps(event.to_dict())}")
            if isinstance(event, UploadCompleted):
                self.path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Keep nothing of it."""
        with reported():
            self.path.unlink(missing_ok=True)

    @property
    def missing(self) -> list[tuple[int, int]]:
        """Offset and size of each part that has not arrived."""
        there = {receipt.number for receipt in self.receipts}
        return [(part.offset, part.size) for part in self.plan.parts if part.number not in there]


def read_receipts(lines: Iterable[str]) -> Iterator[Receipt]:
    """Read them; the part of one that a full disk or a kill has cut short is sent again."""
    for line in lines:
        with suppress(ValueError):
            yield Receipt(*json.loads(line))


def take_end(path: Path, file: Dropped) -> str | None:
    """Read how the upload of this very file has ended; a failure can be read once, so that it can be tried again."""
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
    """Give offset and size of what has not arrived: everything, where nothing is kept of this very file."""
    kept = Kept.find(path)
    return kept.missing if kept is not None and kept.file == file else [(0, file.size)]


@contextmanager
def reported() -> Iterator[None]:
    """Let a file that cannot be written cost what it would have told, and no upload."""
    try:
        yield
    except OSError as error:
        log.error("%s", error)


def write(path: Path, mode: str, lines: str) -> None:
    """Write to a file that nobody else can read."""
    with open(path, mode, encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(lines)


def left_behind(folder: Path) -> list[Kept]:
    """Make the folder, or clear it of what is a day old; give the uploads among that."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = [path for path in folder.glob("*.upload*") if path.stat().st_mtime < time.time() - DAY]
    found = [kept for path in old if (kept := Kept.find(path)) is not None]
    for path in old:
        path.unlink()
    return found
