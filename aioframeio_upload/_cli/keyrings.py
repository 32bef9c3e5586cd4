"""Keep a text in the system's keyring, and give up if that takes too long.

`keyring` is imported only here, and only once a login is to be kept or was kept there: looking for backends takes a
tenth of a second, and one of them may ask for a password.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from typing import Any

from .._core.redact import Secret

SERVICE = "aioframeio-upload"

TIMEOUT = 10.0
"""Seconds to wait for the keyring if nobody can be there to unlock it."""

TIMEOUT_WITH_PERSON = 90.0
"""The same if the command has a terminal."""

SHORTEST_PIECE = 1000
"""Characters of an entry. Windows stores at most 2,560 bytes, in UTF-16 (`CRED_MAX_CREDENTIAL_BLOB_SIZE`), and Adobe's
tokens have one or two thousand characters each, so a text is kept in pieces."""


class NoKeyring(Exception):
    """The keyring cannot be used; the message says why, and quotes nothing that was to be kept."""


def write_entry(entry: str, text: Secret[str]) -> None:
    """Keep a text under a name, and check that it can be read back: some backends keep nothing (`backends.null`).

    The pieces come first and the number of pieces last, so that a text that was kept before is never mixed with it.

    Raises:
        NoKeyring: It was not kept.
    """

    def work(backend: Any) -> None:
        value = text.reveal()
        pieces = [value[at : at + SHORTEST_PIECE] for at in range(0, len(value), SHORTEST_PIECE)]
        generation, count = _read_head(backend, entry)
        following = "b" if generation == "a" else "a"
        for number, piece in enumerate(pieces):
            backend.set_password(SERVICE, f"{entry}-{following}{number}", piece)
        backend.set_password(SERVICE, entry, f"{following}{len(pieces)}")
        if _read(backend, entry) != value:
            raise NoKeyring("it keeps nothing")
        for number in range(count):
            _delete(backend, f"{entry}-{generation}{number}")

    _bounded(work)


def read_entry(entry: str) -> Secret[str | None]:
    """Return the text that is kept under a name; None if there is none.

    Raises:
        NoKeyring: The keyring cannot be used.
    """
    found: list[Secret[str | None]] = []
    _bounded(lambda backend: found.append(Secret(_read(backend, entry))))
    return found[0]


def delete_entry(entry: str) -> None:
    """Delete what is kept under a name, if anything.

    Raises:
        NoKeyring: The keyring cannot be used.
    """

    def work(backend: Any) -> None:
        generation, count = _read_head(backend, entry)
        _delete(backend, entry)
        for number in range(count):
            _delete(backend, f"{entry}-{generation}{number}")

    _bounded(work)


def _read_head(backend: Any, entry: str) -> tuple[str, int]:
    head = backend.get_password(SERVICE, entry) or ""
    return (head[0], int(head[1:])) if re.fullmatch(r"[ab][0-9]{1,9}", head) else ("", 0)


def _read(backend: Any, entry: str) -> str | None:
    generation, count = _read_head(backend, entry)
    pieces = [backend.get_password(SERVICE, f"{entry}-{generation}{number}") for number in range(count)]
    return None if not pieces or None in pieces else "".join(pieces)


def _delete(backend: Any, name: str) -> None:
    from keyring.errors import PasswordDeleteError

    try:
        backend.delete_password(SERVICE, name)
    except PasswordDeleteError:
        return  # it was not there


def _bounded(work: Callable[[Any], None]) -> None:
    """Call `work` with the backend in a thread of its own, which is abandoned if it hangs.

    A backend may wait for a person (a dialog, `getpass`), for D-Bus, or for a network folder, and cannot be stopped.
    `exit_process` ends the program in spite of it. It is no daemon thread: the interpreter would abort at exit if that
    waited for stdin, as `getpass` does without a terminal.
    """
    outcome: list[str | None] = []

    def run() -> None:
        outcome.append(_attempt(work))

    thread = threading.Thread(target=run, name="aioframeio-upload-keyring")
    timeout = TIMEOUT_WITH_PERSON if sys.stdin.isatty() else TIMEOUT
    thread.start()
    thread.join(timeout)
    reason = outcome[0] if outcome else f"it did not answer in {timeout:g} s"
    if reason is not None:
        raise NoKeyring(reason)


def _attempt(work: Callable[[Any], None]) -> str | None:
    """Call `work` and return why it failed, or None."""
    try:
        import keyring
        from keyring.errors import NoKeyringError
    except ModuleNotFoundError:
        return "it is not installed: pip install 'aioframeio-upload[keyring]'"
    try:
        work(keyring.get_keyring())
    except NoKeyring as error:
        return str(error)
    except NoKeyringError:
        return "this system has none"
    except Exception as error:  # noqa: BLE001  # backends raise D-Bus, Win32 and OS errors; all mean the same here
        return f"it failed: {type(error).__name__}"  # the message might quote what was to be kept
    return None
