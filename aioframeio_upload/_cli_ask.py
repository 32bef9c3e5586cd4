"""What the command line asks Frame.io beside uploading: the folders of a project, and the accounts themselves.

An Uploader has no listings, as no upload needs them. Two GET calls over aiohttp are less than the official SDK, which
would have to be installed for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp

from . import ApiError, AuthenticationError, NotFound, PermissionDenied, RateLimited
from ._cli_settings import Service
from ._cli_words import Target

TRIES = 5
"""15 s of pauses: somebody waits at a terminal."""
LONGEST_PAUSE = 30.0
ERRORS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    429: RateLimited,
}


FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "the host's name could not be resolved"),
    (aiohttp.ClientProxyConnectionError, "the proxy could not be reached"),
    (aiohttp.ClientHttpProxyError, "the proxy refused"),
    (TimeoutError, "no answer in time"),
    (aiohttp.ClientConnectorSSLError, "the TLS handshake failed"),
    (aiohttp.ClientConnectorError, "no connection"),
    (aiohttp.ClientResponseError, "the answer was not HTTP"),
    (aiohttp.ClientError, "the connection broke"),
    (OSError, "the connection broke"),
    (ValueError, "the answer was not JSON"),
)
"""Narrow before wide: aiohttp's classes inherit from one another."""


def words_of(error: BaseException) -> str:
    """Say what happened by its kind only: the words of aiohttp may hold a proxy's password."""
    return next(words for kind, words in WORDS if isinstance(error, kind))


class Asker:
    """GET calls of the V4 API. Made by `asking`."""

    def __init__(self, service: Service, token: Any, session: aiohttp.ClientSession) -> None:
        self._service = service
        self._token = token
        self._session = session

    async def all(self, *segments: str) -> list[dict[str, Any]]:
        """Give all rows of a listing.

        Raises:
            ApiError: The service refused, or what it said is no listing.
        """
        rows: list[dict[str, Any]] = []
        after = None
        while True:
            query = {"page_size": "100"} | ({"after": after} if after else {})
            document = await self._get(segments, query)
            if not isinstance(document.get("data"), list):
                raise ApiError("the answer has no list under 'data'", operation=segments[-1], status=200)
            rows += [row for row in document["data"] if isinstance(row, dict)]
            links = document.get("links")
            link = links.get("next") if isinstance(links, dict) else None
            cursor = parse_qs(urlsplit(link).query).get("after", [None])[0] if isinstance(link, str) else None
            if cursor is None or cursor == after:
                return rows
            after = cursor

    async def folder_of(self, target: Target) -> str:
        """Give the folder that is meant.

        Raises:
            ApiError: There is no such project, or the service refused.
        """
        if target.folder_id is not None:
            return target.folder_id
        assert target.project_id is not None
        assert self._service.account_id is not None
        document = await self._get(("accounts", self._service.account_id, "projects", target.project_id), {})
        found = document.get("data")
        folder_id = found.get("root_folder_id") if isinstance(found, dict) else None
        if not isinstance(folder_id, str) or not folder_id:
            raise ApiError("the project has no root folder", operation="show_project", status=200)
        return folder_id

    async def _get(self, segments: tuple[str, ...], query: dict[str, str]) -> dict[str, Any]:
        path = "/".join(quote(segment, safe="") for segment in segments)
        status, document = None, None
        pause = 1.0  # the service asks for at least a second after a 429, and then for twice as much each time
        for last in (*(False,) * (TRIES - 1), True):
            status, document = await self._once(f"{self._service.base_url.rstrip('/')}/v4/{path}", query)
            if status == 200 and isinstance(document, dict):
                return document
            if last or not (status is None or status == 429 or status >= 500):
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        raise ERRORS.get(status or 0, ApiError)(_detail(document), operation=segments[-1], status=status)

    async def _once(self, url: str, query: dict[str, str]) -> tuple[int | None, Any]:
        token = await self._fresh_token()
        try:
            async with self._session.get(
                url,
                params=query,
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
                proxy=self._service.proxy,
                ssl=self._service.ssl if self._service.ssl is not None else True,
                allow_redirects=False,
            ) as answer:
                return answer.status, await answer.json(content_type=None)
        except aiohttp.ClientConnectorCertificateError:
            refused = "its certificate is not trusted; --ca says whose is"
        except FAILURES as error:
            return None, words_of(error)
        raise ApiError(refused, operation="connect")

    async def _fresh_token(self) -> str:
        if isinstance(self._token, str):
            return self._token
        try:
            return str(await self._token())
        except Exception as error:  # the SDK's login has errors of its own, and httpx others
            text = f"the login raised {type(error).__name__}"
            raise AuthenticationError(text, operation="login") from error


def _detail(document: Any) -> str:
    match document:
        case str():
            return document
        case {"errors": [{"detail": str(detail)}, *_]}:
            return detail[:1000]
    return "no reason was given"


@asynccontextmanager
async def asking(service: Service, token: Any) -> AsyncIterator[Asker]:
    """Open a session for such calls."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield Asker(service, token, session)


async def find_folder(service: Service, target: Target) -> str:
    """Give the id of the folder that is meant; asks the service only where a project is.

    Raises:
        ApiError: There is no such project, or the service refused.
    """
    if target.folder_id is not None:
        return target.folder_id
    async with service.token() as token, asking(service, token) as asker:
        return await asker.folder_of(target)
