"""The way through a listing: the cursor of each next page, and the end of a way that leads nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

LONGEST_CURSOR = 4096
"""Characters. It goes into the next request's line, of which servers take 8 KB (nginx, Apache)."""

MOST_EMPTY_PAGES = 100
"""Pages in a row without a row. A filter can leave some of a service's pages empty; but cursors that are always new,
and lead to nothing, would be followed for ever."""

MOST_PAGES = 20_000
"""Two million rows, more than a folder can be used with: what is longer never ends, and would fill the memory."""


class BadListing(ValueError):
    """A listing that cannot be followed to its end."""


@dataclass(slots=True)
class Cursors:
    """Follow a listing from page to page. Owned by whoever reads it."""

    seen: set[str] = field(default_factory=set)
    pages: int = 0
    empty: int = 0
    """Pages in a row that had no row."""

    def follow(self, document: Mapping[str, Any]) -> str | None:
        """Return the cursor of the page after this one, or None at the end.

        `links.next` holds the cursor and nothing else: every other parameter is to be given anew.

        Raises:
            BadListing: The link is none, or the way leads in a circle or never ends.
        """
        links = document.get("links")
        link = links.get("next") if isinstance(links, Mapping) else None
        if not isinstance(link, str):
            return None
        try:
            cursor = parse_qs(urlsplit(link).query).get("after", [None])[0]
        except ValueError:
            raise BadListing("the listing's link to the next page is not valid") from None
        if cursor is None:
            return None
        if len(cursor) > LONGEST_CURSOR:
            raise BadListing(f"the listing's cursor is longer than {LONGEST_CURSOR} characters")
        self.pages += 1
        self.empty = 0 if document.get("data") else self.empty + 1
        if cursor in self.seen:
            raise BadListing("the listing's pages lead in a circle")
        if self.empty >= MOST_EMPTY_PAGES or self.pages >= MOST_PAGES:
            raise BadListing("the listing does not end")
        self.seen.add(cursor)
        return cursor
