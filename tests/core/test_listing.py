"""A listing is read to its end, and a local file is matched with its remote file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.api_schema import read_instant
from aioframeio_upload._core.listing import (
    Clocks,
    Listing,
    RemoteFile,
    check_conflict,
    find_below,
    find_same,
    read_remote_file,
)
from tests.support.strategies import JSON

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 10**9


def row(name: str = "take.mov", **changes: Any) -> dict[str, Any]:
    told = {
        "id": f"id of {name}",
        "type": "file",
        "name": name,
        "status": "uploaded",
        "file_size": 3,
        "created_at": "2026-11-23T12:00:00.000001Z",
    }
    return told | changes


def one(**changes: Any) -> RemoteFile:
    found = read_remote_file(row(**changes))
    assert found is not None
    return found


def test_a_file_that_arrived_after_the_source_was_written_is_the_same() -> None:
    assert find_same([one()], 3, NOON_NS) == one()


@pytest.mark.parametrize(
    "changes",
    [
        {"file_size": 4},
        {"file_size": None},
        {"status": "created"},
        {"status": None},
        {"created_at": "2026-11-23T12:00:00Z"},
        {"created_at": "2026-11-23T11:59:59.999999Z"},
        {"created_at": None},
        {"created_at": "yesterday"},
    ],
)
def test_a_file_that_is_not_surely_the_same_is_not(changes: dict[str, Any]) -> None:
    assert find_same([one(**changes)], 3, NOON_NS) is None


@pytest.mark.parametrize("told", [True, 1.0, "1", -1, 1 << 63])
def test_a_missing_or_invalid_size_does_not_match_the_source(told: Any) -> None:
    assert find_same([one(file_size=told)], 1, None) is None
    assert one(file_size=told).size is None


def test_a_source_without_a_time_is_judged_by_its_name_and_size() -> None:
    assert find_same([one(created_at=None)], 3, None) is not None
    assert find_same([one(status="created")], 3, None) is None


@given(st.integers(0, 4 * 10**18), st.integers(-3, 3))
def test_the_times_are_compared_to_the_microsecond(modified_ns: int, microseconds: int) -> None:
    created = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=modified_ns // 1000 + microseconds)
    same = RemoteFile("1", "n", 3, "uploaded", created)
    assert (find_same([same], 3, modified_ns) is not None) is (microseconds > 0)


def seconds_after_noon(seconds: float) -> int:
    return NOON_NS + int(seconds * 10**9)


@pytest.mark.parametrize(
    ("modified", "created", "service", "local", "same"),
    [
        # The clocks agree, but for the `Date`, which has whole seconds.
        (-1, 0, 60, 60.5, True),
        (30, 0, 60, 60.5, False),
        (60.4, 0, 60, 60.5, False),
        # Later than both: that time proves nothing.
        (3600, 0, 60, 60.5, True),
        (62, 0, 60, 60.5, True),
        # Our clock is an hour ahead: what it dated before the upload is the same, what it dated after is not.
        (3590, 0, 60, 3660, True),
        (3610, 0, 60, 3660, False),
        (3700, 0, 60, 3660, True),
        # A gateway's `Date` that the service's own times contradict is not believed.
        (30, 0, -(10**9), 60, False),
        (3600, 0, -(10**9), 60, True),
    ],
)
def test_a_time_later_than_the_services_own_now_proves_nothing(
    modified: float, created: float, service: float, local: float, same: bool
) -> None:
    clocks = Clocks(NOON + timedelta(seconds=service), NOON + timedelta(seconds=local))
    there = RemoteFile("1", "n", 3, "uploaded", NOON + timedelta(seconds=created))
    assert (find_same([there], 3, seconds_after_noon(modified), clocks) is there) is same
    assert find_same([there], 4, seconds_after_noon(modified), clocks) is None


def test_without_a_remote_time_only_sources_from_the_future_are_compared_by_name_and_size() -> None:
    there, clocks = one(created_at=None), Clocks(NOON, NOON)
    assert find_same([there], 3, seconds_after_noon(3600), clocks) is there
    assert find_same([there], 3, seconds_after_noon(-1), clocks) is None


def stacked(**changes: Any) -> dict[str, Any]:
    return {"id": "stack", "type": "version_stack", "name": "take.mov", "head_version": row(**changes)}


def test_a_stack_stands_for_its_head() -> None:
    found = read_remote_file(stacked(id="head"))
    assert found is not None
    assert (found.id, found.stack_id) == ("head", "stack")
    assert find_same([found], 3, NOON_NS) is found


def test_a_stack_that_does_not_tell_its_head_can_be_added_to_and_skips_nothing() -> None:
    found = read_remote_file({"id": "stack", "type": "version_stack", "name": "take.mov"})
    assert found is not None
    assert find_below([found]) is found
    assert find_same([found], 3, None) is None


def test_a_version_goes_onto_a_stack_rather_than_a_file_and_onto_the_newest_file() -> None:
    old, new = one(id="old"), one(id="new", created_at="2026-11-23T13:00:00Z")
    stack = read_remote_file(stacked())
    assert stack is not None
    assert find_below([old, new]) == new
    assert find_below([new, stack, old]) == stack
    assert find_below([one(status="created")]) is None
    assert find_below([]) is None


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_a_name_is_found_however_it_is_encoded_and_its_exact_self_first() -> None:
    listing = Listing()
    listing.add([row(COMPOSED)])
    assert [found.name for found in listing.namesakes(DECOMPOSED)] == [COMPOSED]
    assert listing.namesakes(DECOMPOSED, exact=True) == []
    listing.add([row(DECOMPOSED)])
    assert [found.name for found in listing.namesakes(DECOMPOSED)] == [DECOMPOSED]
    listing.remove(listing.namesakes(DECOMPOSED)[0])
    assert [found.name for found in listing.namesakes(DECOMPOSED)] == [COMPOSED]


def test_a_folder_is_found_by_its_name_the_oldest_first() -> None:
    listing = Listing()
    folder = {"type": "folder", "name": COMPOSED}
    listing.add([folder | {"id": "1"}, folder | {"id": "2"}, folder | {"id": "3", "name": DECOMPOSED}])
    assert listing.folder(COMPOSED) == "1"
    assert listing.folder(DECOMPOSED) == "3"
    assert listing.folder("cafe") is None
    assert listing.files == {}


@given(st.lists(JSON | st.fixed_dictionaries({"id": st.just("1"), "type": JSON, "name": JSON, "head_version": JSON})))
def test_a_listing_of_nonsense_is_read_without_an_error(rows: list[Any]) -> None:
    listing = Listing()
    listing.add(rows)
    assert listing.folder("x") is None


def test_an_instant_without_a_zone_is_utc_and_a_longer_fraction_is_cut() -> None:
    assert read_instant("2026-11-23T12:00:00") == NOON
    assert read_instant("2026-11-23T12:00:00.123456789Z") == NOON + timedelta(microseconds=123456)
    assert read_instant(3) is None


@pytest.mark.parametrize("word", ["create", "skip", "version"])
def test_the_words_for_a_conflict(word: str) -> None:
    check_conflict(word)
    with pytest.raises(ValueError, match="is not one of"):
        check_conflict(word.upper())
