"""Ask before an upload that the account has no room for."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from .. import ApiError, RemoteAccount, SourceError
from .._core.patterns import patterns
from .._io.walk import walk
from .format import format_size
from .options import UploadArguments, UsageError, absolute
from .output import can_ask, write_error
from .service import Service
from .typed_lines import typed_lines

TIMEOUT = 5.0
"""Seconds for the question how much room there is. An API that does not answer is the upload's problem."""


async def may_upload(service: Service, arguments: UploadArguments, *, asks: bool) -> bool:
    """Return whether to go on: there is room, the room is not known, or the person says so.

    Without a person to ask, the upload goes on after a warning: it may be the second run of the same job, whose files
    are there already and need no room.

    Args:
        service: With an account.
        arguments: What is uploaded.
        asks: Whether a person may be asked (no `--yes`).
    """
    account = await find_account(service)
    if account is None or account.storage_left is None:
        return True
    if not await warn_of_lack(account, await _total_size(arguments)):
        return True
    if not asks or not can_ask():
        return True
    await asyncio.to_thread(write_error, "upload anyway? y or n:")
    async with typed_lines() as lines:
        answer = (await lines.get()).reveal() or ""
    return answer.strip().lower() in ("y", "yes")


async def warn_of_lack(account: RemoteAccount, size: int) -> bool:
    """Write a warning if the account has no room for so many bytes; return whether it was written."""
    if account.storage_left is None or size <= account.storage_left:
        return False
    await asyncio.to_thread(
        write_error,
        f"warning: {format_size(size)} to upload, and {format_size(account.storage_left)} of"
        f" {format_size(account.storage_limit or 0)} are free in account {account.name or account.id}"
        " (files that are there already need no room)",
    )
    return True


async def find_account(service: Service) -> RemoteAccount | None:
    """Return the account with its room; None if the service does not say."""
    with suppress(ApiError, TimeoutError):
        async with asyncio.timeout(TIMEOUT), service.uploader() as uploader:
            accounts = await uploader.accounts()
            return next((account for account in accounts if account.id == service.account_id), None)
    return None


async def _total_size(arguments: UploadArguments) -> int:
    """Return the bytes of all files; what cannot be read counts nothing, and the upload reports it."""
    try:
        wanted = patterns(arguments.include, arguments.exclude)
    except ValueError as error:
        raise UsageError(str(error)) from None
    total = arguments.size or 0
    threads = ThreadPoolExecutor(1, thread_name_prefix="aioframeio-upload-size")
    try:
        for path in arguments.paths:
            with suppress(SourceError, OSError):
                if path in arguments.folders:
                    total += (await walk(absolute(path), wanted, threads)).size
                else:
                    total += (await asyncio.get_running_loop().run_in_executor(threads, os.stat, path)).st_size
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # a thread on a dead mount cannot be ended
    return total


@contextmanager
def said_already() -> Iterator[None]:
    """Leave out the library's own warnings about the room inside the block, since the command has its own."""

    def is_other(record: logging.LogRecord) -> bool:
        return not getattr(record, "is_about_quota", False)

    log = logging.getLogger("aioframeio_upload")
    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)
