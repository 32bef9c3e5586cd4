"""`FakeFrameio`, the fake's public class: start and stop it, add faults, and observe what arrived."""

from __future__ import annotations

import asyncio
import ssl as tls
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

from ._account import Account, EtagKind, MediaType, PartSizes, guessed_media_type, utc_now
from ._faults import Fault, Faults
from ._ims import FakeIms
from ._observe import Observer, SeenRequest
from ._server import FakeServer
from ._spool import Spool, StatedChecksum
from ._store import FakeFile, new_id


class FakeFrameio:
    """Frame.io's V4 API and the S3 that its part URLs point to, in one server on 127.0.0.1.

    It refuses what the real services refuse, keeps no part in memory, and leaves no connection, task or file
    behind. Two surprises: the documented rate limits apply unless they are switched off, and a part URL is accepted
    only if it is sent exactly as it was received, byte for byte.

    Args:
        faults: The failures to simulate, see `Fault`; `add_fault` adds more.
        rate_limits: Whether the documented limits apply (429 and the x-ratelimit headers).
        part_size: The maximum size of a part, or a function from a file's size to the sizes of all parts (which may
            be wrong); None: as observed at the service.
        link_lifetime: Seconds for which part URLs are valid.
        media_type: A function from a name to its media type; None is the service's answer while it is not known.
        store: Whether to keep the bytes until a file is complete; False: only count and hash them, and leave
            `sha256` None.
        ssl: Serve HTTPS with this context, which must be valid for 127.0.0.1.
        checksum: The checksum that S3's answers state, in `x-amz-checksum-...`: "crc64nvme", as the real one does;
            "crc32c" or "crc32", as if links were signed for those; None: none, as many servers like S3.
        etags: What S3's ETags are: "md5"; "kms", under an encryption that makes them something else of the same form;
            "opaque", of another form; None: there is none.
        stitch_polls: How many polls after the last part still report that the file is not complete.
        port: The port to listen on; 0: any free port.
        clock: A function that returns the service's time in UTC. It is used for `Date`, and to sign and check links:
            with it, links can expire without waiting, or the client's clock can be wrong.
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
        checksum: StatedChecksum | None = "crc64nvme",
        etags: EtagKind | None = "md5",
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
            checksum=checksum,
            etags=etags,
            stitch_polls=stitch_polls,
            clock=clock,
        )
        self._server = FakeServer(self._account, "127.0.0.1", port, ssl)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        """Return a text without the token and the keys."""
        return f"<FakeFrameio {self.url or 'not started'}, {len(self.files)} files>"

    async def __aenter__(self) -> FakeFrameio:
        """Start serving.

        Raises:
            RuntimeError: It was started before.
            OSError: The port is in use.
        """
        if self._loop is not None:
            raise RuntimeError("a FakeFrameio can be started only once")
        self._loop = asyncio.get_running_loop()
        await self._spool.open()
        await self._server.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Abort every connection and delete every stored file."""
        # The server first: a request that is being answered may write to the spool or start work in the background.
        await self._server.close()
        await self._account.close()
        await self._spool.close()
        self._observer.closed()

    @contextmanager
    def in_thread(self) -> Iterator[FakeFrameio]:
        """Serve from an event loop in a separate thread, for code that has no loop or must not share it."""
        started: Future[None] = Future()
        stopped = asyncio.Event()
        serving = self._serve_until(started, stopped)
        # A daemon, so that a process that is interrupted inside the block can exit.
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
            # Only a failed start is reported to the caller's thread; there, nobody waits for `started` afterwards.
            if started.done():
                raise
            started.set_exception(error)

    @property
    def url(self) -> str:
        """The base URL of the API; part URLs have the same host and port."""
        return self._account.url

    @property
    def token(self) -> str:
        """A token that is accepted."""
        return self._account.token

    @property
    def tokens(self) -> set[str]:
        """All accepted tokens; remove one to revoke it, add one to rotate."""
        return self._account.tokens

    @property
    def ims(self) -> FakeIms:
        """Adobe's login service, on this fake's address. Its access tokens are accepted until they expire."""
        return self._account.ims

    @property
    def account_id(self) -> str:
        """The account's ID."""
        return self._account.id

    def add_account(self, name: str) -> str:
        """List another account of the user, which has no content; return its ID.

        Args:
            name: Its display name.
        """
        other = new_id()
        self._account.others[other] = name
        return other

    @property
    def storage_limit(self) -> int | None:
        """The bytes that the account may hold, as the list of accounts reports it; None: unlimited.

        Uploads above it are not refused: what the service does then is not documented.
        """
        return self._account.storage_limit

    @storage_limit.setter
    def storage_limit(self, limit: int | None) -> None:
        self._account.storage_limit = limit

    @property
    def workspace_id(self) -> str:
        """The ID of the account's workspace."""
        return self._account.workspace_id

    @property
    def project_id(self) -> str:
        """The ID of the workspace's project."""
        return self._account.project_id

    @property
    def folder_id(self) -> str:
        """The ID of the project's root folder."""
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
        """The number of open TCP connections."""
        return self._observer.connections

    @property
    def parts_in_flight(self) -> int:
        """The number of part requests that are not answered yet, from clients that are still connected."""
        return self._observer.parts_in_flight

    @property
    def max_parts_in_flight(self) -> int:
        """The largest number of part requests that were in flight at once."""
        return self._observer.max_parts_in_flight

    @property
    def max_writes_of_a_part(self) -> int:
        """The largest number of requests for the same part that were in flight at once."""
        return self._observer.max_writes_of_a_part

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All faults, in the order in which they are tried."""
        return tuple(armed.fault for armed in self._faults.armed)

    def add_fault(self, fault: Fault) -> None:
        """Add a fault, which applies from the next request on."""
        self._faults.add([fault])

    def hits(self, fault: Fault) -> int:
        """Return how many requests reached this fault (equal ones count together)."""
        return self._faults.hits(fault)

    def release(self, fault: Fault | None = None) -> None:
        """Continue the requests that are held or stalled, and do not hold later ones.

        Args:
            fault: Release only this fault; None: all that were reached.
        """
        self._faults.release(fault)
        self._poke()

    def fail(self, file_id: str) -> None:
        """Report the upload of a file as failed.

        Args:
            file_id: The file's ID.

        Raises:
            KeyError: No file has this ID.
        """
        file = self._account.store.file(file_id)
        if file is None:
            raise KeyError(file_id)
        file.failed = True
        self._poke()

    async def until(self, condition: Callable[[FakeFrameio], bool]) -> None:
        """Return as soon as the condition holds; it is checked at each change of state, without polling.

        Args:
            condition: A function of this fake, called in the fake's event loop.

        Raises:
            RuntimeError: The fake was closed before the condition held, or was not started.
        """
        await self._in_own_loop(self._observer.until(lambda: condition(self)))

    def wait_until(self, condition: Callable[[FakeFrameio], bool], timeout: float = 10.0) -> None:
        """Wait as `until` does, from synchronous code that uses a fake `in_thread`.

        Args:
            condition: A function of this fake, called in the fake's thread.
            timeout: The most seconds to wait.

        Raises:
            TimeoutError: The condition did not hold in time.
        """
        assert self._loop is not None
        waiting = asyncio.run_coroutine_threadsafe(self._observer.until(lambda: condition(self)), self._loop)
        try:
            waiting.result(timeout)
        finally:
            # After a timeout too: otherwise the condition would be called until the fake is closed.
            waiting.cancel()

    @asynccontextmanager
    async def offline(self) -> AsyncIterator[None]:
        """Be unreachable inside the block: abort connections and refuse new ones; then serve the same port again."""
        await self._in_own_loop(self._server.refuse())
        try:
            yield
        finally:
            await self._in_own_loop(self._server.listen())

    async def _in_own_loop(self, work: Coroutine[Any, Any, None]) -> None:
        """Await a coroutine in the fake's loop, which is not the caller's for a fake `in_thread`."""
        if self._loop is asyncio.get_running_loop():
            await work
        elif self._loop is None:
            work.close()
            raise RuntimeError("the FakeFrameio is not started")
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _poke(self) -> None:
        # Callers may be in any thread, but the futures of the waiters belong to the loop.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._observer.changed)
