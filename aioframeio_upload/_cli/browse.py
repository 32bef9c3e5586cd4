"""The command `find`, and the look-up of a folder by its link.

An Uploader has no listings, as no upload needs them. Two GET calls over aiohttp are less than the official SDK, which
would have to be installed for them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
from yarl import URL

from .. import ApiError, AuthenticationError, NotFound, PermissionDenied, RateLimited
from .._core.documents import MAX_ANSWER, read_document
from .._core.redact import Secret, redact, without_frames
from .._io.http_errors import Misrouted, read_bounded
from .._io.proxies import Proxies
from .format import Target, asked_again
from .options import Service
from .output import complain, loss, say, say_json

TRIES = 5
"""15 s of pauses: somebody waits at a terminal."""
LONGEST_PAUSE = 30.0
ERRORS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    429: RateLimited,
}


FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError)
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
    (RecursionError, "the answer was not JSON"),
)
"""Narrow before wide: aiohttp's classes inherit from one another."""


def words_of(error: BaseException) -> str:
    """Say what happened by its kind only: the words of aiohttp may hold a proxy's password."""
    return next(words for kind, words in WORDS if isinstance(error, kind))


@dataclass(frozen=True, slots=True)
class Reply:
    """What one try gave."""

    status: int | None
    document: Any = field(default=None, repr=False)
    words: str = "no reason was given"
    """Why there is no document, without credentials."""


class Asker:
    """GET calls of the V4 API. Made by `asking`."""

    def __init__(self, service: Service, token: Secret[Any], session: aiohttp.ClientSession) -> None:
        self._service = service
        self._token = token
        self._session = session
        self._proxies = Proxies(Secret(service.proxy))

    async def all(self, *segments: str) -> list[dict[str, Any]]:
        """Give all rows of a listing.

        Raises:
            ApiError: The service refused, or what it said is no listing.
        """
        rows: list[dict[str, Any]] = []
        after, seen = None, set[str]()
        while True:
            query = {"page_size": "100"} | ({"after": after} if after else {})
            document = Secret(await self._get(segments, query))
            if not isinstance(document.reveal().get("data"), list):
                raise ApiError("the answer has no list under 'data'", operation=segments[-1], status=200)
            rows += [row for row in document.reveal()["data"] if isinstance(row, dict)]
            cursor = _cursor(document.reveal())
            if cursor is None:
                return rows
            if cursor in seen:
                raise ApiError("its pages go in a circle", operation=segments[-1], status=200)
            seen.add(cursor)
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
        document = Secret(await self._get(("accounts", self._service.account_id, "projects", target.project_id), {}))
        folder_id = _root_folder(document.reveal())
        if not isinstance(folder_id, str) or not folder_id:
            raise ApiError("the project has no root folder", operation="show_project", status=200)
        return folder_id

    async def _get(self, segments: tuple[str, ...], query: dict[str, str]) -> dict[str, Any]:
        path = "/".join(quote(segment, safe="") for segment in segments)
        reply = Reply(None)
        pause = 1.0  # the service asks for at least a second after a 429, and then for twice as much each time
        for last in (*(False,) * (TRIES - 1), True):
            reply = await self._once(f"{self._service.base_url.rstrip('/')}/v4/{path}", query)
            if isinstance(reply.document, dict):
                return reply.document
            if last or not (reply.status is None or reply.status == 429 or reply.status >= 500):
                break
            refused = ApiError(reply.words, operation=segments[-1], status=reply.status)
            await asyncio.to_thread(complain, asked_again(pause, refused))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        raise ERRORS.get(reply.status or 0, ApiError)(reply.words, operation=segments[-1], status=reply.status)

    async def _once(self, url: str, query: dict[str, str]) -> Reply:
        token = await self._fresh_token()
        try:
            return await self._ask(URL(url).with_query(query), token)
        except aiohttp.ClientConnectorCertificateError:
            refused = "its certificate is not trusted; --ca says whose is"
        except Misrouted as error:
            refused = str(error)
        except FAILURES as error:
            return Reply(None, words=words_of(error))
        except BaseException as error:
            without_frames(error)
            raise
        raise ApiError(refused, operation="connect")

    async def _ask(self, url: URL, token: Secret[str]) -> Reply:
        """Make the request; the frames from here on hold the token, and are in no traceback that leaves."""
        headers = {"Authorization": f"Bearer {token.reveal()}", "Accept": "application/json"}
        async with self._session.get(
            url,
            ssl=self._service.ssl if self._service.ssl is not None else True,
            allow_redirects=False,
            **self._proxies.route_to(url, headers),
        ) as answer:
            text = await read_bounded(answer, MAX_ANSWER)
            if text is None:
                return Reply(answer.status, words=f"the answer is longer than {MAX_ANSWER} bytes")
            document = await asyncio.to_thread(read_document, text)
        if answer.status == 200 and isinstance(document, dict):
            return Reply(200, document)
        return Reply(answer.status, words=redact(_detail(document), tokens=[token.reveal()]))

    async def _fresh_token(self) -> Secret[str]:
        if isinstance(self._token.reveal(), str):
            return self._token
        try:
            return Secret(str(await self._token.reveal()()))
        except Exception as error:  # the SDK's login has errors of its own, and httpx others
            text = f"the login raised {type(error).__name__}"
            raise AuthenticationError(text, operation="login") from error


