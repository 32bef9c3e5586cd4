"""What is kept of an upload until it is finished: a file, readable by its owner only, as part links are credentials."""

from __future__ import annotations

import json
import os
import time
from dataclasses import astuple, dataclass, field
from pathlib import Path

from pydantic import BaseModel

from aioframeio_upload import PartCompleted, Plan, Receipt, UploadCompleted, UploadError

DAY = 86400.0
"""Seconds: part links live no longer, so what nobody has gone on with for so long is of no use."""


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
            file, plan, *receipts = path.read_text(encoding="utf-8").split("\n")
            found = [Receipt(*json.loads(receipt)) for receipt in receipts]
            return cls(path, Dropped.model_validate_json(file), Plan.from_json(plan), found)
        except (OSError, ValueError, TypeError, UploadError):
            return None

    def begin(self) -> None:
        """Keep it, before its first byte is sent."""
        with open(self.path, "w", encoding="utf-8", opener=private) as lines:
            lines.write(f"{self.file.model_dump_json()}\n{self.plan.to_json()}")

    def note(self, arrived: PartCompleted) -> None:
        """Keep a part's receipt."""
        self.receipts.append(Receipt(arrived.number, arrived.size, arrived.etag))
        with open(self.path, "a", encoding="utf-8") as lines:
            lines.write("\n" + json.dumps(astuple(self.receipts[-1])))

    def finish(self, completed: UploadCompleted) -> None:
        """Forget it, but for the end, which a page that was away will ask for."""
        self.path.with_suffix(".uploaded").write_text(json.dumps(completed.to_dict()), encoding="utf-8")
        self.path.unlink()

    @property
    def missing(self) -> list[tuple[int, int]]:
        """Offset and size of each part that has not arrived."""
        there = {receipt.number for receipt in self.receipts}
        return [(part.offset, part.size) for part in self.plan.parts if part.number not in there]


def private(path: str, flags: int) -> int:
    """Open a file that nobody else can read."""
    return os.open(path, flags, 0o600)


def left_behind(folder: Path) -> list[Kept]:
    """Make the folder, or clear it of what is a day old; give the uploads among that."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = [path for path in folder.glob("*.upload*") if path.stat().st_mtime < time.time() - DAY]
    found = [kept for path in old if (kept := Kept.find(path)) is not None]
    for path in old:
        path.unlink()
    return found
