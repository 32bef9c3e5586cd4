"""Backends for `keyring`, chosen by PYTHON_KEYRING_BACKEND: one that works, and some that do not."""

from __future__ import annotations

import getpass
import json
import os
import threading
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.compat import properties
from keyring.errors import KeyringLocked, PasswordDeleteError


class OnDisk(KeyringBackend):
    """Keeps its entries in the file that the variable KEYRING_FILE names, and takes no long ones, as Windows."""

    @properties.classproperty
    def priority(cls) -> float:
        return 1

    LONGEST = 1280

    def _load(self) -> dict[str, str]:
        path = Path(os.environ["KEYRING_FILE"])
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _save(self, entries: dict[str, str]) -> None:
        Path(os.environ["KEYRING_FILE"]).write_text(json.dumps(entries), encoding="utf-8")

    def get_password(self, service: str, username: str) -> str | None:
        return self._load().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        if len(password) > self.LONGEST:
            raise OSError(1783, "The stub received bad data")
        self._save(self._load() | {f"{service}/{username}": password})

    def delete_password(self, service: str, username: str) -> None:
        entries = self._load()
        if entries.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError("not found")
        self._save(entries)


class Locked(OnDisk):
    """Refuses, and quotes what it was given."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked(f"cannot unlock for {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise KeyringLocked(f"cannot keep {password}")


class Hanging(OnDisk):
    """Does not answer, as a dialog that nobody sees."""

    released = threading.Event()
    """Set at the end of a test, which may leave no thread behind."""

    def get_password(self, service: str, username: str) -> str | None:
        self.released.wait()
        return None

    set_password = get_password  # type: ignore[assignment]


class Asking(OnDisk):
    """Asks for a password on the terminal, as the backends of `keyrings.alt` that encrypt a file."""

    def get_password(self, service: str, username: str) -> str | None:
        getpass.getpass("Please enter password for encrypted keyring: ")
        return super().get_password(service, username)


class Forgetful(OnDisk):
    """Keeps nothing and says nothing, as `keyring.backends.null`."""

    def set_password(self, service: str, username: str, password: str) -> None:
        return


class Disappearing(OnDisk):
    """Works until a file named KEYRING_FILE with the ending `.gone` exists."""

    def get_password(self, service: str, username: str) -> str | None:
        if Path(os.environ["KEYRING_FILE"] + ".gone").exists():
            raise OSError("D-Bus is gone")
        return super().get_password(service, username)
