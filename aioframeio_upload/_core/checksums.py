"""Decide whether S3 has a part as it was sent: the checksums, S3's answers, and what is known of each host.

`CHECKSUMS` is the table. A further algorithm is one more row: nothing outside this module names one, except the fields
of public records.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from .failures import AttemptFailure, FailureKind
from .model import ChecksumMode, ChecksumName, Part, Receipt
from .redact import redact_id
from .s3_refusal import read_refusal


class Digest(Protocol):
    """A checksum of the bytes that it has been fed with."""

    def update(self, block: Any, /) -> None:
        """Add the next bytes."""

    def value(self) -> str:
        """Return the checksum in the notation of S3's answers."""
        ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """One checksum: how it is computed of what is sent, and where an answer of S3 states that of what is stored."""

    name: ChecksumName
    begin: Callable[[], Digest]
    """Return a digest for one attempt."""
    is_fast: bool
    """Whether a block takes microseconds, so that the loop can compute it; the others have a thread."""
    stated: Callable[[Mapping[str, str]], str | None]
    """Return the checksum that an answer's headers state, in the notation of `Digest.value`; None if they do not."""
    differs: FailureKind
    """How an attempt fails whose checksum differs."""
    mismatch: str
    """The reason of that failure."""


class _Crc:
    """A CRC of `awscrt`, which is loaded when the first one begins (`load` does that beforehand)."""

    def __init__(self, name: str, size: int) -> None:
        from awscrt import checksums

        self._compute: Callable[[Any, int], int] = getattr(checksums, name)
        self._size = size
        self._crc = 0

    def update(self, block: Any, /) -> None:
        self._crc = self._compute(block, self._crc)

    def value(self) -> str:
        return _write_crc(self._crc, self._size)


class _Md5:
    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)  # FIPS builds of OpenSSL refuse MD5 otherwise (`hashlib`)
        self.update: Callable[[Any], None] = self._hash.update
        self.value: Callable[[], str] = self._hash.hexdigest


def load() -> None:
    """Load the module that computes CRCs: some 30 ms, so not for the loop to do."""
    import awscrt.checksums  # noqa: F401  # for its place in `sys.modules`


_DIGEST = re.compile(r"[0-9a-fA-F]{32}")
"""What an ETag looks like that is an MD5. That of a multipart object has a dash and a number (S3 API reference,
PutObject)."""

NOT_MD5 = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-customer-algorithm": ""}
"""Headers, and the beginnings of their values, with which an ETag looks like an MD5 but is not one (the same)."""


def _stated_md5(headers: Mapping[str, str]) -> str | None:
    etag = read_etag(headers.get("ETag", ""))
    if any(name in headers and headers[name].startswith(start) for name, start in NOT_MD5.items()):
        return None
    return etag.lower() if etag is not None and is_digest(etag) else None


def _crc(name: ChecksumName, size: int) -> Checksum:
    """Return the row of a CRC.

    S3 states it as the base64 of its bytes, the highest first, in `x-amz-checksum-...`, with `x-amz-checksum-type:
    FULL_OBJECT` (S3 API reference, UploadPart and PutObject). A composite one is the checksum of checksums.
    """

    def stated(headers: Mapping[str, str]) -> str | None:
        if headers.get("x-amz-checksum-type", "FULL_OBJECT").strip().upper() != "FULL_OBJECT":
            return None
        crc = _read_crc(headers.get(f"x-amz-checksum-{name}", ""), size)
        return None if crc is None else _write_crc(crc, size)

    return Checksum(
        name,
        begin=lambda: _Crc(name, size),
        is_fast=True,
        stated=stated,
        differs=FailureKind.CRC,
        mismatch=f"S3 acknowledged other bytes than were sent: their {name.upper()} differs",
    )


def _read_crc(text: str, size: int) -> int | None:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(raw, "big") if len(raw) == size else None


def _write_crc(crc: int, size: int) -> str:
    return base64.b64encode(crc.to_bytes(size, "big")).decode("ascii")


