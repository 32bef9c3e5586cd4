"""Parse what is typed (folders, links, rates) and make text safe for a terminal."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .. import ApiError


class Usage(Exception):
    """The command cannot be done as it was asked for; the message says what would be understood."""


FOLDER_FORMS = (
    "a folder's id, https://next.frame.io/project/<project>/<folder>,"
    " or https://next.frame.io/project/<project> for that project's root folder"
)
ID = re.compile(r"(?:adobe:)?[\w-]+(?::[\w-]+)*", re.ASCII)
"""A UUID, or an Adobe id with its prefix; the service alone knows whether there is one of it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: a folder, or a project whose root folder is meant."""

    folder_id: str | None = None
    project_id: str | None = None


def read_folder(text: str) -> Target:
    """Read an id or a link as a browser shows it.

    Raises:
        Usage: It is neither.
    """
    word = text.strip()
    if ID.fullmatch(word):
        return Target(folder_id=word)
    try:
        link = urlsplit(word if "://" in word else f"https://{word}")
        host = link.hostname
    except ValueError:
        raise Usage(f"--folder takes {FOLDER_FORMS}") from None
    segments = [segment for segment in link.path.split("/") if segment]
    known = host == "next.frame.io" and link.scheme == "https" and all(map(ID.fullmatch, segments))
    match segments if known else ():
        case ["project", project]:
            return Target(project_id=project)
        case ["project", _, folder] if folder != "view":
            return Target(folder_id=folder)
    raise Usage(f"--folder takes {FOLDER_FORMS}")


RATE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
RATE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?([kmg]i?)?(?:b(?:/s)?)?", re.IGNORECASE | re.ASCII)


def read_rate(text: str) -> int:
    """Read bytes a second: `50M`, `800k`, `1.5Gi`, `50MB/s`. A `b` is a byte, as everywhere here.

    Raises:
        Usage: It is none.
    """
    found = RATE.fullmatch(text.strip())
    if found is None:
        raise Usage("--bandwidth takes bytes a second: 800k, 50M, 1.5G (or Ki, Mi, Gi)")
    return round(float(found[1]) * RATE_UNITS[(found[2] or "").lower()])


def asked_again(delay: float, error: ApiError) -> str:
    """Return what is said of a call to Frame.io that is made again: not which one, as users know none of them."""
    status = "no answer" if error.status is None else str(error.status)
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"Frame.io is asked again in {delay:.1f} s: {status}: {error.detail}{request}"


UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what a terminal obeys or hides: control and bidi characters, line ends, surrogates."""

JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Of those categories, and part of ordinary words and emoji."""


def shown(text: str) -> str:
    """Return text as one line that may go to a terminal: what would steer it, or is not seen, is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one in JOINERS or unicodedata.category(one) not in UNSEEN else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no text
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
