"""Events and records are frozen, slotted, and can be written as JSON."""

from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aioframeio_upload
from aioframeio_upload import (
    ApiRetrying,
    Event,
    FileCompleted,
    FileFailed,
    FileLeftOut,
    FileSkipped,
    FileStarted,
    FolderCompleted,
    FolderCreated,
    FolderPlanned,
    FolderResult,
    FolderUploadError,
    PartCompleted,
    PartRaced,
    PartRetrying,
    PartStarted,
    Progress,
    UnmatchedPattern,
    UploadCompleted,
    UploadedFile,
    UploadError,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
)
from tests.support.strategies import COUNTS, FINITE, WORDS, api_errors, errors, part_errors

FILE = UploadedFile("f1", "take.mov", 3, "a1", "d1", "video/mp4", "https://v/f1", "uploaded", ("abc", None))

FILES = st.builds(
    UploadedFile,
    id=WORDS,
    name=WORDS,
    size=COUNTS,
    account_id=WORDS,
    folder_id=st.none() | WORDS,
    media_type=st.none() | WORDS,
    view_url=st.none() | WORDS,
    status=WORDS,
    etags=st.lists(st.none() | WORDS, max_size=3).map(tuple),
    outcome=st.sampled_from(["uploaded", "resumed", "skipped"]),
    md5s=st.lists(st.none() | WORDS, max_size=3).map(tuple),
)
SKIPPED = st.builds(FileSkipped, WORDS, WORDS)
FAILED = st.builds(FileFailed, WORDS, errors())
CREATED = st.builds(FolderCreated, WORDS, WORDS)
RESULTS = st.builds(
    FolderResult, *(st.lists(some, max_size=2).map(tuple) for some in (FILES, SKIPPED, FAILED, CREATED))
)
EVENTS: dict[type[Event], st.SearchStrategy[Event]] = {
    UploadPlanned: st.builds(UploadPlanned, WORDS, WORDS, st.none() | WORDS, COUNTS, COUNTS),
    UploadResumed: st.builds(UploadResumed, WORDS, COUNTS, COUNTS),
    UploadReplanned: st.builds(UploadReplanned, WORDS, WORDS, WORDS),
    PartStarted: st.builds(PartStarted, COUNTS, COUNTS, COUNTS, COUNTS),
    PartRaced: st.builds(PartRaced, COUNTS, COUNTS),
    PartRetrying: st.builds(PartRetrying, COUNTS, COUNTS, FINITE, part_errors()),
    ApiRetrying: st.builds(ApiRetrying, WORDS, COUNTS, FINITE, api_errors()),
    PartCompleted: st.builds(PartCompleted, COUNTS, COUNTS, st.none() | WORDS, COUNTS, FINITE),
    Progress: st.builds(Progress, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, FINITE, st.none() | FINITE),
    UploadCompleted: st.builds(UploadCompleted, FILES),
    UploadFailed: st.builds(UploadFailed, errors()),
    FolderPlanned: st.builds(FolderPlanned, COUNTS, COUNTS, COUNTS, COUNTS),
    FileLeftOut: st.builds(FileLeftOut, WORDS, WORDS),
    FolderCreated: CREATED,
    FileStarted: st.builds(FileStarted, WORDS, COUNTS),
    FileCompleted: st.builds(FileCompleted, WORDS, FILES),
    FileSkipped: SKIPPED,
    FileFailed: FAILED,
    FolderCompleted: st.builds(FolderCompleted, RESULTS),
}


def test_the_table_above_has_every_event() -> None:
    assert set(get_args(Event)) == set(EVENTS)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@given(st.data())
def test_every_event_can_be_written_as_json(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(EVENTS[kind])
    told = event.to_dict()
    assert list(told) == ["event", *(field.name for field in dataclasses.fields(event))]
    assert told["event"] == kind.__name__
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_pattern_that_matched_nothing_is_a_dict_in_json() -> None:
    planned = FolderPlanned(0, 0, 0, 3, (UnmatchedPattern("include", "*.MOV", "it matches nothing"),))
    assert planned.to_dict()["unmatched"] == [{"option": "include", "pattern": "*.MOV", "reason": "it matches nothing"}]


def test_an_event_as_json_has_records_as_dicts_and_errors_with_their_type() -> None:
    assert UploadCompleted(FILE).to_dict() == {
        "event": "UploadCompleted",
        "file": {
            "id": "f1",
            "name": "take.mov",
            "size": 3,
            "account_id": "a1",
            "folder_id": "d1",
            "media_type": "video/mp4",
            "view_url": "https://v/f1",
            "status": "uploaded",
            "etags": ["abc", None],
            "outcome": "uploaded",
            "md5s": [],
            "crc64nvme": None,
            "part_crc64nvmes": [],
            "checked_by": [],
            "reason": None,
        },
    }
    assert UploadFailed(UploadError("why")).to_dict() == {
        "event": "UploadFailed",
        "error": {"type": "UploadError", "message": "why"},
    }


@given(RESULTS)
def test_the_error_of_a_folder_contains_its_result_and_can_be_pickled(result: FolderResult) -> None:
    error = FolderUploadError(result)
    told = error.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["result"] == FolderCompleted(result).to_dict()["result"]
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied)) == (FolderUploadError, str(error))
    assert copied.to_dict() == told


RECORDS: list[Any] = [
    found
    for name in aioframeio_upload.__all__
    if dataclasses.is_dataclass(found := getattr(aioframeio_upload, name)) and isinstance(found, type)
]


def test_the_public_records_are_found() -> None:
    named = {"Part", "Plan", "Receipt", "UploadedFile", "UploadStatus", "Statistics", "Limits", "Timeouts"}
    assert named | {"RetryPolicy"} | {kind.__name__ for kind in EVENTS} <= {record.__name__ for record in RECORDS}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_public_record_is_frozen_and_slotted(record: Any) -> None:
    made = object.__new__(record)
    assert not hasattr(made, "__dict__")
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, 1)
    # On some Pythons a slotted class, which `dataclass` makes anew, fails here with a TypeError.
    with pytest.raises((AttributeError, TypeError)):
        made.another = 1


@given(FILES, FILES)
def test_records_compare_by_value(one: UploadedFile, other: UploadedFile) -> None:
    assert dataclasses.replace(one) == one
    assert hash(dataclasses.replace(one)) == hash(one)
    assert (one == other) == (dataclasses.astuple(one) == dataclasses.astuple(other))
