"""Entries are read as they were written, belong to the same upload only, and are resumed if that can succeed."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload import (
    ApiError,
    ConfirmationError,
    IntegrityError,
    JournalError,
    LinksExpired,
    Part,
    PartExhausted,
    PartRejected,
    Plan,
    PlanError,
    Receipt,
    SourceChanged,
    SourceError,
    UploadError,
    UploadStatus,
)
from aioframeio_upload._core.journal import (
    Entry,
    Fingerprint,
    Identity,
    PendingUpload,
    ResumeAction,
    is_kept,
    next_step,
    read_entry,
    read_pending,
    write_entry,
    write_receipt,
)
from aioframeio_upload._core.part_state import PartTable
from aioframeio_upload._core.presigned import MARGIN
from tests.support.strategies import WORDS, errors, plans

IDENTITIES = st.builds(Identity, WORDS, st.none() | WORDS, WORDS, WORDS, st.none() | WORDS)
ETAGS = st.none() | WORDS


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    plan = draw(plans())
    fingerprint = Fingerprint(plan.size, draw(st.integers(-(2**63), 2**63 - 1)), draw(WORDS))
    some = draw(st.sets(st.sampled_from(plan.parts)))
    receipts = tuple(
        Receipt(part.number, part.size, draw(ETAGS), draw(ETAGS)) for part in sorted(some, key=lambda one: one.number)
    )
    return Entry(draw(IDENTITIES), fingerprint, plan, draw(st.none() | WORDS), draw(WORDS), receipts)


def rows(entry: Entry) -> list[tuple[int, int, str]]:
    return [(receipt.number, receipt.size, write_receipt(receipt)) for receipt in entry.receipts]


@given(entries())
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    text, plan = write_entry(entry), entry.plan.to_json()
    assert read_entry(text, plan, reversed(rows(entry))) == entry
    # SQLite's TEXT takes no lone surrogate, and a file's name may hold some.
    assert text.isascii()
    assert plan.isascii()
    assert all(words.isascii() for *_, words in rows(entry))


@given(entries(), st.integers(0, 2**63 - 1))
def test_a_pending_upload_is_read_without_its_plan(entry: Entry, confirmed: int) -> None:
    assert read_pending(write_entry(entry), confirmed) == (
        entry.identity,
        PendingUpload(
            entry.plan.file_id,
            entry.identity.name,
            entry.identity.folder_id,
            entry.identity.path,
            entry.plan.size,
            confirmed,
            entry.plan.expires_at,
        ),
    )


@given(entries(), st.data())
def test_what_was_not_written_so_is_refused(entry: Entry, data: st.DataObject) -> None:
    text, plan, receipts = write_entry(entry), entry.plan.to_json(), rows(entry)
    told = json.loads(text)
    name = data.draw(st.sampled_from(sorted(told)))
    damaged: list[tuple[str, str, list[tuple[int, int, str]]]] = [
        (text[:-1], plan, receipts),
        (json.dumps(told | {name: [1]}), plan, receipts),
        (json.dumps(told | {"more": 1}), plan, receipts),
        (json.dumps({key: value for key, value in told.items() if key != name}), plan, receipts),
        (json.dumps(list(told)), plan, receipts),
        (text, plan[:-1], receipts),
        (json.dumps(told | {"size": told["size"] + 1}), plan, receipts),
        (json.dumps(told | {"file_id": told["file_id"] + "x"}), plan, receipts),
        (text, plan, [*receipts, (len(entry.plan.parts) + 1, 1, "[null,null]")]),
        (text, plan, [(1, entry.plan.parts[0].size + 1, "[null,null]")]),
        (text, plan, [(1, entry.plan.parts[0].size, "[null]")]),
        (text, plan, [(1, entry.plan.parts[0].size, "[1,null]")]),
    ]
    for some in damaged:
        with pytest.raises((ValueError, PlanError)):
            read_entry(*some)


@given(IDENTITIES, IDENTITIES)
def test_each_identity_has_a_different_key(one: Identity, other: Identity) -> None:
    assert (one.key == other.key) == (astuple(one) == astuple(other))
    assert one.key.isalnum()


@given(IDENTITIES, st.sampled_from(["account_id", "folder_id", "name", "path", "origin"]), WORDS)
def test_a_key_depends_on_all_of_the_identity(one: Identity, name: str, word: str) -> None:
    changes: Any = {name: word}
    assert (replace(one, **changes).key == one.key) == (getattr(one, name) == word)


# -- what the next run does --------------------------------------------------------------------------------------------

SIGNED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry_of(parts: int, done: int, seconds: int = 3600) -> Entry:
    link = f"https://s3.example/part?X-Amz-Date={SIGNED_AT:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}"
    every = tuple(Part(number, (number - 1) * 10, 10, link) for number in range(1, parts + 1))
    receipts = tuple(Receipt(number, 10, "e", None) for number in range(1, done + 1))
    plan = Plan("f1", "d1", "take.mov", 10 * parts, every)
    return Entry(
        Identity("a1", "d1", "take.mov", "/take.mov"), Fingerprint(10 * parts, 1, "e"), plan, receipts=receipts
    )


TOLD = {
    "gone": None,
    "created": UploadStatus("f1", complete=False, failed=False),
    "complete": UploadStatus("f1", complete=True, failed=False),
    "failed": UploadStatus("f1", complete=False, failed=True),
}

STEPS = [
    # every part recorded, the source, the service's word, the links: what is done
    (False, "same", "created", "good", ResumeAction.RESUME),
    (False, "same", "created", "dead", ResumeAction.REPLACE),
    (False, "same", "failed", "good", ResumeAction.REPLACE),
    (False, "same", "complete", "good", ResumeAction.CONFIRM),
    (False, "same", "complete", "dead", ResumeAction.CONFIRM),
    (False, "changed", "created", "good", ResumeAction.REPLACE),
    (False, "changed", "failed", "good", ResumeAction.REPLACE),
    (False, "changed", "complete", "good", ResumeAction.FORGET),
    (True, "same", "created", "good", ResumeAction.CONFIRM),
    (True, "same", "created", "dead", ResumeAction.CONFIRM),
    (True, "same", "complete", "dead", ResumeAction.CONFIRM),
    (True, "same", "failed", "dead", ResumeAction.CONFIRM),
    (True, "changed", "created", "good", ResumeAction.FORGET),
    (True, "changed", "failed", "good", ResumeAction.FORGET),
    (True, "changed", "complete", "good", ResumeAction.FORGET),
    *(
        (whole, source, "gone", links, ResumeAction.FORGET)
        for whole in (False, True)
        for source in ("same", "changed")
        for links in ("good", "dead")
    ),
]


@pytest.mark.parametrize(("whole", "source", "told", "links", "step"), STEPS)
def test_the_next_run_does_this(whole: bool, source: str, told: str, links: str, step: ResumeAction) -> None:
    entry = entry_of(3, 3 if whole else 2)
    fingerprint = entry.fingerprint if source == "same" else replace(entry.fingerprint, edges="other")
    now = SIGNED_AT + timedelta(seconds=0 if links == "good" else 3600)
    found = next_step(entry, fingerprint, TOLD[told], now)
    assert found.step is step
    assert bool(found.reason) == (step in (ResumeAction.REPLACE, ResumeAction.FORGET)), "who begins anew says why"


@pytest.mark.parametrize(
    ("told", "links", "step"),
    [
        ("created", "good", ResumeAction.CONFIRM),
        ("created", "dead", ResumeAction.REPLACE),
        ("failed", "good", ResumeAction.REPLACE),
        ("complete", "dead", ResumeAction.CONFIRM),
    ],
)
def test_what_nothing_proves_is_asked_for_as_long_as_it_could_be_sent_again(
    told: str, links: str, step: ResumeAction
) -> None:
    entry = entry_of(3, 3)
    entry = replace(entry, receipts=(*entry.receipts[:2], replace(entry.receipts[2], etag=None)))
    assert (entry.is_whole, entry.is_proved) == (True, False)
    now = SIGNED_AT + timedelta(seconds=0 if links == "good" else 3600)
    assert next_step(entry, entry.fingerprint, TOLD[told], now).step is step


@pytest.mark.parametrize("changes", [{"size": 31}, {"mtime_ns": 2}, {"edges": "f"}])
def test_any_difference_makes_another_source(changes: dict[str, Any]) -> None:
    entry = entry_of(3, 1)
    found = next_step(entry, replace(entry.fingerprint, **changes), TOLD["created"], SIGNED_AT)
    assert (found.step, found.reason) == (ResumeAction.REPLACE, "the source has changed since")


@given(st.integers(1, 604_800), st.integers(0, 700_000))
def test_links_are_of_use_until_the_margin_or_half_of_a_short_life(seconds: int, age: int) -> None:
    entry, now = entry_of(3, 1, seconds), SIGNED_AT + timedelta(seconds=age)
    step = next_step(entry, entry.fingerprint, TOLD["created"], now).step
    assert (step is ResumeAction.RESUME) == (seconds - age > min(MARGIN.total_seconds(), seconds / 2))
    assert age > 0 or step is ResumeAction.RESUME, "links just issued are always tried"


def test_links_that_do_not_tell_their_life_are_tried() -> None:
    entry = entry_of(3, 1)
    plan = replace(entry.plan, parts=tuple(replace(part, url="https://s3.example/part") for part in entry.plan.parts))
    assert (
        next_step(replace(entry, plan=plan), entry.fingerprint, TOLD["created"], SIGNED_AT).step is ResumeAction.RESUME
    )


# -- what is kept ------------------------------------------------------------------------------------------------------

PART: dict[str, Any] = {"number": 1, "attempts": 1}
API: dict[str, Any] = {"operation": "show"}

ENDS = [
    # the error, whether a recorded file that is not whole is kept, and whether a whole one is
    (PartRejected("", **PART), False, True),
    (IntegrityError("", **PART), False, True),
    (SourceError(""), False, False),
    (SourceChanged(""), False, False),
    (PartExhausted("", **PART), True, True),
    (ApiError("", **API), True, True),
    (LinksExpired(""), True, True),
    (ConfirmationError("", file_id="f"), True, True),
    (JournalError("", path="j"), True, True),
    (KeyboardInterrupt(), True, True),
    (RuntimeError(), True, True),
]


@pytest.mark.parametrize(("error", "resumable", "whole"), ENDS, ids=lambda value: type(value).__name__)
def test_this_is_kept(error: BaseException, resumable: bool, whole: bool) -> None:
    assert is_kept(error, whole=False, recorded=True, given_up=False) is resumable
    assert is_kept(error, whole=False, recorded=False, given_up=False) is False
    assert is_kept(error, whole=False, recorded=True, given_up=True) is False
    for recorded in (True, False):
        for given_up in (True, False):
            assert is_kept(error, whole=True, recorded=recorded, given_up=given_up) is whole


@pytest.mark.parametrize("whole", [True, False])
def test_the_entry_is_kept_if_the_source_cannot_be_reached(whole: bool) -> None:
    """Also an entry with all parts: the final check of the source, which proves its bytes, is left to the next run."""
    away = SourceError("", away=True)
    assert is_kept(away, whole=whole, recorded=True, given_up=False)
    assert not is_kept(away, whole=whole, recorded=False, given_up=False)
    assert not is_kept(away, whole=whole, recorded=True, given_up=True)


@given(errors(), st.booleans(), st.booleans())
def test_a_whole_file_is_kept_by_every_error_but_the_sources(error: UploadError, recorded: bool, up: bool) -> None:
    assert is_kept(error, whole=True, recorded=recorded, given_up=up) is not isinstance(error, SourceError)


# -- progress ----------------------------------------------------------------------------------------------------------


@given(plans(), st.data())
def test_progress_begins_with_what_an_earlier_run_has_sent(plan: Plan, data: st.DataObject) -> None:
    done = data.draw(st.sets(st.sampled_from([part.number for part in plan.parts])))
    sent = sum(part.size for part in plan.parts if part.number in done)
    receipts = [Receipt(part.number, part.size, None) for part in plan.parts if part.number in done]
    state = PartTable(plan.parts, 0.0, done=receipts)
    told = state.progress(0.0)
    assert (told.bytes_uploaded, told.bytes_confirmed, told.parts_completed) == (sent, sent, len(done))
    assert (told.total_bytes, told.total_parts) == (plan.size, len(plan.parts))
    # What was sent before counts for nothing in the rate.
    assert state.progress(1.0).bytes_per_second == 0.0
    for number in done:
        with pytest.raises(RuntimeError, match="is done: it cannot begin"):
            state.begin(number, 1.0)