CRC64NVME = _crc("crc64nvme", 8)
"""What S3 computes of every upload that brings no checksum, whatever the encryption (since December 2024)."""

MD5 = Checksum(
    "md5",
    begin=_Md5,
    is_fast=False,
    stated=_stated_md5,
    differs=FailureKind.ETAG,
    mismatch="S3 acknowledged other bytes than were sent: its ETag is not their MD5",
)

CHECKSUMS = (CRC64NVME, _crc("crc32c", 4), _crc("crc32", 4), MD5)
"""In the order of preference. S3 states one of the CRC32s instead if the link was signed for it."""

DISBELIEVED = "the ETags of %s are not the MD5 of what is sent; they are not checked any more"
"""Warning, with a `%s` for the host, when MD5s are not compared there any more."""


def is_digest(etag: str | None) -> bool:
    """Return whether an ETag looks like an MD5."""
    return etag is not None and _DIGEST.fullmatch(etag) is not None


def etag_is_md5(receipt: Receipt) -> bool:
    """Return whether a receipt's ETag is the MD5 of what was sent, which proves that S3 stored that."""
    return receipt.md5 is not None and receipt.etag is not None and receipt.etag.lower() == receipt.md5.lower()


def etag_differs(receipt: Receipt) -> bool:
    """Return whether a receipt looks as if S3 had stored something else.

    On a host where no ETag ever matches, this proves nothing.
    """
    is_known = receipt.checked_by is None and receipt.md5 is not None
    return is_known and is_digest(receipt.etag) and not etag_is_md5(receipt)


