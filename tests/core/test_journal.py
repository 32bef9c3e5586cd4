"""Entries are read as they were written, belong to the same upload only, and are resumed if that can succeed."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from typing import Any, get_args
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload import (
    PlanError,
    Receipt,
)
from aioframeio_upload._core.journal import (
    Entry,
    Fingerprint,
    Identity,
    PendingUpload,
    SentFile,
    find_sent_as,
    read_entry,
    read_pending,
    read_sent,
    write_ctime,
    write_entry,
    write_receipt,
    write_sent,
)
from aioframeio_upload._core.model import ChecksumName
from tests.support.strategies import WORDS, plans

IDENTITIES = st.builds(Identity, WORDS, st.none() | WORDS, WORDS, WORDS, st.none() | WORDS)
ETAGS = st.none() | WORDS
CHECKED_BY = st.sampled_from([None, *get_args(ChecksumName)])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    plan = draw(plans())
    fingerprint = Fingerprint(plan.size, draw(st.integers(-(2**63), 2**63 - 1)), draw(WORDS))
    some = draw(st.sets(st.sampled_from(plan.parts)))
    receipts = tuple(
        Receipt(part.number, part.size, draw(ETAGS), draw(ETAGS), draw(ETAGS), draw(CHECKED_BY))
        for part in sorted(some, key=lambda one: one.number)
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


TIMES = st.integers(-(2**70), 2**70)
SENT = st.builds(
    SentFile, WORDS, WORDS, st.integers(0), TIMES, st.none() | WORDS, st.booleans(), ctime_ns=st.none() | TIMES
)


@given(SENT)
def test_what_was_sent_is_read_as_it_was_written(sent: SentFile) -> None:
    text, changed = write_sent(sent), write_ctime(sent.ctime_ns)
    assert read_sent(sent.file_id, text, changed) == sent
    assert read_sent(sent.file_id, text) == replace(sent, ctime_ns=None), "as an earlier release has written it"
    assert text.isascii()


@given(SENT, st.none() | TIMES)
def test_a_source_is_unchanged_only_if_its_change_time_was_and_is_known_and_the_same(
    sent: SentFile, ctime_ns: int | None
) -> None:
    assert sent.is_unchanged(sent.ctime_ns) == (sent.ctime_ns is not None)
    assert sent.is_unchanged(ctime_ns) == (ctime_ns is not None and ctime_ns == sent.ctime_ns)
    assert not sent.is_unchanged(None)


@given(SENT, WORDS)
def test_a_source_is_found_by_its_path_size_and_modification_time(sent: SentFile, path: str) -> None:
    assert find_sent_as([sent], sent.path, sent.size, sent.mtime_ns) is sent
    assert find_sent_as([sent], sent.path, sent.size, sent.mtime_ns + 1) is None
    assert find_sent_as([sent], sent.path, sent.size + 1, sent.mtime_ns) is None
    assert find_sent_as([sent], None, sent.size, sent.mtime_ns) is None
    later = replace(sent, path=path, mtime_ns=sent.mtime_ns + 1)
    assert (find_sent_as([later, sent], sent.path, sent.size, sent.mtime_ns) is None) == (path == sent.path)


@pytest.mark.parametrize("changed", [7, b"7", "", "-", "7.0", "\uff17", "7" * 50, " 7"])
def test_a_damaged_change_time_counts_as_unknown(changed: Any) -> None:
    assert read_sent("f", '["/a", 1, 2, null]', changed) == SentFile("f", "/a", 1, 2, None)


@pytest.mark.parametrize("text", [None, b"", "", "[", "[]", '["/a", 1, 2]', '["/a", 1, "2", null]', '["/a", 1, 2, 3]'])
def test_a_damaged_row_of_what_was_sent_counts_as_unknown(text: Any) -> None:
    assert read_sent("f", text) is None
    assert read_sent(b"f", '["/a", 1, 2, null]') is None


@given(IDENTITIES, st.sampled_from(["account_id", "folder_id", "name", "path", "origin"]), WORDS)
def test_a_place_depends_on_the_target_and_not_on_the_source(one: Identity, name: str, word: str) -> None:
    changes: Any = {name: word}
    is_source = name in ("path", "origin")
    assert (replace(one, **changes).place == one.place) == (is_source or _alike(getattr(one, name), word))


def _alike(one: str | None, other: str) -> bool:
    return (one is not None and normalize("NFC", one) == normalize("NFC", other)) or one == other


@given(IDENTITIES, IDENTITIES)
def test_each_identity_has_a_different_key(one: Identity, other: Identity) -> None:
    assert (one.key == other.key) == (astuple(one) == astuple(other))
    assert one.key.isalnum()


@given(IDENTITIES, st.sampled_from(["account_id", "folder_id", "name", "path", "origin"]), WORDS)
def test_a_key_depends_on_all_of_the_identity(one: Identity, name: str, word: str) -> None:
    changes: Any = {name: word}
    assert (replace(one, **changes).key == one.key) == (getattr(one, name) == word)
