"""`login`, `logout` and `whoami`: the real program, a browser, and a login service that checks everything."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from aioframeio_upload._cli.options import UsageError, read_client_id, read_login_service, read_redirect
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, some_bytes
from tests.support.commands import Program
from tests.support.pressed import Terminal

pytestmark = [pytest.mark.needs_program, pytest.mark.slow]

TERMINAL = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
ADDRESS = re.compile(r"^(http://127\.0\.0\.1:\d+/ims/authorize/v2\?\S+)\s*$", re.MULTILINE)
HTTPS = "https://localhost:8477/callback"

FOLLOW = """
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=30).read()
"""
"""A browser: it opens the address and follows the redirects."""


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def redirect() -> str:
    """A redirect to a port that is free."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return f"http://localhost:{found.getsockname()[1]}/callback"


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    """The command line without a token, with a browser and a keyring."""
    (tmp_path / "browser.py").write_text(FOLLOW, encoding="utf-8")
    program = Program(fake, tmp_path)
    for name in ("FRAMEIO_TOKEN", "FRAMEIO_ACCOUNT_ID", "DISPLAY", "WAYLAND_DISPLAY"):
        program.environment.pop(name, None)
    program.environment |= {
        "FRAMEIO_IMS_URL": fake.url,
        "BROWSER": f"{shlex.quote(sys.executable)} {shlex.quote(str(tmp_path / 'browser.py'))} %s",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
        "PYTHON_KEYRING_BACKEND": "tests.support.keyrings.OnDisk",
        "KEYRING_FILE": str(tmp_path / "keyring.json"),
    }
    return program


def login(program: Program, fake: FakeFrameio, redirect: str, *more: str, **environment: str) -> tuple[int, str, str]:
    arguments = ("login", "--client-id", fake.ims.client_id, "--redirect-uri", redirect, *more)
    return program.run(*arguments, environment=environment)


def written(program: Program) -> str:
    """Return all that the program has left on the disk, except the keyring and the login file of the fallback."""
    kept = ("keyring.json", "login.json", "browser.py")
    files = [path for path in program.folder.rglob("*") if path.is_file() and path.name not in kept]
    return "\n".join(path.read_text("utf-8", "replace") for path in files)


def assert_no_secret(fake: FakeFrameio, *texts: str) -> None:
    for secret in fake.ims.secrets():
        for text in texts:
            assert secret not in text


# -- log in, use it, log out -------------------------------------------------------------------------------------------


