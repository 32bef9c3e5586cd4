"""Call Frame.io's API: pace and retry its operations, and raise its refusals as this library's errors."""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import anyio
from yarl import URL

from .._core.api_schema import read_id
from .._core.backoff import Again, CallTries, may_have_acted, read_retry_after
from .._core.errors import ApiError, AuthenticationError, NotFound, PermissionDenied, RateLimited
from .._core.events import ApiRetrying
from .._core.failures import FailureKind
from .._core.hosts import is_host, is_loopback
from .._core.instrumentation import Recording, RequestFacts
from .._core.links import is_secure
from .._core.listing import BadListing, Cursors, Listing
from .._core.presigned import Now
from .._core.redact import PartUrl, Secret, redact, without_frames
from .._core.words import CHECK_LOGIN, CHECK_PROXY, RAISE_POOL, TRUST, USE_ROOT_FOLDER, advise_on_call, name_call
from .api_pace import ApiPace, Turn
from .api_response import Answer, Shape, read_answer, read_text, summarize
from .files import in_thread
from .flow_control import CallDeadline
from .foreign import ForeignCancellation, await_foreign
from .http_client import request
from .http_errors import FAILURES, cancelled_by_us_alone, describe, describe_pool, host_of, kind_of, send_once
from .made_folders import MadeFolders
from .session import Session

log = logging.getLogger("aioframeio_upload")

T = TypeVar("T")

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or a callable that returns one for each call. A callable that is not `async` runs in a thread, since it may
block."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the API. Rates: Frame.io's API reference, "N calls per T per account user"."""

    name: str
    method: str
    path: str
    calls: int
    seconds: float
    gives: Shape = "object"


CREATE = Operation("create_local_upload", "POST", "folders/{folder_id}/files/local_upload", 5, 1)
CREATE_REMOTE = Operation("create_remote_upload", "POST", "folders/{folder_id}/files/remote_upload", 5, 1)
STATUS = Operation("show_file_upload_status", "GET", "files/{file_id}/status", 5, 1)
SHOW = Operation("show_file", "GET", "files/{file_id}", 10, 1)
DELETE = Operation("delete", "DELETE", "files/{file_id}", 100, 60, "nothing")
MOVE = Operation("move_file", "PATCH", "files/{file_id}/move", 100, 60)
CREATE_FOLDER = Operation("create_folder", "POST", "folders/{folder_id}/folders", 3, 1)
CREATE_STACK = Operation("create_version_stack", "POST", "folders/{folder_id}/version_stacks", 10, 60)
LIST_FILES = Operation("list_files", "GET", "folders/{folder_id}/files", 5, 1, "page")
LIST_CHILDREN = Operation("list_folder_children", "GET", "folders/{folder_id}/children", 100, 60, "page")
LIST_FOLDERS = Operation("list_folders", "GET", "folders/{folder_id}/folders", 5, 1, "page")
ACCOUNTS = Operation("accounts", "GET", "accounts", 100, 60, "page")
"""This operation and the next have no account in their path."""
ME = Operation("me", "GET", "me", 100, 60)
WORKSPACES = Operation("workspaces", "GET", "workspaces", 100, 60, "page")
PROJECTS = Operation("projects", "GET", "workspaces/{workspace_id}/projects", 100, 60, "page")
SHOW_PROJECT = Operation("show_project", "GET", "projects/{project_id}", 100, 60)

ERRORS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    429: RateLimited,
}

EXPLAINING = 5.0
"""Seconds to find out why a folder was not found."""

MOST_EXPLAINED = 1000
"""Folders that were not found and are remembered."""


def check_base_url(base_url: Secret[str]) -> None:
    """Raise ValueError unless the URL is valid. The message does not quote it, since it may contain a password."""
    if not is_base_url(base_url):
        raise ValueError(
            "base_url must be http(s), a host and perhaps a path: without user and password, query and fragment"
        )


def is_readable_on_the_way(base_url: Secret[str]) -> bool:
    """Return whether tokens and files would cross a network in plain text."""
    base = URL(base_url.reveal())
    return base.scheme == "http" and not is_loopback(base.raw_host or "")


