"""Ask S3 about the stored original of a file, by its download link."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
from yarl import URL

from .._core.redact import Secret, without_frames
from .http_client import request
from .http_errors import FAILURES, describe
from .log import log
from .session import Session


async def read_headers(link: Secret[str], resources: Session) -> Mapping[str, str] | None:
    """Return the headers of the answer to a request for the first byte; None if it is not answered as asked.

    A GET of one byte, because the link is signed for GET and not for HEAD. No further header: S3 refuses a presigned
    request with an `x-amz-...` that was not signed, `x-amz-checksum-mode` too.
    """
    url = Secret(URL(link.reveal(), encoded=True))
    try:
        return await _get(url, resources)
    except FAILURES as error:
        reason = describe(error, url.reveal().raw_host)
        log.warning("the stored original could not be asked for: %s", reason)
    except BaseException as error:
        without_frames(error)
        raise
    return None


async def _get(url: Secret[URL], resources: Session) -> Mapping[str, str] | None:
    async with await request(
        resources.session_for(),
        "GET",
        url,
        timeout=aiohttp.ClientTimeout(total=resources.timeouts.api, sock_connect=resources.timeouts.connect),
        allow_redirects=False,
        **resources.route_to(url.reveal(), {"Range": "bytes=0-0"}),
    ) as response:
        if response.status in (200, 206):
            return response.headers
        log.warning("the stored original could not be asked for: %d", response.status)
        return None
