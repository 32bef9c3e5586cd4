"""Apply the conflict rules: skip a file that is there already, or stack a new version on it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from .._core.errors import ApiError, NotFound, PermissionDenied
from .._core.journal import SentFile
from .._core.listing import Clocks, Compare, Listing, RemoteFile, find_below, find_known, find_same, read_remote_file
from .._core.model import UploadedFile
from .._core.verifying import StoredOriginal, compare_original
from .._io.frameio_api import CREATE_STACK, MOVE, SHOW, FrameioApi, read_listing
from .._io.session import Session
from .content import SourceContent, SourceReader
from .resume import NullJournalSession
from .verify import ask_original

log = logging.getLogger("aioframeio_upload")

UNCHANGED = "unchanged since it was sent"
STILL_SAME = "unchanged since it was compared"
SAME_CONTENT = "same content"
NOT_COMPARED = "same name and size, content not compared"
IS_STREAM = "a stream can be read only once"

AskOriginal: TypeAlias = Callable[[str], Awaitable[StoredOriginal]]
"""Asks about the original of a file, by its ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """A source that is looked for in the listing of its target folder."""

    name: str
    size: int
    modified_ns: int | None
    exact: bool = False
    """Whether names that only look the same are left out."""
    but: str | None = None
    """The ID of a file to leave out."""
    known: frozenset[str] = frozenset()
    """IDs of files that the source was sent or compared as, with the size and modification time that it has now."""
    unchanged: frozenset[str] = frozenset()
    """Those of them since when it has not changed at all, so that it need not be read to compare it."""
    by_time: bool = True
    """Whether a file of its name and size that is newer than the source counts, if its content is not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a source is compared by with the files of its name."""

    sent: tuple[SentFile, ...]
    """What the journal knows of that place."""
    record: NullJournalSession
    reader: SourceReader
    ask: AskOriginal | None = None
    """Asks about the files that the journal does not know, with `compare="content"`; None to go by name, size and
    time."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder at Frame.io has of a source."""

    same: RemoteFile | None = None
    """The file that the source would only repeat."""
    reason: str | None = None
    """Why that is the same. If there is none: why one could not be compared, if so."""
    others: tuple[RemoteFile, ...] = ()
    """The namesakes that are there and not the same; they were removed from the listing."""


def asking(compare: Compare, api: FrameioApi, resources: Session, account_id: str) -> AskOriginal | None:
    """Return what asks about the originals of an account, if contents are compared."""
    return partial(ask_original, api, resources, account_id) if compare == "content" else None


async def find_there(listing: Listing, sought: Sought, clocks: Clocks, evidence: Evidence) -> Found:
    """Look for the file that a source would only repeat, and remove what it was compared with from the listing.

    Args:
        listing: The target folder's.
        sought: The source.
        clocks: The service's time and ours.
        evidence: What it is compared by.

    Raises:
        SourceError: The source cannot be read, or changes meanwhile.
        ApiError: The service did not answer a question about a file, or refused the token.
    """
    others: list[RemoteFile] = []
    doubt: str | None = None
    # Until `remove` without an await: another source may match the same file.
    while (one := find_duplicate(listing, sought, clocks, evidence)) is not None:
        listing.remove(one)
        try:
            is_same, reason = await compare(one, sought, evidence)
        except NotFound:
            continue  # deleted since it was listed: nothing is stacked on it either
        if is_same:
            return Found(one, reason, tuple(others))
        doubt = doubt or reason
        others.append(one)
    return Found(None, doubt, tuple(others))


def find_duplicate(listing: Listing, sought: Sought, clocks: Clocks, evidence: Evidence) -> RemoteFile | None:
    """Return the next file that a source may only repeat: one that it was sent as, else one of its name and size.

    Args:
        listing: The target folder's.
        sought: The source.
        clocks: The service's time and ours.
        evidence: What it will be compared by. Where that is the content, no time matters.
    """
    namesakes = listing.namesakes(sought.name, exact=sought.exact, but=sought.but)
    if (there := find_known(namesakes, sought.known)) is not None:
        return there
    # A copy, or a file that was touched, is later than what was sent.
    with_content = namesakes if evidence.ask else [one for one in namesakes if known_checksums(one, evidence)]
    if (there := find_same(with_content, sought.size, None)) is not None or not sought.by_time:
        return there
    return find_same(namesakes, sought.size, sought.modified_ns, clocks)


def known_checksums(one: RemoteFile, evidence: Evidence) -> set[str | None]:
    """Return the checksums that the journal knows of a file."""
    return {sent.crc64nvme for sent in evidence.sent if sent.file_id == one.id} - {None}


async def compare(one: RemoteFile, sought: Sought, evidence: Evidence) -> tuple[bool, str | None]:
    """Return whether a file counts as the same, and why; or why that is not known."""
    if one.id in sought.unchanged and evidence.ask is None:
        return True, why_known(one.id, evidence)
    content, doubt = None, None
    if (crcs := known_checksums(one, evidence)) and evidence.reader.can_read:
        read = await evidence.reader.read()
        content = read if read.crc64nvme in crcs else None
    elif evidence.ask is None:
        return True, NOT_COMPARED
    elif one.id == await evidence.record.file_id():
        return True, UNCHANGED  # an earlier run began it: it is resumed, see `skip_result`
    else:
        content, doubt = await _compare_original(one, evidence.ask, evidence.reader)
    if content is None:
        return False, doubt
    if content.modified_ns is not None and one.id not in sought.unchanged:
        await evidence.record.remember(one.id, content)
    return True, SAME_CONTENT


