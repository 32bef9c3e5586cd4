"""List, claim and discard what the journal holds: uploads that were begun and not finished."""

from __future__ import annotations

import logging

from .._core.backoff import may_pass
from .._core.errors import ApiError, JournalError
from .._core.journal import Entry, PendingUpload, Row
from .._core.listing import STACKING
from .._core.words import SEE_PENDING
from .._io.frameio_api import FrameioApi
from .._io.journal import AsyncJournal
from .confirm import find_status
from .control import UploadControl
from .placeholder import delete_file
from .resume import JournalSession, held

log = logging.getLogger("aioframeio_upload")


async def list_pending(journal: AsyncJournal) -> tuple[PendingUpload, ...]:
    """Return what the journal holds; damaged entries are logged too."""
    rows = await journal.pending()
    for row in rows:
        _warn_if_damaged(journal, row)
    return tuple(row.pending for row in rows)


def _warn_if_damaged(journal: AsyncJournal, row: Row) -> None:
    if row.is_damaged and row.key not in journal.warned:
        journal.warned.add(row.key)
        log.warning("journal %s: %s", journal.path, row.complaint)


async def claim_pending(journal: AsyncJournal) -> list[tuple[JournalSession, Entry]]:  # noqa: C901  # one loop with a release for each way out
    """Claim every upload that no other process or upload has claimed; the caller has to release them.

    An upload whose parts have all arrived is released at once: it only has to be confirmed, which two may do. Damaged
    ones are logged and left out.
    """
    claimed: list[tuple[JournalSession, Entry]] = []
    try:
        for row in await journal.pending():
            if row.identity is None:
                _warn_if_damaged(journal, row)
                continue
            record = JournalSession(journal, row.identity)
            try:
                is_ours = await record.try_claim()
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
                # None: it was finished since the rows were read. Stacking must not be done twice.
                if entry is None or (entry.is_whole and entry.conflict not in STACKING):
                    await record.release(UploadControl())
    except BaseException:
        control = UploadControl()
        for record, _ in claimed:
            await record.release(control)
        raise
    return claimed


async def discard(journal: AsyncJournal, api: FrameioApi, file_id: str, account_id: str | None = None) -> None:
    """Drop an upload from the journal and delete its placeholder; a file whose parts have all arrived is kept.

    Args:
        journal: The journal that holds it.
        api: The calls.
        file_id: As `list_pending` returns it.
        account_id: The account of a damaged entry that does not say its own.

    Raises:
        JournalError: The journal holds no such upload, or it is running.
        ApiError: The service refused; the entry stays.
    """
    rows = [row for row in await journal.pending() if row.pending.file_id == file_id]
    if not rows:
        raise JournalError(f"holds no upload of file {file_id}", path=journal.path, advice=SEE_PENDING)
    identity = rows[0].identity
    if identity is None:
        await _discard_damaged(journal, api, rows[0], rows[0].account_id or account_id)
        return
    record, control = JournalSession(journal, identity), UploadControl()
    await record.claim()
    try:
        entry = record.entry
        if entry is not None and not entry.is_whole:
            await _delete_unfinished(api, entry.identity.account_id, file_id)
        await record.drop(control)
    finally:
        await record.release(control)


async def _discard_damaged(journal: AsyncJournal, api: FrameioApi, row: Row, account_id: str | None) -> None:
    """Drop an unreadable entry; delete its placeholder if the entry still names the file and an account is known."""
    owner, file_id = object(), row.pending.file_id
    if not await journal.own(row.key, owner):
        raise await held(journal, row.key, file_id)
    try:
        reason = "its account is not known" if row.has_file and account_id is None else None
        if row.has_file and account_id is not None:
            try:
                await _delete_unfinished(api, account_id, file_id)
            except ApiError as error:
                # A damaged account ID is refused forever, and would keep the entry forever.
                if may_pass(error.status):
                    raise
                reason = str(error)
        if reason is not None:
            log.warning("file %s may be left at Frame.io without all its bytes: %s", file_id, reason)
        await journal.erase(row.mark)
    finally:
        await journal.release(owner)


async def _delete_unfinished(api: FrameioApi, account_id: str, file_id: str) -> None:
    """Delete a file that lacks bytes, if it is there."""
    status = await find_status(api, file_id, account_id)
    if status is not None and not status.complete:
        await delete_file(api, file_id, account_id)
