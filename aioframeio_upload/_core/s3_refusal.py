"""Read S3's error answers: the code, message and request ID in their XML. `failures` says which codes are retried."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from html import unescape

from .backoff import read_retry_after
from .failures import AttemptFailure, FailureKind
from .redact import redact, redact_id

_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9_.]{1,80})\s*</Code>")
_XML_MESSAGE = re.compile(rb"<Message>([^<]{0,8192})")
_XML_REQUEST = re.compile(rb"<RequestId>\s*([A-Za-z0-9_\-]{1,80})\s*</RequestId>")


def read_refusal(
    status: int, headers: Mapping[str, str], body: bytes, now: datetime, links: Iterable[str] = ()
) -> AttemptFailure:
    """Return the failure that an error answer describes.

    Patterns are used instead of an XML parser: an answer that is not XML (a proxy's HTML) is a refusal too, and no
    entity is expanded.

    Args:
        status: The HTTP status.
        headers: Looked up without regard to case.
        body: The answer, perhaps cut.
        now: The time, for a `Retry-After`.
        links: The URLs of the request. S3 quotes parts of it, so their secrets are removed from the message.
    """
    code, message, request = (found.search(body) for found in (_XML_CODE, _XML_MESSAGE, _XML_REQUEST))
    clean, clean_id = partial(redact, links=links, limit=300), partial(redact_id, links=links)
    words = clean(unescape(message[1].decode("utf-8", "replace")).strip()) if message else ""
    request_id = headers.get("x-amz-request-id") or (request[1].decode() if request else None)
    return AttemptFailure(
        FailureKind.REFUSED,
        words or "no reason was given",
        status=status,
        code=clean_id(code[1].decode()) if code else None,
        request_id=clean_id(request_id),
        retry_after=read_retry_after(headers, now),
    )
