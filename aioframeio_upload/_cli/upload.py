"""The commands `upload` and `resume`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import (
    FolderPlanned,
    FolderUpload,
    FolderWatch,
    Limits,
    Timeouts,
    UnmatchedPattern,
    Upload,
    Uploader,
    UploadError,
)
from . import exit_status
from .account import with_account
from .browse import find_folder
from .format import format_count, format_size
from .line_display import Display, JsonDisplay, PlainDisplay, QuietDisplay
from .options import OutputOptions, UploadArguments, UsageError, absolute, journal_exists
from .output import is_terminal, write_error, write_line
from .pattern_use import NOTHING_LEFT, PatternCheck, describe, record_of
from .quota import may_upload, said_already
from .report import write_report
from .service import Service
from .stdin import REMAINS, Stdin, open_stdin
from .upload_view import UploadView

if TYPE_CHECKING:
    from ..plot import Timeline


NOT_BEGUN = "of a folder, only files that had begun are resumed: run its upload again for the others"
"""The last line of `resume`. The journal has files only, and does not know whether they are of a folder."""


class UploadRun:
    """One run of `upload` or `resume`, from its options to its exit status.

    Args:
        service: How to reach Frame.io.
        output: What to print, and which files to write.
        journal: Where uploads are recorded; None for `--no-journal`.
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
        self._timeline: Timeline | None = None
        self._is_stdin = False
        self._interrupted: list[UploadView] = []
        """The uploads that were running when a signal stopped the command."""

    async def upload(self, arguments: UploadArguments) -> int:
        """Upload the paths and return the exit status: 1 if a file failed."""
        self._is_stdin = arguments.is_stdin
        self._service = await with_account(self._service)
        folder_id = await find_folder(self._service, arguments.target)
        if not arguments.is_stdin:
            return await self._upload(arguments, folder_id, None)
        if arguments.size is None:
            await self._check_target(folder_id)
        async with open_stdin(arguments, self._output) as stdin:
            return await self._upload(replace(arguments, size=stdin.size), folder_id, stdin)

    async def _check_target(self, folder_id: str) -> None:
        """Raise ApiError now if the target is wrong, and not after gigabytes were read from stdin."""
        async with self._service.uploader(limits=self._limits, timeouts=self._timeouts) as uploader:
            await uploader.dry_run(b"-", name="-", folder_id=folder_id, conflict="skip")

    async def _upload(self, arguments: UploadArguments, folder_id: str, stdin: Stdin | None) -> int:
        if not await may_upload(self._service, arguments, asks=not arguments.is_agreed):
            await asyncio.to_thread(write_error, "error: nothing was uploaded")
            return exit_status.FAILED

        async def run() -> int:
            async with self._uploader() as uploader:
                views = [
                    UploadView(
                        path,
                        _new_upload(uploader, path, folder_id, arguments, stdin),
                        name=arguments.name,
                        keeps_rows=self._output.report is not None,
                        lists_left_out=self._output.verbose,
                        uploader=uploader,
                    )
                    for path in arguments.paths
                ]
                for view in views:
                    view.can_resume = self._journal is not None and stdin is None
                status = await self._watch(views, patterns := PatternCheck(arguments))
            if patterns.leaves_nothing:
                await asyncio.to_thread(write_error, NOTHING_LEFT)
                return exit_status.FAILED
            return status

        with said_already():
            return await self._run_and_draw(run)

    async def resume(self, journal: Path) -> int:
        """Resume the uploads in the journal and return the exit status: 1 if one failed, or its record is damaged."""

        async def run() -> int:
            if not await asyncio.to_thread(journal_exists, journal):  # opening it would create it
                await self._print_nothing_pending()
                return await self._watch([])
            async with self._uploader() as uploader:
                return await self._resume_all(uploader)

        return await self._run_and_draw(run)

    async def _resume_all(self, uploader: Uploader) -> int:
        uploads = await uploader.resume_pending()
        views = [
            UploadView(str(one.source), one, keeps_rows=self._output.report is not None, uploader=uploader)
            for one in uploads
        ]
        ours = {(str(one.source), one.folder_id, one.name) for one in uploads}
        others = [one for one in await uploader.pending() if (one.path, one.folder_id, one.name) not in ours]
        damaged = [one for one in others if one.damage is not None]  # the library has logged a warning for each
        if not views and not others:
            await self._print_nothing_pending()
        if foreign := len(others) - len(damaged):
            await asyncio.to_thread(write_error, f"{format_count(foreign, 'upload')} of another process: left alone")
        status = await self._watch(views)
        if views and not self._output.as_json and not self._output.quiet:
            await asyncio.to_thread(write_line, NOT_BEGUN)
        return exit_status.FAILED if damaged else status

    def describe_remains(self) -> str:
        """Return what the journal keeps of the interrupted uploads, and how to continue."""
        if self._is_stdin:
            return REMAINS
        if self._journal is None:
            return "the same command starts unfinished files again; without --no-journal it would resume them"
        known = [kept for kept in (view.kept for view in self._interrupted) if kept is not None]
        if not known:
            return "run the same command again to resume"
        kept, total = (format_size(sum(column)) for column in zip(*known, strict=True))
        rest = (
            " (`resume` sends only the files that have begun)"
            if any(one.is_folder for one in self._interrupted)
            else ""
        )
        return f"{kept} of {total} are kept (whole parts only); run the same command again to send the rest{rest}"

    def _uploader(self) -> AbstractAsyncContextManager[Uploader]:
        return self._service.uploader(journal=self._journal, limits=self._limits, timeouts=self._timeouts)

    async def _print_nothing_pending(self) -> None:
        if not self._output.as_json and not self._output.quiet:
            await asyncio.to_thread(write_line, "nothing is pending")

    async def _watch(self, views: list[UploadView], patterns: PatternCheck | None = None) -> int:
        """Start the uploads and show their events until all have ended; write the report however they end."""
        is_reported = True
        for view in views:
            view.upload.start()  # before the display: a terminal that blocks must not delay an upload
        try:
            async with self._display(views) as display:
                if patterns is not None:
                    await _warn(display, patterns.without_folders())
                listeners = [_listen(view, display, patterns) for view in views]
                if self._timeline is not None:
                    # With a separate listener: a slow display would delay its times.
                    listeners += [self._timeline.watch(one, label) for label, one in _drawable(views)]
                await asyncio.gather(*listeners)
        finally:
            self._interrupted += [view for view in views if not view.upload.done]
            if self._output.report is not None:
                is_reported = await asyncio.to_thread(_report, views, self._output.report)
        return exit_status.OK if is_reported and not any(view.failures for view in views) else exit_status.FAILED

    def _display(self, views: list[UploadView]) -> Display:
        if self._output.as_json:
            return JsonDisplay()
        if self._output.quiet:
            return QuietDisplay()
        if is_terminal() and not self._output.verbose:
            from .live_display import LiveDisplay, UploadsDrawing

            return LiveDisplay(UploadsDrawing(views, "stdin or Frame.io" if self._is_stdin else "Frame.io"))
        return PlainDisplay()

    async def _run_and_draw(self, run: Callable[[], Awaitable[int]]) -> int:
        """Draw the timeline after the Uploader was left: drawing takes a second, which a stop may not have."""
        if self._output.timeline is None:
            return await run()
        from ..plot import Timeline

        self._timeline = Timeline()
        try:
            status = await run()
        except UsageError:
            raise  # nothing was started; keep an earlier drawing
        except BaseException:
            await self._draw(self._timeline, self._output.timeline)
            raise
        return status if await self._draw(self._timeline, self._output.timeline) else exit_status.FAILED

    async def _draw(self, timeline: Timeline, path: Path) -> bool:
        try:
            await timeline.draw(path)
        except OSError as error:
            reason = error.strerror or error
            await asyncio.to_thread(write_error, f"error: {path}: the timeline cannot be written: {reason}")
            return False
        return True


