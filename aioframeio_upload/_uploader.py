"""The Uploader: its verbs, the uploads that it started, and the session and limits that they share."""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Iterable
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from ._confirm import confirm, read_status
from ._core.model import Plan, Receipt, Statistics, UploadedFile, UploadStatus
from ._core.settings import Limits, RetryPolicy, Timeouts
from ._delivery import Delivery, send_some
from ._feed import Feed
from ._io.api import DELETE, Api, Token, check_base_url
from ._io.gate import Gate
from ._io.resources import Resources, open_resources
from ._io.source import Source, check_kind, check_size, name_of, open_source
from ._planner import create_file, create_remote_file
from ._running import Running
from ._upload import Upload


class Uploader:
    """Puts files into Frame.io.

    An async context manager, which may be entered in one task and left in another (fixtures, start and stop hooks); an
    idle one holds no task. Leaving it waits for the uploads that were started; those still running then whose error
    nobody saw raise it there (several: an `ExceptionGroup`), and one that failed unseen earlier is logged at ERROR when
    it is collected. Leaving it by an exception or a cancellation stops them all.

    Args:
        token: A string, or a callable (sync or async) that returns one. It is asked for each API call, and again once
            after a 401. One that is not async runs in a thread.
        account_id: The default for every call that takes one.
        base_url: Where the API is.
        limits: What all uploads may use together.
        timeouts: How long to wait.
        retry: How often to try.
        check_etags: Compare each part's ETag with the MD5 of what was sent, where it is an MD5. Costs one core 1.7 s a
            GB, beside the sending. Until one has matched on a host, a mismatch that repeats turns the check off for
            that host, with a logged warning.
        session: A session whose connector is shared (pool, resolver, TLS). Nothing else of it is used.
        proxy: The proxy's URL, for API and parts alike.
        ssl: A context of the caller's, for API and parts alike.
        spool_dir: Where the parts of a stream wait; the default temporary directory, unless that one is in memory.
    """

    def __init__(
        self,
        token: Token,
        *,
        account_id: str | None = None,
        base_url: str = "https://api.frame.io",
        limits: Limits = Limits(),  # noqa: B008  # frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        check_etags: bool = True,
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        spool_dir: str | PathLike[str] | None = None,
    ) -> None:
        check_base_url(base_url)
        self._token = token
        self._account_id = account_id
        self._base_url = base_url
        self._open_resources = partial(
            open_resources,
            limits=limits,
            timeouts=timeouts,
            retry=retry,
            check_etags=check_etags,
            session=session,
            proxy=proxy,
            ssl=ssl,
            spool_dir=spool_dir,
        )
        self._entered = False
        self._open: tuple[Resources, Api] | None = None
        self._running = Running()

    def __repr__(self) -> str:
        return f"<Uploader {self._base_url}, {len(self._running.uploads)} running>"

    # -- its life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("an Uploader is entered once")
        self._entered = True
        resources = self._open_resources()
        self._open = resources, Api(resources, self._token, self._base_url)
        self._running.closed_because = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._running.finish()
        finally:
            # After a good end there is nothing to stop; after a bad one, and after a cancelled wait, there is.
            try:
                await self.shutdown(0)
            finally:
                await self._close()

    async def _close(self) -> None:
        if self._open is not None:
            resources, self._open = self._open[0], None
            await resources.close()

    async def shutdown(self, grace: float = 5.0) -> None:
        """Let running uploads go on for `grace` seconds, then stop them as a cancelled task would; raises nothing.

        For SIGTERM and lifespans. No upload can be started afterwards, and the block is still to be left.
        """
        self._running.closed_because = "the Uploader was shut down"
        await self._running.stop(grace)

    def _opened(self) -> tuple[Resources, Api]:
        if self._open is None:
            raise RuntimeError(self._running.closed_because or "the Uploader is not entered")
        return self._open

    def _account(self, account_id: str | None) -> str:
        found = account_id or self._account_id
        if not found:
            raise ValueError("no account: give account_id= to the Uploader or to this call")
        return found

    @property
    def uploads(self) -> tuple[Upload, ...]:
        """The uploads that were started and have not ended."""
        return tuple(self._running.uploads)

    def statistics(self) -> Statistics:
        """Tell what is going on at this moment."""
        return self._running.statistics(self._opened()[0])

    # -- the verbs ---------------------------------------------------------------------------------------------------

    def upload(
        self,
        source: Source,
        *,
        folder_id: str,
        name: str | None = None,
        size: int | None = None,
        account_id: str | None = None,
        media_type: str | None = None,
        conflict: Literal["create"] = "create",
    ) -> Upload:
        """Upload a file, bytes or a stream into a folder; nothing happens until the `Upload` is used.

        Args:
            source: A path; bytes; a binary file object, read from its position to its end; an async iterable of bytes
                or an object with `async read(n)`. A stream is spooled to disk a part at a time.
            folder_id: Where to.
            name: Its name at Frame.io, of which the last path component is taken; by default the source's own.
            size: In bytes; needed for a stream that does not tell its own, checked for everything else.
            account_id: Whose; by default the Uploader's.
            media_type: What the part links are signed for, where the service leaves that open.
            conflict: `"create"` always makes a new file; the service allows equal names.

        Raises:
            ValueError: There is no name or no account.
            TypeError: The source is none.
        """
        check_kind(source)
        if conflict != "create":
            raise ValueError(f"conflict={conflict!r} is not known")
        name, account = name_of(source, name), self._account(account_id)

        return self._upload(
            source=source, size=size, name=name, folder_id=folder_id, account_id=account, media_type=media_type
        )

    def execute(self, plan: Plan, source: Source) -> Upload:
        """Upload by a plan made before, perhaps by another process; `PlanError` if it is for another size. Lazy."""
        check_kind(source)
        account = self._account(plan.account_id)

        return self._upload(
            source=source,
            size=plan.size,
            name=plan.name,
            folder_id=plan.folder_id,
            account_id=account,
            media_type=plan.media_type,
            plan=plan,
        )

    def _upload(self, *, name: str, **what: Any) -> Upload:
        """Make the handle of a delivery that begins when the handle is used."""

        async def run(feed: Feed, gate: Gate) -> UploadedFile:
            resources, api = self._opened()
            return await Delivery(name=name, feed=feed, gate=gate, resources=resources, api=api, **what).run()

        return Upload(name, run, self._running.adopt, self._running.release)

    async def plan(
        self,
        source: Source,
        *,
        folder_id: str,
        name: str | None = None,
        size: int | None = None,
        account_id: str | None = None,
        media_type: str | None = None,
    ) -> Plan:
        """Create the file at Frame.io and give its plan, for `execute` or `send_parts`; no byte of it is sent.

        A plan that is not used leaves a file without its bytes: `delete(plan.file_id)`. Arguments as for `upload`.

        Raises:
            SourceError: The source is missing, empty or unreadable.
            ApiError: The service refused.
        """
        check_kind(source)
        name, account = name_of(source, name), self._account(account_id)
        resources, api = self._opened()
        found = await open_source(source, size, resources.executor, resources.spool)
        found.close()
        length = check_size(found, size)
        return await create_file(
            api, name=name, size=length, folder_id=folder_id, account_id=account, media_type=media_type
        )

    async def send_parts(self, plan: Plan, source: Source, numbers: Iterable[int]) -> tuple[Receipt, ...]:
        """Send only those parts and give their receipts, in the order of the parts; safe to do twice.

        It takes no `Limits.files` slot, asks for no confirmation (`confirm(plan)` does), and deletes nothing: others
        may be sending the other parts.

        Raises:
            ValueError: The plan has no part of such a number.
            LinksExpired: The plan is too old.
            PartError: A part was given up.
            PlanError: The plan is for another size.
        """
        check_kind(source)
        wanted = frozenset(numbers)
        if not wanted <= {part.number for part in plan.parts}:
            raise ValueError(f"the plan has {len(plan.parts)} parts, numbered from 1")
        resources, _ = self._opened()
        return await send_some(plan, source, wanted, resources)

    async def confirm(self, plan: Plan) -> UploadedFile:
        """Wait until the service has put the parts together.

        Raises:
            ConfirmationError: It failed there, or took longer than `Timeouts.confirm`.
            ApiError: The service cannot be asked.
        """
        resources, api = self._opened()
        return await confirm(api, plan, self._account(plan.account_id), resources.timeouts.confirm_for(plan.size))

    async def status(self, file_id: str, *, account_id: str | None = None) -> UploadStatus:
        """Ask what the service says of a file's bytes.

        Raises:
            ApiError: The service refused.
        """
        _, api = self._opened()
        return await read_status(api, file_id, self._account(account_id))

    async def delete(self, file_id: str, *, account_id: str | None = None) -> None:
        """Remove a file, or the placeholder of a plan that is not used.

        Raises:
            ApiError: The service refused.
        """
        _, api = self._opened()
        await api.call(DELETE, account_id=self._account(account_id), file_id=file_id)

    async def remote_upload(
        self, source_url: str, *, folder_id: str, name: str, account_id: str | None = None
    ) -> UploadedFile:
        """Let Frame.io fetch a file by itself; it has only begun when this returns (`status` tells).

        Args:
            source_url: Public or presigned; 50 GB at most. It is sent to Frame.io and shown nowhere.
            folder_id: Where to.
            name: Its name at Frame.io.
            account_id: Whose; by default the Uploader's.

        Raises:
            ApiError: The service refused.
        """
        _, api = self._opened()
        return await create_remote_file(
            api, source_url, name=name_of(None, name), folder_id=folder_id, account_id=self._account(account_id)
        )
