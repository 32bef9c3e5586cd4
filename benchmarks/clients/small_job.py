"""Which many small files are to be sent, and how? One argument, in JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SmallJob:
    """All files of a folder, into one folder at a server that plays Frame.io."""

    base: str
    folder: str
    workers: int
    ca: str | None = None
    token: str = "no-token"
    account_id: str = "account"
    folder_id: str = "folder"
    confirm: bool = True
    """Ours only: wait until the service says that each file has arrived."""
    check_etags: bool = False
    listeners: int = 0
    """Ours only: how many listen to each upload's events."""

    @classmethod
    def from_argument(cls) -> SmallJob:
        """Read the command line."""
        return cls(**json.loads(sys.argv[1]))

    def paths(self) -> list[Path]:
        """Give the files."""
        return sorted(Path(self.folder).iterdir())
