"""Compare the stored original of a file with its source."""

from __future__ import annotations

from typing import Any

from .._core.checksums import CRC64NVME, MD5
from .._core.errors import ApiError, PermissionDenied
from .._core.links import is_secure, is_usable, stays_here
from .._core.model import Part
from .._core.redact import Secret
from .._core.verifying import StoredOriginal, Verification, compare_original, part_sizes, read_original
from .._io.frameio_api import SHOW, FrameioApi
from .._io.original import read_headers
from .._io.part_digests import digest_part
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import OpenSource, check_size, open_source

ORIGINAL = "media_links.original"


async def verify(
    api: FrameioApi, resources: Session, file_id: str, account_id: str, source: Source, size: int | None
) -> Verification:
    """Compare a file with a source, which is read once.

    Raises:
        ApiError: The service refused the call, or its answer has no size.
        SourceError: The source cannot be read, or changes meanwhile.
    """
    found = await open_source(source, size, resources.executor, resources.spool)
    try:
        length = check_size(found, size)
        stored = await _ask(api, resources, file_id, account_id)
        if stored.size != length:
            return Verification(size=False, checksum=None, proved_by=None)
        await found.check()
        crc64nvme, md5s = await _digest(found, length, stored.parts, resources)
        await found.check()
        return compare_original(stored, length, crc64nvme, md5s)
    finally:
        found.close()


async def _ask(api: FrameioApi, resources: Session, file_id: str, account_id: str) -> StoredOriginal:
    try:
        answer = await api.call(SHOW, account_id=account_id, file_id=file_id, query={"include": ORIGINAL})
    except PermissionDenied:
        # The token may see the file but not download it (or the original is not ready): its size is known all the same.
        answer = await api.call(SHOW, account_id=account_id, file_id=file_id)
    size = answer.get("file_size") if isinstance(answer, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ApiError("the answer has no file_size", operation=SHOW.name, status=200, file_id=file_id)
    link = _link_in(answer)
    if link is None or not is_usable(link.reveal()) or not (is_secure(link.reveal()) or stays_here(link.reveal())):
        return StoredOriginal(size)
    headers = await read_headers(link, resources)
    return StoredOriginal(size) if headers is None else read_original(size, headers)


def _link_in(answer: Any) -> Secret[str] | None:
    """Return the download link of the original. Where the schema puts it is known of one answer only."""
    links = answer.get("media_links")
    original = links.get("original") if isinstance(links, dict) else None
    url = original.get("download_url") if isinstance(original, dict) else original
    return Secret(url) if isinstance(url, str) else None


async def _digest(source: OpenSource, size: int, parts: int, resources: Session) -> tuple[str, list[str]]:
    """Return the CRC64NVME of a source, and the MD5 of each of its parts."""
    whole, md5s, offset = CRC64NVME.begin(), list[str](), 0
    for number, length in enumerate(part_sizes(size, parts), 1):
        md5 = MD5.begin()
        async with source.lend(Part(number, offset, length, "")) as lent:
            await digest_part((whole, md5), lent, length, resources.blocks, resources.timeouts.stall)
        md5s.append(md5.value())
        offset += length
    return whole.value(), md5s
