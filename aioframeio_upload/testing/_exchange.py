"""One request on its way through the fake, with the fault it meets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from . import _wire
from ._faults import MID_BODY, Armed
from ._observe import Observer, SeenRequest

# What the tasks of a part hold of its body at once.
BLOCK = 1 << 20
# A trickle is read in twentieths of a second, smooth enough for a test that lasts one.
TICK = 0.05

ErrorDocument = Callable[[int | None, str | None, str | None], web.Response]


class NoAnswerError(Exception):
    """The connection ended, by a fault or by the client: there is nobody to answer."""


class AnsweredError(Exception):
    """The answer was decided before the whole body was read."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


@dataclass(slots=True, eq=False)
class Exchange:
    """Reads a request's body as its fault lets it, and says what a fault answers in place of the service."""

    request: web.BaseRequest
    seen: SeenRequest
    observer: Observer
    error_document: ErrorDocument
    armed: Armed | None = None
    continued: bool = False
    past_fault: bool = False

    @property
    def expects(self) -> bool:
        """Whether the client waits for a 100 before it sends the body."""
        return not self.continued and self.request.headers.get("Expect", "").lower() == "100-continue"

    @property
    def gone(self) -> bool:
        """Whether the connection is there no more."""
        return self.request.transport is None or self.request.transport.is_closing()

    def meets(self, *kinds: str) -> bool:
        """Whether the fault is one of these kinds."""
        return self.armed is not None and self.armed.fault.do in kinds

    def reached(self) -> None:
        """Count the fault."""
        if self.armed is not None:
            self.armed.hits += 1
            self.observer.changed()

    async def refuse(self, response: web.Response) -> web.Response:
        """Return the answer to a request that is not granted, once its body is read.

        Raises:
            AnsweredError: The body is not sent before a 100, so this is answered now.
            NoAnswerError: The connection ended.
        """
        if self.expects:
            raise AnsweredError(response)
        await self.drain()
        return response

    async def begin(self) -> None:
        """Let the body come: a fault that strikes before it, or the 100 that the client waits for.

        Raises:
            AnsweredError: A fault answers before the body.
            NoAnswerError: A fault ended the connection.
        """
        if self.meets("trickle"):
            self.reached()
        if self.expects and self.meets("expire", "redirect"):
            raise AnsweredError(self.fault_response())
        if self._mid_body_due(0):
            await self._strike_mid_body()
        if self.expects:
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.request.writer.output_size = 0
        self.continued = True

    async def block(self) -> bytes:
        """Return the next bytes of the body, at most 1 MiB, and none at its end.

        Raises:
            AnsweredError: A fault answers here.
            NoAnswerError: The connection ended.
        """
        if self.armed is not None and self.meets("trickle"):
            limit = max(1, int(self.armed.fault.rate * TICK))
            block = await self._read(limit)
            await asyncio.sleep(len(block) / self.armed.fault.rate)
            return block
        if self.armed is None or not self._mid_body_pending():
            return await self._read(BLOCK)
        block = await self._read(min(BLOCK, self.armed.fault.after - self.seen.bytes_received))
        if not block or self._mid_body_due(self.seen.bytes_received):
            await self._strike_mid_body()
        return block

    async def drain(self) -> None:
        """Read and drop what is left of the body.

        Raises:
            NoAnswerError: The connection ended.
        """
        while await self._read(BLOCK):
            pass

    async def interrupt(self) -> web.Response | None:
        """After the body: return what the fault answers in place of the service, or None to go on.

        Raises:
            AnsweredError: The fault answered and closes.
            NoAnswerError: The connection ended.
        """
        if self._mid_body_pending():
            await self._strike_mid_body()
        if self.meets("answer", "expire", "redirect"):
            return self.fault_response()
        if self.meets("hold"):
            self.reached()
            await self._wait_for_release()
        if self.armed is not None and self.meets("garbled"):
            self.reached()
            if self.request.transport is not None:
                garbage = self.armed.fault.body or "\x00\x01\x02 this is no HTTP\r\n\r\n"
                self.request.transport.write(garbage.encode())
                self.request.transport.close()
            raise NoAnswerError
        return None

    def lose_answer(self) -> None:
        """After it was done: close without an answer where the fault says so.

        Raises:
            NoAnswerError: It does.
        """
        if self.meets("lose_answer"):
            self.reached()
            if self.request.transport is not None:
                self.request.transport.close()
            raise NoAnswerError

    def fault_response(self) -> web.Response:
        """Return what an answering fault answers, and count it."""
        assert self.armed is not None
        self.reached()
        fault = self.armed.fault
        if fault.do == "expire":
            response = self.error_document(403, "AccessDenied", fault.message or "Request has expired")
        elif fault.do == "redirect":
            response = self.error_document(fault.status or 307, "TemporaryRedirect", fault.message)
            here = f"{self.request.scheme}://{self.request.headers.get('Host', '')}{self.request.raw_path}"
            response.headers["Location"] = fault.location or here
        elif fault.body is None:
            response = self.error_document(fault.status, fault.code, fault.message)
        else:
            response = web.Response(status=fault.status or 500, body=fault.body.encode())
            response.headers["Content-Type"] = "application/octet-stream"
        response.headers.update(fault.headers)
        return response

    async def _read(self, limit: int) -> bytes:
        """Up to `limit` bytes, gathered from what has already come."""
        if self.gone:
            raise NoAnswerError
        try:
            blocks = [await self.request.content.read(limit)]
            while blocks[-1] and (limit := limit - len(blocks[-1])) > 0:
                blocks.append(self.request.content.read_nowait(limit))
        except (OSError, web.RequestPayloadError):
            raise NoAnswerError from None
        block = blocks[0] if len(blocks) < 3 and not blocks[-1] else b"".join(blocks)
        if block:
            self.seen.bytes_received += len(block)
            self.observer.changed()
        return block

    def _mid_body_pending(self) -> bool:
        return self.armed is not None and self.armed.fault.do in MID_BODY and not self.past_fault

    def _mid_body_due(self, received: int) -> bool:
        return self._mid_body_pending() and self.armed is not None and received >= self.armed.fault.after

    async def _strike_mid_body(self) -> None:
        assert self.armed is not None
        fault = self.armed.fault
        transport = self.request.transport
        if transport is None:
            raise NoAnswerError
        self.past_fault = True
        if fault.do == "stall":
            await self._stall(transport)
            return
        if fault.do == "early":
            await self._answer_early(transport)
        self.reached()
        if fault.do == "reset":
            _wire.reset(transport)
        else:
            _wire.end(transport)
            self.observer.ended(self.seen, None)
            # An unread byte would turn the FIN into an RST when the socket closes.
            received = self.seen.bytes_received
            await self.drain_quietly()
            self.seen.bytes_received = received
            transport.close()
        raise NoAnswerError

    async def drain_quietly(self) -> None:
        """Read what still comes, until the body or the connection ends."""
        try:
            await self.drain()
        except NoAnswerError:
            return

    async def _stall(self, transport: asyncio.Transport) -> None:
        with _wire.not_reading(transport), _wire.noticing_hangup(transport):
            self.reached()
            await self._wait_for_release()

    async def _answer_early(self, transport: asyncio.Transport) -> None:
        assert self.armed is not None
        response = self.fault_response()
        response.force_close()
        # What is not read stays in the socket, so that its close is an RST.
        with _wire.not_reading(transport):
            try:
                await response.prepare(self.request)
                await response.write_eof()
            except ConnectionError:
                raise NoAnswerError from None
            self.observer.ended(self.seen, response.status)
            if self.armed.fault.linger:
                await asyncio.sleep(self.armed.fault.linger)
            transport.close()
        raise AnsweredError(response)

    async def _wait_for_release(self) -> None:
        armed = self.armed
        assert armed is not None
        await self.observer.until(lambda: armed.released or self.gone)
        if self.gone:
            raise NoAnswerError
