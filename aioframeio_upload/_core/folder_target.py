"""Read what names a target folder: its id, its link, or the link of a project, whose root folder is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from .api_schema import check_id

HOST = "next.frame.io"

FOLDER_FORMS = (
    f"a folder's id, its link (https://{HOST}/project/<project>/<folder>),"
    f" or a project's link (https://{HOST}/project/<project>) for its root folder"
)

ID = re.compile(r"(?:adobe:)?[\w-]+(?::[\w-]+)*", re.ASCII)
"""A UUID, or an Adobe ID with its prefix; only the service knows whether it exists."""

NO_NAME = re.compile(r"adobe:[\w:-]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""An ID where a name may be meant too: the API's reference has UUIDs, and Adobe IDs with their prefix."""


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """Where to upload: a folder, or a project, whose root folder is meant."""

    folder_id: str | None = None
    project_id: str | None = None


def read_target(text: str, name: str = "folder_id") -> FolderTarget:
    """Read an id, or a link as a browser shows it.

    Whatever has no host is an id: what ids look like is not documented.

    Args:
        text: What the caller passed.
        name: The argument, for the error.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty or not valid text, or a link that names neither a folder nor a project.
    """
    word = check_id(name, text).strip()
    if not _is_link(word):
        return FolderTarget(folder_id=check_id(name, word))
    match _segments(word):
        case ["project", project]:
            return FolderTarget(project_id=project)
        case ["project", _, "view", *_]:
            raise ValueError(f"{name} is the link of a file; it takes {FOLDER_FORMS}")
        case ["project", _, folder]:
            return FolderTarget(folder_id=folder)
    raise ValueError(f"{name} takes {FOLDER_FORMS}")


def read_project_text(text: str, name: str = "project") -> str:
    """Return the project's id if a text is the link of a project, or of a folder or file in it; else the text itself.

    Args:
        text: An id, a name or a link.
        name: The argument, for the error.

    Raises:
        TypeError: It is not a string.
        ValueError: It is the link of something else.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, not {type(text).__name__}")
    word = text.strip()
    if not _is_link(word):
        return text
    match _segments(word):
        case ["project", project, *_]:
            return project
    raise ValueError(f"{name} takes an id, a name, or a link (https://{HOST}/project/<project>)")


def _is_link(word: str) -> bool:
    return "://" in word or word.startswith(f"{HOST}/")


def _segments(word: str) -> list[str]:
    """Return what is between the slashes of one of Frame.io's links; nothing if it is another link."""
    try:
        link = urlsplit(word if "://" in word else f"https://{word}")
        host = link.hostname
    except ValueError:
        return []
    segments = [unquote(segment) for segment in link.path.split("/") if segment]
    is_known = host == HOST and link.scheme == "https" and all(map(ID.fullmatch, segments))
    return segments if is_known else []
