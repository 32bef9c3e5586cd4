"""Apply the conflict rules: skip a file that is there already, or stack a new version on it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Container, Iterable

from .._core.checksums import CRC64NVME
from .._core.errors import ApiError, NotFound, PermissionDenied
from .._core.journal import SentFile
from .._core.listing import Clocks, Listing, RemoteFile, find_below, find_known, find_same, read_remote_file
from .._core.model import Part, UploadedFile
from .._io.frameio_api import CREATE_STACK, MOVE, SHOW, FrameioApi, read_listing
from .._io.part_digests import digest_part
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import OpenSource, open_source
from .resume import NullJournalSession

UNCHANGED = "unchanged since it was sent"
SAME_CONTENT = "same content"
NOT_COMPARED = "same name and size, content not compared"


def find_duplicate(  # noqa: PLR0913  # the file, and how to compare it
    listing: Listing,
    name: str,
    size: int,
    modified_ns: int | None,
    clocks: Clocks,
    *,
    exact: bool = False,
    but: str | None = None,
    known: Container[str | None] = (),
    by_time: bool = True,
) -> RemoteFile | None:
    """Return the file that a source would only repeat, for `conflict="skip"`.

    Args:
        listing: The target folder's.
        name: The source's name.
        size: Its size.
        modified_ns: Its modification time.
        clocks: The service's time and ours.
        exact: Leave out names that only look the same.
        but: The ID of a file to leave out.
        known: IDs of files that the source was sent as, and has not changed since. They come first, because the times
            of two clocks may say anything.
        by_time: Whether another file of that size counts too, if it is newer than the source.
    """
    namesakes = listing.namesakes(name, exact=exact, but=but)
    there = find_known(namesakes, known)
    return there or (find_same(namesakes, size, modified_ns, clocks) if by_time else None)


async def compare_content(
    duplicate: RemoteFile,
    sent: Iterable[SentFile],
    unchanged: Container[str | None],
    digest: Callable[[], Awaitable[str]],
) -> str | None:
    """Return what makes a source the same as a file at Frame.io; None if its content differs.

    Args:
        duplicate: The file at Frame.io.
        sent: What this machine has sent there.
        unchanged: IDs of files that the source was sent as, and has not changed since.
        digest: Reads the source and returns its CRC64NVME; called only if that of the file is known.
    """
    if duplicate.id in unchanged:
        return UNCHANGED
    known = next((one for one in sent if one.file_id == duplicate.id), None)
    if known is None or known.crc64nvme is None:
        return NOT_COMPARED
    return SAME_CONTENT if await digest() == known.crc64nvme else None


async def crc64nvme_of(found: OpenSource, resources: Session) -> str:
    """Read an open source once and return its CRC64NVME.

    Raises:
        SourceError: It cannot be read, or changes meanwhile.
    """
    whole = CRC64NVME.begin()
    async with found.lend(Part(1, 0, found.size, "")) as lent:
        await digest_part((whole,), lent, found.size, resources.blocks, resources.timeouts.stall)
    await found.check()
    return whole.value()


async def crc64nvme_of_path(source: Source, resources: Session) -> str:
    """Open a source, read it once, and return its CRC64NVME.

    Raises:
        SourceError: It cannot be read, or changes meanwhile.
    """
    with contextlib.closing(await open_source(source, None, resources.executor, resources.spool)) as found:
        return await crc64nvme_of(found, resources)


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
    duplicate: RemoteFile, record: NullJournalSession, size: int, *, account_id: str, folder_id: str, reason: str
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
