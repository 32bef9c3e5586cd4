"""Collect all that a user, a log file or another process can see of an upload, and search it for secrets."""

from __future__ import annotations

import html
import json
import pickle
import traceback
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import pytest

from aioframeio_upload import Event, UploadError


def whole_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and every error linked to it, shown or suppressed."""
    seen: list[BaseException | None] = [error]
    for one in seen:
        if one is not None:
            yield one
            group = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
            seen += [other for other in (one.__cause__, one.__context__, *group) if other not in seen]


def everything_said(error: BaseException, events: Iterable[Event], caplog: pytest.LogCaptureFixture) -> str:
    """Return all that a user, a log file or another process can see of an error and its causes."""
    words = [caplog.text, repr([vars(record) for record in caplog.records])]
    for one in whole_chain(error):
        words += [str(one), repr(one), repr(vars(one)), "".join(traceback.format_exception(one))]
        assert not type(one).__module__.startswith("aiohttp"), "no aiohttp exception leaves the library"
    if isinstance(error, UploadError):
        words += [repr(pickle.dumps(error)), json.dumps(error.to_dict())]
    for event in events:
        words += [repr(event), str(event), json.dumps(event.to_dict(), allow_nan=False), repr(pickle.dumps(event))]
    return "\n".join(words)


def spellings(secret: str) -> set[str]:
    """Return a secret as it is, and as URLs, HTML, JSON and `repr` spell it."""
    return {secret, quote(secret, safe=""), html.escape(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}


def assert_hidden(words: str, *secrets: str) -> None:
    """Assert that no secret is in the text, in any spelling."""
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling not in words
