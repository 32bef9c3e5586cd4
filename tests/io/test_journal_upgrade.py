"""A journal that an earlier release wrote is upgraded when it is opened, with the uploads in it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import JournalError, Limits, PartExhausted, Plan, RetryPolicy
from aioframeio_upload._core.journal import Identity, SentFile
from aioframeio_upload._io.journal_sqlite import VERSION, SqliteJournal
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk, sha256, uploader_on
from tests.support.seen import puts

CONTENT = bytes(range(256)) * 1024
"""What the upload in the journal sends."""

CRC = "1BKo2mfP4bA="
"""Of `b"sent"`, which the journal of version 3 knows."""

pytestmark = pytest.mark.needs_tree


EARLIER = [1, 2, 3]
"""Versions of the schema, of which the releases have each left a journal here; the third without the change times."""

SENT_PLACE = "ea506a20397f366542b53993f6a44531"
"""Where the file was sent to that the third knows."""


def restore(path: Path, version: int = 1) -> None:
    """Make the file that an earlier release wrote."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / f"journal-v{version}.sql").read_text(encoding="utf-8"))


def relocate(journal: Path, source: Path, account_id: str, plan: Plan) -> None:
    """Have the upload in the journal be that of a file here, with links of a fake that is running."""
    restore(journal)
    with closing(sqlite3.connect(journal)) as connection:
        ((before, told),) = connection.execute("SELECT key, told FROM uploads").fetchall()
        entry: dict[str, Any] = json.loads(told)
        entry |= {
            "account_id": account_id,
            "folder_id": plan.folder_id,
            "path": str(source),
            "mtime_ns": source.stat().st_mtime_ns,
            "file_id": plan.file_id,
            "expires_at": None if plan.expires_at is None else plan.expires_at.isoformat(),
        }
        names = ("account_id", "folder_id", "name", "path", "origin")
        key = Identity(**{name: entry[name] for name in names}).key
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("UPDATE uploads SET key = ?, told = ?, plan = ?", (key, json.dumps(entry), plan.to_json()))
        connection.execute("UPDATE parts SET key = ? WHERE key = ?", (key, before))
        connection.commit()


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@pytest.mark.parametrize("checksum", ["crc64nvme", None])
async def test_an_upload_that_the_first_release_left_half_way_goes_on(tmp_path: Path, checksum: Any) -> None:
    journal, source = tmp_path / "uploads.sqlite3", tmp_path / "clip.mov"
    on_disk(source.write_bytes, CONTENT)
    async with FakeFrameio(rate_limits=False, part_size=100_000, checksum=checksum) as fake:
        async with uploader_on(fake) as uploader:
            plan = await uploader.plan(source, folder_id=fake.folder_id)
            await uploader.send_parts(plan, source, [1, 2])
        on_disk(relocate, journal, source, fake.account_id, plan)
        async with uploader_on(fake, journal=journal) as uploader:
            (pending,) = await uploader.pending()
            assert (pending.file_id, pending.bytes_confirmed, pending.damage) == (plan.file_id, 2 * 87_382, None)
            file = await uploader.upload(source, folder_id=fake.folder_id)
            assert await uploader.pending() == ()
        assert (file.id, file.outcome) == (plan.file_id, "resumed")
        assert puts(fake) == {1: 1, 2: 1, 3: 1}
        assert fake.files[0].sha256 == sha256(CONTENT)
    # The earlier release knew the MD5s alone.
    assert file.checked_by == ("md5", "md5", checksum or "md5")
    assert file.crc64nvme is None
    assert file.md5s[:2] == ("7a83329fcf721ea8a1955dc002279951", "ac7c8024f95aec0e8fd1cfe6f6c9ad5b")
    assert on_disk(version_of, journal) == VERSION


async def test_an_upload_that_is_resumed_has_the_checksum_of_the_whole_file(tmp_path: Path) -> None:
    journal, source = tmp_path / "uploads.sqlite3", tmp_path / "clip.mov"
    on_disk(source.write_bytes, CONTENT)
    async with FakeFrameio(rate_limits=False, part_size=50_000) as fake:
        fake.add_fault(Fault(number=4, status=500))
        once: dict[str, Any] = {"retry": RetryPolicy(attempts=1), "limits": Limits(parts=1, api_pacing=False)}
        async with uploader_on(fake, journal=journal, **once) as uploader:
            with pytest.raises(PartExhausted):
                await uploader.upload(source, folder_id=fake.folder_id)
        async with uploader_on(fake, journal=journal) as uploader:
            file = await uploader.upload(source, folder_id=fake.folder_id)
        assert (file.outcome, set(puts(fake).values())) == ("resumed", {1, 2})
        assert (file.crc64nvme, set(file.checked_by)) == (fake.files[0].crc64nvme, {"crc64nvme"})


