"""Resume an upload that the journal has recorded: claim its entry, decide what is left to do, record what is done."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable

from .._core.errors import JournalError, LinksExpired
from .._core.journal import Entry, Fingerprint, Identity, SentFile
from .._core.model import Plan, Receipt, UploadedFile
from .._core.resuming import ResumeAction, Resumption, next_step
from .._core.words import AWAIT_THAT, LET_IT_END
from .._io.frameio_api import FrameioApi
from .._io.journal import AsyncJournal
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import OpenSource
from .cleanup import run_shielded
from .confirm import find_status
from .content import SourceContent
from .control import UploadControl
from .placeholder import delete_placeholder

log = logging.getLogger("aioframeio_upload")

ERASING = 15.0
"""Seconds to wait until an entry is erased: longer than SQLite waits for other processes, so that a failure is logged.
After that, the journal's thread finishes by itself. The same holds for `RELEASING`."""

RELEASING = 0.4
"""Seconds to wait until a claim is released."""

NO_PATH = ""
"""The path in the journal of what was sent from elsewhere than a file: none that a file can have."""


class NullJournalSession:
    """The journal of an upload that is not recorded: there is no journal, or no later run could find its source."""

    entry: Entry | None = None
    """What an earlier run has left; read when the upload is claimed."""
    is_begun: bool = False
    """Whether the file at Frame.io is recorded, so that a later run can resume it."""

    fingerprint: Fingerprint | None = None
    """Of the source as it is now; None before `look_at`."""
    path: str | None = None
    """The source's path, with links resolved; None if nothing is recorded."""
    only_reads: bool = False
    """Whether nothing may be remembered, in a dry run."""

    async def sent(self) -> tuple[SentFile, ...]:
        """Return what was sent from this machine to the same place under this name, the latest first.

        Names that look the same count as one. Nothing is claimed. At most 50 of the files of 90 days are returned; none
        if there is no journal. Somebody may have deleted or moved them since.
        """
        return ()

    async def remember(self, file_id: str, content: SourceContent) -> None:
        """Remember that the source, as it was when it was read, has the content of that file at Frame.io."""

    async def file_id(self) -> str | None:
        """Return the recorded file's id, without claiming the entry."""
        return None

    async def peek(self) -> None:
        """Read the entry without claiming it. Nothing that depends on it may be changed."""

    async def claim(self) -> None:
        """Claim the entry, so that no other upload in any process can use it, and read it."""

    async def claim_again(self) -> None:
        """Claim an entry that was released; fail if another upload has changed it meanwhile."""

    def forget_entry(self) -> None:
        """Forget what an earlier run has left: from now on this run knows better. The journal is not changed."""
        self.entry = None

    async def look_at(self, source: OpenSource) -> None:
        """Read the source's fingerprint."""

    async def begin(self, plan: Plan) -> None:
        """Record a file that was just created."""

    async def note(self, receipt: Receipt) -> None:
        """Record that S3 has a part."""

    async def drop(self, control: UploadControl) -> None:
        """Erase the entry."""

    async def finish(self, file: UploadedFile, control: UploadControl) -> None:
        """Erase the entry of an upload that has ended well, and remember what was sent."""

    async def release(self, control: UploadControl) -> None:
        """Let other uploads claim the entry."""


class SentSession(NullJournalSession):
    """The journal of an upload that no later run could resume: bytes, a file object, a stream.

    Only what was sent is remembered, so that a later source can be compared with it.
    """

    def __init__(self, journal: AsyncJournal, identity: Identity) -> None:
        self._journal = journal
        self._identity = identity

    async def sent(self) -> tuple[SentFile, ...]:
        """Return what was sent from this machine to the same place under this name, the latest first.

        Raises:
            JournalError: The journal cannot be read.
        """
        return await self._journal.sent(self._identity.place)

    async def finish(self, file: UploadedFile, control: UploadControl) -> None:
        """Remember what was sent, if its checksum is known. If that fails, it is logged."""
        if file.crc64nvme is None or self._identity.folder_id is None:
            return
        sent = SentFile(file.id, self._identity.path, file.size, 0, file.crc64nvme)
        try:
            await self._bounded(self._journal.remember(self._identity.place, sent), control, ERASING)
        except JournalError as error:
            self._log_forgotten(error)

    def _log_forgotten(self, error: JournalError) -> None:
        log.info("%r was sent, and the journal does not remember it: %s", self._identity.name, error)

    async def _bounded(self, step: Awaitable[None], control: UploadControl, at_most: float) -> None:
        async def run() -> None:
            await step

        await run_shielded(run(), control, lambda: control.seconds_left(at_most))


