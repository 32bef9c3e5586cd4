"""The commands `upload` and `resume`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .. import FolderUpload, Limits, Timeouts, Upload, Uploader, UploadError
from .browse import find_folder
from .display import Display, JsonDisplay, PlainDisplay, QuietDisplay
from .format import Target, Usage
from .options import Service, is_there
from .output import complain, is_terminal, say
from .report import check_writable, write_report
from .upload_view import UploadView, missing, sized

if TYPE_CHECKING:
    from ..plot import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How it is told, and what is kept of it."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    """The library's log is shown as well: it would cut through a drawing."""
    report: Path | None = None
    picture: Path | None = None
    timeline: Timeline | None = None
    """What the picture will show."""
    stopped: list[UploadView] = field(default_factory=list)
    """What was under way when all was stopped; filled in then."""


def read_voice(
    as_json: bool, quiet: bool, report: Path | None, picture: Path | None, *, verbose: bool = False
) -> Voice:
    """Give how it is to be told.

    Raises:
        Usage: Two ways at once; or a report or a picture that could not be written.
    """
    if as_json and quiet:
        raise Usage("--json and --quiet exclude each other")
    if report is not None:
        check_writable(report, "--report", ".json", ".csv")
    return Voice(
        as_json=as_json,
        quiet=quiet,
        verbose=verbose,
        report=report,
        picture=picture,
        timeline=_timeline(picture),
    )