def is_base_url(base_url: Secret[str]) -> bool:
    """Return whether a URL is usable as the base of the API's paths."""
    try:
        base = URL(base_url.reveal())
    except ValueError:
        return False
    # Not `base.query`: a bare "?" or "#" at the end is refused as well, since paths are appended to the URL.
    marks = {"?", "#"} & set(base_url.reveal())
    # urllib drops line ends and surrounding spaces, so that another URL would be called than the one that is shown.
    is_plain = base_url.reveal().isprintable() and " " not in base_url.reveal()
    is_known = base.scheme in ("https", "http") and is_host(base.raw_host)
    return is_plain and is_known and not marks and base.raw_user is None


@dataclass(slots=True)
class Flight:
    """One attempt at a call."""

    began: float
    turn: Turn | None
    """Where its answer is recorded; None without `Limits.api_pacing`."""
    deadline: CallDeadline
    has_left: bool = False
    """Whether the service may have received a byte: there was a connection, and the headers were written."""

    def queued(self) -> None:
        """Record that all connections of the pool are in use; called by the session's `TraceConfig`."""
        self.deadline.queued()

    def admitted(self) -> None:
        """Record that the wait for the pool is over."""
        self.began = time.monotonic()
        self.deadline.admitted()

    def sent(self) -> None:
        """Record that the headers were written."""
        self.has_left = True


