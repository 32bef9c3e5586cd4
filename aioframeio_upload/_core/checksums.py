"""Decide whether S3 has a part as it was sent: the checksum in use, S3's answers, and the hosts whose ETags count."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from .failures import AttemptFailure, FailureKind
from .model import Part, Receipt
from .redact import redact_id
from .s3_refusal import read_refusal


class Hash(Protocol):
    """A hash object as `hashlib` makes them."""

    def update(self, block: Any, /) -> None:
        """Hash the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest as hexadecimal digits."""
        ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """One checksum: how it is computed of what is sent, and where an answer of S3 contains that of what is stored."""

    begin: Callable[[], Hash]
    """Return a hash object for one attempt. It is fed in the hashing thread."""
    digest: re.Pattern[str]
    """What an ETag looks like that is this checksum."""
    not_with: Mapping[str, str]
    """Headers, and the beginnings of their values, with which an ETag of that look is something else."""
    sent: Callable[[Receipt], str | None]
    """Return the checksum of the bytes that were sent, from a receipt."""
    mismatch: str
    """Reason of the failure of an attempt whose checksum differs."""
    disbelieved: str
    """Warning, with a `%s` for the host, when the checksum is not compared there any more."""

    def is_digest(self, etag: str | None) -> bool:
        """Return whether an ETag looks like this checksum."""
        return etag is not None and self.digest.fullmatch(etag) is not None

    def is_stated(self, etag: str | None, headers: Mapping[str, str]) -> bool:
        """Return whether an answer says that its ETag is this checksum of what is stored."""
        is_other = any(name in headers and headers[name].startswith(start) for name, start in self.not_with.items())
        return self.is_digest(etag) and not is_other

    def is_match(self, receipt: Receipt) -> bool:
        """Return whether a receipt proves that S3 stored what was sent."""
        sent = self.sent(receipt)
        return sent is not None and receipt.etag is not None and receipt.etag.lower() == sent

    def is_mismatch(self, receipt: Receipt) -> bool:
        """Return whether a receipt looks as if S3 had stored something else.

        On a host where no ETag ever matches, a mismatch proves nothing.
        """
        return self.sent(receipt) is not None and self.is_digest(receipt.etag) and not self.is_match(receipt)


def _md5() -> Hash:
    return hashlib.md5(usedforsecurity=False)  # FIPS builds of OpenSSL refuse MD5 otherwise (`hashlib`)


CHECKSUM = Checksum(
    begin=_md5,
    # A multipart object's has a dash and a number (S3 API reference, PutObject).
    digest=re.compile(r"[0-9a-fA-F]{32}"),
    # Under KMS or a customer's key it looks like an MD5 but is not one (the same).
    not_with={"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-customer-algorithm": ""},
    sent=lambda receipt: receipt.md5,
    mismatch="S3 acknowledged other bytes than were sent: its ETag is not their MD5",
    disbelieved="the ETags of %s are not the MD5 of what is sent; they are not checked any more",
)
"""The checksum in use: the ETag of a part is its MD5."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An answer by which S3 acknowledges a part. Whether it has the right bytes is for `compare` to decide."""

    etag: str | None
    """Without its quotes. None: nothing in the answer proves that it is S3's."""
    is_checksum: bool = False
    """Whether the ETag should be the checksum of the part."""
    request_id: str | None = None
    """The ID by which S3's operators find the request."""
    has_body: bool = False
    """Whether a body came with it, which S3 does not send: then only an ETag that matches is an acknowledgement."""


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes | None, now: datetime, links: Sequence[str] = ()
) -> Acknowledged | AttemptFailure:
    """Decide whether an answer acknowledges a part. This is the only place that does.

    S3 acknowledges a part by a 200 with an ETag and no body (API reference, UploadPart and PutObject). Other servers
    answer 200 as well: the login page of a hotel's network, a gateway that puts its error into JSON, S3 itself where it
    failed after it had begun to answer (an `<Error>` document). So

    * a document with an S3 `<Code>` is the refusal that it names, whatever the status;
    * a body is no acknowledgement, unless the ETag beside it is the MD5 of the part: web servers give pages an ETag,
      too, and a page that is stored in S3 has its own MD5 there. `compare` refuses one that does not match;
    * no body and no ETag is an acknowledgement that proves nothing. It is accepted, because some gateways drop the
      header; the file's confirmation has to prove it.

    Args:
        status: The HTTP status. No other success (201, 202, 204, 206) is S3's answer to a PUT.
        headers: Looked up without regard to case.
        body: None if it is longer than what is read.
        now: The time, for a `Retry-After`.
        links: The part's links, whose secrets an answer may quote.
    """
    refusal = read_refusal(status, headers, body or b"", now, links)
    if status != 200 or refusal.code is not None:
        return refusal
    etag = redact_id(read_etag(headers.get("ETag", "")), links=links)
    has_body = body is None or bool(body.strip())
    if has_body and not CHECKSUM.is_digest(etag):
        return _not_an_answer(refusal.request_id, refusal.retry_after)
    return Acknowledged(etag, CHECKSUM.is_stated(etag, headers), refusal.request_id, has_body)