def _timeline(picture: Path | None) -> Timeline | None:
    if picture is None:
        return None
    try:
        from ..plot import SUFFIXES, Timeline
    except ModuleNotFoundError as error:
        raise Usage(f"--timeline: {error}") from None
    check_writable(picture, "--timeline", *SUFFIXES)
    return Timeline()


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOrder:
    """What is to be uploaded, and where to."""

    paths: Sequence[str]
    target: Target
    conflict: Literal["skip", "create", "version"]
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    journal: Path | None
    limits: Limits
    timeouts: Timeouts
    folders: frozenset[str] = field(init=False)
    """The paths that are folders; looked at before any loop runs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", each_once(self.paths))
        object.__setattr__(self, "folders", frozenset(path for path in self.paths if os.path.isdir(path)))


async def upload(service: Service, order: UploadOrder, voice: Voice) -> int:
    """Upload what was ordered, and give the exit status: 1 where a file failed."""
    folder_id = await find_folder(service, order.target)

    async def run() -> int:
        async with service.uploader(journal=order.journal, limits=order.limits, timeouts=order.timeouts) as uploader:
            items = [
                UploadView(
                    path,
                    _begin(uploader, path, folder_id, order),
                    reported=voice.report is not None,
                    if_missing=missing(folder_id, service.account_id),
                )
                for path in order.paths
            ]
            return await watch(items, voice)

    return await _and_draw(run, voice)


def each_once(paths: Sequence[str]) -> list[str]:
    """Return the paths without those that name a file or folder, and its name, again: `a` and `./a`.

    A file that is also in a folder that was named is not one of them: it goes to two places, as with `cp`.
    """
    found: dict[tuple[str, str], str] = {}
    for path in paths:
        try:
            full = os.path.abspath(path)
            key = os.path.normcase(os.path.realpath(full)), os.path.basename(full)
        except OSError:  # the working folder is gone: the upload says what it cannot find
            key = path, path
        found.setdefault(key, path)
    return list(found.values())


def _begin(uploader: Uploader, path: str, folder_id: str, order: UploadOrder) -> Upload | FolderUpload:
    try:
        if path in order.folders:
            # By its full name, for `.` has none to give to the folder there.
            root = os.path.abspath(path)
            return uploader.upload_folder(
                root, folder_id=folder_id, include=order.include, exclude=order.exclude, conflict=order.conflict
            )
        return uploader.upload(path, folder_id=folder_id, conflict=order.conflict)
    except ValueError as error:
        raise Usage(f"{path}: {error}") from None
    except FileNotFoundError:
        raise Usage(f"{path}: the working folder is gone; give the whole path") from None


async def resume(service: Service, journal: Path, limits: Limits, timeouts: Timeouts, voice: Voice) -> int:
    """Go on with all that the journal holds, and return the exit status: 1 where one failed, or is damaged."""

    async def run() -> int:
        if not await asyncio.to_thread(is_there, journal):  # and it is not made for this
            await _tell_none_pending(voice)
            return await watch([], voice)
        async with service.uploader(journal=journal, limits=limits, timeouts=timeouts) as uploader:
            uploads = await uploader.resume_pending()
            items = [UploadView(str(one.source), one, reported=voice.report is not None) for one in uploads]
            ours = {(str(one.source), one.folder_id, one.name) for one in uploads}
            others = [one for one in await uploader.pending() if (one.path, one.folder_id, one.name) not in ours]
            damaged = [one for one in others if one.damage is not None]  # a warning has told each
            if not items and not others:
                await _tell_none_pending(voice)
            if len(others) > len(damaged):
                await asyncio.to_thread(complain, f"{len(others) - len(damaged)} are another process's")
            return await watch(items, voice) or int(bool(damaged))

    return await _and_draw(run, voice)


async def _tell_none_pending(voice: Voice) -> None:
    if not voice.as_json and not voice.quiet:
        await asyncio.to_thread(say, "nothing is pending")


async def watch(items: list[UploadView], voice: Voice) -> int:
    """Tell what becomes of the uploads until all have ended, whatever ends one of them."""
    reported = True
    for item in items:
        item.upload.start()  # before anything is shown: a terminal that takes nothing holds up no upload
    try:
        async with _display(items, voice) as display:
            listening = [_listen(item, display) for item in items]
            if voice.timeline is not None:
                # It listens for itself: a display that is slow to be read would make its times late.
                listening += [voice.timeline.watch(item.upload, item.label) for item in items]
            await asyncio.gather(*listening)
    finally:
        voice.stopped.extend(item for item in items if not item.upload.done)
        if voice.report is not None:
            reported = await asyncio.to_thread(_report, items, voice.report)
    return 0 if reported and not any(item.failures for item in items) else 1


def _report(items: list[UploadView], path: Path) -> bool:
    """Write the report, after a Ctrl-C too; an error takes nothing back of what was uploaded."""
    for item in items:
        item.stopped()
    try:
        write_report(path, [row for item in items for row in item.rows])
    except OSError as error:
        complain(f"error: {path}: the report cannot be written: {error.strerror}")
        return False
    return True


def left_off(voice: Voice, journal: Path | None) -> str:
    """Say what is kept of the uploads that were stopped, and what the same command would do."""
    if journal is None:
        return "the same command again begins unfinished files anew; without --no-journal it would go on"
    known = [kept for kept in (item.kept for item in voice.stopped) if kept is not None]
    if not known:
        return "the same command again goes on where it stopped"
    kept, total = (sum(column) for column in zip(*known, strict=True))
    return f"{sized(kept)} of {sized(total)} are kept (whole parts only); the same command again sends the rest"


async def _and_draw(run: Callable[[], Awaitable[int]], voice: Voice) -> int:
    """Draw the picture after all uploads have ended or were stopped, for it takes a second that they may not have."""
    try:
        status = await run()
    except Usage:
        raise  # nothing was begun: an earlier picture stays
    except BaseException:
        await _draw(voice)
        raise
    return status if await _draw(voice) else 1


async def _draw(voice: Voice) -> bool:
    if voice.timeline is None or voice.picture is None:
        return True
    try:
        await voice.timeline.draw(voice.picture)
    except OSError as error:
        await asyncio.to_thread(
            complain, f"error: {voice.picture}: the picture cannot be written: {error.strerror or error}"
        )
        return False
    return True


async def _listen(item: UploadView, display: Display) -> None:
    async for event in item.upload:
        await display.tell(item, event)
    # Its error was told as an event; looked at here, it is not logged as one that nobody saw.
    with suppress(UploadError):
        _ = item.upload.result


def _display(items: list[UploadView], voice: Voice) -> Display:
    if voice.as_json:
        return JsonDisplay()
    if voice.quiet:
        return QuietDisplay()
    if is_terminal() and not voice.verbose:
        from .live import LiveDisplay

        return LiveDisplay(items)
    return PlainDisplay()