def _new_upload(
    uploader: Uploader, path: str, folder_id: str, arguments: UploadArguments, stdin: Stdin | None
) -> Upload | FolderUpload:
    try:
        if path in arguments.folders:
            return uploader.upload_folder(
                absolute(path),
                folder_id=folder_id,
                contents_only=arguments.contents_only,
                include=arguments.include,
                exclude=arguments.exclude,
                conflict=arguments.conflict,
                compare=arguments.compare,
            )
        return uploader.upload(
            path if stdin is None else stdin.source,
            folder_id=folder_id,
            name=arguments.name,
            size=arguments.size,
            conflict=arguments.conflict,
            compare=arguments.comparison,
        )
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise UsageError(f"{path}: the working directory was removed; give an absolute path") from None


def _drawable(views: list[UploadView]) -> list[tuple[str, Upload | FolderUpload]]:
    """Return what a timeline can draw: everything that has an end."""
    return [(view.label, view.upload) for view in views if not isinstance(view.upload, FolderWatch)]


async def _listen(view: UploadView, display: Display, patterns: PatternCheck | None) -> None:
    is_planned = False
    async for event in view.upload:
        await display.show(view, event)
        if isinstance(event, FolderPlanned) and patterns is not None:
            is_planned = True
            await _warn(display, patterns.add(event.files, event.unmatched))
    if patterns is not None and view.is_folder and not is_planned:
        await _warn(display, patterns.skip())
    # The error was shown as an event. Reading it here marks it as seen, or the library would log it.
    with suppress(UploadError):
        _ = view.upload.result


async def _warn(display: Display, unmatched: list[UnmatchedPattern]) -> None:
    for one in unmatched:
        await display.warn(describe(one), record_of(one))


def _report(views: list[UploadView], path: Path) -> bool:
    """Write the report, also after Ctrl-C; return whether that succeeded."""
    for view in views:
        view.interrupt()
    try:
        write_report(path, [row for view in views for row in view.rows])
    except OSError as error:
        write_error(f"error: {path}: the report cannot be written: {error.strerror}")
        return False
    return True