async def _compare_original(
    one: RemoteFile, ask: AskOriginal, reader: SourceReader
) -> tuple[SourceContent | None, str | None]:
    """Return the content of the source if it is that of a file's original, else None; and why that is not known."""
    if not reader.can_read:
        return None, f"{NOT_COMPARED}: {IS_STREAM}"
    log.debug("%r is compared with file %s", one.name, one.id)
    try:
        stored = await ask(one.id)
    except PermissionDenied:
        return None, f"{NOT_COMPARED}: the file may not be read"
    if stored.size != one.size:
        return None, None
    if not stored.is_comparable:
        return None, f"{NOT_COMPARED}: {stored.obstacle}"
    content = await reader.read(stored.md5_parts)
    found = compare_original(stored, content.size, content.crc64nvme, content.md5s)
    if found.checksum is None and found.size:
        return None, f"{NOT_COMPARED}: {stored.obstacle}"
    return (content if found.checksum else None), None


def why_known(file_id: str, evidence: Evidence) -> str:
    """Return why a file is the same that a source was sent or compared as, and has not changed since."""
    path = evidence.record.path
    row = next((sent for sent in evidence.sent if (sent.file_id, sent.path) == (file_id, path)), None)
    return STILL_SAME if row is not None and row.is_compared else UNCHANGED


async def find_elsewhere(api: FrameioApi, file_id: str, account_id: str) -> RemoteFile | None:
    """Return a file that is not in its folder's listing: moved, renamed or in a stack; None if it was deleted."""
    try:
        answer = await api.call(SHOW, account_id=account_id, file_id=file_id)
    except (NotFound, PermissionDenied):
        return None
    found = read_remote_file(answer)
    return found if found is not None and found.has_arrived else None


def find_base(listing: Listing, name: str, *, exact: bool = False, but: str | None = None) -> RemoteFile | None:
    """Return the file or stack that a new version is stacked on, for `conflict="version"`."""
    return find_below(listing.namesakes(name, exact=exact, but=but))


async def skip_result(
    duplicate: RemoteFile, record: NullJournalSession, size: int, *, account_id: str, folder_id: str, reason: str | None
) -> UploadedFile | None:
    """Return the result of skipping a source, or None if the duplicate is the file that an earlier run began.

    That file is resumed instead; otherwise its entry, with the links, would stay in the journal for ever.
    """
    if await record.file_id() == duplicate.id:
        return None
    return UploadedFile(
        id=duplicate.id,
        name=duplicate.name,
        size=size,
        account_id=account_id,
        folder_id=folder_id,
        media_type=duplicate.media_type,
        view_url=duplicate.view_url,
        status=duplicate.status or "uploaded",
        outcome="skipped",
        reason=reason,
    )


async def stack_on_namesake(api: FrameioApi, file: UploadedFile, folder_id: str) -> None:
    """Stack a file that has arrived on the file of its name, if there is one.

    The listing is read only now: what was there when a long upload began may be in a stack since, or deleted.

    Raises:
        ApiError: The service refused; the file stays where it is, and the error names it.
    """
    try:
        listing = await read_listing(api, file.account_id, folder_id)
    except ApiError as error:
        raise _not_stacked(error, file) from None
    base = find_base(listing, file.name, but=file.id)
    if base is not None:
        await stack(api, file, base)


async def stack(api: FrameioApi, file: UploadedFile, base: RemoteFile) -> None:
    """Put a file that has arrived on top of another: on that one's stack, or on a new stack of both.

    Raises:
        ApiError: The service refused; the file stays where it is, and the error names it.
    """
    lost: list[str] = []
    try:
        if base.stack_id is not None:
            await api.call(
                MOVE,
                account_id=file.account_id,
                file_id=file.id,
                body={"parent_id": base.stack_id},
                on_lost=lost.append,
            )
        else:
            await api.call(
                CREATE_STACK,
                account_id=file.account_id,
                folder_id=file.folder_id or "",
                body={"file_ids": [base.id, file.id]},
                on_lost=lost.append,
            )
    except ApiError as error:
        # If the answer to a call that worked was lost, its retry is refused.
        if not lost or not await _are_stacked(api, file, base):
            raise _not_stacked(error, file) from None


async def _are_stacked(api: FrameioApi, file: UploadedFile, base: RemoteFile) -> bool:
    """Return whether both are in one stack: one is its head, and the other is nowhere else in the folder."""
    try:
        listing = await read_listing(api, file.account_id, file.folder_id or "")
    except ApiError:
        return False
    found = [one for alike in listing.files.values() for one in alike if one.id in (file.id, base.id)]
    return len(found) == 1 and found[0].stack_id is not None


def _not_stacked(error: ApiError, file: UploadedFile) -> ApiError:
    return type(error)(
        f"{error.detail}; file {file.id} is there, and not stacked on its namesake",
        operation=error.operation,
        status=error.status,
        request_id=error.request_id,
        file_id=file.id,
    )
