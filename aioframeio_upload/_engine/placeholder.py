"""Create the file at Frame.io and read its plan; delete a placeholder that lacks bytes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import anyio

from .._core.api_schema import MalformedAnswer, is_header_value, read_id, read_size
from .._core.errors import ApiError, PlanError, UploadError
from .._core.model import Plan, UploadedFile, check_secure
from .._core.redact import Secret
from .._io.frameio_api import CREATE, CREATE_REMOTE, DELETE, FrameioApi
from .cleanup import wait_uncancelled

log = logging.getLogger("aioframeio_upload")

GRACE_FOR_CREATE = 0.4
"""Seconds that a cancelled upload waits for the answer to a `create` under way, to delete what it made; with
`DELETE_WHEN_CANCELLED` it keeps the promise that nothing runs a second after a cancel."""

DELETE_WHEN_CANCELLED = 0.4
DELETE_AFTER_ERROR = 10.0
"""Seconds for removing a placeholder. Best effort: what is left is named in a warning."""


async def create_file(
    api: FrameioApi, *, name: str, size: int, folder_id: str, account_id: str, media_type: str | None
) -> Plan:
    """Create the file and read its plan; a cancellation waits a moment for the answer and deletes what was made.

    Where no request is under way it does not wait, and no request begins after it.

    Raises:
        ApiError: Refused, no answer, or one that lacks a field.
        PlanError: The sizes of the parts do not add up to the file's, or a link is http and the API https; it was
            deleted again.
    """

    def on_lost(reason: str) -> None:
        log.warning(
            "creating %r in folder %s: %s; a file without its bytes may have been made there", name, folder_id, reason
        )

    is_in_flight = is_cancelled = False

    def on_flight(begun: bool) -> None:
        nonlocal is_in_flight
        is_in_flight = begun
        if is_cancelled and not begun:
            creating.cancel()

    async def make() -> Plan:
        answer = Secret(
            await api.call(
                CREATE,
                account_id=account_id,
                folder_id=folder_id,
                body={"name": name, "file_size": size},
                on_lost=on_lost,
                on_flight=on_flight,
            )
        )
        received = api.now()

        def read() -> Plan | UploadError:
            plan = _read_plan(answer, size, account_id, is_secure=api.is_secure)
            if not isinstance(plan, Plan):
                return plan
            return replace(
                plan,
                media_type=plan.media_type or media_type,
                folder_id=plan.folder_id or folder_id,
                received_at=received.service,
            )

        # The links of 10,000 parts take longer to read, and to check, than the loop may be held.
        plan = await api.off_loop(read)
        if isinstance(plan, Plan):
            api.note_arrival(plan.file_id, received)
            return plan
        if (made := _id_of(answer)) is not None:
            await delete_placeholder(api, made, account_id, DELETE_AFTER_ERROR)
        raise plan

    # In a task of its own, so that a cancellation does not tear up the request; it is awaited here in every case.
    creating = asyncio.ensure_future(make())
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        is_cancelled = True
        if not is_in_flight:
            creating.cancel()
        with anyio.CancelScope(shield=True):
            await _undo(api, creating, account_id)
        raise


def _read_plan(answer: Secret[Any], size: int, account_id: str, *, is_secure: bool) -> Plan | UploadError:
    """Read the plan in an answer, or say what is wrong with it."""
    try:
        plan = Plan.from_response(answer.reveal(), account_id=account_id)
        if is_secure:
            check_secure(plan, is_own=True)
    except MalformedAnswer as error:
        return ApiError(str(error), operation=CREATE.name, status=201, file_id=_id_of(answer))
    except PlanError as error:
        return error
    if plan.media_type is not None and not is_header_value(plan.media_type):
        # It becomes a header of every part.
        return ApiError("the answer's media_type is none", operation=CREATE.name, status=201, file_id=plan.file_id)
    if plan.size != size:
        return PlanError(f"the service planned {plan.size} bytes, the source has {size}")
    return plan


async def _undo(api: FrameioApi, creating: asyncio.Future[Plan], account_id: str) -> None:
    ending = asyncio.get_running_loop().call_later(GRACE_FOR_CREATE, creating.cancel)
    try:
        await wait_uncancelled([creating])
    finally:
        ending.cancel()
        if not creating.cancelled() and creating.exception() is None:
            await delete_placeholder(api, creating.result().file_id, account_id, DELETE_WHEN_CANCELLED)


def _id_of(answer: Secret[Any]) -> str | None:
    return read_id(answer.reveal().get("id")) if isinstance(answer.reveal(), dict) else None


async def create_remote_file(
    api: FrameioApi, source_url: Secret[str], *, name: str, folder_id: str, account_id: str
) -> UploadedFile:
    """Let the service fetch a file.

    Raises:
        ApiError: Refused, no answer, or one that lacks a field.
    """

    def on_lost(reason: str) -> None:
        log.warning("remote upload of %r into folder %s: %s; it may have begun all the same", name, folder_id, reason)

    answer = Secret(
        await api.call(
            CREATE_REMOTE,
            account_id=account_id,
            folder_id=folder_id,
            body={"name": name, "source_url": source_url},
            on_lost=on_lost,
        )
    )
    if (file_id := _id_of(answer)) is None:
        raise ApiError("the answer's id is missing", operation=CREATE_REMOTE.name, status=202)
    return _remote_file(answer.reveal(), file_id, name, account_id, folder_id)


def _remote_file(told: dict[str, Any], file_id: str, name: str, account_id: str, folder_id: str) -> UploadedFile:
    words = {key: value for key, value in told.items() if isinstance(value, str)}
    return UploadedFile(
        id=file_id,
        name=words.get("name", name),
        size=read_size(told) or 0,
        account_id=account_id,
        folder_id=words.get("parent_id", folder_id),
        media_type=words.get("media_type"),
        view_url=words.get("view_url"),
        status=words.get("status", "created"),
    )


async def delete_placeholder(api: FrameioApi, file_id: str, account_id: str, seconds: float) -> None:
    """Remove a file that never got all its bytes; shielded, bounded, and told where it does not work.

    A cancellation meanwhile leaves it `DELETE_WHEN_CANCELLED` seconds.
    """
    deleting = asyncio.ensure_future(_delete(api, file_id, account_id, seconds))
    try:
        await asyncio.shield(deleting)
    except asyncio.CancelledError:
        ending = asyncio.get_running_loop().call_later(DELETE_WHEN_CANCELLED, deleting.cancel)
        try:
            await wait_uncancelled([deleting])
        finally:
            ending.cancel()
        raise


async def _delete(api: FrameioApi, file_id: str, account_id: str, seconds: float) -> None:
    reason: str | None = f"no answer in {seconds:g} s"
    try:
        with anyio.move_on_after(seconds, shield=True):
            try:
                await api.call(DELETE, account_id=account_id, file_id=file_id)
                reason = None
            except ApiError as error:
                reason = None if error.status == 404 else str(error)
    finally:  # told, too, where a cancellation ends it
        if reason is not None:
            log.warning("file %s, which has not all its bytes, could not be deleted: %s", file_id, reason)
