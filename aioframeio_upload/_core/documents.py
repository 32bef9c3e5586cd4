"""Parse JSON from outside, within bounds, and without keeping other threads from running meanwhile."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from .api_schema import as_text

MAX_ANSWER = 16 << 20
"""Bytes. The longest legitimate answer is a plan: 10,000 parts, S3's limit for an upload, with links of 1.5 kB."""

MAX_VALUES = 250_000
"""Values of a document. A plan of 10,000 parts has 30,000, a page of a listing a few thousand. Each value costs 60 to
200 bytes of memory and a fraction of a microsecond in which no other thread runs: 16 MiB of empty lists would take half
a gigabyte and two seconds."""

READ_IN_THREAD = 1 << 16
"""Bytes. Parsing a longer document on the event loop would block it for more than about a millisecond."""


class BadDocument(ValueError):
    """The text is not JSON, or exceeds the bounds."""


def read_document(text: bytes) -> Any:
    """Parse a JSON document. Lone surrogates in strings are replaced, because nothing accepts them as text.

    Raises:
        BadDocument: It is not JSON, or has too many values.
    """
    # Counted piece by piece, so that other threads can run between two pieces, as with the hook below.
    pieces = range(0, len(text), READ_IN_THREAD)
    marks = sum(text.count(mark, at, at + READ_IN_THREAD) for at in pieces for mark in (b",", b"[", b"{"))
    if marks > MAX_VALUES:
        raise BadDocument("has too many values")
    try:
        # `json` parses in a single C call that does not release the GIL, so a plan of 15 MB would block the loop even
        # from a thread. A hook in Python lets other threads run once per object; it costs 50 ns per object.
        document = json.loads(text.decode("utf-8-sig"), object_hook=_unchanged, parse_constant=_refuse)
        # A surrogate can only come from an escape (RFC 8259, 8.2): valid UTF-8 has none.
        return _without_surrogates(document) if b"\\" in text else document
    except (ValueError, RecursionError):
        # Not chained: the text may contain credentials, and the parser's message quotes it.
        pass
    raise BadDocument("is not JSON")


def _unchanged(value: dict[str, Any]) -> dict[str, Any]:
    # Entering a Python function is a point at which the interpreter may switch threads.
    return value


def _refuse(constant: str) -> NoReturn:
    """Refuse `NaN` and the infinities, which `json` accepts although JSON does not have them."""
    raise ValueError


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, list):
        return [_without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {as_text(name): _without_surrogates(one) for name, one in value.items()}
    return value
