"""Never run, only checked: what the public names give and take, as mypy and pyright see it.

An `ignore` that is not needed is an error here (`warn_unused_ignores`, `reportUnnecessaryTypeIgnoreComment`), so each
one says that the line is refused.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
import io
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, assert_never, assert_type

import aiofiles
import aiohttp
from distributed import Client

from aioframeio_upload import (
    ApiError,
    ApiRetrying,
    AsyncFrameioUploader,
    ConfirmationError,
    DryRunFile,
    DryRunFolder,
    Event,
    FileCompleted,
    FileFailed,
    FileLeftOut,
    FileSkipped,
    FileStarted,
    FolderCompleted,
    FolderCreated,
    FolderPlanned,
    FolderResult,
    FolderUpload,
    FolderUploadError,
    FolderWatch,
    Journal,
    JournalError,
    Limits,
    LinksExpired,
    Part,
    PartCompleted,
    PartError,
    PartRaced,
    PartRetrying,
    PartStarted,
    PendingUpload,
    Plan,
    Progress,
    Receipt,
    RemoteAccount,
    RemoteFolder,
    RemoteProject,
    RemoteUser,
    RemoteWorkspace,
    RetryPolicy,
    SourceError,
    Statistics,
    Timeouts,
    UnmatchedPattern,
    Upload,
    UploadCompleted,
    UploadedFile,
    Uploader,
    UploadError,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
    UploadStatus,
    Verification,
)
from aioframeio_upload.dask import upload_file
from aioframeio_upload.plot import Timeline

FOLDER = "folder"


async def in_thirty_seconds(token: str) -> UploadedFile:
    async with Uploader(token, account_id="account") as uploader:
        assert_type(uploader, Uploader)
        file = await uploader.upload("take-07.mov", folder_id=FOLDER)
        assert_type(file, UploadedFile)

        async with uploader.upload("take-08.mov", folder_id=FOLDER) as upload:
            assert_type(upload, Upload)
            async for event in upload:
                assert_type(event, Event)
                match event:
                    case Progress(bytes_uploaded=n, total_bytes=total):
                        assert_type(n, int)
                        assert_type(total, int)
                    case PartRetrying(number=number, delay=delay, error=error):
                        assert_type(number, int)
                        assert_type(delay, float)
                        assert_type(error, PartError)
                    case _:
                        pass
        assert_type(upload.result, UploadedFile)
        assert_type(upload.result.view_url, str | None)

        started = uploader.upload("take-09.mov", folder_id=FOLDER).start()
        assert_type(started, Upload)
        started.pause()
        started.resume()
        return await started


def every_event_is_matched(event: Event) -> str:
    match event:
        case UploadPlanned():
            assert_type(event.view_url, str | None)
            return event.file_id
        case UploadReplanned():
            assert_type(event.replaced_file_id, str)
        case UploadResumed():
            assert_type(event.bytes_completed, int)
        case PartStarted():
            assert_type(event.offset, int)
        case PartRaced():
            assert_type(event.attempt, int)
        case PartRetrying():
            assert_type(event.error, PartError)
        case ApiRetrying():
            assert_type(event.operation, str)
            assert_type(event.error, ApiError)
        case PartCompleted():
            assert_type(event.etag, str | None)
            assert_type(event.seconds, float)
        case Progress():
            assert_type(event.seconds_left, float | None)
        case UploadCompleted():
            assert_type(event.file, UploadedFile)
        case UploadFailed():
            assert_type(event.error, UploadError)
        case FolderPlanned():
            assert_type(event.total_bytes, int)
            assert_type(event.unmatched, tuple[UnmatchedPattern, ...])
        case FileLeftOut():
            assert_type(event.reason, str)
        case FolderCreated():
            assert_type(event.folder_id, str)
        case FileStarted():
            assert_type(event.size, int)
        case FileCompleted():
            assert_type(event.file, UploadedFile)
        case FileSkipped():
            assert_type(event.reason, str)
        case FileFailed():
            assert_type(event.error, UploadError)
        case FolderCompleted():
            assert_type(event.result, FolderResult)
        case _:
            assert_never(event)
    assert_type(event.to_dict(), dict[str, Any])
    return ""


async def a_dry_run(uploader: Uploader) -> None:
    one = await uploader.dry_run("take.mov", folder_id=None, conflict="skip")
    assert_type(one, DryRunFile)
    assert_type(one.action, Literal["send", "resume", "confirm", "skip"])
    folder = await uploader.dry_run_folder(Path("shoot"), folder_id=FOLDER, include=["*.mov"], contents_only=True)
    assert_type(folder, DryRunFolder)
    assert_type(folder.files, tuple[DryRunFile, ...])
    assert_type(folder.left_out, tuple[FileLeftOut, ...])
    assert_type(await uploader.missing_folders("a/b"), tuple[str, ...])


async def asyncio_takes_an_upload(uploader: Uploader) -> None:
    one, other = uploader.upload(b"1", folder_id=FOLDER, name="1"), uploader.upload(b"2", folder_id=FOLDER, name="2")
    assert_type(await asyncio.gather(one, other), tuple[UploadedFile, UploadedFile])
    assert_type(await asyncio.wait_for(one, 1), UploadedFile)
    assert_type(await asyncio.shield(one), UploadedFile)
    assert_type(asyncio.create_task(one), asyncio.Task[UploadedFile])
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(one), asyncio.Task[UploadedFile])
    coroutine: Coroutine[Any, Any, UploadedFile] = one
    assert_type(await coroutine, UploadedFile)
    async with asyncio.timeout(1), one as entered:
        assert_type(entered, Upload)


async def what_an_upload_tells(upload: Upload) -> None:
    assert_type(upload.progress, Progress | None)
    assert_type(upload.done, bool)
    assert_type(upload.name, str)
    assert_type(upload.file_id, str | None)
    assert_type(await upload.planned(), UploadPlanned | None)
    assert_type(upload.start(), Upload)
    assert_type(aiter(upload), AsyncIterator[Event])
    upload.cancel()


async def a_folder(uploader: Uploader, error: FolderUploadError) -> None:
    upload = uploader.upload_folder(Path("shoot"), folder_id=FOLDER, include=["*.mov"], exclude=("cache",))
    assert_type(upload, FolderUpload)
    assert_type(await upload, FolderResult)
    assert_type(await upload.planned(), FolderPlanned)
    async with upload as entered:
        assert_type(entered, FolderUpload)
        async for event in entered:
            assert_type(event, Event)
    assert_type(upload.result.files, tuple[UploadedFile, ...])
    assert_type(upload.start(), FolderUpload)
    assert_type(error.result.failures, tuple[FileFailed, ...])
    uploader.upload_folder("shoot", folder_id=FOLDER, conflict="version", contents_only=True, account_id="a")
    uploader.upload_folder("shoot", folder_id=FOLDER, conflict="replace")  # type: ignore[arg-type]
    uploader.upload_folder("shoot", folder_id=FOLDER, compare="content")
    uploader.upload_folder("shoot", folder_id=FOLDER, compare="size")  # type: ignore[arg-type]
    uploader.upload_folder(b"shoot", folder_id=FOLDER)  # type: ignore[arg-type]


async def a_watch(uploader: Uploader) -> None:
    watch = uploader.watch_folder(Path("in"), folder_id=FOLDER, settle=5, include=["*.mov"], exclude=("cache",))
    assert_type(watch, FolderWatch)
    async with watch as entered:
        assert_type(entered, FolderWatch)
        async for event in entered:
            assert_type(event, Event)
    assert_type(watch.start(), FolderWatch)
    assert_type(watch.stop(), None)
    assert_type(watch.source, str | os.PathLike[str])
    assert_type(watch.folder_id, str)
    await watch
    uploader.watch_folder("in", folder_id=FOLDER, conflict="version", account_id="a")
    uploader.watch_folder("in", folder_id=FOLDER, conflict="replace")  # type: ignore[arg-type]
    uploader.watch_folder("in", folder_id=FOLDER, compare="content")
    uploader.watch_folder(b"in", folder_id=FOLDER)  # type: ignore[arg-type]


class Chunks:
    """An async iterable of bytes that is no generator."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise NotImplementedError


