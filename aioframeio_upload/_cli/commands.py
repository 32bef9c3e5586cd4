"""The commands that need one API call or the journal alone: `remote`, `status`, `pending`, `discard`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import JournalError, PendingUpload
from . import exit_status
from .account import with_account
from .browse import find_folder
from .format import format_error, format_pending
from .options import Target, UsageError, journal_exists, read_file_id
from .output import write_error, write_json, write_line
from .service import Service


async def _print(line: str) -> None:
    # In a thread: while a slow reader blocks the write, Ctrl-C must still work.
    await asyncio.to_thread(write_line, line)


async def _print_record(record: Any) -> None:
    """Write a record as a line of JSON, with times as ISO 8601 text."""
    text = json.dumps(dataclasses.asdict(record), default=lambda instant: instant.isoformat())
    await asyncio.to_thread(write_json, text)


async def run_remote(service: Service, url: str, target: Target, name: str, as_json: bool) -> int:
    """Ask Frame.io to fetch a file."""
    service = await with_account(service)
    folder_id = await find_folder(service, target)
    async with service.uploader() as uploader:
        file = await uploader.remote_upload(url, folder_id=folder_id, name=name)
    if as_json:
        await _print_record(file)
        return exit_status.OK
    await _print(f"{file.name}: Frame.io fetches it; aioframeio-upload status {file.id}")
    if file.view_url:
        await _print(file.view_url)
    return exit_status.OK


async def run_status(service: Service, file_id: str, as_json: bool) -> int:
    """Print the status of a file; the exit status is 1 if its upload failed."""
    service = await with_account(service)
    async with service.uploader() as uploader:
        status = await uploader.status(file_id)
    if as_json:
        await _print_record(status)
    elif status.failed:
        await _print("failed")
    elif status.complete:
        await _print("complete" if status.completed_at is None else f"complete since {status.completed_at.isoformat()}")
    else:
        await _print("not complete yet")
    return exit_status.FAILED if status.failed else exit_status.OK


async def run_pending(service: Service, journal: Path, as_json: bool) -> int:
    """Print the uploads in the journal. A missing journal holds none, and is not created."""
    uploads: tuple[PendingUpload, ...] = ()
    if await asyncio.to_thread(journal_exists, journal):
        async with service.uploader(journal=journal) as uploader:
            uploads = await uploader.pending()
    for upload in uploads:
        if as_json:
            await _print_record(upload)
        else:
            await _print(format_pending(upload))
    if not uploads and not as_json:
        await _print("nothing is pending")
    return exit_status.OK


async def run_discard(service: Service, journal: Path, words: list[str]) -> int:
    """Remove uploads from the journal, and their unfinished files from Frame.io; each by its ID, link or path."""
    for word in words:
        if "://" in word:
            read_file_id(word)  # a wrong link is wrong usage, whatever the journal holds
    if not await asyncio.to_thread(journal_exists, journal):
        reason = "there is no journal, and so nothing to discard"
        raise JournalError(reason, path=str(journal), advice="check the path, if --journal was given")
    async with service.uploader(journal=journal) as uploader:
        uploads = await uploader.pending()
        file_ids = [choose_pending(word, uploads) for word in words]
        status = exit_status.OK
        for file_id in dict.fromkeys(file_ids):  # one that was typed twice exists only the first time
            try:
                await uploader.discard(file_id)
            except JournalError as error:  # it is not in the journal; the others may be
                await asyncio.to_thread(write_error, f"error: {format_error(error)}")
                status = exit_status.FAILED
            else:
                await _print(f"{file_id}: discarded")
    return status


def choose_pending(word: str, uploads: Sequence[PendingUpload]) -> str:
    """Return the ID of the file that a word means: the ID, its link, or the path of an unfinished upload.

    Raises:
        UsageError: It is none of them, or a file that is being uploaded to several places.
    """
    found = [one.file_id for one in uploads if one.path and one.path in (word, os.path.abspath(word))]
    if len(found) > 1:
        raise UsageError(f"{word} has several unfinished uploads; give the ID of one: {', '.join(found)}")
    if not found and "://" not in word and os.path.basename(word) != word:
        raise UsageError(f"{word} has no unfinished upload; they are listed by: aioframeio-upload pending")
    return found[0] if found else read_file_id(word)
