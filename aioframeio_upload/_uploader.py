"""`Uploader`: its life cycle and all its methods."""

from __future__ import annotations

import os
import ssl as ssl_module
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from types import TracebackType
from typing import Self, cast

import aiohttp

from ._core.api_schema import check_id, check_media_type, is_text
from ._core.events import FolderResult
from ._core.journal import PendingUpload
from ._core.listing import Conflict, check_conflict
from ._core.model import Plan, Receipt, Statistics, UploadedFile, UploadStatus, check_secure
from ._core.patterns import patterns
from ._core.public import public
from ._core.receipts import one_each
from ._core.redact import Secret
from ._core.remote_tree import RemoteAccount, RemoteProject
from ._core.settings import Limits, RetryPolicy, Timeouts
from ._engine.confirm import confirm, read_status
from ._engine.control import UploadControl
from ._engine.event_log import EventLog, FolderEventLog
from ._engine.folder import FolderRequest, deliver_folder
from ._engine.job import UploadJob
from ._engine.parts import PartUploader, send_some
from ._engine.pending import claim_pending, discard, list_pending
from ._engine.placeholder import create_file, create_remote_file
from ._engine.remote_tree import find_accounts, find_project
from ._engine.request import PartSenderFactory, UploadRequest
from ._engine.resume import JournalSession
from ._io.files import printable
from ._io.frameio_api import DELETE, FrameioApi, Token, check_base_url, is_base_url, is_readable_on_the_way
from ._io.journal import AsyncJournal, Journal
from ._io.log import log
from ._io.proxies import Proxies, Proxy
from ._io.session import Session, UploaderSettings, open_session
from ._io.source_kinds import Source, check_kind, check_name, name_of
from ._io.sources import check_size, open_source
from ._upload import FolderUpload, Upload, UploadRegistry


