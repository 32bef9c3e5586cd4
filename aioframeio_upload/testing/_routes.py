"""The routes of the V4 API, each with its documented rate limit, and the dispatch of a call to them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from . import _frameio as api
from ._account import Account
from ._exchange import Exchange
from ._json import ApiRefusalError, Json
from ._rates import Bucket, Limit, full, take

# Not documented; far more than any body of the calls below.
LARGEST_BODY = 1 << 20


class Route(NamedTuple):
    """An operation, its path, and how often it may be called."""

    operation: str
    method: str
    path: re.Pattern[str]
    limit: Limit
    act: Callable[[api.Call], tuple[int, Json | None]]


def _route(
    operation: str, target: str, calls: int, window: float, act: Callable[[api.Call], tuple[int, Json | None]]
) -> Route:
    method, _, path = target.partition(" ")
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace("{a}", "/v4/accounts/{account_id}"))
    return Route(operation, method, re.compile(pattern), Limit(calls, window), act)


# Limits as the SDK 4.0.0 documents them, "N calls per T per account_user".
ROUTES = (
    _route("create", "POST {a}/folders/{folder_id}/files/local_upload", 5, 1, api.create),
    _route("remote", "POST {a}/folders/{folder_id}/files/remote_upload", 5, 1, api.remote),
    _route("status", "GET {a}/files/{file_id}/status", 5, 1, api.status),
    _route("show", "GET {a}/files/{file_id}", 10, 1, api.show),
    _route("delete", "DELETE {a}/files/{file_id}", 100, 60, api.delete),
    _route("move", "PATCH {a}/files/{file_id}/move", 100, 60, api.move),
    _route("list_files", "GET {a}/folders/{folder_id}/files", 5, 1, api.list_files),
    _route("list_children", "GET {a}/folders/{folder_id}/children", 100, 60, api.list_children),
    _route("list_folders", "GET {a}/folders/{folder_id}/folders", 5, 1, api.list_folders),
    _route("create_folder", "POST {a}/folders/{folder_id}/folders", 3, 1, api.create_folder),
    _route("show_folder", "GET {a}/folders/{folder_id}", 100, 60, api.show_folder),
    _route("delete_folder", "DELETE {a}/folders/{folder_id}", 60, 60, api.delete_folder),
    _route("create_stack", "POST {a}/folders/{folder_id}/version_stacks", 10, 60, api.create_stack),
    _route("list_stacks", "GET {a}/folders/{folder_id}/version_stacks", 5, 1, api.list_stacks),
    _route("show_stack", "GET {a}/version_stacks/{stack_id}", 100, 60, api.show_stack),
    _route("list_stack", "GET {a}/version_stacks/{stack_id}/children", 100, 60, api.list_stack),
    _route("me", "GET /v4/me", 100, 60, api.me),
    _route("accounts", "GET /v4/accounts", 100, 60, api.accounts),
    _route("workspaces", "GET {a}/workspaces", 100, 60, api.workspaces),
    _route("projects", "GET {a}/workspaces/{workspace_id}/projects", 100, 60, api.projects),
    _route("all_projects", "GET {a}/projects", 100, 60, api.projects),
    _route("show_project", "GET {a}/projects/{project_id}", 100, 60, api.show_project),
)


class Match(NamedTuple):
    """The route of a path, and the IDs in the path."""

    route: Route
    ids: dict[str, str]


def find(method: str, raw_path: str) -> Match | None:
    """Return the route of a request, or None."""
    for route in ROUTES:
        match = route.path.fullmatch(raw_path)
        if match is not None and method == route.method:
            return Match(route, {name: unquote(value) for name, value in match.groupdict().items()})
    return None


def error_document(status: int | None, code: str | None, message: str | None) -> web.Response:
    """Return an error in the API's form; the default status is 500."""
    status = status or 500
    title = code or _TITLES.get(status, "Error")
    return answer(status, ApiRefusalError(status, message or title, title=title).document())


