"""What an earlier run has left in the journal: taken up, begun anew, listed, or thrown away."""

from __future__ import annotations

import logging

from ._confirm import read_status
from ._core.errors import ApiError, JournalError, LinksExpired, NotFound
from ._core.journal import Entry, PendingUpload, Resumption, Row, Step, next_step
from ._core.model import Receipt, UploadStatus
from ._core.retry import may_pass
from ._io.api import DELETE, Api
from ._io.journal import OpenJournal
from ._io.resources import Resources
from ._planner import DELETE_AFTER_ERROR, delete_placeholder
from ._record import JournalRecord, Record

log = logging.getLogger("aioframeio_upload")


async def take_up(record: Record, api: Api, resources: Resources, *, changed: bool = False) -> Resumption | None:
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
    if found.step is Step.REPLACE and record.fingerprint is None and not changed:
        found = Resumption(Step.CONFIRM)  # the source is away, and it may be all that there is: nothing is removed
    if found.step in (Step.RESUME, Step.CONFIRM):
        return found
    await record.own_again()
    log.debug("%r begins anew: %s", entry.identity.path, found.reason)
    if found.step is Step.REPLACE:
        await delete_placeholder(api, file_id, account_id, DELETE_AFTER_ERROR)
    await record.drop()
    if entry.identity.folder_id is None:
        raise LinksExpired("it cannot be gone on with, and its plan does not tell its folder", file_id=file_id)
    return found


async def ask(api: Api, account_id: str, file_id: str) -> UploadStatus | None:
    """Ask once for a file's status; None where there is no such file."""
    try:
        return await read_status(api, file_id, account_id)
    except NotFound:
        return None


def every_receipt(entry: Entry) -> tuple[Receipt, ...]:
    """Give a receipt for each part of a file that has arrived; one that was lost with its process tells no ETag."""
    known = {receipt.number: receipt for receipt in entry.receipts}
    return tuple(known.get(part.number, Receipt(part.number, part.size, None, None)) for part in entry.plan.parts)


async def list_pending(journal: OpenJournal) -> tuple[PendingUpload, ...]:
    """Give what the journal holds; what is damaged is told in the log, too."""
    rows = await journal.pending()
    for row in rows:
        _tell_damaged(journal, row)
    return tuple(row.pending for row in rows)


def _tell_damaged(journal: OpenJournal, row: Row) -> None:
    if row.is_damaged and row.key not in journal.warned:
        journal.warned.add(row.key)
        log.warning("journal %s: %s", journal.path, row.complaint)


async def claim_pending(journal: OpenJournal) -> list[tuple[JournalRecord, Entry]]:
    """Take everything that nobody else is at: whoever gets the list has to release it.

    What has arrived is let go of at once: it is only confirmed, and two that ask do no harm. What is damaged is passed
    over, and told in the log.
    """
    claimed: list[tuple[JournalRecord, Entry]] = []
    try:
        for row in await journal.pending():
            if row.identity is None:
                _tell_damaged(journal, row)
                continue
            record = JournalRecord(journal, row.identity)
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


async def discard(journal: OpenJournal, api: Api, file_id: str, account_id: str | None = None) -> None:
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
    record = JournalRecord(journal, identity)
    if not await record.own():
        raise record.held()
    try:
        entry = record.entry
        if entry is not None and not entry.is_whole:
            await _delete_unfinished(api, entry.identity.account_id, file_id)
        await record.drop()
    finally:
        await record.release()


async def _discard_damaged(journal: OpenJournal, api: Api, row: Row, account_id: str | None) -> None:
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


async def _delete_unfinished(api: Api, account_id: str, file_id: str) -> None:
    """Delete a file that has not all its bytes, if it is there."""
    told = await ask(api, account_id, file_id)
    if told is not None and not told.complete:
        await _delete(api, account_id, file_id)


async def _delete(api: Api, account_id: str, file_id: str) -> None:
    try:
        await api.call(DELETE, account_id=account_id, file_id=file_id)
    except NotFound:
        return
