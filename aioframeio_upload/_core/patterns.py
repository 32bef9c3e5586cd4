"""Select the files of a tree: the caller's patterns, and names that are never uploaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal
from unicodedata import normalize

from .public import public

OF_WINDOWS = frozenset(
    {
        # Thumbnail caches and folder settings: github.com/github/gitignore, Global/Windows.gitignore; Dropbox does not
        # sync them either (help.dropbox.com, "files that don't sync").
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
        # Restore points and indexes, readable by SYSTEM alone, and the recycle bin of each volume: same file.
        *("system volume information", "$recycle.bin"),
        # Virtual memory, locked while Windows runs: same file, and Microsoft's "Introduction to page files".
        *("pagefile.sys", "hiberfil.sys", "swapfile.sys"),
    }
)
"""Names that Windows creates, in lower case, because its file names are not case-sensitive."""

OF_OTHERS = frozenset(
    {
        # A folder's custom icon: empty except for a resource fork. On SMB and exFAT macOS writes the CR as U+F00D, as
        # Services for Macintosh did. github.com/github/gitignore, Global/macOS.gitignore.
        *("Icon\r", "Icon\uf00d"),
        # AFP shares, and archives made by the Finder: same file. The desktop database of classic Mac OS: Apple, "Inside
        # Macintosh: More Macintosh Toolbox", chapter 9.
        *("Network Trash Folder", "Temporary Items", "__MACOSX", "Desktop DB", "Desktop DF"),
        # Files recovered by fsck, readable by root alone: mklost+found(8). Quotas: quotacheck(8).
        *("lost+found", "aquota.user", "aquota.group"),
        # Synology DSM: thumbnails and attributes, recycle bin, snapshots, scratch space.
        *("@eaDir", "#recycle", "#snapshot", "@tmp"),
        # QNAP QTS: recycle bin, snapshots, transcoded videos. NetApp ONTAP: snapshots over SMB.
        *("@Recycle", "@Recently-Snapshot", "@Transcode", "~snapshot"),
        # Android's vold: files recovered from a FAT card. Windows up to XP: the recycle bin (Windows.gitignore), in
        # capitals only, because users have folders called "Recycler" too.
        *("LOST.DIR", "RECYCLER"),
    }
)
"""Names that other systems create. Case-sensitive: a folder whose name differs in case is a user's own."""

OF_CHKDSK = re.compile(r"FOUND\.[0-9]{3}")
"""Folders of recovered clusters (Microsoft's reference of `chkdsk`). Only in capitals: `found.001` may be a part of a
split archive."""


HIDDEN = "its name begins with a dot"
OF_SYSTEM = "systems create files of that name for themselves"


def is_left_out(name: str) -> bool:
    """Return whether files and folders of this name are never uploaded: hidden, or created by a system for itself."""
    return name.startswith(".") or _is_of_system(name)


def why_left_out(name: str) -> str | None:
    """Return why files and folders of this name are never uploaded; None if they are."""
    if not is_left_out(name):
        return None
    return HIDDEN if name.startswith(".") else OF_SYSTEM


def _is_of_system(name: str) -> bool:
    return (
        name in OF_OTHERS
        or name.lower() in OF_WINDOWS
        or (name.startswith("FOUND.") and OF_CHKDSK.fullmatch(name) is not None)
    )


def same_name(name: str) -> str:
    """Return a key that is equal for names that look the same: macOS decomposes accents, other systems compose them."""
    return name if name.isascii() else normalize("NFC", name)


def ambiguous(paths: Iterable[str]) -> frozenset[str]:
    """Return the paths that look the same as another one; these may only be matched by their exact name."""
    alike: dict[str, list[str]] = {}
    for path in paths:
        if not path.isascii():
            alike.setdefault(same_name(path), []).append(path)
    return frozenset(path for some in alike.values() if len(some) > 1 for path in some)


