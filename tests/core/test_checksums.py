"""Test what an answer of S3 proves about a part, and what is computed of the parts for a host."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.checksums import (
    CHECKSUMS,
    CRC64NVME,
    MD5,
    Acknowledged,
    HostChecksums,
    WholeCrc64Nvme,
    compare,
    etag_differs,
    etag_is_md5,
    is_digest,
    name_parts,
    read_answer,
    unproved,
)
from aioframeio_upload._core.failures import AttemptFailure, FailureKind, Verdict, judge
from aioframeio_upload._core.model import ChecksumMode, ChecksumName, Part, Receipt

HOST, OTHER = "bucket.s3.amazonaws.com", "other.s3.amazonaws.com"
DIGEST = "d41d8cd98f00b204e9800998ecf8427e"
ODD = "0" * 32
MATCH = Receipt(1, 10, DIGEST.upper(), DIGEST)
STORED = Receipt(1, 10, ODD, DIGEST)
DIFFERS = AttemptFailure(FailureKind.ETAG, "S3 acknowledged other bytes than were sent", status=200, receipt=STORED)


def test_a_first_mismatch_is_sent_again_and_a_second_turns_the_check_off_for_its_host_only() -> None:
    trust = HostChecksums()
    assert trust.believe(HOST, DIFFERS, doubted=False) is None
    assert trust.off == set()
    assert trust.believe(HOST, DIFFERS, doubted=True) is STORED
    assert trust.off == {HOST}
    assert trust.believe(HOST, DIFFERS, doubted=False) is STORED, "from now on nothing is sent twice for it"
    assert trust.believe(OTHER, DIFFERS, doubted=False) is None


def test_where_one_has_matched_every_mismatch_is_a_failure() -> None:
    trust = HostChecksums()
    assert trust.believe(HOST, MATCH, doubted=False) is MATCH
    assert trust.proven == {HOST}
    for doubted in (False, True, True):
        assert trust.believe(HOST, DIFFERS, doubted=doubted) is None
    assert trust.off == set()


def test_a_match_after_the_check_was_turned_off_turns_it_on_again() -> None:
    trust = HostChecksums(off={HOST})
    trust.believe(HOST, MATCH, doubted=False)
    assert trust.believe(HOST, DIFFERS, doubted=True) is None


@pytest.mark.parametrize(
    "receipt", [Receipt(1, 10, None, DIGEST), Receipt(1, 10, DIGEST + "-2", DIGEST), Receipt(1, 10, ODD, None)]
)
def test_a_receipt_without_an_md5_to_compare_is_accepted_and_proves_nothing(receipt: Receipt) -> None:
    trust = HostChecksums()
    assert trust.believe(HOST, receipt, doubted=False) is receipt
    assert trust.proven == set()


OUTCOMES = st.sampled_from(
    [
        MATCH,
        DIFFERS,
        Receipt(1, 10, None, DIGEST),
        AttemptFailure(FailureKind.LOST, "lost"),
        AttemptFailure(FailureKind.REFUSED, "no", status=500),
    ]
)


@given(st.lists(st.tuples(st.sampled_from([HOST, OTHER]), OUTCOMES, st.booleans()), max_size=30))
def test_no_wrong_bytes_are_accepted_where_an_etag_ever_was_the_md5(
    told: list[tuple[str, Receipt | AttemptFailure, bool]],
) -> None:
    trust = HostChecksums()
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
CRC, OTHER_CRC = "rosUhgp5mIg=", "AAAAAAAAAAA="
"""Of b"123456789", the check value of the CRC catalogue (0xae8b14860a799888), and of nothing."""
STATED: dict[ChecksumName, str] = {"md5": DIGEST}
BOTH: dict[ChecksumName, str] = {"crc64nvme": CRC, "md5": DIGEST}


def crc_header(value: str = CRC, name: str = "crc64nvme", kind: str = "FULL_OBJECT") -> dict[str, str]:
    return {f"x-amz-checksum-{name}": value, "x-amz-checksum-type": kind}


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({"ETag": f'"{DIGEST}"'}, b"", Acknowledged(DIGEST, STATED)),
        ({"ETag": f'W/"{DIGEST}"'}, b"\r\n", Acknowledged(DIGEST, STATED)),
        ({"ETag": f'"{DIGEST.upper()}"'}, b"", Acknowledged(DIGEST.upper(), STATED)),
        ({"ETag": f'"{DIGEST}"', "x-amz-request-id": "R"}, b"", Acknowledged(DIGEST, STATED, request_id="R")),
        ({"ETag": f'"{DIGEST}"'} | KMS, b"", Acknowledged(DIGEST)),
        ({"ETag": f'"{DIGEST}-3"'}, b"", Acknowledged(f"{DIGEST}-3")),
        ({"ETag": f'"{DIGEST}"'}, b"a gateway's greeting", Acknowledged(DIGEST, STATED, has_body=True)),
        ({}, b"", Acknowledged(None)),
        ({"ETag": '""'}, b" ", Acknowledged(None)),
        ({"ETag": "null"}, b"", Acknowledged(None)),
        (crc_header(), b"", Acknowledged(None, {"crc64nvme": CRC})),
        (crc_header(f" {CRC} "), b"", Acknowledged(None, {"crc64nvme": CRC})),
        ({"x-amz-checksum-crc64nvme": CRC}, b"", Acknowledged(None, {"crc64nvme": CRC})),
        ({"ETag": f'"{DIGEST}"'} | KMS | crc_header(), b"", Acknowledged(DIGEST, {"crc64nvme": CRC})),
        (crc_header(), b"a greeting", Acknowledged(None, {"crc64nvme": CRC}, has_body=True)),
        (crc_header("y/dlYA==", "crc32c"), b"", Acknowledged(None, {"crc32c": "y/dlYA=="})),
    ],
)
def test_a_200_that_acknowledges_a_part(headers: dict[str, str], body: bytes, said: Acknowledged) -> None:
    assert read_answer(200, headers, body, NOW) == said


@pytest.mark.parametrize(
    "headers",
    [
        crc_header(""),
        crc_header(CRC[:-1]),
        crc_header("rosUhgp5mA=="),  # seven bytes
        crc_header("rosUhgp5mIiI"),  # nine
        crc_header("ae8b14860a799888"),  # in hex it is twelve bytes of base64
        crc_header("rosUhgp!mIg="),
        crc_header("\udcff" * 12),
        crc_header("é" * 12),
        crc_header(f"{CRC}-3"),
        crc_header(kind="COMPOSITE"),
        crc_header("y/dlYA==", "crc64nvme"),
    ],
)
def test_a_header_that_is_no_crc64nvme_counts_as_absent(headers: dict[str, str]) -> None:
    assert read_answer(200, headers, b"", NOW) == Acknowledged(None)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"0", None])
@pytest.mark.parametrize("etag", ["", '""', f'"{DIGEST}-3"', '"5f3c-264"'])
def test_a_200_with_a_body_is_no_acknowledgement(body: bytes | None, etag: str) -> None:
    fault = read_answer(200, {"ETag": etag, "Retry-After": "7"}, body, NOW)
    assert isinstance(fault, AttemptFailure)
    assert (fault.kind, fault.status, fault.code, fault.retry_after) == (FailureKind.REFUSED, 200, None, 7.0)
    assert judge(fault) is Verdict.AGAIN


HEADERS = ["ETag", "Retry-After", "Date", "x-amz-checksum-crc64nvme", "x-amz-checksum-crc32", "x-amz-checksum-type"]


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=40) | st.just(CRC)),
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
        assert not body.strip() or said.stated
    else:
        assert judge(said) in Verdict


# -- what is compared --------------------------------------------------------------------------------------------------

PART = Part(1, 0, 10, "https://s3.example/part")


@pytest.mark.parametrize(
    ("answer", "computed", "checked_by"),
    [
        (Acknowledged(DIGEST, STATED), STATED, "md5"),
        (Acknowledged(DIGEST.upper(), STATED), STATED, "md5"),
        (Acknowledged(DIGEST, STATED, has_body=True), STATED, "md5"),
        (Acknowledged(DIGEST), STATED, "md5"),
        (Acknowledged(ODD), STATED, None),
        (Acknowledged(f"{DIGEST}-3"), STATED, None),
        (Acknowledged(None), BOTH, None),
        (Acknowledged(ODD, {"md5": ODD}), {}, None),
        (Acknowledged(ODD, {"md5": ODD}), {"crc64nvme": CRC}, None),
        (Acknowledged(None, {"crc64nvme": CRC}), BOTH, "crc64nvme"),
        (Acknowledged(DIGEST, BOTH), BOTH, "crc64nvme"),
        (Acknowledged(ODD, {"crc64nvme": CRC, "md5": ODD}), BOTH, "crc64nvme"),
        (Acknowledged(None, {"crc64nvme": CRC}, has_body=True), BOTH, "crc64nvme"),
        (Acknowledged(ODD, {"crc32c": "y/dlYA==", "md5": ODD}), BOTH | {"crc32c": "y/dlYA=="}, "crc32c"),
    ],
    ids=[
        "equal",
        "in capitals",
        "with a body",
        "equal though encrypted",
        "encrypted",
        "of a multipart object",
        "nothing stated",
        "nothing computed",
        "only a CRC computed",
        "CRC without an ETag",
        "CRC and ETag",
        "CRC beside a wrong ETag",
        "CRC with a body",
        "another CRC",
    ],
)
def test_a_part_that_nothing_speaks_against_has_a_receipt(
    answer: Acknowledged, computed: dict[ChecksumName, str], checked_by: ChecksumName | None
) -> None:
    receipt = compare(PART, answer, computed)
    assert receipt == Receipt(1, 10, answer.etag, computed.get("md5"), computed.get("crc64nvme"), checked_by)


def test_an_etag_that_is_another_md5_is_a_failure_with_the_receipt_that_it_would_have_been() -> None:
    failure = compare(PART, Acknowledged(ODD, {"md5": ODD}, request_id="R"), BOTH)
    assert isinstance(failure, AttemptFailure)
    assert (failure.kind, failure.status, failure.request_id) == (FailureKind.ETAG, 200, "R")
    assert failure.receipt == Receipt(1, 10, ODD, DIGEST, CRC)


@pytest.mark.parametrize("name", ["crc64nvme", "crc32c", "crc32"])
def test_a_crc_that_differs_is_a_failure_whatever_the_etag_is(name: ChecksumName) -> None:
    stated: dict[ChecksumName, str] = {**STATED, name: OTHER_CRC}
    computed: dict[ChecksumName, str] = {**BOTH, name: CRC}
    failure = compare(PART, Acknowledged(DIGEST, stated), computed)
    assert isinstance(failure, AttemptFailure)
    assert (failure.kind, failure.receipt) == (FailureKind.CRC, None)
    assert name.upper() in failure.reason
    hosts = HostChecksums()
    for doubted in (False, True):
        assert hosts.believe(HOST, failure, doubted=doubted) is None
    assert hosts.off == set()


@pytest.mark.parametrize("computed", [BOTH, {}], ids=["computed", "not computed"])
@pytest.mark.parametrize("stated", [{"md5": ODD}, {"crc64nvme": OTHER_CRC}], ids=["md5", "crc"])
def test_an_answer_with_a_body_is_not_s3s_unless_a_checksum_is_that_of_the_part(
    computed: dict[ChecksumName, str], stated: dict[ChecksumName, str]
) -> None:
    failure = compare(PART, Acknowledged(ODD, stated, request_id="R", has_body=True), computed)
    assert isinstance(failure, AttemptFailure)
    assert (failure.kind, failure.status, failure.request_id) == (FailureKind.REFUSED, 200, "R")
    assert judge(failure) is Verdict.AGAIN


@given(st.binary(max_size=100), st.sampled_from(["etag", "none", "other"]))
def test_a_receipt_never_both_matches_and_differs(content: bytes, kind: str) -> None:
    digest = MD5.begin()
    digest.update(content)
    md5 = digest.value()
    assert md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
    receipt = Receipt(1, len(content), {"etag": md5.upper(), "none": None, "other": ODD}[kind], md5)
    assert etag_is_md5(receipt) is (kind == "etag")
    assert etag_differs(receipt) is (kind == "other")
    assert not etag_differs(replace(receipt, checked_by="crc64nvme"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crc64nvme", CRC),
        ("crc32c", "4waSgw=="),
        ("crc32", "y/Q5Jg=="),
        ("md5", "25f9e794323b453885f5181f1b624d0b"),
    ],
)
@pytest.mark.parametrize("cut", [0, 4, 9])
def test_the_digests_have_the_check_values_of_the_crc_catalogue(name: str, value: str, cut: int) -> None:
    (checksum,) = (one for one in CHECKSUMS if one.name == name)
    digest = checksum.begin()
    digest.update(memoryview(b"123456789")[:cut])
    digest.update(bytearray(b"123456789")[cut:])
    assert digest.value() == value


def crc_of(content: bytes) -> str:
    """Return the CRC64NVME of some bytes, bit by bit, as the specification of NVMe has it."""
    crc = (1 << 64) - 1
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return base64.b64encode((crc ^ (1 << 64) - 1).to_bytes(8, "big")).decode()


def whole_of(*batches: list[Receipt]) -> str | None:
    whole = WholeCrc64Nvme()
    for batch in batches:
        whole.add(batch)
    return whole.value()


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_the_crc64nvme_of_the_parts_makes_that_of_the_whole_file(parts: list[bytes]) -> None:
    receipts = [Receipt(number, len(part), None, None, crc_of(part)) for number, part in enumerate(parts, 1)]
    assert whole_of(receipts[:2], receipts[2:]) == crc_of(b"".join(parts))
    digest = CRC64NVME.begin()
    for part in parts:
        digest.update(part)
    assert digest.value() == crc_of(b"".join(parts))


@pytest.mark.parametrize("crc", [None, "", "nonsense", "y/dlYA=="])
def test_a_part_without_a_crc64nvme_leaves_the_whole_file_without_one(crc: str | None) -> None:
    good, gap = Receipt(1, 9, None, None, CRC), Receipt(2, 9, None, None, crc)
    assert whole_of([good, gap]) is whole_of([good, gap], [good]) is whole_of([gap], [good]) is None
    assert whole_of() is whole_of([]) is None


# -- what is computed for a host ---------------------------------------------------------------------------------------


def names(hosts: HostChecksums, host: str = HOST) -> tuple[str, ...]:
    return tuple(one.name for one in hosts.wanted(host))


@pytest.mark.parametrize(("mode", "computed"), [("auto", ("crc64nvme",)), ("md5", ("crc64nvme", "md5")), ("off", ())])
def test_what_is_computed_for_a_host_about_which_nothing_is_known(
    mode: ChecksumMode, computed: tuple[str, ...]
) -> None:
    assert names(HostChecksums(mode)) == computed


def test_an_answer_without_a_crc_has_the_md5_computed_now_and_with_later_parts_of_that_host() -> None:
    hosts = HostChecksums()
    assert hosts.missing(HOST, Acknowledged(DIGEST, STATED), {"crc64nvme": CRC}) is MD5
    assert names(hosts) == ("crc64nvme", "md5")
    assert names(hosts, OTHER) == ("crc64nvme",)
    assert hosts.missing(HOST, Acknowledged(DIGEST, STATED), BOTH) is None


def test_a_page_that_may_be_another_servers_teaches_nothing_about_a_host() -> None:
    hosts = HostChecksums()
    page = Acknowledged(DIGEST, STATED, has_body=True)
    assert hosts.missing(HOST, page, {"crc64nvme": CRC}) is MD5
    assert names(hosts) == ("crc64nvme",)


def test_an_answer_with_another_crc_has_that_one_computed() -> None:
    hosts = HostChecksums()
    missing = hosts.missing(HOST, Acknowledged(ODD, {"md5": ODD, "crc32": "y/Q5Jg=="}), {"crc64nvme": CRC})
    assert missing is not None
    assert missing.name == "crc32"
    assert names(hosts) == ("crc64nvme", "crc32")


@pytest.mark.parametrize(
    ("mode", "answer"),
    [
        ("auto", Acknowledged(DIGEST, BOTH)),
        ("auto", Acknowledged(f"{DIGEST}-3")),
        ("auto", Acknowledged(None)),
        ("off", Acknowledged(DIGEST, STATED)),
    ],
    ids=["a CRC", "an opaque ETag", "nothing", "switched off"],
)
def test_nothing_is_computed_of_the_source_where_it_would_prove_nothing(
    mode: ChecksumMode, answer: Acknowledged
) -> None:
    hosts = HostChecksums(mode)
    assert hosts.missing(HOST, answer, {} if mode == "off" else {"crc64nvme": CRC}) is None
    assert not hosts.needs


@pytest.mark.parametrize(
    ("numbers", "words"), [((2,), "part 2"), ((3, 2), "parts 2, 3"), (range(1, 10), "parts 1, 2, 3, 4, 5 and 4 more")]
)
def test_parts_are_named_in_words(numbers: Iterable[int], words: str) -> None:
    assert name_parts(numbers) == words


def test_a_receipt_without_an_etag_and_a_checksum_is_not_proved() -> None:
    by_crc = Receipt(3, 10, None, None, CRC, "crc64nvme")
    assert unproved([MATCH, Receipt(2, 10, None, DIGEST), by_crc, STORED, Receipt(4, 10, None)]) == (2, 4)


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
    assert is_digest(etag) is can_be
