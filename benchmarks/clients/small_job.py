"""Define the job of a client that sends many small files: its argument, in JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class SmallJob:
    """An upload of all files of a folder to one folder at a server that plays Frame.io."""

    base: str
    folder: str
    workers: int
    ca: str | None = None
    token: str = "no-token"
    account_id: str = "account"
    folder_id: str = "folder"
    confirm: bool = True
    """Ours only: wait until the service confirms each file."""
    checksum: Literal["auto", "md5", "off"] = "auto"
    """Ours only."""
    listeners: int = 0
    """Ours only: the number of listeners to each upload's events."""

    @classmethod
    def from_argument(cls) -> SmallJob:
        """Read the command line."""
        return cls(**json.loads(sys.argv[1]))

    def paths(self) -> list[Path]:
        """Return the files, sorted by name."""
        return sorted(Path(self.folder).iterdir())
