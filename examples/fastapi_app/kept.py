"""Record each upload in a file that only its owner can read: what it is, its plan, its receipts, and its end."""

from __future__ import annotations

import json
import os
import time
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator

from aioframeio_upload import PartCompleted, Plan, PlanError, Receipt

SUFFIX = ".upload"

BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of text: they can make `exe.mov` look like `vom.exe`."""


def harmless(name: str) -> str:
    """Return the last component of a foreign name without control and bidi characters, as the library does."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(char for char in last if unicodedata.category(char) != "Cc" and char not in BIDI).strip(" ")


class Dropped(BaseModel, frozen=True):
    """A file as the page describes it: another size or modification time means another file."""

    name: str = Field(max_length=1024)
    folder: str = Field(default="", max_length=4096)
    """Path of the folder that it was dropped with, with `/` between names; empty for a single file."""
    size: int = Field(ge=0, lt=2**53)
    modified: int

    @field_validator("name")
    @classmethod
    def _clean_name(cls, name: str) -> str:
        return harmless(name)

    @field_validator("folder")
    @classmethod
    def _clean_folder(cls, folder: str) -> str:
        return "/".join(harmless(name) for name in folder.split("/"))


@dataclass
class Kept:
    """The record of an upload: a file of JSON lines, of which the last word counts."""

    path: Path
    file: Dropped
    added_at: float = field(default_factory=time.time)
    plan: Plan | None = None
    receipts: dict[int, Receipt] = field(default_factory=dict)
    """Receipts of the parts that have arrived at Frame.io."""
    end: Mapping[str, Any] | None = None
    """The last event, as JSON, if the upload has ended."""
    is_paused: bool = False
    changed_at: float = field(default_factory=time.time)

    @classmethod
    def read(cls, path: Path) -> Kept | None:
        """Read a record; return None if it cannot be used."""
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            modified = path.stat().st_mtime
            kept = cls(path, Dropped.model_validate_json(lines[0]), added_at=modified, changed_at=modified)
            for line in lines[1:]:
                # A line that a full disk or a kill has cut short is skipped: what it says is done again.
                with suppress(ValueError, TypeError, PlanError):
                    kept._take(json.loads(line))
        except (OSError, ValueError):
            return None
        return kept

    def _take(self, line: Mapping[str, Any]) -> None:
        match line:
            case {"added_at": added_at}:
                self.added_at = added_at
            case {"plan": plan}:
                self.plan = Plan.from_json(plan)
            case {"receipt": values}:
                self.receipts[values[0]] = Receipt(*values)
            case {"end": end}:
                self.end = end
            case {"is_paused": is_paused}:
                self.is_paused, self.end = is_paused, None

    def begin(self, plan: Plan) -> None:
        """Record the plan, before the first byte is sent."""
        self.plan = plan
        self._append(plan=plan.to_json())

    def note(self, arrived: PartCompleted) -> None:
        """Record that a part has arrived."""
        receipt = self.receipts[arrived.number] = Receipt(arrived.number, arrived.size, arrived.etag)
        self._append(receipt=astuple(receipt))

    def pause(self, is_paused: bool) -> None:
        """Record whether the upload is paused, and that it has not ended."""
        self.is_paused, self.end = is_paused, None
        self._append(is_paused=is_paused)

    def finish(self, end: Mapping[str, Any]) -> None:
        """Record how the upload has ended; keep what it needs to continue."""
        self.end = end
        self._append(end=end)

    def clear(self, end: Mapping[str, Any] | None = None) -> None:
        """Erase plan and receipts, with the part links, which are credentials; keep the file's description."""
        self.plan, self.receipts, self.end, self.is_paused, self.changed_at = None, {}, end, False, time.time()
        facts = [self.file.model_dump_json(), json.dumps({"added_at": self.added_at}), json.dumps({"end": end})]
        new = self.path.with_suffix(".new")
        with open(new, "w", encoding="utf-8", opener=private) as file:
            file.write("\n".join(facts))
        new.replace(self.path)

    def _append(self, **fact: Any) -> None:
        self.changed_at = time.time()
        with open(self.path, "a", encoding="utf-8", opener=private) as file:
            file.write("\n" + json.dumps(fact))


def private(path: str, flags: int) -> int:
    """Open a file that nobody else can read."""
    return os.open(path, flags, 0o600)