def dump(path: Path) -> list[str]:
    """Return the statements that make a journal, without those of the table that versions 3 added and changed."""
    with closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if "sent" not in line]


@pytest.mark.parametrize("version", EARLIER)
def test_a_journal_of_an_earlier_release_is_upgraded_without_a_change_of_its_rows(tmp_path: Path, version: int) -> None:
    path = tmp_path / "uploads.sqlite3"
    restore(path, version)
    before = dump(path)
    opened = SqliteJournal(str(path), True)
    (row,) = opened.pending()
    opened.close()
    assert (row.pending.name, row.pending.bytes_confirmed) == ("clip.mov", 2 * 87_382)
    assert dump(path) == before
    assert version_of(path) == VERSION


@pytest.mark.parametrize("version", EARLIER)
def test_a_journal_of_an_earlier_release_remembers_what_is_sent_from_now_on(tmp_path: Path, version: int) -> None:
    path = tmp_path / "uploads.sqlite3"
    restore(path, version)
    sent = SentFile("f1", "/clip.mov", 2**63, -(2**70), None)
    for _ in range(2):
        opened = SqliteJournal(str(path), True)
        opened.remember("place", sent)
        assert opened.sent("place") == (sent,)
        opened.close()


def test_what_an_earlier_release_has_sent_is_known_without_its_change_time(tmp_path: Path) -> None:
    path = tmp_path / "uploads.sqlite3"
    restore(path, 3)
    opened = SqliteJournal(str(path), True)
    (sent,) = opened.sent(SENT_PLACE)
    opened.close()
    assert sent == SentFile("6bd280f5-3713-493c-ba1d-84b4ac05a168", "/tmp/v3/sent.mov", 4, 1795934929611408034, CRC)
    assert not sent.is_unchanged(1795934929611408034)


def test_an_earlier_release_that_works_on_the_same_journal_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "uploads.sqlite3"
    restore(path, 3)
    with closing(sqlite3.connect(path, isolation_level=None)) as earlier:
        opened = SqliteJournal(str(path), True)
        opened.remember(SENT_PLACE, SentFile("ours", "/tmp/v3/ours.mov", 1, 2, CRC, ctime_ns=3))
        # The statements of commit 7ba626e, which opens files of versions 1 to 3.
        assert earlier.execute("PRAGMA user_version").fetchone() == (3,)
        found = earlier.execute(
            "SELECT file_id, told FROM sent WHERE place = ? ORDER BY id DESC LIMIT 50", (SENT_PLACE,)
        )
        assert [json.loads(told) for _, told in found] == [
            ["/tmp/v3/ours.mov", 1, 2, CRC],
            ["/tmp/v3/sent.mov", 4, 1795934929611408034, CRC],
        ]
        told = json.dumps(["/tmp/v3/theirs.mov", 4, 5, None])
        earlier.execute(
            "INSERT INTO sent (place, file_id, told, at) VALUES (?, ?, ?, ?)", (SENT_PLACE, "theirs", told, 9)
        )
        (theirs, ours, _) = opened.sent(SENT_PLACE)
        opened.close()
    assert (theirs.ctime_ns, ours.ctime_ns) == (None, 3)


@pytest.mark.parametrize("version", [VERSION + 1, 99, 0, -1])
def test_a_journal_of_no_known_version_is_refused_and_left_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "uploads.sqlite3"
    restore(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(JournalError, match=f"is a journal of version {version}"):
        SqliteJournal(str(path), True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", EARLIER)
def test_two_that_upgrade_a_journal_at_once_both_open_it(tmp_path: Path, version: int) -> None:
    path = tmp_path / "uploads.sqlite3"
    restore(path, version)
    one = SqliteJournal(str(path), True)
    other = SqliteJournal(str(path), True)
    assert [len(journal.pending()) for journal in (one, other)] == [1, 1]
    one.close()
    other.close()


def test_a_receipt_of_the_earlier_release_that_no_etag_proves_stays_unproved(tmp_path: Path) -> None:
    path = tmp_path / "uploads.sqlite3"
    restore(path)
    with closing(sqlite3.connect(path)) as connection:
        told = '["opaque", "7a83329fcf721ea8a1955dc002279951"]'
        connection.execute("UPDATE parts SET told = ? WHERE number = 1", (told,))
        connection.commit()
        ((key,),) = connection.execute("SELECT key FROM uploads").fetchall()
    opened = SqliteJournal(str(path), True)
    entry = opened.find(key)
    opened.close()
    assert entry is not None
    first, second = entry.receipts
    assert (first.etag, first.checked_by, second.checked_by) == ("opaque", None, "md5")
    assert (first.crc64nvme, second.crc64nvme) == (None, None)
