"""Merge the receipts of several senders and check that they make up the whole file."""

from __future__ import annotations

from collections.abc import Iterable

from .checksums import etag_differs, etag_is_md5
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
        pairs = ((before.crc64nvme, receipt.crc64nvme), (before.md5, receipt.md5))
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise IntegrityError("it was sent twice, with different bytes", number=receipt.number, attempts=2)
        # A receipt that was made from an event, or with `checksum="off"`, has no checksum; the other may have one.
        if _worth(receipt) > _worth(before):
            found[receipt.number] = receipt
    return tuple(found[number] for number in sorted(found))


def _worth(receipt: Receipt) -> tuple[bool, bool, bool]:
    """Return how much a receipt shows, to be compared with another of the same part."""
    return receipt.checked_by is not None, receipt.crc64nvme is not None, receipt.md5 is not None


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
    proven = {hosts[number] for number, receipt in found.items() if etag_is_md5(receipt)}
    for number, receipt in found.items():
        if etag_differs(receipt) and hosts[number] in proven:
            raise IntegrityError("S3 stored other bytes than were sent", number=number, attempts=1)
    return tuple(found.values())
