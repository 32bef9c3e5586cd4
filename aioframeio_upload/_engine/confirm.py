"""Wait until the service has assembled the file."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from .._core.api_schema import read_instant
from .._core.errors import ApiError, ConfirmationError
from .._core.model import Plan, Receipt, UploadedFile, UploadStatus
from .._core.settings import Timeouts
from .._io.frameio_api import STATUS, FrameioApi

FIRST_PAUSE = 0.25
"""Seconds: a small file is put together about as fast as it can be asked for."""

LONGEST_PAUSE = 10.0
"""Seconds: a terabyte takes minutes, and the service allows five questions a second to all uploads of a user."""

PAUSE_GROWTH = 1.6


def next_pause(pause: float) -> float:
    """Give the pause between two questions after one of `pause` seconds."""
    return min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


def seconds_for(timeouts: Timeouts, size: int, *, must: bool) -> float:
    """Give how long to wait for a file; where it `must` have arrived for what follows, even if nobody wants to wait."""
    return timeouts.confirm_for(size) or (Timeouts().confirm_for(size) if must else 0.0)


async def read_status(
    api: FrameioApi, file_id: str, account_id: str, on_outage: Callable[[float], None] | None = None
) -> UploadStatus:
    """Ask once; see `Api.call` for `on_outage`."""
    told = await api.call(STATUS, account_id=account_id, file_id=file_id, on_outage=on_outage)
    for name in ("upload_complete", "upload_failed"):
        if not isinstance(told.get(name), bool):
            raise ApiError(f"the answer has no {name}", operation=STATUS.name, status=200, file_id=file_id)
    media_type = told.get("filetype")
    return UploadStatus(
        file_id=file_id,
        complete=told["upload_complete"],
        failed=told["upload_failed"],
        completed_at=read_instant(told.get("upload_completed_at")),
        started_at=read_instant(told.get("uploaded_at")),
        media_type=media_type if isinstance(media_type, str) else None,
    )


async def confirm(
    api: FrameioApi, plan: Plan, account_id: str, seconds: float, receipts: tuple[Receipt, ...] = ()
) -> UploadedFile:
    """Wait until the service has the whole file.

    Raises:
        ConfirmationError: It failed there, or took longer than `seconds`; the file is kept.
        ApiError: The service cannot be asked.
    """
    told: UploadStatus | None = None
    reason: str | None = None
    with anyio.move_on_after(seconds) as waiting:

        def on_outage(lost: float) -> None:
            waiting.deadline += lost  # the service had no chance to say so

        pause = FIRST_PAUSE
        while seconds > 0:
            told = await read_status(api, plan.file_id, account_id, on_outage)
            if told.failed:
                reason = "the service says that the upload failed"
            if told.complete or told.failed:
                break
            await anyio.sleep(pause)
            pause = next_pause(pause)
    if waiting.cancelled_caught:
        reason = f"the service did not say within {seconds:g} s that it is complete"
    if reason is not None:
        raise ConfirmationError(reason, file_id=plan.file_id, failed=told is not None and told.failed)
    if told is None:
        return as_file(plan, account_id, receipts)
    return as_file(plan, account_id, receipts, status="uploaded", media_type=told.media_type)


def as_file(
    plan: Plan,
    account_id: str,
    receipts: tuple[Receipt, ...],
    *,
    status: str | None = None,
    media_type: str | None = None,
) -> UploadedFile:
    """Give the file that a plan has become, with what the service said of it last."""
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
    )
