"""Find the patterns of a command that matched nothing in any of its folders, and word the warnings about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import UnmatchedPattern
from .._core.patterns import NOTHING
from .options import UploadArguments

NO_FOLDER = "it is for the files of folders, and no PATH is one"
NOTHING_LEFT = "error: --include and --exclude leave nothing to upload"


class PatternCheck:
    """Collect what each folder says about the patterns.

    Args:
        arguments: What is uploaded.
    """

    def __init__(self, arguments: UploadArguments) -> None:
        self._folders = len(arguments.folders)
        self._patterns = [
            *(UnmatchedPattern("include", one, NO_FOLDER) for one in dict.fromkeys(arguments.include)),
            *(UnmatchedPattern("exclude", one, NO_FOLDER) for one in dict.fromkeys(arguments.exclude)),
        ]
        self._has_files = len(arguments.paths) > self._folders
        self._unmatched: list[dict[tuple[str, str], UnmatchedPattern]] = []
        self._files = 0
        self._has_failed = False

    def add(self, files: int, unmatched: Sequence[UnmatchedPattern]) -> list[UnmatchedPattern]:
        """Note a folder that was walked; after the last one, return the patterns that matched nothing in any.

        Args:
            files: How many files it has that the patterns select.
            unmatched: The patterns that matched nothing in it.
        """
        self._files += files
        self._unmatched.append({(one.option, one.pattern): one for one in unmatched})
        return self._found()

    def skip(self) -> list[UnmatchedPattern]:
        """Note a folder that could not be walked; return as `add` does."""
        self._folders -= 1
        self._has_failed = True
        return self._found()

    def _found(self) -> list[UnmatchedPattern]:
        if not self._unmatched or len(self._unmatched) < self._folders:
            return []
        everywhere = set.intersection(*map(set, self._unmatched))
        # Where it matches something that is never uploaded, its reason says more.
        return [
            max((found[key] for found in self._unmatched), key=_words)
            for key in self._unmatched[0]
            if key in everywhere
        ]

    def without_folders(self) -> list[UnmatchedPattern]:
        """Return all patterns if there is no folder that they could be for. Called before the others."""
        return [] if self._folders else self._patterns

    @property
    def leaves_nothing(self) -> bool:
        """Whether every folder was walked, and the patterns leave no file to upload."""
        is_known = len(self._unmatched) == self._folders and not self._has_failed
        return bool(self._patterns) and is_known and not self._files and not self._has_files


def _words(one: UnmatchedPattern) -> int:
    return len(one.reason)


def describe(one: UnmatchedPattern) -> str:
    """Return the warning about a pattern."""
    if not one.reason.startswith(NOTHING):
        return f"warning: --{one.option} {one.pattern!r}: {one.reason}"
    return f"warning: --{one.option} {one.pattern!r} matches nothing{one.reason.removeprefix(NOTHING)}"


def record_of(one: UnmatchedPattern) -> dict[str, Any]:
    """Return the fields of the warning's line of JSON."""
    return {"event": "PatternUnmatched", "option": f"--{one.option}", "pattern": one.pattern, "reason": one.reason}