@dataclass(frozen=True, slots=True)
class Patterns:
    """The caller's `include` and `exclude`.

    A pattern is a POSIX path relative to the root. One without `/` matches a name at any depth; `*`, `?` and `[…]` stay
    within a name, `**` spans folders; one that ends with `/` matches folders only. A folder that matches includes
    everything in it. An empty `include` means everything, and `exclude` wins. Matching is case-sensitive.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in (*self.include, *self.exclude):
            compiled(pattern)

    @property
    def by_option(self) -> tuple[tuple[Literal["include", "exclude"], tuple[str, ...]], ...]:
        """The patterns with the name of their argument."""
        return ("include", self.include), ("exclude", self.exclude)

    def excluding(self, path: str) -> str:
        """Return the pattern of `exclude` that matches a path which is excluded."""
        return next(one for one in self.exclude if compiled(one).fullmatch(same_name(path)))

    def matcher(self) -> Matcher:
        """Compile the patterns for one walk."""
        return Matcher(_any_of(self.include), _any_of(self.exclude))


NOTHING = "it matches nothing"
IN_OTHER_CASE = f"{NOTHING}; upper and lower case differ: "
"""Followed by a path that it would match otherwise."""
ONLY_LEFT_OUT = "it matches only what is never uploaded"


@public
@dataclass(frozen=True, slots=True)
class UnmatchedPattern:
    """A pattern that matched nothing in a folder; it may be misspelled. Upper and lower case differ."""

    option: Literal["include", "exclude"]
    pattern: str
    reason: str
    """That it matches nothing, with a path that it would match if case did not count; or that it matches only what is
    never uploaded, such as hidden files."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Compiled patterns, for a hundred thousand paths; the path of a folder ends with `/`."""

    _include: re.Pattern[str] | None
    _exclude: re.Pattern[str] | None

    def excludes(self, path: str) -> bool:
        """Return whether `exclude` matches a file, or a folder with everything in it."""
        return self._exclude is not None and self._exclude.fullmatch(same_name(path)) is not None

    def includes(self, path: str) -> bool:
        """Return whether `include` matches a file, or a folder with everything in it."""
        return self._include is None or self._include.fullmatch(same_name(path)) is not None


class PatternUse:
    """Find the patterns of one walk that match nothing. Owned by that walk.

    A pattern counts as used if it matches anything that the walk has seen, whether another pattern decides about that
    or not: the question is whether it is misspelled. What is in a folder that is not walked is not seen.
    """

    def __init__(self, wanted: Patterns) -> None:
        self._unused: list[tuple[UnmatchedPattern, re.Pattern[str]]] = [
            (UnmatchedPattern(option, pattern, NOTHING), compiled(pattern))
            for option, some in wanted.by_option
            for pattern in dict.fromkeys(some)
            # Often excluded to be safe, although it is left out anyway.
            if option == "include" or not is_left_out(pattern.rstrip("/").rpartition("/")[2])
        ]
        self._only_left_out: set[str] = set()
        self._in_other_case: dict[str, str] = {}
        """The first path that each unused pattern matches but for its case."""
        self._in_any_case = {one.pattern: re.compile(found.pattern, found.flags | re.I) for one, found in self._unused}

    def note(self, path: str, *, is_left_out: bool = False) -> None:
        """Note a path that the walk has seen; a folder's ends with `/`.

        Args:
            path: The path.
            is_left_out: Whether it is never uploaded, so that no `include` can select it.
        """
        if not self._unused:
            return
        key = same_name(path)
        for one in [one for one in self._unused if one[1].fullmatch(key)]:
            if is_left_out and one[0].option == "include":
                self._only_left_out.add(one[0].pattern)
            else:
                self._unused.remove(one)
        for unused, _ in self._unused:
            is_new = unused.pattern not in self._in_other_case and not is_left_out
            if is_new and self._in_any_case[unused.pattern].fullmatch(key):
                self._in_other_case[unused.pattern] = path

    def unmatched(self) -> tuple[UnmatchedPattern, ...]:
        """Return the patterns that have matched nothing, those of `include` first."""
        return tuple(replace(one, reason=self._reason(one)) for one, _ in self._unused)

    def _reason(self, one: UnmatchedPattern) -> str:
        if one.pattern in self._in_other_case:
            return IN_OTHER_CASE + repr(self._in_other_case[one.pattern])
        return ONLY_LEFT_OUT if one.option == "include" and one.pattern in self._only_left_out else one.reason


