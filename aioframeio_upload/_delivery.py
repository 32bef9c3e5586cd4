"""One upload from its start to its end: open, plan, send, confirm; and what is left behind where it ends early."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ._confirm import confirm
from ._core.errors import IntegrityError, LinksExpired, PlanError, SourceError
from ._core.events import UploadPlanned, UploadReplanned
from ._core.expiry import is_hopeless
from ._core.model import Plan, Receipt, UploadedFile
from ._feed import Feed
from ._io.api import Api
from ._io.gate import Gate
from ._io.resources import Resources
from ._io.source import OpenSource, Source, check_size, open_source
from ._planner import DELETE_AFTER_ERROR, DELETE_WHEN_CANCELLED, create_file, delete_placeholder
from ._transfer import Transfer

log = logging.getLogger("aioframeio_upload")


Settle: TypeAlias = Callable[[Plan, tuple[Receipt, ...]], Awaitable[UploadedFile]]
"""What follows the last part: waiting until the service has the file, and putting it where it belongs."""


@dataclass(slots=True, kw_only=True)
class Delivery:
    """What is sent where, and with what; runs once, as one task."""

    source: Source
    size: int | None
    """As declared."""
    name: str
    folder_id: str | None
    account_id: str
    media_type: str | None
    feed: Feed
    gate: Gate
    resources: Resources
    api: Api
    plan: Plan | None = None
    """The plan in force; None before there is one."""
    settle: Settle | None = None
    """None: the service is asked until it has the file."""
    was_spoiled: bool = False
    """Whether it began anew already because of bytes that were stored wrongly."""

    async def run(self) -> UploadedFile:
        """Upload the source.

        Nothing is opened or created before one of `Limits.files` is free: ten thousand uploads begun at once hold no
        ten thousand files, and make no ten thousand placeholders whose links age. Waiting for confirmation needs none.
        """
        resources = self.resources
        async with resources.file_slots:
            found = await open_source(self.source, self.size, resources.executor, resources.spool)
            try:
                self.plan = await self._create(found) if self.plan is None else check_fit(self.plan, found)
                receipts = await self._send(self.plan, found)
            finally:
                found.close()
        return await (self.settle or self.confirm)(self.plan, receipts)

    async def confirm(self, plan: Plan, receipts: tuple[Receipt, ...]) -> UploadedFile:
        """Ask the service until it has the file."""
        seconds = self.resources.timeouts.confirm_for(plan.size)
        return await confirm(self.api, plan, self.account_id, seconds, receipts)

    async def _create(self, found: OpenSource) -> Plan:
        return await create_file(
            self.api,
            name=self.name,
            size=check_size(found, self.size),
            folder_id=self.folder_id or "",
            account_id=self.account_id,
            media_type=self.media_type,
        )

    async def _send(self, plan: Plan, found: OpenSource) -> tuple[Receipt, ...]:
        """Send every part; where that ends early, remove the placeholder, which nobody can go on with."""
        self.feed.publish(UploadPlanned(plan.file_id, plan.name, plan.view_url, plan.size, len(plan.parts)))
        receipts: tuple[Receipt, ...] | None = None
        transfer = Transfer(plan, found, self.resources, self.feed, self.gate)
        try:
            while receipts is None:
                try:
                    receipts = await transfer.run()
                except (LinksExpired, IntegrityError) as error:
                    self.plan = plan = await self._replan(plan, found, transfer, error)
                    transfer = Transfer(plan, found, self.resources, self.feed, self.gate)
            await found.check()
        except BaseException as error:
            # A file of which every part was acknowledged stays, whatever comes next; unless its bytes are a mixture.
            if not transfer.is_whole or isinstance(error, SourceError):
                cancelled = isinstance(error, asyncio.CancelledError)
                seconds = DELETE_WHEN_CANCELLED if cancelled else DELETE_AFTER_ERROR
                await delete_placeholder(self.api, plan.file_id, self.account_id, seconds)
            raise
        return receipts

    async def _replan(
        self, old: Plan, found: OpenSource, transfer: Transfer, error: LinksExpired | IntegrityError
    ) -> Plan:
        """Begin anew with fresh links, for V4 issues none for a file that exists; or with parts that are what was sent.

        Raises:
            LinksExpired: That would not help, or cannot be done.
            IntegrityError: The part kept differing; or a second file would be spoiled too.
        """
        if isinstance(error, IntegrityError):
            if not transfer.is_spoiled or self.was_spoiled or not found.replayable or self.folder_id is None:
                raise error
            self.was_spoiled = True
        elif (hopeless := self._hopeless(old, found, transfer)) is not None:
            raise LinksExpired(f"{error}; {hopeless}", file_id=old.file_id)
        # Before there is a new one: a cancellation in between finds never more than one placeholder to remove.
        await delete_placeholder(self.api, old.file_id, self.account_id, DELETE_AFTER_ERROR)
        new = await self._create(found)
        log.debug("%s; file %s is replaced by %s", error, old.file_id, new.file_id)
        self.feed.publish(UploadReplanned(new.file_id, old.file_id, str(error)))
        return new

    def _hopeless(self, old: Plan, found: OpenSource, transfer: Transfer) -> str | None:
        """Say why new links would not help."""
        life, rate = transfer.life, transfer.bytes_per_second
        if not found.replayable:
            return "a stream cannot be sent anew"
        if self.folder_id is None:
            return "the plan does not tell its folder"
        if life is not None and life.is_fresh(self.resources.service_now()):
            return "the links were just issued: the clocks of S3 and of the service differ"
        if is_hopeless(old.size, rate, life):
            return f"at {rate:.0f} bytes/s the file takes longer than new links would live"
        return None


async def send_some(plan: Plan, source: Source, numbers: Iterable[int], resources: Resources) -> tuple[Receipt, ...]:
    """Send only those parts of a plan; nothing is deleted, for others may be sending the rest."""
    found = await open_source(source, plan.size, resources.executor, resources.spool)
    try:
        return await Transfer(check_fit(plan, found), found, resources, Feed(), Gate(), numbers).run()
    finally:
        found.close()


def check_fit(plan: Plan, source: OpenSource) -> Plan:
    """Give the plan back if it is one for a source of that size."""
    if plan.size != source.size:
        raise PlanError(f"the plan is for {plan.size} bytes, the source has {source.size}")
    return plan
