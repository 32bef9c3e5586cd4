"""`Uploader`: its life cycle and all its methods."""

from __future__ import annotations

import os
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from types import TracebackType
from typing import Self, TypeVar, cast, get_args

import aiohttp

from ._core.api_schema import check_id, check_media_type, is_text
from ._core.dry_run import DryRunFile, DryRunFolder
from ._core.errors import NotFound
from ._core.events import FolderResult
from ._core.folder_target import FolderTarget, read_project_text, read_target
from ._core.instrumentation import NO_INSTRUMENTATION, Instrumentation
from ._core.journal import PendingUpload
from ._core.listing import Compare, Conflict, check_compare, check_conflict
from ._core.model import ChecksumMode, Plan, Receipt, Statistics, UploadedFile, UploadStatus, check_secure
from ._core.patterns import patterns
from ._core.public import public
from ._core.receipts import one_each
from ._core.redact import Secret
from ._core.remote_records import RemoteAccount, RemoteFolder, RemoteProject, RemoteUser
from ._core.settings import Limits, RetryPolicy, Timeouts
from ._core.verifying import Verification
from ._core.watching import check_settle
from ._core.words import NAME_A_FOLDER
from ._engine.confirm import confirm, read_status
from ._engine.control import UploadControl
from ._engine.event_log import EventLog, FolderEventLog
from ._engine.folder import FolderRequest, deliver_folder, foresee_folder
from ._engine.job import UploadJob
from ._engine.parts import PartUploader, send_some
from ._engine.pending import claim_pending, discard, list_pending
from ._engine.placeholder import create_file, create_remote_file
from ._engine.remote_folders import SingleFlight
from ._engine.remote_tree import find_accounts, find_folder, find_missing, find_project, find_user, list_accounts
from ._engine.request import PartSenderFactory, UploadRequest
from ._engine.resume import JournalSession
from ._engine.verify import verify
from ._engine.watch import Clock, WatchControl, WatchRequest, deliver_watched
from ._io.files import printable
from ._io.frameio_api import (
    DELETE,
    SHOW_PROJECT,
    FrameioApi,
    Token,
    check_base_url,
    is_base_url,
    is_readable_on_the_way,
)
from ._io.journal import AsyncJournal, Journal
from ._io.log import log
from ._io.proxies import Proxies, Proxy
from ._io.session import Session, UploaderSettings, open_session
from ._io.source_kinds import Source, check_kind, check_name, name_of
from ._io.sources import check_size, open_source
from ._io.watch_notices import OpenNotices, open_notices
from ._upload import FolderUpload, FolderWatch, Upload, UploadRegistry

R = TypeVar("R")


