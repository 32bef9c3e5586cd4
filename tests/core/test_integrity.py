"""When an ETag that is not the MD5 is a fault, and when only a host that makes none (DESIGN 1.2, `check_etags`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.faults import Kind
from aioframeio_upload._core.integrity import EtagTrust
from aioframeio_upload._core.model import Receipt
from aioframeio_upload._core.retry import Fault

HOST, OTHER = "bucket.s3.amazonaws.com", "other.s3.amazonaws.com"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"
ODD = "0" * 32
MATCH = Receipt(1, 10, MD5.upper(), MD5)
STORED = Receipt(1, 10, ODD, MD5)
DIFFERS = Fault(Kind.ETAG, "S3 acknowledged other bytes than were sent", status=200, receipt=STORED)


def test_a_first_mismatch_is_sent_again_and_a_second_turns_the_check_off_for_its_host_only() -> None:
    trust = EtagTrust()
    assert trust.believe(HOST, DIFFERS, doubted=False) is None
    assert trust.off == set()
    assert trust.believe(HOST, DIFFERS, doubted=True) is STORED
    assert trust.off == {HOST}
    assert trust.believe(HOST, DIFFERS, doubted=False) is STORED, "from now on nothing is sent twice for it"
    assert trust.believe(OTHER, DIFFERS, doubted=False) is None


def test_where_one_has_matched_a_mismatch_is_a_fault_for_ever() -> None:
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
def test_a_receipt_without_an_md5_to_compare_is_taken_and_proves_nothing(receipt: Receipt) -> None:
    trust = EtagTrust()
    assert trust.believe(HOST, receipt, doubted=False) is receipt
    assert trust.proven == set()


OUTCOMES = st.sampled_from(
    [MATCH, DIFFERS, Receipt(1, 10, None, MD5), Fault(Kind.LOST, "lost"), Fault(Kind.REFUSED, "no", status=500)]
)


@given(st.lists(st.tuples(st.sampled_from([HOST, OTHER]), OUTCOMES, st.booleans()), max_size=30))
def test_whatever_comes_no_wrong_bytes_are_believed_where_an_etag_ever_was_the_md5(
    told: list[tuple[str, Receipt | Fault, bool]],
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
