"""What can be uploaded, and under which name; checked before anything is opened."""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import AsyncIterable, Callable
from inspect import iscoroutinefunction, signature
from pathlib import PurePath
from typing import Any, BinaryIO, Protocol, TypeAlias

from .._core.api_schema import is_text
from .._core.errors import SourceError
from .files import printable


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
    read = reading_method(source)
    return isinstance(source, AsyncIterable) if read is None else iscoroutinefunction(read)


def reading_method(source: Any) -> Callable[[int], Any] | None:
    """Return the method that reads up to so many bytes: `read`, or the `read_chunk` of aiohttp's `BodyPartReader`.

    None where there is none: a `read()` that takes no size gives everything at once, however long it is.
    """
    for name in ("read", "read_chunk"):
        method = getattr(source, name, None)
        if callable(method) and _takes_a_size(method):
            read: Callable[[int], Any] = method
            return read
    return None


def _takes_a_size(read: Callable[..., Any]) -> bool:
    try:
        told = signature(read)
    except (TypeError, ValueError):  # some that are written in C do not tell
        return True
    try:
        told.bind(1)
    except TypeError:
        return False
    return True


def check_kind(source: Any) -> None:
    """Raise TypeError for what is no source, before anything is done with it."""
    if isinstance(source, io.TextIOBase):
        raise TypeError("the file is open in text mode; open it in mode 'rb'")
    if not (isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)) and not (
        reading_method(source) is not None or isinstance(source, AsyncIterable)
    ):
        kind = type(source).__name__
        if callable(getattr(source, "read", None)):
            raise TypeError(
                f"cannot upload a {kind}: its read() takes no size, and would hold all of it in memory;"
                " give the stream that it reads from, such as the `content` of an aiohttp response"
            )
        raise TypeError(f"cannot upload a {kind}: give a path, bytes, a binary file or an async stream")
    if isinstance(source, memoryview) and not source.c_contiguous:
        raise TypeError("the memoryview is not contiguous")


def name_of(source: Any, name: str | None) -> str:
    """Return the file's name: the one that was given, or the path's, or the object's own.

    A path's own name is returned as it is, also where its bytes are no text: `check_name` refuses that before anything
    is made. A name that was given, and that of an object, may be a form's `filename`, which is hostile input: it is
    reduced to its last component, by `/` and by a backslash, without control and bidi characters.

    Raises:
        ValueError: Nothing is left of it, there was nothing, or what was given is no text.
    """
    told = name
    if told is None and isinstance(source, str | os.PathLike):
        return own_name(os.fspath(source))
    if told is None:
        told = next((own for key in ("filename", "name") if isinstance(own := getattr(source, key, None), str)), None)
    kept = _harmless(told or "")
    if kept in ("", ".", ".."):
        raise ValueError("the source has no name of its own: give name=" if told is None else "the name is empty")
    if not is_text(kept):
        raise ValueError(f"the name {kept!r} holds a lone surrogate, which is no text")
    return kept


def own_name(path: str, kind: type[PurePath] = PurePath) -> str:
    """Return a path's last component. On Windows both slashes part it, elsewhere a backslash is a character."""
    if not isinstance(path, str):
        raise TypeError("a path of bytes cannot be uploaded: os.fsdecode() makes text of it")
    last = kind(path).name
    if last in ("", ".."):
        try:
            last = kind(os.path.abspath(path)).name  # only then: it asks the system, which an event loop should not
        except OSError:  # no working directory
            last = ""
    if not last:
        raise ValueError("the source has no name of its own: give name=")
    return last


BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters of the Unicode property Bidi_Control (PropList.txt): they make `exe.mov` look like `vom.exe`."""


def _harmless(name: str) -> str:
    """Return a foreign name's last component without control and bidi characters, and without spaces around it.

    Every other character stays: no-break spaces, soft hyphens, private use, and emoji of any version of Unicode are
    parts of names. `str.isprintable` would drop them.
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(char for char in last if unicodedata.category(char) != "Cc" and char not in BIDI).strip(" ")


NO_TEXT = "its name is no text, so it cannot be told"


def check_name(name: str, source: Any) -> None:
    """Raise SourceError if a path's own name cannot be sent as it is; nothing has been made then.

    Raises:
        SourceError: As said.
    """
    if not is_text(name):
        path = printable(os.fspath(source)) if isinstance(source, str | os.PathLike) else None
        raise SourceError(f"{NO_TEXT}; give name=, or rename it", path=path)
