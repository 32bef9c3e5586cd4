"""aiohttp's exceptions are described without their messages, which may contain a URL or a password."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from aioframeio_upload._io.http_errors import FAILURES, describe

KEY: Any = None
"""The key of the connection in aiohttp's errors; only their own messages would show it."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "secret")), "the host's name could not be resolved"),
        (aiohttp.ClientProxyConnectionError(KEY, OSError(111, "secret")), "the proxy could not be reached"),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "secret")), "no connection"),
        (aiohttp.ServerTimeoutError("secret"), "no answer in time"),
        (aiohttp.ServerDisconnectedError("secret"), "the server closed the connection without an answer"),
        (TimeoutError("secret"), "no answer in time"),
        (ConnectionResetError("secret"), "the connection broke"),
    ],
)
def test_a_failure_is_described_in_our_own_words(error: BaseException, words: str) -> None:
    assert isinstance(error, FAILURES)
    assert describe(error).partition(" (")[0] == words
    assert "secret" not in describe(error)


@pytest.mark.parametrize("kind", [kind for kind in FAILURES if kind is not UnicodeError])
def test_every_kind_of_failure_has_words(kind: type[BaseException]) -> None:
    assert describe(kind())
