"""What was sent is remembered on disk, until the watch ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.watching import Stamp
from aioframeio_upload._io import sent_files
from aioframeio_upload._io.sent_files import Sent, SentFiles


@pytest.fixture
def sent() -> Iterator[SentFiles]:
    sent = SentFiles()
    yield sent
    sent.close()


def test_files_are_found_by_path_and_by_folder(sent: SentFiles) -> None:
    for path, stamp in (("a", Stamp(1, 2)), ("sub/a", Stamp(2**40, 10**18)), ("sub/b", Stamp(0, -1))):
        sent.add(path, Sent(stamp, 5.0))
    sent.add("a", Sent(Stamp(3, 4), 6.0))
    assert sent.find("a") == Sent(Stamp(3, 4), 6.0)
    assert sent.find("sub") is None
    assert sent.find("sub/c") is None
    assert sent.in_folder("") == {"a": Sent(Stamp(3, 4), 6.0)}
    assert sent.in_folder("sub") == {"a": Sent(Stamp(2**40, 10**18), 5.0), "b": Sent(Stamp(0, -1), 5.0)}
    assert sent.in_folder("su") == {}


def test_its_memory_does_not_grow_with_the_files(sent: SentFiles) -> None:
    """SQLite's cache, the only thing that it keeps in memory, has a limit; the rest is in an unlinked file."""
    for number in range(60_000):
        sent.add(f"a folder with a long name/{number:08} and so on.mov", Sent(Stamp(number, number), 0.0))
    assert len(sent.in_folder("a folder with a long name")) == 60_000
    database = sent._database
    assert database is not None
    pages, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    (cache,) = database.execute("PRAGMA cache_size").fetchone()
    assert cache == -2000
    assert pages * size > 2 * 2_000_000, "more than the cache holds"


def test_a_database_that_cannot_be_read_is_begun_anew(
    sent: SentFiles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent.add("a", Sent(Stamp(1, 2), 0.0))
    assert sent._database is not None
    sent._database.execute("DROP TABLE sent")
    assert sent.find("a") is None
    assert "looked up at Frame.io again: the temporary list of it failed: no such table" in caplog.text
    sent.add("b", Sent(Stamp(1, 2), 0.0))
    assert sent.in_folder("") == {"b": Sent(Stamp(1, 2), 0.0)}
    sent._forget()
    monkeypatch.setattr(sent_files, "TABLE", "not SQL")
    sent.add("c", Sent(Stamp(1, 2), 0.0))
    assert sent.find("c") == Sent(Stamp(1, 2), 0.0), "in memory"


def test_what_the_disk_has_no_room_for_is_kept_in_memory_and_nothing_is_forgotten(
    sent: SentFiles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent.add("sub/a", Sent(Stamp(1, 2), 0.0))
    assert sent._database is not None
    (pages,) = sent._database.execute("PRAGMA page_count").fetchone()
    sent._database.execute(f"PRAGMA max_page_count = {pages}")  # a full disk, as SQLite sees it: SQLITE_FULL
    for number in range(500):
        sent.add(f"sub/{number}", Sent(Stamp(number, number), 0.0))
    assert "remembered in memory: the temporary list of it failed: database or disk is full" in caplog.text
    assert len(caplog.records) == 1
    assert sent._beside, "the disk was full"
    assert len(sent.in_folder("sub")) == 501
    assert sent.find("sub/499") == Sent(Stamp(499, 499), 0.0)
    sent.add("sub/499", Sent(Stamp(7, 7), 1.0))
    assert sent.in_folder("sub")["499"] == Sent(Stamp(7, 7), 1.0)
    sent._database.execute("PRAGMA max_page_count = 1000000")
    sent.add("sub/499", Sent(Stamp(8, 8), 1.0))
    assert (sent.find("sub/499"), "sub/499" in sent._beside) == (Sent(Stamp(8, 8), 1.0), False)
    monkeypatch.setattr(sent_files, "MOST_BESIDE", 3)
    sent._database.execute("DROP TABLE sent")
    sent._beside.clear()
    for number in range(5):
        sent.add(str(number), Sent(Stamp(1, 1), 0.0))
    assert list(sent._beside) == ["2", "3", "4"]


@pytest.mark.parametrize("crc64nvme", [None, "AAAAAAAAAAA="])
def test_all_that_is_known_of_a_file_is_remembered(sent: SentFiles, crc64nvme: str | None) -> None:
    known = Sent(Stamp(1, 2), 3.0, 2**70, crc64nvme, 2)
    sent.add("a", known)
    assert (sent.find("a"), sent.in_folder("")) == (known, {"a": known})


STAMPS = st.builds(Stamp, st.integers(0, 2), st.integers(0, 2))
KNOWN = st.builds(
    Sent, STAMPS, st.just(0.0), st.none() | st.integers(0, 2), st.sampled_from([None, "crc"]), st.integers(0, 4)
)


@given(KNOWN, STAMPS, st.none() | st.integers(0, 2))
def test_a_file_is_compared_a_few_times_if_only_its_change_time_differs(
    known: Sent, stamp: Stamp, changed_ns: int | None
) -> None:
    if known.stamp != stamp:
        assert not known.is_same(stamp, changed_ns)
    elif known.changed_ns == changed_ns:
        assert known.is_same(stamp, changed_ns)
    else:
        can_be_compared = known.crc64nvme is not None and known.compared < sent_files.MOST_COMPARED
        assert known.is_same(stamp, changed_ns) != can_be_compared


@pytest.mark.parametrize("modified_ns", [2**63, 2**70, -(2**70)])
def test_a_time_of_another_century_is_remembered(sent: SentFiles, modified_ns: int) -> None:
    sent.add("a", Sent(Stamp(1, modified_ns), 0.0))
    assert sent.find("a") == Sent(Stamp(1, modified_ns), 0.0)
    assert sent.in_folder("") == {"a": Sent(Stamp(1, modified_ns), 0.0)}
    assert sent._beside == {}


def test_a_scan_that_ends_late_does_not_open_it_again(sent: SentFiles) -> None:
    sent.add("a", Sent(Stamp(1, 2), 0.0))
    sent.close()
    sent.add("b", Sent(Stamp(1, 2), 0.0))
    assert (sent.find("a"), sent.in_folder(""), sent._database) == (None, {}, None)


def test_it_leaves_no_file(sent: SentFiles) -> None:
    sent.add("a", Sent(Stamp(1, 2), 0.0))
    assert sent._database is not None
    assert sent._database.execute("PRAGMA database_list").fetchone()[2] == ""
    sent.close()
    assert sent._database is None
    assert sqlite3.threadsafety > 0
