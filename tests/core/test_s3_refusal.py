"""Test how S3's error answers are read: bounded, whatever they contain, and without the secrets that they quote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioframeio_upload._core.failures import AttemptFailure, FailureKind, Verdict, judge
from aioframeio_upload._core.s3_refusal import read_refusal
from tests.support.strategies import SECRET, WORDS

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match</Message>
<AWSAccessKeyId>AK</AWSAccessKeyId><RequestId>R1</RequestId><HostId>h</HostId></Error>"""


def test_a_refusals_code_message_and_request_are_read() -> None:
    fault = read_refusal(403, {"Retry-After": "3"}, XML, NOW)
    assert fault == AttemptFailure(
        FailureKind.REFUSED,
        "The request signature we calculated does not match",
        status=403,
        code="SignatureDoesNotMatch",
        request_id="R1",
        retry_after=3,
    )


def test_the_request_in_the_headers_comes_before_the_one_in_the_body() -> None:
    assert read_refusal(403, {"x-amz-request-id": "R2"}, XML, NOW).request_id == "R2"


def test_a_refusal_without_a_body_still_has_words() -> None:
    assert read_refusal(403, {}, b"", NOW) == AttemptFailure(FailureKind.REFUSED, "no reason was given", status=403)


ELEMENTS = st.sampled_from([b"<Code>", b"</Code>", b"<Message>", b"</Message>", b"<RequestId>", b"</RequestId>"])
PIECES = st.lists(ELEMENTS | st.binary(max_size=20), max_size=12).map(b"".join)


@given(
    st.integers(100, 999),
    st.dictionaries(st.sampled_from(["Retry-After", "Date", "x-amz-request-id", "X-Other"]), WORDS),
    st.binary() | PIECES,
)
@example(403, {"x-amz-request-id": "r" * 10_000}, b"<Code>" + b"A" * 10_000 + b"</Code><Message>" + b"\xff" * 10_000)
def test_any_answer_is_read_as_a_refusal_of_bounded_length(
    status: int, headers: Mapping[str, str], body: bytes
) -> None:
    fault = read_refusal(status, headers, body, NOW)
    assert (fault.kind, fault.status) == (FailureKind.REFUSED, status)
    assert fault.reason.strip()
    assert len(fault.reason) <= 300
    assert len(fault.code or "") <= 80
    assert len(fault.request_id or "") <= 120
    assert judge(fault) in Verdict


VALUES = st.text("abcdefXYZ019._~-%", max_size=12)
SIGNED_PARAMETERS = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    f"X-Amz-Credential={SECRET}%2F20261123%2Feu-west-1%2Fs3%2Faws4_request",
    "X-Amz-Date=20261123T120000Z",
    "X-Amz-Expires=86400",
    f"X-Amz-Security-Token={SECRET}%2B",
    "X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-acl",
    f"X-Amz-Signature={SECRET}",
    "x-id=PutObject",
)


@st.composite
def presigned_links(draw: st.DrawFn) -> str:
    """Draw a part's link as S3 signs them, its parameters in any order."""
    parameters = draw(st.permutations([*SIGNED_PARAMETERS, f"x-amz-meta-name={draw(VALUES)}"]))
    return f"https://bucket.s3.eu-west-1.amazonaws.com/parts/{draw(VALUES)}?{'&'.join(parameters)}"


QUOTED: dict[str, Callable[[str], str]] = {
    "as it is": lambda url: url,
    "in quotes": lambda url: f'"{url}"',
    "escaped for XML": lambda url: url.replace("&", "&amp;"),
    "its target only": lambda url: "/" + url.split("/", 3)[3],
    "its target, escaped": lambda url: "/" + url.split("/", 3)[3].replace("&", "&amp;"),
    "its query only": lambda url: url.partition("?")[2],
    "its query, escaped": lambda url: url.partition("?")[2].replace("&", "&amp;"),
    "a line for each parameter": lambda url: url.partition("?")[2].replace("&", "\n"),
}


@pytest.mark.parametrize("quote", [pytest.param(quote, id=name) for name, quote in QUOTED.items()])
@given(presigned_links(), st.text(st.characters(codec="ascii", exclude_characters="<"), max_size=20))
def test_a_refusal_that_quotes_the_request_shows_nothing_of_its_secrets(
    quote: Callable[[str], str], url: str, before: str
) -> None:
    body = f"<Error><Code>X</Code><Message>{before} {quote(url)} did not match</Message></Error>".encode()
    fault = read_refusal(403, {}, body, NOW)
    assert SECRET[:6] not in repr(fault)
