"""Field rules of the Frame.io API: read fields of its JSON, and check arguments that become fields of a request.

`read_*` functions return None for a missing or malformed value, for answers that are usable without it. `require_*`
functions raise `MalformedAnswer`, for the fields that a plan cannot do without. `check_*` functions raise TypeError or
ValueError about a caller's argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .errors import PlanError

# -- text --------------------------------------------------------------------------------------------------------------

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def is_text(value: str) -> bool:
    """Return whether a string can be encoded as UTF-8, that is, has no lone surrogate.

    File names can have some: `os.fsdecode` maps undecodable bytes of a Linux name to surrogates (PEP 383), and Windows
    allows them in names.
    """
    return as_text(value) == value


def as_text(value: str) -> str:
    """Replace lone surrogates, which no file, terminal, header or database accepts."""
    if value.isascii():
        return value
    return "".join(REPLACEMENT if "\ud800" <= character <= "\udfff" else character for character in value)


# -- reading answers ---------------------------------------------------------------------------------------------------

MAX_SIZE = 1 << 63
"""Bound of every number: larger ones do not fit into an SQLite INTEGER, and above 4,300 digits Python refuses to print
one, in an error message too (`sys.set_int_max_str_digits`)."""


class MalformedAnswer(PlanError):
    """An answer that should hold a plan lacks a field, or a field has the wrong type."""


def read_instant(text: Any) -> datetime | None:
    """Parse an RFC 3339 instant; one without a time zone is taken as UTC. Return None if it is not valid."""
    # `fromisoformat` of Python 3.11 parses all of RFC 3339 except a fraction of more than six digits.
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def read_size(document: Mapping[str, Any]) -> int | None:
    """Return the `file_size` of a file; None if it is missing or out of range."""
    size = document.get("file_size")
    return size if type(size) is int and 0 <= size < MAX_SIZE else None


def read_id(value: Any) -> str | None:
    """Return an ID; None if it is empty, not a string, or not valid text (`as_text` may have replaced a part of it)."""
    is_id = isinstance(value, str) and bool(value) and is_text(value) and REPLACEMENT not in value
    return value if is_id else None


def require_id(document: Mapping[str, Any]) -> str:
    """Return the `id` of a document.

    Raises:
        MalformedAnswer: It is missing, empty or not valid text.
    """
    found = read_id(require(document, "id", str))
    if found is None:
        raise MalformedAnswer("the answer's id is empty or not valid text")
    return found


def require(document: Mapping[str, Any], name: str, kind: type, *, where: str = "", optional: bool = False) -> Any:
    """Return a field of a document, checked to be of one type.

    Args:
        document: The JSON object.
        name: The field.
        kind: Its type; a `bool` is not accepted as an `int`.
        where: The path of the object in the answer, for the error message.
        optional: Return None if the field is missing or null.

    Raises:
        MalformedAnswer: The field is missing, of another type, or out of range.
    """
    value = document.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        found = "is missing" if value is None else f"is {type(value).__name__}, not {kind.__name__}"
        raise MalformedAnswer(f"the answer's {where + '.' if where else ''}{name} {found}")
    if isinstance(value, int) and abs(value) >= MAX_SIZE:
        raise MalformedAnswer(f"the answer's {where + '.' if where else ''}{name} is out of range")
    return value


# -- checking arguments ------------------------------------------------------------------------------------------------


def check_id(name: str, value: str) -> str:
    """Return an ID that a caller passed as the argument `name`.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty or not valid text.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} is empty")
    if not is_text(value):
        raise ValueError(f"{name} contains a lone surrogate, which UTF-8 cannot encode")
    return value


def check_media_type(value: str | None) -> str | None:
    """Return a media type that a caller passed; it becomes the `Content-Type` of every part.

    Raises:
        TypeError: It is not a string.
        ValueError: It is not valid as the value of a header.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"media_type must be a string, not {type(value).__name__}")
    if not is_header_value(value):
        raise ValueError("media_type must be printable ASCII, such as 'video/quicktime'")
    return value


def is_header_value(value: str) -> bool:
    """Return whether a string is valid as a header's value (RFC 9110, 5.5, without the obsolete `obs-text`)."""
    return value.isascii() and value.isprintable() and value == value.strip()


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_header_name(name: str) -> bool:
    """Return whether a string is valid as a header's name (RFC 9110, 5.6.2)."""
    return _TOKEN.fullmatch(name) is not None
