"""Read the content of a source, to compare it with what is stored at Frame.io."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass

from .._core.checksums import CRC64NVME, MD5
from .._core.model import Part
from .._core.verifying import part_sizes
from .._io.part_digests import digest_part
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import OpenSource, open_source

PIECE = 1 << 26
"""Bytes that are read at a time: what a file object that is spooled takes on disk."""


@dataclass(frozen=True, slots=True)
class SourceContent:
    """The checksums of a source, and what it was when it was read."""

    size: int
    modified_ns: int | None
    changed_ns: int | None
    """Its change time before the first byte was read; None for anything but a path."""
    crc64nvme: str
    md5s: tuple[str, ...] = ()
    """Of its parts, in hex; empty if they were not asked for."""


async def read_content(found: OpenSource, parts: int | None, resources: Session) -> SourceContent:
    """Read an open source once, from its beginning to its end.

    Args:
        found: The source.
        parts: How many equal parts to compute the MD5s of; None for the CRC64NVME alone.
        resources: The buffers and the hashing thread.

    Raises:
        SourceError: It cannot be read, or changes meanwhile.
    """
    await found.check()
    whole, md5s, number, offset = CRC64NVME.begin(), list[str](), 0, 0
    for length in part_sizes(found.size, parts or 1):
        md5 = MD5.begin()
        digests = (whole,) if parts is None else (whole, md5)
        end = offset + length
        while offset < end:
            number += 1
            piece = Part(number, offset, min(PIECE, end - offset), "")
            async with found.lend(piece) as lent:
                await digest_part(digests, lent, piece.size, resources.blocks, resources.timeouts.stall)
            offset += piece.size
        if parts is not None:
            md5s.append(md5.value())
    await found.check()
    return SourceContent(found.size, found.modified_ns, found.changed_ns, whole.value(), tuple(md5s))


class SourceReader:
    """Reads a source when a comparison needs it, and not again for the next one. Owned by one upload.

    Args:
        opened: Opens the source for a block.
        resources: The buffers and the hashing thread.
        can_read: Whether it can be read before it is sent, which a stream cannot.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[OpenSource]],
        resources: Session,
        *,
        can_read: bool = True,
    ) -> None:
        self._opened = opened
        self._resources = resources
        self.can_read = can_read
        self._known: dict[int | None, SourceContent] = {}
        """What was read, by the number of parts."""

    @property
    def crc64nvme(self) -> str | None:
        """The checksum of what was read; None if nothing was."""
        return next((content.crc64nvme for content in self._known.values()), None)

    async def read(self, parts: int | None = None) -> SourceContent:
        """Return the content, with the MD5s of that many parts if a number is given.

        Raises:
            SourceError: It cannot be read, or changes meanwhile.
        """
        content = next(iter(self._known.values()), None) if parts is None else self._known.get(parts)
        if content is None:
            async with self._opened() as source:
                content = await read_content(source, parts, self._resources)
            self._known[parts] = content
        return content


@asynccontextmanager
async def opened(source: Source, resources: Session) -> AsyncIterator[OpenSource]:
    """Open a source for a block.

    Raises:
        SourceError: It is missing, empty or unreadable.
    """
    with closing(await open_source(source, None, resources.executor, resources.spool)) as found:
        yield found
