"""A kept login renews its token in time: once for all tasks and processes, and it loses no rotated refresh token."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from frameio.auth import _http as sdk_http

from aioframeio_upload import AuthenticationError
from aioframeio_upload._cli.login_store import LoginError, LoginStore
from aioframeio_upload._cli.stored_login import PAUSE, StoredLogin, load_login
from aioframeio_upload._core.redact import Secret
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, our_records, reached, sha256, some_bytes, uploader_on
from tests.support.frames import shown_by
from tests.support.hidden import assert_hidden, everything_said
from tests.support.logins import client_of, ims_at, kept, redeemed

HOUR = 3600.0
BODY = some_bytes(2 * PART)


class Clock:
    """The time of the fake and of this machine, which a test moves."""

    ahead = 0.0
    """Seconds that have passed without anybody waiting."""
    set_ahead = 0.0
    """Seconds by which this machine's clock was set."""

    def utc(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def local(self) -> float:
        return time.time() + self.ahead + self.set_ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def fake(clock: Clock) -> AsyncIterator[FakeFrameio]:
    """The fake with that clock, whose part links hold for long enough."""
    async with FakeFrameio(rate_limits=False, part_size=PART, clock=clock.utc, link_lifetime=7 * 86_400) as fake:
        yield fake
        fake.release()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK repeat a call without a pause."""
    monkeypatch.setattr(sdk_http, "_RETRY_BACKOFF_SCHEDULE", (0.0, 0.0))


@pytest.fixture
def open_login(fake: FakeFrameio, clock: Clock, tmp_path: Path) -> Callable[[], StoredLogin]:
    """Return a function that opens the login as another process would."""

    def opened() -> StoredLogin:
        store = LoginStore(tmp_path, lambda _: None)
        login = on_disk(store.load)
        assert login is not None
        return StoredLogin(store, login, lambda one: ims_at(one.ims_url), clock=clock.local, monotonic=clock.monotonic)

    return opened


Open = Callable[[], StoredLogin]


@pytest.fixture
async def logged_in(fake: FakeFrameio, tmp_path: Path) -> None:
    await asyncio.to_thread(kept, fake, tmp_path)


def grants(fake: FakeFrameio) -> list[str]:
    return [form["grant_type"] for form in fake.ims.asked]


pytestmark = pytest.mark.usefixtures("logged_in")


async def test_a_fresh_token_is_used_without_asking(fake: FakeFrameio, open_login: Open, clock: Clock) -> None:
    login = open_login()
    clock.ahead = 23 * HOUR
    assert {await login.get_token() for _ in range(3)} == {fake.ims.valid_tokens[0]}
    assert grants(fake) == ["authorization_code"]


async def test_many_tasks_and_two_processes_renew_it_once(fake: FakeFrameio, open_login: Open, clock: Clock) -> None:
    logins = [open_login(), open_login()]
    before = await logins[0].get_token()
    clock.ahead = 23.6 * HOUR
    tokens = await asyncio.gather(*(login.get_token() for login in logins for _ in range(50)))
    assert len(set(tokens)) == 1
    assert tokens[0] != before
    assert grants(fake) == ["authorization_code", "refresh_token"]
    clock.ahead = 100 * HOUR  # the refresh token that is kept is the new one
    assert await open_login().get_token() not in tokens
    assert fake.ims.reused == 0


async def test_a_day_long_upload_goes_on_with_a_new_token(fake: FakeFrameio, open_login: Open, clock: Clock) -> None:
    held = Fault(do="hold", number=2)
    fake.add_fault(held)
    login = open_login()
    async with uploader_on(fake) as uploader:
        uploader._open[1]._token = Secret(login.get_token)  # type: ignore[index]
        upload = uploader.upload(BODY, name="take.mov", folder_id=fake.folder_id).start()
        await reached(fake, held)
        clock.ahead = 25 * HOUR
        fake.release()
        await upload
    assert fake.files[0].sha256 == sha256(BODY)
    assert grants(fake) == ["authorization_code", "refresh_token"]
    used = [seen.headers["Authorization"] for seen in fake.requests if seen.operation in ("create", "status")]
    assert len(set(used)) == 2
    assert {seen.status for seen in fake.requests if seen.operation == "status"} == {200}


async def test_a_refusal_leaves_the_old_token_to_its_end_and_then_says_to_log_in(
    fake: FakeFrameio, open_login: Open, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    login = open_login()
    before = await login.get_token()
    fake.add_fault(
        Fault(
            on="token",
            status=400,
            body='{"error": "invalid_grant"}',
            times=None,
            headers={"Content-Type": "application/json"},
        )
    )
    clock.ahead = 23.6 * HOUR
    assert [await login.get_token() for _ in range(3)] == [before] * 3
    (record,) = our_records(caplog)
    assert "invalid_grant; its token holds for 24 more minutes; log in again: aioframeio-upload login" in (
        record.getMessage()
    )
    clock.ahead = 25 * HOUR
    with pytest.raises(AuthenticationError, match=r"invalid_grant; log in again: aioframeio-upload login") as caught:
        await login.get_token()
    assert_hidden(everything_said(caught.value, [], caplog), *fake.ims.secrets())
    assert not shown_by(caught.value, *fake.ims.secrets())


@pytest.mark.parametrize("do", ["reset", "close", "garbled", "answer"])
async def test_an_outage_of_adobe_leaves_the_old_token_and_is_tried_again(
    fake: FakeFrameio, open_login: Open, clock: Clock, caplog: pytest.LogCaptureFixture, do: str
) -> None:
    login = open_login()
    before = await login.get_token()
    fake.add_fault(outage := Fault(on="token", do=do, status=503, times=3))  # type: ignore[arg-type]
    clock.ahead = 23.6 * HOUR
    assert [await login.get_token() for _ in range(3)] == [before] * 3
    (record,) = our_records(caplog)
    assert "it is tried again" in record.getMessage()
    hits = fake.hits(outage)
    assert 1 <= hits <= 3
    while fake.hits(outage) < 3:
        clock.ahead += PAUSE
        assert await login.get_token() == before
    clock.ahead += PAUSE
    assert await login.get_token() != before
    assert_hidden(caplog.text, *fake.ims.secrets())


async def test_a_token_that_ends_while_the_network_is_down_is_renewed_when_it_is_back(
    fake: FakeFrameio, open_login: Open, clock: Clock
) -> None:
    login = open_login()
    fake.add_fault(held := Fault(do="hold", number=2))
    async with uploader_on(fake) as uploader:
        uploader._open[1]._token = Secret(login.get_token)  # type: ignore[index]
        upload = uploader.upload(BODY, name="take.mov", folder_id=fake.folder_id).start()
        await reached(fake, held)
        async with fake.offline():
            clock.ahead = 25 * HOUR
            fake.release()
            stale = await login.get_token()
            assert stale not in fake.ims.valid_tokens
        file = await upload
    assert fake.files[0].sha256 == sha256(BODY)
    assert file.id == fake.files[0].id
    assert fake.ims.reused == 0


async def test_a_login_service_in_trouble_is_named_once_the_token_has_ended(
    fake: FakeFrameio, open_login: Open, clock: Clock
) -> None:
    login = open_login()
    fake.add_fault(Fault(on="token", status=503, times=None))
    clock.ahead = 25 * HOUR
    with pytest.raises(AuthenticationError, match=r"127\.0\.0\.1:\d+ answered: http_503"):
        await login.get_token()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(on="token", status=200, body="<html>log in to the hotel</html>"),
        Fault(on="token", status=200, body="[]"),
        Fault(on="token", status=400, body="[]", headers={"Content-Type": "application/json"}),
        Fault(on="token", status=200, body='{"access_token": "a b"}'),
        Fault(on="token", status=200, body='{"access_token": "\\u00e9\\n"}'),
        Fault(on="token", status=403, body="blocked by the proxy"),
    ],
    ids=lambda fault: f"{fault.status} {fault.body}",
)
async def test_an_answer_that_is_not_adobes_does_not_end_the_login(
    fake: FakeFrameio, open_login: Open, clock: Clock, fault: Fault
) -> None:
    login = open_login()
    before = await login.get_token()
    fake.add_fault(fault)
    clock.ahead = 23.6 * HOUR
    assert await login.get_token() == before
    clock.ahead += PAUSE
    assert await login.get_token() != before


async def test_a_lost_answer_uses_the_refresh_token_up_and_says_so_clearly(
    fake: FakeFrameio, open_login: Open, clock: Clock
) -> None:
    login = open_login()
    before = await login.get_token()
    fake.add_fault(Fault(on="token", do="lose_answer"))
    clock.ahead = 23.6 * HOUR
    assert await login.get_token() == before
    clock.ahead = 25 * HOUR
    with pytest.raises(AuthenticationError, match="log in again"):
        await login.get_token()


async def test_a_cancelled_upload_does_not_lose_the_new_refresh_token(
    fake: FakeFrameio, open_login: Open, clock: Clock
) -> None:
    login = open_login()
    fake.add_fault(held := Fault(on="token", do="hold"))
    clock.ahead = 25 * HOUR
    asking = asyncio.create_task(login.get_token())
    await reached(fake, held)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    fake.release()
    await login.settle()
    assert await open_login().get_token() == await login.get_token()
    assert fake.ims.reused == 0


async def test_tokens_that_cannot_be_kept_still_serve_this_command(
    fake: FakeFrameio,
    open_login: Open,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    login = open_login()

    def full(self: LoginStore, *_: object, **__: object) -> None:
        raise LoginError("login.json cannot be written: No space left on device")

    monkeypatch.setattr(LoginStore, "_write", full)
    clock.ahead = 25 * HOUR
    assert await login.get_token() in fake.ims.valid_tokens
    (record,) = our_records(caplog)
    assert "for this command only: login.json cannot be written: No space left" in record.getMessage()


async def test_a_login_that_was_ended_or_replaced_meanwhile_is_noticed(
    fake: FakeFrameio, open_login: Open, clock: Clock, tmp_path: Path
) -> None:
    login, other = open_login(), open_login()
    await asyncio.to_thread(kept, fake, tmp_path)
    clock.ahead = 25 * HOUR
    await asyncio.to_thread(lambda: kept(fake, tmp_path, now=clock.local()))
    asked = len(fake.ims.asked)
    assert await login.get_token() in fake.ims.valid_tokens
    assert len(fake.ims.asked) == asked, "the new login's token is fresh"
    on_disk(LoginStore(tmp_path, lambda _: None).forget)
    with pytest.raises(AuthenticationError, match="somebody has logged out; log in again"):
        await other.get_token()


async def test_a_login_without_a_refresh_token_says_why_it_ended(
    fake: FakeFrameio, open_login: Open, clock: Clock, tmp_path: Path
) -> None:
    fake.ims.refreshes = False
    await asyncio.to_thread(kept, fake, tmp_path)
    login = open_login()
    clock.ahead = 23.9 * HOUR
    assert await login.get_token() in fake.ims.valid_tokens
    clock.ahead = 25 * HOUR
    with pytest.raises(AuthenticationError, match="it has ended, and Adobe gave no refresh token"):
        await login.get_token()


@pytest.mark.parametrize("hours", [-48.0, 48.0])
async def test_a_clock_that_is_wrong_from_the_beginning_changes_nothing(
    fake: FakeFrameio, open_login: Open, clock: Clock, tmp_path: Path, hours: float
) -> None:
    clock.set_ahead = hours * HOUR
    await asyncio.to_thread(lambda: kept(fake, tmp_path, now=clock.local()))
    login, count = open_login(), len(fake.ims.asked)
    clock.ahead = 23 * HOUR
    before = await login.get_token()
    assert len(fake.ims.asked) == count
    clock.ahead = 25 * HOUR
    assert await login.get_token() != before
    assert len(fake.ims.asked) == count + 1


async def test_a_clock_that_is_set_back_while_an_upload_runs_hides_no_end(
    fake: FakeFrameio, open_login: Open, clock: Clock
) -> None:
    login = open_login()
    clock.ahead, clock.set_ahead = 25 * HOUR, -30 * HOUR
    assert await login.get_token() in fake.ims.valid_tokens
    assert grants(fake) == ["authorization_code", "refresh_token"]


async def test_a_web_app_renews_with_its_secret(
    fake: FakeFrameio, open_login: Open, clock: Clock, tmp_path: Path
) -> None:
    await asyncio.to_thread(lambda: kept(fake, tmp_path, web=True))
    login = open_login()
    clock.ahead = 25 * HOUR
    assert await login.get_token() in fake.ims.valid_tokens
    assert fake.ims.asked[-1]["client_secret"] == fake.ims.web_client_secret
    assert fake.ims.web_client_secret not in repr(login)


async def test_the_token_goes_to_no_other_service(fake: FakeFrameio, tmp_path: Path) -> None:
    store = LoginStore(tmp_path, lambda _: None)
    with pytest.raises(LoginError, match=r"https://evil\.example: its token is not sent there"):
        on_disk(load_login, store, "https://evil.example")


async def test_revoking_ends_both_tokens_and_tells_whether_adobe_confirmed_it(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    store = LoginStore(tmp_path, lambda _: None)
    login = on_disk(store.load)
    assert login is not None
    fake.add_fault(Fault(on="revoke", status=503))
    assert await asyncio.to_thread(ims_at(fake.url).revoke, login) is False
    assert await asyncio.to_thread(ims_at(fake.url).revoke, login) is True
    assert fake.ims.valid_tokens == ()
    gone = replace(login, ims_url="http://127.0.0.1:1")
    assert await asyncio.to_thread(ims_at(gone.ims_url).revoke, gone) is False


RENEW = """
import asyncio, sys
from pathlib import Path
from aioframeio_upload._cli.ims import Ims
from aioframeio_upload._cli.login_store import LoginStore
from aioframeio_upload._cli.stored_login import StoredLogin
from aioframeio_upload._core.redact import Secret
async def main():
    store = LoginStore(Path(sys.argv[1]), print)
    login = StoredLogin(store, store.load(), lambda one: Ims(one.ims_url, Secret(None), None))
    print("ready", flush=True)
    sys.stdin.readline()
    tokens = await asyncio.gather(*(login.get_token() for _ in range(20)))
    print(*set(tokens), flush=True)
asyncio.run(main())
"""


@pytest.mark.needs_program
@pytest.mark.slow
async def test_four_processes_at_once_renew_it_once(fake: FakeFrameio, tmp_path: Path) -> None:
    """With a rotated refresh token, a second renewal by the old one would end the login for all of them."""
    await asyncio.to_thread(kept, fake, tmp_path)
    path = tmp_path / "login.json"
    text = on_disk(path.read_text)
    on_disk(path.write_text, text.replace('"lifetime": 86399.0', '"lifetime": 1e-09'))  # it has ended for all of them
    command = [sys.executable, "-c", RENEW, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    others = [await asyncio.create_subprocess_exec(*command, **pipes) for _ in range(4)]  # type: ignore[arg-type]
    for other in others:
        assert other.stdout is not None
        assert await other.stdout.readline() == b"ready\n"
    said = await asyncio.gather(*(other.communicate(b"go\n") for other in others))
    tokens = {line for out, _ in said for line in out.decode().split()}
    assert len(tokens) == 1
    assert tokens < set(fake.ims.valid_tokens)
    assert (grants(fake)[-1], grants(fake).count("refresh_token"), fake.ims.reused) == ("refresh_token", 1, 0)


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("do", ["reset", "answer", "garbled"])
async def test_no_error_of_a_login_shows_a_code_a_token_or_a_secret(
    fake: FakeFrameio, caplog: pytest.LogCaptureFixture, do: str
) -> None:
    caplog.set_level(logging.DEBUG, "aioframeio_upload")
    tokens = await asyncio.to_thread(lambda: redeemed(fake, web=True))
    quoted = f'{{"error": "invalid_grant", "error_description": "bad {fake.ims.web_client_secret} CODE"}}'
    body = quoted.replace("CODE", str(tokens.refresh.reveal()))
    json_type = {"Content-Type": "application/json"}
    fake.add_fault(Fault(on="token", do=do, status=400, body=body, headers=json_type, times=None))  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"invalid_grant|no connection") as caught:
        await asyncio.to_thread(lambda: redeemed(fake, web=True))
    said = everything_said(caught.value, [], caplog)
    assert_hidden(said, *fake.ims.secrets(), client_of(fake, web=True).secret.reveal() or "")
    assert not shown_by(caught.value, *fake.ims.secrets())
