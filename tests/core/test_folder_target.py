"""What names a target folder: an id, a folder's link, or a project's."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload._core.folder_target import FolderTarget, read_project_text, read_target

PROJECT = "0a514f42-0e86-4658-8233-051ad3445bbc"
FOLDER = "e086bd62-7cc6-4cb9-b339-b15a712c1744"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (FOLDER, FolderTarget(folder_id=FOLDER)),
        ("any text/without a host", FolderTarget(folder_id="any text/without a host")),
        (f"https://next.frame.io/project/{PROJECT}", FolderTarget(project_id=PROJECT)),
        (f"https://next.frame.io/project/{PROJECT}/{FOLDER}", FolderTarget(folder_id=FOLDER)),
        (f" https://next.frame.io/project/{PROJECT}/{FOLDER}/?a=b#c\n", FolderTarget(folder_id=FOLDER)),
        (f"next.frame.io/project/{PROJECT}", FolderTarget(project_id=PROJECT)),
    ],
)
def test_a_target_is_an_id_or_a_link(text: str, target: FolderTarget) -> None:
    assert read_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"http://next.frame.io/project/{PROJECT}",
        f"https://app.frame.io/project/{PROJECT}/{FOLDER}",
        f"https://next.frame.io.evil.example/project/{PROJECT}",
        f"https://next.frame.io/project/{PROJECT}/view/{FOLDER}",
        "https://next.frame.io/project/..%2F..",
        "https://f.io/abc",
        "https://[",
        "\ud800",
    ],
)
def test_a_link_to_anything_else_is_refused_with_the_name_of_the_argument(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape("folder_id ")):
        read_target(text)


def test_the_link_of_a_file_is_named_as_such() -> None:
    with pytest.raises(ValueError, match="is the link of a file"):
        read_target(f"https://next.frame.io/project/{PROJECT}/view/{FOLDER}")


def test_a_target_is_text() -> None:
    wrong: Any = 7
    with pytest.raises(TypeError, match="folder_id must be a string, not int"):
        read_target(wrong)


@given(st.text())
def test_any_text_is_one_of_both_or_refused(text: str) -> None:
    try:
        target = read_target(text)
    except ValueError:
        return
    assert (target.folder_id is None) != (target.project_id is None)


@pytest.mark.parametrize(
    ("text", "project"),
    [
        (f"https://next.frame.io/project/{PROJECT}", PROJECT),
        (f" next.frame.io/project/{PROJECT}/\n", PROJECT),
        (f"https://next.frame.io/project/{PROJECT}/{FOLDER}", PROJECT),
        (f"https://next.frame.io/project/{PROJECT}/view/{FOLDER}", PROJECT),
        ("Spring / campaign ", "Spring / campaign "),
        (PROJECT, PROJECT),
    ],
)
def test_a_project_is_an_id_a_name_or_a_link(text: str, project: str) -> None:
    assert read_project_text(text) == project


@pytest.mark.parametrize("text", [f"http://next.frame.io/project/{PROJECT}", "https://next.frame.io/", "https://["])
def test_a_link_to_no_project_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="project takes an id, a name, or a link"):
        read_project_text(text)
