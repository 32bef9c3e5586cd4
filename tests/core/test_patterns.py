"""Patterns select files, some names are always left out, and names that look the same are matched."""

from __future__ import annotations

import fnmatch
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.patterns import (
    Patterns,
    PatternUse,
    ambiguous,
    compiled,
    is_left_out,
    patterns,
    same_name,
)

MATCHES = [
    ("*.mov", "take.mov", True),
    ("*.mov", "a/b/take.mov", True),
    ("*.mov", "take.MOV", False),
    ("*.mov", "take.mov.part", False),
    ("take-0?.mov", "a/take-07.mov", True),
    ("take-0?.mov", "a/take-/7.mov", False),
    ("take-[0-3].mov", "take-2.mov", True),
    ("take-[!0-3].mov", "take-2.mov", False),
    ("take-[!0-3].mov", "take-7.mov", True),
    ("take-[]7].mov", "take-].mov", True),
    ("take-[7.mov", "take-[7.mov", True),
    ("a/*.mov", "a/take.mov", True),
    ("a/*.mov", "b/a/take.mov", False),
    ("a/*.mov", "a/b/take.mov", False),
    ("/take.mov", "take.mov", True),
    ("a/**", "a/b/c.mov", True),
    ("a/**", "a/", False),
    ("a/*", "a/", False),
    ("a/*", "a/b/", True),
    ("a/**/c.mov", "a/c.mov", True),
    ("a/**/c.mov", "a/x/y/c.mov", True),
    ("**/c.mov", "c.mov", True),
    ("**/a/*", "x/y/a/c.mov", True),
    ("a**c", "a/c", False),
    ("a**c", "abbc", True),
    ("cache", "a/cache/", True),
    ("cache/", "a/cache/", True),
    ("cache/", "a/cache", False),
    ("a/cache/", "a/cache/", True),
    ("a/cache/", "b/a/cache/", False),
    ("caf\u00e9", "cafe\u0301", True),
    ("cafe\u0301.*", "caf\u00e9.mov", True),
    ("a\n?", "a\nb", True),
    ("a.b", "axb", False),
    ("[z-a]", "-", True),
]


@pytest.mark.parametrize(("pattern", "path", "matches"), MATCHES)
def test_a_pattern_matches_these_paths(pattern: str, path: str, matches: bool) -> None:
    assert patterns((), [pattern]).matcher().excludes(path) is matches
    assert patterns([pattern], ()).matcher().includes(path) is matches


def test_without_patterns_everything_is_wanted() -> None:
    matcher = patterns((), ()).matcher()
    assert matcher.includes("a/b.mov")
    assert not matcher.excludes("a/b.mov")


def test_one_string_is_one_pattern_and_not_its_letters() -> None:
    assert patterns("*.mov", "cache").include == ("*.mov",)
    assert not patterns("*.mov", ()).matcher().includes("m")


@pytest.mark.parametrize("pattern", ["", "/", "a//b", "./a", "../a", "a/..", "//"])
def test_a_pattern_that_cannot_match_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="not a path relative to the root"):
        patterns([pattern], ())


def test_a_value_that_is_not_a_string_is_refused() -> None:
    with pytest.raises(TypeError):
        patterns([b"*.mov"], ())  # type: ignore[list-item]


