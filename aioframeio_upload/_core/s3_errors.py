"""Read S3's refusal from its XML body."""

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
    """Read S3's refusal: an XML document, of which three elements count.

    A refusal may quote the request: what is secret in the `links` it was sent to is taken out.

    By pattern and not by parser: what is not XML (a proxy's HTML) is a refusal too, and no entity is ever expanded.
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
