"""Compute the checksums of a part: while it is sent, or afterwards from its source."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from .._core.checksums import Checksum, Digest
from .._core.errors import SourceError
from .._core.model import ChecksumName
from .._core.words import CHECK_SHARE
from .buffers import BufferPool
from .files import PartReader


class PartDigests:
    """The checksums of one attempt at a part. Owned by that attempt."""

    def __init__(self, wanted: Iterable[Checksum]) -> None:
        begun = [(one, one.begin()) for one in wanted]
        self.fast: tuple[Digest, ...] = tuple(digest for one, digest in begun if one.is_fast)
        """Those that the loop computes of each block."""
        self.slow: tuple[Digest, ...] = tuple(digest for one, digest in begun if not one.is_fast)
        """Those that the hashing thread computes."""
        self._named: Mapping[ChecksumName, Digest] = {one.name: digest for one, digest in begun}

    async def values(self, blocks: BufferPool) -> dict[ChecksumName, str]:
        """Return the checksums by name, once every block that was sent is in them."""
        if self.slow:
            await blocks.hashed()
        return {name: digest.value() for name, digest in self._named.items()}


async def read_again(checksum: Checksum, lent: PartReader, size: int, blocks: BufferPool, stall: float) -> str:
    """Return a checksum of a part that was sent, computed from what its source contains now.

    Raises:
        SourceError: The source cannot be read any more.
    """
    digest = checksum.begin()
    await digest_part((digest,), lent, size, blocks, stall)
    return digest.value()


async def digest_part(digests: Sequence[Digest], lent: PartReader, size: int, blocks: BufferPool, stall: float) -> None:
    """Feed some digests with a part, in the hashing thread.

    Raises:
        SourceError: The source cannot be read, or a block takes longer than `stall` seconds.
    """
    offset = 0
    while offset < size:
        buffer = await blocks.take()
        room = buffer[: size - offset]
        try:
            block = lent.peek(offset, room)
            if block is None:
                async with asyncio.timeout(stall):
                    block = await lent.read(offset, room)
            else:
                await asyncio.sleep(0)  # so that a part in the page cache does not keep the loop to itself
        except TimeoutError:
            blocks.lost()
            words = f"does not answer: no block could be read in {stall:g} s"
            raise SourceError(words, away=True, advice=CHECK_SHARE) from None
        except BaseException:
            blocks.lost()  # a thread may still write into it
            raise
        offset += len(block)
        blocks.hash([(buffer, block)], digests)
    await blocks.hashed()