class Form:
    """As Starlette's `UploadFile` reads."""

    filename = "take.mov"
    size = 3

    async def read(self, size: int = -1) -> bytes:
        raise NotImplementedError


async def chunks() -> AsyncIterator[bytes]:
    yield b""


class TextReader:
    async def read(self, size: int = -1) -> str:
        raise NotImplementedError


async def lines() -> AsyncIterator[str]:
    yield ""


async def every_kind_of_source(uploader: Uploader, response: aiohttp.ClientResponse) -> None:
    uploader.upload("take.mov", folder_id=FOLDER)
    uploader.upload(Path("take.mov"), folder_id=FOLDER)
    uploader.upload(b"", folder_id=FOLDER, name="n")
    uploader.upload(bytearray(), folder_id=FOLDER, name="n")
    uploader.upload(memoryview(b""), folder_id=FOLDER, name="n")
    uploader.upload(io.BytesIO(), folder_id=FOLDER, name="n")
    with open("take.mov", "rb") as file, open("take.mov", "rb", buffering=0) as raw:  # noqa: ASYNC230  # never run; type checkers read it
        uploader.upload(file, folder_id=FOLDER)
        uploader.upload(raw, folder_id=FOLDER)
    with tempfile.TemporaryFile() as temporary:
        uploader.upload(temporary, folder_id=FOLDER, name="n")
    async with aiofiles.open("take.mov", "rb") as handle:
        uploader.upload(handle, folder_id=FOLDER)
    uploader.upload(response.content, folder_id=FOLDER, name="n", size=3)
    uploader.upload(response.content.iter_chunked(1 << 16), folder_id=FOLDER, name="n", size=3)
    uploader.upload(Chunks(), folder_id=FOLDER, name="n", size=3)
    uploader.upload(Form(), folder_id=FOLDER)
    uploader.upload(chunks(), folder_id=FOLDER, name="n", size=3)


