"""The journal as one upload uses it: take up an entry, record receipts, discard."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable

import anyio

from .._core.backoff import may_pass
from .._core.errors import ApiError, JournalError, LinksExpired, NotFound
from .._core.journal import Entry, Fingerprint, Identity, PendingUpload, ResumeAction, Resumption, Row, next_step
from .._core.model import Plan, Receipt, UploadStatus
from .._io.frameio_api import DELETE, FrameioApi
from .._io.journal import AsyncJournal
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import OpenSource
from .confirm import read_status
from .placeholder import DELETE_AFTER_ERROR, delete_placeholder

log = logging.getLogger("aioframeio_upload")

ERASING = 15.0
"""Seconds to wait until an upload is erased: longer than SQLite waits for others, so that a failure is told."""

WHEN_CANCELLED = 0.4
"""Seconds to wait for that, or to be let go of, in the second in which a cancelled upload ends; it is done all the same
where it takes longer."""


class NullJournalSession:
    """Of an upload that nothing is recorded of: there is no journal, or no later run could find its source."""

    entry: Entry | None = None
    """What an earlier run has left, until it is gone on with."""
    is_begun = False
    """Whether the file at the service is recorded, so that a later run can go on with it."""

    fingerprint: Fingerprint | None = None
    """The source's, as it is now."""

    async def file_id(self) -> str | None:
        """Look which file is recorded, without taking it."""
        return None

    async def own_again(self) -> None:
        """Take it, where it was let go of with what is recorded in mind."""

    async def look_at(self, source: OpenSource) -> None:
        """Take the source's fingerprint."""

    async def begin(self, plan: Plan) -> None:
        """Record a file that was just created."""

    async def note(self, receipt: Receipt) -> None:
        """Record that S3 has a part."""

    async def drop(self, seconds: float = ERASING) -> None:
        """Erase it all."""

    async def release(self, seconds: float = WHEN_CANCELLED) -> None:
        """Let another process, or another upload, have it."""


class JournalSession(NullJournalSession):
    """One upload's place in the journal. Owned by one upload in one process, by `own`."""

    def __init__(
        self, journal: AsyncJournal, identity: Identity, media_type: str | None = None, conflict: str = "create"
    ) -> None:
        self._journal = journal
        self._identity = identity
        self._key = identity.key
        self.media_type = media_type
        self.conflict = conflict
        self._file_id: str | None = None
        """The file that is recorded, as far as we know: what another one has begun since is not ours to erase."""
        self._is_owned = False

    async def file_id(self) -> str | None:
        """Look which file is recorded, without taking it.

        Raises:
            JournalError: What is recorded is damaged, or cannot be read.
        """
        entry = await self._journal.find(self._key)
        return None if entry is None else entry.plan.file_id

    async def own(self) -> bool:
        """Take it, and read what an earlier run has left; False where somebody else has it."""
        try:
            if not await self._journal.own(self._key, self):
                return False
            self._is_owned = True
            self.entry = await self._journal.find(self._key)
        except BaseException:
            await self.release()
            raise
        self.is_begun = self.entry is not None
        self._file_id = None if self.entry is None else self.entry.plan.file_id
        return True

    async def own_again(self) -> None:
        """Take it, where it was let go of with what is recorded in mind.

        Raises:
            JournalError: Somebody else has it, or has gone on with it.
        """
        before = self._file_id
        if not self._is_owned and (not await self.own() or self._file_id != before):
            raise self.held()

    def held(self) -> JournalError:
        """Say that somebody else has it."""
        reason = f"the upload of {self._identity.name!r} is another process's, or another upload's, at this moment"
        return JournalError(reason, path=self._journal.path)

    async def look_at(self, source: OpenSource) -> None:
        """Take the source's fingerprint."""
        self.fingerprint = await source.fingerprint()

    async def begin(self, plan: Plan) -> None:
        """Record a file that was just created.

        Raises:
            JournalError: It could not be, and so cannot be gone on with.
        """
        assert self.fingerprint is not None
        # Begun before it is written, for a cancellation does not stop that.
        self.is_begun, self._file_id = True, plan.file_id
        try:
            entry = Entry(self._identity, self.fingerprint, plan, self.media_type, self.conflict)
            await self._journal.begin(entry)
        except JournalError as error:
            self.is_begun = False
            raise JournalError(f"{error.reason}; {plan.name!r} was not begun", path=error.path) from error

    async def note(self, receipt: Receipt) -> None:
        """Record that S3 has a part.

        Raises:
            JournalError: It could not be; a later run sends it again.
        """
        try:
            await self._journal.note(self._key, receipt)
        except JournalError as error:
            reason = f"{error.reason}; {self._identity.name!r} was stopped, and can be gone on with"
            raise JournalError(reason, path=error.path) from error

    async def drop(self, seconds: float = ERASING) -> None:
        """Erase it, links included; where that does not work, say so and go on."""
        file_id, self.is_begun, self.entry, self._file_id = self._file_id, False, None, None
        if file_id is None:
            return
        try:
            await _within(seconds, self._journal.drop(self._key, file_id))
        except JournalError as error:
            log.warning(
                "%r is no longer pending, but could not be erased from the journal: %s", self._identity.name, error
            )

    async def release(self, seconds: float = WHEN_CANCELLED) -> None:
        """Let another process, or another upload, have it."""
        self._is_owned = False
        await _within(seconds, self._journal.release(self))

    def release_later(self) -> None:
        """Let go of it, for a caller that cannot wait."""
        self._journal.release_later(self)


