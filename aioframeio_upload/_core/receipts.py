"""Merge the receipts of several senders and check that they make up the whole file."""

from __future__ import annotations

from collections.abc import Iterable

from .checksums import CHECKSUM
from .errors import IntegrityError, PlanError, UploadError
from .model import Plan, Receipt
from .redact import address_of


def one_each(plan: Plan, receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """Return one receipt for each part that has any, in the order of the parts.

    Raises:
        PlanError: A receipt is for a part that is not in the plan.
        IntegrityError: A part was sent twice with different bytes.
    """
    sizes = {part.number: part.size for part in plan.parts}
    found: dict[int, Receipt] = {}
    for receipt in receipts:
        if sizes.get(receipt.number) != receipt.size:
            raise PlanError(f"the plan has no part {receipt.number} of {receipt.size} bytes")
        before = found.setdefault(receipt.number, receipt)
        # A receipt that was made from an event, or with `check_etags` off, has no checksum; the other may have one.
        if CHECKSUM.sent(before) is None:
            found[receipt.number] = receipt
        elif CHECKSUM.sent(receipt) not in (None, CHECKSUM.sent(before)):
            raise IntegrityError("it was sent twice, with different bytes", number=receipt.number, attempts=2)
    return tuple(found[number] for number in sorted(found))


def merge(plan: Plan, receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """Return one receipt for each part, in order, as proof that the file is complete.

    A part may have been sent twice, if a worker was lost; this raises unless its bytes were the same.

    Raises:
        UploadError: A part is missing.
        PlanError: A receipt is for a part that is not in the plan.
        IntegrityError: A part was sent with different bytes, or S3 stored other bytes than were sent. One worker may
            have stopped comparing the ETags of a host, while another one saw a match there.
    """
    parts = {part.number: part for part in plan.parts}
    found = {receipt.number: receipt for receipt in one_each(plan, receipts)}
    missing = sorted(parts.keys() - found.keys())
    if missing:
        raise UploadError(f"{len(missing)} of {len(parts)} parts are missing, first part {missing[0]}")
    hosts = {number: address_of(part.url) for number, part in parts.items()}
    proven = {hosts[number] for number, receipt in found.items() if CHECKSUM.is_match(receipt)}
    for number, receipt in found.items():
        if CHECKSUM.is_mismatch(receipt) and hosts[number] in proven:
            raise IntegrityError("S3 stored other bytes than were sent", number=number, attempts=1)
    return tuple(found.values())
