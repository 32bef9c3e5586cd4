"""The single server behind both services: accept connections, and dispatch each request to S3 or to the API."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from email.utils import format_datetime

from aiohttp import web
from multidict import CIMultiDict

from . import _ims, _routes, _s3
from ._account import Account
from ._exchange import AnsweredError, Exchange, NoAnswerError
from ._json import Json
from ._observe import SeenRequest

logger = logging.getLogger("aioframeio_upload.testing")


class _Connections(web.Server):
    """aiohttp's low-level server, with its connections counted by the observer."""

    def __init__(self, server: FakeServer) -> None:
        # S3 stores Content-Encoding as metadata and never decodes. Whether the rest of a body is read after an
        # answer is decided here for each request, not by aiohttp's lingering.
        super().__init__(server.serve, access_log=None, logger=logger, auto_decompress=False, lingering_time=0.0)
        self._observer = server.account.observer
        self.transports: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.transports[handler] = transport
        self._observer.opened_connection()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.transports.pop(handler, None)
        self._observer.left(handler)
        # Later: the handler notices only after this call that its transport is gone.
        asyncio.get_running_loop().call_soon(self._observer.lost_connection)


@dataclass(slots=True, eq=False)
class FakeServer:
    """Serves an account on loopback."""

    account: Account
    host: str
    port: int
    ssl: ssl.SSLContext | None
    _api: _routes.Api = field(init=False)
    _connections: _Connections = field(init=False)
    _listening: asyncio.Server | None = None
    _serving: set[asyncio.Task[object]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Make the API of the account."""
        self._api = _routes.Api(self.account)

    async def open(self) -> None:
        """Listen, on any free port unless one was given."""
        self._connections = _Connections(self)
        await self.listen()
        self.account.url = f"{'https' if self.ssl else 'http'}://{self.host}:{self.port}"

    async def listen(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            self._connections, self.host, self.port, ssl=self.ssl, backlog=1024, reuse_address=True
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stop accepting connections and abort the existing ones."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for transport in tuple(self._connections.transports.values()):
            transport.abort()
        await self.account.observer.until(lambda: self.account.observer.connections == 0)

    async def close(self) -> None:
        """Close every connection and end every task."""
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._connections.pre_shutdown()
        await self.refuse()
        await self._connections.shutdown(1.0)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or leave it without an answer."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        path = request.raw_path if request.raw_path.startswith("/") else "/" + request.raw_path.split("/", 3)[-1]
        path = path.partition("?")[0]
        # Before the request is recorded: looking at the fake does not change what it has seen.
        if path.startswith("/_fake/"):
            return _routes.answer(200, self._look_inside(path))
        part = _s3.part_path(path)
        match = _routes.find(request.method, path)
        seen = SeenRequest("unknown", request.method, path, CIMultiDict(request.headers))
        if part is not None:
            seen.operation, (seen.file_id, seen.number) = "part", part
        elif (original := _s3.original_path(path)) is not None:
            seen.operation, seen.file_id = "original", original
        elif path in _ims.PATHS:
            seen.operation = _ims.PATHS[path]
        elif match is not None:
            seen.operation, seen.file_id = match.route.operation, match.ids.get("file_id")
        document = _s3.error_document if seen.operation in ("part", "original") else _routes.error_document
        exchange = Exchange(request, seen, self.account.observer, document)
        self.account.observer.arrived(seen, request.protocol)
        answered: int | None = None
        try:
            response = await self._answer(exchange, match)
            answered = response.status
            if not response.prepared:  # otherwise aiohttp adds the system's time, not the fake's
                response.headers.setdefault("Date", format_datetime(self.account.clock(), usegmt=True))
            return response
        except NoAnswerError:
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=500)
        finally:
            self.account.observer.ended(seen, answered)

    async def _answer(self, exchange: Exchange, match: _routes.Match | None) -> web.Response:
        try:
            if exchange.seen.operation == "part":
                return await _s3.put_part(self.account, exchange)
            if exchange.seen.operation == "original":
                return await _s3.get_original(self.account, exchange)
            if exchange.seen.operation in _ims.PATHS.values():
                return await self.account.ims.serve(exchange, exchange.seen.operation)
            return await self._api.serve(exchange, match, asyncio.get_running_loop().time())
        except AnsweredError as answered:
            answered.response.force_close()
            return answered.response

    def _look_inside(self, path: str) -> Json:
        """Return the fake's state for another process; Frame.io has no such endpoint."""
        if path == "/_fake/requests":
            requests = self.account.observer.requests
            rows = [
                {
                    "operation": seen.operation,
                    "number": seen.number,
                    "status": seen.status,
                    "bytes_received": seen.bytes_received,
                }
                for seen in requests
            ]
            return {"requests": rows}
        files = [
            {
                "id": file.id,
                "name": file.name,
                "size": file.size,
                "complete": file.complete,
                "sha256": file.sha256,
                "parts": sorted(file.parts),
            }
            for file in self.account.store.files()
        ]
        return {"files": files}
