"""What is in a folder at Frame.io: its listings, page by page."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from .._core.remote import Listing
from .api import LIST_CHILDREN, Api, Operation

PAGE_SIZE = "100"
"""The most that the service gives at once; a call is what is scarce."""


async def read_page(
    api: Api, operation: Operation, *, account_id: str, folder_id: str, after: str | None, **query: str
) -> tuple[list[Any], str | None]:
    """Read one page, and the cursor of the next; None for `after` is the first, and None in return the end.

    Raises:
        ApiError: The service refused.
    """
    # `links.next` holds the cursor and nothing else: every other parameter is to be given anew.
    asked = {"page_size": PAGE_SIZE, **query} | ({} if after is None else {"after": after})
    document = await api.call(operation, account_id=account_id, folder_id=folder_id, query=asked)
    links = document.get("links")
    link = links.get("next") if isinstance(links, dict) else None
    cursor = parse_qs(urlsplit(link).query).get("after", [None])[0] if isinstance(link, str) else None
    # A cursor that leads to the same page again would never end.
    return document["data"], cursor if cursor != after else None


async def read_listing(api: Api, account_id: str, folder_id: str, *, only: str | None = None) -> Listing:
    """Read all of a folder; what is `only` wanted is a `type` of the service's.

    Raises:
        ApiError: The service refused.
    """
    listing, after = Listing(), None
    query = {"sort": "created_at_asc"} | ({} if only is None else {"type": only})
    while True:
        rows, after = await read_page(
            api, LIST_CHILDREN, account_id=account_id, folder_id=folder_id, after=after, **query
        )
        listing.add(rows)
        if after is None:
            return listing
