"""Instants, as the service writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any


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
