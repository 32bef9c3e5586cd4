"""One upload from start to end: open the source, create the file, send the parts, confirm."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from math import inf
from typing import TypeAlias

import anyio

from .._core.checksums import name_parts, unproved
from .._core.errors import (
    ApiError,
    ConfirmationError,
    IntegrityError,
    JournalError,
    LinksExpired,
    PartError,
    PartRejected,
    SourceChanged,
    SourceError,
    UploadError,
)
from .._core.events import PartRetrying, UploadPlanned, UploadReplanned, UploadResumed
from .._core.journal import Entry, ResumeAction, is_kept
from .._core.model import Plan, Receipt, UploadedFile, check_secure
from .._core.part_state import PartTable
from .._core.presigned import why_not_replaced
from .._io.frameio_api import FrameioApi, read_listing
from .._io.session import Session
from .._io.source_kinds import is_stream
from .._io.sources import OpenSource, check_size, open_source
from .cleanup import run_shielded
from .confirm import confirm, find_status, seconds_for
from .conflict import find_duplicate, skip_result, stack_on_namesake
from .control import CancelReason, UploadControl
from .event_log import EventLog
from .parts import PartSender, PartUploader, check_fit, open_parts, tell_unproved
from .placeholder import create_file, delete_placeholder
from .request import PartSenderFactory, UploadRequest
from .resume import NullJournalSession, every_receipt, open_journal_session, take_up

log = logging.getLogger("aioframeio_upload")

UNCONFIRMED = "and with `Timeouts(confirm=0)` nobody is asked: nothing proves that S3 has them"

Settle: TypeAlias = Callable[[Plan, tuple[Receipt, ...]], Awaitable[UploadedFile]]
"""What follows the last part: waiting until the service has the file, and putting it where it belongs."""


@dataclass(slots=True, kw_only=True)
class UploadJob:
    """What is sent where, and with what; runs once, as one task."""

    request: UploadRequest
    feed: EventLog
    control: UploadControl
    resources: Session
    api: FrameioApi
    settle: Settle | None = None
    """What follows the last part; by default, the file is confirmed and, if asked for, stacked."""
    slot: AbstractAsyncContextManager[None] | None = None
    """One of `Limits.files` that the caller may hold already; by default, one of the session's."""
    record: NullJournalSession | None = None
    """The upload's place in the journal; given by `resume_pending()`, which has claimed it already."""
    is_resumed: bool = False
    is_whole: bool = False
    """Whether every part has arrived: now or in an earlier run."""
    sender: PartSenderFactory = PartUploader
    """Makes what sends a plan's parts."""
    plan: Plan | None = field(init=False)
    """The plan in force; None before there is one."""
    unproved: tuple[int, ...] = ()
    """Numbers of the parts that S3 acknowledged without a proof that it has them."""
    seen: tuple[int, int | None] | None = None
    """The source's size and time of change when it was opened last; None: it was not."""
    opened: OpenSource | None = None
    """The source, opened to compare it with what is there, until it is sent."""
    kept: OpenSource | None = None
    """The source, where parts may have to be sent again and it could not be opened a second time."""
    instead_of: tuple[str, str] | None = None
    """The file that an earlier run had begun, and why another one is made instead of it."""
    was_spoiled: bool = False
    """Whether it began anew already because of bytes that were stored wrongly."""
    replaced: int = 0
    """How often it began anew because links had died."""

    def __post_init__(self) -> None:
        self.plan = self.request.plan

    async def run(self) -> UploadedFile:
        """Upload the source.

        Nothing is opened or created before one of `Limits.files` is free: ten thousand uploads begun at once hold no
        ten thousand files, and make no ten thousand placeholders whose links age. Waiting for confirmation needs none.
        """
        resources = self.resources
        try:
            async with self.slot or resources.file_slots:
                # What `resume_pending()` or a folder passes on was looked for, or begun already.
                is_looked_for = self.request.conflict == "skip" and self.record is None
                record = await self.find_record()
                if is_looked_for and (there := await self._find_there(record)) is not None:
                    return there
                await record.claim()
                if record.entry is not None:
                    self.feed.file_id = record.entry.plan.file_id
                plan, receipts = await self._deliver(record)
                self.is_whole = True
                self._note_unproved(record, receipts)
                if self.request.conflict != "version":
                    # What is left can be done twice without harm, and another process need not wait for a service that
                    # is slow. Only stacking is for one alone.
                    await record.release(self.control)
            file = await self._settle(plan, receipts, record)
            await record.drop(self.control)
        except asyncio.CancelledError:
            self.control.cancel(CancelReason.TASK_CANCELLED)
            if self.control.is_discarded and not self.is_whole:
                await run_shielded(self._discard_earlier(), self.control, lambda: self.control.seconds_left(inf))
            raise
        finally:
            self._let_go()
            if self.record is not None:
                await self.record.release(self.control)
        return replace(file, outcome="resumed") if self.is_resumed else file

    async def find_record(self) -> NullJournalSession:
        """Return the upload's journal session, which is opened once; it is not claimed yet."""
        if self.record is None:
            self.record = await self._find()
        return self.record

    async def _find_there(self, record: NullJournalSession) -> UploadedFile | None:
        """Return the file at Frame.io that the source would only repeat."""
        try:
            found = self.opened = await self._open_source()
            size = check_size(found, self.request.size)
        except SourceError:
            if self.resources.journal is None:
                raise
            return None  # raised again after the journal was asked what becomes of an earlier upload of this source
        folder_id = self.request.folder_id or ""
        listing = await read_listing(self.api, self.request.account_id, folder_id)
        duplicate = find_duplicate(listing, self.request.name, size, found.modified_ns, self.resources.clocks())
        if duplicate is None:
            return None
        return await skip_result(duplicate, record, size, account_id=self.request.account_id, folder_id=folder_id)

    async def _complete(self, plan: Plan, receipts: tuple[Receipt, ...]) -> UploadedFile:
        """Wait until the service has the file, and stack it if that was asked for."""
        is_stacked = self.request.conflict == "version"
        # Only a file that has arrived can be stacked, even with `Timeouts(confirm=0)`.
        seconds = seconds_for(self.resources.timeouts, plan.size, must=is_stacked)
        file = await confirm(self.api, plan, self.request.account_id, seconds, receipts)
        if is_stacked:
            await stack_on_namesake(self.api, file, self.request.folder_id or "")
        return file

    # -- what S3 acknowledged without proof --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _holding(self, found: OpenSource) -> Iterator[OpenSource]:
        """Close a source at the end of the block; where that is a good one, only if it can be opened again."""
        self.seen = found.size, found.modified_ns
        try:
            yield found
        except BaseException:
            found.close()
            raise
        if found.replayable and found.path is None:
            self.kept = found
        else:
            found.close()

    def _let_go(self) -> None:
        for source in (self.kept, self.opened):
            if source is not None:
                source.close()
        self.kept = self.opened = None

    def _note_unproved(self, record: NullJournalSession, receipts: tuple[Receipt, ...]) -> None:
        """Note which parts may have to be sent again; where there is none the source is no longer needed."""
        entry = record.entry
        if entry is not None and not entry.is_whole:
            receipts = ()  # lost with an earlier run, and the service has the file all the same
        elif entry is not None:
            self.seen = self.seen or (entry.fingerprint.size, entry.fingerprint.mtime_ns)
        self.unproved = unproved(receipts)
        if not self.unproved:
            self._let_go()

    async def _settle(self, plan: Plan, receipts: tuple[Receipt, ...], record: NullJournalSession) -> UploadedFile:
        """Wait until the service has the file; where that takes too long, send once more what nothing proves.

        A 200 without an ETag may come from a server that has stored nothing, and then the service would wait for ever.

        Raises:
            ConfirmationError: It failed there, or took too long, also after parts were sent again.
        """
        settle = self.settle or self._complete
        try:
            file = await settle(plan, receipts)
        except ConfirmationError as error:
            if not self.unproved:
                raise
            doubt = error
        else:
            if file.status == plan.status:  # nobody was asked
                tell_unproved(plan.name, (one for one in receipts if one.number in self.unproved), UNCONFIRMED)
            return file
        words = f"{doubt.reason}; S3 acknowledged {name_parts(self.unproved)} without an ETag"
        if doubt.failed or not self._can_send_again():
            why = "" if doubt.failed else ", and what was read only once cannot be sent again"
            raise ConfirmationError(words + why, file_id=plan.file_id, failed=doubt.failed)
        receipts = await self._send_again(plan, receipts, record, words)
        try:
            return await settle(plan, receipts)
        except ConfirmationError as error:
            again, failed = f"{error.reason}; {name_parts(self.unproved)} had been sent again meanwhile", error.failed
        raise ConfirmationError(again, file_id=plan.file_id, failed=failed)

    def _can_send_again(self) -> bool:
        is_path = isinstance(self.request.source, str | os.PathLike)
        return is_path or self.kept is not None or (self.seen is None and not is_stream(self.request.source))

    async def _send_again(
        self, plan: Plan, receipts: tuple[Receipt, ...], record: NullJournalSession, words: str
    ) -> tuple[Receipt, ...]:
        """Send the parts that nothing proves once more; the file stays, whatever comes of it.

        Raises:
            ConfirmationError: That did not work.
        """
        log.warning("%r: %s: sent again", plan.name, words)
        self.resources.retries += len(self.unproved)
        for number in self.unproved:
            doubt = PartError(
                "acknowledged without an ETag, and never confirmed", number=number, attempts=1, status=200
            )
            self.feed.publish(PartRetrying(number, 1, 0.0, doubt))
        proved = tuple(receipt for receipt in receipts if receipt.number not in self.unproved)
        failure: UploadError | None = None
        try:
            async with self.resources.file_slots:
                await record.claim_again()
                with contextlib.closing(await self._open_again(plan)) as found:
                    again = self.sender(
                        plan, found, self.resources, self.feed, self.control.pause, record=record, done=proved
                    )
                    receipts = await again.run()
                    await found.check()
                if self.request.conflict != "version":
                    await record.release(self.control)
        except PartRejected as error:
            # As S3 does where the parts were put together meanwhile: the service is asked once more.
            log.warning("%r: %s", plan.name, error)
        except UploadError as error:
            failure = error
        if failure is not None:
            raise ConfirmationError(
                f"{words}, and sending again did not work: {failure}", file_id=plan.file_id
            ) from failure
        return receipts

    async def _open_again(self, plan: Plan) -> OpenSource:
        if self.kept is not None:
            found, self.kept = self.kept, None
            return found
        found = await open_parts(self.request.source, plan, self.resources, self.unproved)
        if self.seen not in (None, (found.size, found.modified_ns)):
            found.close()
            raise SourceChanged("has changed since it was sent", path=found.path)
        return found

    async def _find(self) -> NullJournalSession:
        if self.request.receipts is not None:
            return NullJournalSession()
        return await open_journal_session(
            self.request.source,
            self.resources,
            account_id=self.request.account_id,
            folder_id=self.request.folder_id,
            name=self.request.name,
            origin=self.request.origin,
            media_type=self.request.media_type,
            conflict=self.request.conflict,
        )

    async def _deliver(self, record: NullJournalSession) -> tuple[Plan, tuple[Receipt, ...]]:
        """Make sure that every part of the source has arrived; what an earlier run has sent is not sent again."""
        if self.plan is not None and self.api.is_secure:
            check_secure(self.plan, is_own=False)
        if self.plan is not None and self.request.receipts is not None:
            return await self._go_on(self.plan, record, self.request.receipts)
        entry = record.entry
        try:
            found = await self._open(record)
        except SourceError as error:
            if entry is None or not await self._is_told_without_source(entry, record, error):
                raise
            return self._arrived(entry.plan, every_receipt(entry))
        with self._holding(found):
            taken = await take_up(record, self.api, self.resources, self.control)
            if self.plan is None:
                check_size(found, self.request.size)
            if entry is not None and taken is not None:
                if taken.step is ResumeAction.CONFIRM:
                    return self._arrived(entry.plan, every_receipt(entry))
                if taken.step is ResumeAction.RESUME:
                    self.plan, self.is_resumed = entry.plan, True
                    return await self._send(entry.plan, found, record, entry.receipts)
                self.feed.file_id, self.instead_of = None, (entry.plan.file_id, taken.reason)
            if self.plan is None or taken is not None:
                self.plan = await self._create(found)
            return await self._send(check_fit(self.plan, found), found, record)

    async def _open(self, record: NullJournalSession) -> OpenSource:
        found, self.opened = self.opened or await self._open_source(), None
        try:
            await record.look_at(found)
        except BaseException:
            found.close()
            raise
        return found

    async def _open_source(self) -> OpenSource:
        return await open_source(self.request.source, self.request.size, self.resources.executor, self.resources.spool)

    async def _is_told_without_source(self, entry: Entry, record: NullJournalSession, error: SourceError) -> bool:
        """Decide what becomes of an entry whose source cannot be opened; return whether only its end is to be told.

        A source that is away is no loss where every byte of it has arrived, and keeps its entry where not. One that
        can be looked at, and is a directory or empty now, has changed.
        """
        if error.is_away:
            taken = await take_up(record, self.api, self.resources, self.control) if entry.is_whole else None
            return taken is not None and taken.step is ResumeAction.CONFIRM
        try:
            await take_up(record, self.api, self.resources, self.control, changed=True)
        except (ApiError, JournalError, LinksExpired) as failed:
            log.warning("%s; what was sent of it before is left as it is: %s", error, failed)
        return False

    async def _go_on(
        self, plan: Plan, record: NullJournalSession, done: tuple[Receipt, ...]
    ) -> tuple[Plan, tuple[Receipt, ...]]:
        """Send what the caller has no receipts of."""
        missing = {part.number for part in plan.parts} - {receipt.number for receipt in done}
        if not missing:
            return self._arrived(plan, done)
        self.is_resumed = bool(done)
        with self._holding(await open_parts(self.request.source, plan, self.resources, missing)) as found:
            return await self._send(plan, found, record, done)

    def _arrived(self, plan: Plan, receipts: tuple[Receipt, ...]) -> tuple[Plan, tuple[Receipt, ...]]:
        """Tell of an upload that an earlier run has sent whole."""
        self.plan, self.is_resumed = plan, True
        self._tell_planned(plan, receipts)
        self.feed.publish(PartTable(plan.parts, now := anyio.current_time(), done=receipts).progress(now))
        return plan, receipts

    def _tell_planned(self, plan: Plan, done: tuple[Receipt, ...]) -> None:
        self.feed.publish(UploadPlanned(plan.file_id, plan.name, plan.view_url, plan.size, len(plan.parts)))
        if self.is_resumed:
            self.feed.publish(UploadResumed(plan.file_id, len(done), sum(receipt.size for receipt in done)))

    async def _create(self, found: OpenSource) -> Plan:
        return await create_file(
            self.api,
            name=self.request.name,
            size=check_size(found, self.request.size),
            folder_id=self.request.folder_id or "",
            account_id=self.request.account_id,
            media_type=self.request.media_type,
            control=self.control,
        )

    async def _send(
        self, plan: Plan, found: OpenSource, record: NullJournalSession, done: tuple[Receipt, ...] = ()
    ) -> tuple[Plan, tuple[Receipt, ...]]:
        """Send every part that is not done; where that ends early, leave behind what can be gone on with."""
        record.entry = None
        transfer: PartSender | None = None
        receipts: tuple[Receipt, ...] | None = None
        try:
            if not self.is_resumed:
                await record.begin(plan)
            self._tell_planned(plan, done)
            if self.instead_of is not None:
                # After the plan, which is an upload's first event.
                self.feed.publish(UploadReplanned(plan.file_id, *self.instead_of))
            transfer = self.sender(plan, found, self.resources, self.feed, self.control.pause, record=record, done=done)
            while receipts is None:
                try:
                    receipts = await transfer.run()
                except (LinksExpired, IntegrityError) as error:
                    old, self.plan = plan, await self._replan(plan, found, record, transfer, error)
                    plan, self.is_resumed = self.plan, False
                    await record.begin(plan)
                    log.debug("%s; file %s is replaced by %s", error, old.file_id, plan.file_id)
                    self.feed.publish(UploadReplanned(plan.file_id, old.file_id, str(error)))
                    transfer = self.sender(plan, found, self.resources, self.feed, self.control.pause, record=record)
            await found.check()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self.control.cancel(CancelReason.TASK_CANCELLED)
            whole = transfer is not None and transfer.is_whole
            recorded, given_up = record.is_begun, self.control.is_discarded
            if self.request.receipts is None and not is_kept(error, whole=whole, recorded=recorded, given_up=given_up):
                await self._remove(plan, record)
            raise
        return plan, receipts

    async def _remove(self, plan: Plan, record: NullJournalSession) -> None:
        """Delete the placeholder, then the entry: if the process ends between the two, the journal still names it."""
        try:
            await delete_placeholder(self.api, plan.file_id, self.request.account_id, self.control)
        finally:
            await record.drop(self.control)

    async def _discard_earlier(self) -> None:
        """Delete what an earlier run has left, if `cancel()` came before it was resumed; a whole file stays."""
        with contextlib.suppress(JournalError), anyio.move_on_after(self._share(4)):
            await (await self.find_record()).claim()
        record = self.record
        if record is None or (entry := record.entry) is None or entry.is_whole:
            return
        with contextlib.suppress(ApiError), anyio.move_on_after(self._share(3)):
            # The last receipt may have been lost with its process: a file that the service has whole is kept.
            status = await find_status(self.api, entry.plan.file_id, self.request.account_id)
            if status is not None and status.complete:
                return
        await self._remove(entry.plan, record)

    def _share(self, steps: int) -> float:
        """Return a step's share of the clean-up's time, where so many steps of it are left."""
        return self.control.seconds_left(inf) / steps

    async def _replan(
        self,
        old: Plan,
        found: OpenSource,
        record: NullJournalSession,
        transfer: PartSender,
        error: LinksExpired | IntegrityError,
    ) -> Plan:
        """Begin anew with fresh links, for V4 issues none for a file that exists; or with parts that are what was sent.

        Raises:
            LinksExpired: That would not help, or cannot be done.
            IntegrityError: The part kept differing; or a second file would be spoiled too.
        """
        if self.request.receipts is not None:
            raise error
        if isinstance(error, IntegrityError):
            if not transfer.is_spoiled or self.was_spoiled or not found.replayable or self.request.folder_id is None:
                raise error
            self.was_spoiled = True
        elif (hopeless := self._hopeless(old, found, transfer)) is not None:
            raise LinksExpired(f"{error}; {hopeless}", file_id=old.file_id)
        else:
            self.replaced += 1
        # Before there is a new one: a cancellation in between finds never more than one placeholder to remove.
        await delete_placeholder(self.api, old.file_id, self.request.account_id, self.control)
        await record.drop(self.control)
        return await self._create(found)

    def _hopeless(self, old: Plan, found: OpenSource, transfer: PartSender) -> str | None:
        """Say why new links would not help."""
        if not found.replayable:
            return "a stream cannot be sent anew"
        if self.request.folder_id is None:
            return "the plan does not tell its folder"
        return why_not_replaced(
            transfer.links,
            self.resources.now(),
            replaced=self.replaced,
            has_sent=transfer.has_sent,
            size=old.size,
            rate=transfer.bytes_per_second,
        )
