"""Create the file at Frame.io and read its plan; delete a placeholder that lacks bytes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from math import inf
from typing import Any

from .._core.api_schema import MalformedAnswer, is_header_value, read_id, read_size
from .._core.errors import ApiError, NotFound, PlanError, UploadError
from .._core.model import Plan, UploadedFile, check_secure
from .._core.redact import Secret
from .._io.frameio_api import CREATE, CREATE_REMOTE, DELETE, FrameioApi
from .cleanup import run_shielded
from .control import UploadControl

log = logging.getLogger("aioframeio_upload")

DELETE_AFTER_ERROR = 10.0
"""Seconds for deleting a placeholder after an error. A file that could not be deleted is named in a warning."""

LEAST_FOR_DELETE = 0.4
"""Seconds that a delete always gets, even if a busy event loop began the clean-up late: overrunning the deadline by a
moment is better than a placeholder that stays."""


class _Creation:
    """One `create` call and the reading of its plan."""

    def __init__(  # noqa: PLR0913  # the fields of the call's body and path, each named
        self,
        api: FrameioApi,
        control: UploadControl,
        *,
        name: str,
        size: int,
        folder_id: str,
        account_id: str,
        media_type: str | None,
    ) -> None:
        self._api = api
        self._control = control
        self._name = name
        self._size = size
        self._folder_id = folder_id
        self._account_id = account_id
        self._media_type = media_type
        self._is_in_flight = False
        self.plan: Plan | None = None
        """Set once the file was made, even if nobody waits for it any more."""

    async def run(self) -> Plan:
        """Make the call and return the plan."""
        answer = Secret(
            await self._api.call(
                CREATE,
                account_id=self._account_id,
                folder_id=self._folder_id,
                body={"name": self._name, "file_size": self._size},
                on_lost=self._warn_of_lost,
                on_flight=self._note_flight,
            )
        )
        received = self._api.now()

        def read() -> Plan | UploadError:
            plan = _read_plan(answer, self._size, self._account_id, is_secure=self._api.is_secure)
            if not isinstance(plan, Plan):
                return plan
            return replace(
                plan,
                media_type=plan.media_type or self._media_type,
                folder_id=plan.folder_id or self._folder_id,
                received_at=received.service,
            )

        # Reading and checking the links of 10,000 parts takes longer than the loop may be held up.
        plan = await self._api.off_loop(read)
        if isinstance(plan, Plan):
            self._api.note_arrival(plan.file_id, received)
            self.plan = plan
            return plan
        if (made := _id_of(answer)) is not None:
            await delete_placeholder(self._api, made, self._account_id, self._control)
        raise plan

    def seconds(self) -> float:
        """Return how long it may take: once cancelled, half of what is left; the other half is for deleting the file.

        The limit is 0 if no request is under way, because then no file was created.
        """
        if self._control.cancel_reason is None:
            return inf
        return self._control.seconds_left(inf) / 2 if self._is_in_flight else 0.0

    def _note_flight(self, begun: bool) -> None:
        if self._control.cancel_reason is not None:
            # No request begins after a cancellation: the time for it was 0, so its answer would not be awaited.
            raise asyncio.CancelledError
        self._is_in_flight = begun

    def _warn_of_lost(self, reason: str) -> None:
        log.warning(
            "creating %r in folder %s: %s; a file without its bytes may have been made there",
            self._name,
            self._folder_id,
            reason,
        )


async def create_file(  # noqa: PLR0913  # the fields of the call's body and path, each named
    api: FrameioApi,
    *,
    name: str,
    size: int,
    folder_id: str,
    account_id: str,
    media_type: str | None,
    control: UploadControl | None = None,
) -> Plan:
    """Create the file and return its plan.

    A cancelled caller waits a moment for the answer to a request under way, and deletes the file that was created:
    aborting the request could leave a file whose ID is unknown.

    Raises:
        ApiError: The call was refused or not answered, or the answer lacks a field.
        PlanError: The sizes of the parts do not add up to the file's, or a link is http while the API is https. The
            file was deleted again.
    """
    control = control or UploadControl()
    creation = _Creation(
        api, control, name=name, size=size, folder_id=folder_id, account_id=account_id, media_type=media_type
    )
    try:
        plan = await run_shielded(creation.run(), control, creation.seconds)
    except asyncio.CancelledError:
        if creation.plan is not None:
            await delete_placeholder(api, creation.plan.file_id, account_id, control)
        raise
    assert plan is not None, "it has no time limit until the caller is cancelled"
    return plan


def _read_plan(answer: Secret[Any], size: int, account_id: str, *, is_secure: bool) -> Plan | UploadError:
    """Return the plan in an answer, or the error that says what is wrong with it."""
    try:
        plan = Plan.from_response(answer.reveal(), account_id=account_id)
        if is_secure:
            check_secure(plan, is_own=True)
    except MalformedAnswer as error:
        return ApiError(str(error), operation=CREATE.name, status=201, file_id=_id_of(answer))
    except PlanError as error:
        return error
    if plan.media_type is not None and not is_header_value(plan.media_type):
        # Each PUT sends it as a header.
        return ApiError(
            "the answer's media_type is not a media type", operation=CREATE.name, status=201, file_id=plan.file_id
        )
    if plan.size != size:
        return PlanError(f"the service planned {plan.size} bytes, the source has {size}")
    return plan


def _id_of(answer: Secret[Any]) -> str | None:
    return read_id(answer.reveal().get("id")) if isinstance(answer.reveal(), dict) else None


async def create_remote_file(
    api: FrameioApi, source_url: Secret[str], *, name: str, folder_id: str, account_id: str
) -> UploadedFile:
    """Ask the service to fetch a file by itself.

    Raises:
        ApiError: The call was refused or not answered, or the answer lacks a field.
    """

    def on_lost(reason: str) -> None:
        log.warning("remote upload of %r into folder %s: %s; it may have started anyway", name, folder_id, reason)

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


def _remote_file(fields: dict[str, Any], file_id: str, name: str, account_id: str, folder_id: str) -> UploadedFile:
    words = {key: value for key, value in fields.items() if isinstance(value, str)}
    return UploadedFile(
        id=file_id,
        name=words.get("name", name),
        size=read_size(fields) or 0,
        account_id=account_id,
        folder_id=words.get("parent_id", folder_id),
        media_type=words.get("media_type"),
        view_url=words.get("view_url"),
        status=words.get("status", "created"),
    )


async def delete_file(api: FrameioApi, file_id: str, account_id: str) -> None:
    """Delete a file; one that is gone already is no error.

    Raises:
        ApiError: The service refused, or did not answer.
    """
    try:
        await api.call(DELETE, account_id=account_id, file_id=file_id)
    except NotFound:
        return


async def delete_placeholder(api: FrameioApi, file_id: str, account_id: str, control: UploadControl) -> None:
    """Delete a file that lacks bytes, if that can be done in time; log a warning if not.

    A cancellation does not interrupt it, but shortens its time.
    """

    def seconds() -> float:
        return max(control.seconds_left(DELETE_AFTER_ERROR), LEAST_FOR_DELETE)

    await run_shielded(_delete_or_warn(api, file_id, account_id), control, seconds)


async def _delete_or_warn(api: FrameioApi, file_id: str, account_id: str) -> None:
    reason: str | None = "no answer in time"
    try:
        try:
            await delete_file(api, file_id, account_id)
            reason = None
        except ApiError as error:
            reason = str(error)
    finally:  # also when it is cancelled because its time is over
        if reason is not None:
            log.warning("file %s, which is incomplete, could not be deleted: %s", file_id, reason)
