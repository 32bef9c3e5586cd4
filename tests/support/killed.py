"""A program that uploads one file with a journal, and can kill itself at one of the journal's writes.

As a separate process: `python -m tests.support.killed JSON`, with the argument that `job` returns; it prints the result
as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from aioframeio_upload import Limits, RetryPolicy, Uploader
from aioframeio_upload.testing import FakeFrameio

KILLED = -signal.SIGKILL


class Deadly(sqlite3.Connection):
    """An SQLite connection whose n-th write kills the process, before or after it is executed."""

    writes = 0
    last = 0
    when = ""

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql != "COMMIT" and "checkpoint" not in sql:
            return super().execute(sql, *parameters)
        return self._write(partial(super().execute, sql, *parameters))

    def executescript(self, script: str) -> Any:
        return self._write(partial(super().executescript, script))

    def _write(self, write: Any) -> Any:
        Deadly.writes += 1
        if (Deadly.writes, self.when) == (self.last, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        done = write()
        if (Deadly.writes, self.when) == (self.last, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return done


async def main(job: dict[str, Any]) -> None:
    async with Uploader(
        job["token"],
        account_id=job["account_id"],
        base_url=job["url"],
        journal=job["journal"],
        limits=Limits(parts=job["parts"], api_pacing=False),
        retry=RetryPolicy(base=0.01, cap=0.05),
    ) as uploader:
        file = await uploader.upload(job["path"], folder_id=job["folder_id"])
    sys.stdout.write(json.dumps({"id": file.id, "outcome": file.outcome, "writes": Deadly.writes}) + "\n")


def job(fake: FakeFrameio, path: Path, journal: Path, **how: Any) -> dict[str, Any]:
    """Return the program's argument; it dies before or after (`when`) its `last` write, or not at all."""
    return {
        "url": fake.url,
        "token": fake.token,
        "account_id": fake.account_id,
        "folder_id": fake.folder_id,
        "path": str(path),
        "journal": str(journal),
        "parts": 1,  # two that complete at the same time would be recorded in one write
        "last": 0,
        "when": "",
        **how,
    }


def start(told: dict[str, Any]) -> subprocess.Popen[str]:
    """Start the program."""
    command = [sys.executable, __file__, json.dumps(told)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


def run(told: dict[str, Any]) -> dict[str, Any] | None:
    """Run the program to its end; return the JSON that it printed, or None if it was killed."""
    with start(told) as process:
        said, complaint = process.communicate(timeout=50)
    if process.returncode == KILLED:
        return None
    assert (process.returncode, complaint) == (0, "")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    Deadly.last, Deadly.when = given["last"], given["when"]
    sqlite3.connect = partial(sqlite3.connect, factory=Deadly)  # type: ignore[assignment]  # of no other factory
    asyncio.run(main(given))
