"""What an earlier run has left in the journal: taken up, begun anew, listed, or thrown away."""

from __future__ import annotations

from ._confirm import read_status
from ._core.errors import JournalError, LinksExpired, NotFound
from ._core.journal import Entry, PendingUpload, Step, next_step
from ._core.model import Receipt, UploadStatus
from ._io.api import DELETE, Api
from ._io.journal import OpenJournal
from ._io.resources import Resources
from ._planner import DELETE_AFTER_ERROR, delete_placeholder
from ._record import JournalRecord, Record


async def take_up(record: Record, api: Api, resources: Resources, *, changed: bool = False) -> Step | None:
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
    step = next_step(entry, fingerprint, told, resources.now().service, secure=api.is_secure)
    if step is Step.REPLACE and record.fingerprint is None and not changed:
        step = Step.CONFIRM  # the source is away, and it may be all that there is: nothing is removed meanwhile
    if step in (Step.RESUME, Step.CONFIRM):
        return step
    await record.own_again()
    if step is Step.REPLACE:
        await delete_placeholder(api, file_id, account_id, DELETE_AFTER_ERROR)
    await record.drop()
    if entry.identity.folder_id is None:
        raise LinksExpired("it cannot be gone on with, and its plan does not tell its folder", file_id=file_id)
    return step


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
    """Give what the journal holds."""
    return tuple(pending for _, pending in await journal.pending())


async def claim_pending(journal: OpenJournal) -> list[tuple[JournalRecord, Entry]]:
    """Take everything that nobody else is at: whoever gets the list has to release it.

    What has arrived is let go of at once: it is only confirmed, and each lock is an open file.
    """
    claimed: list[tuple[JournalRecord, Entry]] = []
    try:
        for identity, _ in await journal.pending():
            record = JournalRecord(journal, identity)
            if await record.own():
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


async def discard(journal: OpenJournal, api: Api, file_id: str) -> None:
    """Drop an upload, and delete its placeholder; a file whose parts had all arrived is kept.

    Raises:
        JournalError: The journal holds no such upload, or somebody is at it.
        ApiError: The service refused; the entry stays.
    """
    identities = [identity for identity, pending in await journal.pending() if pending.file_id == file_id]
    if not identities:
        raise JournalError(f"holds no upload of file {file_id}", path=journal.path)
    record = JournalRecord(journal, identities[0])
    if not await record.own():
        raise record.held()
    try:
        entry = record.entry
        if entry is not None and not entry.is_whole:
            told = await ask(api, entry.identity.account_id, file_id)
            if told is not None and not told.complete:
                await _delete(api, entry.identity.account_id, file_id)
        await record.drop()
    finally:
        await record.release()


async def _delete(api: Api, account_id: str, file_id: str) -> None:
    try:
        await api.call(DELETE, account_id=account_id, file_id=file_id)
    except NotFound:
        return
