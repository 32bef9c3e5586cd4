"""What is in a folder at Frame.io: its listings, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core.errors import ApiError
from .._core.listing import BadListing, Cursors
from .._core.remote import Listing
from .api import LIST_CHILDREN, Api, Operation

PAGE_SIZE = "100"
"""The most that the service gives at once; a call is what is scarce."""


class Pages:
    """A listing that is read from page to page, as far as somebody asks."""

    def __init__(self, api: Api, operation: Operation, *, account_id: str, folder_id: str, **query: str) -> None:
        self._api = api
        self._operation = operation
        self._account_id = account_id
        self._folder_id = folder_id
        self._query = {"page_size": PAGE_SIZE, **query}
        self._cursors = Cursors()
        self._after: str | None = None
        self.is_over = False
        """Whether the last page was read."""

    async def read(self, on_outage: Callable[[float], None] | None = None) -> list[Any]:
        """Return the rows of the next page; see `Api.call` for `on_outage`.

        Raises:
            ApiError: The service refused, or the pages do not lead to an end.
        """
        asked = self._query | ({} if self._after is None else {"after": self._after})
        document = await self._api.call(
            self._operation,
            account_id=self._account_id,
            folder_id=self._folder_id,
            query=asked,
            on_outage=on_outage,
        )
        try:
            self._after = self._cursors.follow(document)
        except BadListing as error:
            words = str(error)
        else:
            self.is_over = self._after is None
            rows: list[Any] = document["data"]
            return rows
        raise ApiError(words, operation=self._operation.name, status=200)


async def read_listing(api: Api, account_id: str, folder_id: str, *, only: str | None = None) -> Listing:
    """Read all of a folder; what is `only` wanted is a `type` of the service's.

    Raises:
        ApiError: The service refused.
    """
    query = {"sort": "created_at_asc"} | ({} if only is None else {"type": only})
    pages = Pages(api, LIST_CHILDREN, account_id=account_id, folder_id=folder_id, **query)
    listing = Listing()
    while not pages.is_over:
        listing.add(await pages.read())
    return listing
