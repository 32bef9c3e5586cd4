"""What can be uploaded, and under which name: looked at before anything is opened."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable
from inspect import iscoroutinefunction
from typing import Any, BinaryIO, Protocol, TypeAlias


class AsyncReadable(Protocol):
    """An object with `async read(n)`: an aiohttp `StreamReader`, a Starlette `UploadFile`, an aiofiles handle."""

    async def read(self, n: int, /) -> bytes:
        """Give up to `n` bytes, none at the end."""
        ...


Source: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | AsyncReadable | AsyncIterable[bytes]
)
"""What can be uploaded."""


def is_stream(source: Any) -> bool:
    """Say whether a source can be read only once, and only from its beginning to its end."""
    return iscoroutinefunction(getattr(source, "read", None)) or (
        not hasattr(source, "read") and isinstance(source, AsyncIterable)
    )


def check_kind(source: Any) -> None:
    """Raise TypeError for what is no source, before anything is done with it."""
    if isinstance(source, io.TextIOBase):
        raise TypeError("the file is open in text mode; open it in mode 'rb'")
    if not (isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)) and not (
        callable(getattr(source, "read", None)) or isinstance(source, AsyncIterable)
    ):
        raise TypeError(
            f"cannot upload a {type(source).__name__}: give a path, bytes, a binary file or an async stream"
        )
    if isinstance(source, memoryview) and not source.c_contiguous:
        raise TypeError("the memoryview is not contiguous")


def name_of(source: Any, name: str | None) -> str:
    """Give the file's name: the one that was given, or the path's, or the object's own; its last component only.

    A form's `filename` is hostile input: what stands before a slash or a backslash, and control characters, go.

    Raises:
        ValueError: Nothing is left of it, or there was nothing.
    """
    told = name
    if told is None and isinstance(source, str | os.PathLike):
        told = os.fspath(source)
        if os.path.basename(told.rstrip("/\\")) in ("", ".", ".."):
            told = os.path.abspath(told)  # only then: it asks the system, which an event loop should not
    if told is None:
        told = next((own for key in ("filename", "name") if isinstance(own := getattr(source, key, None), str)), None)
    last = (told or "").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if name is not None or told else ""
    kept = "".join(char for char in last if char.isprintable() or char in "\u200d\u200c").strip()
    if kept in ("", ".", ".."):
        raise ValueError("the source has no name of its own: give name=" if told is None else "the name is empty")
    return kept
