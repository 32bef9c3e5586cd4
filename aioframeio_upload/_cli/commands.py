"""The commands of one API call: `remote`, `status`, `pending`, `discard`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .. import JournalError, NotFound, PendingUpload
from .browse import find_folder
from .format import Target, Usage
from .options import Service, is_there
from .output import say, say_json
from .upload_view import missing, sized


async def _tell(line: str) -> None:
    # In a thread: while a reader is slow, a Ctrl-C is still to be heard.
    await asyncio.to_thread(say, line)


async def _tell_record(record: Any) -> None:
    """Write a record as a line of JSON, its instants as text."""
    text = json.dumps(dataclasses.asdict(record), default=lambda instant: instant.isoformat())
    await asyncio.to_thread(say_json, text)


def remote_source(url: str, name: str | None) -> tuple[str, str]:
    """Give the URL, which stdin keeps from the eyes of `ps`, and the file's name.

    Raises:
        Usage: It is no URL, or has no name in it; it may be a credential, and is not shown.
    """
    source = sys.stdin.readline().strip() if url == "-" else url
    try:
        found = urlsplit(source)
        found_name = name or unquote(found.path).rpartition("/")[2]
    except ValueError:
        raise Usage("the URL cannot be read") from None
    if found.scheme not in ("https", "http") or not found.hostname:
        raise Usage("the URL must begin with https:// or http://")
    if not found_name:
        raise Usage("the URL tells no name: give --name")
    return source, found_name


async def remote(service: Service, url: str, target: Target, name: str, as_json: bool) -> int:
    """Let Frame.io fetch a file."""
    folder_id = await find_folder(service, target)
    async with service.uploader() as uploader:
        try:
            file = await uploader.remote_upload(url, folder_id=folder_id, name=name)
        except NotFound as error:
            raise NotFound(
                f"{error.detail}; {missing(folder_id, service.account_id)}",
                operation=error.operation,
                status=error.status,
                request_id=error.request_id,
            ) from None
    if as_json:
        await _tell_record(file)
        return 0
    await _tell(f"{file.name}: Frame.io fetches it; aioframeio-upload status {file.id}")
    if file.view_url:
        await _tell(file.view_url)
    return 0


async def status(service: Service, file_id: str, as_json: bool) -> int:
    """Say what the service says of a file; the exit status is 1 where its upload failed."""
    async with service.uploader() as uploader:
        found = await uploader.status(file_id)
    if as_json:
        await _tell_record(found)
    elif found.failed:
        await _tell("failed")
    elif found.complete:
        await _tell("complete" if found.completed_at is None else f"complete since {found.completed_at.isoformat()}")
    else:
        await _tell("not complete yet")
    return 1 if found.failed else 0


async def pending(service: Service, journal: Path, as_json: bool) -> int:
    """Show what the journal holds; one that is not there holds nothing, and is not made."""
    if not await asyncio.to_thread(is_there, journal):
        await _tell_nothing(as_json)
        return 0
    async with service.uploader(journal=journal) as uploader:
        found = await uploader.pending()
    for one in found:
        if as_json:
            await _tell_record(one)
        else:
            await _tell(_line(one))
    if not found:
        await _tell_nothing(as_json)
    return 0


async def _tell_nothing(as_json: bool) -> None:
    if not as_json:
        await _tell("nothing is pending")


def _line(one: PendingUpload) -> str:
    if one.damage is not None:
        known = f"  {one.path}" if one.path else ""
        return f"{one.file_id}{known}: damaged, can only be discarded: {one.damage}"
    sent = f"{sized(one.bytes_confirmed)} of {sized(one.size)} sent"
    until = "" if one.expires_at is None else f", can go on until {one.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"{one.file_id}  {one.path}: {sent}{until}"


async def discard(service: Service, journal: Path, file_ids: list[str]) -> int:
    """Drop uploads from the journal, with their unfinished files."""
    if not await asyncio.to_thread(is_there, journal):
        raise JournalError("there is no journal, and so nothing to discard", path=str(journal))
    async with service.uploader(journal=journal) as uploader:
        for file_id in dict.fromkeys(file_ids):  # given twice, it is there the first time only
            await uploader.discard(file_id)
            await _tell(f"{file_id}: discarded")
    return 0