@public
class Uploader:
    """Upload files to Frame.io.

    An async context manager. It may be entered in one task and left in another (fixtures, start and stop hooks), and an
    idle one holds no task. Leaving the block waits for the uploads that were started; a watch of a folder is stopped,
    and ends when what it has begun is finished. If one of them fails meanwhile and nobody has seen its error, the error
    is raised there (several: an `ExceptionGroup`). An upload that failed earlier and whose error nobody has seen is
    logged at ERROR when it is garbage-collected. Leaving the block by an exception or a cancellation stops all uploads.

    Args:
        token: A string, or a callable (sync or async) that returns one. The callable is called before each API call,
            and once more after a 401. A sync callable runs in a thread. It may raise `AuthenticationError` to end the
            upload with its own words.
        account_id: The default for every call that takes one.
        base_url: URL of the API: http(s), a host and optionally a path. Plain http to another machine is logged as a
            warning, because anyone on the network path can read the token.
        limits: Limits for all uploads together.
        timeouts: How long to wait for what.
        retry: How often and how long to retry.
        journal: A path or a `Journal`. With one, an upload of a path survives the process: the next `upload()` of the
            same source to the same folder and name sends only the missing parts. Bytes, file objects and streams cannot
            be found again, so their uploads are not recorded; only the checksum of what was sent is, as for paths.
        checksum: How each part is proved to have arrived as it was sent. `"auto"`: by the CRC64NVME that S3 states in
            its answer (since December 2024, whatever the encryption), which costs next to nothing; where an answer has
            none, by the MD5 that the ETag is, unless it is marked as something else (KMS, a customer's key). MD5 costs
            1.7 s of a core per GB; for the first parts of a host it is computed from the source, once they are there,
            and for later ones while they are sent. `"md5"`: as `"auto"`, and the MD5 of every part is computed too, for
            reports. `"off"`: nothing is computed or compared. A CRC64NVME that differs is always a failed attempt. An
            MD5 that differs again on the retry turns that check off for its host, with a logged warning, unless one has
            matched there.
        session: A session whose connector is shared (pool, resolver, TLS). Nothing else of it is used. Close it after
            the Uploader. If it is closed earlier, uploads fail, and their placeholders are deleted over a separate
            connection. While others use all its connections, requests wait, for up to `Timeouts.pool`.
        proxy: The URL of an HTTP proxy for API calls and parts, or a callable that chooses one for each host. The
            callable gets `scheme://host[:port]` of each request and returns a URL, or None for a direct connection.
            User and password in the URL are percent-encoded UTF-8. SOCKS is not supported.
        ssl: A TLS context for API calls and parts.
        spool_dir: Directory for the parts of streams; by default the default temporary directory, unless that one is in
            memory.
        telemetry: Where spans and metrics go: `aioframeio_upload.opentelemetry.Telemetry()` (extra `otel`).
    """

    def __init__(
        self,
        token: Token,
        *,
        account_id: str | None = None,
        base_url: str = "https://api.frame.io",
        limits: Limits = Limits(),  # noqa: B008  # frozen, so calls can share it
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
        journal: str | PathLike[str] | Journal | None = None,
        checksum: ChecksumMode = "auto",
        session: aiohttp.ClientSession | None = None,
        proxy: Proxy = None,
        ssl: ssl_module.SSLContext | None = None,
        spool_dir: str | PathLike[str] | None = None,
        telemetry: Instrumentation | None = None,
    ) -> None:
        # Wrapped first: an error that is raised below shows this frame and its arguments in a traceback.
        self._registry = UploadRegistry()
        self._token, self._address, way = Secret(token), Secret(base_url), Secret(proxy)
        del token, base_url, proxy
        check_base_url(self._address)
        if is_readable_on_the_way(self._address):
            log.warning(
                "base_url %s is not https: anyone on the network path can read the token", self._address.reveal()
            )
        for given, kind in ((limits, Limits), (timeouts, Timeouts), (retry, RetryPolicy)):
            if not isinstance(given, kind):
                raise TypeError(f"expected {kind.__name__}(...), not {given!r}")
        if checksum not in get_args(ChecksumMode):
            raise ValueError(f"checksum is {checksum!r}; it can be 'auto', 'md5' or 'off'")
        self._account_id = account_id
        self._settings = UploaderSettings(
            limits=limits,
            timeouts=timeouts,
            retry=retry,
            checksum=checksum,
            session=session,
            proxies=Proxies(way),
            ssl=ssl,
            spool_dir=spool_dir,
            telemetry=telemetry or NO_INSTRUMENTATION,
        )
        self._journal = journal if isinstance(journal, Journal) or journal is None else Journal(journal)
        self._entered = False
        self._open: tuple[Session, FrameioApi] | None = None
        self._roots = SingleFlight(self._read_root)
        """The root folders of projects, each asked for once."""

    def __repr__(self) -> str:
        if not is_base_url(self._address):  # refused, because it may contain a password; a traceback shows `self`
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} {self._address.reveal()}, {len(self._registry.uploads)} running>"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("an Uploader is entered once")
        self._registry.home.settle()
        self._entered = True
        resources = await open_session(self._settings)
        if self._journal is not None:
            journal = AsyncJournal(self._journal)
            try:
                await journal.open()
            except BaseException:
                await resources.close()
                raise
            resources.journal = journal
        self._open = resources, FrameioApi(resources, self._token, self._address.reveal())
        self._registry.closed_because = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._registry.home.check()
        try:
            if error is None:
                await self._registry.finish()
        finally:
            # Does nothing after `finish()` returned. After an error or a cancelled wait, uploads may still run.
            try:
                await self.shutdown(0)
            finally:
                await self._close()

    async def _close(self) -> None:
        if self._open is not None:
            resources, self._open = self._open[0], None
            await resources.close()

    async def shutdown(self, grace: float = 5.0) -> None:
        """Let running uploads continue for `grace` seconds, then stop them as a cancelled task would; raise nothing.

        For SIGTERM and lifespans. A watch of a folder begins no further file. Calls that are awaited elsewhere (`plan`,
        `send_parts`, `confirm`, ...) get the same time. Those that still run then raise `UploadCancelled` there, and
        what they created at Frame.io is deleted or logged. No upload can be started afterwards. The `async with` block
        must still be left.
        """
        self._registry.home.check()
        self._registry.closed_because = "the Uploader was shut down"
        await self._registry.stop(grace)

    @property
    def uploads(self) -> tuple[Upload | FolderUpload | FolderWatch, ...]:
        """The uploads that were started and have not ended."""
        return self._registry.uploads

    def statistics(self) -> Statistics:
        """Return a snapshot of what the Uploader is doing."""
        return self._registry.statistics(self._opened()[0])

    @contextmanager
    def _call(self, *, begins: bool = False) -> Iterator[tuple[Session, FrameioApi]]:
        """Register a call that runs in the caller's task, so that `shutdown` can stop it.

        Args:
            begins: Whether the call begins something. Such calls are refused after a shutdown.

        Raises:
            RuntimeError: The Uploader was not entered, was left or shut down, or belongs to another event loop.
            UploadCancelled: The Uploader was shut down meanwhile.
        """
        self._registry.home.check()
        opened = self._opened()
        if begins and self._registry.closed_because is not None:
            raise RuntimeError(self._registry.closed_because)
        with self._registry.call():
            yield opened

    def _opened(self) -> tuple[Session, FrameioApi]:
        if self._open is None:
            raise RuntimeError(self._registry.closed_because or "the Uploader is not entered")
        return self._open

    def _account(self, account_id: str | None) -> str:
        found = account_id or self._account_id
        if not found:
            raise ValueError("no account: give account_id= to the Uploader or to this call")
        return check_id("account_id", found)

    async def _folder(self, target: FolderTarget, account_id: str) -> str:
        """Return the id of a target folder; the service is asked only for the root folder of a project."""
        if target.folder_id is not None:
            return target.folder_id
        return await self._roots.get(f"{account_id}/{target.project_id}")

    async def _read_root(self, key: str) -> str:
        account_id, _, project_id = key.partition("/")
        project = await find_project(self._opened()[1], account_id, project_id)
        if project.root_folder_id is None:
            raise NotFound(
                "the project has no root folder", operation=SHOW_PROJECT.name, status=200, advice=NAME_A_FOLDER
            )
        return project.root_folder_id

    async def _in_folder(self, target: FolderTarget, account_id: str, begin: Callable[[str], Awaitable[R]]) -> R:
        """Begin an upload when its folder is known."""
        return await begin(await self._folder(target, account_id))

    # -- uploads -------------------------------------------------------------------------------------------------------

    def upload(
        self,
        source: Source,
        *,
        folder_id: str,
        name: str | None = None,
        size: int | None = None,
        account_id: str | None = None,
        media_type: str | None = None,
        conflict: Conflict = "create",
        compare: Compare = "auto",
    ) -> Upload:
        """Return the upload of a file, bytes or a stream to a folder. Nothing happens until the `Upload` is used.

        If it has 1 GB or more, and the account is known to have less room (`RemoteAccount.storage_left`), a warning is
        logged before the first byte.

        Args:
            source: A path; bytes; a binary file object, which is read from its current position to its end; an async
                iterable of bytes; or an object with `async read(n)`. A stream is spooled to disk, one part at a time.
            folder_id: ID or link of the target folder (`https://next.frame.io/project/<project>/<folder>`), or link of
                a project (`https://next.frame.io/project/<project>`), which stands for its root folder.
            name: The file's name at Frame.io; by default the source's own name. The name of a path is used unchanged. A
                name that is passed here, or that belongs to an object, may come from a web form: only its last
                component is used (split at `/` and at backslashes), without control and bidi characters.
            size: Size in bytes. Required for a stream that does not know its size; checked for every other source.
            account_id: ID of the account; by default the Uploader's.
            media_type: The media type that the part links are signed for, if the service does not return one.
            conflict: What to do if the folder has a file of that name. `"create"`: create another file; the service
                allows equal names. `"skip"`: send nothing if that file has the same size, has arrived, and was created
                after the source was last modified (a modification time in the service's future is ignored). The only
                event is then `UploadCompleted`, with the outcome `"skipped"`. `"version"`: upload the file, then stack
                it on the existing one as a new version. `"version-changed"`: as `"skip"` if it is the same file, else
                as `"version"`.
            compare: What tells, for `"skip"` and `"version-changed"`, whether it is the same file. `"auto"`: that the
                journal has its size, modification time and change time, or the content of the file at Frame.io (its
                CRC64NVME, for which the source is read); else name, size and time. `"content"`: its content, in any
                case. The source is read once; where the journal does not know the content of the file at Frame.io,
                Frame.io is asked as by `verify`, and the result is recorded, so that the next run does not ask. What
                cannot be compared is sent, and `UploadedFile.reason` says why: S3 states no checksum, the original may
                not be downloaded, or the source is a stream, which can be read only once.

        Raises:
            ValueError: The name or the account is missing, an ID is empty or not text, a link names no folder and no
                project, the media type is not a valid header value, or `compare` has no effect with that `conflict`.
            TypeError: `source` is not of a supported kind.
        """
        check_kind(source)
        check_conflict(conflict)
        check_compare(compare, conflict)
        name, account = name_of(source, name), self._account(account_id)
        target = read_target(folder_id)

        return self._submit(
            UploadRequest(
                source=source,
                size=size,
                name=name,
                folder_id=target.folder_id,
                account_id=account,
                media_type=check_media_type(media_type),
                conflict=conflict,
                compare=compare,
                project_id=target.project_id,
            )
        )

    async def dry_run(
        self,
        source: Source,
        *,
        folder_id: str | None,
        name: str | None = None,
        size: int | None = None,
        account_id: str | None = None,
        conflict: Conflict = "create",
        compare: Compare = "auto",
    ) -> DryRunFile:
        """Return what `upload` would do with these arguments, by the same decisions; nothing is created or sent.

        It opens the source, lists the folder, and reads the journal if the Uploader has one; where `upload` would read
        the source to compare it, so does this. Nothing of a stream is read. What happens between this and the upload,
        and what only the service's answer to it can tell (no room, no permission to write), it cannot know.

        Args:
            source: As for `upload`.
            folder_id: As for `upload`; None for a folder that does not exist yet, see `missing_folders`.
            name: As for `upload`.
            size: As for `upload`.
            account_id: As for `upload`.
            conflict: As for `upload`.
            compare: As for `upload`. What was compared is not recorded, so the upload reads and compares it again.

        Raises:
            SourceError: The source is missing, empty or unreadable.
            ApiError: The service refused a call.
            JournalError: The journal cannot be read.
            ValueError: As for `upload`.
            TypeError: As for `upload`.
        """
        check_kind(source)
        check_conflict(conflict)
        check_compare(compare, conflict)
        name, account = name_of(source, name), self._account(account_id)
        target = None if folder_id is None else read_target(folder_id)
        with self._call() as (resources, api):
            check_name(name, source)
            request = UploadRequest(
                source=source,
                size=size,
                name=name,
                folder_id="" if target is None else await self._folder(target, account),
                account_id=account,
                conflict=conflict,
                compare=compare,
            )
            job = UploadJob(request=request, feed=EventLog(), control=UploadControl(), resources=resources, api=api)
            return await job.dry_run()

    def upload_folder(
        self,
        root: str | os.PathLike[str],
        *,
        folder_id: str,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        conflict: Conflict = "skip",
        compare: Compare = "auto",
        contents_only: bool = False,
        account_id: str | None = None,
    ) -> FolderUpload:
        """Return the upload of a folder and everything in it. Nothing happens until the `FolderUpload` is used.

        The tree is walked first. Names that begin with a dot, files and folders that operating systems create
        (`Thumbs.db`, `lost+found`, `$RECYCLE.BIN`, …) and links to folders are left out; links to files are followed.
        An empty file is skipped, and the event says why. If the account is known to have less room than all files need
        (`RemoteAccount.storage_left`), a warning is logged before the first byte, and the upload goes on: files that
        are there already need no room. A folder that exists at Frame.io under the same name is used;
        others are created. Empty folders are created too, unless `include` is given. Names are used unchanged.

        Args:
            root: Path of the folder.
            folder_id: The target folder, as for `upload`.
            include: Patterns of the files to upload; by default all. A pattern is a path relative to the root, with
                `/`. A pattern without `/` matches the name at any depth; `**` matches any number of folders. A folder
                that matches includes everything in it.
            exclude: Patterns of the files to leave out. They take precedence; a folder that matches is not walked.
            conflict: As for `upload`. With `"skip"`, a second run sends only what is missing.
            compare: As for `upload`. Up to `Limits.files` files are compared at a time.
            contents_only: Upload the contents to `folder_id` itself, instead of to a folder with the root's name.
            account_id: ID of the account; by default the Uploader's.

        Raises:
            ValueError: The account is missing, a pattern cannot match anything, the root has no name, or `compare` has
                no effect with that `conflict`.
            TypeError: `root` is not a path.
        """
        target = read_target(folder_id)
        asked, name = self._folder_request(root, include, exclude, conflict, compare, contents_only, account_id)

        def run(events: FolderEventLog, control: UploadControl) -> Awaitable[FolderResult]:
            resources, api = self._opened()
            if asked.name is not None:
                check_name(asked.name, asked.root)

            def begin(folder_id: str) -> Awaitable[FolderResult]:
                request = replace(asked, folder_id=folder_id)
                return deliver_folder(request, events, control, resources, api.publishing(events.publish))

            if target.folder_id is not None:
                return begin(target.folder_id)
            return self._in_folder(target, asked.account_id, begin)

        return FolderUpload(printable(name), run, self._registry, source=root, folder_id=target.folder_id or folder_id)

    def _folder_request(
        self,
        root: str | os.PathLike[str],
        include: Iterable[str],
        exclude: Iterable[str],
        conflict: Conflict,
        compare: Compare,
        contents_only: bool,
        account_id: str | None,
    ) -> tuple[FolderRequest, str]:
        """Check the arguments of a folder's upload; return its request, without the target, and its name."""
        check_conflict(conflict)
        check_compare(compare, conflict)
        path = _path_of(root)
        try:
            name = name_of(path, None)
        except ValueError:
            if not contents_only:
                raise
            name = path  # for `/`, which has no name and needs none: the contents go to an existing folder
        request = FolderRequest(
            root=path,
            name=None if contents_only else name,
            folder_id="",
            account_id=self._account(account_id),
            wanted=patterns(include, exclude),
            conflict=conflict,
            compare=compare,
        )
        return request, name

    async def dry_run_folder(
        self,
        root: str | os.PathLike[str],
        *,
        folder_id: str | None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        conflict: Conflict = "skip",
        compare: Compare = "auto",
        contents_only: bool = False,
        account_id: str | None = None,
    ) -> DryRunFolder:
        """Return what `upload_folder` would do with these arguments; nothing is created or sent. See `dry_run`.

        It takes a call for each folder that exists at Frame.io, of which the service allows 100 a minute.

        Args:
            root: As for `upload_folder`.
            folder_id: As for `upload`; None for a folder that does not exist yet, see `missing_folders`.
            include: As for `upload_folder`.
            exclude: As for `upload_folder`.
            conflict: As for `upload_folder`.
            compare: As for `dry_run`.
            contents_only: As for `upload_folder`.
            account_id: As for `upload_folder`.

        Raises:
            SourceError: The folder is missing or cannot be read. What is in it and cannot be read is in `failures`.
            ApiError: The target folder cannot be listed. For other folders, that is in `failures`.
            ValueError: As for `upload_folder`.
            TypeError: As for `upload_folder`.
        """
        target = None if folder_id is None else read_target(folder_id)
        request, _ = self._folder_request(root, include, exclude, conflict, compare, contents_only, account_id)
        with self._call() as (resources, api):
            if request.name is not None:
                check_name(request.name, request.root)
            found = "" if target is None else await self._folder(target, request.account_id)
            return await foresee_folder(replace(request, folder_id=found), resources, api)

    def watch_folder(
        self,
        root: str | os.PathLike[str],
        *,
        folder_id: str,
        settle: float = 10.0,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        conflict: Conflict = "skip",
        compare: Compare = "auto",
        account_id: str | None = None,
    ) -> FolderWatch:
        """Return a watch of a folder: it uploads what is in it, then what comes into it, until it is stopped.

        Nothing happens until the `FolderWatch` is used. A file is sent when its size and modification time have not
        changed for `settle` seconds, and it is looked at again just before. What changes while it is sent fails with
        `SourceChanged`, and is sent when it has settled. A file that was sent and then changes is sent again. One that
        fails is tried again when it changes, and after a pause of 30 seconds, which doubles with each failure up to
        half an hour. A file that vanishes before its turn is no failure.

        The contents go into `folder_id` itself, subfolders into folders of the same names. What `upload_folder` leaves
        out is left out here too, and so are names that programs use while they write a file: `*.tmp`, `*.part`,
        `*.partial`, `*.crdownload` and the like.

        With the extra `watch`, changes are noticed as the system reports them. Without it, and on network shares, which
        report nothing, the folder is read at intervals: every `settle` seconds, at most every 5, and less often if
        reading it takes long. If the folder disappears (a disk is unplugged), the watch waits until it is back.

        After a restart nothing is sent twice: a file that this watch has not sent is looked for at Frame.io first,
        with any `conflict`. With a `journal`, one that was sent from here and has not changed since is there as long as
        the file that it became exists, wherever that is; and a file that was being sent is resumed. Otherwise the
        comparison is that of `conflict="skip"`: same name, same size, has arrived, created after the file was last
        modified; or its content with `compare="content"`.

        Args:
            root: Path of the folder. It must exist when the watch starts.
            folder_id: The target folder, as for `upload`.
            settle: Seconds for which a file has to stay unchanged. Programs that pause for longer while they write a
                file need more.
            include: As for `upload_folder`.
            exclude: As for `upload_folder`.
            conflict: What becomes of a file whose name exists at Frame.io with another content. `"skip"` and
                `"create"`: another file of that name is created. `"version"`: it is stacked on the existing one.
            compare: As for `upload`, and with any `conflict`. With `"content"`, a file that was written again with the
                same content is not sent again.
            account_id: ID of the account; by default the Uploader's.

        Raises:
            ValueError: The account is missing, a pattern cannot match anything, or `settle` is negative or not finite.
            TypeError: `root` is not a path.
        """
        check_conflict(conflict)
        check_compare(compare)
        target = read_target(folder_id)
        return self._watch(
            root,
            WatchRequest(
                folder=FolderRequest(
                    root=_path_of(root),
                    name=None,
                    folder_id=target.folder_id or "",
                    account_id=self._account(account_id),
                    wanted=patterns(include, exclude),
                    conflict=conflict,
                    compare=compare,
                ),
                settle=check_settle(settle),
            ),
            target=target,
        )

    def _watch(
        self,
        root: str | os.PathLike[str],
        request: WatchRequest,
        *,
        target: FolderTarget = FolderTarget(),  # noqa: B008  # frozen
        clock: Clock | None = None,
        open_reports: OpenNotices = open_notices,
    ) -> FolderWatch:
        """Return the watch of a request; tests pass a clock, and reports of changes.

        Args:
            root: The folder as the caller passed it.
            request: The watch.
            target: A project whose root folder replaces the request's folder.
            clock: The time.
            open_reports: Opens the source of reports about changes.
        """

        def run(events: FolderEventLog, control: WatchControl) -> Awaitable[None]:
            resources, api = self._opened()
            api = api.publishing(events.publish)

            def begin(folder_id: str) -> Awaitable[None]:
                known = replace(request, folder=replace(request.folder, folder_id=folder_id))
                return deliver_watched(known, events, control, resources, api, clock=clock, open_reports=open_reports)

            if target.project_id is None:
                return begin(request.folder.folder_id)
            return self._in_folder(target, request.folder.account_id, begin)

        name = printable(os.path.basename(request.folder.root) or request.folder.root)
        return FolderWatch(name, run, self._registry, source=root, folder_id=request.folder.folder_id)

    def execute(self, plan: Plan, source: Source, *, receipts: Iterable[Receipt] | None = None) -> Upload:
        """Return the upload of a source by an existing plan, which another process may have made. It is lazy.

        If the plan is for another size, the upload ends with a `PlanError`.

        With a journal, the upload is recorded under that plan: the next `execute` of the same plan and path sends only
        the missing parts. If the plan can no longer be used, it starts again with a new one.

        With `receipts`, the caller keeps the record instead of the journal, and can continue a stream too. The file
        then belongs to the caller: however the upload ends, the file is neither deleted nor replaced.

        If the API is https, a plan with http links ends with a `PlanError` before a byte is sent, unless the links lead
        to this machine itself. The file is kept, because the plan is the caller's.

        Args:
            plan: The result of `plan()`, or of another tool through `Plan.from_response`.
            source: As for `upload`.
            receipts: Receipts of the parts that have arrived already, in any order; `()` if there are none yet. These
                parts are not sent again, and a stream must contain the bytes of the other parts only, one after the
                other. To make further receipts from events: `Receipt(event.number, event.size, event.etag)` of each
                `PartCompleted`.

        Raises:
            ValueError: The account is missing.
            TypeError: `source` is not of a supported kind.
            PlanError: A receipt is for a part that is not in the plan.
            IntegrityError: Two receipts describe different bytes of the same part.
        """
        check_kind(source)
        account = self._account(plan.account_id)

        return self._submit(
            UploadRequest(
                source=source,
                size=plan.size,
                name=plan.name,
                folder_id=plan.folder_id,
                account_id=account,
                media_type=check_media_type(plan.media_type),
                plan=plan,
                origin=plan.file_id,
                file_id=plan.file_id,
                receipts=None if receipts is None else one_each(plan, receipts),
            )
        )

    def _submit(
        self,
        request: UploadRequest,
        *,
        record: JournalSession | None = None,
        sender: PartSenderFactory = PartUploader,
    ) -> Upload:
        """Return the upload of a request. It begins when it is used.

        Args:
            request: If its `account_id` is empty, the Uploader's is used.
            record: The journal entry, if this Uploader owns it already. The upload releases it.
            sender: Returns the object that sends the parts.
        """
        request = replace(request, account_id=self._account(request.account_id))

        def run(events: EventLog, control: UploadControl) -> Awaitable[UploadedFile]:
            resources, api = self._opened()
            if request.plan is None:  # the name in a plan comes from the service
                check_name(request.name, request.source)
            job = UploadJob(
                request=request,
                feed=events,
                control=control,
                resources=resources,
                api=api.publishing(events.publish),
                record=record,
                sender=sender,
            )
            if request.project_id is None:
                return job.run()
            return self._in_folder(FolderTarget(project_id=request.project_id), request.account_id, job.run_in)

        return Upload(request, run, self._registry, record)

    # -- the steps of an upload, one by one ----------------------------------------------------------------------------

    async def plan(
        self,
        source: Source,
        *,
        folder_id: str,
        name: str | None = None,
        size: int | None = None,
        account_id: str | None = None,
        media_type: str | None = None,
    ) -> Plan:
        """Create the file at Frame.io and return its plan, for `execute` or `send_parts`. No bytes are sent.

        A plan that is not used leaves a file without content at Frame.io; delete it with `delete(plan.file_id)`. The
        arguments are those of `upload`.

        Raises:
            SourceError: The source is missing, empty or unreadable.
            ApiError: The service refused the call.
            PlanError: The service's plan cannot be used: its parts do not add up to the file, or a link is http
                although the API is https. The file was deleted again.
        """
        check_kind(source)
        name, account = name_of(source, name), self._account(account_id)
        check_name(name, source)
        target, media_type = read_target(folder_id), check_media_type(media_type)
        with self._call(begins=True) as (resources, api):
            folder_id = await self._folder(target, account)
            found = await open_source(source, size, resources.executor, resources.spool)
            found.close()
            length = check_size(found, size)
            return await create_file(
                api, name=name, size=length, folder_id=folder_id, account_id=account, media_type=media_type
            )

    async def send_parts(self, plan: Plan, source: Source, numbers: Iterable[int]) -> tuple[Receipt, ...]:
        """Send some parts of a plan and return their receipts, in the order of the parts. Safe to repeat.

        It does not count for `Limits.files`, does not wait for a confirmation (use `confirm(plan)`), and deletes
        nothing, because others may be sending the other parts. Nothing is recorded in a journal; keep the receipts.

        A stream must contain the bytes of these parts only, one after the other; any other source, the whole file.

        Raises:
            ValueError: The plan has no part with such a number.
            LinksExpired: The plan is too old.
            PartError: A part could not be sent.
            PlanError: The plan is for another size, or its links are http although the API is https (and do not lead to
                this machine itself).
        """
        check_kind(source)
        wanted = frozenset(numbers)
        if not wanted <= {part.number for part in plan.parts}:
            raise ValueError(f"the plan has {len(plan.parts)} parts, numbered from 1")
        check_media_type(plan.media_type)
        with self._call(begins=True) as (resources, api):
            if api.is_secure:
                check_secure(plan, is_own=False)
            return await send_some(plan, source, wanted, resources)

    async def confirm(self, plan: Plan) -> UploadedFile:
        """Wait until the service has assembled the file from its parts.

        If that takes too long and `is_proved` of a part's receipt is false, send that part again and confirm again.

        Raises:
            ConfirmationError: The service failed to assemble it, or took longer than `Timeouts.confirm`.
            ApiError: The service refused the call or did not answer.
        """
        account = self._account(plan.account_id)
        with self._call() as (resources, api):
            return await confirm(api, plan, account, resources.timeouts.confirm_for(plan.size))

    # -- files and folders at Frame.io ---------------------------------------------------------------------------------

    async def find(self, project: str | None = None, *, depth: int = 2) -> tuple[RemoteAccount, ...]:
        """Return the accounts, workspaces, projects and folders that the token can read, with their ids.

        An Uploader with an `account_id` reads that account only. A large account takes a while: the service allows 100
        lists of projects a minute, and 5 lists of folders a second.

        Args:
            project: ID, name or link (as a browser shows it) of a project; all others are left out. If there is none of
                that name, the projects whose names contain it, in upper or lower case.
            depth: How many levels of folders to read below each project's root folder.

        Raises:
            ApiError: The service refused a call.
            ValueError: `depth` is negative, or `project` is the link of something else.
            TypeError: `depth` is not an int, or `project` not a string.
        """
        if not isinstance(depth, int):
            raise TypeError(f"depth must be an int, not {type(depth).__name__}")
        if depth < 0:
            raise ValueError("depth must not be negative")
        wanted = None if project is None else read_project_text(project)
        with self._call() as (_, api):
            return await find_accounts(api, self._account_id, wanted, depth)

    async def find_folder(self, path: str, *, make: bool = False, account_id: str | None = None) -> RemoteFolder:
        """Return the folder of a path: the name or ID of a project, then names of folders, with `/` between them.

        `Commercial` and `Commercial/` are the project's root folder. A name that contains a `/` cannot be written so.
        The names of folders may differ in Unicode normalization; of several with one name, the oldest is meant. It
        takes a call for each workspace and each folder on the way.

        Args:
            path: `"Commercial/Dailies/2026-11-29"`.
            make: Create the folders that are missing. The project must exist. Calls and folder uploads of one Uploader
                that need the same folder at the same time create it once.
            account_id: The account that the project is in; by default the Uploader's.

        Raises:
            NotFound: There is no such project, or no such folder; the message lists what there is.
            ApiError: Several projects have the name, or the service refused a call.
            ValueError: The path is empty.
        """
        account, names = self._account(account_id), _names_of(path)
        with self._call(begins=make) as (_, api):
            return await find_folder(api, account, names, make=make)

    async def missing_folders(self, path: str, *, account_id: str | None = None) -> tuple[str, ...]:
        """Return the paths of the folders that `find_folder(path, make=True)` would create, parents first.

        Args:
            path: As for `find_folder`.
            account_id: As for `find_folder`.

        Raises:
            NotFound: There is no such project.
            ApiError: Several projects have the name, or the service refused a call.
            ValueError: The path is empty.
        """
        account, names = self._account(account_id), _names_of(path)
        with self._call() as (_, api):
            return await find_missing(api, account, names)

    async def user(self) -> RemoteUser:
        """Return the user that the token belongs to.

        Raises:
            ApiError: The service refused the call.
        """
        with self._call() as (_, api):
            return await find_user(api)

    async def accounts(self) -> tuple[RemoteAccount, ...]:
        """Return the accounts that the token can read, without their workspaces, and how much each may hold.

        All of them, also for an Uploader with an `account_id`. It takes one call for up to a hundred accounts; `find`
        reads what is in them.

        Raises:
            ApiError: The service refused the call.
        """
        with self._call() as (_, api):
            return await list_accounts(api)

    async def project(self, project_id: str, *, account_id: str | None = None) -> RemoteProject:
        """Return a project, with the id of its root folder and without its folders.

        It takes one call, and no permission to list workspaces, which a guest of a project does not have.

        Args:
            project_id: As `find` returns it, or the link of its page.
            account_id: The account that it is in; by default the Uploader's.

        Raises:
            ApiError: There is no such project, or the service refused the call.
            ValueError: It is empty, or the link of something else.
        """
        account, wanted = self._account(account_id), read_project_text(project_id, "project_id")
        with self._call() as (_, api):
            return await find_project(api, account, check_id("project_id", wanted))

    async def status(self, file_id: str, *, account_id: str | None = None) -> UploadStatus:
        """Return the upload status of a file, as the service reports it.

        Raises:
            ApiError: The service refused the call.
        """
        account = self._account(account_id)
        with self._call() as (_, api):
            return await read_status(api, check_id("file_id", file_id), account)

    async def verify(
        self, file_id: str, source: Source, *, size: int | None = None, account_id: str | None = None
    ) -> Verification:
        """Compare the stored original of a file with a source, and return what that proves. It never claims more.

        The source is read once, with its CRC64NVME and MD5. What it can be compared by depends on the service: if the
        token may download the original, its ETag, which S3 makes of the MD5s of the parts as Frame.io cuts a file, or a
        CRC64NVME if the answer states one; otherwise its size alone (`proved_by`). An ETag that is marked as something
        else (KMS, a customer's key) is not compared. That the ETag of the original is that of the parts of the upload
        was observed by others, and is not documented by Frame.io.

        Args:
            file_id: The file.
            source: What it should be: a source as for `upload`.
            size: Of a source that does not know its own.
            account_id: The account that the file is in; by default the Uploader's.

        Raises:
            ApiError: There is no such file, or the service refused the call.
            SourceError: The source cannot be read, or changes meanwhile.
        """
        check_kind(source)
        account = self._account(account_id)
        with self._call() as (resources, api):
            return await verify(api, resources, check_id("file_id", file_id), account, source, size)

    async def delete(self, file_id: str, *, account_id: str | None = None) -> None:
        """Delete a file, or the placeholder of a plan that is not used.

        Raises:
            ApiError: The service refused the call.
        """
        account = self._account(account_id)
        with self._call() as (_, api):
            await api.call(DELETE, account_id=account, file_id=check_id("file_id", file_id))

    async def remote_upload(
        self, source_url: str, *, folder_id: str, name: str, account_id: str | None = None
    ) -> UploadedFile:
        """Let Frame.io fetch a file from a URL. When this returns, the transfer has only begun; see `status`.

        Args:
            source_url: A public or presigned URL of at most 50 GB. It is sent to Frame.io and shown nowhere.
            folder_id: The target folder, as for `upload`.
            name: The file's name at Frame.io.
            account_id: ID of the account; by default the Uploader's.

        Raises:
            ApiError: The service refused the call.
        """
        url = Secret(source_url)
        del source_url  # a traceback would show it
        if not is_text(url.reveal()):
            raise ValueError("source_url contains a lone surrogate, which UTF-8 cannot encode")
        target = read_target(folder_id)
        name, account = name_of(None, name), self._account(account_id)
        with self._call(begins=True) as (_, api):
            folder_id = await self._folder(target, account)
            return await create_remote_file(api, url, name=name, folder_id=folder_id, account_id=account)

    # -- the journal ---------------------------------------------------------------------------------------------------

    async def pending(self) -> tuple[PendingUpload, ...]:
        """Return the unfinished uploads in the journal, whichever process began them.

        If an upload's record is damaged, its `damage` says why, and a warning is logged. It does not affect the others;
        `discard` removes it.

        Raises:
            JournalError: The journal cannot be read.
            ValueError: The Uploader has no journal.
        """
        with self._call():
            return await list_pending(self._journalled())

    async def resume_pending(self) -> tuple[Upload, ...]:
        """Start all uploads in the journal that no other process works on, and return them.

        Typically the first call of a worker. Each upload continues as `upload()` of the same source would; if all its
        parts have arrived, it is only confirmed. Its `source`, `folder_id` and `file_id` are the recorded ones. An
        upload whose record is damaged is left out, with a logged warning; `pending()` returns it.

        Raises:
            JournalError: The journal cannot be read.
            ValueError: The Uploader has no journal.
        """
        with self._call(begins=True):
            claimed = await claim_pending(self._journalled())
        return tuple(
            self._submit(
                UploadRequest(
                    source=entry.identity.path,
                    name=entry.identity.name,
                    folder_id=entry.identity.folder_id,
                    account_id=entry.identity.account_id,
                    media_type=entry.media_type,
                    conflict=cast("Conflict", entry.conflict),
                    origin=entry.identity.origin,
                    file_id=entry.plan.file_id,
                ),
                record=record,
            ).start()
            for record, entry in claimed
        )

    async def discard(self, file_id: str) -> None:
        """Remove an upload from the journal and delete its placeholder. A file whose parts have all arrived is kept.

        Args:
            file_id: The file's ID, as in `pending()`.

        Raises:
            JournalError: The journal contains no such upload, or the upload is running.
            ApiError: The service refused the call; the entry is kept.
            ValueError: The Uploader has no journal.
        """
        with self._call() as (_, api):
            await discard(self._journalled(), api, file_id, self._account_id)

    def _journalled(self) -> AsyncJournal:
        journal = self._opened()[0].journal
        if journal is None:
            raise ValueError("no journal: give journal= to the Uploader")
        return journal


def _names_of(path: str) -> list[str]:
    """Return the names of a path at Frame.io: that of a project, and of folders in it."""
    names = [name for name in check_id("path", path).split("/") if name]
    if not names:
        raise ValueError("the path is empty: it begins with the name of a project")
    return names


def _path_of(root: str | os.PathLike[str]) -> str:
    """Return the path of a folder.

    Raises:
        TypeError: It is not a path of text.
    """
    path = os.fspath(root)
    if not isinstance(path, str):
        raise TypeError("the root is no path of text")
    return path


def submit(uploader: Uploader, request: UploadRequest, *, sender: PartSenderFactory) -> Upload:
    """Return the upload of a request whose parts `sender` sends. For this package's own modules; not public.

    If the request's `account_id` is empty, the Uploader's is used.
    """
    return uploader._submit(request, sender=sender)  # noqa: SLF001  # beside the class, so that no other module has to
