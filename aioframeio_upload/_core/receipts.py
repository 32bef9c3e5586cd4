"""Merge the receipts of several senders and check that they make up the whole file."""

from __future__ import annotations

from collections.abc import Iterable

from .checksums import is_md5
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
        # A receipt made from an event, or of a part sent unchecked, has no MD5: the other one has at least as much.
        if before.md5 is None:
            found[receipt.number] = receipt
        elif receipt.md5 not in (None, before.md5):
            raise IntegrityError("it was sent twice, with different bytes", number=receipt.number, attempts=2)
    return tuple(found[number] for number in sorted(found))


def merge(plan: Plan, receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """Return one receipt for each part, in order, as proof that the file is complete.

    A part may have been sent twice, if a worker was lost; this raises unless its bytes were the same.

    Raises:
        UploadError: A part is missing.
        PlanError: A receipt is for a part that is not in the plan.
        IntegrityError: A part was sent with different bytes, or S3 stored other bytes than were sent. A single worker
            may believe that the ETags of a host are not MD5s; a match that another worker saw there disproves it.
    """
    parts = {part.number: part for part in plan.parts}
    found = {receipt.number: receipt for receipt in one_each(plan, receipts)}
    missing = sorted(parts.keys() - found.keys())
    if missing:
        raise UploadError(f"{len(missing)} of {len(parts)} parts are missing, first part {missing[0]}")
    hosts = {number: address_of(part.url) for number, part in parts.items()}
    proven = {hosts[number] for number, receipt in found.items() if _is_match(receipt)}
    for number, receipt in found.items():
        checked = receipt.md5 is not None and is_md5(receipt.etag)
        if checked and hosts[number] in proven and not _is_match(receipt):
            raise IntegrityError("S3 stored other bytes than were sent", number=number, attempts=1)
    return tuple(found.values())


def _is_match(receipt: Receipt) -> bool:
    return receipt.md5 is not None and receipt.etag is not None and receipt.etag.lower() == receipt.md5
