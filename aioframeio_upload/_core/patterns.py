"""Which files of a tree are taken: the caller's patterns, and what nobody wants to have uploaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import normalize

LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini"})
"""Windows writes them into folders, in whatever case."""


def is_left_out(name: str) -> bool:
    """Say whether a file or folder of that name is never taken: hidden, or what a desktop leaves behind."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def same_name(name: str) -> str:
    """Give what two names have in common if they look the same: macOS decomposes accents, others compose them."""
    return name if name.isascii() else normalize("NFC", name)


def ambiguous(paths: Iterable[str]) -> frozenset[str]:
    """Give those paths that only look the same as another one; they may be matched to their exact name alone."""
    alike: dict[str, list[str]] = {}
    for path in paths:
        if not path.isascii():
            alike.setdefault(same_name(path), []).append(path)
    return frozenset(path for some in alike.values() if len(some) > 1 for path in some)


@dataclass(frozen=True, slots=True)
class Patterns:
    """The caller's `include` and `exclude`.

    A pattern is a POSIX path relative to the root. One without `/` matches a name at any depth; `*`, `?` and `[…]` stay
    within a name, `**` spans folders; one that ends with `/` matches folders only. A folder that matches stands for all
    that is in it. Nothing in `include` means everything, and `exclude` wins. Case counts.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in (*self.include, *self.exclude):
            compiled(pattern)

    def matcher(self) -> Matcher:
        """Compile them for one walk."""
        return Matcher(_any_of(self.include), _any_of(self.exclude))


@dataclass(frozen=True, slots=True)
class Matcher:
    """Patterns made ready to be asked a hundred thousand times; a path ends with `/` if it is a folder's."""

    _include: re.Pattern[str] | None
    _exclude: re.Pattern[str] | None

    def excludes(self, path: str) -> bool:
        """Say whether a file is left out by `exclude`, or a folder with all that is in it."""
        return self._exclude is not None and self._exclude.fullmatch(same_name(path)) is not None

    def includes(self, path: str) -> bool:
        """Say whether a file is named by `include`, or a folder with all that is in it."""
        return self._include is None or self._include.fullmatch(same_name(path)) is not None


def patterns(include: Iterable[str], exclude: Iterable[str]) -> Patterns:
    """Make patterns of what a caller gave; a single string is one pattern, not its letters.

    Raises:
        ValueError: One of them cannot match anything.
    """
    return Patterns(*((some,) if isinstance(some, str) else tuple(some) for some in (include, exclude)))


def _any_of(some: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{compiled(pattern).pattern})" for pattern in some), re.DOTALL) if some else None


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile one pattern, for paths of which a folder's ends with `/`.

    Raises:
        ValueError: It cannot match anything.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"a pattern is a string, not {type(pattern).__name__}")
    names = same_name(pattern).removesuffix("/").removeprefix("/").split("/")
    if any(name in ("", ".", "..") for name in names):
        raise ValueError(f"the pattern {pattern!r} is no path relative to the root")
    if "/" not in pattern.removesuffix("/"):
        names.insert(0, "**")
    written = ""
    for name in names[:-1]:
        written += "(?:[^/]+/)*" if name == "**" else _one_name(name) + "/"
    # `a/**` is what is in `a`, at any depth, and not `a` itself.
    written += "(?:[^/]+/)*[^/]+" if names[-1] == "**" else _one_name(names[-1])
    return re.compile(written + ("/" if pattern.endswith("/") else "/?"), re.DOTALL)


def _one_name(glob: str) -> str:
    """Write what matches one name as a regular expression."""
    if not glob.strip("*"):
        return "[^/]+"  # no name is empty
    written, index = "", 0
    while index < len(glob):
        char = glob[index]
        index += 1
        end = glob.find("]", index + (glob[index : index + 1] == "!") + 1) if char == "[" else -1
        if char == "*":
            written += "" if written.endswith("[^/]*") else "[^/]*"
        elif char == "?":
            written += "[^/]"
        elif end > 0:
            inside = glob[index:end]
            negated, inside = ("^", inside[1:]) if inside.startswith("!") else ("", inside)
            written += f"(?!/)[{negated}{_class(inside)}]"
            index = end + 1
        else:
            written += re.escape(char)
    return written


def _class(inside: str) -> str:
    r"""Quote what stands between brackets, ranges but the reversed ones left as they are.

    >>> _class("a-c"), _class("]^"), _class("z-a")
    ('a-c', '\\]\\^', 'z\\-a')
    """
    quoted, index = "", 0
    while index < len(inside):
        if inside[index + 1 : index + 2] == "-" and index + 2 < len(inside) and inside[index] <= inside[index + 2]:
            quoted += f"{re.escape(inside[index])}-{re.escape(inside[index + 2])}"
            index += 3
        else:
            quoted += re.escape(inside[index])
            index += 1
    return quoted