class WholeCrc64Nvme:
    """The CRC64NVME of a whole file, combined from those of its parts."""

    def __init__(self) -> None:
        self._crc: int | None = None
        self._has_gap = False

    def add(self, receipts: Iterable[Receipt]) -> None:
        """Add the next parts, in their order. A thousand take about a millisecond."""
        from awscrt.checksums import combine_crc64nvme

        for receipt in receipts:
            crc = _read_crc(receipt.crc64nvme or "", 8)
            if crc is None or self._has_gap:
                self._has_gap = True
                return
            self._crc = combine_crc64nvme(self._crc or 0, crc, receipt.size)

    def value(self) -> str | None:
        """Return it in base64; None if a part has none, or if there are no parts."""
        return None if self._crc is None or self._has_gap else _write_crc(self._crc, 8)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An answer by which S3 acknowledges a part. Whether it has the right bytes is for `compare` to decide."""

    etag: str | None
    """Without its quotes."""
    stated: Mapping[ChecksumName, str] = field(default_factory=dict)
    """The checksums that the answer states of what is stored."""
    request_id: str | None = None
    """The ID by which S3's operators find the request."""
    has_body: bool = False
    """Whether a body came with it, which S3 does not send: then only a checksum that matches is an acknowledgement."""

    @property
    def is_proof(self) -> bool:
        """Whether anything in the answer proves that it is S3's."""
        return self.etag is not None or bool(self.stated)

    def checksum_for(self, computed: Mapping[ChecksumName, str]) -> Checksum | None:
        """Return the checksum by which to compare what is stored; None if the answer states none.

        Args:
            computed: Checksums of what was sent. If one of them is stated, none has to be computed for this answer.
        """
        found = [one for one in CHECKSUMS if one.name in self.stated]
        return next((one for one in found if one.name in computed), found[0] if found else None)


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes | None, now: datetime, links: Sequence[str] = ()
) -> Acknowledged | AttemptFailure:
    """Decide whether an answer acknowledges a part. This is the only place that does.

    S3 acknowledges a part by a 200 with an ETag and no body (API reference, UploadPart and PutObject). Other servers
    answer 200 as well: the login page of a hotel's network, a gateway that puts its error into JSON, S3 itself where it
    failed after it had begun to answer (an `<Error>` document). So

    * a document with an S3 `<Code>` is the refusal that it names, whatever the status;
    * a body is no acknowledgement, unless a checksum beside it is that of the part: web servers give pages an ETag,
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
    stated: dict[ChecksumName, str] = {}
    for checksum in CHECKSUMS:
        if (value := checksum.stated(headers)) is not None:
            stated[checksum.name] = value
    has_body = body is None or bool(body.strip())
    if has_body and not stated:
        return _not_an_answer(refusal.request_id, refusal.retry_after)
    return Acknowledged(etag, stated, refusal.request_id, has_body)


def compare(part: Part, answer: Acknowledged, computed: Mapping[ChecksumName, str]) -> Receipt | AttemptFailure:
    """Return the receipt of a part, or the failure if S3 stored something else than was sent.

    Args:
        part: The part.
        answer: What S3 acknowledged.
        computed: Checksums of the bytes that were sent.
    """
    receipt = Receipt(part.number, part.size, answer.etag, computed.get("md5"), computed.get("crc64nvme"))
    checksum = answer.checksum_for(computed)
    sent = None if checksum is None else computed.get(checksum.name)
    if checksum is not None and sent is not None and answer.stated[checksum.name] == sent:
        return replace(receipt, checked_by=checksum.name)
    if etag_is_md5(receipt) and checksum in (None, MD5):
        return replace(receipt, checked_by="md5")
    if answer.has_body:
        return _not_an_answer(answer.request_id)
    if checksum is None or sent is None:
        return receipt
    return AttemptFailure(
        checksum.differs,
        checksum.mismatch,
        status=200,
        request_id=answer.request_id,
        receipt=receipt if checksum is MD5 else None,
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
class HostChecksums:
    """Remember for each host which checksums its answers state. Owned by the `Session` of an Uploader.

    Some hosts never answer with MD5s, because of a bucket's encryption. If no ETag of a host has matched so far, and
    that of one part differs twice, MD5s are not compared on that host any more.
    """

    mode: ChecksumMode = "auto"
    proven: set[str] = field(default_factory=set)
    """Hosts on which an ETag has matched."""
    off: set[str] = field(default_factory=set)
    """Hosts on which none has matched, and where they are not compared any more."""
    needs: dict[str, set[ChecksumName]] = field(default_factory=dict)
    """By host: the checksums that its answers stated, where they stated none that had been computed."""

    def wanted(self, host: str) -> tuple[Checksum, ...]:
        """Return the checksums to compute of a part while it is sent.

        The CRC64NVME is always among them: it costs next to nothing, and makes that of the whole file.
        """
        if self.mode == "off":
            return ()
        names = {"crc64nvme", *self.needs.get(host, ())} | ({"md5"} if self.mode == "md5" else set())
        return tuple(one for one in CHECKSUMS if one.name in names)

    def missing(self, host: str, answer: Acknowledged, computed: Mapping[ChecksumName, str]) -> Checksum | None:
        """Return the checksum that this answer makes it necessary to compute of the source; None if there is none.

        From then on it is computed of every part for that host while it is sent.
        """
        checksum = answer.checksum_for(computed)
        if self.mode == "off" or checksum is None or checksum.name in computed:
            return None
        if not answer.has_body:  # otherwise it may be another server's, such as a login page
            self.needs.setdefault(host, set()).add(checksum.name)
        return checksum

    def believe(self, host: str, outcome: Receipt | AttemptFailure, *, doubted: bool) -> Receipt | None:
        """Return the receipt of a part that S3 has, or None if it must be sent again.

        A CRC that differs is always a failure.

        Args:
            host: The host that answered.
            outcome: The outcome of the attempt.
            doubted: Whether the ETag of an earlier attempt at the same part differed.
        """
        if isinstance(outcome, Receipt):
            if etag_is_md5(outcome):
                self.proven.add(host)
            return outcome
        if outcome.kind is not FailureKind.ETAG or host in self.proven:
            return None
        if doubted:
            self.off.add(host)
        return outcome.receipt if host in self.off else None
