"""A foreign document is bounded, is read without lone surrogates, and lets other threads run meanwhile."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.api_schema import as_text, is_text
from aioframeio_upload._core.documents import MAX_VALUES, BadDocument, read_document

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.booleans())
def test_valid_json_is_read_unchanged(value: Any, ascii_only: bool) -> None:
    assert read_document(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def test_a_mark_of_byte_order_is_no_part_of_it() -> None:
    assert read_document(b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"<html>", b"\xff", b'"\xed\xa0\x80"', b"NaN", b"[Infinity]", b"[" * 100_000, b"9" * 5000],
    ids=lambda text: ascii(text[:12]),
)
def test_invalid_json_is_an_error_that_does_not_quote_it(text: bytes) -> None:
    with pytest.raises(BadDocument, match=r"^is not JSON$") as caught:
        read_document(text)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1"])
def test_more_values_than_anybody_needs_are_not_read(value: bytes) -> None:
    with pytest.raises(BadDocument, match="too many values"):
        read_document(b"[" + b",".join([value] * (MAX_VALUES + 1)) + b"]")


def test_a_lone_surrogate_is_replaced_and_a_pair_is_a_character() -> None:
    text = rb'{"a\ud800": ["\udfff x", "\ud83c\udfac", 1, null]}'
    assert read_document(text) == {"a\ufffd": ["\ufffd x", "🎬", 1, None]}


@given(st.text(st.characters(codec=None)))
def test_a_text_without_surrogates_can_be_encoded(words: str) -> None:
    as_text(words).encode()
    assert is_text(words) is (as_text(words) == words)


def test_other_threads_run_while_a_long_plan_is_read() -> None:
    """`json` alone is one C call: the loop's thread would be blocked until it ends."""
    urls = [{"size": 1, "url": "https://bucket/" + "x" * 1500} for _ in range(10_000)]
    text = json.dumps({"data": {"upload_urls": urls}}).encode()
    turns, is_over, before = 0, threading.Event(), sys.getswitchinterval()

    def take_turns() -> None:
        nonlocal turns
        while not is_over.is_set():
            turns += 1

    thread = threading.Thread(target=take_turns)
    sys.setswitchinterval(1e-4)
    try:
        thread.start()
        first = turns
        read_document(text)
        last = turns
    finally:
        sys.setswitchinterval(before)
        is_over.set()
        thread.join()
    assert last > first