def test_a_person_logs_in_uploads_asks_who_they_are_and_logs_out(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    status, said, complaint = login(program, fake, redirect, "--verbose")
    assert (status, "logged in as Fake User <fake@example.com>; it holds until " in said) == (0, True), complaint
    assert "warning" not in complaint
    (program.folder / "take.mov").write_bytes(some_bytes(PART))
    uploaded = program.run("upload", "take.mov", "--folder", fake.folder_id, "--verbose")
    assert uploaded[0] == 0, uploaded[2]
    assert len(fake.files) == 1
    shown = program.run("whoami")
    assert shown[0] == 0
    assert re.search(rf"^account +{fake.account_id}  Fake account$", shown[1], re.MULTILINE)
    assert re.search(r"^login +it holds until .*; kept in the keyring$", shown[1], re.MULTILINE)
    row = json.loads(program.run("whoami", "--json")[1])
    assert row["user"]["email"] == "fake@example.com"
    assert [account["id"] for account in row["accounts"]] == [fake.account_id]
    assert (row["login"]["kept_in"], row["login"]["renewable"], row["login"]["by"]) == ("keyring", True, "login")
    left = program.run("logout", "--verbose")
    assert left[:2] == (0, "logged out\n"), left[2]
    assert fake.ims.revoked == 2
    assert fake.ims.valid_tokens == ()
    assert json.loads((program.folder / "keyring.json").read_text(encoding="utf-8")) == {}
    for command in (["whoami"], ["upload", "take.mov", "--folder", "f"]):
        status, _, complaint = program.run(*command)
        assert (status, "or log in: aioframeio-upload login" in complaint) == (2, True)
    assert program.run("logout")[:2] == (0, "not logged in\n")
    assert_no_secret(fake, said, written(program), *uploaded[1:], *shown[1:], *left[1:])


def test_a_token_and_client_credentials_in_the_environment_win(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    assert login(program, fake, redirect)[0] == 0
    status, said, _ = program.run("whoami", environment={"FRAMEIO_TOKEN": fake.token})
    assert (status, "login     by FRAMEIO_TOKEN" in said) == (0, True)
    credentials = {
        "FRAMEIO_CLIENT_ID": fake.ims.web_client_id,
        "FRAMEIO_CLIENT_SECRET": fake.ims.web_client_secret,
    }
    status, said, complaint = program.run("whoami", environment=credentials)
    assert (status, "by FRAMEIO_CLIENT_ID and FRAMEIO_CLIENT_SECRET" in said) == (0, True), complaint
    assert fake.ims.asked[-1]["grant_type"] == "client_credentials"
    _, _, complaint = login(program, fake, redirect, FRAMEIO_TOKEN=fake.token)
    assert complaint == "warning: FRAMEIO_TOKEN is set and is used instead of this login\n"


def test_a_web_app_logs_in_with_a_secret_that_no_argument_has(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    arguments = ("login", "--client-id", fake.ims.web_client_id, "--redirect-uri", redirect, "--web-app")
    secret = fake.ims.web_client_secret
    status, said, complaint = program.run(*arguments, environment={"FRAMEIO_CLIENT_SECRET": secret})
    assert status == 0, complaint
    assert program.run("whoami")[0] == 0
    assert_no_secret(fake, said, complaint, written(program))
    status, _, complaint = program.run(*arguments, environment={"FRAMEIO_CLIENT_SECRET": "wrong-secret-of-mine"})
    assert (status, complaint.startswith("error: Adobe refused the login: invalid_client")) == (1, True), complaint
    assert "wrong-secret-of-mine" not in complaint
    status, _, complaint = program.run(*arguments)
    assert (status, complaint.startswith("error: --web-app needs the client secret")) == (1, True)


def test_without_a_refresh_token_the_login_says_that_it_cannot_be_renewed(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    fake.ims.refreshes = False
    status, said, complaint = login(program, fake, redirect)
    assert (status, "and cannot be renewed" in said) == (0, True)
    assert complaint.startswith("warning: Adobe gave no refresh token")
    assert json.loads(program.run("whoami", "--json")[1])["login"]["renewable"] is False
    assert program.run("logout")[0] == 0


@pytest.mark.parametrize("backend", ["Locked", "Forgetful", "Asking"])
def test_a_keyring_that_does_not_work_is_replaced_by_a_file_with_a_warning(
    fake: FakeFrameio, program: Program, redirect: str, backend: str
) -> None:
    program.environment["PYTHON_KEYRING_BACKEND"] = f"tests.support.keyrings.{backend}"
    status, _, complaint = login(program, fake, redirect)
    assert status == 0, complaint
    (path,) = program.state.rglob("login.json")
    assert f"warning: the tokens are kept in {path}, which only this user can read" in complaint
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(program.run("whoami", "--json")[1])["login"]["kept_in"] == "file"
    # Now the keyring is not asked: `Asking` would write its prompt.
    assert "password" not in program.run("whoami")[2]


def test_a_keyring_that_waits_for_a_pipe_does_not_hold_up_the_command(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    """Without a terminal, `getpass` reads stdin, which here never ends."""
    program.environment["PYTHON_KEYRING_BACKEND"] = "tests.support.keyrings.Asking"
    arguments = ("login", "--client-id", fake.ims.client_id, "--redirect-uri", redirect)
    with program.start(*arguments, stdin=subprocess.PIPE, start_new_session=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.wait(50) == 0
        assert "it did not answer in 10 s" in running.stderr.read()
        assert "logged in as Fake User" in running.stdout.read()


def test_without_a_place_for_the_tokens_nobody_is_sent_to_the_browser(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    (program.folder / "state").write_bytes(b"a file")
    status, said, complaint = login(program, fake, redirect)
    assert (status, "the login cannot be locked" in complaint, said) == (1, True, "")
    assert fake.ims.asked == []


def test_a_login_at_adobe_that_frameio_does_not_know_is_said(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    fake.add_fault(Fault(on="me", status=403, message="not a user"))
    status, said, complaint = login(program, fake, redirect)
    assert (status, "logged in at Adobe; " in said) == (0, True)
    assert "warning: Frame.io does not accept it: PermissionDenied" in complaint


# -- what goes wrong in the browser ------------------------------------------------------------------------------------


def test_a_refusal_in_the_browser_ends_the_login(fake: FakeFrameio, program: Program, redirect: str) -> None:
    fake.ims.consents = False
    status, _, complaint = login(program, fake, redirect)
    assert (status, complaint) == (1, "error: the login was refused: access_denied\n")
    assert not list(program.state.rglob("login.json"))


class Waiting:
    """A login that waits for its browser, which is this test."""

    def __init__(self, program: Program, fake: FakeFrameio, redirect: str, *more: str, **how: Any) -> None:
        arguments = ("login", "--client-id", fake.ims.client_id, "--redirect-uri", redirect, "--no-browser", *more)
        self.running = program.start(*arguments, **how)
        assert self.running.stdout is not None
        said = ""
        while (found := ADDRESS.search(said)) is None:
            line = self.running.stdout.readline()
            assert line, self.running.communicate()
            said += line
        self.address = found[1]

    def agree(self) -> str:
        """Return the address that the browser is sent to, without going there."""
        return httpx.get(self.address, follow_redirects=False, trust_env=False).headers["Location"]

    def end(self, entered: str | None = None) -> tuple[int, str, str]:
        said, complaint = self.running.communicate(entered, timeout=40)
        return self.running.returncode, said, complaint


def test_answers_of_another_login_are_refused_and_the_right_one_is_still_taken(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    waiting = Waiting(program, fake, redirect)
    right = waiting.agree()
    code = dict(parse_qsl(urlsplit(right).query))["code"]
    with httpx.Client(trust_env=False) as browser:
        for foreign in (
            f"{redirect}?code={code}&state=guessed",
            f"{redirect}?code={code}",
            f"{redirect}?error=access_denied",
            redirect,
        ):
            response = browser.get(foreign)
            assert (response.status_code, "Not this login" in response.text) == (400, True)
        assert browser.get(right.replace("/callback", "/favicon.ico")).status_code == 404
        assert browser.post(right).status_code == 405
        assert browser.get(right, headers={"Host": "evil.example"}).status_code == 404
        page = browser.get(right)
    assert page.status_code == 200
    assert code not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert waiting.end()[0] == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_browser_may_take_either_address_of_localhost(
    fake: FakeFrameio, program: Program, redirect: str, host: str
) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    waiting = Waiting(program, fake, redirect)
    right = waiting.agree().replace("localhost", host)
    assert httpx.get(right, trust_env=False).status_code == 200
    assert waiting.end()[0] == 0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_another_program_has_is_named(
    fake: FakeFrameio, program: Program, redirect: str, host: str
) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    port = urlsplit(redirect).port
    assert port is not None
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
        other.bind((host, port))
        other.listen()
        status, _, complaint = login(program, fake, redirect)
    assert status == 1
    assert complaint == (
        f"error: port {port} is in use by another program: end that, or give another --redirect-uri that Adobe knows\n"
    )


def test_a_code_that_was_used_by_somebody_else_is_refused(fake: FakeFrameio, program: Program, redirect: str) -> None:
    waiting = Waiting(program, fake, redirect)
    right = waiting.agree()
    code = dict(parse_qsl(urlsplit(right).query))["code"]
    # A thief has the code, but not the verifier: it is no use to them, and the login goes on.
    stolen = {"grant_type": "authorization_code", "client_id": fake.ims.client_id, "code": code}
    for verifier in ("", "guessed" * 9):
        answer = httpx.post(f"{fake.url}/ims/token/v3", data=stolen | {"code_verifier": verifier}, trust_env=False)
        assert answer.status_code == 400
    assert httpx.get(right, trust_env=False).status_code == 200
    assert waiting.end()[0] == 0
    again = Waiting(program, fake, redirect)
    state = dict(parse_qsl(urlsplit(again.address).query))["state"]
    assert httpx.get(f"{redirect}?code={code}&state={state}", trust_env=False).status_code == 200
    status, _, complaint = again.end()
    assert (status, complaint.startswith("error: Adobe refused the login: invalid_grant")) == (1, True)


def test_an_address_is_pasted_where_nobody_can_listen(fake: FakeFrameio, program: Program) -> None:
    waiting = Waiting(program, fake, HTTPS, stdin=subprocess.PIPE)
    status, said, complaint = waiting.end(f"what?\n{HTTPS}?code=c&state=guessed\n\n{waiting.agree()}\n")
    assert (status, "logged in as Fake User" in said) == (0, True), complaint
    assert complaint.count("; paste the whole address that the browser ends at") == 2
    assert "address is of another login" in complaint
    assert_no_secret(fake, said, complaint, written(program))
    waiting = Waiting(program, fake, HTTPS, stdin=subprocess.PIPE)
    assert waiting.end("")[::2] == (1, "error: the login was refused: no address was pasted\n")


def test_ctrl_c_while_the_browser_is_open_ends_the_login(fake: FakeFrameio, program: Program, redirect: str) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGINT for one process")
    waiting = Waiting(program, fake, redirect)
    waiting.running.send_signal(signal.SIGINT)
    status, _, complaint = waiting.end()
    assert (status, complaint) == (130, "interrupted; not logged in\n")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", urlsplit(redirect).port))


def test_a_login_that_cannot_be_is_a_usage_error(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, complaint = program.run("login")
    assert (status, complaint.startswith("error: --client-id takes the client ID of an OAuth credential")) == (2, True)
    monkeypatch.delenv("FRAMEIO_CLIENT_ID", raising=False)
    for client_id in (None, "", "a b", "a\n", "-" * 201):
        with pytest.raises(UsageError, match="--client-id takes"):
            read_client_id(client_id)
    with pytest.raises(UsageError, match="--redirect-uri: http is for localhost only"):
        read_redirect("http://studio.example/")


@pytest.mark.parametrize("url", ["http://ims.example", "https://user@ims.example", "ims.example", "http://[::1"])
def test_refresh_tokens_cross_no_network_in_plain_text(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FRAMEIO_IMS_URL", url)
    with pytest.raises(UsageError, match=r"FRAMEIO_IMS_URL must be https://host"):
        read_login_service(None, None)


def test_a_login_service_that_is_away_or_refuses_is_told_apart(
    fake: FakeFrameio, program: Program, redirect: str
) -> None:
    fake.add_fault(Fault(on="token", do="reset", times=1))
    status, _, complaint = login(program, fake, redirect)
    assert (status, "no connection to 127.0.0.1" in complaint, "run the command again" in complaint) == (1, True, True)
    status, _, complaint = login(program, fake, redirect)
    assert status == 0
    fake.add_fault(Fault(on="revoke", status=503, times=None))
    status, _, complaint = program.run("logout")
    assert (status, "Adobe did not confirm" in complaint) == (1, True)
    assert program.run("logout")[:2] == (0, "not logged in\n")


# -- on a terminal -----------------------------------------------------------------------------------------------------


@TERMINAL
def test_over_ssh_the_address_is_pasted_and_not_shown(fake: FakeFrameio, program: Program, redirect: str) -> None:
    """Nobody listens where the browser runs, and the address may be longer than a terminal's line."""
    command = [sys.executable, "-m", "aioframeio_upload", "login", "--client-id", fake.ims.client_id]
    command += ["--redirect-uri", redirect, "--no-browser"]
    with Terminal(command, program.environment, program.folder) as terminal:
        terminal.wait_for("paste the address")
        found = ADDRESS.search(terminal.written.replace("\r\n", "\n"))
        assert found is not None
        right = httpx.get(found[1], follow_redirects=False, trust_env=False).headers["Location"]
        typed = f"wrong\x7f\x7f\n{right}&padding={'x' * 5000}\n"
        for at in range(0, len(typed), 1000):
            os.write(terminal._leader, typed[at : at + 1000].encode())
        terminal.wait_for("logged in as Fake User")
        assert terminal.program.wait(40) == 0
        assert_no_secret(fake, terminal.written)
        assert "xxxxxxxx" not in terminal.written


@TERMINAL
def test_ctrl_c_on_a_terminal_restores_its_echo(fake: FakeFrameio, program: Program, redirect: str) -> None:
    import termios

    command = [sys.executable, "-m", "aioframeio_upload", "login", "--client-id", fake.ims.client_id]
    with Terminal([*command, "--redirect-uri", redirect, "--no-browser"], program.environment, program.folder) as one:
        before = termios.tcgetattr(one._leader)[3]
        one.wait_for("paste the address")
        assert one.send(signal.SIGINT, 1, 0) == 130
        assert before & termios.ECHO
        assert "interrupted; not logged in" in one.written


@TERMINAL
def test_no_argument_of_any_process_has_a_secret(fake: FakeFrameio, program: Program, redirect: str) -> None:
    """The browser's command contains the address for signing in, which holds no code, no token and no verifier."""
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(path.read_bytes().decode("utf-8", "replace"))
                except OSError:
                    continue  # it has ended

    if sys.platform != "linux":
        pytest.skip("reads /proc")
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        assert login(program, fake, redirect)[0] == 0
        assert program.run("whoami")[0] == 0
    finally:
        over.set()
        watching.join()
    assert any("aioframeio_upload\0login" in line for line in seen)
    assert_no_secret(fake, *set(seen))
