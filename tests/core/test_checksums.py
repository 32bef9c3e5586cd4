"""Test when an ETag that is not the MD5 is a failure, and when its host only does not send MD5s (`check_etags`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.checksums import (
    CHECKSUM,
    Acknowledged,
    EtagTrust,
    compare,
    name_parts,
    read_answer,
    unproved,
)
from aioframeio_upload._core.failures import AttemptFailure, FailureKind, Verdict, judge
from aioframeio_upload._core.model import Part, Receipt

HOST, OTHER = "bucket.s3.amazonaws.com", "other.s3.amazonaws.com"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"
ODD = "0" * 32
MATCH = Receipt(1, 10, MD5.upper(), MD5)
STORED = Receipt(1, 10, ODD, MD5)
DIFFERS = AttemptFailure(FailureKind.ETAG, "S3 acknowledged other bytes than were sent", status=200, receipt=STORED)


def test_a_first_mismatch_is_sent_again_and_a_second_turns_the_check_off_for_its_host_only() -> None:
    trust = EtagTrust()
    assert trust.believe(HOST, DIFFERS, doubted=False) is None
    assert trust.off == set()
    assert trust.believe(HOST, DIFFERS, doubted=True) is STORED
    assert trust.off == {HOST}
    assert trust.believe(HOST, DIFFERS, doubted=False) is STORED, "from now on nothing is sent twice for it"
    assert trust.believe(OTHER, DIFFERS, doubted=False) is None


def test_where_one_has_matched_every_mismatch_is_a_failure() -> None:
    trust = EtagTrust()
    assert trust.believe(HOST, MATCH, doubted=False) is MATCH
    assert trust.proven == {HOST}
    for doubted in (False, True, True):
        assert trust.believe(HOST, DIFFERS, doubted=doubted) is None
    assert trust.off == set()


def test_a_match_after_the_check_was_turned_off_turns_it_on_again() -> None:
    trust = EtagTrust(off={HOST})
    trust.believe(HOST, MATCH, doubted=False)
    assert trust.believe(HOST, DIFFERS, doubted=True) is None


@pytest.mark.parametrize(
    "receipt", [Receipt(1, 10, None, MD5), Receipt(1, 10, MD5 + "-2", MD5), Receipt(1, 10, ODD, None)]
)
def test_a_receipt_without_an_md5_to_compare_is_accepted_and_proves_nothing(receipt: Receipt) -> None:
    trust = EtagTrust()
    assert trust.believe(HOST, receipt, doubted=False) is receipt
    assert trust.proven == set()


OUTCOMES = st.sampled_from(
    [
        MATCH,
        DIFFERS,
        Receipt(1, 10, None, MD5),
        AttemptFailure(FailureKind.LOST, "lost"),
        AttemptFailure(FailureKind.REFUSED, "no", status=500),
    ]
)


@given(st.lists(st.tuples(st.sampled_from([HOST, OTHER]), OUTCOMES, st.booleans()), max_size=30))
def test_no_wrong_bytes_are_accepted_where_an_etag_ever_was_the_md5(
    told: list[tuple[str, Receipt | AttemptFailure, bool]],
) -> None:
    trust = EtagTrust()
    matched: set[str] = set()
    for host, outcome, doubted in told:
        believed = trust.believe(host, outcome, doubted=doubted)
        if outcome is MATCH:
            matched.add(host)
        if isinstance(outcome, Receipt):
            assert believed is outcome
        elif outcome is not DIFFERS or host in matched:
            assert believed is None
    assert trust.proven == matched


# -- which answer acknowledges a part ----------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KMS = {"x-amz-server-side-encryption": "aws:kms"}


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({"ETag": f'"{MD5}"'}, b"", Acknowledged(MD5, is_checksum=True)),
        ({"ETag": f'W/"{MD5}"'}, b"\r\n", Acknowledged(MD5, is_checksum=True)),
        ({"ETag": f'"{MD5}"', "x-amz-request-id": "R"}, b"", Acknowledged(MD5, is_checksum=True, request_id="R")),
        ({"ETag": f'"{MD5}"'} | KMS, b"", Acknowledged(MD5)),
        ({"ETag": f'"{MD5}-3"'}, b"", Acknowledged(f"{MD5}-3")),
        ({"ETag": f'"{MD5}"'}, b"a gateway's greeting", Acknowledged(MD5, is_checksum=True, has_body=True)),
        ({}, b"", Acknowledged(None)),
        ({"ETag": '""'}, b" ", Acknowledged(None)),
        ({"ETag": "null"}, b"", Acknowledged(None)),
    ],
)
def test_a_200_that_acknowledges_a_part(headers: dict[str, str], body: bytes, said: Acknowledged) -> None:
    assert read_answer(200, headers, body, NOW) == said


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"0", None])
@pytest.mark.parametrize("etag", ["", '""', f'"{MD5}-3"', '"5f3c-264"'])
def test_a_200_with_a_body_is_no_acknowledgement(body: bytes | None, etag: str) -> None:
    fault = read_answer(200, {"ETag": etag, "Retry-After": "7"}, body, NOW)
    assert isinstance(fault, AttemptFailure)
    assert (fault.kind, fault.status, fault.code, fault.retry_after) == (FailureKind.REFUSED, 200, None, 7.0)
    assert judge(fault) is Verdict.AGAIN


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["ETag", "Retry-After", "Date"]), st.text(max_size=40)),
    st.none() | st.binary(max_size=60) | st.just(b"<Error><Code>InternalError</Code></Error>"),
)
def test_only_a_200_without_an_error_acknowledges_anything(
    status: int, headers: dict[str, str], body: bytes | None
) -> None:
    said = read_answer(status, headers, body, NOW)
    if isinstance(said, Acknowledged):
        assert status == 200
        assert body is not None
        assert b"<Code>InternalError" not in body
        assert not body.strip() or CHECKSUM.is_digest(said.etag)
    else:
        assert judge(said) in Verdict


# -- what is compared --------------------------------------------------------------------------------------------------

PART = Part(1, 0, 10, "https://s3.example/part")


@pytest.mark.parametrize(
    ("answer", "md5"),
    [
        (Acknowledged(MD5, is_checksum=True), MD5),
        (Acknowledged(MD5.upper(), is_checksum=True), MD5),
        (Acknowledged(MD5, is_checksum=True, has_body=True), MD5),
        (Acknowledged(ODD), MD5),
        (Acknowledged(f"{MD5}-3"), MD5),
        (Acknowledged(None), MD5),
        (Acknowledged(ODD, is_checksum=True), None),
    ],
    ids=["equal", "in capitals", "with a body", "encrypted", "of a multipart object", "no ETag", "nothing computed"],
)
def test_a_part_that_nothing_speaks_against_has_a_receipt(answer: Acknowledged, md5: str | None) -> None:
    assert compare(PART, answer, md5) == Receipt(1, 10, answer.etag, md5)


def test_an_etag_that_is_another_md5_is_a_failure_with_the_receipt_that_it_would_have_been() -> None:
    failure = compare(PART, Acknowledged(ODD, is_checksum=True, request_id="R"), MD5)
    assert isinstance(failure, AttemptFailure)
    assert (failure.kind, failure.status, failure.request_id) == (FailureKind.ETAG, 200, "R")
    assert failure.receipt == Receipt(1, 10, ODD, MD5)


@pytest.mark.parametrize("md5", [MD5, None])
def test_an_answer_with_a_body_is_not_s3s_unless_its_etag_is_the_md5(md5: str | None) -> None:
    failure = compare(PART, Acknowledged(ODD, is_checksum=True, request_id="R", has_body=True), md5)
    assert isinstance(failure, AttemptFailure)
    assert (failure.kind, failure.status, failure.request_id) == (FailureKind.REFUSED, 200, "R")
    assert judge(failure) is Verdict.AGAIN


@given(st.binary(max_size=100), st.sampled_from(["etag", "none", "other"]))
def test_a_receipt_never_both_matches_and_differs(content: bytes, kind: str) -> None:
    digest = CHECKSUM.begin()
    digest.update(content)
    md5 = digest.hexdigest()
    assert md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
    receipt = Receipt(1, len(content), {"etag": md5.upper(), "none": None, "other": ODD}[kind], md5)
    assert CHECKSUM.is_match(receipt) is (kind == "etag")
    assert CHECKSUM.is_mismatch(receipt) is (kind == "other")


@pytest.mark.parametrize(
    ("numbers", "words"), [((2,), "part 2"), ((3, 2), "parts 2, 3"), (range(1, 10), "parts 1, 2, 3, 4, 5 and 4 more")]
)
def test_parts_are_named_in_words(numbers: Iterable[int], words: str) -> None:
    assert name_parts(numbers) == words


def test_a_receipt_without_an_etag_is_not_proved() -> None:
    assert unproved([MATCH, Receipt(2, 10, None, MD5), STORED, Receipt(4, 10, None)]) == (2, 4)


@pytest.mark.parametrize(
    ("etag", "can_be"),
    [
        ("d41d8cd98f00b204e9800998ecf8427e", True),
        ("D41D8CD98F00B204E9800998ECF8427E", True),
        ("d41d8cd98f00b204e9800998ecf8427e-2", False),
        ("d41d8cd98f00b204e9800998ecf8427e\n", False),
        ("d41d8cd98f00b204e9800998ecf8427", False),
        ("g41d8cd98f00b204e9800998ecf8427e", False),
        ("", False),
        (None, False),
    ],
)
def test_an_etag_can_be_an_md5_only_with_its_32_hex_digits(etag: str | None, can_be: bool) -> None:
    assert CHECKSUM.is_digest(etag) is can_be