def answer(status: int, document: Json | None) -> web.Response:
    """Return an answer of the API, with a request ID as every answer has."""
    response = web.Response(status=status)
    # A 204 has no body (RFC 9110, 15.3.5).
    if document is not None:
        response.body = json.dumps(document).encode()
        response.headers["Content-Type"] = "application/json; charset=utf-8"
    response.headers["x-request-id"] = secrets.token_hex(16)
    return response


@dataclass(slots=True, eq=False)
class Api:
    """The API of one account, with its rate limits."""

    account: Account
    buckets: dict[str, Bucket] = field(default_factory=dict)

    async def serve(self, exchange: Exchange, match: Match | None, now: float) -> web.Response:
        """Answer one call: check the token, the route and the rate, apply a fault, then execute it.

        Raises:
            AnsweredError: A fault answered before the body was read.
            NoAnswerError: The connection ended.
        """
        refused = self._stranger(exchange.request)
        if refused is not None:
            return await exchange.refuse(refused)
        # After the token, so that an unauthorized client does not learn which paths exist.
        if match is None:
            return await exchange.refuse(error_document(404, None, None))
        rates = self._rates(match.route, now)
        if rates.refused:
            response = await exchange.refuse(error_document(429, None, "Rate limit exceeded"))
        else:
            response = await self._act(exchange, match)
        # On answers of every status; the window is in milliseconds (AdobeDocs, frameio-api guide, "Rate Limiting").
        response.headers.update(rates.headers)
        return response

    async def _act(self, exchange: Exchange, match: Match) -> web.Response:
        await exchange.begin()
        raw = bytearray()
        while block := await exchange.block():
            raw += block
            if len(raw) > LARGEST_BODY:
                await exchange.drain()
                return error_document(413, None, None)
        # Faults can be limited to a name, which is in the body; bodies of the API are small, so it is read first.
        exchange.armed = self.account.faults.strike(match.route.operation, None, self._name(match, bytes(raw)))
        instead = await exchange.interrupt()
        if instead is not None:
            return instead
        try:
            status, document = match.route.act(self._call(exchange, match, bytes(raw)))
            response = answer(status, document)
        except ApiRefusalError as refused:
            response = answer(refused.status, refused.document())
        self.account.observer.changed()
        exchange.lose_answer()
        return response

    def _call(self, exchange: Exchange, match: Match, raw: bytes) -> api.Call:
        # 404 and not 403, which would confirm that the account exists. What the service answers is not documented.
        if match.ids.get("account_id", self.account.id) != self.account.id:
            raise ApiRefusalError(404, "Not Found", title="Not Found")
        body: Json = {}
        if match.route.method in ("POST", "PATCH"):
            if exchange.request.content_type != "application/json":
                raise ApiRefusalError(415, "Content-Type is not application/json", title="Unsupported Media Type")
            body = api.body_of(raw)
        path, _, query = exchange.request.raw_path.partition("?")
        return api.Call(self.account, path, match.ids, dict(parse_qsl(query)), body)

    def _stranger(self, request: web.BaseRequest) -> web.Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() == "bearer" and (token in self.account.tokens or self.account.ims.accepts(token)):
            return None
        return error_document(401, None, "You are not authorized")

    def _rates(self, route: Route, now: float) -> _Rates:
        if not self.account.rate_limits:
            return _Rates(False, {})
        bucket = self.buckets.get(route.operation) or full(route.limit, now)
        taken = take(route.limit, bucket, now)
        self.buckets[route.operation] = taken.bucket
        headers = {
            "x-ratelimit-limit": str(route.limit.calls),
            "x-ratelimit-remaining": str(taken.remaining),
            "x-ratelimit-window": str(int(route.limit.window * 1000)),
        }
        return _Rates(not taken.granted, headers)

    def _name(self, match: Match, raw: bytes) -> str | None:
        file = self.account.store.file(match.ids.get("file_id", ""))
        if file is not None or match.route.method != "POST":
            return file.name if file else None
        with suppress(ApiRefusalError):
            return str(api.body_of(raw).get("name"))
        return None


class _Rates(NamedTuple):
    refused: bool
    headers: dict[str, str]


_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Payload Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
