"""Keep the parts that the browser has sent on disk until Frame.io has them, so that a killed server loses none."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from kept import private

from aioframeio_upload import Part

BLOCK = 1 << 20
"""Bytes that are written or read at once, in a thread: a switch of threads costs as much as some 100 kB."""


class Pieces:
    """A request's body, read in pieces of any size."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._rest = memoryview(b"")

    async def read(self, most: int) -> bytes:
        """Return the next bytes, at most so many; none at the end of the body."""
        pieces, missing = [], most
        while missing:
            if not self._rest:
                self._rest = memoryview(await anext(self._body, b""))
                if not self._rest:
                    break
            pieces.append(self._rest[:missing])
            self._rest = self._rest[missing:]
            missing -= len(pieces[-1])
        return b"".join(pieces)


class Spool:
    """The parts of one upload that are here and not at Frame.io yet: a file each, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.numbers: set[int] = set()
        """Numbers of the parts that are here completely."""

    def find(self) -> None:
        """Find what an earlier server has left; a part that was not received completely has another name."""
        with suppress(FileNotFoundError):
            self.numbers = {int(path.name) for path in self._folder.iterdir() if path.name.isdecimal()}

    async def read(self, part: Part) -> AsyncIterator[bytes]:
        """Yield the bytes of a part that is here."""
        with open(self._path(part.number), "rb") as file:  # noqa: ASYNC230  # opening a local file takes microseconds
            while block := await asyncio.to_thread(file.read, BLOCK):
                yield block

    async def receive(self, part: Part, body: Pieces) -> AsyncIterator[bytes]:
        """Write a part's bytes to disk, and yield them. It is here as soon as the disk has it, not only the cache."""
        incomplete, missing, block = self._path(part.number).with_suffix(".new"), part.size, b""
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        with open(incomplete, "wb", opener=private) as file:  # noqa: ASYNC230  # as above
            while missing and (block := await body.read(min(missing, BLOCK))):
                missing -= len(block)
                await asyncio.to_thread(file.write, block)
                if missing:
                    yield block
            await asyncio.to_thread(settle, file)
        if not missing:  # otherwise the body has ended early
            incomplete.replace(self._path(part.number))  # Windows renames no open file
            self.numbers.add(part.number)
            yield block

    def drop(self, number: int) -> None:
        """Delete a part: Frame.io has it."""
        self.numbers.discard(number)
        self._path(number).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all parts."""
        self.numbers.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05}"


def settle(file: BinaryIO) -> None:
    """Write a file through to the disk."""
    file.flush()
    os.fsync(file.fileno())