async def what_is_no_source(uploader: Uploader) -> None:
    uploader.upload(None, folder_id=FOLDER)  # type: ignore[arg-type]
    uploader.upload(7, folder_id=FOLDER)  # type: ignore[arg-type]
    uploader.upload(io.StringIO(), folder_id=FOLDER)  # type: ignore[arg-type]
    uploader.upload(TextReader(), folder_id=FOLDER)  # type: ignore[arg-type]
    uploader.upload(lines(), folder_id=FOLDER)  # type: ignore[arg-type]
    uploader.upload([b"1"], folder_id=FOLDER)  # type: ignore[arg-type]
    with open("take.mov") as text:  # noqa: ASYNC230  # never run; type checkers read it
        uploader.upload(text, folder_id=FOLDER)  # type: ignore[arg-type]


async def other_wrong_words(uploader: Uploader, plan: Plan) -> None:
    uploader.upload("take.mov", FOLDER)  # type: ignore[call-arg]
    uploader.upload("take.mov")  # type: ignore[call-arg]
    uploader.upload("take.mov", folder_id=None)  # type: ignore[arg-type]
    uploader.upload("take.mov", folder_id=FOLDER, conflict="version")
    uploader.upload("take.mov", folder_id=FOLDER, conflict="replace")  # type: ignore[arg-type]
    uploader.upload("take.mov", folder_id=FOLDER, conflict="skip", compare="content")
    Uploader(b"token")  # type: ignore[arg-type]
    Uploader("token", "account")  # type: ignore[call-arg]
    plan.size = 3  # type: ignore[misc]
    Limits().parts = 3  # type: ignore[misc]


async def async_token() -> str:
    return "token"


def sync_token() -> str:
    return "token"


async def every_setting(session: aiohttp.ClientSession, context: ssl.SSLContext) -> None:
    Uploader(async_token)
    Uploader(sync_token)
    Uploader(lambda: "token")
    Uploader(
        "token",
        account_id="account",
        base_url="https://api.frame.io",
        limits=Limits(parts=8, files=16, api_pacing=True),
        timeouts=Timeouts(connect=30, api=60.0, stall=30, confirm=None),
        retry=RetryPolicy(attempts=8, base=0.5, cap=30),
        journal=Journal(Path("uploads.sqlite3"), sync=False),
        checksum="auto",
        session=session,
        proxy="http://127.0.0.1:3128",
        ssl=context,
        spool_dir=Path("/var/tmp"),
    )


async def a_picture(uploader: Uploader, event: Event) -> None:
    timeline = Timeline()
    timeline.add(event)
    timeline.add(event, "take.mov", at=1.5)
    await timeline.watch(uploader.upload("take.mov", folder_id=FOLDER))
    await timeline.watch(uploader.upload_folder("shoot", folder_id=FOLDER), "the shoot")
    assert_type(await timeline.draw(Path("out.svg")), None)
    timeline.add("PartStarted")  # type: ignore[arg-type]