async def _within(seconds: float, step: Awaitable[None]) -> None:
    """Wait for a step of the journal, which goes on by itself where that is over."""
    with anyio.move_on_after(seconds, shield=True):
        await step


async def open_journal_session(
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
    """Give an upload's place in the journal, if there is a journal and the source is one that a later run can find."""
    if resources.journal is None or not isinstance(source, str | os.PathLike):
        return NullJournalSession()
    try:
        told = os.fspath(source)
        path = str(await resources.executor.ask(os.path.realpath, told, path=told))
    except (OSError, ValueError):  # opening it says what is wrong with it
        return NullJournalSession()
    return JournalSession(resources.journal, Identity(account_id, folder_id, name, path, origin), media_type, conflict)


async def take_up(
    record: NullJournalSession, api: FrameioApi, resources: Session, *, changed: bool = False
) -> Resumption | None:
    """Ask the service for the file that an earlier run began, and decide what to do with it.

    Where it is to begin anew the entry is erased, and the placeholder deleted unless all its parts had arrived.

    Args:
        record: This upload's; without the source's fingerprint where the source is gone, and every byte has arrived.
        api: To ask with.
        resources: For the service's time.
        changed: Whether the source is known to be another one, although it has no fingerprint: a directory, or empty.

    Returns:
        What is left to do, or None where there is no entry.

    Raises:
        ApiError: The service cannot be asked; the entry stays as it is.
        LinksExpired: It cannot begin anew, for its plan does not tell its folder.
        JournalError: It is to begin anew, and somebody else is at it since it was let go of.
    """
    entry = record.entry
    if entry is None:
        return None
    account_id, file_id = entry.identity.account_id, entry.plan.file_id
    told = await ask(api, account_id, file_id)
    fingerprint = None if changed else record.fingerprint or entry.fingerprint
    found = next_step(entry, fingerprint, told, resources.now().service, secure=api.is_secure)
    if found.step is ResumeAction.REPLACE and record.fingerprint is None and not changed:
        found = Resumption(
            ResumeAction.CONFIRM
        )  # the source is away, and it may be all that there is: nothing is removed
    if found.step in (ResumeAction.RESUME, ResumeAction.CONFIRM):
        return found
    await record.own_again()
    log.debug("%r begins anew: %s", entry.identity.path, found.reason)
    if found.step is ResumeAction.REPLACE:
        await delete_placeholder(api, file_id, account_id, DELETE_AFTER_ERROR)
    await record.drop()
    if entry.identity.folder_id is None:
        raise LinksExpired("it cannot be gone on with, and its plan does not tell its folder", file_id=file_id)
    return found


async def ask(api: FrameioApi, account_id: str, file_id: str) -> UploadStatus | None:
    """Ask once for a file's status; None where there is no such file."""
    try:
        return await read_status(api, file_id, account_id)
    except NotFound:
        return None


def every_receipt(entry: Entry) -> tuple[Receipt, ...]:
    """Give a receipt for each part of a file that has arrived; one that was lost with its process tells no ETag."""
    known = {receipt.number: receipt for receipt in entry.receipts}
    return tuple(known.get(part.number, Receipt(part.number, part.size, None, None)) for part in entry.plan.parts)


async def list_pending(journal: AsyncJournal) -> tuple[PendingUpload, ...]:
    """Give what the journal holds; what is damaged is told in the log, too."""
    rows = await journal.pending()
    for row in rows:
        _tell_damaged(journal, row)
    return tuple(row.pending for row in rows)


def _tell_damaged(journal: AsyncJournal, row: Row) -> None:
    if row.is_damaged and row.key not in journal.warned:
        journal.warned.add(row.key)
        log.warning("journal %s: %s", journal.path, row.complaint)


async def claim_pending(journal: AsyncJournal) -> list[tuple[JournalSession, Entry]]:
    """Take everything that nobody else is at: whoever gets the list has to release it.

    What has arrived is let go of at once: it is only confirmed, and two that ask do no harm. What is damaged is passed
    over, and told in the log.
    """
    claimed: list[tuple[JournalSession, Entry]] = []
    try:
        for row in await journal.pending():
            if row.identity is None:
                _tell_damaged(journal, row)
                continue
            record = JournalSession(journal, row.identity)
            try:
                is_ours = await record.own()
            except JournalError as error:
                if error.file_id is None:
                    raise
                if row.key not in journal.warned:
                    journal.warned.add(row.key)
                    log.warning("%s", error)
                continue
            if is_ours:
                entry = record.entry
                if entry is not None:
                    record.media_type, record.conflict = entry.media_type, entry.conflict
                    claimed.append((record, entry))
                if entry is None or (entry.is_whole and entry.conflict != "version"):  # None: finished since
                    await record.release()
    except BaseException:
        for record, _ in claimed:
            await record.release()
        raise
    return claimed


async def discard(journal: AsyncJournal, api: FrameioApi, file_id: str, account_id: str | None = None) -> None:
    """Drop an upload, and delete its placeholder; a file whose parts had all arrived is kept.

    Args:
        journal: That holds it.
        api: To ask with.
        file_id: As `list_pending` tells it.
        account_id: Whose file it is, where that is damaged.

    Raises:
        JournalError: The journal holds no such upload, or somebody is at it.
        ApiError: The service refused; the entry stays.
    """
    rows = [row for row in await journal.pending() if row.pending.file_id == file_id]
    if not rows:
        raise JournalError(f"holds no upload of file {file_id}", path=journal.path)
    identity = rows[0].identity
    if identity is None:
        await _discard_damaged(journal, api, rows[0], rows[0].account_id or account_id)
        return
    record = JournalSession(journal, identity)
    if not await record.own():
        raise record.held()
    try:
        entry = record.entry
        if entry is not None and not entry.is_whole:
            await _delete_unfinished(api, entry.identity.account_id, file_id)
        await record.drop()
    finally:
        await record.release()


async def _discard_damaged(journal: AsyncJournal, api: FrameioApi, row: Row, account_id: str | None) -> None:
    """Drop what cannot be read, and delete its placeholder where it can be told which that is."""
    owner, file_id = object(), row.pending.file_id
    if not await journal.own(row.key, owner):
        raise JournalError(f"{file_id}: another process, or another upload, is at it", path=journal.path)
    try:
        reason = "its account is not known" if row.has_file and account_id is None else None
        if row.has_file and account_id is not None:
            try:
                await _delete_unfinished(api, account_id, file_id)
            except ApiError as error:
                # An account that is damaged, too, is refused for ever.
                if may_pass(error.status):
                    raise
                reason = str(error)
        if reason is not None:
            log.warning("file %s may be left at Frame.io without all its bytes: %s", file_id, reason)
        await journal.erase(row.mark)
    finally:
        await journal.release(owner)


async def _delete_unfinished(api: FrameioApi, account_id: str, file_id: str) -> None:
    """Delete a file that has not all its bytes, if it is there."""
    told = await ask(api, account_id, file_id)
    if told is not None and not told.complete:
        await _delete(api, account_id, file_id)


async def _delete(api: FrameioApi, account_id: str, file_id: str) -> None:
    try:
        await api.call(DELETE, account_id=account_id, file_id=file_id)
    except NotFound:
        return
