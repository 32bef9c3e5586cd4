"""Ask S3 about the stored original of a file, by its download link."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import aiohttp
import anyio
from yarl import URL

from .._core.backoff import CallTries, read_retry_after
from .._core.failures import FailureKind
from .._core.redact import Secret, without_frames
from .flow_control import CallDeadline
from .http_client import request
from .http_errors import FAILURES, describe, describe_pool, host_of, kind_of, send_once
from .session import Session

ATTEMPTS = 3
"""At most. The answer saves an upload, and is not needed for one: a host that is blocked must not hold it up."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """A request without the answer that was asked for."""

    reason: str
    kind: FailureKind = FailureKind.REFUSED
    status: int | None = None
    retry_after: float | None = None


async def read_headers(link: Secret[str], resources: Session) -> Mapping[str, str] | str:
    """Return the headers of the answer to a request for the first byte; if there is none, the reason in words.

    A GET of one byte, because the link is signed for GET and not for HEAD. No further header: S3 refuses a presigned
    request with an `x-amz-...` that was not signed, `x-amz-checksum-mode` too.
    """
    url = Secret(URL(link.reveal(), encoded=True))
    policy = resources.retry
    tries = CallTries(replace(policy, attempts=min(policy.attempts, ATTEMPTS), patience=0.0))
    while True:
        began = time.monotonic()
        found = await _try(url, resources)
        if not isinstance(found, _Refused):
            return found
        again = tries.fail(found.kind, found.status, found.retry_after, began=began, now=time.monotonic())
        if again is None:
            return f"the original could not be asked for: {found.reason}"
        await anyio.sleep(again.delay)


async def _try(url: Secret[URL], resources: Session) -> Mapping[str, str] | _Refused:
    deadline = CallDeadline(resources.timeouts.api, resources.timeouts.pool)
    try:
        async with deadline.timeout:
            return await _get(url, resources, deadline)
    except FAILURES as error:
        if deadline.timeout.expired() and deadline.is_queued:
            words = describe_pool(resources.session.connector, resources.timeouts.pool)
            return _Refused(words, FailureKind.CROWDED)
        return _Refused(describe(error, host_of(url.reveal())), kind_of(error))
    except BaseException as error:
        without_frames(error)
        raise


async def _get(url: Secret[URL], resources: Session, deadline: CallDeadline) -> Mapping[str, str] | _Refused:
    async with await request(
        resources.session_for(),
        "GET",
        url,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=resources.timeouts.connect),
        allow_redirects=False,
        middlewares=(send_once,),
        stages=deadline,
        **resources.route_to(url.reveal(), {"Range": "bytes=0-0"}),
    ) as response:
        if response.status in (200, 206):
            return response.headers
        retry_after = read_retry_after(response.headers, datetime.now(UTC))
        return _Refused(f"S3 answered {response.status}", status=response.status, retry_after=retry_after)