@public
class Uploader:
    """Puts files into Frame.io.

    An async context manager, which may be entered in one task and left in another (fixtures, start and stop hooks); an
    idle one holds no task. Leaving it waits for the uploads that were started; those still running then whose error
    nobody saw raise it there (several: an `ExceptionGroup`), and one that failed unseen earlier is logged at ERROR when
    it is collected. Leaving it by an exception or a cancellation stops them all.

    Args:
        token: A string, or a callable (sync or async) that returns one. It is asked for each API call, and again once
            after a 401. One that is not async runs in a thread.
        account_id: The default for every call that takes one.
        base_url: Where the API is: http(s), a host and perhaps a path. Plain http to another machine is logged as a
            warning, for everybody on the way can read the token.
        limits: What all uploads may use together.
        timeouts: How long to wait.
        retry: How often to try.
        journal: A path or a `Journal`. With one, an upload of a path survives its process: the next `upload()` of the
            same source to the same folder and name sends only what is missing. Bytes, file objects and streams cannot
            be found again, and are not recorded.
        check_etags: Compare each part's ETag with the MD5 of what was sent, where it is an MD5. Costs one core 1.7 s a
            GB, beside the sending. Until one has matched on a host, a mismatch that repeats turns the check off for
            that host, with a logged warning.
        session: A session whose connector is shared (pool, resolver, TLS). Nothing else of it is used. Close it after
            the Uploader: closed before, uploads fail, and their placeholders are removed over a connection of our own.
        proxy: The URL of an HTTP proxy, for API and parts alike; or a callable that chooses one for each host. It is
            given `scheme://host[:port]` of each request, and returns a URL, or None for a direct connection. User and
            password in the URL are percent-encoded UTF-8. SOCKS is not supported.
        ssl: A context of the caller's, for API and parts alike.
        spool_dir: Where the parts of a stream wait; the default temporary directory, unless that one is in memory.
    """

    def __init__(
        self,
        token: Token,
        *,
        account_id: str | None = None,
        base_url: str = "https://api.frame.io",
        limits: Limits = Limits(),  # noqa: B008  # frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        journal: str | PathLike[str] | Journal | None = None,
        check_etags: bool = True,
        session: aiohttp.ClientSession | None = None,
        proxy: Proxy = None,
        ssl: ssl_module.SSLContext | None = None,
        spool_dir: str | PathLike[str] | None = None,
    ) -> None:
        # Hidden first: what is refused below shows this frame and its arguments in a traceback.
        self._registry = UploadRegistry()
        self._token, self._address, way = Secret(token), Secret(base_url), Secret(proxy)
        del token, base_url, proxy
        check_base_url(self._address)
        if is_readable_on_the_way(self._address):
            log.warning("base_url %s is not https: everybody on the way can read the token", self._address.reveal())
        self._account_id = account_id
        self._settings = UploaderSettings(
            limits=limits,
            timeouts=timeouts,
            retry=retry,
            check_etags=check_etags,
            session=session,
            proxies=Proxies(way),
            ssl=ssl,
            spool_dir=spool_dir,
        )
        self._journal = journal if isinstance(journal, Journal) or journal is None else Journal(journal)
        self._entered = False
        self._open: tuple[Session, FrameioApi] | None = None

    def __repr__(self) -> str:
        if not is_base_url(self._address):  # refused, because it may hold a password; a traceback shows `self`
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} {self._address.reveal()}, {len(self._registry.uploads)} running>"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("an Uploader is entered once")
        self._registry.home.settle()
        self._entered = True
        resources = open_session(self._settings)
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
            # After a good end there is nothing to stop; after a bad one, and after a cancelled wait, there is.
            try:
                await self.shutdown(0)
            finally:
                await self._close()

    async def _close(self) -> None:
        if self._open is not None:
            resources, self._open = self._open[0], None
            await resources.close()

    async def shutdown(self, grace: float = 5.0) -> None:
        """Let running uploads go on for `grace` seconds, then stop them as a cancelled task would; raises nothing.

        For SIGTERM and lifespans. Calls that are awaited elsewhere (`plan`, `send_parts`, `confirm`, ...) get the same
        time; those still running then raise `UploadCancelled` there, and what they made is removed or told. No upload
        can be started afterwards, and the block is still to be left.
        """
        self._registry.home.check()
        self._registry.closed_because = "the Uploader was shut down"
        await self._registry.stop(grace)

    @property
    def uploads(self) -> tuple[Upload | FolderUpload, ...]:
        """The uploads that were started and have not ended."""
        return self._registry.uploads

    def statistics(self) -> Statistics:
        """Tell what is going on at this moment."""
        return self._registry.statistics(self._opened()[0])

    @contextmanager
    def _call(self, *, begins: bool = False) -> Iterator[tuple[Session, FrameioApi]]:
        """Run a verb in the caller's task.

        Args:
            begins: It begins something, which is refused after a shutdown.

        Raises:
            RuntimeError: The Uploader is not entered, was left or shut down, or lives on another loop.
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
    ) -> Upload:
        """Upload a file, bytes or a stream into a folder; nothing happens until the `Upload` is used.

        Args:
            source: A path; bytes; a binary file object, read from its position to its end; an async iterable of bytes
                or an object with `async read(n)`. A stream is spooled to disk a part at a time.
            folder_id: Where to.
            name: Its name at Frame.io; by default the source's own. A path's own name goes as it is. One that is given,
                or is an object's, may come from a form: its last component is taken, by `/` and by a backslash, without
                control and bidi characters.
            size: In bytes; needed for a stream that does not tell its own, checked for everything else.
            account_id: Whose; by default the Uploader's.
            media_type: What the part links are signed for, where the service leaves that open.
            conflict: `"create"` always makes a new file; the service allows equal names. `"skip"` leaves alone a file
                of that name and size that has arrived, and that was created after the source was last written to (a
                time later than the service's own now is not counted); its only event is `UploadCompleted`, and the
                outcome `"skipped"`. `"version"` stacks the new file, once it has arrived, on the one of that name.

        Raises:
            ValueError: There is no name or no account, an id is empty or no text, or the media type is no header value.
            TypeError: The source is none.
        """
        check_kind(source)
        check_conflict(conflict)
        name, account = name_of(source, name), self._account(account_id)

        return self._submit(
            UploadRequest(
                source=source,
                size=size,
                name=name,
                folder_id=check_id("folder_id", folder_id),
                account_id=account,
                media_type=check_media_type(media_type),
                conflict=conflict,
            )
        )

    def upload_folder(
        self,
        root: str | os.PathLike[str],
        *,
        folder_id: str,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        conflict: Conflict = "skip",
        contents_only: bool = False,
        account_id: str | None = None,
    ) -> FolderUpload:
        """Upload a folder with all that is in it; nothing happens until the `FolderUpload` is used.

        The tree is walked first. Names that begin with a dot, what systems make for themselves (`Thumbs.db`,
        `lost+found`, `$RECYCLE.BIN`, …) and links to folders are left out; links to files are followed. An empty file
        is skipped, with its reason. Folders that are there by their name are used, the others made; empty ones too,
        unless `include` says what is wanted. Names go as they are.

        Args:
            root: The folder.
            folder_id: Where to.
            include: Patterns of what is wanted; none: everything. A pattern is a path relative to the root, with `/`;
                one without `/` matches the name at any depth, `**` spans folders. A folder that matches stands for all
                that is in it.
            exclude: Patterns of what is not; they win, and a folder that matches is not walked.
            conflict: As for `upload`; `"skip"` makes a second run send only what is missing.
            contents_only: Put the contents into `folder_id` itself, instead of a folder of the root's name.
            account_id: Whose; by default the Uploader's.

        Raises:
            ValueError: There is no account, a pattern cannot match anything, or the root has no name for its folder.
            TypeError: The root is no path.
        """
        check_conflict(conflict)
        given, root = root, os.fspath(root)
        if not isinstance(root, str):
            raise TypeError("the root is no path of text")
        try:
            name = name_of(root, None)
        except ValueError:
            if not contents_only:
                raise
            name = root  # `/`: there it is the folder that is to be filled, which has a name
        asked = FolderRequest(
            root=root,
            name=None if contents_only else name,
            folder_id=check_id("folder_id", folder_id),
            account_id=self._account(account_id),
            wanted=patterns(include, exclude),
            conflict=conflict,
        )

        def run(events: FolderEventLog, control: UploadControl) -> Awaitable[FolderResult]:
            resources, api = self._opened()
            if asked.name is not None:
                check_name(asked.name, root)
            return deliver_folder(asked, events, control, resources, api.telling(events.publish))

        return FolderUpload(printable(name), run, self._registry, source=given, folder_id=folder_id)

    def execute(self, plan: Plan, source: Source, *, receipts: Iterable[Receipt] | None = None) -> Upload:
        """Upload by a plan made before, perhaps by another process; `PlanError` if it is for another size. Lazy.

        With a journal it is recorded under that plan: the next `execute` of the same plan and path sends only what is
        missing, and begins anew, with a plan of its own, where that one is of no use any more.

        With `receipts` the caller keeps the record, and can go on with a stream too. The file is the caller's then:
        whatever ends the upload, it is neither deleted nor replaced, and the journal has nothing of it.

        A plan with http links for an API that is https ends in a `PlanError` before a byte is sent, unless the links
        lead to this machine itself; its file stays, for the plan is yours.

        Args:
            plan: Of `plan()`; or another tool's, by `Plan.from_response`.
            source: As for `upload`.
            receipts: Of the parts that have arrived before, in any order; `()` where none has. Those are not sent
                again, and a stream holds the bytes of the others alone, one part after the other. What is told as
                `PartCompleted` makes the next ones: `Receipt(event.number, event.size, event.etag)`.

        Raises:
            ValueError: There is no account.
            TypeError: The source is none.
            PlanError: A receipt is for a part that the plan has not.
            IntegrityError: Two receipts tell different bytes of one part.
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
            request: With an empty `account_id` it gets the Uploader's.
            record: The journal entry, if this Uploader owns it already. The upload releases it.
            sender: Makes what sends the parts.
        """
        request = replace(request, account_id=self._account(request.account_id))

        def run(events: EventLog, control: UploadControl) -> Awaitable[UploadedFile]:
            resources, api = self._opened()
            if request.plan is None:  # the name in a plan comes from the service
                check_name(request.name, request.source)
            return UploadJob(
                request=request,
                feed=events,
                control=control,
                resources=resources,
                api=api.telling(events.publish),
                record=record,
                sender=sender,
            ).run()

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
        """Create the file at Frame.io and give its plan, for `execute` or `send_parts`; no byte of it is sent.

        A plan that is not used leaves a file without its bytes: `delete(plan.file_id)`. Arguments as for `upload`.

        Raises:
            SourceError: The source is missing, empty or unreadable.
            ApiError: The service refused.
            PlanError: What the service planned cannot be used: its parts do not add up to the file, or a link is http
                although the API is https. The file was removed again.
        """
        check_kind(source)
        name, account = name_of(source, name), self._account(account_id)
        check_name(name, source)
        folder_id, media_type = check_id("folder_id", folder_id), check_media_type(media_type)
        with self._call(begins=True) as (resources, api):
            found = await open_source(source, size, resources.executor, resources.spool)
            found.close()
            length = check_size(found, size)
            return await create_file(
                api, name=name, size=length, folder_id=folder_id, account_id=account, media_type=media_type
            )

    async def send_parts(self, plan: Plan, source: Source, numbers: Iterable[int]) -> tuple[Receipt, ...]:
        """Send only those parts and give their receipts, in the order of the parts; safe to do twice.

        It takes no `Limits.files` slot, asks for no confirmation (`confirm(plan)` does), and deletes nothing: others
        may be sending the other parts. Nothing is recorded in a journal: the receipts are the caller's to keep.

        A stream holds the bytes of those parts alone, one after the other; any other source the whole file.

        Raises:
            ValueError: The plan has no part of such a number.
            LinksExpired: The plan is too old.
            PartError: A part was given up.
            PlanError: The plan is for another size, or its links are http although the API is https (they may be
                where they lead to this machine itself).
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
        """Wait until the service has put the parts together.

        Where it takes too long and a receipt of the parts is not `is_proved`, send those parts again and confirm again.

        Raises:
            ConfirmationError: It failed there, or took longer than `Timeouts.confirm`.
            ApiError: The service cannot be asked.
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
            project: The id or the name of a project: all others are left out.
            depth: How many levels of folders to read below each project's root folder.

        Raises:
            ApiError: The service refused a list.
            ValueError: `depth` is negative.
        """
        if depth < 0:
            raise ValueError("depth must not be negative")
        with self._call() as (_, api):
            return await find_accounts(api, self._account_id, project, depth)

    async def project(self, project_id: str, *, account_id: str | None = None) -> RemoteProject:
        """Return a project, with the id of its root folder and without its folders.

        It takes one call, and no permission to list workspaces, which a guest of a project does not have.

        Args:
            project_id: As `find` returns it, or as the link of its page contains it.
            account_id: The account that it is in; by default the Uploader's.

        Raises:
            ApiError: There is no such project, or the service refused.
        """
        account = self._account(account_id)
        with self._call() as (_, api):
            return await find_project(api, account, check_id("project_id", project_id))

    async def status(self, file_id: str, *, account_id: str | None = None) -> UploadStatus:
        """Ask what the service says of a file's bytes.

        Raises:
            ApiError: The service refused.
        """
        account = self._account(account_id)
        with self._call() as (_, api):
            return await read_status(api, check_id("file_id", file_id), account)

    async def delete(self, file_id: str, *, account_id: str | None = None) -> None:
        """Remove a file, or the placeholder of a plan that is not used.

        Raises:
            ApiError: The service refused.
        """
        account = self._account(account_id)
        with self._call() as (_, api):
            await api.call(DELETE, account_id=account, file_id=check_id("file_id", file_id))

    async def remote_upload(
        self, source_url: str, *, folder_id: str, name: str, account_id: str | None = None
    ) -> UploadedFile:
        """Let Frame.io fetch a file by itself; it has only begun when this returns (`status` tells).

        Args:
            source_url: Public or presigned; 50 GB at most. It is sent to Frame.io and shown nowhere.
            folder_id: Where to.
            name: Its name at Frame.io.
            account_id: Whose; by default the Uploader's.

        Raises:
            ApiError: The service refused.
        """
        url = Secret(source_url)
        del source_url  # a traceback would show it
        if not is_text(url.reveal()):
            raise ValueError("source_url contains a lone surrogate, which UTF-8 cannot encode")
        folder_id = check_id("folder_id", folder_id)
        name, account = name_of(None, name), self._account(account_id)
        with self._call(begins=True) as (_, api):
            return await create_remote_file(api, url, name=name, folder_id=folder_id, account_id=account)

    # -- the journal ---------------------------------------------------------------------------------------------------

    async def pending(self) -> tuple[PendingUpload, ...]:
        """Return what the journal holds: uploads that were begun, by whomever, and are not finished.

        One whose record is damaged has a reason in its `damage`, which is logged as a warning, too. It stops no other,
        and `discard` removes it.

        Raises:
            JournalError: The journal cannot be read.
            ValueError: There is no journal.
        """
        with self._call():
            return await list_pending(self._journalled())

    async def resume_pending(self) -> tuple[Upload, ...]:
        """Start everything that the journal holds and nobody else is at: a worker's first line.

        Each goes on as `upload()` of the same source would; one whose parts had all arrived is only confirmed. Its
        `source`, `folder_id` and `file_id` are those that were recorded. One whose record is damaged is passed over,
        with a logged warning; `pending()` tells it.

        Raises:
            JournalError: The journal cannot be read.
            ValueError: There is no journal.
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
        """Drop an upload from the journal and delete its placeholder; a file whose parts have all arrived is kept.

        Args:
            file_id: As `pending()` tells it.

        Raises:
            JournalError: The journal holds no such upload, or it is running.
            ApiError: The service refused; the entry stays.
            ValueError: There is no journal.
        """
        with self._call() as (_, api):
            await discard(self._journalled(), api, file_id, self._account_id)

    def _journalled(self) -> AsyncJournal:
        journal = self._opened()[0].journal
        if journal is None:
            raise ValueError("no journal: give journal= to the Uploader")
        return journal


def submit(uploader: Uploader, request: UploadRequest, *, sender: PartSenderFactory) -> Upload:
    """Return the upload of a request whose parts `sender` sends: for this package's own modules, not public.

    With an empty `account_id` the request gets the Uploader's.
    """
    return uploader._submit(request, sender=sender)  # noqa: SLF001  # beside the class, so that no other module has to
