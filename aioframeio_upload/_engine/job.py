"""Carry out one upload: open the source, create the file, send the parts, confirm."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from math import inf
from typing import TypeAlias

import anyio

from .._core.checksums import name_parts, unproved
from .._core.dry_run import DryRunFile, foreseen, skipped
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
from .._core.journal import Entry, find_sent_as
from .._core.listing import SKIPPING, STACKING, RemoteFile
from .._core.model import Plan, Receipt, UploadedFile, check_secure
from .._core.part_state import PartTable
from .._core.presigned import why_not_replaced
from .._core.resuming import ResumeAction, is_kept
from .._io.frameio_api import FrameioApi, read_listing
from .._io.session import Session
from .._io.source_kinds import is_stream
from .._io.sources import OpenSource, check_size, open_source
from .cleanup import close_generator, run_shielded
from .confirm import confirm, find_status, seconds_for
from .conflict import Evidence, Sought, asking, find_base, find_there, skip_result, stack_on_namesake
from .content import SourceReader
from .control import CancelReason, UploadControl
from .event_log import EventLog
from .parts import PartSender, PartUploader, check_fit, open_parts, tell_unproved
from .placeholder import create_file, delete_placeholder
from .quota import BIG_UPLOAD, warn_if_too_small
from .request import PartSenderFactory, UploadRequest
from .resume import NullJournalSession, every_receipt, find_step, open_journal_session, take_up

log = logging.getLogger("aioframeio_upload")

UNCONFIRMED = "and with `Timeouts(confirm=0)` nobody is asked: nothing proves that S3 has them"

Settle: TypeAlias = Callable[[Plan, tuple[Receipt, ...]], Awaitable[UploadedFile]]
"""What follows the last part: waiting until the service has the file, and stacking it where that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToSend:
    """An upload that has its plan and its source, and lacks parts."""

    plan: Plan
    found: OpenSource
    """Owned by whoever holds this record."""
    done: tuple[Receipt, ...] = ()
    is_resumed: bool = False
    replaces: tuple[str, str] | None = None
    """The file that an earlier run began, and why another one was created instead of it."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """An upload whose parts have all arrived, now or in an earlier run."""

    plan: Plan
    receipts: tuple[Receipt, ...]
    is_resumed: bool


@dataclass(slots=True)
class _Replacements:
    """How often one upload began anew, and why. Owned by `UploadJob._send`."""

    expired: int = 0
    spoiled: int = 0
    """Because of bytes that were stored wrongly."""


class _JobSource:
    """The source of one upload: opened to compare it, opened to send it, or kept to send parts again."""

    def __init__(self, request: UploadRequest, resources: Session) -> None:
        self._request = request
        self._resources = resources
        self._looked_at: OpenSource | None = None
        self._kept: OpenSource | None = None
        """A source that cannot be opened a second time, where parts may have to be sent again."""
        self._seen: tuple[int, int | None] | None = None
        """Size and modification time when it was sent; None if it was not."""

    async def look(self) -> OpenSource:
        """Open the source to compare it; the next `open` returns the same one."""
        self._looked_at = await self.open()
        return self._looked_at

    async def open(self) -> OpenSource:
        """Open the source. The caller owns it."""
        if self._looked_at is not None:
            found, self._looked_at = self._looked_at, None
            return found
        request, resources = self._request, self._resources
        return await open_source(request.source, request.size, resources.executor, resources.spool)

    @contextlib.contextmanager
    def holding(self, found: OpenSource) -> Iterator[OpenSource]:
        """Close a source at the end of the block; after success, only if it can be opened again."""
        self._seen = found.size, found.modified_ns
        with closed_on_error(found):
            yield found
        if found.replayable and found.path is None:
            self._kept = found
        else:
            found.close()

    def note_recorded(self, entry: Entry) -> None:
        """Note the source's size and modification time from the journal, if it was not sent in this run."""
        self._seen = self._seen or (entry.fingerprint.size, entry.fingerprint.mtime_ns)

    def close(self) -> None:
        """Close what is still open."""
        for source in (self._kept, self._looked_at):
            if source is not None:
                source.close()
        self._kept = self._looked_at = None

    @property
    def can_send_again(self) -> bool:
        """Whether the bytes of a part can be read once more."""
        source = self._request.source
        is_path = isinstance(source, str | os.PathLike)
        return is_path or self._kept is not None or (self._seen is None and not is_stream(source))

    async def open_again(self, plan: Plan, numbers: tuple[int, ...]) -> OpenSource:
        """Open the source to send some parts again. The caller owns it.

        Raises:
            SourceChanged: Its size or modification time is not what it was.
        """
        if self._kept is not None:
            found, self._kept = self._kept, None
            return found
        found = await open_parts(self._request.source, plan, self._resources, numbers)
        if self._seen not in (None, (found.size, found.modified_ns)):
            found.close()
            raise SourceChanged("has changed since it was sent", path=found.path)
        return found