class JournalSession(SentSession):
    """The entry of one upload in the journal. Owns it from `claim` to `release`."""

    def __init__(
        self, journal: AsyncJournal, identity: Identity, media_type: str | None = None, conflict: str = "create"
    ) -> None:
        super().__init__(journal, identity)
        self._key = identity.key
        self.path: str | None = identity.path
        self.media_type = media_type
        self.conflict = conflict
        self._file_id: str | None = None
        """The file in the entry as last read or written. An entry with another file is not this upload's to erase."""
        self._is_claimed = False
        self._changed_ns: int | None = None
        """The source's change time when it was first looked at, before any of its bytes was sent."""
        self._sent_since: int | None = None
        """The same, if this run has sent every byte. The parts that an earlier run has sent may be of another state."""

    async def remember(self, file_id: str, content: SourceContent) -> None:
        """Remember that the source, as it was when it was read, has the content of that file at Frame.io.

        If that fails, it is logged: the next run compares them again.
        """
        if self.only_reads or content.modified_ns is None:
            return
        sent = SentFile(
            file_id,
            self._identity.path,
            content.size,
            content.modified_ns,
            content.crc64nvme,
            is_compared=True,
            ctime_ns=content.changed_ns,
        )
        try:
            await self._journal.remember(self._identity.place, sent)
        except JournalError as error:
            log.info("%r was compared, and the journal does not remember it: %s", self._identity.name, error)

    async def file_id(self) -> str | None:
        """Return the recorded file's id, without claiming the entry.

        Raises:
            JournalError: The entry is damaged or cannot be read.
        """
        entry = await self._journal.find(self._key)
        return None if entry is None else entry.plan.file_id

    async def peek(self) -> None:
        """Read the entry without claiming it. Nothing that depends on it may be changed.

        Raises:
            JournalError: The entry is damaged or cannot be read.
        """
        self.entry = await self._journal.find(self._key)

    async def claim(self) -> None:
        """Claim the entry, so that no other upload in any process can use it, and read it.

        Does nothing if it was claimed before, as `resume_pending()` does.

        Raises:
            JournalError: Another upload has claimed it.
        """
        if not self._is_claimed and self.entry is None and not await self.try_claim():
            raise await held(self._journal, self._key, self._identity.name)

    async def try_claim(self) -> bool:
        """Claim the entry and read it; return False if another upload has claimed it."""
        try:
            if not await self._journal.own(self._key, self):
                return False
            self._is_claimed = True
            self.entry = await self._journal.find(self._key)
        except BaseException:
            await self.release(UploadControl())
            raise
        self.is_begun: bool = self.entry is not None
        self._file_id = None if self.entry is None else self.entry.plan.file_id
        return True

    async def claim_again(self) -> None:
        """Claim an entry that was released; fail if another upload has changed it meanwhile.

        Raises:
            JournalError: Another upload has claimed it, or continued it.
        """
        before = self._file_id
        if not self._is_claimed and (not await self.try_claim() or self._file_id != before):
            raise await held(self._journal, self._key, self._identity.name)

    async def look_at(self, source: OpenSource) -> None:
        """Read the source's fingerprint."""
        self._changed_ns = source.changed_ns
        self.fingerprint: Fingerprint | None = await source.fingerprint()

    async def begin(self, plan: Plan) -> None:
        """Record a file that was just created.

        Raises:
            JournalError: It could not be recorded, so no later run could resume it.
        """
        assert self.fingerprint is not None
        # Set before the write: a cancellation does not stop the journal's thread.
        self.is_begun, self._file_id, self._sent_since = True, plan.file_id, self._changed_ns
        try:
            entry = Entry(self._identity, self.fingerprint, plan, self.media_type, self.conflict)
            await self._journal.begin(entry)
        except JournalError as error:
            self.is_begun = False
            reason = f"{error.reason}; {plan.name!r} was not begun"
            raise JournalError(reason, path=error.path, advice=error.advice) from error

    async def note(self, receipt: Receipt) -> None:
        """Record that S3 has a part.

        Raises:
            JournalError: It could not be recorded; a later run sends the part again.
        """
        try:
            await self._journal.note(self._key, receipt)
        except JournalError as error:
            reason = f"{error.reason}; {self._identity.name!r} was stopped, and can be resumed"
            raise JournalError(reason, path=error.path, advice=error.advice) from error

    async def drop(self, control: UploadControl) -> None:
        """Erase the entry, links included; log a warning if that fails."""
        file_id, self.is_begun, self.entry, self._file_id = self._file_id, False, None, None
        if file_id is None:
            return
        try:
            await self._bounded(self._journal.drop(self._key, file_id), control, ERASING)
        except JournalError as error:
            log.warning(
                "%r is no longer pending, but could not be erased from the journal: %s", self._identity.name, error
            )

    async def finish(self, file: UploadedFile, control: UploadControl) -> None:
        """Erase the entry of an upload that has ended well, and remember what was sent; log a warning if that fails."""
        was = self.fingerprint or (None if self.entry is None else self.entry.fingerprint)
        if was is not None and self._identity.folder_id is not None:
            sent = SentFile(
                file.id, self._identity.path, was.size, was.mtime_ns, file.crc64nvme, ctime_ns=self._sent_since
            )
            try:
                await self._bounded(self._journal.finish(self._key, self._identity.place, sent), control, ERASING)
                self.is_begun, self.entry, self._file_id = False, None, None
            except JournalError as error:
                # The table of what was sent may be the damaged one: the links have to be erased all the same.
                self._log_forgotten(error)
        await self.drop(control)

    async def release(self, control: UploadControl) -> None:
        """Let other uploads claim the entry."""
        self._is_claimed = False
        await self._bounded(self._journal.release(self), control, RELEASING)

    def release_later(self) -> None:
        """Release the entry, for a caller that cannot wait."""
        self._journal.release_later(self)


