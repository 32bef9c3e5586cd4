"""A pattern is warned about if it matches nothing in any folder of the command."""

from __future__ import annotations

from typing import Any

from aioframeio_upload import UnmatchedPattern
from aioframeio_upload._cli.options import Target, UploadArguments
from aioframeio_upload._cli.pattern_use import NO_FOLDER, PatternCheck, describe
from aioframeio_upload._core.patterns import NOTHING, ONLY_LEFT_OUT


def check(folders: str, files: str = "", **patterns: Any) -> PatternCheck:
    paths = [*folders.split(), *files.split()]
    kept = frozenset(folders.split())
    return PatternCheck(UploadArguments(paths=paths, folders=kept, target=Target("f"), conflict="skip", **patterns))


def unmatched(pattern: str, reason: str = NOTHING) -> UnmatchedPattern:
    return UnmatchedPattern("include", pattern, reason)


def test_a_pattern_that_matches_in_one_folder_is_no_mistake() -> None:
    found = check("a b", include=["*.mov", "*.wav"])
    assert found.add(1, [unmatched("*.wav")]) == []
    assert found.add(1, [unmatched("*.mov")]) == []
    assert not found.leaves_nothing


def test_one_that_matches_nowhere_is_reported_once_with_the_reason_that_says_more() -> None:
    found = check("a b", include=[".x"])
    assert found.add(0, [unmatched(".x", ONLY_LEFT_OUT)]) == []
    assert not found.leaves_nothing
    assert found.add(0, [unmatched(".x")]) == [unmatched(".x", ONLY_LEFT_OUT)]
    assert found.leaves_nothing


def test_a_folder_that_cannot_be_walked_says_nothing_about_patterns() -> None:
    found = check("a b", include=["x"])
    assert found.add(0, [unmatched("x")]) == []
    assert found.skip() == [unmatched("x")]
    assert not found.leaves_nothing  # that folder is a failure already
    found = check("a", include=["x"])
    assert found.skip() == []


def test_without_a_folder_each_pattern_is_reported_and_files_are_left() -> None:
    found = check("", "a.mov", include=["x", "x"], exclude=["y"])
    assert [(one.option, one.pattern, one.reason) for one in found.without_folders()] == [
        ("include", "x", NO_FOLDER),
        ("exclude", "y", NO_FOLDER),
    ]
    assert not found.leaves_nothing
    assert check("a", "a.mov", include=["x"]).without_folders() == []


def test_nothing_left_needs_patterns() -> None:
    found = check("a")
    found.add(0, [])
    assert not found.leaves_nothing
    found = check("a", "a.mov", exclude=["*"])
    found.add(0, [])
    assert not found.leaves_nothing


def test_the_warning_says_that_case_matters_only_where_that_may_be_it() -> None:
    hint = "; upper and lower case differ: 'a.mov'"
    assert describe(unmatched("*.MOV", f"{NOTHING}{hint}")) == f"warning: --include '*.MOV' matches nothing{hint}"
    assert describe(unmatched("*.xyz")) == "warning: --include '*.xyz' matches nothing"
    assert describe(unmatched("12*")) == "warning: --include '12*' matches nothing"
    assert describe(unmatched(".git", ONLY_LEFT_OUT)) == f"warning: --include '.git': {ONLY_LEFT_OUT}"
