"""TLS on a connection that is cut: a proxy that ends TLS before the real S3 server, and before it one that fails.

The library sees how TLS fails on a broken network: handshakes that fail, records that end in the middle, connections
that close without a close_notify, certificates that are not trusted.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
import trustme

from aioframeio_upload import Limits, PartExhausted, PartRejected, RetryPolicy, Timeouts, Uploader
from tests.support.wire import Mishap, Wire

from .presign import S3Server
from .test_library import send_all, sha256, stored

PART = (1 << 20) + 1
SIZES = [PART] * 2
BYTES = Random(8).randbytes(sum(SIZES))
SHA256 = hashlib.sha256(BYTES).hexdigest()
STALL = 1.0
ANSWER = 3.0  # for a part that the proxy took and dropped; a real server answers 1 MiB well within that
PATIENT = 30.0

HELLO = 100  # bytes up: a ClientHello that is cut short
FIRST_PART = 100_000  # bytes up: in the first body, far behind the handshake
NO_CONNECTION = {
    "no connection",
    "no connection (ECONNRESET)",
    "the TLS handshake failed",
    f"no connection in {STALL:g} s",
}


@dataclass(frozen=True)
class Tls:
    """The proxy that can be cut, the one behind it that ends TLS, and the certificates that the library trusts."""

    cut: Wire
    end: Wire
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.cut.port}"

    def settings(self, do: str = "", trust: ssl.SSLContext | None = None, **more: Any) -> dict[str, Any]:
        timeouts = Timeouts(stall=STALL, answer=ANSWER) if do == "black_hole" else Timeouts(stall=PATIENT)
        policy = RetryPolicy(base=0.01, cap=0.05, **more)
        return {"retry": policy, "limits": Limits(parts=1), "timeouts": timeouts, "ssl": trust or self.trust}


UNTRUSTED = (
    "^part 1, attempt 1: the server's certificate is not trusted; add the certificate of the authority that signed it$"
)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def served_for() -> str:
    """The name in the server's certificate."""
    return "127.0.0.1"


@pytest.fixture
def contexts(authority: trustme.CA, served_for: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert(served_for).configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.fixture
async def tls(s3_server: S3Server, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[Tls]:
    target = urlsplit(s3_server.url)
    assert target.hostname is not None
    assert target.port is not None
    async with Wire(target.hostname, target.port, ssl=contexts[0]) as end, Wire("127.0.0.1", end.port) as cut:
        yield Tls(cut, end, contexts[1])


@pytest.mark.parametrize("do", ["reset", "close", pytest.param("black_hole", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "after", [HELLO, FIRST_PART, PART + FIRST_PART], ids=["handshake", "first part", "second part"]
)
async def test_a_part_is_sent_again_after_one_break_below_tls(
    s3_server: S3Server, tls: Tls, do: Literal["reset", "close", "black_hole"], after: int
) -> None:
    mishap = Mishap(do=do, after=after)
    tls.cut.mishaps = [mishap]
    response = s3_server.create_response(len(BYTES), SIZES, at=tls.url)
    async with Uploader("t", **tls.settings(do)) as uploader:
        await send_all(uploader, response, BYTES)
        assert uploader.statistics().retries == 1
    assert tls.cut.hits(mishap) == 1
    assert await sha256(s3_server, response) == SHA256


@pytest.mark.parametrize("do", ["reset", "close", pytest.param("black_hole", marks=pytest.mark.slow)])
async def test_a_handshake_that_never_succeeds_counts_as_no_connection(s3_server: S3Server, tls: Tls, do: Any) -> None:
    """Within the patience this would use up no attempt; here there is no patience."""
    tls.cut.mishaps = [Mishap(do=do, after=HELLO, times=None)]
    response = s3_server.create_response(len(BYTES), SIZES, at=tls.url)
    async with Uploader("t", **tls.settings(do, attempts=2, patience=0)) as uploader:
        with pytest.raises(PartExhausted) as caught:
            await send_all(uploader, response, BYTES)
    words = caught.value.problem.partition("the last: ")[2]
    assert re.sub(r" to \S+", "", words) in NO_CONNECTION
    assert caught.value.attempts == 2
    assert await stored(s3_server, response) == [None, None]


@pytest.mark.parametrize("do", ["reset", "close"])
@pytest.mark.parametrize("after", [0, 40])
async def test_an_answer_that_is_lost_inside_tls_is_asked_for_again(
    s3_server: S3Server, tls: Tls, do: Any, after: int
) -> None:
    """Here the end that speaks TLS breaks, after 0 or 40 bytes of the answer."""
    mishap = Mishap(do=do, way="down", after=after, mark=b"part_2?")
    tls.end.mishaps = [mishap]
    response = s3_server.create_response(len(BYTES), SIZES, at=tls.url)
    async with Uploader("t", **tls.settings()) as uploader:
        await send_all(uploader, response, BYTES)
        assert uploader.statistics().retries == 1
    assert tls.end.hits(mishap) == 1
    assert await sha256(s3_server, response) == SHA256


async def test_a_server_without_tls_fails_at_once(s3_server: S3Server, tls: Tls) -> None:
    plain = f"https://{urlsplit(s3_server.url).netloc}"
    response = s3_server.create_response(len(BYTES), SIZES, at=plain)
    async with Uploader("t", **tls.settings(attempts=2, patience=0)) as uploader:
        message = r"^part 1, attempt 1: the TLS handshake failed \(WRONG_VERSION_NUMBER\); check base_url and the proxy"
        with pytest.raises(PartRejected, match=message):
            await send_all(uploader, response, BYTES)


async def test_a_certificate_of_an_unknown_authority_fails_at_once(s3_server: S3Server, tls: Tls) -> None:
    response = s3_server.create_response(len(BYTES), SIZES, at=tls.url)
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with Uploader("t", **tls.settings(trust=stranger)) as uploader:
        with pytest.raises(PartRejected, match=UNTRUSTED):
            await send_all(uploader, response, BYTES)
    assert tls.cut.connections == 1


@pytest.mark.parametrize("served_for", ["storage.example"])
async def test_a_certificate_for_another_name_fails_at_once(s3_server: S3Server, tls: Tls) -> None:
    response = s3_server.create_response(len(BYTES), SIZES, at=tls.url)
    async with Uploader("t", **tls.settings()) as uploader:
        with pytest.raises(PartRejected, match=UNTRUSTED):
            await send_all(uploader, response, BYTES)
    assert tls.cut.connections == 1