def patterns(include: Iterable[str], exclude: Iterable[str]) -> Patterns:
    """Make `Patterns` from a caller's arguments; a single string is one pattern, not a sequence of letters.

    Raises:
        ValueError: A pattern cannot match anything.
    """
    return Patterns(*((some,) if isinstance(some, str) else tuple(some) for some in (include, exclude)))


def _any_of(some: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{compiled(pattern).pattern})" for pattern in some), re.DOTALL) if some else None


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile one pattern, for paths in which a folder's ends with `/`.

    Raises:
        ValueError: The pattern cannot match anything.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"a pattern must be a string, not {type(pattern).__name__}")
    names = same_name(pattern).removesuffix("/").removeprefix("/").split("/")
    if any(name in ("", ".", "..") for name in names):
        raise ValueError(f"the pattern {pattern!r} is not a path relative to the root")
    if "/" not in pattern.removesuffix("/"):
        names.insert(0, "**")
    first, *others = _runs(names)
    written = _names(first, "" if not others else "/")
    # The first place where the names between two `**` match is the best one, because it leaves most of the path to the
    # rest of the pattern. So the group is atomic (never backtracked into), which bounds the time by the product of the
    # lengths of path and pattern. Plain backtracking would be exponential in the number of `**`.
    written += "".join(f"(?>{FOLDERS}?{_names(run, '/')})" for run in others[:-1])
    if others:
        # `a/**` matches everything in `a`, at any depth, but not `a` itself.
        written += FOLDERS + (_names(others[-1], "") or "[^/]++")
    return re.compile(written + ("/" if pattern.endswith("/") else "/?"), re.DOTALL)


FOLDERS = "(?:[^/]++/)*"
"""Any number of folders, as many as possible; with a `?` behind it, as few as possible."""


def _runs(names: list[str]) -> list[list[str]]:
    """Split the names of a pattern into runs between one `**` and the next; only the first and last may be empty.

    >>> _runs(["a", "b", "**", "c"]), _runs(["**", "**", "a", "**"])
    ([['a', 'b'], ['c']], [[], ['a'], []])
    """
    runs: list[list[str]] = [[]]
    for index, name in enumerate(names):
        if name != "**":
            runs[-1].append(name)
        elif index == 0 or names[index - 1] != "**":
            runs.append([])
    return runs


def _names(run: list[str], after: str) -> str:
    return "".join(_one_name(name) + ("/" if index < len(run) else after) for index, name in enumerate(run, 1))


def _one_name(glob: str) -> str:
    """Return the regular expression of one name; as with `**`, what follows a `*` is searched for only once."""
    if not glob.strip("*"):
        return "[^/]++"  # names are never empty
    first, *others = _between_stars(glob)
    written = first + "".join(f"(?>[^/]*?{piece})" for piece in others[:-1] if piece)
    if others:
        written += f"[^/]*{others[-1]}" if others[-1] else "[^/]*+"
    return f"(?>{written}(?![^/]))"


def _between_stars(glob: str) -> list[str]:
    """Return the expressions before, between and after the `*` of a name; each matches a fixed number of characters."""
    pieces, index = [""], 0
    while index < len(glob):
        char = glob[index]
        index += 1
        end = glob.find("]", index + (glob[index : index + 1] == "!") + 1) if char == "[" else -1
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif end > 0:
            inside = glob[index:end]
            negated, inside = ("^", inside[1:]) if inside.startswith("!") else ("", inside)
            pieces[-1] += f"(?!/)[{negated}{_class(inside)}]"
            index = end + 1
        else:
            pieces[-1] += re.escape(char)
    return pieces


def _class(inside: str) -> str:
    r"""Quote the content of a bracket expression, except ranges; reversed ranges, an error in `re`, are quoted.

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
