"""Read the file to upload from stdin: `upload - --name NAME`."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import select
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from .. import SourceError
from .._core.words import SPOOL_ELSEWHERE
from .._io.spool import default_directory
from .format import format_size
from .line_display import json_line
from .options import STDIN, OutputOptions, UploadArguments, is_stdin_on_disk
from .output import is_terminal, write_json, write_line

BLOCK = 1 << 20
"""Bytes read at a time, and the size of the pipe where the system lets us choose it: 64 KiB, Linux's default, means a
change of threads for each 64 KiB."""

SECONDS_BETWEEN_LINES = 10.0
"""Between two lines about the progress of reading, in a log or a pipe."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, this user's share of it, or what one file may have is full."""

REMAINS = "what comes from stdin cannot be resumed: run the whole command again, or upload a file by its path"


class Pipe(io.FileIO):
    """Stdin as a file object that can be read once and in order, without Python's buffer and its lock.

    A thread that waits for the other program cannot be stopped, and one that holds the lock of `sys.stdin` would abort
    the interpreter at its end.
    """

    def __init__(self) -> None:
        super().__init__(0, "rb", closefd=False)
        _enlarge_pipe()

    def seekable(self) -> bool:
        """Return False: some devices can be positioned, to no effect."""
        return False

    def read(self, size: int | None = BLOCK) -> bytes:
        """Wait until there is something, and return up to `size` bytes; none at the end."""
        while (block := super().read(size)) is None:  # another program with the same pipe has made it non-blocking
            select.select([0], [], [])
        return block


@dataclass(frozen=True, slots=True)
class Stdin:
    """What stdin is, as a source of the library."""

    source: IO[bytes]
    size: int
    """As it was declared, or as it is known now."""


@dataclass(slots=True)
class _Copy:
    """The state of reading stdin into a temporary file. Written by the thread that reads, read by the display."""

    label: str
    done: int = 0

    @property
    def line(self) -> str:
        """How far it is."""
        return f"{self.label}: {format_size(self.done)} read from stdin"


@asynccontextmanager
async def open_stdin(arguments: UploadArguments, output: OutputOptions) -> AsyncIterator[Stdin]:
    """Yield stdin as a source. If its size is not known, it is read into a temporary file first.

    Frame.io has to know the size before the first byte.

    Args:
        arguments: The file's name, and its size if it was declared.
        output: How to show the progress of reading.

    Raises:
        SourceError: It cannot be read, or the temporary file cannot be written.
    """
    size = arguments.size
    if is_stdin_on_disk():
        given = io.FileIO(0, "rb", closefd=False)
        yield Stdin(given, os.fstat(0).st_size - given.tell() if size is None else size)
    elif size is not None:
        yield Stdin(Pipe(), size)
    else:
        directory = await asyncio.to_thread(default_directory)
        with await asyncio.to_thread(_open_temporary, directory) as file:
            yield Stdin(file, await _spool(file, directory, arguments.name or STDIN, output))


def _open_temporary(directory: str) -> IO[bytes]:
    """Open a file without a name, which disappears when it is closed or the process ends."""
    try:
        return tempfile.TemporaryFile("w+b", buffering=0, dir=directory)
    except OSError as error:
        raise SourceError(f"cannot spool: {error.strerror}", path=directory) from error


async def _spool(file: IO[bytes], directory: str, label: str, output: OutputOptions) -> int:
    """Copy stdin to a file, show how far that is, and return the number of bytes."""
    copy, failure = _Copy(label), None
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[OSError | None] = loop.create_future()

    def run() -> None:
        error = None
        try:
            _copy(file, copy)
        except OSError as caught:
            error = caught
        except ValueError:
            return  # the file was closed, because the command was stopped
        try:
            loop.call_soon_threadsafe(_resolve, ended, error)
        except RuntimeError:
            return  # so was the loop

    # A daemon: a read that waits for the other program cannot be stopped.
    threading.Thread(target=run, name="aioframeio-upload-stdin", daemon=True).start()
    if is_terminal() and not (output.as_json or output.quiet or output.verbose):
        from .live_display import LineDrawing, LiveDisplay

        async with LiveDisplay(LineDrawing(lambda: copy.line)):
            failure = await ended
    else:
        while not ended.done():
            await asyncio.wait([ended], timeout=SECONDS_BETWEEN_LINES)
            await _show(copy, output)
        failure = ended.result()
    if failure is not None:
        advice = SPOOL_ELSEWHERE if failure.errno in FULL else None
        raise SourceError(f"stdin cannot be spooled: {failure.strerror}", path=directory, advice=advice)
    return copy.done


def _resolve(ended: asyncio.Future[OSError | None], error: OSError | None) -> None:
    if not ended.done():
        ended.set_result(error)


def _copy(file: IO[bytes], copy: _Copy) -> None:
    pipe = Pipe()
    while block := pipe.read(BLOCK):
        rest = memoryview(block)
        while rest:
            rest = rest[file.write(rest) :]
        copy.done += len(block)
    file.seek(0)


async def _show(copy: _Copy, output: OutputOptions) -> None:
    if output.as_json:
        line = json_line(STDIN, {"event": "StdinProgress", "bytes_read": copy.done})
        await asyncio.to_thread(write_json, line)
    elif not output.quiet:
        await asyncio.to_thread(write_line, copy.line)


def _enlarge_pipe() -> None:
    if sys.platform != "linux":
        return
    import fcntl

    try:
        fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, BLOCK)
    except OSError:
        return  # no pipe, or a user who may have no more pages; it works as it is
