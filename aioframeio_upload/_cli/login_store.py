"""Keep a login between commands: in the system's keyring if there is one, else in a file of this user alone.

`login.json` in the state folder exists in both cases. It says where the tokens are, so that the keyring is only asked
if they are there, and `login.lock` beside it lets one process at a time renew or replace them.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock

from .._core.errors import JournalError
from .._core.redact import Secret
from .._io.atomic_write import write_atomically
from .._io.ownership import NO_FOLLOW, check_file
from .keyrings import NoKeyring, delete_entry, read_entry, write_entry
from .oauth import Tokens, read_tokens

VERSION = 1

LOCK_TIMEOUT = 40.0
"""Seconds to wait for another process that renews the tokens: as long as that may take with its repetitions."""

PLAIN = ("client_id", "redirect_uri", "ims_url", "base_url")
"""The fields of a login that are no secret."""

LARGEST = 1 << 16
"""Bytes that are read of the file; tokens have a few thousand characters."""


class LoginError(Exception):
    """The login cannot be used or kept; the message says why and what to do."""


class LoginBusy(LoginError):
    """Another process holds the login's lock for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A login: the client, where it logged in, for which service, and its tokens."""

    client_id: str
    client_secret: Secret[str | None]
    """Of a web app; other clients have none."""
    redirect_uri: str
    ims_url: str
    """The tokens are sent there and to `base_url` only, whatever the environment says later."""
    base_url: str
    tokens: Tokens
    entry: str | None = None
    """Its name in the keyring; None if the tokens are in the file."""


class LoginStore:
    """The login of this user. Every method may block, and belongs in a thread.

    Args:
        folder: This user's state folder; it is created when a login is kept.
        warn: Called with a sentence if the tokens are kept in the file.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._warn = warn
        self.path = folder / "login.json"

    def exists(self) -> bool:
        """Return whether there is a login, readable or not."""
        return os.path.lexists(self.path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the login's lock inside the block, against other processes and other threads.

        Raises:
            LoginBusy: Another process holds it.
            LoginError: The folder or the lock cannot be made.
        """
        lock = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not in the journal's folder option: the login belongs to the user, not to a journal.
            lock = filelock.FileLock(self._folder / "login.lock", timeout=LOCK_TIMEOUT, mode=0o600, thread_local=False)
            lock.acquire()
        except filelock.Timeout:
            raise LoginBusy(f"another process has been using the login for {LOCK_TIMEOUT:g} s") from None
        except OSError as error:
            raise LoginError(f"{self._folder}: the login cannot be locked: {error.strerror or error}") from None
        try:
            yield
        finally:
            lock.release()

    def load(self) -> Login | None:
        """Return the login; None if there is none.

        Raises:
            LoginError: It cannot be read, or somebody else may have written or read it.
        """
        text = self._read()
        if text is None:
            return None
        head = Secret(_parse(text.reveal()))
        version = head.reveal().get("version")
        if isinstance(version, int) and version > VERSION:
            raise LoginError(f"{self.path} was written by a later version of aioframeio-upload; log in again to use it")
        entry = _text(head.reveal(), "entry")
        secret = head if entry is None else Secret(_parse(self._read_keyring(entry).reveal() or ""))
        tokens = read_tokens(secret.reveal().get("tokens"))
        fields = {name: found for name in PLAIN if (found := _text(head.reveal(), name)) is not None}
        if tokens is None or len(fields) < len(PLAIN):
            raise LoginError(f"{self.path} is damaged; log in again: aioframeio-upload login")
        client_secret = Secret(_text(secret.reveal(), "client_secret"))
        return Login(**fields, client_secret=client_secret, tokens=tokens, entry=entry)

    def save(self, login: Login, *, is_new: bool = False) -> Login:
        """Keep a login and return it with the place where it is kept. The caller holds the lock.

        Args:
            login: The login.
            is_new: Try the keyring. Otherwise it is used if the login was there before.

        Raises:
            LoginError: It cannot be kept.
        """
        secret = Secret({"tokens": login.tokens.to_document(), "client_secret": login.client_secret.reveal()})
        if is_new or login.entry is not None:
            # A login that is replaced leaves nothing in the keyring: the new one takes its name.
            entry = login.entry or self._known_entry() or f"login-{secrets.token_hex(8)}"
            try:
                write_entry(entry, Secret(json.dumps(secret.reveal())))
                login = replace(login, entry=entry)
            except NoKeyring as error:
                self._warn(
                    f"the tokens are kept in {self.path}, which only this user can read, and not in the"
                    f" keyring: {error}"
                )
                login = replace(login, entry=None)
        self._write(login, Secret({}) if login.entry is not None else secret)
        return login

    def forget(self) -> None:
        """Delete the login, wherever it is kept and also if it is damaged. The caller holds the lock.

        Raises:
            LoginError: Something could not be deleted.
        """
        trouble = None
        try:
            if (entry := self._known_entry()) is not None:
                delete_entry(entry)
        except NoKeyring as error:
            trouble = f"the tokens could not be deleted from the keyring: {error}"
        try:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
        except OSError as error:
            trouble = f"{self.path} could not be deleted: {error.strerror}"
        if trouble is not None:
            raise LoginError(trouble)

    def _known_entry(self) -> str | None:
        """Return the name in the keyring that the file has; None also if the file is not ours."""
        try:
            text = self._read()
        except LoginError:
            return None
        return None if text is None else _text(_parse(text.reveal()), "entry")

    def _read_keyring(self, entry: str) -> Secret[str | None]:
        try:
            return read_entry(entry)
        except NoKeyring as error:
            reason = str(error)
        raise LoginError(f"the login is in the keyring, which cannot be used now: {reason}")

    def _write(self, login: Login, secret: Secret[dict[str, Any]]) -> None:
        head = {"version": VERSION, "entry": login.entry} | {name: getattr(login, name) for name in PLAIN}
        trouble = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps(head | secret.reveal(), indent=1).encode(), mode=0o600)
        except OSError as error:
            trouble = f"{self.path} cannot be written: {error.strerror or error}"
        if trouble is not None:
            raise LoginError(trouble)

    def _read(self) -> Secret[str] | None:
        """Return the content of the file; None if there is no file.

        Raises:
            LoginError: It is not a file of this user, or cannot be read.
        """
        trouble = None
        try:
            descriptor = os.open(self.path, os.O_RDONLY | NO_FOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = "it is a symbolic link" if os.path.islink(self.path) else error.strerror
            raise LoginError(f"{self.path} cannot be read: {reason}") from None
        try:
            found = os.fstat(descriptor)
            check_file(found, str(self.path))
            if hasattr(os, "geteuid") and found.st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
                self._warn(
                    f"{self.path} could be read by others (mode {found.st_mode & 0o777:o}) and is closed to them now;"
                    " if they may have read it, log out, which ends the tokens, and log in again"
                )
            return Secret(os.read(descriptor, LARGEST).decode("utf-8", "replace"))
        except JournalError as error:
            trouble = error.reason
        except OSError as error:
            trouble = f"cannot be read: {error.strerror}"
        finally:
            os.close(descriptor)
        raise LoginError(f"{self.path} {trouble}; if it is not yours, remove it, and log in again")


def _parse(text: str) -> dict[str, Any]:
    """Return the JSON object in a text; an empty one if there is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(document: dict[str, Any], name: str) -> str | None:
    found = document.get(name)
    return found if isinstance(found, str) else None
