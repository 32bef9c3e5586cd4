"""Decide what a stored original proves about a source: size, the ETag of S3's multipart uploads, or a checksum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .checksums import CRC64NVME, NOT_MD5, is_digest, read_etag
from .public import public

MOST_PARTS = 10_000
"""Parts of an object in S3 (user guide, "Multipart upload limits")."""

_COMPOSITE = re.compile(r"(?P<digest>[0-9a-fA-F]{32})-(?P<parts>[1-9][0-9]{0,4})")
_RANGE = re.compile(r"bytes 0-0/(?P<size>[0-9]{1,18})")


@public
@dataclass(frozen=True, slots=True)
class Verification:
    """What a stored original was compared by with a source, and whether they are the same."""

    size: bool
    """Whether the original has the size of the source."""
    checksum: bool | None
    """Whether the original has the checksum or the ETag of the source; None if the service states none that can be
    compared, or if the sizes differ already."""
    proved_by: Literal["crc64nvme", "etag", "size"] | None
    """By what they are proved to be the same: the CRC64NVME or the ETag of the stored object, or only the size, which
    proves no content. None: they differ."""
    crc64nvme: str | None = None
    """CRC64NVME of the source, in base64; None if the source was not read, because the sizes differ."""

    @property
    def is_same(self) -> bool:
        """Whether nothing that was compared differs. See `proved_by` for how much that is."""
        return self.size and self.checksum is not False


@dataclass(frozen=True, slots=True)
class StoredOriginal:
    """What the service says of a file's original."""

    size: int
    parts: int = 1
    """Of the multipart upload by which S3 made the ETag."""
    is_composite: bool = False
    """Whether the ETag is one of a multipart upload, which may have a single part: the MD5 of the MD5s."""
    etag: str | None = None
    """The digest of the ETag, in lower case; None if there is none that can be compared."""
    crc64nvme: str | None = None
    obstacle: str = "S3 states no checksum of the original that can be compared"
    """Why it has neither; of no meaning if it has one."""

    @property
    def is_comparable(self) -> bool:
        """Whether its content can be compared."""
        return self.crc64nvme is not None or self.etag is not None

    @property
    def md5_parts(self) -> int | None:
        """The number of parts of which a comparison needs the MD5s; None if it needs none."""
        return None if self.crc64nvme is not None or self.etag is None else self.parts


def read_original(size: int, headers: Mapping[str, str]) -> StoredOriginal:
    """Read the answer to a request for the first byte of an original.

    Args:
        size: What the API says of the file.
        headers: Of S3's answer, looked up without regard to case. Its size is that of the object, so it counts.
    """
    if (found := _RANGE.fullmatch(headers.get("Content-Range", "").strip())) is not None:
        size = int(found["size"])
    crc = CRC64NVME.stated(headers)
    etag = read_etag(headers.get("ETag", "")) or ""
    if any(name in headers and headers[name].startswith(start) for name, start in NOT_MD5.items()):
        return StoredOriginal(size, crc64nvme=crc)
    if is_digest(etag):
        return StoredOriginal(size, etag=etag.lower(), crc64nvme=crc)
    composite = _COMPOSITE.fullmatch(etag)
    parts = int(composite["parts"]) if composite is not None else 0
    if composite is None or parts > min(MOST_PARTS, size):
        return StoredOriginal(size, crc64nvme=crc)
    return StoredOriginal(size, parts, True, composite["digest"].lower(), crc)


def part_sizes(size: int, parts: int) -> tuple[int, ...]:
    """Return the sizes of the parts as Frame.io cuts a file: all equal, except for the last.

    Fewer than asked for where that many equal parts do not exist, as seven parts of eight bytes.
    """
    length = -(-size // parts)
    whole, rest = divmod(size, length)
    return (length,) * whole + ((rest,) if rest else ())


def compare_original(stored: StoredOriginal, size: int, crc64nvme: str, md5s: Sequence[str]) -> Verification:
    """Compare a stored original with a source.

    An ETag counts only if the answer does not mark it as something else (KMS, a customer's key). Then one that differs
    means other bytes, or an object that was made of other parts than Frame.io makes: not the same is the safe answer.

    Args:
        stored: What the service says.
        size: Of the source.
        crc64nvme: Of the source.
        md5s: Of the parts of the source, in hex, cut as the ETag says.
    """
    if stored.size != size:
        return Verification(size=False, checksum=None, proved_by=None, crc64nvme=crc64nvme)
    if stored.crc64nvme is not None:
        same = stored.crc64nvme == crc64nvme
        return Verification(True, same, "crc64nvme" if same else None, crc64nvme)
    if stored.etag is not None and len(md5s) == stored.parts:
        same = stored.etag == (_composite_of(md5s) if stored.is_composite else md5s[0])
        return Verification(True, same, "etag" if same else None, crc64nvme)
    return Verification(True, None, "size", crc64nvme)


def _composite_of(md5s: Sequence[str]) -> str:
    """Return the digest of the ETag that S3 makes of a multipart upload."""
    return hashlib.md5(b"".join(map(bytes.fromhex, md5s)), usedforsecurity=False).hexdigest()
