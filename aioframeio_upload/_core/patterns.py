"""Which files of a tree are taken: the caller's patterns, and what nobody wants to have uploaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import normalize

OF_WINDOWS = frozenset(
    {
        # Caches of pictures, and how a folder is shown: github.com/github/gitignore, Global/Windows.gitignore; Dropbox
        # does not sync them either (help.dropbox.com, "files that don't sync").
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
        # Restore points and indexes, readable by SYSTEM alone, and the recycle bin of each volume: same file.
        *("system volume information", "$recycle.bin"),
        # Virtual memory, locked while Windows runs: same file, and Microsoft's "Introduction to page files".
        *("pagefile.sys", "hiberfil.sys", "swapfile.sys"),
    }
)
"""What Windows makes, in lower case: it keeps no case apart."""

OF_OTHERS = frozenset(
    {
        # A folder's own icon: empty, but for a resource fork. On SMB and exFAT macOS writes the CR as U+F00D, as
        # Services for Macintosh did. github.com/github/gitignore, Global/macOS.gitignore.
        *("Icon\r", "Icon\uf00d"),
        # Of AFP shares and of archives made by the Finder: same file. The desktop database of classic Mac OS: Apple,
        # "Inside Macintosh: More Macintosh Toolbox", chapter 9.
        *("Network Trash Folder", "Temporary Items", "__MACOSX", "Desktop DB", "Desktop DF"),
        # What fsck finds, readable by root alone: mklost+found(8). Quotas: quotacheck(8).
        *("lost+found", "aquota.user", "aquota.group"),
        # Synology DSM: thumbnails and attributes, recycle bin, snapshots, scratch space.
        *("@eaDir", "#recycle", "#snapshot", "@tmp"),
        # QNAP QTS: recycle bin, snapshots, transcoded films. NetApp ONTAP: snapshots over SMB.
        *("@Recycle", "@Recently-Snapshot", "@Transcode", "~snapshot"),
        # Android's vold: what its check of a FAT card finds. Windows up to XP: the recycle bin (Windows.gitignore);
        # people, too, have folders called "Recycler".
        *("LOST.DIR", "RECYCLER"),
    }
)
"""What others make, as they write it: a folder whose name differs in case is somebody's own."""

OF_CHKDSK = re.compile(r"FOUND\.[0-9]{3}")
"""A folder of lost clusters: Microsoft's reference of `chkdsk`. In capitals, for `found.001` may be a split archive."""


def is_left_out(name: str) -> bool:
    """Return whether a file or folder of that name is never taken: hidden, or made by a system for itself."""
    return (
        name.startswith(".")
        or name in OF_OTHERS
        or name.lower() in OF_WINDOWS
        or (name.startswith("FOUND.") and OF_CHKDSK.fullmatch(name) is not None)
    )


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
    first, *others = _runs(names)
    written = _names(first, "" if not others else "/")
    # The first place where the names between two `**` fit is the best one, for it leaves most of the path to the rest
    # of the pattern. So it is atomic: given up never, and the time is bounded by the lengths of path and pattern.
    written += "".join(f"(?>{FOLDERS}?{_names(run, '/')})" for run in others[:-1])
    if others:
        # `a/**` is what is in `a`, at any depth, and not `a` itself.
        written += FOLDERS + (_names(others[-1], "") or "[^/]++")
    return re.compile(written + ("/" if pattern.endswith("/") else "/?"), re.DOTALL)


FOLDERS = "(?:[^/]++/)*"
"""Any number of folders, as many as possible; with a `?` behind it, as few as possible."""


def _runs(names: list[str]) -> list[list[str]]:
    """Return the names that stand together, from one `**` to the next; only the first and the last may be none.

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
    """Write what matches one name as a regular expression; as for `**`, what follows a `*` is found once."""
    if not glob.strip("*"):
        return "[^/]++"  # no name is empty
    first, *others = _between_stars(glob)
    written = first + "".join(f"(?>[^/]*?{piece})" for piece in others[:-1] if piece)
    if others:
        written += f"[^/]*{others[-1]}" if others[-1] else "[^/]*+"
    return f"(?>{written}(?![^/]))"


def _between_stars(glob: str) -> list[str]:
    """Write what stands before, between and behind the `*` of a name: each matches a fixed number of characters."""
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
