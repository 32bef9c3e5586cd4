"""aiohttp's exceptions are described without their messages, which may contain a URL or a password."""

from __future__ import annotations

import errno
from typing import Any

import aiohttp
import pytest
from yarl import URL

from aioframeio_upload._io.http_errors import FAILURES, describe, host_of

KEY: Any = None
"""The key of the connection in aiohttp's errors; only their own messages would show it."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "secret")), "the name of the host could not be resolved"),
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


def test_a_failed_connection_is_described_with_its_host() -> None:
    failures = [
        aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "secret")),
        aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "secret")),
        aiohttp.ConnectionTimeoutError("secret"),
    ]
    assert [describe(error, "api.frame.io:8443") for error in failures] == [
        "no connection to api.frame.io:8443 (ECONNREFUSED)",
        "the name of the host api.frame.io:8443 could not be resolved",
        "no connection to api.frame.io:8443 in time",
    ]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://anna:hunter2@s3.example/part?X-Amz-Signature=5ec2e7", "s3.example"),
        ("http://127.0.0.1:1/v4", "127.0.0.1:1"),
        ("http://[::1]:8080/", "[::1]:8080"),
    ],
)
def test_a_host_is_shown_with_an_unusual_port_and_nothing_else(url: str, host: str) -> None:
    assert host_of(URL(url, encoded=True)) == host


@pytest.mark.parametrize("kind", [kind for kind in FAILURES if kind is not UnicodeError])
def test_every_kind_of_failure_has_words(kind: type[BaseException]) -> None:
    assert describe(kind())
