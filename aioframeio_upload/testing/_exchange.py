"""The body of one request, read as its fault allows, and the answers that faults give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from . import _wire
from ._faults import MID_BODY, Armed
from ._observe import Observer, SeenRequest

# The most bytes of a body in memory at once.
BLOCK = 1 << 20
# A "trickle" reads 20 times per second: smooth enough for a test that lasts one second.
TICK = 0.05

ErrorDocument = Callable[[int | None, str | None, str | None], web.Response]


class NoAnswerError(Exception):
    """The connection was ended by a fault or by the client, so no answer can be sent."""


class AnsweredError(Exception):
    """The answer was decided before the whole body was read, so the connection must be closed after it."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


@dataclass(slots=True, eq=False)
class Exchange:
    """One request: reads its body as its fault allows, and builds the answer of a fault that replaces the service's."""

    request: web.BaseRequest
    seen: SeenRequest
    observer: Observer
    error_document: ErrorDocument
    armed: Armed | None = None
    continued: bool = False
    past_fault: bool = False

    @property
    def expects(self) -> bool:
        """Whether the client still waits for a 100 before it sends the body."""
        return not self.continued and self.request.headers.get("Expect", "").lower() == "100-continue"

    @property
    def gone(self) -> bool:
        """Whether the connection has ended."""
        return self.request.transport is None or self.request.transport.is_closing()

    def meets(self, *kinds: str) -> bool:
        """Return whether the fault is of one of these kinds."""
        return self.armed is not None and self.armed.fault.do in kinds

    def reached(self) -> None:
        """Count a hit of the fault."""
        if self.armed is not None:
            self.armed.hits += 1
            self.observer.changed()

    async def refuse(self, response: web.Response) -> web.Response:
        """Read the body of a request that is refused, and return the answer.

        Raises:
            AnsweredError: The client waits for a 100 before it sends the body, so the answer is sent now.
            NoAnswerError: The connection ended.
        """
        if self.expects:
            raise AnsweredError(response)
        await self.drain()
        return response

    async def begin(self) -> None:
        """Apply a fault that strikes before the body, or send the 100 that the client waits for.

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
            # aiohttp takes any output for the beginning of the answer, after which it could not send an error.
            self.request.writer.output_size = 0
        self.continued = True

    async def block(self) -> bytes:
        """Return the next bytes of the body, at most 1 MiB; empty at its end.

        Raises:
            AnsweredError: A fault answered before the end of the body.
            NoAnswerError: The connection ended.
        """
        if self.armed is not None and self.meets("trickle"):
            limit = max(1, int(self.armed.fault.rate * TICK))
            block = await self._read(limit)
            transport = self.request.transport
            if transport is None:
                raise NoAnswerError
            # A client that has left is not noticed otherwise while what it had sent is more than the buffer.
            with _wire.noticing_hangup(transport):
                await asyncio.sleep(len(block) / self.armed.fault.rate)
            return block
        if self.armed is None or not self._mid_body_pending():
            return await self._read(BLOCK)
        # Not beyond the fault's position, so that `after` is exact to the byte.
        block = await self._read(min(BLOCK, self.armed.fault.after - self.seen.bytes_received))
        if not block or self._mid_body_due(self.seen.bytes_received):
            await self._strike_mid_body()
        return block

    async def drain(self) -> None:
        """Read and discard the rest of the body.

        Raises:
            NoAnswerError: The connection ended.
        """
        while await self._read(BLOCK):
            pass

    async def interrupt(self) -> web.Response | None:
        """Apply a fault at the end of the body; return its answer, or None if the service answers.

        Raises:
            AnsweredError: The fault answered, and closes the connection.
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
                garbage = self.armed.fault.body or "\x00\x01\x02 this is not HTTP\r\n\r\n"
                self.request.transport.write(garbage.encode())
                self.request.transport.close()
            raise NoAnswerError
        return None

    def lose_answer(self) -> None:
        """Close the connection instead of answering, if the fault is "lose_answer".

        Raises:
            NoAnswerError: The fault closed the connection.
        """
        # The service has done the work, and the client cannot know it.
        if self.meets("lose_answer"):
            self.reached()
            if self.request.transport is not None:
                self.request.transport.close()
            raise NoAnswerError

    def fault_response(self) -> web.Response:
        """Count a fault that answers, and return its answer."""
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
        """Return up to `limit` bytes: wait for the first, and take what has arrived after them."""
        if self.gone:
            raise NoAnswerError
        try:
            # aiohttp returns one chunk per read, as small as the TCP segments were.
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
            # A close with unread bytes in the socket would send an RST after the FIN (RFC 2525, 2.17).
            received = self.seen.bytes_received
            await self.drain_quietly()
            self.seen.bytes_received = received
            transport.close()
        raise NoAnswerError

    async def drain_quietly(self) -> None:
        """Read and discard until the body or the connection ends."""
        try:
            await self.drain()
        except NoAnswerError:
            return

    async def _stall(self, transport: asyncio.Transport) -> None:
        # Once the receive window is full, the client's writes block: to it this is a network that stopped moving.
        with _wire.not_reading(transport), _wire.noticing_hangup(transport):
            self.reached()
            await self._wait_for_release()

    async def _answer_early(self, transport: asyncio.Transport) -> None:
        assert self.armed is not None
        response = self.fault_response()
        response.force_close()
        # The unread rest of the body makes the close an RST (RFC 2525, 2.17), which is what hides an early answer.
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
