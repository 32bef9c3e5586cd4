"""What sends a plan's parts, as its delivery sees it."""

from __future__ import annotations

from typing import Protocol

from ._core.expiry import Links
from ._core.model import Receipt


class Sending(Protocol):
    """A plan's parts on their way: from this process (`Transfer`), or from many."""

    is_spoiled: bool

    @property
    def links(self) -> Links:
        """How old the links are, and how long they live."""
        ...

    @property
    def has_sent(self) -> bool:
        """Whether S3 acknowledged a part under these links."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether every part was acknowledged, and as it was sent."""
        ...

    @property
    def bytes_per_second(self) -> float:
        """What was sent, over the time in which it could be."""
        ...

    async def run(self) -> tuple[Receipt, ...]:
        """Send every part that is not done."""
        ...
