"""Test how the next run continues an entry, and what an upload that ends early leaves behind."""

from __future__ import annotations

from dataclasses import replace
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
    Receipt,
    SourceChanged,
    SourceError,
    UploadError,
    UploadStatus,
)
from aioframeio_upload._core.journal import Entry, Fingerprint, Identity
from aioframeio_upload._core.presigned import MARGIN
from aioframeio_upload._core.resuming import ResumeAction, is_kept, next_step
from tests.support.strategies import errors

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