NAMES = st.text("ab.[]!-*", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
GLOBS = NAMES | st.just("**")


def by_hand(globs: list[str], names: list[str]) -> bool:
    """The same in three lines, segment by segment, as the reference."""
    if not globs:
        return not names
    if globs[0] == "**":
        last = len(globs) == 1
        return any(by_hand(globs[1:], names[skip:]) for skip in range(last, len(names) + 1)) or (last and bool(names))
    return bool(names) and fnmatch.fnmatchcase(names[0], globs[0]) and by_hand(globs[1:], names[1:])


@given(st.lists(GLOBS, min_size=2, max_size=4), st.lists(NAMES, min_size=1, max_size=5))
def test_patterns_agree_with_pythons_own_matching_of_names(globs: list[str], names: list[str]) -> None:
    assert (compiled("/".join(globs)).fullmatch("/".join(names)) is not None) is by_hand(globs, names)


SHORT = st.text("ab", min_size=1, max_size=8)
STARRED = st.text("ab*?", min_size=1, max_size=8)


@given(st.lists(STARRED | st.just("**"), min_size=2, max_size=6), st.lists(SHORT, min_size=1, max_size=6))
def test_patterns_of_many_stars_agree_as_well(globs: list[str], names: list[str]) -> None:
    assert (compiled("/".join(globs)).fullmatch("/".join(names)) is not None) is by_hand(globs, names)


@pytest.mark.parametrize(
    ("pattern", "piece", "wrong", "right"),
    [
        ("*a*a*a*a*a*a*a*a*b", "a", "c", "b"),
        ("*a*aa*aaa*?a*[ab]*[!b]a*b", "a", "c", "b"),
        ("?*?*?*?*?*?*?*b", "a", "c", "b"),
        ("**/a/**/a/**/a/**/a/**/b", "a/", "c", "b"),
        ("**/*a*/**/*a*/**/*a*/**/*b*", "aa/", "c", "aba"),
        ("**/*/**/*/**/*/**/*/x", "a/", "c", "x"),
        ("**/a/a/a/a/a/a/a/b", "a/", "c", "b"),
        ("a/**/*a*a*a*a*/**/*a*a*b", "a/aaaaaaaaaaaa/", "c", "aab"),
    ],
)
def test_a_hostile_pattern_takes_no_more_than_path_times_pattern(
    pattern: str, piece: str, wrong: str, right: str
) -> None:
    """Quadratic time would be hours for this length; before the fix, a name of 200 characters took 13 seconds."""
    matcher = patterns([pattern], ()).matcher()
    assert not matcher.includes(piece * 300_000 + wrong)
    assert matcher.includes(piece * 300_000 + right)


@given(st.text(max_size=8))
def test_any_pattern_is_compiled_or_refused(pattern: str) -> None:
    try:
        patterns([pattern], [pattern]).matcher()
    except ValueError as error:
        assert "not a path relative" in str(error)  # noqa: PT017  # not every pattern raises


@pytest.mark.parametrize(
    "name",
    [
        *(".DS_Store", ".git", "Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini", "._x"),
        *("Icon\r", "Icon\uf00d", "lost+found", "System Volume Information", "SYSTEM VOLUME INFORMATION"),
        *("$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", "@eaDir", "#recycle", "@Recycle", "#snapshot", "~snapshot"),
        *("Network Trash Folder", "Temporary Items", "ehthumbs.db", "FOUND.000", "LOST.DIR", "pagefile.sys"),
    ],
)
def test_these_are_never_taken(name: str) -> None:
    assert is_left_out(name)


@pytest.mark.parametrize(
    "name",
    [
        *("take.mov", "Thumbs.dbx", "a.desktop.ini", "x."),
        *(
            "Icon",
            "Icon\n",
            "Lost+Found",
            "lost+found.mov",
            "Recycler",
            "found.001",
            "FOUND.0000",
            "@eaDirX",
            "recycle",
        ),
        *("temporary items", "System Volume Information.txt"),
    ],
)
def test_and_these_are(name: str) -> None:
    assert not is_left_out(name)


@given(st.text(max_size=10))
def test_a_name_is_the_same_however_its_accents_are_encoded(name: str) -> None:
    assert same_name(normalize("NFD", name)) == same_name(normalize("NFC", name))


def test_only_names_that_look_the_same_are_ambiguous() -> None:
    composed, decomposed = "a/caf\u00e9", "a/cafe\u0301"
    assert ambiguous([composed, decomposed, "a/na\u00efve", "a/x"]) == {composed, decomposed}
    assert ambiguous([composed, "b/cafe\u0301", "x", "y"]) == frozenset()


def use(include: tuple[str, ...], exclude: tuple[str, ...], *paths: str, left_out: tuple[str, ...] = ()) -> list[str]:
    """Return the patterns that match none of the paths, each with its option."""
    found = PatternUse(Patterns(include, exclude))
    for path in paths:
        found.note(path)
    for path in left_out:
        found.note(path, is_left_out=True)
    return [f"{one.option} {one.pattern}: {one.reason}" for one in found.unmatched()]


def test_a_pattern_is_used_if_it_matches_anything_that_was_seen() -> None:
    seen = ("b/", "b/c.mov", "a.mov", "cafe\N{COMBINING ACUTE ACCENT}.mov")
    assert use(("*.mov", "b", "caf\N{LATIN SMALL LETTER E WITH ACUTE}.mov"), ("a.mov", "b/"), *seen) == []
    assert use(("*.MOV",), ("c.mov/", "*.bak"), *seen) == [
        "include *.MOV: it matches nothing; upper and lower case differ: 'b/c.mov'",
        "exclude c.mov/: it matches nothing",
        "exclude *.bak: it matches nothing",
    ]
    assert use(("x", "x"), ("x",), "y") == ["include x: it matches nothing", "exclude x: it matches nothing"]


def test_case_is_named_only_where_a_pattern_would_match_a_file_without_it() -> None:
    case = "it matches nothing; upper and lower case differ: "
    assert use(("*.mov", "*.xyz", "B/*"), ("A.MOV/",), "b/c.MXF", "b/A.MOV", "b/B.MOV", left_out=(".XYZ", "a.xyZ")) == [
        f"include *.mov: {case}'b/A.MOV'",
        "include *.xyz: it matches nothing",
        f"include B/*: {case}'b/c.MXF'",
        "exclude A.MOV/: it matches nothing",
    ]


def test_what_is_never_uploaded_can_be_excluded_and_not_included() -> None:
    hidden = (".DS_Store", ".git/")
    assert use((".git",), (".DS_Store",), "a.mov", left_out=hidden) == [
        "include .git: it matches only what is never uploaded"
    ]
    assert use((), (".DS_Store", "Thumbs.db", "b/.git/"), "a.mov") == []
    assert use(("*",), (), left_out=hidden) == ["include *: it matches only what is never uploaded"]
    assert use(("*",), (), "a.mov", left_out=hidden) == []
