"""Compare the stored original of a file with its source."""

from __future__ import annotations

import logging
from typing import Any

from .._core.errors import ApiError, PermissionDenied
from .._core.links import is_secure, is_usable, stays_here
from .._core.redact import Secret
from .._core.verifying import StoredOriginal, Verification, compare_original, read_original
from .._io.frameio_api import SHOW, FrameioApi
from .._io.original import read_headers
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import check_size, open_source
from .cleanup import close_generator
from .content import read_content
from .control import UploadControl

log = logging.getLogger("aioframeio_upload")

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
        stored = await ask_original(api, resources, account_id, file_id)
        if stored.size != length:
            return Verification(size=False, checksum=None, proved_by=None)
        if not stored.is_comparable:
            log.warning("file %s is compared by its size alone: %s", file_id, stored.obstacle)
        content = await read_content(found, stored.md5_parts, resources)
        return compare_original(stored, length, content.crc64nvme, content.md5s)
    finally:
        found.close()
        await close_generator(found, f"file {file_id}", UploadControl())


async def ask_original(api: FrameioApi, resources: Session, account_id: str, file_id: str) -> StoredOriginal:
    """Ask the service and S3 about the original of a file.

    Raises:
        ApiError: The service refused the call, or its answer has no size.
    """
    obstacle = "the answer has no link to the original"
    try:
        answer = await api.call(SHOW, account_id=account_id, file_id=file_id, query={"include": ORIGINAL})
    except PermissionDenied:
        # The token may see the file but not download it (or the original is not ready): its size is known all the same.
        answer = await api.call(SHOW, account_id=account_id, file_id=file_id)
        obstacle = "the original may not be downloaded, or not yet"
    size = answer.get("file_size") if isinstance(answer, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ApiError("the answer has no file_size", operation=SHOW.name, status=200, file_id=file_id)
    link = _link_in(answer)
    if link is None:
        return StoredOriginal(size, obstacle=obstacle)
    if not is_usable(link.reveal()) or not (is_secure(link.reveal()) or stays_here(link.reveal())):
        return StoredOriginal(size, obstacle="the link to the original is not https")
    headers = await read_headers(link, resources)
    return StoredOriginal(size, obstacle=headers) if isinstance(headers, str) else read_original(size, headers)


def _link_in(answer: Any) -> Secret[str] | None:
    """Return the download link of the original. Where the schema puts it is known of one answer only."""
    links = answer.get("media_links")
    original = links.get("original") if isinstance(links, dict) else None
    url = original.get("download_url") if isinstance(original, dict) else original
    return Secret(url) if isinstance(url, str) else None
