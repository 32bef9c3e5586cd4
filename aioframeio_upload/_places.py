"""The folders of a tree at Frame.io: those that are there are used, the others made, each once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from dataclasses import dataclass

from ._core.errors import ApiError
from ._core.fields import read_id
from ._core.folders import FolderCreated
from ._core.remote import Listing
from ._io.api import CREATE_FOLDER, Api
from ._io.listing import read_listing
from ._once import Once

log = logging.getLogger("aioframeio_upload")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder at Frame.io."""

    id: str
    is_new: bool
    """Made just now, so there is nothing in it."""


class Places:
    """The folders that one upload needs. Paths are relative to its root, which is the empty path.

    Args:
        api: The calls.
        account_id: Whose.
        folder_id: Where the root goes.
        name: The root's own name; None where only its contents go.
        only: The `type` that listings are read for; None: all.
        exact: Paths of which only look-alikes may be there: these are matched to their exact name alone.
        told: Called with each folder that was made.
    """

    def __init__(
        self,
        api: Api,
        *,
        account_id: str,
        folder_id: str,
        name: str | None,
        only: str | None,
        exact: Container[str],
        told: Callable[[FolderCreated], None],
    ) -> None:
        self._api = api
        self._account_id = account_id
        self._folder_id = folder_id
        self._name = name
        self._only = only
        self._exact = exact
        self._told = told
        self._places = Once(self._find)
        self._listings = Once(self._read)

    async def place(self, path: str) -> Place:
        """Give the folder at Frame.io, after those that it is in.

        Raises:
            ApiError: The service refused it, or one of those that it is in.
        """
        place = await self._places.get("")
        end = 0
        # In a loop from the root down: a tree may be deeper than calls can be.
        while end < len(path):
            end = (path + "/").index("/", end + 1)
            place = await self._places.get(path[:end])
        return place

    async def listing(self, path: str) -> Listing:
        """Give what was in a folder before; read once, and not at all where it is new.

        Raises:
            ApiError: The service refused.
        """
        return await self._listings.get(path)

    async def _read(self, path: str) -> Listing:
        place = await self.place(path)
        if place.is_new:
            return Listing()
        return await read_listing(self._api, self._account_id, place.id, only=self._only)

    async def _find(self, path: str) -> Place:
        if path:  # `place` has found the one above
            above, _, name = path.rpartition("/")
            parent, inside = await self._places.get(above), await self.listing(above)
            found = inside.folder(name, exact=path in self._exact)
            return Place(found, False) if found is not None else await self._make(parent.id, name, path)
        if self._name is None:
            return Place(self._folder_id, False)
        inside = await read_listing(self._api, self._account_id, self._folder_id, only="folder")
        found = inside.folder(self._name)
        return Place(found, False) if found is not None else await self._make(self._folder_id, self._name, ".")

    async def _make(self, parent_id: str, name: str, path: str) -> Place:
        def on_lost(reason: str) -> None:
            log.warning("creating folder %r in folder %s: %s; it may have been made twice", name, parent_id, reason)

        made = await self._api.call(
            CREATE_FOLDER, account_id=self._account_id, folder_id=parent_id, body={"name": name}, on_lost=on_lost
        )
        if (made_id := read_id(made.get("id"))) is None:
            raise ApiError("the answer's id is missing", operation=CREATE_FOLDER.name, status=201)
        self._told(FolderCreated(path, made_id))
        return Place(made_id, True)