class FrameioApi:
    """The calls of one user. Owned by an Uploader."""

    def __init__(self, resources: Session, token: Secret[Token], base_url: str) -> None:
        self._resources = resources
        self._token = token
        self._base = str(URL(base_url)).rstrip("/")
        self._pace = ApiPace()
        self._passed_at: dict[str, float] = {}
        """By operation: when the service last let a call pass its rate limit. Shared by all views."""
        self._missing: dict[tuple[str, str], tuple[str, str]] = {}
        """By account and folder: why a folder was not found, and what to do. Shared by all views."""
        self.made_folders = MadeFolders()
        """Shared by all views."""
        self._publish: Callable[[ApiRetrying], None] | None = None

    def publishing(self, publish: Callable[[ApiRetrying], None]) -> FrameioApi:
        """Return a view for one upload, which publishes an event for each retry.

        Token, rates and connections stay shared. A view rather than an argument of each call, which a caller could
        forget without anybody noticing.
        """
        view = copy(self)
        view._publish = publish  # noqa: SLF001  # an object of this class
        return view

    async def off_loop(self, function: Callable[[], T]) -> T:
        """Run a function that would block the loop for too long, such as parsing a long answer, in a thread."""
        return await in_thread(self._resources.executor, function)

    async def call(  # noqa: PLR0913  # most calls pass none of the callbacks
        self,
        operation: Operation,
        *,
        account_id: str | None,
        body: dict[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        on_lost: Callable[[str], None] | None = None,
        on_flight: Callable[[bool], None] | None = None,
        on_outage: Callable[[float], None] | None = None,
        **ids: str,
    ) -> Any:
        """Make a call and return the `data` of its answer; for a listing the whole document, for a deletion None.

        Args:
            operation: The operation.
            account_id: The account that the path begins with; None for a call that belongs to no account.
            body: The `data` of the request; a `Secret` among its values is revealed only in the request.
            query: The query of the URL.
            on_lost: Called with the reason each time the service may have acted although no answer confirms it.
            on_flight: Called with True when a request begins, and with False when it has failed.
            on_outage: Called with the seconds that an attempt without a connection costs, or the wait for one of a
                caller's pool, before they have passed.
            **ids: The other IDs in the path; a `file_id` among them becomes the error's.

        Raises:
            ApiError: The call was refused, or not answered in any attempt.
        """
        on_lost, on_flight, on_outage = on_lost or _ignore, on_flight or _ignore, on_outage or _ignore
        tries = CallTries(self._resources.retry)
        is_renewed = is_lost = is_again = False
        while True:
            async with self._admitted(operation, is_again=is_again) as (turn, token):
                url, began = self._url(operation, account_id, ids, query), time.monotonic()
                on_flight(True)
                flight = Flight(began, turn, self._deadline(on_outage))
                try:
                    with self._recording(operation, url, tries.attempts + 1) as recording:
                        answer = await self._request(operation, url, body, token, flight)
                        _record(recording, answer)
                except BaseException as error:
                    if flight.has_left:
                        on_lost("cancelled before the answer came")
                    without_frames(error)
                    raise
            is_again = True
            self._resources.outages.note(
                host_of(url), answer.kind if answer.status is None else None, summarize(answer)
            )
            if answer.trouble is None:
                return answer.document
            on_flight(False)
            failure = _error(operation, answer, ids.get("file_id"))
            if answer.status == 401 and callable(self._token.reveal()) and not is_renewed:
                # The token may have expired between two calls of a long upload: retry once with a fresh one.
                is_renewed = True
                self._publish_retry(operation, Again(tries.attempts + 1, 0.0, is_patient=True), failure)
                continue
            if answer.status == 404 and is_lost and operation is DELETE:
                return None  # deleted by the earlier attempt whose answer was lost
            if flight.has_left and may_have_acted(answer.status):
                is_lost = True
                on_lost(summarize(answer))
            now = time.monotonic()
            again = tries.fail(
                answer.kind,
                answer.status,
                answer.retry_after,
                began=began,
                now=now,
                passed_at=self._passed_at.get(operation.name),
                refusals=None if turn is None else turn.refusals,
            )
            if again is None:
                raise await self._explained(failure, answer.kind, account_id, ids.get("folder_id"))
            self._log_retry(operation, again, answer)
            self._publish_retry(operation, again, failure)
            if again.is_patient and answer.kind is FailureKind.UNREACHABLE:
                on_outage(now - began + again.delay)
            await anyio.sleep(again.delay)

    async def _explained(
        self, error: ApiError, kind: FailureKind, account_id: str | None, folder_id: str | None
    ) -> ApiError:
        """Return the error with what to do; if a folder was not found, with why: perhaps the ID is a project's."""
        error.advice = _ADVICE.get(kind) or advise_on_call(error.operation, error.status)
        if not isinstance(error, NotFound) or account_id is None or folder_id is None:
            return error
        found = self._missing.get((account_id, folder_id))
        if found is None:
            words = f"there is no folder {folder_id} in account {account_id}, or this token cannot read it"
            found = words, error.advice
            with suppress(ApiError), anyio.move_on_after(EXPLAINING):
                project = await self.call(SHOW_PROJECT, account_id=account_id, project_id=folder_id)
                if (root := read_id(project.get("root_folder_id"))) is not None:
                    found = f"{folder_id} is a project, not a folder; its root folder is {root}", USE_ROOT_FOLDER
            if len(self._missing) < MOST_EXPLAINED:
                self._missing[account_id, folder_id] = found
        words, advice = found
        return NotFound(
            f"{error.detail}; {words}",
            operation=error.operation,
            status=error.status,
            request_id=error.request_id,
            advice=advice,
        )

    def _deadline(self, on_outage: Callable[[float], None]) -> CallDeadline:
        timeouts = self._resources.timeouts
        return CallDeadline(timeouts.api, timeouts.pool, on_outage)

    def _recording(self, operation: Operation, url: URL, attempt: int) -> Recording:
        facts = RequestFacts(operation.method, url.raw_host or "", url.port, attempt)
        return self._resources.settings.telemetry.call(operation.name, facts)

    def _log_retry(self, operation: Operation, again: Again, answer: Answer) -> None:
        log.debug("%s: %s; again in %.1f s", name_call(operation.name), summarize(answer), again.delay)
        if self._publish is None:
            # The call belongs to no upload, so there is no event: without this, half a minute could pass silently.
            log.info("Frame.io is asked again in %.1f s: %s", again.delay, summarize(answer))

    def _publish_retry(self, operation: Operation, again: Again, error: ApiError) -> None:
        self._resources.settings.telemetry.retried(operation.name, 1)
        if self._publish is not None:
            self._publish(ApiRetrying(operation.name, again.attempt, again.delay, error))

    @property
    def is_secure(self) -> bool:
        """Whether the API is called by https; then parts are not sent in plain text either."""
        return is_secure(self._base)

    def now(self) -> Now:
        """Return the current time on the local monotonic clock and on the service's clock."""
        return self._resources.now()

    def note_arrival(self, file_id: str, now: Now) -> None:
        """Record when a plan arrived, from which the age of its links is computed."""
        self._resources.arrivals.note(file_id, now.monotonic)

    @asynccontextmanager
    async def _admitted(
        self, operation: Operation, *, is_again: bool
    ) -> AsyncIterator[tuple[Turn | None, Secret[str]]]:
        """Wait until a call may be made: until the operation's rate allows it, there is a token, and a slot is free."""
        pacing: AbstractAsyncContextManager[Turn | None] = nullcontext()
        if self._resources.limits.api_pacing:
            pacing = self._pace.turn(operation.name, operation.calls, operation.seconds, is_again=is_again)
        async with pacing as turn:
            token = await self._fresh_token(operation)
            async with self._resources.api_slots:
                yield turn, token

    def _url(
        self, operation: Operation, account_id: str | None, ids: Mapping[str, str], query: Mapping[str, str] | None
    ) -> URL:
        path = operation.path.format(**{name: _segment(value) for name, value in ids.items()})
        account = "" if account_id is None else f"accounts/{_segment(account_id)}/"
        tail = f"?{urlencode(query)}" if query else ""
        return URL(f"{self._base}/v4/{account}{path}{tail}", encoded=True)

    async def _request(
        self, operation: Operation, url: URL, body: dict[str, Any] | None, token: Secret[str], flight: Flight
    ) -> Answer:
        """Make the call once. The frames from here on hold token and answer; `call` removes them from errors."""
        links = [PartUrl(value.reveal()) for value in (body or {}).values() if isinstance(value, Secret)]
        timeouts = self._resources.timeouts
        try:
            async with (
                flight.deadline.timeout,
                cancelled_by_us_alone(),
                await request(
                    self._resources.session_for(cleaning=operation is DELETE),
                    operation.method,
                    Secret(url),
                    data=None if body is None else _payload(body),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
                    allow_redirects=False,
                    middlewares=(send_once,),
                    stages=flight,
                    **self._resources.route_to(url, _headers(token)),
                ) as response,
            ):
                text = await read_text(response)
        except FAILURES as error:
            kind, words = kind_of(error), describe(error, host_of(url))
            if flight.deadline.timeout.expired() and flight.deadline.is_queued:
                kind, words = FailureKind.CROWDED, describe_pool(self._resources.session.connector, timeouts.pool)
            elif kind is FailureKind.LOST and not flight.has_left:
                # `sock_connect` covers TCP alone: a name look-up that hangs is ended by the timeout of the whole call.
                kind, words = (
                    FailureKind.UNREACHABLE,
                    f"no connection to {host_of(url)} in time" if isinstance(error, TimeoutError) else words,
                )
            return Answer(None, trouble=words, kind=kind)
        finally:
            flight.deadline.close()
        self._resources.clock.observe(response.headers.get("Date", ""), time.monotonic())
        self._observe(operation, response, flight)
        clean = partial(redact, tokens=[token.reveal()], links=links)
        return await read_answer(operation.gives, response, text, self._resources.executor, clean)

    def _observe(self, operation: Operation, response: aiohttp.ClientResponse, flight: Flight) -> None:
        if response.status != 429:
            self._passed_at[operation.name] = time.monotonic()
        if flight.turn is not None:
            asked = read_retry_after(response.headers, datetime.now(UTC))
            flight.turn.observe(response.status, response.headers, flight.began, asked)

    async def _fresh_token(self, operation: Operation) -> Secret[str]:
        """Return the token for a call; a callable that hangs in its thread is abandoned after the API timeout."""
        refuse = partial(AuthenticationError, operation=operation.name, advice=CHECK_LOGIN)
        # No variable here holds the plain token, nor the callable: the repr of a `partial` shows its arguments.
        given: Secret[Any] = self._token
        if callable(given.reveal()):
            seconds = self._resources.timeouts.api
            with anyio.move_on_after(seconds) as waiting:
                try:
                    given = await await_foreign(self._ask(given))
                except AuthenticationError as error:
                    # The callable's own words, such as how to log in again; redacted, as any foreign text.
                    raise refuse(redact(error.detail), advice="") from error
                except ForeignCancellation as error:
                    raise refuse(f"the token callable returned none: {error}") from error
                except Exception as error:  # the caller's code may raise anything; it is chained as the cause
                    raise refuse(f"the token callable raised {type(error).__name__}") from error
            if waiting.cancelled_caught:
                raise refuse(f"the token callable did not return within {seconds:g} s")
        # Checked here because aiohttp's error about an invalid header quotes its value.
        if (trouble := _find_trouble(given)) is not None:
            raise refuse(f"the token {trouble}")
        return given

    async def _ask(self, give: Secret[Any]) -> Secret[Any]:
        if iscoroutinefunction(give.reveal()):
            return Secret(await give.reveal()())
        # Not `anyio.to_thread`: its threads end with the loop's root task, which never ends if `run_until_complete` was
        # interrupted, and the interpreter waits for them at exit. Wrapped in a `Secret` within the thread already,
        # because asyncio's debug mode logs the arguments of a slow callback.
        context = contextvars.copy_context()
        asked: Secret[Any] = await in_thread(self._resources.executor, context.run, lambda: Secret(give.reveal()()))
        return Secret(await asked.reveal()) if isawaitable(asked.reveal()) else asked


def _find_trouble(given: Secret[Any]) -> str | None:
    """Return why a token cannot be sent in a header, without quoting it; None if it can."""
    if not isinstance(given.reveal(), str):
        return f"must be a str, not an object of type {type(given.reveal()).__name__}"
    if not given.reveal():
        return "is empty"
    if given.reveal() != given.reveal().strip():
        return "begins or ends with a space or a line end"
    is_word = given.reveal().isascii() and given.reveal().isprintable() and " " not in given.reveal()
    return None if is_word else "is not a word of printable ASCII characters"


def _segment(value: str) -> str:
    """Quote an ID as one path segment; a segment of dots alone would be resolved as a relative path."""
    return value.replace(".", "%2E") if value in (".", "..") else quote(value, safe="")


def _headers(token: Secret[str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.reveal()}", "Accept": "application/json"}


def _payload(body: Mapping[str, Any]) -> aiohttp.JsonPayload:
    """Return the `data` of a request as JSON. Not a `dict`, because aiohttp's frames would show its links."""
    plain = {name: value.reveal() if isinstance(value, Secret) else value for name, value in body.items()}
    return aiohttp.JsonPayload({"data": plain})


def _record(recording: Recording, answer: Answer) -> None:
    if answer.status is not None:
        recording.learn(http__response__status_code=answer.status)
    if answer.trouble is not None:
        is_refused = answer.status is not None and answer.status >= 400
        recording.fail(str(answer.status) if is_refused else answer.kind.value, summarize(answer))


def _ignore(_: object) -> None:
    """Stand in for a callback that was not given."""


_ADVICE = {FailureKind.UNTRUSTED: TRUST, FailureKind.MISCONFIGURED: CHECK_PROXY, FailureKind.CROWDED: RAISE_POOL}
"""Where the kind of failure says more than the lack of an answer."""


def _error(operation: Operation, answer: Answer, file_id: str | None) -> ApiError:
    """Return the error of an attempt, which may be followed by another, so that it advises nothing yet."""
    kind = ERRORS.get(answer.status or 0, ApiError)
    return kind(
        answer.trouble or "no reason was given",
        operation=operation.name,
        status=answer.status,
        request_id=answer.request_id,
        file_id=file_id,
        advice="",
    )


PAGE_SIZE = "100"
"""The service's maximum, because the number of calls is what the rate limits restrict."""


class Pages:
    """A listing that is read page by page, as far as needed."""

    def __init__(
        self,
        api: FrameioApi,
        operation: Operation,
        *,
        account_id: str | None,
        folder_id: str | None = None,
        workspace_id: str | None = None,
        **query: str,
    ) -> None:
        self._api = api
        self._operation = operation
        self._account_id = account_id
        ids = {"folder_id": folder_id, "workspace_id": workspace_id}
        self._ids: dict[str, Any] = {name: found for name, found in ids.items() if found is not None}
        self._query = {"page_size": PAGE_SIZE, **query}
        self._cursors = Cursors()
        self._after: str | None = None
        self.is_over = False
        """Whether the last page was read."""

    async def read(self, on_outage: Callable[[float], None] | None = None) -> list[Any]:
        """Return the rows of the next page; see `FrameioApi.call` for `on_outage`.

        Raises:
            ApiError: The service refused, or the pages do not end.
        """
        asked = self._query | ({} if self._after is None else {"after": self._after})
        document = await self._api.call(
            self._operation, account_id=self._account_id, query=asked, on_outage=on_outage, **self._ids
        )
        try:
            self._after = self._cursors.follow(document)
        except BadListing as error:
            reason = str(error)
        else:
            self.is_over = self._after is None
            rows: list[Any] = document["data"]
            return rows
        raise ApiError(reason, operation=self._operation.name, status=200)


async def read_listing(api: FrameioApi, account_id: str, folder_id: str, *, only: str | None = None) -> Listing:
    """Read the whole listing of a folder; `only` restricts it to one `type` of the service.

    Raises:
        ApiError: The service refused.
    """
    query = {"sort": "created_at_asc"} | ({} if only is None else {"type": only})
    pages = Pages(api, LIST_CHILDREN, account_id=account_id, folder_id=folder_id, **query)
    listing = Listing()
    while not pages.is_over:
        listing.add(await pages.read())
    return listing