def compare(part: Part, answer: Acknowledged, md5: str | None) -> Receipt | AttemptFailure:
    """Return the receipt of a part, or the failure if S3 stored something else than was sent.

    Args:
        part: The part.
        answer: What S3 acknowledged.
        md5: Digest of the bytes that were sent; None if it is not computed.
    """
    receipt = Receipt(part.number, part.size, answer.etag, md5)
    if CHECKSUM.is_match(receipt):
        return receipt
    if answer.has_body:
        return _not_an_answer(answer.request_id)
    if CHECKSUM.sent(receipt) is None or not answer.is_checksum:
        return receipt
    return AttemptFailure(
        FailureKind.ETAG, CHECKSUM.mismatch, status=200, request_id=answer.request_id, receipt=receipt
    )


def _not_an_answer(request_id: str | None = None, retry_after: float | None = None) -> AttemptFailure:
    """Return the failure of a 200 whose body shows that it is not S3's."""
    reason = "a 200 with a body is not S3's answer: a network's login page, or a gateway, may have taken the part"
    return AttemptFailure(FailureKind.REFUSED, reason, status=200, request_id=request_id, retry_after=retry_after)


_ETAG = re.compile(r"(?=.*[0-9A-Za-z])[0-9A-Za-z+/=_.:~-]{1,200}")
"""Hex digits, dashes, base64: what S3 and servers like it send. The ETags of directory buckets are not digests."""


def read_etag(header: str) -> str | None:
    """Return an ETag without its quotes; None if the header is empty, or contains what no server uses as an ETag."""
    etag = header.strip().removeprefix("W/").strip('"')
    return etag if _ETAG.fullmatch(etag) and etag.lower() not in ("null", "none", "undefined") else None


def unproved(receipts: Iterable[Receipt]) -> tuple[int, ...]:
    """Return the numbers of the parts whose receipts do not prove that S3 has them."""
    return tuple(receipt.number for receipt in receipts if not receipt.is_proved)


def name_parts(numbers: Iterable[int]) -> str:
    """Return the numbers of some parts in words: `part 2`, `parts 2, 3, 7`, the first few of many."""
    few = sorted(numbers)
    shown = ", ".join(map(str, few[:5])) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
    return f"part{'s' if len(few) > 1 else ''} {shown}"


@dataclass(slots=True)
class EtagTrust:
    """Remember for each host whether its ETags are the checksum. Owned by the `Session` of an Uploader.

    Some hosts never send it, because of a bucket's encryption. If no ETag of a host has matched so far, and that of one
    part differs twice, the checksum is not compared on that host any more.
    """

    proven: set[str] = field(default_factory=set)
    """Hosts on which one has matched."""
    off: set[str] = field(default_factory=set)
    """Hosts on which none has matched, and where they are not compared any more."""

    def believe(self, host: str, outcome: Receipt | AttemptFailure, *, doubted: bool) -> Receipt | None:
        """Return the receipt of a part that S3 has, or None if it must be sent again.

        Args:
            host: The host that answered.
            outcome: The outcome of the attempt.
            doubted: Whether the checksum of an earlier attempt at the same part differed.
        """
        if isinstance(outcome, Receipt):
            if CHECKSUM.is_match(outcome):
                self.proven.add(host)
            return outcome
        if outcome.kind is not FailureKind.ETAG or host in self.proven:
            return None
        if doubted:
            self.off.add(host)
        return outcome.receipt if host in self.off else None
