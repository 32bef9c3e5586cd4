"""Format values as text for the terminal: sizes, progress, errors; and escape what a terminal would obey."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING

from .._core import words
from .._core.words import format_count as format_count  # for its importers

if TYPE_CHECKING:
    from .. import ApiError, PendingUpload, Progress, UploadError

SIZE_UNITS = ("kB", "MB", "GB", "TB")

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that a terminal obeys or hides: control and bidi characters, line ends, surrogates."""

JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""In one of these categories, and yet part of ordinary words and emoji."""


def escape(text: str) -> str:
    """Return text as one line that is safe on a terminal: control and invisible characters are escaped."""
    if text.isprintable():
        return text
    return "".join(one if one in JOINERS or unicodedata.category(one) not in UNSEEN else _escape(one) for one in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def format_size(size: float) -> str:
    """Return a number of bytes in decimal units: `12.3 MB`."""
    if size < 1000:
        return format_count(round(size), "byte")
    for unit in SIZE_UNITS[:-1]:
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} {SIZE_UNITS[-1]}"


def format_seconds(seconds: float) -> str:
    """Return minutes and seconds: `2:05`."""
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"


def format_seconds_left(seconds: float) -> str:
    """Return the remaining time: `2:05 left`."""
    return f"{format_seconds(seconds)} left"


def format_progress(progress: Progress, *, briefly: bool = False) -> str:
    """Return bytes, rate and remaining time; without the total number of bytes if `briefly`."""
    total = "" if briefly else f" of {format_size(progress.total_bytes)}"
    text = f"{format_size(progress.bytes_uploaded)}{total}  {format_size(progress.bytes_per_second)}/s"
    left = progress.seconds_left
    return text if left is None else f"{text}  {format_seconds_left(left)}"


LISTED = 10_000
"""At most so many files that are left out are listed: the library returns no more (`FileLeftOut`)."""


def format_left_out(count: int, *, is_listed: bool) -> str:
    """Return how many files and folders are left out, to be added to a line; nothing if none is."""
    if not count:
        return ""
    if not is_listed:
        return f"; {count} left out (-v lists them)"
    return f"; {count} left out" + f", of which {LISTED} are listed" * (count > LISTED)


def format_api_retry(delay: float, error: ApiError) -> str:
    """Return the line for a call to Frame.io that is retried; users do not know the operations, so none is named."""
    status = "no answer" if error.status is None else str(error.status)
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"Frame.io is asked again in {delay:.1f} s: {status}: {error.detail}{request}"


def format_error(error: Exception, source: str | None = None) -> str:
    """Return an error as one line: its kind, which docs/errors.md lists, what is wrong, and what to do.

    Args:
        error: The error.
        source: The path that stands before the text already, so that it is not repeated.
    """
    from .. import SourceError, UploadError

    if not isinstance(error, UploadError):
        return f"{type(error).__name__}: {error}"
    problem = error.problem
    if isinstance(error, SourceError) and source is not None:
        problem = error.reason if error.path is None or _is_same_path(error.path, source) else problem
    advice = _advice_at_terminal(error)
    text = f"{type(error).__name__}: {problem}"
    return f"{text}; {advice}" if advice else text


def _is_same_path(one: str, other: str) -> bool:
    """Return whether two texts are the same path; an error's path has bytes that are not UTF-8 escaped already."""
    try:
        return escape(os.path.abspath(one)) == escape(os.path.abspath(other))
    except OSError:  # the working directory was removed
        return one == other


def _advice_at_terminal(error: UploadError) -> str:
    """Return an error's advice, in terms of commands, options and variables where there are some for it."""
    advice = error.advice
    if advice == words.CHECK_API and not os.environ.get("FRAMEIO_BASE_URL"):
        return words.CHECK_NETWORK  # the address is Frame.io's own
    for neutral, ours in _AT_TERMINAL.items():
        advice = advice.replace(neutral, ours)
    if advice in (words.NEW_LOGIN, words.CHECK_LOGIN):
        return _advise_on_login(is_refused=advice == words.NEW_LOGIN)
    return advice


_AT_TERMINAL = {
    words.FIND_FOLDER: "look up its ID: aioframeio-upload find; the account's: aioframeio-upload whoami",
    words.MAKE_FOLDER: "check the path, or create the folder with --make-folders (upload, watch)",
    words.RESUME: "run the same command again: only the missing parts are sent, unless --no-journal is given",
    words.WAIT_FOR_IT: "it is kept: run the same command again later, which only confirms it",
    words.UPLOAD_AGAIN: "run the same command again",
    words.TRUST: "--ca adds the certificate of its authority",
    words.CHECK_PROXY: "check FRAMEIO_BASE_URL, --proxy and HTTPS_PROXY",
    words.CHECK_API: words.CHECK_API.replace("base_url", "FRAMEIO_BASE_URL"),
    words.CHECK_ADDRESS: "check FRAMEIO_BASE_URL, and whether a proxy or a login page answers instead of Frame.io",
    words.AWAIT_THAT: "name each file once",
    words.NAME_ANOTHER: "name another file with --journal",
    words.UPLOAD_FOLDER: "name a file",
    words.SEND_STREAM: "pipe what comes out of it into: aioframeio-upload upload - --name NAME",
    words.SEE_PENDING: "the IDs are listed by: aioframeio-upload pending",
    words.NAME_SPOOL: "set TMPDIR to another folder",
}
"""What the library advises programs, and what helps at a terminal. The longer ones first: they contain others."""


def _advise_on_login(*, is_refused: bool) -> str:
    if os.environ.get("FRAMEIO_TOKEN"):
        return "FRAMEIO_TOKEN is wrong or has expired: set a new one" if is_refused else "check FRAMEIO_TOKEN"
    if os.environ.get("FRAMEIO_CLIENT_SECRET"):
        return "check FRAMEIO_CLIENT_ID and FRAMEIO_CLIENT_SECRET"
    return "log in again: aioframeio-upload login"


def format_pending(upload: PendingUpload) -> str:
    """Return the line for an upload that the journal holds."""
    if upload.damage is not None:
        path = f"  {upload.path}" if upload.path else ""
        return f"{upload.file_id}{path}: damaged, can only be discarded: {upload.damage}"
    sent = f"{format_size(upload.bytes_confirmed)} of {format_size(upload.size)} sent"
    until = "" if upload.expires_at is None else f", can be resumed until {upload.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"{upload.file_id}  {upload.path}: {sent}{until}"
