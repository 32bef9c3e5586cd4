"""Read an answer of Frame.io's API: its JSON document, or the reason why it is not usable."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TypeAlias

import aiohttp

from .._core.api_schema import as_text
from .._core.backoff import read_retry_after
from .._core.documents import MAX_ANSWER, READ_IN_THREAD, BadDocument, read_document
from .._core.failures import FailureKind
from .files import in_thread
from .http_errors import read_bounded

Shape: TypeAlias = Literal["object", "page", "nothing"]
"""The form of a successful answer: an object under `data`; a list there, and a link to the next page; or no body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one call: a JSON document, or in `trouble` the reason why there is none."""

    status: int | None
    document: Any = field(default=None, repr=False)
    trouble: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    kind: FailureKind = FailureKind.REFUSED
    """The kind of failure, if no answer came."""


async def read_text(response: aiohttp.ClientResponse) -> bytes | None:
    """Read the body of an answer; None if it is longer than `MAX_ANSWER`."""
    return await read_bounded(response, MAX_ANSWER)


async def read_answer(
    gives: Shape,
    response: aiohttp.ClientResponse,
    text: bytes | None,
    executor: Executor,
    clean: Callable[[str], str],
) -> Answer:
    """Read an answer: its `data`, or what is wrong with it, with foreign text passed through `clean`."""
    request_id = response.headers.get("x-request-id", "")
    answer = partial(
        Answer,
        response.status,
        request_id=request_id[:120] if request_id and clean(request_id) == request_id else None,
        retry_after=read_retry_after(response.headers, datetime.now(UTC)),
    )
    if text is None:
        return answer(trouble=f"the answer is longer than {MAX_ANSWER} bytes")
    if gives == "nothing" and 200 <= response.status < 300:
        return answer()
    if 300 <= response.status < 400:
        return answer(trouble="a redirect, which is not followed")
    if not text:
        return answer(trouble="the answer is empty")
    try:
        read = partial(read_document, text)
        document = read() if len(text) < READ_IN_THREAD else await in_thread(executor, read)
    except BadDocument as error:
        kind = clean(as_text(response.content_type))[:80]
        return answer(trouble=f"the answer {error} ({kind}, {len(text)} bytes)")
    if not 200 <= response.status < 300:
        return answer(trouble=clean(_detail(document)) or f"{response.status} without a reason")
    kind, wanted = ("list", list) if gives == "page" else ("object", dict)
    if not isinstance(document, dict) or not isinstance(document.get("data"), wanted):
        return answer(trouble=f"the answer has no {kind} under 'data'")
    return answer(document=document if gives == "page" else document["data"])


def _detail(document: Any) -> str:
    """Return the service's error message.

    V4 answers with `{"errors": [{"detail", "source": {"pointer"}, "title"}]}`; gateways in front of it use a `message`
    or `error` of their own.
    """
    if not isinstance(document, dict):
        return ""
    errors = document.get("errors")
    found = [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
    details = []
    for one in found[:10]:
        detail, source = one.get("detail") or one.get("title"), one.get("source")
        pointer = source.get("pointer") if isinstance(source, dict) else None
        if detail:
            details.append(f"{detail} ({pointer})" if pointer else str(detail))
    fallback = next((document[key] for key in ("message", "error") if isinstance(document.get(key), str)), None)
    return "; ".join(details) or fallback or ""


def summarize(answer: Answer) -> str:
    """Return the status and the trouble of an answer on one line."""
    return f"{answer.status}: {answer.trouble}" if answer.status is not None else str(answer.trouble)
