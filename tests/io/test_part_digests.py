"""Test the checksum of a part that is read again from its source."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from aioframeio_upload import SourceError
from aioframeio_upload._core.checksums import MD5
from aioframeio_upload._io.buffers import AHEAD, BufferPool
from aioframeio_upload._io.part_digests import read_again
from tests.conftest import some_bytes


class Reader:
    """A part in memory that is read in a thread, or never."""

    def __init__(self, content: bytes, *, hangs: bool = False) -> None:
        self._content = content
        self._hangs = hangs

    def peek(self, offset: int, buffer: memoryview) -> memoryview | None:
        return None

    async def read(self, offset: int, buffer: memoryview) -> memoryview:
        if self._hangs:
            await asyncio.Event().wait()
        buffer[:] = self._content[offset : offset + len(buffer)]
        return buffer


async def test_every_byte_is_in_it_once_and_in_order() -> None:
    content, pool = some_bytes(3 * BufferPool.size + 7), BufferPool(0)
    md5 = await read_again(MD5, Reader(content), len(content), pool, 10)
    assert md5 == hashlib.md5(content).hexdigest()
    pool.close()


async def test_a_source_that_does_not_answer_is_an_error_and_keeps_no_buffer() -> None:
    pool = BufferPool(0)
    for _ in range(2 * AHEAD):
        with pytest.raises(SourceError, match="does not answer") as caught:
            await read_again(MD5, Reader(b"", hangs=True), 10, pool, 0.01)
        assert caught.value.is_away
    pool.close()
