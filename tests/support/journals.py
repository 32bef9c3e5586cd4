"""Helpers for the tests of the journal: an upload that stops half-way, and the recorded rows."""

from __future__ import annotations

import sqlite3
import stat
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from aioframeio_upload import Limits, PendingUpload, Plan, Upload, Uploader
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk, reached, uploader_on

ONE_BY_ONE = Limits(parts=1, api_pacing=False)


async def stopped_at(
    fake: FakeFrameio, path: Path, journal: Path, number: int, *, plan: Plan | None = None, **how: Any
) -> Upload:
    """Upload until a part is in flight, then stop as a shutdown does; the parts before it are recorded."""
    hold = Fault(do="hold", number=number)
    times = fake.hits(hold) + 1
    fake.add_fault(hold)
    async with uploader_on(fake, journal=journal, limits=ONE_BY_ONE) as uploader:
        upload = (
            uploader.upload(path, folder_id=fake.folder_id, **how) if plan is None else uploader.execute(plan, path)
        )
        upload.start()
        await reached(fake, hold, times)
        await uploader.shutdown(0)
    fake.release(hold)
    return upload


def let_time_pass(uploader: Uploader, minutes: float) -> None:
    """Make an Uploader see a later time, as the service's `Date` would; the next answer shows the true time again."""
    later = datetime.now(UTC) + timedelta(minutes=minutes)
    uploader._opened()[0].clock.observe(format_datetime(later, usegmt=True), time.monotonic())


async def pending_in(fake: FakeFrameio, journal: Path) -> tuple[PendingUpload, ...]:
    """Return what the journal holds."""
    async with uploader_on(fake, journal=journal) as uploader:
        return await uploader.pending()


def rows(journal: Path, query: str) -> list[Any]:
    """Read or change the journal without the library."""

    def read() -> list[Any]:
        with closing(sqlite3.connect(journal, isolation_level=None)) as connection:
            return connection.execute(query).fetchall()

    return on_disk(read)


def recorded_parts(journal: Path) -> set[int]:
    """Return the numbers of all recorded parts, of any upload."""
    return {number for (number,) in rows(journal, "SELECT number FROM parts")}


def mode(path: Path) -> int:
    """Return the permissions of a file or folder."""
    return stat.S_IMODE(on_disk(path.stat).st_mode)