def _cursor(document: dict[str, Any]) -> str | None:
    """Return where the next page of a listing begins; None where this one is the last."""
    links = document.get("links")
    link = links.get("next") if isinstance(links, dict) else None
    try:
        return parse_qs(urlsplit(link).query).get("after", [None])[0] if isinstance(link, str) else None
    except ValueError:  # urlsplit's, for `//[`
        return None


def _root_folder(document: dict[str, Any]) -> Any:
    found = document.get("data")
    return found.get("root_folder_id") if isinstance(found, dict) else None


def _detail(document: Any) -> str:
    match document:
        case {"errors": [{"detail": str(detail)}, *_]}:
            return detail
    return "no reason was given"


@asynccontextmanager
async def asking(service: Service, token: Secret[Any]) -> AsyncIterator[Asker]:
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


class TreeRow(NamedTuple):
    """One line of the tree."""

    depth: int
    kind: str
    name: str
    id: str
    link: str | None = None


async def find(service: Service, project: str | None, depth: int, as_json: bool) -> int:
    """Print the tree as it is read, and give the exit status: 1 where nothing, or no such project, was found."""
    found = False
    async with service.token() as token, asking(service, token) as asker:
        async for row in _rows(asker, service.account_id, project, depth):
            found = found or project is None or row.kind == "project"
            if as_json:
                await asyncio.to_thread(say_json, json.dumps(row._asdict()))
            else:
                await asyncio.to_thread(say, f"{'  ' * row.depth}{row.kind:<9} {row.id}  {row.name}")
            if loss() is not None:
                return 1  # such as of `| head`; the rest of the tree would be asked for and shown to nobody
    if not found:
        complain("error: nothing that this token may see fits")
    return 0 if found else 1


async def _rows(asker: Asker, account_id: str | None, project: str | None, depth: int) -> AsyncIterator[TreeRow]:
    """Give the lines; an account or a workspace is told with its first project."""
    for account in await asker.all("accounts"):
        if account_id not in (None, account["id"]):
            continue
        yield _row(0, "account", account, "display_name")
        for workspace in await asker.all("accounts", account["id"], "workspaces"):
            yield _row(1, "workspace", workspace)
            for one in await asker.all("accounts", account["id"], "workspaces", workspace["id"], "projects"):
                if project is not None and project not in (one["id"], one.get("name")):
                    continue
                yield _row(2, "project", one)
                root = one.get("root_folder_id")
                if not root:
                    continue
                yield TreeRow(3, "folder", "/ (the project's root folder)", str(root), _text(one.get("view_url")))
                async for row in _below(asker, account["id"], str(root), 4, depth):
                    yield row


async def _below(asker: Asker, account_id: str, folder_id: str, at: int, depth: int) -> AsyncIterator[TreeRow]:
    if depth == 0:
        return
    for folder in await asker.all("accounts", account_id, "folders", folder_id, "folders"):
        yield _row(at, "folder", folder)
        async for row in _below(asker, account_id, folder["id"], at + 1, depth - 1):
            yield row


def _row(depth: int, kind: str, told: dict[str, Any], name: str = "name") -> TreeRow:
    return TreeRow(depth, kind, str(told.get(name) or ""), str(told["id"]), _text(told.get("view_url")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