def a_fleet(client: Client, uploader: Uploader) -> None:
    upload = upload_file(client, Path("take.mov"), uploader=uploader, folder_id=FOLDER, conflict="version")
    upload_file(client, "take.mov", uploader=uploader, folder_id=FOLDER, conflict="skip", compare="content")
    assert_type(upload, Upload)
    upload_file(client, b"take", uploader=uploader, folder_id=FOLDER)  # type: ignore[arg-type]


async def every_verb(uploader: Uploader) -> None:
    plan = await uploader.plan("take.mov", folder_id=FOLDER, name="n", size=3, account_id="a", media_type="video/mp4")
    assert_type(plan, Plan)
    assert_type(uploader.execute(plan, "take.mov"), Upload)
    assert_type(uploader.execute(plan, b"", receipts=[Receipt(1, 3, "etag")]), Upload)
    uploader.execute(plan, b"", receipts=[1])  # type: ignore[list-item]
    assert_type(await uploader.send_parts(plan, "take.mov", [1, 2]), tuple[Receipt, ...])
    assert_type(await uploader.send_parts(plan, b"", range(1, 3)), tuple[Receipt, ...])
    assert_type(await uploader.confirm(plan), UploadedFile)
    status = await uploader.status(plan.file_id, account_id="a")
    assert_type(status, UploadStatus)
    assert_type(status.completed_at, datetime | None)
    verified = await uploader.verify(plan.file_id, "take.mov", account_id="a")
    assert_type(verified, Verification)
    assert_type(verified.checksum, bool | None)
    await uploader.delete(plan.file_id, account_id="a")
    remote = await uploader.remote_upload("https://host/take.mov", folder_id=FOLDER, name="n")
    assert_type(remote, UploadedFile)
    assert_type(uploader.uploads, tuple[Upload | FolderUpload | FolderWatch, ...])
    assert_type(uploader.statistics(), Statistics)
    assert_type(await uploader.pending(), tuple[PendingUpload, ...])
    assert_type(await uploader.resume_pending(), tuple[Upload, ...])
    await uploader.discard(plan.file_id)
    assert_type(await uploader.find("Dailies", depth=1), tuple[RemoteAccount, ...])
    assert_type(await uploader.project("p", account_id="a"), RemoteProject)
    assert_type(await uploader.user(), RemoteUser)
    assert_type(await uploader.accounts(), tuple[RemoteAccount, ...])
    await uploader.shutdown(grace=5.0)


def every_record(plan: Plan, file: UploadedFile, receipt: Receipt) -> None:
    assert_type(plan.parts, tuple[Part, ...])
    assert_type(plan.expires_at, datetime | None)
    assert_type(plan.to_json(), str)
    assert_type(Plan.from_json("{}"), Plan)
    assert_type(Plan.from_json(b"{}"), Plan)
    assert_type(Plan.from_response({}, account_id="a"), Plan)
    assert_type(plan.parts[0].url, str)
    assert_type(file.outcome, Literal["uploaded", "resumed", "skipped"])
    assert_type(file.etags, tuple[str | None, ...])
    assert_type(receipt.md5, str | None)


def every_place(account: RemoteAccount) -> None:
    assert_type(account.workspaces, tuple[RemoteWorkspace, ...])
    assert_type(account.storage_left, int | None)
    project = account.workspaces[0].projects[0]
    assert_type(project, RemoteProject)
    assert_type(project.root_folder_id, str | None)
    assert_type(project.folders[0].folders, tuple[RemoteFolder, ...])


def every_error(error: UploadError) -> None:
    assert_type(error.to_dict(), dict[str, Any])
    match error:
        case SourceError():
            assert_type(error.path, str | None)
        case LinksExpired():
            assert_type(error.file_id, str | None)
        case ApiError():
            assert_type(error.status, int | None)
            assert_type(error.detail, str)
        case PartError():
            assert_type(error.number, int)
            assert_type(error.attempts, int)
            assert_type(error.code, str | None)
            assert_type(error.request_id, str | None)
        case JournalError():
            assert_type(error.path, str)
        case ConfirmationError():
            assert_type(error.file_id, str)
            assert_type(error.reason, str)
        case _:
            pass


async def coming_from_the_sdk(asset: object) -> None:
    def on_progress(done: int, total: int) -> None:
        assert_type((done, total), tuple[int, int])

    dropped_in = AsyncFrameioUploader(asset, io.BytesIO(b""), 5, {"X-Job": "dailies"}, 3, on_progress)
    assert_type(await dropped_in.upload(), None)
    AsyncFrameioUploader(asset, "take-07.mov", on_progress=lambda done: None)  # type: ignore[arg-type, misc]
