"""Define `AsyncFrameioUploader`, an awaitable replacement for the official SDK's uploader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio

from ._core.api_schema import is_header_name, is_header_value
from ._core.errors import SourceError, UploadError
from ._core.events import Event, PartCompleted
from ._core.model import Plan, check_secure
from ._core.public import public
from ._core.redact import Secret
from ._core.settings import Limits, RetryPolicy
from ._engine.event_log import EventLog
from ._engine.owner_loop import running_loop
from ._engine.parts import PartUploader, open_parts, tell_unproved
from ._io.files import reason_of
from ._io.flow_control import PauseGate
from ._io.session import Session, UploaderSettings, open_session
from ._io.source_kinds import Source, check_kind, is_stream

BASE = 2.0
"""Seconds of the first retry delay. With full jitter the mean delays are the official uploader's: 1, 2 and 4 s."""


@public
class AsyncFrameioUploader:
    """Upload a file to the links of `create_local_upload`, as the official `FrameioUploader` does, but awaited.

    It has no token, so it neither waits for Frame.io's confirmation nor deletes the file after a failure; an `Uploader`
    does both. A part that gets no connection uses up an attempt, like any other failure.

    Args:
        asset: The `.data` of the SDK's `create_local_upload(...)`, or the same as a dict.
        file: A binary file object, which is read from its start and not closed; or any other source of
            `Uploader.upload`.
        max_workers: The number of parts in flight.
        headers: Headers for every part. They replace the default ones (`Content-Type`, `x-amz-acl`).
        max_retries: The number of attempts for each part, including the first.
        on_progress: Called in the event loop after each part that S3 has acknowledged, with the bytes so far and the
            file's size. If it raises, the upload ends, and `upload()` raises the exception.

    Raises:
        ValueError: The asset has no links, a number is less than 1, or a header is invalid.
        PlanError: The asset lacks a field, its links are not for a file of its size, or they are http and do not lead
            to this machine itself.
        TypeError: `file` is not of a supported kind.
    """

    def __init__(
        self,
        asset: Any,
        file: Source,
        max_workers: int = 5,
        headers: Mapping[str, str] | None = None,
        max_retries: int = 3,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        has_links = bool(asset.get("upload_urls") if isinstance(asset, Mapping) else asset.upload_urls)
        given, self._headers = Secret(asset), Secret(dict(headers or {}))
        del asset, headers  # a traceback would show them
        if not all(map(_is_header, self._headers.reveal().items())):
            raise ValueError("headers must be names and values as HTTP has them: printable ASCII")
        if not has_links:
            raise ValueError("the asset has no upload_urls: give what create_local_upload() returned, as .data")
        check_kind(file)
        # The base URL of the SDK's client is not known here; Frame.io's API is https.
        self._plan = check_secure(Plan.from_response(given.reveal()), is_own=False)
        self._file = file
        self._limits = Limits(parts=max_workers)
        self._retry = RetryPolicy(attempts=max_retries, base=BASE, patience=0)
        self._on_progress = on_progress

    async def upload(self) -> None:
        """Send the file. When this returns, S3 has all parts, and Frame.io still has to assemble the file.

        Raises:
            SourceError: The file cannot be read.
            PlanError: The file's size differs from the asset's.
            PartError: A part could not be sent.
            LinksExpired: The links are too old.
            RuntimeError: No asyncio event loop is running.
        """
        running_loop()
        resources = await open_session(
            UploaderSettings(limits=self._limits, retry=self._retry, traces=(self._adding_headers(),))
        )
        try:
            await self._send(resources)
        finally:
            await resources.close()

    def _adding_headers(self) -> aiohttp.TraceConfig:
        """Return a trace that sets the headers of each request as it starts, the way that aiohttp documents for it."""

        async def add(_: object, __: SimpleNamespace, request: aiohttp.TraceRequestStartParams) -> None:
            request.headers.update(self._headers.reveal())

        adding = aiohttp.TraceConfig()
        adding.on_request_start.append(add)
        return adding

    async def _send(self, resources: Session) -> None:
        await self._rewind(resources)
        found = await open_parts(self._file, self._plan, resources)
        scope = anyio.CancelScope()
        events = _Callback(self._on_progress, self._plan.size, scope)
        try:
            with scope:
                receipts = await PartUploader(self._plan, found, resources, events, PauseGate()).run()
                tell_unproved(self._plan.name, receipts, "ask Frame.io whether the file is complete")
                await found.check()
        finally:
            found.close()
        if events.error is not None:
            raise events.error

    async def _rewind(self, resources: Session) -> None:
        file: Any = self._file
        if is_stream(file) or not callable(getattr(file, "seekable", None)):
            return

        def rewind() -> None:
            if file.seekable():
                file.seek(0)

        try:
            await resources.executor.ask(rewind)
        except Exception as error:  # the caller's file object may raise anything; kept as the cause
            raise SourceError(f"the file object cannot be read: {reason_of(error)}") from error


def _is_header(field: tuple[Any, Any]) -> bool:
    name, value = field
    return isinstance(name, str) and isinstance(value, str) and is_header_name(name) and is_header_value(value)


class _Callback(EventLog):
    """Call a callback for each acknowledged part. Keeps no events, because nobody listens to them."""

    def __init__(self, callback: Callable[[int, int], None] | None, total: int, scope: anyio.CancelScope) -> None:
        super().__init__()
        self.error: BaseException | None = None
        """The exception that the callback raised."""
        self._callback = callback
        self._total = total
        self._scope = scope
        self._confirmed = 0

    def publish(self, event: Event) -> None:
        if not isinstance(event, PartCompleted) or self._callback is None or self.error is not None:
            return
        self._confirmed += event.size
        try:
            self._callback(self._confirmed, self._total)
        except asyncio.CancelledError as error:
            # Not a cancellation of this task, because nothing is awaited here: it comes from a call of the callback's.
            self.error = UploadError("the on_progress callback ended in a cancellation")
            self.error.__cause__ = error
            self._scope.cancel()
        except Exception as error:  # noqa: BLE001  # raised by `upload()`, outside the task group
            self.error = error
            self._scope.cancel()
