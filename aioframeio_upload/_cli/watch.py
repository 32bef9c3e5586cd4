"""The command `watch`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .. import FolderWatch, Limits, Timeouts, Uploader, UploadError
from . import exit_status
from .browse import find_folder
from .line_display import Display, JsonDisplay, PlainDisplay, QuietDisplay
from .options import OutputOptions, UsageError, WatchArguments
from .output import is_terminal, write_line
from .service import Service
from .upload_view import WatchView


class WatchRun:
    """One run of `watch`, from its options to its exit status.

    Args:
        service: How to reach Frame.io.
        output: What to print.
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
        self._watch: FolderWatch | None = None
        self._view: WatchView | None = None
        self._is_stopped = False

    def stop(self) -> None:
        """Begin no further file; the command ends when those that were begun have arrived or failed."""
        self._is_stopped = True
        if self._watch is not None:
            self._watch.stop()

    async def watch(self, arguments: WatchArguments) -> int:
        """Watch the folder and return the exit status: 1 if a file that failed has not arrived since."""
        folder_id = await find_folder(self._service, arguments.target)
        async with self._service.uploader(
            journal=self._journal, limits=self._limits, timeouts=self._timeouts
        ) as uploader:
            self._watch = watch = _new_watch(uploader, folder_id, arguments)
            self._view = view = WatchView(arguments.label, watch)
            waits = f"a file is sent when it has not changed for {arguments.settle:g} s"
            if self._is_stopped:  # while the target was looked up
                watch.stop()
            watch.start()
            async with self._display(view, waits) as display:
                if isinstance(display, PlainDisplay):
                    await asyncio.to_thread(write_line, f"{view.label}: watching; {waits}")
                async for event in watch:
                    await display.show(view, event)
            try:
                await watch
            except UploadError:
                return exit_status.FAILED  # it was shown as an event
            if not self._output.as_json and not self._output.quiet:
                await asyncio.to_thread(write_line, f"{view.label}: stopped; {view.counts}")
            return exit_status.FAILED if view.failed else exit_status.OK

    def describe_remains(self) -> str:
        """Return what to do to go on after the command was stopped at once."""
        view = self._view
        if view is not None and view.is_idle:
            return f"{view.counts}, nothing was waiting"
        if self._journal is None:
            return "the same command starts unfinished files again; without --no-journal it would resume them"
        return "run the same command again to go on"

    def _display(self, view: WatchView, waits: str) -> Display:
        if self._output.as_json:
            return JsonDisplay()
        if self._output.quiet:
            return QuietDisplay()
        if is_terminal() and not self._output.verbose:
            from .live_display import LiveDisplay, WatchDrawing

            return LiveDisplay(WatchDrawing(view, waits), keeps_errors=False)
        return PlainDisplay()


def _new_watch(uploader: Uploader, folder_id: str, arguments: WatchArguments) -> FolderWatch:
    try:
        return uploader.watch_folder(
            arguments.path,
            folder_id=folder_id,
            settle=arguments.settle,
            include=arguments.include,
            exclude=arguments.exclude,
            conflict=arguments.conflict,
            compare=arguments.compare,
        )
    except ValueError as error:
        raise UsageError(f"{arguments.label}: {error}") from None