async def held(journal: AsyncJournal, key: str, name: str) -> JournalError:
    """Return the error for an entry that another upload has claimed."""
    if await journal.has(key):
        reason, advice = f"{name!r} is being uploaded by this Uploader already", AWAIT_THAT
    else:
        reason, advice = f"the upload of {name!r} is in use by another upload or process", LET_IT_END
    return JournalError(reason, path=journal.path, advice=advice)


async def open_journal_session(  # noqa: PLR0913  # the fields of an entry's identity, each named
    source: Source,
    resources: Session,
    *,
    account_id: str,
    folder_id: str | None,
    name: str,
    origin: str | None,
    media_type: str | None,
    conflict: str,
) -> NullJournalSession:
    """Return the journal session of an upload; a null one without a journal."""
    if resources.journal is None:
        return NullJournalSession()
    if not isinstance(source, str | os.PathLike):
        return SentSession(resources.journal, Identity(account_id, folder_id, name, NO_PATH, origin))
    try:
        given = os.fspath(source)
        path = str(await resources.executor.ask(os.path.realpath, given, path=given))
    except (OSError, ValueError):  # opening the source reports what is wrong with it
        return NullJournalSession()
    return JournalSession(resources.journal, Identity(account_id, folder_id, name, path, origin), media_type, conflict)


async def take_up(
    record: NullJournalSession, api: FrameioApi, resources: Session, control: UploadControl, *, changed: bool = False
) -> Resumption | None:
    """Ask the service about the file that an earlier run began, and decide what to do with it.

    If the upload has to begin anew, the entry is erased, and the placeholder deleted unless all its parts had arrived.

    Args:
        record: A claimed one; without the source's fingerprint if the source is away and every byte has arrived.
        api: The calls.
        resources: For the service's time.
        control: For the deadline of deleting and erasing.
        changed: Whether the source has changed although it has no fingerprint: it is a directory now, or empty.

    Returns:
        What is left to do, or None if there is no entry.

    Raises:
        ApiError: The service refused, or did not answer; the entry stays as it is.
        LinksExpired: It cannot begin anew, because its plan does not say in which folder.
        JournalError: It has to begin anew, and another upload has claimed the entry since it was released.
    """
    entry = record.entry
    found = await find_step(record, api, resources, changed=changed)
    if entry is None or found is None or found.step in (ResumeAction.RESUME, ResumeAction.CONFIRM):
        return found
    await record.claim_again()
    log.debug("%r begins anew: %s", entry.identity.path, found.reason)
    if found.step is ResumeAction.REPLACE:
        await delete_placeholder(api, entry.plan.file_id, entry.identity.account_id, control)
    await record.drop(control)
    if entry.identity.folder_id is None:
        reason = "it cannot be resumed, and its plan does not contain its folder"
        raise LinksExpired(reason, file_id=entry.plan.file_id, advice="plan it again")
    return found


async def find_step(
    record: NullJournalSession, api: FrameioApi, resources: Session, *, changed: bool = False
) -> Resumption | None:
    """Ask the service about the file that an earlier run began, and decide what to do with it, without doing it.

    Args:
        record: One whose entry was read; for the rest, see `take_up`.
        api: The calls.
        resources: For the service's time.
        changed: As for `take_up`.

    Returns:
        What is left to do, or None if there is no entry.

    Raises:
        ApiError: The service refused, or did not answer.
    """
    entry = record.entry
    if entry is None:
        return None
    status = await find_status(api, entry.plan.file_id, entry.identity.account_id)
    fingerprint = None if changed else record.fingerprint or entry.fingerprint
    found = next_step(entry, fingerprint, status, resources.now().service, secure=api.is_secure)
    if found.step is ResumeAction.REPLACE and record.fingerprint is None and not changed:
        # The source is away, so the file at Frame.io may be the only copy: nothing is deleted.
        return Resumption(ResumeAction.CONFIRM)
    return found


def every_receipt(entry: Entry) -> tuple[Receipt, ...]:
    """Return a receipt for each part of a file that has arrived; without an ETag where an earlier run lost it."""
    known = {receipt.number: receipt for receipt in entry.receipts}
    return tuple(known.get(part.number, Receipt(part.number, part.size, None, None)) for part in entry.plan.parts)
