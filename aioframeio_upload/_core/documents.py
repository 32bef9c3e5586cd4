"""A JSON document from outside: read within bounds, and so that other threads can run meanwhile."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from .api_schema import as_text

MAX_ANSWER = 16 << 20
"""Bytes. The longest answer is a plan: 10,000 parts, S3's limit for one upload, with links of 1.5 kB."""

MOST_VALUES = 250_000
"""Values of a document. A plan of 10,000 parts has 30,000, a page of a listing some thousands. Each costs some 60 to
200 bytes of memory and a fraction of a microsecond in which no other thread runs: 16 MiB of empty lists would be half
a gigabyte and two seconds."""

READ_IN_THREAD = 1 << 16
"""Bytes from which on reading a document would hold the loop for more than about a millisecond."""


class BadDocument(ValueError):
    """A text that is no JSON, or more than anybody needs."""


def read_document(text: bytes) -> Any:
    """Read a JSON document. A lone surrogate in a string is replaced: it can be written nowhere.

    Raises:
        BadDocument: It is not JSON, or has too many values.
    """
    # A piece at a time, for the same reason as the hook below.
    pieces = range(0, len(text), READ_IN_THREAD)
    marks = sum(text.count(mark, at, at + READ_IN_THREAD) for at in pieces for mark in (b",", b"[", b"{"))
    if marks > MOST_VALUES:
        raise BadDocument("has too many values")
    try:
        # The hook costs 50 ns an object. `json` is one call of C, which lets go of the interpreter's lock nowhere else:
        # the loop would stand still for as long as a plan of 15 MB takes.
        document = json.loads(text.decode("utf-8-sig"), object_hook=_given, parse_constant=_refuse)
        # JSON can write one as an escape only (RFC 8259, 8.2), and a text in UTF-8 holds none itself.
        return _without_surrogates(document) if b"\\" in text else document
    except (ValueError, RecursionError):
        # The text may hold credentials: a parser's complaint, which quotes it, is not passed on.
        pass
    raise BadDocument("is not JSON")


def _given(value: dict[str, Any]) -> dict[str, Any]:
    # A Python function, at whose beginning the interpreter looks whether another thread waits.
    return value


def _refuse(constant: str) -> NoReturn:
    """Refuse `NaN` and the infinities, which are none in JSON."""
    raise ValueError


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, list):
        return [_without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {as_text(name): _without_surrogates(one) for name, one in value.items()}
    return value
