"""Check the kind of a source and its name, before anything is opened."""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import AsyncIterable, Callable
from inspect import iscoroutinefunction, signature
from pathlib import PurePath
from typing import IO, Any, Protocol, TypeAlias

from .._core.api_schema import is_text
from .._core.errors import SourceError
from .files import printable


class AsyncReadable(Protocol):
    """An object with `async read(n)`: an aiohttp `StreamReader`, a Starlette `UploadFile`, an aiofiles handle."""

    async def read(self, n: int, /) -> bytes:
        """Return up to `n` bytes, none at the end."""
        ...


Source: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | AsyncReadable | AsyncIterable[bytes]
)
"""Every kind of object that can be uploaded."""


def is_stream(source: Any) -> bool:
    """Return whether a source is asynchronous, so that it can be read only once and in order."""
    read = reading_method(source)
    return isinstance(source, AsyncIterable) if read is None else iscoroutinefunction(read)


def reading_method(source: Any) -> Callable[[int], Any] | None:
    """Return the method that reads up to n bytes: `read`, or the `read_chunk` of aiohttp's `BodyPartReader`.

    None if there is none: a `read()` without a size argument returns everything at once, however long it is.
    """
    for name in ("read", "read_chunk"):
        method = getattr(source, name, None)
        if callable(method) and _takes_a_size(method):
            read: Callable[[int], Any] = method
            return read
    return None


def _takes_a_size(read: Callable[..., Any]) -> bool:
    try:
        parameters = signature(read)
    except (TypeError, ValueError):  # some C functions have no signature
        return True
    try:
        parameters.bind(1)
    except TypeError:
        return False
    return True


def check_kind(source: Any) -> None:
    """Raise TypeError unless the object is of a supported kind."""
    if isinstance(source, io.TextIOBase):
        raise TypeError("the file is open in text mode; open it in mode 'rb'")
    if not (isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)) and not (
        reading_method(source) is not None or isinstance(source, AsyncIterable)
    ):
        kind = type(source).__name__
        if callable(getattr(source, "read", None)):
            raise TypeError(
                f"cannot upload an object of type {kind}: its read() takes no size, so that all of it would be held"
                " in memory; pass the stream that it reads from, such as the `content` of an aiohttp response"
            )
        raise TypeError(f"cannot upload an object of type {kind}: pass a path, bytes, a binary file or an async stream")
    if isinstance(source, memoryview) and not source.c_contiguous:
        raise TypeError("the memoryview is not contiguous")


def name_of(source: Any, name: str | None) -> str:
    """Return the name for the file: the argument, else the path's last component, else the object's own name.

    A path's name is returned unchanged, even if it is not valid text: `check_name` refuses that before anything is
    created. The argument and an object's name may be the `filename` of a form, which is hostile input. So they are
    reduced to the last component (by `/` and by backslash), without control and bidi characters.

    Raises:
        ValueError: There is no name, nothing is left of it, or it is not valid text.
    """
    chosen = name
    if chosen is None and isinstance(source, str | os.PathLike):
        return own_name(os.fspath(source))
    if chosen is None:
        chosen = next((own for key in ("filename", "name") if isinstance(own := getattr(source, key, None), str)), None)
    kept = _harmless(chosen or "")
    if kept in ("", ".", ".."):
        raise ValueError("the source has no name of its own: pass name=" if chosen is None else "the name is empty")
    if not is_text(kept):
        raise ValueError(f"the name {kept!r} contains a lone surrogate, which UTF-8 cannot encode")
    return kept


def own_name(path: str, kind: type[PurePath] = PurePath) -> str:
    """Return a path's last component. On Windows both slashes are separators, elsewhere a backslash is a character."""
    if not isinstance(path, str):
        raise TypeError("a path of bytes cannot be uploaded; convert it with os.fsdecode()")
    last = kind(path).name
    if last in ("", ".."):
        try:
            last = kind(os.path.abspath(path)).name  # only if necessary, because it asks the system on the event loop
        except OSError:  # no working directory
            last = ""
    if not last:
        raise ValueError("the source has no name of its own: pass name=")
    return last


BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters with the Unicode property Bidi_Control (PropList.txt): they can make `exe.mov` look like `vom.exe`."""


def _harmless(name: str) -> str:
    """Return the last component of a foreign name without control and bidi characters and surrounding spaces.

    Other characters are kept. Filtering by `str.isprintable` would also drop no-break spaces, soft hyphens, private-use
    characters, and emoji that are newer than Python's Unicode tables.
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(char for char in last if unicodedata.category(char) != "Cc" and char not in BIDI).strip(" ")


NO_TEXT = "its name is not valid UTF-8, so it cannot be sent"


def check_name(name: str, source: Any) -> None:
    """Check, before anything is created, that a path's own name can be sent.

    Raises:
        SourceError: The name is not valid text.
    """
    if not is_text(name):
        path = printable(os.fspath(source)) if isinstance(source, str | os.PathLike) else None
        raise SourceError(NO_TEXT, path=path, advice="rename it, or pass name=")
