"""Test how a plan is cut into batches, and that the receipts of all workers make up the whole file."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload import IntegrityError, Plan, PlanError, Receipt, UploadError
from aioframeio_upload._core.batches import LARGEST, BatchState, cut
from aioframeio_upload._core.receipts import merge, one_each
from tests.support.strategies import SECRET, tiled

SIZES = st.lists(st.integers(1, 2 * LARGEST), min_size=1, max_size=60)
MD5 = "0" * 31


def plan_of(sizes: list[int]) -> Plan:
    return Plan("id", "folder", "take.mov", sum(sizes), tiled(sizes, [f"https://s3.example/part?sig={SECRET}"]))


def receipts_of(plan: Plan) -> list[Receipt]:
    return [
        Receipt(part.number, part.size, f"{MD5}{part.number % 8}", f"{MD5}{part.number % 8}") for part in plan.parts
    ]


@given(SIZES, st.sets(st.integers(1, 60)), st.lists(st.integers(1, 16), max_size=9), st.integers(1, 64))
def test_the_lots_hold_every_part_that_is_not_done_once_and_in_order(
    sizes: list[int], done: set[int], threads: list[int], in_flight: int
) -> None:
    plan = plan_of(sizes)
    lots = cut(plan, done, threads, in_flight)
    assert [part for lot in lots for part in lot.parts] == [part for part in plan.parts if part.number not in done]
    assert [lot.index for lot in lots] == list(range(len(lots)))
    assert all(len(lot.parts) == 1 or sum(part.size for part in lot.parts) <= LARGEST for lot in lots)


def test_a_worker_gets_several_lots_and_each_fills_its_slots() -> None:
    plan = plan_of([1] * 100)
    assert [len(lot.parts) for lot in cut(plan, (), [1, 1], 8)] == [8] * 12 + [4]
    assert [len(lot.parts) for lot in cut(plan_of([1] * 8), (), [1, 1], 8)] == [4, 4], "one lot at once: half each"
    assert [len(lot.parts) for lot in cut(plan_of([1] * 8), (), [4, 4], 8)] == [1] * 8
    assert len(cut(plan_of([1] * 800), (), [], 8)) == 16, "no worker yet: as for one"


@given(SIZES)
def test_a_lot_travels_and_shows_no_link(sizes: list[int]) -> None:
    for lot in cut(plan_of(sizes), (), [1], 1):
        assert pickle.loads(pickle.dumps(lot)) == lot
        assert "s3.example" not in repr(lot)
        assert SECRET not in repr(lot)


@given(SIZES, st.randoms(use_true_random=False))
def test_receipts_in_any_order_and_twice_are_the_whole_file_once(sizes: list[int], random: st.DataObject) -> None:
    plan = plan_of(sizes)
    expected = receipts_of(plan)
    brought = expected + expected[::2]
    random.shuffle(brought)  # type: ignore[attr-defined]
    assert merge(plan, brought) == tuple(expected)


@given(SIZES, st.data())
def test_a_part_that_is_missing_or_was_sent_with_other_bytes_is_found(sizes: list[int], data: st.DataObject) -> None:
    plan = plan_of(sizes)
    receipts = receipts_of(plan)
    one = data.draw(st.sampled_from(receipts))
    with pytest.raises(UploadError, match=f"first part {one.number}"):
        merge(plan, [receipt for receipt in receipts if receipt != one])
    with pytest.raises(IntegrityError, match=f"part {one.number}, .*with different bytes"):
        merge(plan, [*receipts, replace(one, etag=f"{MD5}f", md5=f"{MD5}f")])
    with pytest.raises(PlanError, match=f"no part {one.number} of {one.size + 1} bytes"):
        merge(plan, [*receipts, replace(one, size=one.size + 1)])
    with pytest.raises(PlanError, match="no part 0"):
        merge(plan, [*receipts, replace(one, number=0)])


@given(SIZES, st.data())
def test_each_part_that_has_arrived_has_one_receipt_in_the_order_of_the_parts(
    sizes: list[int], data: st.DataObject
) -> None:
    plan = plan_of(sizes)
    brought = data.draw(st.lists(st.sampled_from(receipts_of(plan))))
    assert one_each(plan, brought) == tuple(sorted(set(brought), key=lambda receipt: receipt.number))
    with pytest.raises(PlanError, match="no part 0"):
        one_each(plan, [*brought, Receipt(0, 1, None)])
    # As a caller makes them of events, who may have the same parts from `send_parts` too.
    told = [Receipt(receipt.number, receipt.size, receipt.etag) for receipt in brought]
    assert one_each(plan, [*told, *brought]) == one_each(plan, [*brought, *told]) == one_each(plan, brought)


def test_an_etag_that_is_not_the_md5_is_wrong_only_where_another_one_was() -> None:
    plan = plan_of([1, 1])
    right, wrong = Receipt(1, 1, f"{MD5}1", f"{MD5}1"), Receipt(2, 1, f"{MD5}3", f"{MD5}2")
    with pytest.raises(IntegrityError, match=r"part 2, .*S3 stored other bytes than were sent"):
        merge(plan, [right, wrong])
    nowhere = [replace(right, etag=f"{MD5}4"), wrong]
    assert merge(plan, nowhere) == tuple(nowhere), "a bucket's encryption makes no MD5s"
    for unchecked in (replace(wrong, md5=None), replace(wrong, etag=None), replace(wrong, etag="odd-1")):
        assert merge(plan, [right, unchecked]) == (right, unchecked)


def test_progress_counts_what_a_lost_worker_had_sent_once_and_never_falls_back() -> None:
    plan = plan_of([10, 10, 10, 10])
    state = BatchState(plan, 0.0, 0, [4])
    (lot,) = cut(plan, {4}, [], 8)
    state.begin([lot])
    state.moved(lot.index, 12)
    assert (state.progress(1.0).bytes_uploaded, state.progress(1.0).bytes_confirmed) == (22, 10)
    assert state.complete(1)
    assert not state.complete(1), "told once"
    state.moved(lot.index, 25)
    assert state.progress(1.5).bytes_uploaded == 40, "20 are left of the lot"
    state.moved(lot.index, 0)
    latest = state.progress(2.0)
    assert (latest.bytes_uploaded, latest.bytes_confirmed, state.sent) == (40, 20, 20)
    state.moved(99, 5)
    assert state.sent == 20, "a report of an earlier round is none of this one"
    state.complete(2)
    state.complete(3)
    assert state.is_whole
    assert state.progress(3.0).seconds_left == 0.0
