"""The fake as its users hold it: started, observed, given faults, and gone without a trace."""

from __future__ import annotations

import asyncio
import ssl as tls
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

from ._account import Account, MediaType, PartSizes, guessed_media_type, utc_now
from ._faults import Fault, Faults
from ._observe import Observer, SeenRequest
from ._server import FakeServer
from ._spool import Spool
from ._store import FakeFile


class FakeFrameio:
    """Frame.io's V4 API and the S3 that its part URLs point to, in one server on 127.0.0.1.

    It refuses what the real services refuse, keeps no part in memory, and leaves no connection, task or file
    behind. Surprises: the documented rate limits hold unless switched off, and a part URL passes only if it is
    sent as it was given, byte for byte.

    Args:
        faults: What goes wrong, see `Fault`; more with `add_fault`.
        rate_limits: Whether the documented limits hold (429 and the x-ratelimit headers).
        part_size: The most bytes a part may have, or what gives the sizes of all parts for a file's size (they
            may be wrong); None: as observed at the service.
        link_lifetime: For how many seconds part URLs hold.
        media_type: What gives a name's media type; None is what the service answers while it does not know it.
        store: Whether bytes are kept until a file is complete; False: counted and hashed only, `sha256` is None.
        ssl: Serve HTTPS with this context, which has to be valid for 127.0.0.1.
        stitch_polls: How many polls after the last part still answer that the file is not complete.
        port: The port to listen on; 0: any that is free.
        clock: What gives the service's time, in UTC: in `Date`, in links and where S3 judges them; so that links
            age without waiting, or the caller's clock is wrong.
    """

    def __init__(
        self,
        *,
        faults: Iterable[Fault] = (),
        rate_limits: bool = True,
        part_size: PartSizes | None = None,
        link_lifetime: int = 86400,
        media_type: MediaType = guessed_media_type,
        store: bool = True,
        ssl: tls.SSLContext | None = None,
        stitch_polls: int = 0,
        port: int = 0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._observer = Observer()
        self._faults = Faults()
        self._faults.add(faults)
        self._spool = Spool(store=store)
        self._account = Account(
            observer=self._observer,
            faults=self._faults,
            spool=self._spool,
            rate_limits=rate_limits,
            part_limit=part_size,
            link_lifetime=link_lifetime,
            media_type=media_type,
            stitch_polls=stitch_polls,
            clock=clock,
        )
        self._server = FakeServer(self._account, "127.0.0.1", port, ssl)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        """Without the token and the keys."""
        return f"<FakeFrameio {self.url or 'not started'}, {len(self.files)} files>"

    async def __aenter__(self) -> FakeFrameio:
        """Start serving.

        Raises:
            RuntimeError: It was started before.
        """
        if self._loop is not None:
            raise RuntimeError("a FakeFrameio is started once")
        self._loop = asyncio.get_running_loop()
        await self._spool.open()
        await self._server.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: every connection is cut, every file removed."""
        await self._server.close()
        await self._account.close()
        await self._spool.close()
        self._observer.closed()

    @contextmanager
    def in_thread(self) -> Iterator[FakeFrameio]:
        """Serve from an event loop in a thread of its own, for code that has none or must not share its own."""
        started: Future[None] = Future()
        stopped = asyncio.Event()
        serving = self._serve_until(started, stopped)
        thread = threading.Thread(target=asyncio.run, args=(serving,), name="fake-frameio", daemon=True)
        thread.start()
        try:
            started.result()
            yield self
        finally:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(stopped.set)
            thread.join()

    async def _serve_until(self, started: Future[None], stopped: asyncio.Event) -> None:
        try:
            async with self:
                started.set_result(None)
                await stopped.wait()
        except (OSError, RuntimeError) as error:
            if started.done():
                raise
            started.set_exception(error)

    @property
    def url(self) -> str:
        """The base URL of the API; part URLs have the same host."""
        return self._account.url

    @property
    def token(self) -> str:
        """A token that is accepted."""
        return self._account.token

    @property
    def tokens(self) -> set[str]:
        """All accepted tokens; take one out to revoke it, put one in to rotate."""
        return self._account.tokens

    @property
    def account_id(self) -> str:
        """The account."""
        return self._account.id

    @property
    def workspace_id(self) -> str:
        """The account's workspace."""
        return self._account.workspace_id

    @property
    def project_id(self) -> str:
        """The workspace's project."""
        return self._account.project_id

    @property
    def folder_id(self) -> str:
        """The project's root folder."""
        return self._account.store.root.id

    @property
    def files(self) -> tuple[FakeFile, ...]:
        """Every file that is not deleted, in order of creation."""
        return tuple(self._account.store.files())

    @property
    def deleted(self) -> tuple[FakeFile, ...]:
        """The files that were deleted."""
        return tuple(self._account.store.deleted)

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request, in order of arrival."""
        return self._observer.requests

    @property
    def connections(self) -> int:
        """TCP connections open now."""
        return self._observer.connections

    @property
    def parts_in_flight(self) -> int:
        """Part requests that arrived and are not answered yet, of clients that are still there."""
        return self._observer.parts_in_flight

    @property
    def max_parts_in_flight(self) -> int:
        """The most there ever were at once."""
        return self._observer.max_parts_in_flight

    @property
    def max_writes_of_a_part(self) -> int:
        """The most requests for one and the same part that there ever were at once."""
        return self._observer.max_writes_of_a_part

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All faults, in the order in which they are asked."""
        return tuple(armed.fault for armed in self._faults.armed)

    def add_fault(self, fault: Fault) -> None:
        """Let one more thing go wrong, from the next request on."""
        self._faults.add([fault])

    def hits(self, fault: Fault) -> int:
        """Return how many requests reached this fault (equal ones count together)."""
        return self._faults.hits(fault)

    def release(self, fault: Fault | None = None) -> None:
        """Let requests go on that are held or stalled, and later ones that the same faults would.

        Args:
            fault: Only this one; None: all that were reached.
        """
        self._faults.release(fault)
        self._poke()

    def fail(self, file_id: str) -> None:
        """Let the service say that a file's upload failed.

        Args:
            file_id: The file.

        Raises:
            KeyError: There is none of this id.
        """
        file = self._account.store.file(file_id)
        if file is None:
            raise KeyError(file_id)
        file.failed = True
        self._poke()

    async def until(self, condition: Callable[[FakeFrameio], bool]) -> None:
        """Return as soon as the condition holds; it is asked at each change of state, and never by polling.

        Args:
            condition: Called with this fake, in the fake's own event loop.

        Raises:
            RuntimeError: The fake was closed before, or was not started.
        """
        await self._in_own_loop(self._observer.until(lambda: condition(self)))

    def wait_until(self, condition: Callable[[FakeFrameio], bool], timeout: float = 10.0) -> None:
        """As `until`, for synchronous code beside a fake `in_thread`.

        Args:
            condition: Called with this fake, in the fake's own thread.
            timeout: For how many seconds to wait.

        Raises:
            TimeoutError: It did not hold in time.
        """
        assert self._loop is not None
        waiting = asyncio.run_coroutine_threadsafe(self._observer.until(lambda: condition(self)), self._loop)
        try:
            waiting.result(timeout)
        finally:
            waiting.cancel()

    @asynccontextmanager
    async def offline(self) -> AsyncIterator[None]:
        """Be unreachable for a while: connections are cut, new ones refused; then the same port serves again."""
        await self._in_own_loop(self._server.refuse())
        try:
            yield
        finally:
            await self._in_own_loop(self._server.listen())

    async def _in_own_loop(self, work: Coroutine[Any, Any, None]) -> None:
        """The caller may run in another loop than a fake `in_thread`."""
        if self._loop is asyncio.get_running_loop():
            await work
        elif self._loop is None:
            work.close()
            raise RuntimeError("the FakeFrameio is not started")
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _poke(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._observer.changed)
