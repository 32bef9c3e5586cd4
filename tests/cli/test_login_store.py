"""Where a login is kept: the keyring if it works, else a file that nobody else can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import keyring
import pytest

from aioframeio_upload._cli import keyrings, login_store
from aioframeio_upload._cli.login_store import Login, LoginBusy, LoginError, LoginStore
from aioframeio_upload._cli.oauth import Tokens
from aioframeio_upload._core.redact import Secret
from tests.support import keyrings as backends
from tests.support.frames import shown_by

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")
ACCESS, REFRESH, CLIENT = "access-" + "a" * 1500, "refresh-" + "r" * 2000, "web-secret"


def a_login(**changes: object) -> Login:
    tokens = Tokens(access=Secret(ACCESS), refresh=Secret(REFRESH), issued_at=time.time(), lifetime=86_399.0)
    login = Login(
        client_id="ours",
        client_secret=Secret(CLIENT),
        redirect_uri="http://localhost:8477/callback",
        ims_url="https://ims.example",
        base_url="https://api.example",
        tokens=tokens,
    )
    return replace(login, **changes)  # type: ignore[arg-type]


def plain(login: Login | None) -> object:
    if login is None:
        return None
    return login.tokens.to_document(), login.client_secret.reveal(), login.client_id, login.ims_url, login.base_url


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> LoginStore:
    return LoginStore(tmp_path / "state", warnings.append)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[type[backends.OnDisk]], Path]]:
    """Return a function that makes a backend the system's keyring; it returns the file of the backend."""
    before = keyring.get_keyring()
    entries = tmp_path / "keyring.json"
    monkeypatch.setenv("KEYRING_FILE", str(entries))
    monkeypatch.setattr(keyrings, "TIMEOUT", 0.2)
    monkeypatch.setattr(keyrings, "TIMEOUT_WITH_PERSON", 0.2)

    def choose(backend: type[backends.OnDisk]) -> Path:
        keyring.set_keyring(backend())
        return entries

    backends.Hanging.released.clear()
    yield choose
    backends.Hanging.released.set()
    keyring.set_keyring(before)


Use = Callable[[type[backends.OnDisk]], Path]


def save(store: LoginStore, login: Login, *, is_new: bool = True) -> Login:
    with store.lock():
        return store.save(login, is_new=is_new)


def test_nothing_is_kept_before_a_login(store: LoginStore) -> None:
    assert not store.exists()
    assert store.load() is None
    with store.lock():
        store.forget()


def test_a_keyring_keeps_the_tokens_in_pieces_and_the_file_has_none(
    store: LoginStore, use: Use, warnings: list[str]
) -> None:
    entries = use(backends.OnDisk)
    login = save(store, a_login())
    assert login.entry is not None
    assert plain(store.load()) == plain(login)
    text = store.path.read_text(encoding="utf-8")
    for secret in (ACCESS, REFRESH, CLIENT):
        assert secret not in text
    for _ in range(3):
        login = replace(login, tokens=replace(login.tokens, access=Secret("access-next"), refresh=Secret(None)))
        login = save(store, login, is_new=False)
        assert plain(store.load()) == plain(login)
        assert ACCESS[:900] not in entries.read_text(encoding="utf-8"), "the pieces that were replaced are still there"
    again = save(store, a_login())
    assert (again.entry, plain(store.load())) == (login.entry, plain(again))
    with store.lock():
        store.forget()
    assert json.loads(entries.read_text(encoding="utf-8")) == {}
    assert not store.exists()
    assert warnings == []


@pytest.mark.parametrize("backend", [backends.Locked, backends.Hanging, backends.Forgetful])
def test_without_a_keyring_that_works_the_file_keeps_the_tokens_and_a_warning_says_so(
    store: LoginStore, use: Use, warnings: list[str], backend: type[backends.OnDisk]
) -> None:
    use(backend)
    login = save(store, a_login())
    assert login.entry is None
    assert plain(store.load()) == plain(login)
    (warning,) = warnings
    assert str(store.path) in warning
    for secret in (ACCESS, REFRESH, CLIENT):
        assert secret not in warning


