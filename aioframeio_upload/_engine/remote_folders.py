"""Find or create the folders of a tree at Frame.io, each once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

import anyio

from .._core.api_schema import read_id
from .._core.backoff import may_pass
from .._core.errors import ApiError, UploadError
from .._core.events import FolderCreated
from .._core.listing import Listing
from .._core.patterns import same_name
from .._io.frameio_api import CREATE_FOLDER, FrameioApi, read_listing
from .event_log import EventSink

V = TypeVar("V")


class SingleFlight(Generic[V]):
    """Runs one call for each key, however many callers ask for it at a time, and caches its result; a refusal too.

    A failure that may pass (no answer, a 5xx, a 429) is raised for those who wait, and not cached.

    Args:
        find: The call.
        at_most: How many results are cached; the one that was used longest ago is dropped first. None for all.
    """

    def __init__(self, find: Callable[[str], Awaitable[V]], at_most: int | None = None) -> None:
        self._find = find
        self._at_most = at_most
        self._answers: dict[str, V | UploadError] = {}
        self._asking: dict[str, asyncio.Future[UploadError | None]] = {}
        """For each call under way, the failure that may pass in which it ends; None if it ends in a result."""

    async def get(self, key: str) -> V:
        """Return the result for a key.

        Raises:
            UploadError: The call was refused; the same error each time.
        """
        while key not in self._answers:
            if key in self._asking:
                fault = await asyncio.shield(self._asking[key])
                if fault is not None:
                    raise fault.with_traceback(None)
                continue  # look again: the caller that ran the call may have been cancelled
            asked = self._asking[key] = asyncio.get_running_loop().create_future()
            passing = None
            try:
                self._answers[key] = await self._find(key)
                self._drop_oldest()
            except UploadError as error:
                if isinstance(error, ApiError) and may_pass(error.status):
                    passing = error
                    raise
                self._answers[key] = error
            finally:
                del self._asking[key]
                asked.set_result(passing)
        answer = self._answers[key]
        if self._at_most is not None:
            self._answers[key] = self._answers.pop(key)  # to the end: used last
        if isinstance(answer, UploadError):
            raise answer.with_traceback(None)  # otherwise each caller would lengthen the traceback
        return answer

    def forget(self, key: str | None = None) -> None:
        """Forget the result for a key, or all results; calls that are under way are not stopped."""
        if key is None:
            self._answers.clear()
        else:
            self._answers.pop(key, None)

    def _drop_oldest(self) -> None:
        while self._at_most is not None and len(self._answers) > self._at_most:
            del self._answers[next(iter(self._answers))]


log = logging.getLogger("aioframeio_upload")


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """A folder at Frame.io."""

    id: str
    is_new: bool
    """Whether it was made just now, so that there is nothing in it."""


class RemoteFolders:
    """The folders at Frame.io that one upload needs. Paths are relative to its root, which is the empty path.

    Args:
        api: The calls.
        account_id: The account of all folders.
        folder_id: The folder that the root goes into; empty for one that does not exist yet, which needs `makes=False`.
        name: The root's own name; None if only its contents are uploaded.
        only: The `type` that listings are read for; None for all.
        exact: Paths that are matched by their exact name alone, because a look-alike is in the tree.
        events: Gets a `FolderCreated` for each folder that was made.
        listings: How many listings are cached; None for all.
        listing_age: Seconds for which a listing is used, because others may put files there too; None for ever.
        makes: Whether missing folders are created. If not, they are only published, and count as new, without an ID.
    """

    def __init__(  # noqa: PLR0913  # each argument is named, and has another owner
        self,
        api: FrameioApi,
        *,
        account_id: str,
        folder_id: str,
        name: str | None,
        only: str | None,
        exact: Container[str],
        events: EventSink,
        listings: int | None = None,
        listing_age: float | None = None,
        makes: bool = True,
    ) -> None:
        self._api = api
        self._account_id = account_id
        self._folder_id = folder_id
        self._name = name
        self._only = only
        self._exact = exact
        self._events = events
        self._places = SingleFlight(self._find)
        self._listings = SingleFlight(self._read, listings)
        self._listing_age = listing_age
        self._makes = makes
        self._used: set[str] = set()
        """Folders that were made here, and into which something may have been put since."""

    async def place(self, path: str) -> RemoteFolder:
        """Return the folder at Frame.io; find or create it and those above it first.

        Raises:
            ApiError: The service refused this folder or one above it.
        """
        place = await self._places.get("")
        end = 0
        # A loop and no recursion: a tree may be deeper than Python's limit of nested calls.
        while end < len(path):
            end = (path + "/").index("/", end + 1)
            place = await self._places.get(path[:end])
        return place

    async def listing(self, path: str, *, since: float | None = None) -> Listing:
        """Return what was in a folder before the upload; read once, and not at all if the folder is new.

        Args:
            path: The folder.
            since: Read it again if it was read before this time (`anyio.current_time`).

        Raises:
            ApiError: The service refused, or did not answer.
        """
        _, listing = await self._listing(path, since)
        return listing

    async def _listing(self, path: str, since: float | None = None) -> tuple[float, Listing]:
        """Return a listing, and when it was read."""
        read_at, listing = await self._listings.get(path)
        if self._listing_age is not None:
            since = max(since or -inf, anyio.current_time() - self._listing_age)
        if since is not None and read_at < since:
            self._used.add(path)
            self._listings.forget(path)
            read_at, listing = await self._listings.get(path)
        return read_at, listing

    def forget(self) -> None:
        """Forget what is known of the folders: somebody may have moved or deleted one, or changed who may use it."""
        self._places.forget()
        self._listings.forget()
        self._used.clear()  # a folder that is found again counts as not new

    async def _read(self, path: str) -> tuple[float, Listing]:
        place, now = await self.place(path), anyio.current_time()
        if place.is_new and path not in self._used:
            return now, Listing()
        return now, await read_listing(self._api, self._account_id, place.id, only=self._only)

    async def _find(self, path: str) -> RemoteFolder:
        if path:  # `place` has found the parent
            above, _, name = path.rpartition("/")
            parent = await self._places.get(above)
            read_at, inside = await self._listing(above)
            found = inside.folder(name, exact=path in self._exact)
            if found is not None:
                return RemoteFolder(found, False)
            return await self._make(parent.id, name, path, None if parent.is_new else read_at)
        is_missing = not self._folder_id
        if self._name is None:
            return RemoteFolder(self._folder_id, is_missing)
        inside, looked_at = Listing(), anyio.current_time()
        if not is_missing:
            inside = await read_listing(self._api, self._account_id, self._folder_id, only="folder")
        found = inside.folder(self._name)
        if found is not None:
            return RemoteFolder(found, False)
        return await self._make(self._folder_id, self._name, ".", looked_at)

    async def _make(self, parent_id: str, name: str, path: str, looked_at: float | None) -> RemoteFolder:
        if not self._makes:
            self._events.publish(FolderCreated(path, ""))
            return RemoteFolder("", True)

        def on_lost(reason: str) -> None:
            log.warning("creating folder %r in folder %s: %s; it may have been made twice", name, parent_id, reason)

        async def make() -> str:
            made = await self._api.call(
                CREATE_FOLDER, account_id=self._account_id, folder_id=parent_id, body={"name": name}, on_lost=on_lost
            )
            if (made_id := read_id(made.get("id"))) is None:
                raise ApiError("the answer's id is missing", operation=CREATE_FOLDER.name, status=201)
            return made_id

        # Names that look the same are one folder here as in a listing, unless the tree has both.
        place = self._account_id, parent_id, name if path in self._exact else same_name(name)
        made_id, is_new = await self._api.made_folders.make(place, make, looked_at=looked_at)
        if is_new:
            self._events.publish(FolderCreated(path, made_id))
        return RemoteFolder(made_id, is_new)
