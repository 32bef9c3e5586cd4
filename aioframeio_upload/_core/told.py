"""What all events can do: be told as JSON."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from .errors import UploadError


class Told:
    """The base of every event; a frozen dataclass each."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the event in JSON's types: its name under `event`, an error as its `to_dict()`, a record as a dict."""
        return {"event": type(self).__name__, **record_to_dict(self)}


def record_to_dict(record: Any) -> dict[str, Any]:
    """Give a record in JSON's types."""
    return {field.name: _plain(getattr(record, field.name)) for field in fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, Told | UploadError):
        return value.to_dict()
    if is_dataclass(value):
        return record_to_dict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
