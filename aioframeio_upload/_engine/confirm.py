"""Wait until the service has put the file together, by asking for its status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from .._core.api_schema import read_instant
from .._core.checksums import WholeCrc64Nvme
from .._core.errors import ApiError, ConfirmationError, NotFound
from .._core.model import Plan, Receipt, UploadedFile, UploadStatus
from .._core.settings import Timeouts
from .._io.frameio_api import STATUS, FrameioApi

FIRST_PAUSE = 0.25
"""Seconds between the first two questions: a small file is put together about that fast."""

LONGEST_PAUSE = 10.0
"""Seconds between two questions at most: a terabyte takes minutes, and the service allows a user five questions a
second, for all uploads together."""

PAUSE_GROWTH = 1.6

COMBINED_AT_ONCE = 500
"""Checksums of parts that are combined before the loop gets its turn: half a millisecond. A file may have 10,000."""


def next_pause(pause: float) -> float:
    """Return the pause that follows a pause of `pause` seconds."""
    return min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


def seconds_for(timeouts: Timeouts, size: int, *, must: bool) -> float:
    """Return how long to wait for a file.

    With `must`, a time even if `Timeouts(confirm=0)` asks for no waiting: what follows needs the file to be there.
    """
    return timeouts.confirm_for(size) or (Timeouts().confirm_for(size) if must else 0.0)


async def read_status(
    api: FrameioApi, file_id: str, account_id: str, on_outage: Callable[[float], None] | None = None
) -> UploadStatus:
    """Ask for a file's status once; see `FrameioApi.call` for `on_outage`.

    Raises:
        ApiError: The service refused or did not answer, or the answer lacks a field.
    """
    answer = await api.call(STATUS, account_id=account_id, file_id=file_id, on_outage=on_outage)
    for name in ("upload_complete", "upload_failed"):
        if not isinstance(answer.get(name), bool):
            raise ApiError(f"the answer has no {name}", operation=STATUS.name, status=200, file_id=file_id)
    media_type = answer.get("filetype")
    return UploadStatus(
        file_id=file_id,
        complete=answer["upload_complete"],
        failed=answer["upload_failed"],
        completed_at=read_instant(answer.get("upload_completed_at")),
        started_at=read_instant(answer.get("uploaded_at")),
        media_type=media_type if isinstance(media_type, str) else None,
    )


async def find_status(api: FrameioApi, file_id: str, account_id: str) -> UploadStatus | None:
    """Ask for a file's status once; return None if there is no such file."""
    try:
        return await read_status(api, file_id, account_id)
    except NotFound:
        return None


async def confirm(
    api: FrameioApi, plan: Plan, account_id: str, seconds: float, receipts: tuple[Receipt, ...] = ()
) -> UploadedFile:
    """Wait until the service has the whole file.

    Raises:
        ConfirmationError: The upload failed there, or took longer than `seconds`; the file is kept.
        ApiError: The service refused, or did not answer.
    """
    status: UploadStatus | None = None
    reason: str | None = None
    with anyio.move_on_after(seconds) as waiting:

        def on_outage(lost: float) -> None:
            waiting.deadline += lost  # a service that cannot be reached cannot report a file as complete

        pause = FIRST_PAUSE
        while seconds > 0:
            status = await read_status(api, plan.file_id, account_id, on_outage)
            if status.failed:
                reason = "the service says that the upload failed"
            if status.complete or status.failed:
                break
            await anyio.sleep(pause)
            pause = next_pause(pause)
    if waiting.cancelled_caught:
        reason = f"the service did not say within {seconds:g} s that it is complete"
    if reason is not None:
        raise ConfirmationError(reason, file_id=plan.file_id, failed=status is not None and status.failed)
    if status is None:
        return await as_file(plan, account_id, receipts)
    return await as_file(plan, account_id, receipts, status="uploaded", media_type=status.media_type)


async def as_file(
    plan: Plan,
    account_id: str,
    receipts: tuple[Receipt, ...],
    *,
    status: str | None = None,
    media_type: str | None = None,
) -> UploadedFile:
    """Return the file that was uploaded by a plan, with the status that the service reported last."""
    whole = WholeCrc64Nvme()
    for begin in range(0, len(receipts), COMBINED_AT_ONCE):
        if begin:
            await asyncio.sleep(0)
        whole.add(receipts[begin : begin + COMBINED_AT_ONCE])
    return UploadedFile(
        id=plan.file_id,
        name=plan.name,
        size=plan.size,
        account_id=account_id,
        folder_id=plan.folder_id,
        media_type=plan.media_type or media_type,
        view_url=plan.view_url,
        status=status or plan.status,
        etags=tuple(receipt.etag for receipt in receipts),
        md5s=tuple(receipt.md5 for receipt in receipts),
        crc64nvme=whole.value(),
        part_crc64nvmes=tuple(receipt.crc64nvme for receipt in receipts),
        checked_by=tuple(receipt.checked_by for receipt in receipts),
    )