@contextlib.contextmanager
def closed_on_error(found: OpenSource) -> Iterator[None]:
    """Close a source if the block ends in an exception."""
    try:
        yield
    except BaseException:
        found.close()
        raise


async def open_record(request: UploadRequest, resources: Session) -> NullJournalSession:
    """Return the journal session of an upload, not claimed yet; a null one where the caller keeps the receipts."""
    if request.receipts is not None:
        return NullJournalSession()
    return await open_journal_session(
        request.source,
        resources,
        account_id=request.account_id,
        folder_id=request.folder_id,
        name=request.name,
        origin=request.origin,
        media_type=request.media_type,
        conflict=request.conflict,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadJob:
    """One upload. Runs once, as one task.

    It holds no state of the run: each step returns a record that the next one gets. What is acknowledged is known to
    the sender, what is recorded to the journal session, whether it was cancelled to `control`.
    """

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
    """The journal session, if the caller opened it: `resume_pending()`, which has claimed it, or a folder. Whoever
    passes one has looked for a duplicate already, or has begun the file earlier."""
    sender: PartSenderFactory = PartUploader
    """Makes the sender of a plan's parts."""

    def run_in(self, folder_id: str) -> Awaitable[UploadedFile]:
        """Upload the source to a folder that was not known when the job was made."""
        return replace(self, request=replace(self.request, folder_id=folder_id, project_id=None)).run()

    async def run(self) -> UploadedFile:
        """Upload the source.

        Nothing is opened or created before one of `Limits.files` is free: ten thousand uploads that are started at once
        neither hold ten thousand open files nor create ten thousand placeholders whose links age. Waiting for the
        confirmation needs no slot.
        """
        with self.resources.settings.telemetry.upload(self.request.name, self.request.folder_id) as recording:
            source = _JobSource(self.request, self.resources)
            record, is_whole, doubt = self.record, False, None
            try:
                async with self.slot or self.resources.file_slots:
                    if record is None:
                        record = await open_record(self.request, self.resources)
                        there, doubt = await self._find_there(source, record)
                        if there is not None:
                            return there
                    await self._claim(record)
                    ready = await self._prepare(source, record)
                    sent = ready if isinstance(ready, _Sent) else await self._send(ready, source, record)
                    is_whole = True
                    doubtful = _find_doubtful(sent, source, record)
                    if self.request.conflict not in STACKING:
                        # The steps that are left can be done twice without harm, so another process need not wait for a
                        # slow service. Only stacking must not be done twice.
                        await record.release(self.control)
                file = await self._settle(sent, doubtful, source, record)
                await record.finish(file, self.control)
            except asyncio.CancelledError:
                self.control.cancel(CancelReason.TASK_CANCELLED)
                if self.control.is_discarded and not is_whole:
                    step = self._discard_earlier(record)
                    await run_shielded(step, self.control, lambda: self.control.seconds_left(inf))
                raise
            finally:
                source.close()
                if record is not None:
                    await record.release(self.control)
            file = replace(file, outcome="resumed" if sent.is_resumed else file.outcome, reason=doubt)
            recording.learn(frameio__file__id=file.id, frameio__file__size=file.size, frameio__outcome=file.outcome)
            return file

    async def dry_run(self) -> DryRunFile:
        """Decide what `run` would do, by the same steps, and do nothing; without a folder, as in one that is empty.

        What another upload holds is not noticed, because nothing is claimed.
        """
        source = _JobSource(self.request, self.resources)
        try:
            async with self.slot or self.resources.file_slots:
                record, base, doubt = self.record, None, None
                if record is None:
                    record = await open_record(self.request, self.resources)
                    record.only_reads = True
                    there, doubt = await self._find_there(source, record)
                    if there is not None:
                        return skipped(self.request.name, there.reason, there)
                    base = await self._find_base(record)
                found = await self._foresee(source, record)
                found = replace(found, reason=found.reason or doubt)
                return found if base is None else replace(found, stacked_on=base.id)
        finally:
            source.close()

    async def _find_base(self, record: NullJournalSession) -> RemoteFile | None:
        """Return the file on which this one would be stacked now."""
        if self.request.conflict not in STACKING or not self.request.folder_id:
            return None
        listing = await read_listing(self.api, self.request.account_id, self.request.folder_id)
        return find_base(listing, self.request.name, but=await record.file_id())

    async def _foresee(self, source: _JobSource, record: NullJournalSession) -> DryRunFile:
        """Return what `_prepare` and what follows it would do with a source that is not skipped."""
        await record.peek()
        entry = record.entry
        try:
            with contextlib.closing(await source.open()) as found:
                await record.look_at(found)
                size = check_size(found, self.request.size)
        except SourceError as error:
            # As in `_has_arrived_without_source`.
            step = await find_step(record, self.api, self.resources) if error.is_away else None
            if entry is None or not entry.is_whole or step is None or step.step is not ResumeAction.CONFIRM:
                raise
            return foreseen(self.request.name, entry.plan.size, entry, step)
        return foreseen(self.request.name, size, entry, await find_step(record, self.api, self.resources))

    # -- before the first part ---------------------------------------------------------------------------------------

    async def _find_there(
        self, source: _JobSource, record: NullJournalSession
    ) -> tuple[UploadedFile | None, str | None]:
        """Return the file at Frame.io that the source would only repeat, if `conflict` says to skip it.

        If there is none, also why one could not be compared.
        """
        if self.request.conflict not in SKIPPING or not self.request.folder_id:
            return None, None
        try:
            found = await source.look()
            size = check_size(found, self.request.size)
        except SourceError:
            if self.resources.journal is None:
                raise
            # Raised again after the journal was asked what becomes of an earlier upload of this source.
            return None, None
        request, resources, folder_id = self.request, self.resources, self.request.folder_id
        listing = await read_listing(self.api, request.account_id, folder_id)
        sent = await record.sent()
        sent_as = find_sent_as(sent, record.path, size, found.modified_ns)
        known = frozenset[str]() if sent_as is None else frozenset({sent_as.file_id})
        sought = Sought(
            name=request.name,
            size=size,
            modified_ns=found.modified_ns,
            # The file that an earlier run began is not below itself in a stack.
            but=await record.file_id() if request.conflict in STACKING else None,
            known=known,
            unchanged=known if sent_as is not None and sent_as.is_unchanged(found.changed_ns) else frozenset(),
        )
        evidence = Evidence(
            sent=sent,
            record=record,
            reader=SourceReader(lambda: nullcontext(found), resources, can_read=found.replayable),
            ask=asking(request.compare, self.api, resources, request.account_id),
        )
        there = await find_there(listing, sought, resources.clocks(), evidence)
        if there.same is None:
            return None, there.reason
        result = await skip_result(
            there.same, record, size, account_id=request.account_id, folder_id=folder_id, reason=there.reason
        )
        return result, None

    async def _claim(self, record: NullJournalSession) -> None:
        await record.claim()
        if record.entry is not None:
            self.feed.file_id = record.entry.plan.file_id

    async def _prepare(self, source: _JobSource, record: NullJournalSession) -> _ToSend | _Sent:
        """Open the source, and find or create the file; what an earlier run has sent is not sent again."""
        plan = self.request.plan
        if plan is not None and self.api.is_secure:
            check_secure(plan, is_own=False)
        if plan is not None and self.request.receipts is not None:
            return await self._prepare_rest(plan, self.request.receipts)
        entry = record.entry
        try:
            found = await source.open()
            with closed_on_error(found):
                await record.look_at(found)
        except SourceError as error:
            if entry is None or not await self._has_arrived_without_source(entry, record, error):
                raise
            return self._arrived(entry.plan, every_receipt(entry))
        with closed_on_error(found):
            taken = await take_up(record, self.api, self.resources, self.control)
            if plan is None:
                check_size(found, self.request.size)
            replaces = None
            if entry is not None and taken is not None:
                if taken.step is ResumeAction.CONFIRM:
                    with source.holding(found):
                        return self._arrived(entry.plan, every_receipt(entry))
                if taken.step is ResumeAction.RESUME:
                    return _ToSend(plan=entry.plan, found=found, done=entry.receipts, is_resumed=True)
                self.feed.file_id, replaces = None, (entry.plan.file_id, taken.reason)
            if plan is None or taken is not None:
                plan = await self._create(found)
            return _ToSend(plan=check_fit(plan, found), found=found, replaces=replaces)

    async def _prepare_rest(self, plan: Plan, done: tuple[Receipt, ...]) -> _ToSend | _Sent:
        """Open the source for the parts of which the caller has no receipt."""
        missing = {part.number for part in plan.parts} - {receipt.number for receipt in done}
        if not missing:
            return self._arrived(plan, done)
        found = await open_parts(self.request.source, plan, self.resources, missing)
        return _ToSend(plan=plan, found=found, done=done, is_resumed=bool(done))

    async def _has_arrived_without_source(self, entry: Entry, record: NullJournalSession, error: SourceError) -> bool:
        """Decide what becomes of an entry whose source cannot be opened; return whether every part has arrived.

        A source that is away is no loss where every byte of it has arrived; else its entry is kept. A source that can
        be looked at, and is a directory or empty now, has changed.
        """
        if error.is_away:
            taken = await take_up(record, self.api, self.resources, self.control) if entry.is_whole else None
            return taken is not None and taken.step is ResumeAction.CONFIRM
        try:
            await take_up(record, self.api, self.resources, self.control, changed=True)
        except (ApiError, JournalError, LinksExpired) as failed:
            log.warning("%s; what was sent of it before is left as it is: %s", error, failed)
        return False

    def _arrived(self, plan: Plan, receipts: tuple[Receipt, ...]) -> _Sent:
        """Publish the events of an upload whose parts an earlier run has sent."""
        self._publish_plan(plan, receipts, is_resumed=True)
        self.feed.publish(PartTable(plan.parts, now := anyio.current_time(), done=receipts).progress(now))
        return _Sent(plan, receipts, is_resumed=True)

    def _publish_plan(self, plan: Plan, done: tuple[Receipt, ...], *, is_resumed: bool) -> None:
        self.feed.publish(UploadPlanned(plan.file_id, plan.name, plan.view_url, plan.size, len(plan.parts)))
        if is_resumed:
            self.feed.publish(UploadResumed(plan.file_id, len(done), sum(receipt.size for receipt in done)))

    async def _create(self, found: OpenSource) -> Plan:
        if self.settle is None and found.size >= BIG_UPLOAD:  # a folder has checked the sum of its files
            await warn_if_too_small(self.api, self.request.account_id, found.size, self.request.name)
        return await create_file(
            self.api,
            name=self.request.name,
            size=check_size(found, self.request.size),
            folder_id=self.request.folder_id or "",
            account_id=self.request.account_id,
            media_type=self.request.media_type,
            control=self.control,
        )

    # -- the parts ---------------------------------------------------------------------------------------------------

    async def _send(self, ready: _ToSend, source: _JobSource, record: NullJournalSession) -> _Sent:
        """Send every part that is not done; if that ends early, leave behind what can be resumed."""
        plan, is_resumed, replacements = ready.plan, ready.is_resumed, _Replacements()
        sender: PartSender | None = None
        receipts: tuple[Receipt, ...] | None = None
        record.forget_entry()
        with source.holding(ready.found) as found:
            try:
                if not is_resumed:
                    await record.begin(plan)
                self._publish_plan(plan, ready.done, is_resumed=is_resumed)
                if ready.replaces is not None:
                    # After the plan, which is an upload's first event.
                    self.feed.publish(UploadReplanned(plan.file_id, *ready.replaces))
                sender = self._sender(plan, found, record, ready.done)
                while receipts is None:
                    try:
                        receipts = await sender.run()
                    except (LinksExpired, IntegrityError) as error:
                        self._check_replaceable(plan, found, sender, error, replacements)
                        old, plan = plan, await self._replan(plan, found, record)
                        is_resumed = False
                        await record.begin(plan)
                        log.debug("%s; file %s is replaced by %s", error, old.file_id, plan.file_id)
                        self.feed.publish(UploadReplanned(plan.file_id, old.file_id, error.problem))
                        sender = self._sender(plan, found, record)
                await found.check()
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    self.control.cancel(CancelReason.TASK_CANCELLED)
                is_whole = sender is not None and sender.is_whole
                if not self._leaves_file(error, record, is_whole=is_whole):
                    await self._remove(plan, record)
                raise
            finally:
                await close_generator(found, self.request.name, self.control)
        return _Sent(plan, receipts, is_resumed)

    def _sender(
        self, plan: Plan, found: OpenSource, record: NullJournalSession, done: tuple[Receipt, ...] = ()
    ) -> PartSender:
        return self.sender(plan, found, self.resources, self.feed, self.control.pause, record=record, done=done)

    def _leaves_file(self, error: BaseException, record: NullJournalSession, *, is_whole: bool) -> bool:
        """Return whether the file stays at Frame.io after an error; always if the caller keeps the receipts."""
        recorded, given_up = record.is_begun, self.control.is_discarded
        return self.request.receipts is not None or is_kept(error, whole=is_whole, recorded=recorded, given_up=given_up)

    def _check_replaceable(
        self,
        plan: Plan,
        found: OpenSource,
        sender: PartSender,
        error: LinksExpired | IntegrityError,
        replacements: _Replacements,
    ) -> None:
        """Count one more beginning anew, with new links or because stored parts are not what was sent.

        Raises:
            LinksExpired: New links would not help, or cannot be had.
            IntegrityError: The part kept differing; or a second file would be spoiled too.
        """
        if self.request.receipts is not None:
            raise error
        if isinstance(error, IntegrityError):
            is_possible = found.replayable and self.request.folder_id is not None
            if not sender.is_spoiled or replacements.spoiled or not is_possible:
                raise error
            replacements.spoiled += 1
            return
        reason = self._why_not_replaced(plan, found, sender, replacements.expired)
        if reason is not None:
            raise LinksExpired(f"{error.problem}; {reason}", file_id=plan.file_id, advice="")
        replacements.expired += 1

    def _why_not_replaced(self, plan: Plan, found: OpenSource, sender: PartSender, replaced: int) -> str | None:
        """Return why new links would not help; None if they might."""
        if not found.replayable:
            return "a stream cannot be sent a second time: open it again, and upload it again"
        if self.request.folder_id is None:
            return "the plan does not contain its folder: plan it again"
        return why_not_replaced(
            sender.links,
            self.resources.now(),
            replaced=replaced,
            has_sent=sender.has_sent,
            size=plan.size,
            rate=sender.bytes_per_second,
        )

    async def _replan(self, old: Plan, found: OpenSource, record: NullJournalSession) -> Plan:
        """Create the file anew: the V4 API issues no new links for a file that exists."""
        # Deleted before the new one is created: a cancellation in between finds at most one placeholder to delete.
        await delete_placeholder(self.api, old.file_id, self.request.account_id, self.control)
        await record.drop(self.control)
        return await self._create(found)

    # -- after the last part -----------------------------------------------------------------------------------------

    async def _settle(
        self, sent: _Sent, doubtful: tuple[int, ...], source: _JobSource, record: NullJournalSession
    ) -> UploadedFile:
        """Wait until the service has the file; if that takes too long, send the doubtful parts once more.

        A 200 without an ETag may come from a server that has stored nothing, and then the service would wait for ever.

        Args:
            sent: The upload.
            doubtful: Numbers of the parts that S3 acknowledged without a proof that it has them.
            source: To send those again.
            record: To claim the entry for that.

        Raises:
            ConfirmationError: It failed there, or took too long, also after parts were sent again.
        """
        settle, plan = self.settle or self._confirm, sent.plan
        try:
            file = await settle(plan, sent.receipts)
        except ConfirmationError as error:
            if not doubtful:
                raise
            doubt = error
        else:
            if file.status == plan.status:  # nobody was asked
                tell_unproved(plan.name, (one for one in sent.receipts if one.number in doubtful), UNCONFIRMED)
            return file
        words = f"{doubt.reason}; S3 acknowledged {name_parts(doubtful)} without an ETag"
        if doubt.failed or not source.can_send_again:
            why = "" if doubt.failed else ", and what was read only once cannot be sent again"
            raise ConfirmationError(words + why, file_id=plan.file_id, failed=doubt.failed)
        self._publish_doubts(plan, doubtful, words)
        failure: UploadError | None = None
        receipts = sent.receipts
        try:
            receipts = await self._send_again(sent, doubtful, source, record)
        except PartRejected as error:
            # S3 answers so where the parts were put together meanwhile: the service is asked once more.
            log.warning("%r: %s", plan.name, error)
        except UploadError as error:
            failure = error
        if failure is not None:
            reason = f"{words}, and sending again did not work: {failure.problem}"
            raise ConfirmationError(reason, file_id=plan.file_id) from failure
        try:
            return await settle(plan, receipts)
        except ConfirmationError as error:
            again, failed = f"{error.reason}; {name_parts(doubtful)} had been sent again meanwhile", error.failed
        raise ConfirmationError(again, file_id=plan.file_id, failed=failed)

    async def _confirm(self, plan: Plan, receipts: tuple[Receipt, ...]) -> UploadedFile:
        """Wait until the service has the file, and stack it if that was asked for."""
        is_stacked = self.request.conflict in STACKING
        # Only a file that has arrived can be stacked, even with `Timeouts(confirm=0)`.
        seconds = seconds_for(self.resources.timeouts, plan.size, must=is_stacked)
        file = await confirm(self.api, plan, self.request.account_id, seconds, receipts)
        if is_stacked:
            await stack_on_namesake(self.api, file, self.request.folder_id or "")
        return file

    def _publish_doubts(self, plan: Plan, doubtful: tuple[int, ...], words: str) -> None:
        log.warning("%r: %s: sent again", plan.name, words)
        self.resources.count_retries(len(doubtful))
        for number in doubtful:
            doubt = PartError(
                "acknowledged without an ETag, and never confirmed", number=number, attempts=1, status=200
            )
            self.feed.publish(PartRetrying(number, 1, 0.0, doubt))

    async def _send_again(
        self, sent: _Sent, doubtful: tuple[int, ...], source: _JobSource, record: NullJournalSession
    ) -> tuple[Receipt, ...]:
        """Send the doubtful parts once more; the file stays, whatever comes of it.

        Raises:
            UploadError: That did not work.
        """
        proved = tuple(receipt for receipt in sent.receipts if receipt.number not in doubtful)
        async with self.resources.file_slots:
            await record.claim_again()
            with contextlib.closing(await source.open_again(sent.plan, doubtful)) as found:
                receipts = await self._sender(sent.plan, found, record, proved).run()
                await found.check()
            if self.request.conflict not in STACKING:
                await record.release(self.control)
        return receipts

    # -- what is left behind -----------------------------------------------------------------------------------------

    async def _remove(self, plan: Plan, record: NullJournalSession) -> None:
        """Delete the placeholder, then the entry: if the process ends between the two, the journal still names it."""
        try:
            await delete_placeholder(self.api, plan.file_id, self.request.account_id, self.control)
        finally:
            await record.drop(self.control)

    async def _discard_earlier(self, record: NullJournalSession | None) -> None:
        """Delete what an earlier run has left, if `cancel()` came before it was resumed; a whole file stays."""
        try:
            with contextlib.suppress(JournalError), anyio.move_on_after(self._share(4)):
                record = record or await open_record(self.request, self.resources)
                await record.claim()
            if record is None or (entry := record.entry) is None or entry.is_whole:
                return
            with contextlib.suppress(ApiError), anyio.move_on_after(self._share(3)):
                # The last receipt may have been lost with its process: a file that the service has whole is kept.
                status = await find_status(self.api, entry.plan.file_id, self.request.account_id)
                if status is not None and status.complete:
                    return
            await self._remove(entry.plan, record)
        finally:
            if record is not None:
                await record.release(self.control)

    def _share(self, steps: int) -> float:
        """Return the share of one clean-up step in the time that is left for so many."""
        return self.control.seconds_left(inf) / steps


def _find_doubtful(sent: _Sent, source: _JobSource, record: NullJournalSession) -> tuple[int, ...]:
    """Return the parts that may have to be sent again. If there are none, the source is closed."""
    entry, receipts = record.entry, sent.receipts
    if entry is not None and not entry.is_whole:
        receipts = ()  # lost with an earlier run, but the service has the file
    elif entry is not None:
        source.note_recorded(entry)
    doubtful = unproved(receipts)
    if not doubtful:
        source.close()
    return doubtful
