"""The conflict rules: skip a file that is already there, or stack a new version on it."""

from __future__ import annotations

from .._core.errors import ApiError, SourceError
from .._core.listing import RemoteFile, find_below, find_same
from .._core.model import Plan, Receipt, UploadedFile
from .._io.frameio_api import CREATE_STACK, MOVE, FrameioApi, read_listing
from .._io.sources import check_size, open_source
from .confirm import confirm, seconds_for
from .job import UploadJob


async def deliver(delivery: UploadJob) -> UploadedFile:
    """Run a delivery as its `conflict` asks."""
    # What the journal has handed over is not looked for: it was begun, and its source may be gone.
    looks = delivery.conflict == "skip" and delivery.record is None
    # And what an earlier run has begun itself is gone on with, or the journal would hold it, links included, for ever.
    if looks and (there := await _find_there(delivery)) is not None and not await delivery.is_pending(there.id):
        return there

    async def stack_up(plan: Plan, receipts: tuple[Receipt, ...]) -> UploadedFile:
        # Only what has arrived can be stacked, whatever `Timeouts.confirm` says.
        seconds = seconds_for(delivery.resources.timeouts, plan.size, must=True)
        file = await confirm(delivery.api, plan, delivery.account_id, seconds, receipts)
        # Looked for only now: what was there hours ago may be in a stack, or gone.
        try:
            listing = await read_listing(delivery.api, delivery.account_id, delivery.folder_id or "")
        except ApiError as error:
            raise _not_stacked(error, file) from None
        below = find_below(listing.namesakes(file.name, but=file.id))
        if below is not None:
            await stack(delivery.api, file, below)
        return file

    if delivery.conflict == "version":
        delivery.settle = stack_up
    return await delivery.run()


async def _find_there(delivery: UploadJob) -> UploadedFile | None:
    """Give the file that the source would only repeat."""
    resources = delivery.resources
    async with resources.file_slots:
        try:
            found = await open_source(delivery.source, delivery.size, resources.executor, resources.spool)
            found.close()
            size = check_size(found, delivery.size)
        except SourceError:
            if resources.journal is None:
                raise
            return None  # the delivery meets it again, and knows what becomes of an earlier upload of this source
    folder_id = delivery.folder_id or ""
    listing = await read_listing(delivery.api, delivery.account_id, folder_id)
    same = find_same(listing.namesakes(delivery.name), size, found.modified_ns, resources.clocks())
    if same is None:
        return None
    return found_there(same, size=size, account_id=delivery.account_id, folder_id=folder_id)


def found_there(same: RemoteFile, *, size: int, account_id: str, folder_id: str) -> UploadedFile:
    """Return the file that the source would only repeat, as the result of leaving it alone."""
    return UploadedFile(
        id=same.id,
        name=same.name,
        size=size,
        account_id=account_id,
        folder_id=folder_id,
        media_type=same.media_type,
        view_url=same.view_url,
        status=same.status or "uploaded",
        outcome="skipped",
    )


async def stack(api: FrameioApi, file: UploadedFile, below: RemoteFile) -> None:
    """Put a file that has arrived on top of its namesake: on its stack, or on a new one of both.

    Raises:
        ApiError: That was refused; the file stays where it is, and the error names it.
    """
    lost: list[str] = []
    try:
        if below.stack_id is not None:
            await api.call(
                MOVE,
                account_id=file.account_id,
                file_id=file.id,
                body={"parent_id": below.stack_id},
                on_lost=lost.append,
            )
        else:
            await api.call(
                CREATE_STACK,
                account_id=file.account_id,
                folder_id=file.folder_id or "",
                body={"file_ids": [below.id, file.id]},
                on_lost=lost.append,
            )
    except ApiError as error:
        # A repeat is refused where the try whose answer was lost has done it.
        if not lost or not await _are_stacked(api, file, below):
            raise _not_stacked(error, file) from None


async def _are_stacked(api: FrameioApi, file: UploadedFile, below: RemoteFile) -> bool:
    """Say whether both are in one stack: one of them is its head, and the other is nowhere else in the folder."""
    try:
        listing = await read_listing(api, file.account_id, file.folder_id or "")
    except ApiError:
        return False
    found = [one for alike in listing.files.values() for one in alike if one.id in (file.id, below.id)]
    return len(found) == 1 and found[0].stack_id is not None


def _not_stacked(error: ApiError, file: UploadedFile) -> ApiError:
    return type(error)(
        f"{error.detail}; file {file.id} is there, and not stacked on its namesake",
        operation=error.operation,
        status=error.status,
        request_id=error.request_id,
        file_id=file.id,
    )
