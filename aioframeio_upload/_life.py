"""The Uploader's life: entered, left, shut down; and what its uploads share while it is open."""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Self

import aiohttp

from ._core.fields import check_id
from ._core.model import Statistics
from ._core.redact import Secret
from ._core.settings import Limits, RetryPolicy, Timeouts
from ._io.api import Api, Token, check_base_url, is_base_url, is_readable_on_the_way
from ._io.journal import Journal, OpenJournal
from ._io.log import log
from ._io.proxies import Proxies, Proxy
from ._io.resources import Resources, open_resources
from ._running import Running
from ._upload import FolderUpload, Upload


class Life:
    """What an Uploader is apart from its verbs. Owns the resources: made on entering, closed on leaving."""

    def __init__(
        self,
        token: Token,
        *,
        account_id: str | None = None,
        base_url: str = "https://api.frame.io",
        limits: Limits = Limits(),  # noqa: B008  # frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        journal: str | PathLike[str] | Journal | None = None,
        check_etags: bool = True,
        session: aiohttp.ClientSession | None = None,
        proxy: Proxy = None,
        ssl: ssl_module.SSLContext | None = None,
        spool_dir: str | PathLike[str] | None = None,
    ) -> None:
        # Hidden first: what is refused below shows this frame and its arguments in a traceback.
        self._running = Running()
        self._token, self._address, way = Secret(token), Secret(base_url), Secret(proxy)
        del token, base_url, proxy
        check_base_url(self._address)
        if is_readable_on_the_way(self._address):
            log.warning("base_url %s is not https: everybody on the way can read the token", self._address.reveal())
        self._account_id = account_id
        self._open_resources = partial(
            open_resources,
            limits=limits,
            timeouts=timeouts,
            retry=retry,
            check_etags=check_etags,
            session=session,
            proxies=Proxies(way),
            ssl=ssl,
            spool_dir=spool_dir,
        )
        self._journal = journal if isinstance(journal, Journal) or journal is None else Journal(journal)
        self._entered = False
        self._open: tuple[Resources, Api] | None = None

    def __repr__(self) -> str:
        if not is_base_url(self._address):  # refused, because it may hold a password; a traceback shows `self`
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} {self._address.reveal()}, {len(self._running.uploads)} running>"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("an Uploader is entered once")
        self._running.home.settle()
        self._entered = True
        resources = self._open_resources()
        if self._journal is not None:
            journal = OpenJournal(self._journal)
            try:
                await journal.open()
            except BaseException:
                await resources.close()
                raise
            resources.journal = journal
        self._open = resources, Api(resources, self._token, self._address.reveal())
        self._running.closed_because = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.home.check()
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

        For SIGTERM and lifespans. Calls that are awaited elsewhere (`plan`, `send_parts`, `confirm`, ...) get the same
        time; those still running then raise `UploadCancelled` there, and what they made is removed or told. No upload
        can be started afterwards, and the block is still to be left.
        """
        self._running.home.check()
        self._running.closed_because = "the Uploader was shut down"
        await self._running.stop(grace)

    @contextmanager
    def _call(self, *, begins: bool = False) -> Iterator[tuple[Resources, Api]]:
        """Run a verb in the caller's task.

        Args:
            begins: It begins something, which is refused after a shutdown.

        Raises:
            RuntimeError: The Uploader is not entered, was left or shut down, or lives on another loop.
            UploadCancelled: The Uploader was shut down meanwhile.
        """
        self._running.home.check()
        opened = self._opened()
        if begins and self._running.closed_because is not None:
            raise RuntimeError(self._running.closed_because)
        with self._running.call():
            yield opened

    def _opened(self) -> tuple[Resources, Api]:
        if self._open is None:
            raise RuntimeError(self._running.closed_because or "the Uploader is not entered")
        return self._open

    def _journalled(self) -> OpenJournal:
        journal = self._opened()[0].journal
        if journal is None:
            raise ValueError("no journal: give journal= to the Uploader")
        return journal

    def _account(self, account_id: str | None) -> str:
        found = account_id or self._account_id
        if not found:
            raise ValueError("no account: give account_id= to the Uploader or to this call")
        return check_id("account_id", found)

    @property
    def uploads(self) -> tuple[Upload | FolderUpload, ...]:
        """The uploads that were started and have not ended."""
        return tuple(self._running.uploads)

    def statistics(self) -> Statistics:
        """Tell what is going on at this moment."""
        return self._running.statistics(self._opened()[0])