def test_a_login_of_the_file_asks_no_keyring(store: LoginStore, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    use(backends.Locked)
    login = save(store, a_login())
    monkeypatch.setitem(sys.modules, "keyring", None)  # an import would fail
    assert plain(store.load()) == plain(login)
    assert save(store, login, is_new=False).entry is None
    with store.lock():
        store.forget()


def test_a_keyring_that_has_gone_is_named_and_the_next_tokens_go_into_the_file(
    store: LoginStore, use: Use, warnings: list[str]
) -> None:
    entries = use(backends.Disappearing)
    login = save(store, a_login())
    entries.with_name(entries.name + ".gone").touch()
    with pytest.raises(LoginError, match="in the keyring, which cannot be used now: it failed: OSError"):
        store.load()
    save(store, login, is_new=False)
    assert plain(store.load()) == plain(login)
    assert len(warnings) == 1


def test_without_the_extra_the_warning_names_it(
    store: LoginStore, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert save(store, a_login()).entry is None
    assert "aioframeio-upload[keyring]" in warnings[0]


@POSIX
def test_only_this_user_can_read_the_files(store: LoginStore, use: Use) -> None:
    use(backends.Locked)
    before = os.umask(0)
    try:
        save(store, a_login())
    finally:
        os.umask(before)
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in store.path.parent.iterdir()} == {
        "login.json": 0o600,
        "login.lock": 0o600,
    }


@POSIX
def test_a_file_that_others_could_read_is_closed_with_a_warning(
    store: LoginStore, use: Use, warnings: list[str]
) -> None:
    use(backends.Locked)
    login = save(store, a_login())
    warnings.clear()
    store.path.chmod(0o644)
    assert plain(store.load()) == plain(login)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert "could be read by others (mode 644)" in warnings[0]
    assert "log out" in warnings[0]


@POSIX
def test_a_file_that_others_could_write_or_that_is_a_link_is_refused(
    store: LoginStore, use: Use, tmp_path: Path
) -> None:
    use(backends.Locked)
    save(store, a_login())
    store.path.chmod(0o666)
    with pytest.raises(LoginError, match="may be written to by other users"):
        store.load()
    store.path.chmod(0o600)
    os.link(store.path, tmp_path / "second name")
    with pytest.raises(LoginError, match="hard link"):
        store.load()
    store.path.unlink()
    store.path.symlink_to(tmp_path / "second name")
    with pytest.raises(LoginError, match="symbolic link"):
        store.load()
    save(store, a_login())  # replaces the link, not what it leads to
    assert not store.path.is_symlink()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '{"version": 1}', '{"version": 2}', "\x00" * 9, '{"version": 1, "tokens": {}}'],
)
def test_a_damaged_file_says_to_log_in_again_and_can_be_forgotten(store: LoginStore, content: str) -> None:
    store.path.parent.mkdir()
    store.path.write_text(content, encoding="utf-8")
    store.path.chmod(0o600)
    with pytest.raises(LoginError, match="log in again"):
        store.load()
    with store.lock():
        store.forget()
    assert not store.exists()


def test_the_error_about_a_damaged_file_shows_no_token(store: LoginStore, use: Use) -> None:
    use(backends.Locked)
    save(store, a_login())
    document = json.loads(store.path.read_text(encoding="utf-8"))
    del document["client_id"]
    store.path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(LoginError) as caught:
        store.load()
    assert not shown_by(caught.value, ACCESS, REFRESH, CLIENT)


HOLD = """
import sys
from pathlib import Path
from aioframeio_upload._cli.login_store import LoginStore
with LoginStore(Path(sys.argv[1]), print).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.needs_program
def test_another_process_with_the_lock_is_waited_for_and_then_named(
    store: LoginStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_store, "LOCK_TIMEOUT", 0.1)
    command = [sys.executable, "-c", HOLD, str(store.path.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LoginBusy), store.lock():
            pass
        other.kill()
    with store.lock():  # the system has released that of the killed process
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    store = LoginStore(tmp_path / "state", warnings.append)
    with pytest.raises(LoginError, match="state: the login cannot be locked"), store.lock():
        pass
