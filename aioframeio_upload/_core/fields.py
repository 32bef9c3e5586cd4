"""Single fields of an answer, as the service writes them: instants and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

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
