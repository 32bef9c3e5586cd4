"""`upload --dry-run`: tell what an upload would do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import DryRunFile, DryRunFolder, Limits, Timeouts, UnmatchedPattern, Uploader, UploadError
from .._core.events import EMPTY, record_to_dict
from . import exit_status
from .account import with_account
from .browse import find_folder
from .format import escape, format_count, format_error, format_left_out, format_size
from .line_display import json_line
from .options import OutputOptions, UploadArguments, UsageError, absolute, journal_exists
from .output import write_error, write_json, write_line
from .pattern_use import NOTHING_LEFT, PatternCheck, record_of
from .pattern_use import describe as describe_pattern
from .quota import find_account, warn_of_lack
from .service import Service
from .stdin import Stdin, open_stdin

PATIENCE = 10.0
"""Seconds after which a person at the terminal wants to know what the command is doing."""

Found = DryRunFile | DryRunFolder | UploadError


@dataclass(slots=True)
class Totals:
    """What the whole command would do; the fields of the last line of `--json`."""

    files_to_send: int = 0
    bytes_to_send: int = 0
    files_there: int = 0
    bytes_there: int = 0
    """Bytes that need not be sent: of files that are there, and of parts that an earlier run has sent."""
    files_empty: int = 0
    files_failed: int = 0
    folders_to_create: int = 0
    left_out: int = 0
    """Files and folders that the upload does not consider."""

    def add(self, file: DryRunFile) -> None:
        """Count a file."""
        self.bytes_to_send += file.bytes_to_send
        self.bytes_there += file.size - file.bytes_to_send
        if file.action != "skip":
            self.files_to_send += 1
        elif file.reason == EMPTY:
            self.files_empty += 1
        else:
            self.files_there += 1


class DryRun:
    """One run of `upload --dry-run`. It only reads: files, the journal if there is one, and Frame.io's lists.

    Args:
        service: How to reach Frame.io.
        output: What to print.
        journal: Where uploads are recorded; it is not created.
        limits: Those of the Uploader.
        timeouts: Those of the Uploader.
    """

    def __init__(
        self, service: Service, output: OutputOptions, journal: Path | None, limits: Limits, timeouts: Timeouts
    ) -> None:
        self._service = service
        self._output = output
        self._journal = journal
        self._limits = limits
        self._timeouts = timeouts
        self._totals = Totals()

    async def run(self, arguments: UploadArguments) -> int:
        """Print what would be done and return the exit status: 1 if something would fail."""
        if not arguments.is_stdin:
            return await self._run(arguments, None)
        async with open_stdin(arguments, self._output) as stdin:  # nothing is read: `check_stdin` wants its size
            return await self._run(replace(arguments, size=stdin.size), stdin)

    async def _run(self, arguments: UploadArguments, stdin: Stdin | None) -> int:
        self._service = await with_account(replace(self._service, has_chosen=False))  # remembers nothing
        journal = self._journal
        if journal is not None and not await asyncio.to_thread(journal_exists, journal):
            journal = None
        patterns = PatternCheck(arguments)
        await self._warn(patterns.without_folders())
        async with self._service.uploader(journal=journal, limits=self._limits, timeouts=self._timeouts) as uploader:
            folder_id = await self._find_target(uploader, arguments)
            refusal = None
            async with asyncio.TaskGroup() as group:
                looks = [
                    group.create_task(_look(uploader, path, folder_id, arguments, stdin)) for path in arguments.paths
                ]
                for path, look in zip(arguments.paths, looks, strict=True):
                    found = await self._wait(path, look)
                    if isinstance(found, UsageError):
                        refusal = found  # not raised in here: the group would wrap it
                        break
                    await self._show(path, found, arguments.name or path)
                    if isinstance(found, DryRunFolder):
                        await self._warn(patterns.add(len(found.files) + len(found.failures), found.unmatched))
                    elif path in arguments.folders:
                        await self._warn(patterns.skip())
                for look in looks:
                    look.cancel()
            if refusal is not None:
                raise refusal
        await self._show_totals()
        if patterns.leaves_nothing:
            await asyncio.to_thread(write_error, NOTHING_LEFT)
        return exit_status.FAILED if self._totals.files_failed or patterns.leaves_nothing else exit_status.OK

    async def _find_target(self, uploader: Uploader, arguments: UploadArguments) -> str | None:
        """Return the target folder; None if it would be created."""
        target = arguments.target
        if target.path is None or not target.makes:
            return await find_folder(self._service, target)
        missing = await uploader.missing_folders(target.path)
        for path in missing:
            await self._show_folder(path, path)
        return None if missing else await find_folder(self._service, target)

    async def _wait(self, path: str, look: asyncio.Task[Found | UsageError]) -> Found | UsageError:
        """Return what was found; say what takes so long, if it does."""
        _, waiting = await asyncio.wait([look], timeout=PATIENCE)
        if waiting and not self._output.quiet:
            words = "still comparing it with what is at Frame.io, which allows 100 lists of folders a minute"
            await asyncio.to_thread(write_error, f"{path}: {words}")
        return await look

    async def _show(self, source: str, found: Found, label: str) -> None:
        match found:
            case DryRunFile():
                await self._show_file(source, label, found)
            case DryRunFolder():
                self._totals.left_out += found.left_out_count
                for left_out in found.left_out if self._output.as_json or self._output.verbose else ():
                    text = f"{source}/{left_out.path}: left out: {left_out.reason}"
                    await self._print(text, source, left_out.to_dict())
                for path in found.folders:
                    await self._show_folder(source, path, f"{source}/{path}" if path != "." else source)
                for file in found.files:
                    await self._show_file(source, f"{source}/{file.path}", file)
                for failure in found.failures:
                    await self._show_failure(source, f"{source}/{failure.path}", failure.error, failure.to_dict())
            case UploadError():
                record = {"event": "UploadFailed", "error": found.to_dict()}
                await self._show_failure(source, label, found, record)

    async def _show_folder(self, source: str, path: str, label: str | None = None) -> None:
        self._totals.folders_to_create += 1
        await self._print(f"{label or path}: would be created", source, {"event": "FolderMissing", "path": path})

    async def _show_file(self, source: str, label: str, file: DryRunFile) -> None:
        self._totals.add(file)
        await self._print(f"{label}: {describe(file)}", source, {"event": "DryRunFile", **record_to_dict(file)})

    async def _show_failure(self, source: str, label: str, error: UploadError, record: dict[str, Any]) -> None:
        self._totals.files_failed += 1
        if self._output.as_json:
            await self._print("", source, record)
        await asyncio.to_thread(write_error, escape(f"error: {label}: {format_error(error, label)}"))

    async def _show_totals(self) -> None:
        totals = self._totals
        record = {"event": "DryRunCompleted", **record_to_dict(totals)}
        left_out = format_left_out(totals.left_out, is_listed=self._output.verbose)
        await self._print(f"dry run, nothing was sent: {', '.join(_counts(totals))}{left_out}", None, record)
        if totals.bytes_to_send:
            account = await find_account(self._service)
            if account is not None:
                await warn_of_lack(account, totals.bytes_to_send)

    async def _warn(self, unmatched: list[UnmatchedPattern]) -> None:
        for one in unmatched:
            if self._output.as_json:
                await self._print("", None, record_of(one))
            await asyncio.to_thread(write_error, describe_pattern(one))

    async def _print(self, text: str, source: str | None, record: dict[str, Any]) -> None:
        """Print a line, or a line of JSON; in a thread, because the reader may be slow."""
        if self._output.as_json:
            await asyncio.to_thread(write_json, json_line(source, record))
        elif not self._output.quiet:
            await asyncio.to_thread(write_line, text)


async def _look(
    uploader: Uploader, path: str, folder_id: str | None, arguments: UploadArguments, stdin: Stdin | None
) -> Found | UsageError:
    """Return what would be done with one path, or the error with which it would fail."""
    try:
        if path in arguments.folders:
            return await uploader.dry_run_folder(
                absolute(path),
                folder_id=folder_id,
                contents_only=arguments.contents_only,
                include=arguments.include,
                exclude=arguments.exclude,
                conflict=arguments.conflict,
                compare=arguments.compare,
            )
        return await uploader.dry_run(
            path if stdin is None else stdin.source,
            folder_id=folder_id,
            name=arguments.name,
            size=arguments.size,
            conflict=arguments.conflict,
            compare=arguments.comparison,
        )
    except UploadError as error:
        return error
    except ValueError as error:
        return UsageError(f"{path}: {error}")
    except FileNotFoundError:
        return UsageError(f"{path}: the working directory was removed; give an absolute path")


def describe(file: DryRunFile) -> str:
    """Return what would be done with a file, in words."""
    size = format_size(file.size)
    words = {
        "send": f"would be sent, {size}",
        "resume": f"would be resumed: {format_size(file.bytes_to_send)} of {size} left to send",
        "confirm": f"would be confirmed: all of its {size} were sent before",
        "skip": f"would be skipped, {size}",
    }[file.action]
    reason = f": {file.reason}" if file.reason else ""
    stacked = f", as a new version of {file.stacked_on}" if file.stacked_on else ""
    return words + stacked + reason


def _counts(totals: Totals) -> Iterator[str]:
    yield f"{format_count(totals.files_to_send, 'file')} to send ({format_size(totals.bytes_to_send)})"
    yield f"{totals.files_there} there before"
    if totals.files_empty:
        yield f"{totals.files_empty} empty"
    yield f"{totals.files_failed} would fail"
    if totals.folders_to_create:
        yield f"{format_count(totals.folders_to_create, 'folder')} to create"
