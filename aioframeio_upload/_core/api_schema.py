"""Read single fields of the service's JSON: sizes, instants, and the typed fields of a plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .errors import PlanError

MAX_SIZE = 1 << 63
"""No file is as long, and SQLite holds no such number; nor does Python print one of thousands of digits, in an error's
message too."""


def read_instant(text: Any) -> datetime | None:
    """Read an instant; None where there is none. One without a zone is UTC."""
    # Python 3.11's fromisoformat takes all that RFC 3339 allows but a longer fraction.
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def read_size(told: Mapping[str, Any]) -> int | None:
    """Read how long a file is, where that may be unknown; None where it is no number, or one that no file is long."""
    size = told.get("file_size")
    return size if type(size) is int and 0 <= size < MAX_SIZE else None


REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def as_text(words: str) -> str:
    """Replace what is no text: lone surrogates, which no file, terminal, header or database takes."""
    if words.isascii():
        return words
    return "".join(REPLACEMENT if "\ud800" <= character <= "\udfff" else character for character in words)


def is_text(words: str) -> bool:
    """Return whether a string can be written as UTF-8: it holds no lone surrogate.

    A name on Linux may be any bytes, and on Windows hold such surrogates.
    """
    return as_text(words) == words


def read_id(value: Any) -> str | None:
    """Read an id of the service's; None where it is none: empty, or not text (then it was replaced, or is to be)."""
    is_id = isinstance(value, str) and bool(value) and is_text(value) and REPLACEMENT not in value
    return value if is_id else None


def check_id(name: str, value: str) -> str:
    """Return an id that a caller gave, as an argument of that name.

    Raises:
        TypeError: It is no string.
        ValueError: It is empty, or not text.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} is empty")
    if not is_text(value):
        raise ValueError(f"{name} holds a lone surrogate, which is no text")
    return value


def check_media_type(value: str | None) -> str | None:
    """Return a media type that a caller gave: it becomes a header of every part.

    Raises:
        TypeError: It is no string.
        ValueError: It cannot be the value of a header.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"media_type must be a string, not {type(value).__name__}")
    if not is_header_value(value):
        raise ValueError("media_type must be printable ASCII, such as 'video/quicktime'")
    return value


def is_header_value(value: str) -> bool:
    """Return whether a string can be the value of a header as it stands (RFC 9110, 5.5, without its obsolete part)."""
    return value.isascii() and value.isprintable() and value == value.strip()


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_header_name(name: str) -> bool:
    """Return whether a string can be the name of a header (RFC 9110, 5.6.2)."""
    return _TOKEN.fullmatch(name) is not None


class MalformedAnswer(PlanError):
    """The answer that should make a plan lacks a field, or has one of the wrong type."""


def _attributes(record: Any) -> dict[str, Any]:
    names = ("id", "parent_id", "name", "file_size", "media_type", "view_url", "status", "upload_urls")
    return {name: getattr(record, name, None) for name in (*names, "size", "url")}


def _typed(told: Mapping[str, Any], name: str, kind: type, *, where: str = "", optional: bool = False) -> Any:
    value = told.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        found = "is missing" if value is None else f"is {type(value).__name__}, not {kind.__name__}"
        raise MalformedAnswer(f"the answer's {where + '.' if where else ''}{name} {found}")
    if isinstance(value, int) and abs(value) >= MAX_SIZE:
        raise MalformedAnswer(f"the answer's {where + '.' if where else ''}{name} is out of range")
    return value
