"""Decide what an ETag proves about a part, and when a mismatch counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .failures import AttemptFailure, FailureKind
from .model import Receipt
from .redact import redact_id
from .s3_errors import read_refusal


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """S3's word that it has a part."""

    etag: str | None
    """Without its quotes. None: nothing in the answer proves that it is S3's."""
    is_md5: bool = False
    """Whether the ETag should be the MD5 of the part."""
    request_id: str | None = None
    """What S3's operators ask for."""
    has_body: bool = False
    """Whether a body came with it, which S3 does not send: then only an ETag that is the MD5 of the part counts."""


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes | None, now: datetime, links: Sequence[str] = ()
) -> Acknowledged | AttemptFailure:
    """Decide whether an answer acknowledges a part. This is the only place that does.

    S3 acknowledges a part by a 200 with an ETag and no body (API reference, UploadPart and PutObject). Other servers
    answer 200 as well: the login page of a hotel's network, a gateway that puts its error into JSON, S3 itself where it
    failed after it had begun to answer (an `<Error>` document). So

    * a document with an S3 `<Code>` is the refusal that it names, whatever the status;
    * a body is no acknowledgement, unless the ETag beside it is the MD5 of the part: web servers give pages an ETag,
      too, and a page that is kept in S3 has its own MD5 there. `not_an_answer` is for one that is not;
    * no body and no ETag is an acknowledgement that proves nothing. It is taken, for some gateways drop the header; the
      file's confirmation has to prove it.

    Args:
        status: Of HTTP. Of the other successes (201, 202, 204, 206) none is S3's answer to a PUT.
        headers: Looked up without regard to case.
        body: None: longer than anybody reads.
        now: For a `Retry-After`.
        links: The part's, whose secrets an answer may quote.
    """
    refusal = read_refusal(status, headers, body or b"", now, links)
    if status != 200 or refusal.code is not None:
        return refusal
    etag = redact_id(read_etag(headers.get("ETag", "")), links=links)
    has_body = body is None or bool(body.strip())
    if has_body and not is_md5(etag):
        return not_an_answer(refusal.request_id, refusal.retry_after)
    # Not the MD5 under KMS or a customer's key (S3 API reference, PutObject).
    encrypted = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    customer_key = "x-amz-server-side-encryption-customer-algorithm" in headers
    return Acknowledged(etag, is_md5(etag) and not encrypted and not customer_key, refusal.request_id, has_body)


def not_an_answer(request_id: str | None = None, retry_after: float | None = None) -> AttemptFailure:
    """Return the fault of a 200 whose body shows that it is not S3's."""
    reason = "a 200 with a body is not S3's answer: a network's login page, or a gateway, may have taken the part"
    return AttemptFailure(FailureKind.REFUSED, reason, status=200, request_id=request_id, retry_after=retry_after)


_ETAG = re.compile(r"(?=.*[0-9A-Za-z])[0-9A-Za-z+/=_.:~-]{1,200}")
"""Hex digits, dashes, base64: what S3 and its kin make. Directory buckets have ETags that are no digest."""


def read_etag(header: str) -> str | None:
    """Return an ETag without its quotes; None where the header is empty, or holds what nobody makes an ETag of."""
    etag = header.strip().removeprefix("W/").strip('"')
    return etag if _ETAG.fullmatch(etag) and etag.lower() not in ("null", "none", "undefined") else None


def unproved(receipts: Iterable[Receipt]) -> tuple[int, ...]:
    """Return the numbers of the parts of which nothing proves that S3 has them."""
    return tuple(receipt.number for receipt in receipts if not receipt.is_proved)


def name_parts(numbers: Iterable[int]) -> str:
    """Return the numbers of some parts in words: `part 2`, `parts 2, 3, 7`, the first few of many."""
    few = sorted(numbers)
    shown = ", ".join(map(str, few[:5])) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
    return f"part{'s' if len(few) > 1 else ''} {shown}"


@dataclass(slots=True)
class EtagTrust:
    """What is known of the hosts' ETags. Owned by an Uploader.

    A host on which no ETag ever was the MD5, and on which the same part's differs twice, does not make MD5s (a bucket's
    encryption does that): the check is off for it from then on.
    """

    proven: set[str] = field(default_factory=set)
    """Hosts on which one has matched."""
    off: set[str] = field(default_factory=set)
    """Hosts on which none did, and that are not checked any more."""

    def believe(self, host: str, outcome: Receipt | AttemptFailure, *, doubted: bool) -> Receipt | None:
        """Give the receipt of a part that S3 has, or None where it must be sent again.

        Args:
            host: Where it was sent.
            outcome: What the attempt came to.
            doubted: Whether an earlier attempt at the same part had another ETag than its MD5.
        """
        if isinstance(outcome, Receipt):
            if outcome.md5 is not None and outcome.etag is not None and outcome.md5 == outcome.etag.lower():
                self.proven.add(host)
            return outcome
        if outcome.kind is not FailureKind.ETAG or host in self.proven:
            return None
        if doubted:
            self.off.add(host)
        return outcome.receipt if host in self.off else None


def is_md5(etag: str | None) -> bool:
    """Say whether an ETag can be the MD5 of the bytes: 32 hex digits, which a multipart or KMS one has not."""
    return etag is not None and re.fullmatch(r"[0-9a-fA-F]{32}", etag) is not None
