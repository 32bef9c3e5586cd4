"""A damaged upload in a journal is reported, can be discarded, and stops no other upload."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from aioframeio_upload import JournalError
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, our_records, sha256, uploader_on
from tests.support.journals import recorded_parts, rows, stopped_at

SIZE = 4 * PART
BAD = "WHERE told LIKE '%bad.mov%'"

DAMAGES = {
    "its words cut short": f"UPDATE uploads SET told = substr(told, 1, length(told) - 1) {BAD}",
    "its words another type": f"UPDATE uploads SET told = CAST(told AS BLOB) {BAD}",
    "its words a number": f"UPDATE uploads SET told = 5 {BAD}",
    "its words no UTF-8": f"UPDATE uploads SET told = CAST(x'7BFF' AS TEXT) {BAD}",
    "its words too deep": f"UPDATE uploads SET told = replace(hex(zeroblob(100000)), '0', '[') {BAD}",
    "a word more": f"UPDATE uploads SET told = replace(told, '{{', '{{\"more\": 1, ') {BAD}",
    "a word's type": f'UPDATE uploads SET told = replace(told, \'"conflict": "create"\', \'"conflict": 7\') {BAD}',
    "its time": f'UPDATE uploads SET told = replace(told, \'"expires_at": "20\', \'"expires_at": "X-Amz-\') {BAD}',
    "its key": f"UPDATE uploads SET key = replace(key, substr(key, 1, 1), 'x') {BAD}",
    "its key of no text": f"UPDATE uploads SET key = x'00FF' {BAD}",
    "a key that is a path": f"UPDATE uploads SET key = '../../../../../../tmp/x' {BAD}",
    "its identity": f"UPDATE uploads SET told = replace(told, 'bad.mov', 'worse.mov') {BAD}",
    "its plan cut short": f"UPDATE uploads SET plan = substr(plan, 1, length(plan) - 9) {BAD}",
    "its plan another's": f"UPDATE uploads SET plan = replace(plan, '\"size\":{SIZE}', '\"size\":1') {BAD}",
    "its plan without a part": f"UPDATE uploads SET plan = replace(plan, '\"number\":2', '\"number\":3') {BAD}",
    "its plan no UTF-8": f"UPDATE uploads SET plan = CAST(x'7BFF' || CAST(plan AS BLOB) AS TEXT) {BAD}",
    "a part's size": f"UPDATE parts SET size = 'X-Amz-Signature' WHERE key IN (SELECT key FROM uploads {BAD})",
    "a part's size too large": f"UPDATE parts SET size = {2**63 - 1} WHERE key IN (SELECT key FROM uploads {BAD})",
    "a part of no plan": f"INSERT INTO parts SELECT key, 99, 1, '[null, null]' FROM uploads {BAD}",
    "its plan null": f"UPDATE uploads SET plan = 'null' {BAD}",
    "its plan another file's": f'UPDATE uploads SET plan = replace(plan, \'"file_id":"\', \'"file_id":"x\') {BAD}',
    "a part's words": f"UPDATE parts SET told = 'X-Amz-Signature' WHERE key IN (SELECT key FROM uploads {BAD})",
}


@dataclass
class Two:
    """Return a journal with two uploads, of which the test damages one."""

    journal: Path
    good: str
    bad: str


@pytest.fixture
async def two(fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path) -> Two:
    journal = tmp_path / "journal" / "uploads.sqlite3"
    bad = await stopped_at(fake, make_file(SIZE, "bad.mov"), journal, 3)
    good = await stopped_at(fake, make_file(SIZE - 1, "good.mov"), journal, 3)
    return Two(journal, good.file_id or "", bad.file_id or "")


def damage(two: Two, how: str) -> None:
    rows(two.journal, "PRAGMA foreign_keys = OFF")
    rows(two.journal, DAMAGES[how])


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_damaged_upload_is_reported_can_be_discarded_and_stops_no_other(
    fake: FakeFrameio, two: Two, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(two, how)
    async with uploader_on(fake, journal=two.journal) as uploader:
        (upload,) = await uploader.resume_pending()
        assert upload.file_id == two.good
        pending = {one.file_id: one for one in await uploader.pending() if one.damage is not None}
        assert set(pending) == {two.bad}
        (told,) = our_records(caplog)
        assert two.bad in told.getMessage()
        assert "damaged" in told.getMessage()
        assert (await upload).outcome == "resumed"
        await uploader.discard(two.bad)
        assert await uploader.pending() == ()
    assert [file.id for file in fake.files] == [two.good], "the unfinished file was removed"
    assert "X-Amz" not in f"{caplog.text}{pending}"


BY_RESUMING = {"its plan without a part"}
"""Damage that is found only when the whole plan is read."""


@pytest.mark.parametrize("how", sorted(DAMAGES.keys() - BY_RESUMING))
async def test_a_process_that_resumes_nothing_reports_a_damaged_upload(fake: FakeFrameio, two: Two, how: str) -> None:
    damage(two, how)
    async with uploader_on(fake, journal=two.journal) as uploader:
        assert {one.file_id for one in await uploader.pending() if one.damage is not None} == {two.bad}


async def test_a_damaged_upload_without_any_id_is_discarded_by_its_name_in_the_journal(
    fake: FakeFrameio, two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    rows(two.journal, f"UPDATE uploads SET told = '', plan = 'https://s3/?X-Amz-Signature=1' {BAD}")
    async with uploader_on(fake, journal=two.journal) as uploader:
        (one,) = [one for one in await uploader.pending() if one.damage is not None]
        assert (one.path, one.name, one.size) == ("", "", 0)
        await uploader.discard(one.file_id)
        assert [one.file_id for one in await uploader.pending()] == [two.good]
    assert "X-Amz" not in f"{caplog.text}{one}"
    assert {file.id for file in fake.files} == {two.good, two.bad}, "nobody could tell which file it was"


async def test_a_copy_of_a_sound_upload_is_discarded_without_that_ones_file(fake: FakeFrameio, two: Two) -> None:
    rows(two.journal, "INSERT INTO uploads SELECT 'copy', told, plan FROM uploads WHERE told LIKE '%good.mov%'")
    async with uploader_on(fake, journal=two.journal) as uploader:
        (copy,) = [one for one in await uploader.pending() if one.damage is not None]
        await uploader.discard(copy.file_id)
        assert {one.file_id for one in await uploader.pending()} == {two.good, two.bad}
    assert len(fake.files) == 2


async def test_a_damaged_uploads_file_that_cannot_be_asked_for_is_named(
    fake: FakeFrameio, two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    damage(two, "its words cut short")
    fake.add_fault(Fault(on="status", status=403))
    async with uploader_on(fake, journal=two.journal) as uploader:
        await uploader.discard(two.bad)
        assert [one.file_id for one in await uploader.pending()] == [two.good]
    assert any(f"file {two.bad} may be left" in record.getMessage() for record in our_records(caplog))


async def test_a_running_upload_whose_entry_was_damaged_since_cannot_be_discarded(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    journal = tmp_path / "journal" / "uploads.sqlite3"
    fake.add_fault(hold := Fault(do="hold", number=2))
    async with uploader_on(fake, journal=journal) as uploader:
        upload = uploader.upload(make_file(SIZE, "bad.mov"), folder_id=fake.folder_id).start()
        async with uploader_on(fake, journal=journal) as other:
            await fake.until(lambda fake: fake.hits(hold) == 1)
            rows(journal, DAMAGES["its words cut short"])
            with pytest.raises(JournalError, match="in use by another upload"):
                await other.discard(upload.file_id or "")
        fake.release()
        await upload
        assert await uploader.pending() == ()


async def test_parts_that_a_damaged_upload_left_are_not_taken_for_those_of_the_next(
    fake: FakeFrameio, two: Two, tmp_path: Path
) -> None:
    damage(two, "its key")
    assert recorded_parts(two.journal) == {1, 2}
    held = await stopped_at(fake, tmp_path / "bad.mov", two.journal, 2)
    async with uploader_on(fake, journal=two.journal) as uploader:
        file = await uploader.upload(tmp_path / "bad.mov", folder_id=fake.folder_id)
    assert (file.id, file.outcome) == (held.file_id, "resumed")
    assert next(one.sha256 for one in fake.files if one.id == file.id) == sha256(tmp_path / "bad.mov")


TRIGGER = "CREATE TRIGGER told BEFORE INSERT ON uploads BEGIN SELECT raise(ABORT, 'X-Amz-Signature=1'); END"


async def test_the_words_of_sqlite_are_not_quoted(fake: FakeFrameio, two: Two, make_file: Callable[..., Path]) -> None:
    rows(two.journal, TRIGGER)
    async with uploader_on(fake, journal=two.journal) as uploader:
        with pytest.raises(JournalError, match=r"refused the record; 'new.mov' was not begun") as caught:
            await uploader.upload(make_file(SIZE, "new.mov"), folder_id=fake.folder_id)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "X-Amz-Signature=1" not in shown
